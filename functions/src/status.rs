//! Reading a call: `GET /status/{call_id}`, `/interaction/{call_id}/status`, `/calls/{call_id}`, and its
//! timeline `/calls/{call_id}/events`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, Path, State};
use axum::http::{HeaderName, HeaderValue, header};
use cloud::ports::Calls;
use cloud::{CallStore, StoreError, error};
use domain::{Call, CallId};

use crate::access::{Access, MayRead};
use crate::call_view::{CallView, TimelineView};
use crate::cursor::Cursors;
use crate::problem::Problem;
use crate::unknown::UnknownFields;

/// What the status function works with.
#[derive(Clone)]
pub struct StatusState {
    /// The table of calls.
    pub calls: CallStore,
    /// How long calls are remembered.
    pub retention: Duration,
    /// What becomes of unknown parameters.
    pub unknown: UnknownFields,
    /// Signs cursors.
    pub cursors: Arc<Cursors>,
    /// Checks tokens.
    pub access: Access,
}

impl FromRef<StatusState> for Access {
    fn from_ref(state: &StatusState) -> Self {
        state.access.clone()
    }
}

/// An answer that is true now and may not be later.
pub type Fresh<T> = ([(HeaderName, HeaderValue); 1], T);

/// Handles a request for a call's status.
///
/// # Errors
/// Problems as documented for the API.
#[utoipa::path(
    get, path = "/calls/{call_id}", tag = "calls", operation_id = "read_call",
    summary = "A call's status",
    description = "As it was written last. A status never goes back, and a call that is over never changes.",
    params(("call_id" = uuid::Uuid, Path, description = "The call.")),
    responses((status = 200, description = "The call.", body = CallView)),
)]
pub async fn read_call(
    State(state): State<StatusState>,
    _access: MayRead,
    call_id: Result<Path<String>, PathRejection>,
) -> Result<Fresh<Json<CallView>>, Problem> {
    let call = find(&state, call_id).await?;
    Ok(fresh(CallView::from(&call)))
}

/// Handles a request for a call's timeline.
///
/// # Errors
/// Problems as documented for the API.
#[utoipa::path(
    get, path = "/calls/{call_id}/events", tag = "calls", operation_id = "read_call_events",
    summary = "A call's timeline",
    description = "What happened, step by step, with Asterisk's times and ours.",
    params(("call_id" = uuid::Uuid, Path, description = "The call.")),
    responses((status = 200, description = "What happened, in order.", body = TimelineView)),
)]
pub async fn read_events(
    State(state): State<StatusState>,
    _access: MayRead,
    call_id: Result<Path<String>, PathRejection>,
) -> Result<Fresh<Json<TimelineView>>, Problem> {
    let call = find(&state, call_id).await?;
    Ok(fresh(TimelineView::from(&call)))
}

/// Keeps an answer out of caches.
pub fn fresh<T>(body: T) -> Fresh<Json<T>> {
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    ([no_store], Json(body))
}

async fn find(
    state: &StatusState,
    call_id: Result<Path<String>, PathRejection>,
) -> Result<Call, Problem> {
    let call_id = call_id.map(|Path(text)| text).unwrap_or_default();
    let call_id: CallId = call_id
        .parse()
        .map_err(|problem| Problem::invalid_field("call_id", problem))?;
    match state.calls.get(call_id).await {
        Ok(Some(call)) => Ok(call),
        Ok(None) => Err(Problem::call_not_found()),
        Err(error) => {
            tracing::error!(%call_id, error = %error::chain(&error), "the call could not be read");
            Err(unread(&error))
        }
    }
}

/// What is told of calls that cannot be read.
#[must_use]
pub fn unread(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable { .. } => Problem::unavailable("calls cannot be read now"),
        StoreError::Malformed { .. } => Problem::internal(),
    }
}
