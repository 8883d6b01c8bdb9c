//! The routes of each function, under `/api/v2` and `/api/v1`.

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Router, middleware};

use crate::control::{self, ControlState};
use crate::list;
use crate::originate::{self, OriginateState};
use crate::payload::MAX_BODY;
use crate::problem::Problem;
use crate::request_id;
use crate::status::{self, StatusState};
use crate::token::{self, TokenState};

/// The prefixes under which the API is served.
pub const PREFIXES: [&str; 2] = ["/api/v2", "/api/v1"];

/// The routes of the token function.
pub fn token(state: TokenState) -> Router {
    prefixed(
        &Router::new()
            .route("/token", post(token::grant_token))
            .with_state(state),
    )
}

/// The routes of the originate function.
pub fn originate(state: OriginateState) -> Router {
    let routes = Router::new()
        .route("/interaction/{number}", post(originate::create_interaction))
        // A number with a slash that was not percent-encoded.
        .route(
            "/interaction/{number}/{*rest}",
            post(originate::reject_number),
        )
        .route("/calls", post(originate::create_call))
        .with_state(state);
    prefixed(&routes)
}

/// The routes of the status function.
pub fn status(state: StatusState) -> Router {
    let routes = Router::new()
        .route("/status/{call_id}", get(status::read_call))
        .route("/interaction/{call_id}/status", get(status::read_call))
        .route("/calls", get(list::list_calls))
        .route("/calls/{call_id}", get(status::read_call))
        .route("/calls/{call_id}/events", get(status::read_events))
        .with_state(state);
    prefixed(&routes)
}

/// The routes of the control function.
pub fn control(state: ControlState) -> Router {
    let routes = Router::new()
        .route("/calls/{call_id}/hangup", post(control::hang_up))
        .with_state(state);
    prefixed(&routes)
}

fn prefixed(routes: &Router) -> Router {
    PREFIXES.into_iter().fold(Router::new(), |router, prefix| {
        router.nest(prefix, routes.clone())
    })
}

/// Finishes a router: what every answer has, and what an unknown path or method gets.
pub fn finish(router: Router) -> Router {
    router
        .fallback(async || Problem::route_not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(request_id::identify))
}
