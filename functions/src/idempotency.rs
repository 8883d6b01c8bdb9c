//! `Idempotency-Key`: a request that is repeated makes one call.
//!
//! The call's id is derived from the client and the key, so that the conditional put of the
//! call is the whole mechanism; there is no table of keys.

use axum::http::HeaderMap;
use domain::CallId;
use ring::digest::{Context, SHA256};
use uuid::Builder;

use crate::problem::Problem;

/// The header's name.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header of an answer that is a repetition.
pub const IDEMPOTENT_REPLAYED: &str = "idempotent-replayed";

/// Longest key, in characters.
const MAX_KEY: usize = 255;

/// A client's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key of a request, if it has one.
    ///
    /// # Errors
    /// 422 if it is empty, too long, or not printable ASCII.
    pub fn read(headers: &HeaderMap) -> Result<Option<Self>, Problem> {
        let Some(value) = headers.get(IDEMPOTENCY_KEY) else {
            return Ok(None);
        };
        let key = value.to_str().unwrap_or_default();
        if (1..=MAX_KEY).contains(&key.len())
            && key.bytes().all(|b| b.is_ascii_graphic())
            && headers.get_all(IDEMPOTENCY_KEY).iter().count() == 1
        {
            Ok(Some(Self(key.to_owned())))
        } else {
            let detail = format!(
                "must be one value of 1 to {MAX_KEY} printable ASCII characters without spaces"
            );
            Err(Problem::invalid_field("Idempotency-Key", detail))
        }
    }

    /// The id of the call that `client` makes with this key: a UUID of version 8 (RFC 9562, section 5.8).
    #[must_use]
    pub fn call_id(&self, client: &str) -> CallId {
        let digest = digest(&["call", client, &self.0]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Builder::from_custom_bytes(bytes).into_uuid().into()
    }
}

/// What tells requests with the same key apart.
#[must_use]
pub fn fingerprint(request: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    URL_SAFE_NO_PAD.encode(digest(&["request", request]))
}

/// SHA-256 over the parts, each with its length, so that no two lists of parts run together.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_that_of_the_client_and_the_key() {
        let key = |text: &str| IdempotencyKey(text.to_owned());
        let id = key("k").call_id("alice");
        assert_eq!(id, key("k").call_id("alice"));
        assert_ne!(id, key("l").call_id("alice"));
        assert_ne!(id, key("k").call_id("bob"));
        // Neither part can borrow from the other.
        assert_ne!(key("bc").call_id("a"), key("c").call_id("ab"));
        assert_eq!(id.to_string().as_bytes()[14], b'8');
    }
}
