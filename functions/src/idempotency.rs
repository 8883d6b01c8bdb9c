//! `Idempotency-Key`: a request that is repeated makes one call.
//!
//! The call's id is derived from the client and the key, so that the conditional put of the
//! call is the whole mechanism; there is no table of keys. A call that could not be queued is
//! succeeded by one whose id is derived from the number of the try as well.

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
        if (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Some(Self(key.to_owned())))
        } else {
            let detail = format!(
                "must be one value of 1 to {MAX_KEY} printable ASCII characters without spaces"
            );
            Err(Problem::invalid_field("Idempotency-Key", detail))
        }
    }

    /// The id of the call that `client` makes with this key: a UUID of version 8 (RFC 9562, section
    /// 5.8). `number_of_try` is 0 for the first try, and greater for each later one.
    #[must_use]
    pub fn call_id(&self, client: &str, number_of_try: u8) -> CallId {
        let later = number_of_try.to_string();
        let first = ["call", client, &self.0];
        let digest = match number_of_try {
            0 => digest(&first),
            _ => digest(&[first.as_slice(), &[&later]].concat()),
        };
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
        let id = key("k").call_id("alice", 0);
        assert_eq!(id, key("k").call_id("alice", 0));
        assert_ne!(id, key("l").call_id("alice", 0));
        assert_ne!(id, key("k").call_id("bob", 0));
        // Neither part can borrow from the other.
        assert_ne!(key("bc").call_id("a", 0), key("c").call_id("ab", 0));
        assert_eq!(id.to_string().as_bytes()[14], b'8');
        // Keys that clients have in use keep their calls from release to release.
        assert_eq!(id.to_string(), "71b79b9b-5acf-8a46-9541-04d833edbec0");
    }

    #[test]
    fn each_try_has_an_id_of_its_own() {
        let key = IdempotencyKey("k".to_owned());
        let ids: std::collections::BTreeSet<_> =
            (0..16).map(|number| key.call_id("alice", number)).collect();
        assert_eq!(ids.len(), 16);
    }
}
