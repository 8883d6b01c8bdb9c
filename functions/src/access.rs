//! Who may use a route: bearer tokens (RFC 6750), what has ended them, and the scopes they grant.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};

use cloud::{StandingStore, clock, error};

use crate::jwt::{Bearer, Jwt, Scope};
use crate::problem::Problem;
use crate::standings::Standings;

const NO_TOKEN: &str = r#"Bearer realm="calls""#;
const BAD_TOKEN: &str = r#"Bearer realm="calls", error="invalid_token""#;

/// What decides about the tokens of requests.
#[derive(Clone)]
pub struct Access {
    jwt: Arc<Jwt>,
    standings: Arc<Standings>,
}

impl Access {
    /// With the keys of `jwt`, and what is recorded of users and keys.
    #[must_use]
    pub fn new(jwt: Arc<Jwt>, store: StandingStore) -> Self {
        Self {
            jwt,
            standings: Arc::new(Standings::new(store)),
        }
    }

    /// Whoever bears this token, if nothing has ended it.
    async fn check(&self, token: &str) -> Result<Bearer, Problem> {
        let invalid = |why: String| Problem::unauthorized(BAD_TOKEN, why);
        let bearer = self
            .jwt
            .verify(token)
            .map_err(|error| invalid(error.to_string()))?;
        let (user, key) = (&bearer.subject, &bearer.key_id);
        let standing = self.standings.of(user, key, clock::now()).await;
        let standing = standing.map_err(|error| {
            tracing::error!(error = %error::chain(&error), "what has ended tokens could not be read");
            Problem::unavailable("access tokens cannot be checked now")
        })?;
        if let Err(void) = standing.judge(bearer.issued_at) {
            tracing::info!(%void, key_id = %bearer.key_id, "a token is void");
            return Err(invalid("the access token is no longer valid".to_owned()));
        }
        Ok(bearer)
    }
}

/// A request whose token grants placing calls.
pub struct MayWrite(pub Bearer);

/// A request whose token grants reading calls.
pub struct MayRead(pub Bearer);

impl<S> FromRequestParts<S> for MayWrite
where
    Access: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        authorize(parts, &Access::from_ref(state), Scope::CallsWrite)
            .await
            .map(Self)
    }
}

impl<S> FromRequestParts<S> for MayRead
where
    Access: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        authorize(parts, &Access::from_ref(state), Scope::CallsRead)
            .await
            .map(Self)
    }
}

/// The token in an `Authorization` header.
pub fn bearer_token(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn authorize(parts: &Parts, access: &Access, scope: Scope) -> Result<Bearer, Problem> {
    let Some(value) = parts.headers.get(header::AUTHORIZATION) else {
        return Err(Problem::unauthorized(NO_TOKEN, "no access token was sent"));
    };
    let Some(token) = bearer_token(value) else {
        return Err(Problem::unauthorized(
            NO_TOKEN,
            "the Authorization header must be: Bearer TOKEN",
        ));
    };
    let bearer = access.check(token).await?;
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
