//! What the bridge serves over HTTP, on loopback unless told otherwise: its metrics, and whether it lives
//! and is ready.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::run::Vitals;

/// Serves until `closing`.
///
/// # Errors
/// If the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    vitals: Vitals,
    closing: CancellationToken,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let vitals = Arc::new(vitals);
    let (for_metrics, for_ready) = (Arc::clone(&vitals), vitals);
    let router = Router::new()
        .route("/metrics", get(async move || metrics(&for_metrics)))
        .route("/live", get(async || "live\n"))
        .route("/ready", get(async move || ready(&for_ready)));
    tokio::spawn(async move {
        axum::serve(listener, router)
            .with_graceful_shutdown(closing.cancelled_owned())
            .await
    });
    Ok(bound)
}

fn metrics(vitals: &Vitals) -> Response {
    let content_type = (header::CONTENT_TYPE, "text/plain; version=0.0.4");
    ([content_type], vitals.metrics()).into_response()
}

fn ready(vitals: &Vitals) -> Response {
    let detail = match (vitals.is_up(), vitals.waiting_reason()) {
        (true, None) => return "ready\n".into_response(),
        (false, _) => "ARI's events do not arrive\n".to_owned(),
        (true, Some(reason)) => format!("circuit open: {reason}\n"),
    };
    (StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
}
