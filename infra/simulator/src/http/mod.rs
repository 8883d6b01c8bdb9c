//! ARI over HTTP, with the answers of a real Asterisk.

mod asterisk;
mod channels;
mod parameters;
mod playbacks;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::Credentials;
use crate::switch::{Phase, Refusal, Switch};

type Ari = State<Arc<Switch>>;

/// Everything that is served below the simulator's address.
pub fn router(switch: Arc<Switch>, credentials: Credentials) -> Router {
    let channel = Router::new()
        .route("/", delete(channels::hang_up).get(channels::show))
        .route("/dial", post(channels::dial))
        .route("/continue", post(channels::go_on))
        .route(
            "/variable",
            get(channels::show_variable).post(channels::set_variable),
        )
        .route("/play", post(playbacks::play))
        .route("/play/{playback}", post(playbacks::play));
    let routes = Router::new()
        .route("/asterisk/info", get(asterisk::info))
        .route("/applications/{app}", get(asterisk::application))
        .route(
            "/applications/{app}/eventFilter",
            put(asterisk::event_filter),
        )
        .route("/endpoints", get(asterisk::all_endpoints))
        .route("/endpoints/{technology}", get(asterisk::endpoints))
        .route(
            "/endpoints/{technology}/{resource}",
            get(asterisk::endpoint),
        )
        .route(
            "/asterisk/config/dynamic/res_pjsip/endpoint/{resource}",
            get(asterisk::endpoint_configuration),
        )
        .route("/channels", get(channels::list))
        .route("/channels/create", post(channels::create))
        .nest("/channels/{id}", channel)
        .route(
            "/playbacks/{id}",
            get(playbacks::show).delete(playbacks::stop),
        )
        .with_state(Arc::clone(&switch));
    let requests = routes.clone();
    let on_socket = Arc::clone(&switch);
    let events = async move |query, upgrade| asterisk::events(on_socket, requests, query, upgrade);
    Router::new()
        .nest("/ari", routes.route("/events", get(events)))
        .layer(middleware::from_fn(move |request, next| {
            authenticate(credentials.clone(), request, next)
        }))
        .layer(middleware::from_fn_with_state(switch, refuse_unless_up))
}

/// Answers as an Asterisk does that has just been started.
async fn refuse_unless_up(State(switch): Ari, request: Request, next: Next) -> Response {
    match switch.phase() {
        Phase::Up => next.run(request).await,
        Phase::Loading => (
            StatusCode::NOT_FOUND,
            Html("The requested URL was not found on this server."),
        )
            .into_response(),
        Phase::Booting => message(StatusCode::SERVICE_UNAVAILABLE, "Asterisk not booted"),
    }
}

async fn authenticate(credentials: Credentials, request: Request, next: Next) -> Response {
    let expected = format!("{}:{}", credentials.username, credentials.password);
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Basic "))
        .and_then(|encoded| STANDARD.decode(encoded).ok());
    if given.as_deref() == Some(expected.as_bytes()) {
        next.run(request).await
    } else {
        message(StatusCode::UNAUTHORIZED, "Authentication required")
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "Channel not found"),
            Self::Exists => (
                StatusCode::CONFLICT,
                "Channel with given unique ID already exists",
            ),
            Self::NotInStasis => (StatusCode::CONFLICT, "Channel not in Stasis application"),
            Self::NotDown => (StatusCode::CONFLICT, "Channel is not in the 'Down' state"),
            Self::NotUp => (StatusCode::PRECONDITION_FAILED, "Channel in invalid state"),
            Self::NoEndpoint => (StatusCode::BAD_REQUEST, "Endpoint must be specified"),
            Self::InvalidEndpoint => (StatusCode::BAD_REQUEST, "Invalid endpoint specified"),
            Self::InvalidReason => (
                StatusCode::BAD_REQUEST,
                "Invalid reason for hangup reason provided",
            ),
            Self::AllocationFailed => {
                let body = Json(json!({"error": "Allocation failed"}));
                return (StatusCode::INTERNAL_SERVER_ERROR, body).into_response();
            }
        };
        message(status, text)
    }
}

fn message(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({"message": text}))).into_response()
}

fn done(result: Result<(), Refusal>) -> Response {
    result.map_or_else(IntoResponse::into_response, |()| {
        StatusCode::NO_CONTENT.into_response()
    })
}
