//! An answer in the form that Lambda hands to the API Gateway.

use std::pin::Pin;

use axum::body::to_bytes;
use axum::response::Response;
use lambda_http::{Body, IntoResponse};

/// An answer of a router.
///
/// What `lambda_http` would do with it goes by its content type and knows every character set there is, which is an eighth of a
/// megabyte of tables. Here text is what is UTF-8, and all else goes in base64.
pub struct Answer(pub Response);

impl IntoResponse for Answer {
    fn into_response(self) -> Pin<Box<dyn Future<Output = lambda_http::Response<Body>> + Send>> {
        Box::pin(async {
            let (mut parts, body) = self.0.into_parts();
            let Ok(bytes) = to_bytes(body, usize::MAX).await else {
                // No answer of ours is anything but bytes that are there already.
                tracing::error!("an answer broke off");
                parts.status = lambda_http::http::StatusCode::INTERNAL_SERVER_ERROR;
                return lambda_http::Response::from_parts(parts, Body::Empty);
            };
            let body = match String::from_utf8(bytes.into()) {
                Ok(text) => Body::Text(text),
                Err(packed) => Body::Binary(packed.into_bytes()),
            };
            lambda_http::Response::from_parts(parts, body)
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    async fn body(bytes: &'static [u8]) -> Body {
        let response = Response::new(axum::body::Body::from(bytes));
        Answer(response).into_response().await.into_body()
    }

    #[tokio::test]
    async fn text_stays_text_and_all_else_is_binary() {
        let json = r#"{"name": "Zoë"}"#;
        assert_eq!(body(json.as_bytes()).await, Body::Text(json.to_owned()));
        let packed = include_bytes!("../assets/swagger-ui.css.gz");
        assert_eq!(body(packed).await, Body::Binary(packed.to_vec()));
        let picture = include_bytes!("../assets/favicon.png");
        assert_eq!(body(picture).await, Body::Binary(picture.to_vec()));
    }

    #[tokio::test]
    async fn status_and_headers_stay() {
        let mut response = Response::new(axum::body::Body::empty());
        *response.status_mut() = StatusCode::ACCEPTED;
        let one = axum::http::HeaderValue::from_static("1");
        response.headers_mut().insert("x-one", one);
        let answer = Answer(response).into_response().await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        assert_eq!(answer.headers()["x-one"], "1");
        assert_eq!(*answer.body(), Body::Text(String::new()));
    }
}
