//! An answer in the form that a function hands to an HTTP API (payload format 2.0).

use std::collections::BTreeMap;

use axum::body::to_bytes;
use axum::http::{StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// An answer, as the gateway reads it. Text is what is UTF-8, and all else goes in base64.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    status_code: u16,
    /// The values of a header that is there more than once are joined: the gateway takes one.
    headers: BTreeMap<String, String>,
    /// No route sets any. `cargo lambda watch` wants the list all the same.
    cookies: [String; 0],
    body: String,
    is_base64_encoded: bool,
}

impl Answer {
    /// The answer of a router. Never fails: an answer that breaks off becomes an empty one with
    /// the status 500.
    pub async fn from_response(response: Response) -> Self {
        let (mut parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap_or_else(|error| {
            // No answer of ours is anything but bytes that are there already.
            tracing::error!(%error, "an answer broke off");
            parts.status = StatusCode::INTERNAL_SERVER_ERROR;
            axum::body::Bytes::new()
        });
        // The gateway counts for itself. What is right in the answer to a HEAD, whose body stays
        // here, would be wrong to a gateway that compares it with the body.
        parts.headers.remove(header::CONTENT_LENGTH);
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &parts.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            headers
                .entry(name.as_str().to_owned())
                .and_modify(|before| {
                    before.push_str(", ");
                    before.push_str(&value);
                })
                .or_insert_with(|| value.clone().into_owned());
        }
        let (body, is_base64_encoded) = match String::from_utf8(bytes.into()) {
            Ok(text) => (text, false),
            Err(packed) => (STANDARD.encode(packed.as_bytes()), true),
        };
        Self {
            status_code: parts.status.as_u16(),
            headers,
            cookies: [],
            body,
            is_base64_encoded,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::HeaderValue;

    use super::*;

    async fn body(bytes: &'static [u8]) -> (String, bool) {
        let answer = Answer::from_response(Response::new(Body::from(bytes))).await;
        (answer.body, answer.is_base64_encoded)
    }

    #[tokio::test]
    async fn text_stays_text_and_all_else_is_binary() {
        let json = r#"{"name": "Zoë"}"#;
        assert_eq!(body(json.as_bytes()).await, (json.to_owned(), false));
        let packed = include_bytes!("../assets/swagger-ui.css.gz");
        assert_eq!(body(packed).await, (STANDARD.encode(packed), true));
        let picture = include_bytes!("../assets/favicon.png");
        assert_eq!(body(picture).await, (STANDARD.encode(picture), true));
    }

    #[tokio::test]
    async fn status_and_headers_stay_and_repeated_ones_are_joined() {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::ACCEPTED;
        let headers = response.headers_mut();
        headers.insert("x-one", HeaderValue::from_static("1"));
        headers.append("vary", HeaderValue::from_static("origin"));
        headers.append("vary", HeaderValue::from_static("accept-encoding"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("42"));
        let answer = Answer::from_response(response).await;
        let answer = serde_json::to_value(answer).unwrap();
        let wanted = serde_json::json!({
            "statusCode": 202, "body": "", "isBase64Encoded": false, "cookies": [],
            "headers": {"x-one": "1", "vary": "origin, accept-encoding"},
        });
        assert_eq!(answer, wanted);
    }
}
