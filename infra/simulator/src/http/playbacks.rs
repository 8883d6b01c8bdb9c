//! Requests about what is played.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::parameters::Parameters;
use super::{Ari, message};

pub async fn play(
    State(switch): Ari,
    Path(path): Path<HashMap<String, String>>,
    given: Parameters,
) -> Response {
    let id = path.get("id").map(String::as_str).unwrap_or_default();
    let playback = path
        .get("playback")
        .cloned()
        .or_else(|| given.get("playbackId"))
        .unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    match switch.start_playback(id, &playback, &given.text("media")) {
        Ok(shown) => (StatusCode::CREATED, Json(shown)).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

pub async fn show(State(switch): Ari, Path(id): Path<String>) -> Response {
    switch
        .show_playback(&id)
        .map_or_else(not_found, |playback| Json(playback).into_response())
}

pub async fn stop(State(switch): Ari, Path(id): Path<String>) -> Response {
    switch
        .stop_playback(&id)
        .map_or_else(not_found, |()| StatusCode::NO_CONTENT.into_response())
}

fn not_found() -> Response {
    message(StatusCode::NOT_FOUND, "Playback not found")
}
