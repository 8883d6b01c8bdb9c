//! Requests about channels.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::parameters::Parameters;
use super::{Ari, done, message};
use crate::switch::{Create, Place, Refusal, Unreadable};

pub async fn list(State(switch): Ari) -> Json<Vec<Value>> {
    Json(switch.show_all())
}

pub async fn show(State(switch): Ari, Path(id): Path<String>) -> Response {
    switch.show(&id).map_or_else(
        || Refusal::NotFound.into_response(),
        |channel| Json(channel).into_response(),
    )
}

pub async fn create(State(switch): Ari, given: Parameters) -> Response {
    let id = given.get("channelId").filter(|id| !id.is_empty());
    let result = switch.create(Create {
        id: id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        endpoint: given.text("endpoint"),
        app: given.text("app"),
        app_args: given.text("appArgs"),
        variables: given.variables(),
    });
    result.map_or_else(IntoResponse::into_response, |channel| {
        Json(channel).into_response()
    })
}

pub async fn dial(State(switch): Ari, Path(id): Path<String>, given: Parameters) -> Response {
    let seconds = given
        .get("timeout")
        .and_then(|seconds| seconds.parse().ok())
        .filter(|seconds| *seconds > 0);
    // Without a timeout Asterisk dials for ever; a day is as good.
    done(switch.dial(&id, Duration::from_secs(seconds.unwrap_or(86_400))))
}

pub async fn go_on(State(switch): Ari, Path(id): Path<String>, given: Parameters) -> Response {
    let priority = given.get("priority");
    let priority = priority.map_or(Some(1), |priority| priority.parse().ok());
    let to = Place {
        context: given.text("context"),
        extension: given.text("extension"),
        priority: priority.unwrap_or_default(),
    };
    done(switch.go_on(&id, to))
}

pub async fn hang_up(State(switch): Ari, Path(id): Path<String>, given: Parameters) -> Response {
    done(switch.hang_up(&id, given.get("reason").as_deref()))
}

pub async fn show_variable(
    State(switch): Ari,
    Path(id): Path<String>,
    given: Parameters,
) -> Response {
    let name = given.text("variable");
    if name.is_empty() {
        return no_variable_named();
    }
    match switch.show_variable(&id, &name) {
        Ok(shown) => Json(shown).into_response(),
        Err(Unreadable::Channel) => {
            message(StatusCode::NOT_FOUND, "Provided channel was not found")
        }
        Err(Unreadable::Variable) => {
            message(StatusCode::NOT_FOUND, "Provided variable was not found")
        }
        Err(Unreadable::Function) => message(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Unable to read provided function",
        ),
    }
}

pub async fn set_variable(
    State(switch): Ari,
    Path(id): Path<String>,
    given: Parameters,
) -> Response {
    let name = given.text("variable");
    if name.is_empty() {
        return no_variable_named();
    }
    done(switch.set_variable(&id, &name, &given.text("value")).await)
}

fn no_variable_named() -> Response {
    message(StatusCode::BAD_REQUEST, "Variable name is required")
}
