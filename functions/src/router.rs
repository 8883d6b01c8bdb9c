//! The routes of each function, under `/api/v2` and `/api/v1`.

use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use axum::{Router, middleware};

use crate::control::{self, ControlState};
use crate::docs;
use crate::embedded_metrics;
use crate::guard::{self, AllowedOrigins};
use crate::list;
use crate::openapi;
use crate::originate::{self, OriginateState};
use crate::payload::MAX_BODY;
use crate::problem::Problem;
use crate::request_id;
use crate::settings::Pages;
use crate::slashes;
use crate::status::{self, StatusState};
use crate::system::{self, SystemState};
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

/// The routes of the system function, outside the prefixes.
pub fn system(state: SystemState) -> Router {
    let mut routes = Router::new()
        .route("/", get(system::read_service))
        .route("/health", get(system::read_health));
    if state.pages.metrics {
        routes = routes.route("/metrics", get(system::read_metrics));
    }
    routes.with_state(state)
}

/// The routes of the docs function, outside the prefixes; none if it is switched off.
pub fn docs(pages: Pages) -> Router {
    if !pages.docs {
        return Router::new();
    }
    Router::new()
        .route("/openapi.json", get(openapi::read_document))
        .route("/docs", get(docs::read_docs))
        .route("/docs/{file}", get(docs::read_docs_file))
        .route("/redoc", get(docs::read_redoc))
        .route("/redoc/{file}", get(docs::read_redoc_file))
}

fn prefixed(routes: &Router) -> Router {
    PREFIXES.into_iter().fold(Router::new(), |router, prefix| {
        router.nest(prefix, routes.clone())
    })
}

/// Finishes a router: what every answer has, and what an unknown path or method gets.
pub fn finish(router: Router, origins: &AllowedOrigins) -> Router {
    let router = router
        .fallback(async || Problem::route_not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed());
    guarded(router, origins)
}

/// What answers for a request that cannot be read, whatever it is.
pub fn unreadable(origins: &AllowedOrigins) -> Router {
    let router = Router::new().fallback(async || Problem::unreadable_request());
    guarded(router, origins)
}

fn guarded(router: Router, origins: &AllowedOrigins) -> Router {
    let router = router
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(guard::catch))
        .layer(middleware::from_fn(request_id::identify));
    let router = if origins.is_empty() {
        router
    } else {
        router.layer(origins.layer())
    };
    let router = router
        .layer(middleware::from_fn(guard::join_headers))
        .layer(middleware::from_fn(guard::secure))
        .layer(middleware::from_fn(embedded_metrics::name_route));
    // Layers run after a router has chosen its route, so that what comes before is around it.
    Router::new()
        .fallback_service(router)
        .layer(middleware::from_fn(slashes::trim))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::{MatchedPath, Request};
    use tower::ServiceExt;

    use super::*;

    /// A handler that panics, without the text and the backtrace a panic prints.
    async fn panics() -> &'static str {
        std::panic::resume_unwind(Box::new("expected"))
    }

    #[tokio::test]
    async fn an_answer_carries_its_route_with_and_without_a_slash_at_the_end() {
        let routes = Router::new()
            .route("/x/{id}", get(async || "x"))
            .route("/panics", get(panics));
        let served = finish(routes, &AllowedOrigins::default());
        for (path, status, route) in [
            ("/x/1", 200, Some("/x/{id}")),
            ("/x/1/?a=b", 200, Some("/x/{id}")),
            ("/panics", 500, Some("/panics")),
            ("/x", 404, None),
            ("/x/", 404, None),
            ("/", 404, None),
        ] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let response = served.clone().oneshot(request).await.unwrap();
            let matched = response.extensions().get::<MatchedPath>();
            let matched = matched.map(MatchedPath::as_str);
            assert_eq!(
                (response.status().as_u16(), matched),
                (status, route),
                "{path}"
            );
        }
    }
}
