//! `POST /token`: the `OAuth2` password grant (RFC 6749, section 4.3).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cloud::rate_limit::RateLimiter;
use cloud::users::check_username;
use cloud::{Standing, StandingStore, UserStore, clock, error, password, scope};
use domain::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::client_address::ClientAddress;
use crate::form::{self, NotRead};
use crate::jwt::{Jwt, Scope};
use crate::key_rotation::KeyRotation;
use crate::login::{Admission, LoginGuard};
use crate::payload::{check_encoding, unread};
use crate::problem::Problem;

/// What the token function works with.
#[derive(Clone)]
pub struct TokenState {
    users: Option<UserStore>,
    limiter: RateLimiter,
    guard: LoginGuard,
    standings: StandingStore,
    jwt: Arc<Jwt>,
    /// What reads the key anew when the one that signs is revoked; nothing if the key is in the
    /// configuration.
    rotation: Option<Arc<KeyRotation>>,
    /// Hashes take memory and a core each: so many at once for strangers.
    hashing: Arc<Semaphore>,
    /// The place at the hash of those whose address is known.
    hashing_of_known: Arc<Semaphore>,
    /// Hashes that were begun.
    hashes: Arc<AtomicU64>,
}

impl TokenState {
    /// Without `users` (`DISABLE_DB`) every request is answered with 503.
    #[must_use]
    pub fn new(
        users: Option<UserStore>,
        limiter: RateLimiter,
        guard: LoginGuard,
        standings: StandingStore,
        jwt: Arc<Jwt>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            users,
            limiter,
            guard,
            standings,
            jwt,
            rotation: None,
            hashing: Arc::new(Semaphore::new(cores)),
            hashing_of_known: Arc::new(Semaphore::new(1)),
            hashes: Arc::default(),
        }
    }

    /// The same with keys that `rotation` can read anew.
    #[must_use]
    pub fn rotated_by(mut self, rotation: Option<Arc<KeyRotation>>) -> Self {
        self.rotation = rotation;
        self
    }

    /// How many passwords have been hashed so far.
    #[must_use]
    pub fn hashes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.hashes)
    }
}

// The field names are RFC 6749's.
#[allow(clippy::struct_field_names)]
/// A request for a token (RFC 6749, section 4.3.2). Each parameter may come once (section 3.1);
/// those that are not known are passed over (section 3.2).
#[derive(Deserialize, ToSchema)]
pub struct Grant {
    /// `password`, or nothing.
    #[schema(nullable = false, pattern = "^(?:password)?$", example = "password")]
    grant_type: Option<String>,
    /// The user.
    #[schema(nullable = false, required = true, example = "demo")]
    username: Option<String>,
    /// The user's password.
    #[schema(nullable = false, required = true, format = Password)]
    password: Option<String>,
    /// The scopes that are wanted, with spaces between them; all that the user has unless given.
    #[schema(
        nullable = false,
        pattern = "^ *(?:(?:calls:write|calls:read)(?: +(?:calls:write|calls:read))* *)?$",
        example = "calls:read"
    )]
    scope: Option<String>,
}

#[allow(clippy::struct_field_names)]
/// A token (RFC 6749, section 5.1).
#[derive(Serialize, ToSchema)]
pub struct Token {
    /// Goes into `Authorization: Bearer`.
    access_token: String,
    /// Always `bearer`.
    #[schema(example = "bearer")]
    token_type: &'static str,
    /// Seconds.
    #[schema(example = 1_800)]
    expires_in: u64,
    /// What it grants.
    #[schema(example = "calls:write calls:read")]
    scope: String,
}

/// An error in RFC 6749's form, section 5.2.
#[derive(Debug)]
struct OauthError {
    status: StatusCode,
    error: &'static str,
    description: &'static str,
}

impl OauthError {
    const fn bad(error: &'static str, description: &'static str) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            error,
            description,
        }
    }
}

const WRONG_CREDENTIALS: OauthError = OauthError {
    // RFC 6749 allows 400; the service this replaces answered 401.
    status: StatusCode::UNAUTHORIZED,
    error: "invalid_grant",
    description: "the username or the password is wrong",
};

const TOO_MANY: OauthError = OauthError {
    status: StatusCode::TOO_MANY_REQUESTS,
    error: "temporarily_unavailable",
    description: "too many requests from this address; Retry-After says when to try again",
};

const TOO_MANY_STRANGERS: OauthError = OauthError {
    status: StatusCode::TOO_MANY_REQUESTS,
    error: "temporarily_unavailable",
    description: "too many logins from addresses that are not known yet; try again in a second",
};

/// An error of the token endpoint (RFC 6749, section 5.2).
#[derive(Serialize, ToSchema)]
pub struct OauthBody {
    /// The error's code.
    #[schema(example = "invalid_grant")]
    error: &'static str,
    /// The error in words.
    #[schema(example = "the username or the password is wrong")]
    error_description: &'static str,
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let body = OauthBody {
            error: self.error,
            error_description: self.description,
        };
        let mut response = (self.status, no_store(), Json(body)).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            // That of the address, which is longer, takes its place.
            let soon = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, soon);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(r#"Bearer realm="calls""#),
            );
        }
        response
    }
}

fn no_store() -> [(header::HeaderName, HeaderValue); 2] {
    [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::PRAGMA, HeaderValue::from_static("no-cache")),
    ]
}

/// Handles a request for a token: within the client's limit, which its answer tells.
#[utoipa::path(
    post, path = "/token", tag = "token", operation_id = "create_token",
    summary = "A token for a username and a password",
    description = "The OAuth2 password grant. Limited per client address: `RateLimit` and `RateLimit-Policy` tell how \
        much is left.",
    request_body(content = Grant, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "A token.", body = Token),
        (status = 400, description = "The request is wrong.", body = OauthBody),
        (status = 401, description = "The username or the password is wrong.", body = OauthBody),
        (status = 429, description = "Too many requests from this address, or too many logins from addresses that are not known yet; \
            `Retry-After` says when to try again.", body = OauthBody),
    ),
)]
pub async fn grant_token(
    State(state): State<TokenState>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let standing = match state.limiter.count(&address, clock::now()).await {
        Ok(standing) => standing,
        Err(error) => {
            tracing::error!(error = %error::chain(&error), "the rate limit could not be counted");
            return Problem::unavailable("tokens cannot be given now").into_response();
        }
    };
    let mut response = if standing.allowed {
        grant_within_limit(&state, &address, &headers, body).await
    } else {
        tracing::info!("a client asks for too many tokens");
        TOO_MANY.into_response()
    };
    // draft-ietf-httpapi-ratelimit-headers.
    let limit = state.limiter.limit();
    let reset = standing.reset.as_millis().div_ceil(1000);
    let mut fields = vec![
        (
            "ratelimit-policy",
            format!(
                "\"token\";q={};w={}",
                limit.requests,
                limit.window.as_secs()
            ),
        ),
        (
            "ratelimit",
            format!("\"token\";r={};t={reset}", standing.remaining),
        ),
    ];
    if !standing.allowed {
        fields.push(("retry-after", reset.to_string()));
    }
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

async fn grant_within_limit(
    state: &TokenState,
    address: &str,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    // The token is dated by this time, before anything is read. So a token for a password that is
    // changed meanwhile is of before the change.
    let asked_at = clock::now();
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return unread(&rejection).into_response(),
    };
    if let Err(problem) = check_encoding(headers) {
        return problem.into_response();
    }
    let request = match read_grant(headers, &body) {
        Ok(request) => request,
        Err(error) => return error.into_response(),
    };
    let Some(users) = &state.users else {
        return Problem::unavailable("there are no users: DISABLE_DB is set").into_response();
    };
    let key_id = state.jwt.signing_key_id();
    let admitted = state.guard.admit(&request.username, address, &key_id).await;
    let (admission, standing) = match admitted {
        Ok((Admission::Refused, _)) => {
            tracing::info!("too many strangers ask for tokens");
            return TOO_MANY_STRANGERS.into_response();
        }
        Ok(admitted) => admitted,
        Err(error) => {
            tracing::error!(error = %error::chain(&error), "the logins could not be read");
            return Problem::unavailable("tokens cannot be given now").into_response();
        }
    };
    if let Admission::Stranger(delay) = admission {
        tokio::time::sleep(delay).await;
    }
    let user = match users.get(&request.username).await {
        Ok(user) => user,
        Err(error) => {
            tracing::error!(error = %error::chain(&error), "the user could not be read");
            return Problem::unavailable("the users cannot be read now").into_response();
        }
    };
    // An unknown user costs the time of a wrong password.
    let hash = user.as_ref().map_or_else(
        || password::NOBODY.to_owned(),
        |user| user.password_hash.clone(),
    );
    let place = match admission {
        Admission::Known => &state.hashing_of_known,
        Admission::Stranger(_) | Admission::Refused => &state.hashing,
    };
    let Ok(permit) = Arc::clone(place).acquire_owned().await else {
        return Problem::internal().into_response();
    };
    state.hashes.fetch_add(1, Ordering::SeqCst);
    let Request {
        username,
        password,
        scopes,
    } = request;
    let matches = tokio::task::spawn_blocking(move || {
        // Held by the hash itself: a client that goes away does not let another begin.
        let _permit = permit;
        password::verify(&password, &hash)
    })
    .await
    .unwrap_or(false);
    let user = user.filter(|user| matches && !user.disabled && !standing.disabled);
    let succeeded = user.is_some();
    let noted = state.guard.note(&username, address, admission, succeeded);
    if let Err(error) = noted.await {
        tracing::error!(error = %error::chain(&error), "the login could not be noted");
        return Problem::unavailable("tokens cannot be given now").into_response();
    }
    let Some(user) = user else {
        tracing::info!("a token was refused");
        return WRONG_CREDENTIALS.into_response();
    };
    let scopes = match scopes_of_token(&scopes, &user.scopes) {
        Ok(scopes) => scopes,
        Err(error) => return error.into_response(),
    };
    if standing.key_revoked
        && let Err(problem) = replace_key(state, &username, &key_id).await
    {
        return problem.into_response();
    }
    issue(
        &state.jwt,
        &username,
        &scopes,
        issued_at(asked_at, standing),
    )
}

/// Has another key sign than the one with the id `revoked`.
async fn replace_key(state: &TokenState, username: &str, revoked: &str) -> Result<(), Problem> {
    let unavailable = || Problem::unavailable("tokens cannot be given now");
    if let Some(rotation) = &state.rotation {
        rotation.read().await;
    }
    let key_id = state.jwt.signing_key_id();
    if key_id == revoked {
        tracing::error!(
            key_id,
            "the key that signs tokens is revoked: put a new key in its place"
        );
        return Err(unavailable());
    }
    match state.standings.read(username, &key_id).await {
        Ok(standing) if standing.key_revoked => {
            tracing::error!(key_id, "the new key that signs tokens is revoked, too");
            Err(unavailable())
        }
        Ok(_) => {
            tracing::info!(
                key_id,
                "the key that signs tokens was revoked; another has its place"
            );
            Ok(())
        }
        Err(error) => {
            tracing::error!(error = %error::chain(&error), "what is recorded of the new key could not be read");
            Err(unavailable())
        }
    }
}

/// When a token says that it was issued: when it was asked for, but after what ends earlier tokens.
/// So a token that is asked for right after a change is good, up to seconds before its time.
fn issued_at(asked_at: Timestamp, standing: Standing) -> Timestamp {
    let first_good = standing.not_before.map(|second| second.saturating_add(1));
    let first_good = first_good.map(|second| Timestamp::from_millis(second.saturating_mul(1_000)));
    first_good.map_or(asked_at, |first| asked_at.max(first))
}

fn issue(jwt: &Jwt, username: &str, scopes: &[Scope], issued_at: Timestamp) -> Response {
    match jwt.issue(username, scopes, issued_at) {
        Ok(access_token) => {
            let token = Token {
                access_token,
                token_type: "bearer",
                expires_in: jwt.lifetime().as_secs(),
                scope: scope::join(scopes),
            };
            (no_store(), Json(token)).into_response()
        }
        Err(error) => {
            tracing::error!(error = %error::chain(&error), "the token could not be signed");
            Problem::internal().into_response()
        }
    }
}

struct Request {
    username: String,
    password: String,
    /// All that the user has if it is empty.
    scopes: Vec<Scope>,
}

fn read_grant(headers: &HeaderMap, body: &[u8]) -> Result<Request, OauthError> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let grant: Grant = form::read(content_type, body).map_err(|not_read| {
        let description = match not_read {
            NotRead::OtherType => {
                "the body must be application/x-www-form-urlencoded or multipart/form-data"
            }
            NotRead::Malformed => "the form cannot be read, or one of its fields is there twice",
        };
        OauthError::bad("invalid_request", description)
    })?;
    if grant
        .grant_type
        .is_some_and(|kind| kind != "password" && !kind.is_empty())
    {
        return Err(OauthError::bad(
            "unsupported_grant_type",
            "grant_type must be password",
        ));
    }
    let (Some(username), Some(password)) = (grant.username, grant.password) else {
        return Err(OauthError::bad(
            "invalid_request",
            "username and password are required",
        ));
    };
    if check_username(&username).is_err() || password.len() > password::MAX_PASSWORD_LENGTH {
        return Err(WRONG_CREDENTIALS);
    }
    Ok(Request {
        username,
        password,
        scopes: read_scopes(grant.scope.as_deref().unwrap_or_default())?,
    })
}

/// The scopes asked for; none if none is named.
fn read_scopes(text: &str) -> Result<Vec<Scope>, OauthError> {
    let mut scopes = Vec::new();
    for name in text.split(' ').filter(|name| !name.is_empty()) {
        match Scope::named(name) {
            Some(scope) => scopes.push(scope),
            None => {
                return Err(OauthError::bad(
                    "invalid_scope",
                    "the scopes are calls:write and calls:read",
                ));
            }
        }
    }
    Ok(scopes)
}

/// What a token grants: what was asked for, or all that the user has. Whoever asks for more than the
/// user has gets no token (RFC 6749, section 5.2), because less would fail later and elsewhere.
fn scopes_of_token(asked: &[Scope], of_user: &[Scope]) -> Result<Vec<Scope>, OauthError> {
    if of_user.is_empty() || asked.iter().any(|scope| !of_user.contains(scope)) {
        return Err(OauthError::bad(
            "invalid_scope",
            "the user may not have a scope that is asked for",
        ));
    }
    let granted =
        |scope: &Scope| of_user.contains(scope) && (asked.is_empty() || asked.contains(scope));
    Ok(Scope::ALL.into_iter().filter(granted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_grants_no_more_than_the_user_has() {
        const READ: &[Scope] = &[Scope::CallsRead];
        let granted = |asked: &str, of_user: &[Scope]| {
            let asked = read_scopes(asked).map_err(|error| error.error)?;
            scopes_of_token(&asked, of_user).map_err(|error| error.error)
        };
        let both = Scope::ALL.to_vec();
        assert_eq!(granted("", &Scope::DEFAULT), Ok(both.clone()));
        assert_eq!(granted("", READ), Ok(READ.to_vec()));
        assert_eq!(granted("calls:read", &Scope::DEFAULT), Ok(READ.to_vec()));
        let in_any_order = granted("calls:read  calls:write", &Scope::DEFAULT);
        assert_eq!(in_any_order, Ok(both));
        for (asked, of_user) in [
            ("calls:write", READ),
            ("calls:read calls:write", READ),
            ("", &[]),
            ("calls:read", &[]),
            ("admin", &Scope::DEFAULT),
        ] {
            assert_eq!(granted(asked, of_user), Err("invalid_scope"), "{asked}");
        }
    }

    #[test]
    fn a_token_that_is_asked_for_after_a_change_is_good() {
        let changed = |not_before| Standing {
            not_before,
            ..Standing::default()
        };
        let asked_at = Timestamp::from_millis(1_700_000_000_400);
        for not_before in [
            None,
            Some(1_699_999_999),
            Some(1_700_000_000),
            Some(1_700_000_005),
        ] {
            let standing = changed(not_before);
            let at = issued_at(asked_at, standing);
            assert_eq!(standing.judge(at.as_secs()), Ok(()), "{not_before:?}");
            assert!(at >= asked_at);
        }
        assert_eq!(issued_at(asked_at, changed(Some(1_699_999_999))), asked_at);
    }
}
