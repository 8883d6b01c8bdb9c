//! Who may use a route: bearer tokens (RFC 6750) and the scopes they grant.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};

use crate::jwt::{Bearer, Jwt, Scope};
use crate::problem::Problem;

const NO_TOKEN: &str = r#"Bearer realm="calls""#;
const BAD_TOKEN: &str = r#"Bearer realm="calls", error="invalid_token""#;

/// A request whose token grants placing calls.
pub struct MayWrite(pub Bearer);

/// A request whose token grants reading calls.
pub struct MayRead(pub Bearer);

impl<S> FromRequestParts<S> for MayWrite
where
    Arc<Jwt>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        authorize(parts, &Arc::<Jwt>::from_ref(state), Scope::CallsWrite).map(Self)
    }
}

impl<S> FromRequestParts<S> for MayRead
where
    Arc<Jwt>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        authorize(parts, &Arc::<Jwt>::from_ref(state), Scope::CallsRead).map(Self)
    }
}

/// The token in an `Authorization` header.
pub fn bearer_token(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn authorize(parts: &Parts, jwt: &Jwt, scope: Scope) -> Result<Bearer, Problem> {
    let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
        return Err(Problem::unauthorized(NO_TOKEN, "no access token was sent"));
    };
    let Some(token) = bearer_token(value) else {
        return Err(Problem::unauthorized(
            NO_TOKEN,
            "the Authorization header must be: Bearer TOKEN",
        ));
    };
    let bearer = jwt
        .verify(token)
        .map_err(|error| Problem::unauthorized(BAD_TOKEN, error.to_string()))?;
    if bearer.has(scope) {
        return Ok(bearer);
    }
    let challenge = match scope {
        Scope::CallsWrite => {
            r#"Bearer realm="calls", error="insufficient_scope", scope="calls:write""#
        }
        Scope::CallsRead => {
            r#"Bearer realm="calls", error="insufficient_scope", scope="calls:read""#
        }
    };
    Err(Problem::forbidden(
        HeaderValue::from_static(challenge),
        format!("the access token does not grant {scope}"),
    ))
}
