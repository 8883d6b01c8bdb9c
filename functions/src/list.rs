//! `GET /calls`: calls, newest first, page by page.

use axum::Json;
use axum::extract::{RawQuery, State};
use cloud::listing::{Listing, MAX_PAGE};
use cloud::{clock, error};
use domain::{CallStatus, PhoneNumber, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::MayRead;
use crate::call_view::{CallView, Status};
use crate::problem::Problem;
use crate::query::{Parameters, with_plus};
use crate::status::{Fresh, StatusState, fresh, unread};

/// Calls of a page unless `limit` says otherwise.
const DEFAULT_PAGE: usize = 20;

/// A page of calls.
#[derive(Debug, Serialize, ToSchema)]
pub struct CallPage {
    /// Newest first.
    calls: Vec<CallView>,
    /// Where the next page begins. There may be one even if this one is short or empty.
    next_cursor: Option<String>,
}

/// Handles a request for a list of calls.
///
/// # Errors
/// Problems as documented for the API.
#[utoipa::path(
    get, path = "/calls", tag = "calls", operation_id = "list_calls",
    summary = "Calls, newest first",
    description = "A page can be short, or empty, and yet have a `next_cursor`: go on until that is null. A cursor is \
        good for the same client and the same filters only. A parameter that is not known is refused.",
    params(
        ("phone_number" = Option<String>, Query, pattern = "^\\+?[0-9]{7,20}$", nullable = false, example = "+15550000200",
            description = "Only calls to this number."),
        ("status" = Option<Status>, Query, nullable = false, description = "Only calls that have this status now."),
        ("created_after" = Option<String>, Query, format = DateTime, nullable = false,
            description = "Only calls asked for at this time or later (RFC 3339)."),
        ("created_before" = Option<String>, Query, format = DateTime, nullable = false,
            description = "Only calls asked for before this time (RFC 3339)."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, nullable = false, description = "Calls of a page; 20 unless given."),
        ("cursor" = Option<String>, Query, nullable = false, description = "`next_cursor` of the page before."),
    ),
    responses((status = 200, description = "A page of calls.", body = CallPage)),
)]
pub async fn list_calls(
    State(state): State<StatusState>,
    MayRead(client): MayRead,
    RawQuery(query): RawQuery,
) -> Result<Fresh<Json<CallPage>>, Problem> {
    let mut parameters = Parameters::new(query.as_deref().unwrap_or_default())?;
    let phone_number = parameters
        .take("phone_number")
        // An unescaped `+` reads as a space.
        .map(|number| match number.strip_prefix(' ') {
            Some(digits) => format!("+{digits}"),
            None => number,
        });
    let phone_number = parameters.parse::<PhoneNumber>("phone_number", phone_number);
    let status = parameters.take("status");
    let status = parameters.parse::<CallStatus>("status", status);
    let from = parameters.take("created_after").map(with_plus);
    let from = parameters.parse::<Timestamp>("created_after", from);
    let until = parameters.take("created_before").map(with_plus);
    let until = parameters.parse::<Timestamp>("created_before", until);
    let limit = parameters.take("limit");
    let limit = parameters.number("limit", limit, 1, MAX_PAGE);

    let list = [
        client.subject.as_str(),
        &phone_number
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        status.map(CallStatus::as_str).unwrap_or_default(),
        &from.map(|at| at.to_string()).unwrap_or_default(),
        &until.map(|at| at.to_string()).unwrap_or_default(),
    ];
    let start = parameters.take("cursor").and_then(|cursor| {
        let position = state.cursors.read(&list, &cursor);
        parameters.accept("cursor", position)
    });
    parameters.finish(state.unknown)?;

    let now = clock::now();
    // Older ones have been forgotten.
    let oldest = now.minus(state.retention);
    // Clocks differ a little between those that create calls and this one.
    let newest = now.plus(std::time::Duration::from_mins(1));
    let listing = Listing {
        phone_number,
        status,
        from: from.map_or(oldest, |from| from.max(oldest)),
        until: until.map_or(newest, |until| until.min(newest)),
        limit: limit.unwrap_or(DEFAULT_PAGE),
    };
    let page = state.calls.list(&listing, start).await.map_err(|error| {
        tracing::error!(error = %error::chain(&error), "the calls could not be listed");
        unread(&error)
    })?;
    Ok(fresh(CallPage {
        calls: page.calls.iter().map(CallView::from).collect(),
        next_cursor: page
            .next
            .map(|position| state.cursors.write(&list, position)),
    }))
}
