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
use cloud::{UserStore, clock, error, password};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::client_address::ClientAddress;
use crate::form::{self, NotRead};
use crate::jwt::{Jwt, Scope};
use crate::login::{Admission, LoginGuard};
use crate::payload::{check_encoding, unread};
use crate::problem::Problem;

/// What the token function works with.
#[derive(Clone)]
pub struct TokenState {
    users: Option<UserStore>,
    limiter: RateLimiter,
    guard: LoginGuard,
    jwt: Arc<Jwt>,
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
        jwt: Arc<Jwt>,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            users,
            limiter,
            guard,
            jwt,
            hashing: Arc::new(Semaphore::new(cores)),
            hashing_of_known: Arc::new(Semaphore::new(1)),
            hashes: Arc::default(),
        }
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
    /// The scopes that are wanted, with spaces between them; all unless given.
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
    let admission = match state.guard.admit(&request.username, address).await {
        Ok(Admission::Refused) => {
            tracing::info!("too many strangers ask for tokens");
            return TOO_MANY_STRANGERS.into_response();
        }
        Ok(admission) => admission,
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
    let succeeded = matches && user.is_some_and(|user| !user.disabled);
    let noted = state.guard.note(&username, address, admission, succeeded);
    if let Err(error) = noted.await {
        tracing::error!(error = %error::chain(&error), "the login could not be noted");
        return Problem::unavailable("tokens cannot be given now").into_response();
    }
    if !succeeded {
        tracing::info!("a token was refused");
        return WRONG_CREDENTIALS.into_response();
    }
    issue(&state.jwt, &username, &scopes)
}

fn issue(jwt: &Jwt, username: &str, scopes: &[Scope]) -> Response {
    let names: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
    match jwt.issue(username, scopes, clock::now()) {
        Ok(access_token) => {
            let token = Token {
                access_token,
                token_type: "bearer",
                expires_in: jwt.lifetime().as_secs(),
                scope: names.join(" "),
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

/// The scopes asked for, or all of them.
fn read_scopes(text: &str) -> Result<Vec<Scope>, OauthError> {
    let asked: Vec<_> = text.split(' ').filter(|name| !name.is_empty()).collect();
    if asked.is_empty() {
        return Ok(Scope::ALL.to_vec());
    }
    if asked
        .iter()
        .any(|name| Scope::ALL.iter().all(|scope| scope.as_str() != *name))
    {
        return Err(OauthError::bad(
            "invalid_scope",
            "the scopes are calls:write and calls:read",
        ));
    }
    Ok(Scope::ALL
        .into_iter()
        .filter(|scope| asked.contains(&scope.as_str()))
        .collect())
}
