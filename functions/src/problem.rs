//! Errors as clients see them: problem details (RFC 9457). Nothing internal is in them.

use std::fmt;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What is wrong with one field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field's name, or `body`.
    pub field: String,
    /// What the field must be.
    pub detail: String,
}

/// An error answer.
#[derive(Clone, Debug)]
pub struct Problem(Box<Details>);

#[derive(Clone, Debug)]
struct Details {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    call_id: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// An error as clients see it: a problem (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub struct ProblemBody {
    /// What kind of problem it is; does not change.
    #[schema(example = "urn:problem:invalid-request")]
    r#type: String,
    /// The kind in words.
    title: String,
    /// The response's status.
    status: u16,
    /// What happened this time.
    detail: String,
    /// What is wrong with each field of the request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<FieldError>,
    /// The call that this is about, if it may have been queued.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    call_id: Option<String>,
}

impl Problem {
    fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Details {
            status,
            kind,
            title,
            detail: detail.into(),
            errors: Vec::new(),
            call_id: None,
            headers: Vec::new(),
        }))
    }

    /// 422: fields of the request are wrong. A field of which several things are wrong has several errors, and is
    /// named once in the problem's own `detail`.
    #[must_use]
    pub fn invalid_request(errors: Vec<FieldError>) -> Self {
        let mut fields: Vec<&str> = Vec::new();
        for error in &errors {
            if !fields.contains(&error.field.as_str()) {
                fields.push(&error.field);
            }
        }
        let detail = format!("not valid: {}", fields.join(", "));
        let mut problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-request",
            "The request is not valid",
            detail,
        );
        problem.0.errors = errors;
        problem
    }

    /// 422: one field of the request is wrong.
    #[must_use]
    pub fn invalid_field(field: &str, detail: impl fmt::Display) -> Self {
        Self::invalid_request(vec![FieldError {
            field: field.to_owned(),
            detail: detail.to_string(),
        }])
    }

    /// 400: what came is not an HTTP request.
    #[must_use]
    pub fn unreadable_request() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "unreadable-request",
            "The request cannot be read",
            "the method, the path, the query, a header or the body is not what HTTP allows",
        )
    }

    /// 413: the body is larger than any valid one.
    #[must_use]
    pub fn body_too_large(limit: usize) -> Self {
        let detail = format!("a body has at most {limit} bytes");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "The body is too large",
            detail,
        )
    }

    /// 415: the body is of another media type.
    #[must_use]
    pub fn unsupported_media_type(expected: &str) -> Self {
        let detail = format!("the body must be {expected}");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "The media type is not supported",
            detail,
        )
    }

    /// 415: the body is packed.
    #[must_use]
    pub fn unsupported_encoding() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-content-encoding",
            "The content encoding is not supported",
            "the body must be sent as it is, without Content-Encoding",
        )
        // RFC 9110, section 12.5.3.
        .with_header(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        )
    }

    /// 401, with the challenge of RFC 6750, section 3.
    #[must_use]
    pub fn unauthorized(challenge: &'static str, detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "A valid access token is needed",
            detail,
        )
        .with_header(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static(challenge),
        )
    }

    /// 403: the token is valid but does not grant this.
    #[must_use]
    pub fn forbidden(challenge: HeaderValue, detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "insufficient-scope",
            "The access token does not grant this",
            detail,
        )
        .with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// 404: no such call.
    #[must_use]
    pub fn call_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "call-not-found",
            "There is no such call",
            "no call has this id",
        )
    }

    /// 409: the call is over, so there is nothing to hang up.
    #[must_use]
    pub fn call_over(status: &str) -> Self {
        let detail = format!("the call is {status}");
        Self::new(
            StatusCode::CONFLICT,
            "call-over",
            "The call is over",
            detail,
        )
    }

    /// 404: no such route.
    #[must_use]
    pub fn route_not_found() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "There is nothing here",
            "no route has this path",
        )
    }

    /// 405. The `Allow` header is the router's to add.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "The method is not allowed",
            "this path takes other methods, which Allow names",
        )
    }

    /// 429: the user's calls for the day are spent; nobody was or will be called.
    #[must_use]
    pub fn daily_calls_spent(retry_after: Duration) -> Self {
        let seconds = retry_after.as_millis().div_ceil(1_000);
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "daily-calls-spent",
            "The calls of the day are spent",
            "the user may ask for no more calls before midnight (UTC)",
        )
        .with_header(
            header::RETRY_AFTER,
            HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)),
        )
    }

    /// 503: something this depends on does not answer; nobody was or will be called.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "The service is not available now",
            detail,
        )
        .with_header(header::RETRY_AFTER, HeaderValue::from_static("5"))
    }

    /// 500: whether the call was queued cannot be told; its status will.
    #[must_use]
    pub fn outcome_unknown(call_id: String) -> Self {
        let mut problem = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "outcome-unknown",
            "Whether the call was queued is not known",
            "read the call's status before asking for it again",
        );
        problem.0.call_id = Some(call_id);
        problem
    }

    /// 500, with nothing told.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Something went wrong",
            "the X-Request-ID of this answer finds it in the log",
        )
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }
}

impl Problem {
    /// The problem as clients see it.
    #[must_use]
    pub fn body(&self) -> ProblemBody {
        let Self(problem) = self;
        ProblemBody {
            r#type: format!("urn:problem:{}", problem.kind),
            title: problem.title.to_owned(),
            status: problem.status.as_u16(),
            detail: problem.detail.clone(),
            errors: problem.errors.clone(),
            call_id: problem.call_id.clone(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = self.body();
        let Self(problem) = self;
        let mut response = (problem.status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(problem.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_named_once_however_much_of_it_is_wrong() {
        let error = |field: &str, detail: &str| FieldError {
            field: field.to_owned(),
            detail: detail.to_owned(),
        };
        let problem = Problem::invalid_request(vec![
            error("variables", "must not have TRUNK"),
            error("timeout", "is too long"),
            error("variables", "must not have MONITOR_EXEC"),
        ]);
        assert_eq!(problem.0.detail, "not valid: variables, timeout");
        assert_eq!(problem.0.errors.len(), 3);
    }
}
