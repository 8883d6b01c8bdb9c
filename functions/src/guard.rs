//! Around every route: what every answer has, what no answer shows, and which pages of other
//! origins may ask.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cloud::settings::Reader;
use futures_util::FutureExt;
use tokio::time::timeout;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::problem::Problem;
use crate::request_id::X_REQUEST_ID;

/// Longest that a request may take: less than API Gateway's 30 seconds, more than all that is tried
/// underneath.
const PATIENCE: Duration = Duration::from_secs(25);

/// Which origins' pages may call the API.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins(Vec<HeaderValue>);

impl AllowedOrigins {
    /// Reads `ALLOWED_ORIGINS`: `*`, or exact origins with commas between them. None unless given.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let text = reader.text("ALLOWED_ORIGINS").unwrap_or_default();
        let mut origins = Vec::new();
        for origin in text.split(',').map(str::trim).filter(|o| !o.is_empty()) {
            match HeaderValue::from_str(origin) {
                Ok(value) if is_origin(origin) => origins.push(value),
                _ => reader.reject(
                    "ALLOWED_ORIGINS",
                    "must be * or origins such as https://app.example.com, with commas between them",
                ),
            }
        }
        if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
            reader.reject("ALLOWED_ORIGINS", "must be * alone, or origins without a *");
        }
        Self(origins)
    }

    /// What answers the browsers. Never with credentials: tokens are in a header, not in cookies.
    pub fn layer(&self) -> CorsLayer {
        let origins = if self.0.iter().any(|origin| origin == "*") {
            AllowOrigin::any()
        } else {
            AllowOrigin::list(self.0.clone())
        };
        CorsLayer::new()
            .allow_origin(origins)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                HeaderName::from_static("idempotency-key"),
                X_REQUEST_ID,
            ])
            .expose_headers([
                header::LOCATION,
                header::RETRY_AFTER,
                header::WWW_AUTHENTICATE,
                X_REQUEST_ID,
                HeaderName::from_static("idempotent-replayed"),
                HeaderName::from_static("ratelimit"),
                HeaderName::from_static("ratelimit-policy"),
            ])
            .max_age(Duration::from_mins(10))
    }

    /// Whether there are any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `*`, or a scheme and a host with nothing after it.
fn is_origin(text: &str) -> bool {
    text == "*"
        || text.split_once("://").is_some_and(|(scheme, host)| {
            matches!(scheme, "http" | "https")
                && !host.is_empty()
                // Browsers send a name in ASCII (RFC 6454, section 6.2).
                && host.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@*".contains(&b))
        })
}

/// What goes wrong underneath becomes a 500 that shows nothing; the log has the rest, with the
/// request's id.
pub async fn catch(request: Request, next: Next) -> Response {
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match timeout(PATIENCE, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            let said = panic
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            tracing::error!(said, "a handler panicked");
            Problem::internal().into_response()
        }
        Err(_) => {
            tracing::error!(after_ms = PATIENCE.as_millis(), "a request took too long");
            Problem::internal().into_response()
        }
    }
}

/// Joins the values of a header that a request repeats with commas (RFC 9110, section 5.3). The API
/// Gateway does the same, so that a request is understood alike wherever the API is served.
pub async fn join_headers(mut request: Request, next: Next) -> Response {
    let headers = request.headers_mut();
    if headers.len() > headers.keys_len() {
        let names: Vec<_> = headers.keys().cloned().collect();
        for name in names {
            let values: Vec<_> = headers.get_all(&name).iter().collect();
            if values.len() < 2 {
                continue;
            }
            let values: Vec<_> = values.into_iter().map(HeaderValue::as_bytes).collect();
            // What is joined from values of headers is one, too.
            if let Ok(joined) = HeaderValue::from_bytes(&values.join(&b',')) {
                headers.insert(name, joined);
            }
        }
    }
    next.run(request).await
}

/// What every answer has, unless it has it already.
pub async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        insert_missing(headers, name, value);
    }
    response
}

fn insert_missing(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers
        .entry(name)
        .or_insert(HeaderValue::from_static(value));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::Router;
    use axum::body::Body;
    use axum::http::StatusCode;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_gets_an_answer_that_shows_nothing() {
        let stuck = async || {
            tokio::time::sleep(Duration::from_hours(1)).await;
            "never"
        };
        let routes = Router::new().route("/", get(stuck));
        let served = crate::router::finish(routes, &AllowedOrigins::default());
        let request = Request::builder().body(Body::empty()).unwrap();
        let response = served.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(response.headers().contains_key(&X_REQUEST_ID));
        let body = axum::body::to_bytes(response.into_body(), 10_000)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "urn:problem:internal");
    }

    #[tokio::test]
    async fn a_header_that_is_repeated_is_one_with_commas() {
        let echo = async |headers: HeaderMap| {
            let mut all: Vec<_> = headers
                .iter()
                .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
                .collect();
            all.sort_unstable();
            all.join(" ")
        };
        let routes = Router::new().route("/", get(echo));
        let served = crate::router::finish(routes, &AllowedOrigins::default());
        let request = Request::builder()
            .header("idempotency-key", "a")
            .header("x-other", "b")
            .header("idempotency-key", "c");
        let request = request.body(Body::empty()).unwrap();
        let response = served.oneshot(request).await.unwrap();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await;
        assert_eq!(body.unwrap(), "idempotency-key=a,c x-other=b");
    }

    fn read(text: &str) -> Result<AllowedOrigins, String> {
        let source = BTreeMap::from([("ALLOWED_ORIGINS".to_owned(), text.to_owned())]);
        let mut reader = Reader::new(&source);
        let origins = AllowedOrigins::read(&mut reader);
        reader.finish(Some(origins)).map_err(|e| e.to_string())
    }

    #[test]
    fn origins_are_exact_or_a_star() {
        for good in [
            "",
            "*",
            "https://a.example",
            "https://a.example, http://localhost:3000",
        ] {
            assert!(read(good).is_ok(), "{good}");
        }
        for bad in [
            "a.example",
            "https://a.example/",
            "https://*.example",
            "https://é.example",
            "ftp://a",
            "*,https://a",
        ] {
            assert!(read(bad).unwrap_err().contains("ALLOWED_ORIGINS"), "{bad}");
        }
    }
}
