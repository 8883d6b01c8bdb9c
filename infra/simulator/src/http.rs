//! ARI over HTTP, with the answers of a real Asterisk.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Credentials;
use crate::over_websocket::Answers;
use crate::switch::{Create, Refusal, Switch};

type Ari = State<Arc<Switch>>;
type Parameters = Query<HashMap<String, String>>;

pub fn router(switch: Arc<Switch>, credentials: Credentials) -> Router {
    let routes = Router::new()
        .route("/asterisk/info", get(info))
        .route("/applications/{app}", get(application))
        .route("/applications/{app}/eventFilter", put(event_filter))
        .route("/channels", get(list))
        .route("/playbacks/{id}", get(playback))
        .route("/channels/create", post(create))
        .route("/channels/{id}", delete(hang_up).get(show))
        .route("/channels/{id}/dial", post(dial))
        .route("/channels/{id}/continue", post(go_on))
        .route("/channels/{id}/play/{playback}", post(play))
        .with_state(Arc::clone(&switch));
    let requests = routes.clone();
    let events = async move |query, upgrade| events(switch, requests, query, upgrade);
    Router::new()
        .nest("/ari", routes.route("/events", get(events)))
        .layer(middleware::from_fn(move |request, next| {
            authenticate(credentials.clone(), request, next)
        }))
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
        (
            StatusCode::UNAUTHORIZED,
            Json(json!({"message": "Authentication required"})),
        )
            .into_response()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::NotFound => message(StatusCode::NOT_FOUND, "Channel not found"),
            Self::Exists => message(
                StatusCode::CONFLICT,
                "Channel with given unique ID already exists",
            ),
            Self::NotInStasis => message(StatusCode::CONFLICT, "Channel not in Stasis application"),
            Self::NotDown => message(StatusCode::CONFLICT, "Channel is not in the 'Down' state"),
            Self::AllocationFailed => (
                StatusCode::INTERNAL_SERVER_ERROR,
                Json(json!({"error": "Allocation failed"})),
            )
                .into_response(),
        }
    }
}

fn message(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({"message": text}))).into_response()
}

async fn info(State(switch): Ari) -> Json<Value> {
    Json(
        json!({"status": {"startup_time": switch.started_at(), "last_reload_time": switch.started_at()},
        "system": {"version": "22.10.0-simulator", "entity_id": "02:00:00:00:00:01"}}),
    )
}

fn events(
    switch: Arc<Switch>,
    requests: Router,
    Query(parameters): Parameters,
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
struct Filter {
    #[serde(default)]
    allowed: Vec<AllowedType>,
}

#[derive(Deserialize)]
struct AllowedType {
    r#type: String,
}

async fn event_filter(
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

async fn application(State(switch): Ari, Path(app): Path<String>) -> Response {
    switch
        .show_application(&app)
        .map_or_else(no_application, |shown| Json(shown).into_response())
}

fn no_application() -> Response {
    message(StatusCode::NOT_FOUND, "Application not found")
}

async fn list(State(switch): Ari) -> Json<Vec<Value>> {
    Json(switch.show_all())
}

async fn show(State(switch): Ari, Path(id): Path<String>) -> Response {
    switch.show(&id).map_or_else(
        || Refusal::NotFound.into_response(),
        |channel| Json(channel).into_response(),
    )
}

/// Parameters may be in the query or in a JSON body, as in ARI.
async fn create(
    State(switch): Ari,
    Query(query): Parameters,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_json = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value == "application/json");
    let body: Value = if is_json {
        serde_json::from_slice(&body).unwrap_or_default()
    } else {
        Value::Null
    };
    let text = |name: &str| {
        query
            .get(name)
            .cloned()
            .or_else(|| Some(body.get(name)?.as_str()?.to_owned()))
            .unwrap_or_default()
    };
    let variable = |name: &str| {
        body.pointer(&format!("/variables/{name}"))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (endpoint, app) = (text("endpoint"), text("app"));
    if endpoint.is_empty() || app.is_empty() {
        return message(StatusCode::BAD_REQUEST, "Endpoint must be specified");
    }
    let id = Some(text("channelId")).filter(|id| !id.is_empty());
    let result = switch.create(Create {
        id: id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        endpoint,
        app,
        app_args: text("appArgs"),
        caller_number: variable("CALLERID(num)"),
        caller_name: variable("CALLERID(name)"),
    });
    result.map_or_else(IntoResponse::into_response, |channel| {
        Json(channel).into_response()
    })
}

async fn dial(State(switch): Ari, Path(id): Path<String>, Query(query): Parameters) -> Response {
    let seconds = query
        .get("timeout")
        .and_then(|seconds| seconds.parse().ok())
        .filter(|seconds| *seconds > 0);
    // Without a timeout Asterisk dials for ever; a day is as good.
    done(switch.dial(&id, Duration::from_secs(seconds.unwrap_or(86_400))))
}

async fn go_on(State(switch): Ari, Path(id): Path<String>, Query(query): Parameters) -> Response {
    let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
    done(switch.go_on(&id, text("context"), text("extension")))
}

async fn play(
    State(switch): Ari,
    Path((id, playback)): Path<(String, String)>,
    Query(query): Parameters,
) -> Response {
    let media = query.get("media").map(String::as_str).unwrap_or_default();
    match switch.start_playback(&id, &playback, media) {
        Ok(shown) => (StatusCode::CREATED, Json(shown)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn playback(State(switch): Ari, Path(id): Path<String>) -> Response {
    switch.show_playback(&id).map_or_else(
        || message(StatusCode::NOT_FOUND, "Playback not found"),
        |playback| Json(playback).into_response(),
    )
}

async fn hang_up(State(switch): Ari, Path(id): Path<String>) -> Response {
    done(switch.hang_up(&id))
}

fn done(result: Result<(), Refusal>) -> Response {
    result.map_or_else(IntoResponse::into_response, |()| {
        StatusCode::NO_CONTENT.into_response()
    })
}
