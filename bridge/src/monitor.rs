//! What the bridge serves over HTTP, on loopback unless told otherwise: its metrics, and whether it lives
//! and is ready.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::run::Vitals;

/// How long a client may take for the head of a request, and be silent between two.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Most connections at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 64;

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
        tokio::select! {
            biased;
            () = closing.cancelled() => {}
            () = accept(listener, router) => {}
        }
    });
    Ok(bound)
}

async fn accept(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // It is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((client, _)) = listener.accept().await else {
            // No descriptor is left, for example.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            answer(client, router).await;
            drop(place);
        });
    }
}

async fn answer(client: TcpStream, router: Router) {
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN);
    let service = TowerToHyperService::new(router);
    // What a client does wrong is its own business.
    let _ = server.serve_connection(TokioIo::new(client), service).await;
}

fn metrics(vitals: &Vitals) -> Response {
    let content_type = (header::CONTENT_TYPE, "text/plain; version=0.0.4");
    ([content_type], vitals.metrics()).into_response()
}

fn ready(vitals: &Vitals) -> Response {
    let detail = match (
        vitals.lease_refusal(),
        vitals.is_up(),
        vitals.waiting_reason(),
    ) {
        (None, true, None) => return "ready\n".into_response(),
        (Some(refusal), _, _) => format!("lease of BRIDGE_ID refused: {refusal}\n"),
        (None, false, _) => "ARI's events do not arrive\n".to_owned(),
        (None, true, Some(reason)) => format!("circuit open: {reason}\n"),
    };
    (StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
}
