//! `POST /calls/{call_id}/hangup`.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use cloud::{CallStore, ControlQueues, StoreError, clock, error};
use domain::CallId;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Access, MayWrite};
use crate::call_view::Status;
use crate::ending::{Ended, Ending, NotEnded};
use crate::problem::Problem;

/// What the control function works with.
#[derive(Clone)]
pub struct ControlState {
    /// The table of calls.
    pub calls: CallStore,
    /// The queues to the bridges.
    pub bridges: ControlQueues,
    /// Checks tokens.
    pub access: Access,
}

impl FromRef<ControlState> for Access {
    fn from_ref(state: &ControlState) -> Self {
        state.access.clone()
    }
}

/// A hangup that was accepted.
#[derive(Serialize, ToSchema)]
pub struct HangupAccepted {
    /// Always true.
    success: bool,
    /// The call.
    #[schema(format = "uuid")]
    call_id: String,
    /// Where it stands: `canceled`, or as it was when its bridge was asked.
    #[schema(value_type = Status)]
    status: &'static str,
    /// What was done.
    #[schema(example = "Hangup requested")]
    message: &'static str,
}

/// Handles a request to hang up: a pending call is canceled here and now; a live one by
/// the bridge that owns it.
///
/// # Errors
/// Problems as documented for the API.
#[utoipa::path(
    post, path = "/calls/{call_id}/hangup", tag = "calls", operation_id = "hang_up_call",
    summary = "Hang a call up",
    description = "A pending call is canceled at once and never dialled. A live one is hung up by its bridge: it ends as \
        `canceled`, or `completed` if it was answered. Asking twice does no harm.",
    params(("call_id" = uuid::Uuid, Path, description = "The call.")),
    responses((status = 202, description = "It is canceled, or will be hung up.", body = HangupAccepted)),
)]
pub async fn hang_up(
    State(state): State<ControlState>,
    _access: MayWrite,
    call_id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let call_id = call_id.map(|Path(text)| text).unwrap_or_default();
    let id: CallId = call_id
        .parse()
        .map_err(|problem| Problem::invalid_field("call_id", problem))?;
    let ending = Ending {
        calls: &state.calls,
        bridges: &state.bridges,
        now: &clock::now,
    };
    match ending.end(id).await {
        Ok(Ended::Canceled) => Ok(accepted(id, "canceled", "Call canceled")),
        Ok(Ended::Asked(status)) => Ok(accepted(id, status.as_str(), "Hangup requested")),
        Err(NotEnded::Missing) => Err(Problem::call_not_found()),
        Err(NotEnded::Over(status)) => Err(Problem::call_over(status.as_str())),
        Err(NotEnded::Store(error)) => Err(unavailable(id, &error)),
    }
}

fn accepted(id: CallId, status: &'static str, message: &'static str) -> Response {
    let body = HangupAccepted {
        success: true,
        call_id: id.to_string(),
        status,
        message,
    };
    (StatusCode::ACCEPTED, Json(body)).into_response()
}

fn unavailable(id: CallId, error: &StoreError) -> Problem {
    tracing::error!(call_id = %id, error = %error::chain(error), "the call could not be hung up");
    match error {
        StoreError::Unavailable { .. } => Problem::unavailable("the call cannot be hung up now"),
        StoreError::Malformed { .. } => Problem::internal(),
    }
}
