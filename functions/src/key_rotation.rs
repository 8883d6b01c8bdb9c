//! Keys that change while a function runs: read again every few minutes, and when a token names a key that is not
//! known. Whoever puts a new key into Secrets Manager has nothing to deploy.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use cloud::kept_keys::KeptKeys;
use cloud::{clock, error};
use domain::Timestamp;

use crate::access::bearer_token;
use crate::cursor::Cursors;
use crate::jwt::Jwt;
use crate::settings::check_pair;

/// Keys that are older are read again.
const FRESH_FOR: Duration = Duration::from_mins(5);
/// Tokens of unknown keys, which anybody can make up, have the keys read no more often than this.
const AT_MOST_EVERY: Duration = Duration::from_secs(10);

/// What has to be told of new keys.
pub struct KeyRotation {
    kept: KeptKeys,
    jwt: Arc<Jwt>,
    cursors: Arc<Cursors>,
    read_at: Mutex<Timestamp>,
}

impl KeyRotation {
    /// Of keys that have just been read.
    #[must_use]
    pub fn new(kept: KeptKeys, jwt: Arc<Jwt>, cursors: Arc<Cursors>) -> Self {
        Self {
            kept,
            jwt,
            cursors,
            read_at: Mutex::new(clock::now()),
        }
    }

    /// Whether the keys are to be read now; whoever is told so does it.
    fn is_due(&self, known: bool, now: Timestamp) -> bool {
        let mut read_at = self.read_at.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh_for = if known { FRESH_FOR } else { AT_MOST_EVERY };
        let due = now.since(*read_at) >= fresh_for;
        if due {
            *read_at = now;
        }
        due
    }

    /// Reads the keys now, whatever their age. If that fails, those of before stay, and the log says
    /// why.
    pub async fn read(&self) {
        let keys = match self.kept.read().await {
            Ok(keys) => keys,
            Err(error) => {
                tracing::error!(error = %error::chain(&error), "the key was not read again; the one before stays");
                return;
            }
        };
        let keys = match check_pair(keys, false) {
            Ok(keys) => keys,
            Err(problem) => {
                tracing::error!(problem, "the new key is not taken; the one before stays");
                return;
            }
        };
        self.jwt.set_keys(&keys);
        self.cursors.set_keys(&keys);
    }
}

/// Reads the keys before a request that needs them.
pub async fn rotate(
    State(rotation): State<Arc<KeyRotation>>,
    request: Request,
    next: Next,
) -> Response {
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(bearer_token);
    let known = token.is_none_or(|token| rotation.jwt.knows_key_of(token));
    if rotation.is_due(known, clock::now()) {
        rotation.read().await;
    }
    next.run(request).await
}
