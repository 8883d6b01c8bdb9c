//! `GET /`, `/health` and `/metrics`: what is not about a call.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cloud::error;
use serde::Serialize;
use utoipa::ToSchema;

use crate::health::{Condition, Health, HealthReport};
use crate::problem::{Problem, ProblemBody};
use crate::settings::Pages;

/// What the system function works with.
#[derive(Clone)]
pub struct SystemState {
    /// What health is told from.
    pub health: Health,
    /// Which of the optional pages are there.
    pub pages: Pages,
}

/// What this service is.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServiceView {
    /// Its name.
    #[schema(example = "outbound-calls")]
    service: &'static str,
    /// Its release.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Where the API begins.
    #[schema(example = "/api/v2")]
    api: &'static str,
    /// Where its documentation is, unless it is switched off.
    #[schema(example = "/docs")]
    docs: Option<&'static str>,
}

/// Handles `GET /`.
#[utoipa::path(
    get, path = "/", tag = "system", operation_id = "read_service",
    summary = "What this service is",
    description = "Its name, its release, and where its API begins.",
    responses((status = 200, description = "The service.", body = ServiceView)),
)]
pub async fn read_service(State(state): State<SystemState>) -> Json<ServiceView> {
    Json(ServiceView {
        service: "outbound-calls",
        version: env!("CARGO_PKG_VERSION"),
        api: "/api/v2",
        docs: state.pages.docs.then_some("/docs"),
    })
}

/// Handles `GET /health`.
#[utoipa::path(
    get, path = "/health", tag = "system", operation_id = "read_health",
    summary = "How the system is",
    description = "`healthy`, `degraded` (calls are placed, but not all is well) or `unhealthy` (no call can be \
        placed; 503). Each check takes two seconds at most.",
    responses(
        (status = 200, description = "Calls are placed.", body = HealthReport),
        (status = 503, description = "No call can be placed.", body = HealthReport),
    ),
)]
pub async fn read_health(State(state): State<SystemState>) -> Response {
    let report = Box::pin(state.health.check()).await;
    let status = if report.status == Condition::Unhealthy {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (status, no_store(), Json(report)).into_response()
}

/// Handles `GET /metrics`.
///
/// # Errors
/// 503 if the heartbeats cannot be read.
#[utoipa::path(
    get, path = "/metrics", tag = "system", operation_id = "read_metrics",
    summary = "The metrics of all bridges",
    description = "In Prometheus' text format (0.0.4), from the bridges' last heartbeats. Not there when \
        `METRICS_ENABLED` is false.",
    responses(
        (status = 200, description = "The metrics.", body = String, content_type = "text/plain"),
        (status = 503, description = "The metrics cannot be read now.", body = ProblemBody,
            content_type = "application/problem+json"),
    ),
)]
pub async fn read_metrics(State(state): State<SystemState>) -> Result<Response, Problem> {
    let text = state.health.metrics().await.map_err(|error| {
        tracing::error!(error = %error::chain(&error), "the heartbeats could not be read");
        Problem::unavailable("the metrics cannot be read now")
    })?;
    let content_type = (header::CONTENT_TYPE, "text/plain; version=0.0.4");
    Ok(([content_type], no_store(), text).into_response())
}

fn no_store() -> [(HeaderName, HeaderValue); 1] {
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]
}
