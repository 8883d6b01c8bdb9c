//! Cursors: where a list goes on, opaque to clients and signed.
//!
//! A cursor is good for the client and the filters that it was made for, and for no others.

use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloud::Secret;
use cloud::kept_keys::KeyPair;
use cloud::listing::Position;
use domain::Timestamp;
use ring::hmac;
use uuid::Uuid;

use crate::settings::JwtSettings;

/// Longest cursor that is looked at, in bytes.
const MAX_CURSOR: usize = 256;
/// A position: milliseconds, whether there is a call, and its id.
const POSITION: usize = 8 + 1 + 16;
/// HMAC-SHA-256.
const TAG: usize = 32;

/// Signs cursors and checks them.
pub struct Cursors(RwLock<Arc<Keys>>);

struct Keys {
    signing: hmac::Key,
    previous: Option<hmac::Key>,
}

impl Keys {
    fn new(keys: &KeyPair) -> Self {
        Self {
            signing: derive(&keys.current),
            previous: keys.previous.as_ref().map(derive),
        }
    }
}

/// The text is no cursor of ours, or one for another client or other filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor of this list: send the next_cursor of a page with the same filters")]
pub struct InvalidCursor;

impl Cursors {
    /// With keys derived from those that sign tokens.
    #[must_use]
    pub fn new(settings: &JwtSettings) -> Self {
        Self(RwLock::new(Arc::new(Keys::new(&settings.keys))))
    }

    /// Signs and checks with keys derived from these from now on.
    pub fn set_keys(&self, keys: &KeyPair) {
        let keys = Arc::new(Keys::new(keys));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The cursor for `position` in the list that `list` names.
    #[must_use]
    pub fn write(&self, list: &[&str], position: Position) -> String {
        let mut bytes = Vec::with_capacity(POSITION + TAG);
        bytes.extend(position.created_at.as_millis().to_be_bytes());
        bytes.push(u8::from(position.call_id.is_some()));
        let id = position.call_id.map(Uuid::from).unwrap_or_default();
        bytes.extend(id.as_bytes());
        let tag = hmac::sign(&self.keys().signing, &signed(list, &bytes));
        bytes.extend(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position that a cursor for the list named `list` says.
    ///
    /// # Errors
    /// [`InvalidCursor`].
    pub fn read(&self, list: &[&str], cursor: &str) -> Result<Position, InvalidCursor> {
        if cursor.len() > MAX_CURSOR {
            return Err(InvalidCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| InvalidCursor)?;
        let (position, tag) = bytes.split_at_checked(POSITION).ok_or(InvalidCursor)?;
        let signed = signed(list, position);
        let keys = self.keys();
        let good = std::iter::once(&keys.signing)
            .chain(&keys.previous)
            .any(|key| hmac::verify(key, &signed, tag).is_ok());
        if !good {
            return Err(InvalidCursor);
        }
        let (millis, rest) = position.split_first_chunk().ok_or(InvalidCursor)?;
        let (there, id) = rest.split_first().ok_or(InvalidCursor)?;
        let id = Uuid::from_slice(id).map_err(|_| InvalidCursor)?;
        Ok(Position {
            created_at: Timestamp::from_millis(i64::from_be_bytes(*millis)),
            call_id: (*there == 1).then(|| id.into()),
        })
    }
}

/// A key for cursors only: a tag of one kind never passes for another.
fn derive(secret: &Secret) -> hmac::Key {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let key = hmac::sign(&secret, b"outbound-calls cursor v1");
    hmac::Key::new(hmac::HMAC_SHA256, key.as_ref())
}

/// What is signed: each part with its length, so that no two lists run together.
fn signed(list: &[&str], position: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in list {
        bytes.extend(part.len().to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes.extend(position);
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cursors(key: &str, previous: Option<&str>) -> Cursors {
        Cursors::new(&JwtSettings {
            keys: KeyPair {
                current: Secret::new(key.to_owned()),
                previous: previous.map(|key| Secret::new(key.to_owned())),
            },
            issuer: None,
            audience: None,
            token_lifetime: Duration::from_secs(1),
        })
    }

    const POSITION: Position = Position {
        created_at: Timestamp::from_millis(1_700_000_000_123),
        call_id: None,
    };

    #[test]
    fn a_cursor_reads_back_for_the_same_list_and_for_no_other() {
        let cursors = cursors("k", None);
        for call_id in [None, Some(Uuid::from_u128(7).into())] {
            let position = Position {
                call_id,
                ..POSITION
            };
            let cursor = cursors.write(&["alice", "status=busy"], position);
            assert_eq!(
                cursors.read(&["alice", "status=busy"], &cursor),
                Ok(position)
            );
            for other in [
                ["bob", "status=busy"],
                ["alice", "status=failed"],
                ["alices", "tatus=busy"],
            ] {
                assert_eq!(cursors.read(&other, &cursor), Err(InvalidCursor));
            }
        }
    }

    #[test]
    fn a_cursor_outlives_the_change_of_the_key_once() {
        let cursor = cursors("old", None).write(&["a"], POSITION);
        assert!(cursors("new", Some("old")).read(&["a"], &cursor).is_ok());
        assert!(cursors("new", None).read(&["a"], &cursor).is_err());
    }

    #[test]
    fn nothing_else_is_a_cursor() {
        let cursors = cursors("k", None);
        let good = cursors.write(&["a"], POSITION);
        for index in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[index] = if bytes[index] == b'A' { b'B' } else { b'A' };
            let bad = String::from_utf8(bytes).unwrap();
            // The last character has bits that say nothing, which the encoding refuses unless zero.
            assert!(cursors.read(&["a"], &bad).is_err(), "{index}");
        }
        for bad in ["", "A", "é", &good[1..], &"A".repeat(1_000)] {
            assert_eq!(cursors.read(&["a"], bad), Err(InvalidCursor));
        }
    }
}
