//! Requests about Asterisk itself, its endpoints and its applications.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Ari, message};
use crate::over_websocket::Answers;
use crate::switch::Switch;

/// The release that is spoken, in the form that a packaged Asterisk reports.
const VERSION: &str = "22.10.1-simulator";

pub async fn info(State(switch): Ari) -> Json<Value> {
    let started_at = switch.started_at();
    Json(json!({
        "build": {"os": "Linux", "options": "", "user": "nobody"},
        "config": {"name": "", "default_language": "en"},
        "status": {"startup_time": started_at, "last_reload_time": started_at},
        "system": {"version": VERSION, "entity_id": switch.entity_id()}
    }))
}

pub async fn all_endpoints(State(switch): Ari) -> Json<Vec<Value>> {
    Json(switch.show_all_endpoints())
}

pub async fn endpoints(State(switch): Ari, Path(technology): Path<String>) -> Response {
    switch.show_endpoints(&technology).map_or_else(
        || {
            let text = format!("No Endpoints found - invalid tech {technology}");
            message(StatusCode::NOT_FOUND, &text)
        },
        |endpoints| Json(endpoints).into_response(),
    )
}

pub async fn endpoint(
    State(switch): Ari,
    Path((technology, resource)): Path<(String, String)>,
) -> Response {
    switch.show_endpoint(&technology, &resource).map_or_else(
        || message(StatusCode::NOT_FOUND, "Endpoint not found"),
        |endpoint| Json(endpoint).into_response(),
    )
}

/// What is configured for an endpoint, as far as the bridge asks. The trunk `transfers` is one to which
/// nobody has said `allow_transfer = no`.
pub async fn endpoint_configuration(State(switch): Ari, Path(resource): Path<String>) -> Response {
    if switch.show_endpoint("PJSIP", &resource).is_none() {
        return message(StatusCode::NOT_FOUND, "Object not found");
    }
    let allows = (resource == "transfers").to_string();
    Json(json!([
        {"attribute": "context", "value": "from-trunk"},
        {"attribute": "allow_transfer", "value": allows},
    ]))
    .into_response()
}

/// The socket of an application: events go out, and requests come in.
pub fn events(
    switch: Arc<Switch>,
    requests: Router,
    Query(parameters): Query<HashMap<String, String>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Some(app) = parameters.get("app").cloned() else {
        return message(
            StatusCode::BAD_REQUEST,
            "HTTP request is missing param: [app]",
        );
    };
    upgrade.on_upgrade(async move |socket| {
        let (events, cut) = switch.connect(&app);
        let answers = Answers {
            switch: Arc::clone(&switch),
            requests,
            app: app.clone(),
        };
        follow(socket, events, answers, &cut).await;
        switch.disconnect(&app, &cut);
    })
}

async fn follow(
    mut socket: WebSocket,
    mut events: mpsc::Receiver<String>,
    answers: Answers,
    cut: &CancellationToken,
) {
    loop {
        let text = tokio::select! {
            () = cut.cancelled() => return,
            event = events.recv() => event,
            // Pings are answered underneath.
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => match answers.to(&text).await {
                    Some(answer) => Some(answer),
                    None => continue,
                },
                Some(Ok(_)) => continue,
                _ => return,
            },
        };
        let Some(text) = text else { return };
        if socket.send(Message::Text(text.into())).await.is_err() {
            return;
        }
    }
}

#[derive(Deserialize)]
pub struct Filter {
    #[serde(default)]
    allowed: Vec<AllowedType>,
}

#[derive(Deserialize)]
struct AllowedType {
    r#type: String,
}

pub async fn event_filter(
    State(switch): Ari,
    Path(app): Path<String>,
    Json(filter): Json<Filter>,
) -> Response {
    let allowed = filter
        .allowed
        .into_iter()
        .map(|allowed| allowed.r#type)
        .collect();
    match switch.filter(&app, allowed) {
        Some(()) => Json(json!({"name": app})).into_response(),
        None => no_application(),
    }
}

pub async fn application(State(switch): Ari, Path(app): Path<String>) -> Response {
    switch
        .show_application(&app)
        .map_or_else(no_application, |shown| Json(shown).into_response())
}

fn no_application() -> Response {
    message(StatusCode::NOT_FOUND, "Application not found")
}
