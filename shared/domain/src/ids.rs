//! Identifiers: of a call, of a bridge, and of one attempt to start or to claim a call.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// Identifies a call everywhere: in the API, in the table, on the queue, and as
/// the id of its Asterisk channel. A UUID; created by the caller of [`CallId::from`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(Uuid);

impl From<Uuid> for CallId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl From<CallId> for Uuid {
    fn from(CallId(id): CallId) -> Self {
        id
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// The text is not a UUID in its hyphenated form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a UUID such as 3f2b8c1e-0000-4000-8000-000000000001")]
pub struct InvalidCallId;

impl FromStr for CallId {
    type Err = InvalidCallId;

    /// Accepts only the hyphenated form (RFC 9562, section 4), in either case: a
    /// call has one spelling, because it is also the name of a channel.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 36 {
            return Err(InvalidCallId);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| InvalidCallId)
    }
}

/// Names one bridge, and with it the Asterisk it drives.
///
/// 1 to 64 letters, digits, `-` and `_`: it becomes part of queue names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BridgeId(String);

impl BridgeId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BridgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot name a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 letters, digits, '-' or '_'")]
pub struct InvalidBridgeId;

impl FromStr for BridgeId {
    type Err = InvalidBridgeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if (1..=64).contains(&text.len()) && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidBridgeId)
        }
    }
}

/// Marks one attempt to start a call, so that its channel is told from that of an
/// attempt that was given up, which had the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttemptId(Uuid);

impl AttemptId {
    /// Marks it with this UUID.
    #[must_use]
    pub const fn new(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// Marks one attempt to claim a call, so that the bridge recognises its own
/// claim when the answer to the write was lost and the write is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClaimId(Uuid);

impl From<Uuid> for ClaimId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_id_has_one_spelling() {
        let id = "3f2b8c1e-0000-4000-8000-000000000001";
        assert_eq!(id.parse::<CallId>().unwrap().to_string(), id);
        assert_eq!(id.to_uppercase().parse::<CallId>().unwrap().to_string(), id);
        for text in [
            "",
            "3f2b8c1e000040008000000000000001",
            "{3f2b8c1e-0000-4000-8000-000000000001}",
            "../x",
        ] {
            assert_eq!(text.parse::<CallId>(), Err(InvalidCallId), "{text}");
        }
    }

    #[test]
    fn a_bridge_id_fits_a_queue_name() {
        assert!("pbx-1_example_A".parse::<BridgeId>().is_ok());
        for text in ["", "a b", "a/b", "a.b", &"x".repeat(65)] {
            assert_eq!(text.parse::<BridgeId>(), Err(InvalidBridgeId), "{text}");
        }
    }
}
