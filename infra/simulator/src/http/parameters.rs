//! The parameters of a request, which may be in the query or in a JSON body.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{FromRequest, Query, Request};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

/// What a request says besides its path. The query comes first.
pub struct Parameters {
    query: HashMap<String, String>,
    body: Value,
}

impl Parameters {
    /// A parameter, if it was given. The items of a list have commas between them.
    pub fn get(&self, name: &str) -> Option<String> {
        if let Some(text) = self.query.get(name) {
            return Some(text.clone());
        }
        match self.body.get(name)? {
            Value::Array(items) => {
                let items: Vec<_> = items.iter().filter_map(text_of).collect();
                Some(items.join(","))
            }
            value => text_of(value),
        }
    }

    /// A parameter; empty if it was not given.
    pub fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default()
    }

    /// The channel variables.
    pub fn variables(&self) -> HashMap<String, String> {
        let given = self.body.get("variables").and_then(Value::as_object);
        let given = given.into_iter().flatten();
        given
            .filter_map(|(name, value)| Some((name.clone(), text_of(value)?)))
            .collect()
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl<S: Send + Sync> FromRequest<S> for Parameters {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let Query(query) =
            Query::try_from_uri(request.uri()).map_err(IntoResponse::into_response)?;
        let is_json = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value == "application/json");
        let body = Bytes::from_request(request, state)
            .await
            .map_err(IntoResponse::into_response)?;
        let body = if is_json {
            serde_json::from_slice(&body).unwrap_or_default()
        } else {
            Value::Null
        };
        Ok(Self { query, body })
    }
}
