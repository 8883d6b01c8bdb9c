//! ARI's requests over a WebSocket: the same as over HTTP, in an envelope.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use crate::switch::Switch;

/// Largest answer.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Answers the requests that come over one socket.
pub struct Answers {
    pub switch: Arc<Switch>,
    /// What takes the same requests over HTTP.
    pub requests: Router,
    /// The socket's application.
    pub app: String,
}

#[derive(Deserialize)]
struct RestRequest {
    r#type: String,
    #[serde(default)]
    transaction_id: String,
    #[serde(default)]
    request_id: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    uri: String,
    #[serde(default)]
    query_strings: Vec<Parameter>,
    content_type: Option<String>,
    message_body: Option<String>,
}

#[derive(Deserialize)]
struct Parameter {
    name: String,
    value: String,
}

impl Answers {
    /// The answer to a text; `None` if there is none to be sent.
    pub async fn to(&self, text: &str) -> Option<String> {
        let request: RestRequest = serde_json::from_str(text).ok()?;
        if request.r#type != "RESTRequest" {
            return None;
        }
        let mut answer = json!({"type": "RESTResponse", "transaction_id": request.transaction_id,
            "request_id": request.request_id, "uri": request.uri});
        let given = match self.ask(request).await {
            Some(given) => given,
            None => Map::from_iter([
                ("status_code".to_owned(), json!(400)),
                ("reason_phrase".to_owned(), json!("Bad request")),
            ]),
        };
        answer.as_object_mut()?.extend(given);
        // The filter is for answers, too.
        let wanted = self.switch.allows(&self.app, "RESTResponse");
        wanted.then(|| answer.to_string())
    }

    /// What HTTP would have answered; `None` if it would not have been HTTP.
    async fn ask(&self, asked: RestRequest) -> Option<Map<String, Value>> {
        let parameters = asked.query_strings.iter();
        let parameters: Vec<_> = parameters
            .map(|given| (&given.name, &given.value))
            .collect();
        let query = serde_urlencoded::to_string(parameters).ok()?;
        let separator = if asked.uri.contains('?') { '&' } else { '?' };
        let url = format!("/{}{separator}{query}", asked.uri.trim_start_matches('/'));
        let request = Request::builder().method(asked.method.as_str()).uri(url);
        let request = match asked.content_type {
            Some(kind) => request.header(header::CONTENT_TYPE, kind),
            None => request,
        };
        let body = asked.message_body.map_or_else(Body::empty, Body::from);
        let Ok(response) = self
            .requests
            .clone()
            .oneshot(request.body(body).ok()?)
            .await;
        let status = response.status();
        let body = to_bytes(response.into_body(), MAX_ANSWER).await.ok()?;
        let mut answer = Map::new();
        answer.insert("status_code".to_owned(), json!(status.as_u16()));
        let reason = status.canonical_reason().unwrap_or_default();
        answer.insert("reason_phrase".to_owned(), json!(reason));
        if !body.is_empty() {
            answer.insert("content_type".to_owned(), json!("application/json"));
            let text = String::from_utf8_lossy(&body);
            answer.insert("message_body".to_owned(), json!(text));
        }
        Some(answer)
    }
}
