//! What the release before `ALLOWED_VARIABLES` wrote, byte for byte, of a call with variables that are
//! forbidden now. `tests/released` has the item of a call that waits, the item of a call that a bridge
//! had claimed, and the message of both.
//!
//! They were written by that release's `call_item::encode` and `QueueMessage::encode`. Whatever changes here,
//! these files do not.

use domain::Timestamp;
use serde_json::Value;

use aws_sdk_dynamodb::types::AttributeValue;
use cloud::call_item::Item;
use std::time::Duration;

/// The item of a call that waits for a bridge.
pub const PENDING: &str = include_str!("../released/call-pending.json");
/// The item of a call that the bridge `bridge1` had claimed.
pub const CLAIMED: &str = include_str!("../released/call-claimed.json");
/// The message that asks for the call.
pub const MESSAGE: &str = include_str!("../released/dial.json");

/// What distinguishes a call of a test from the one in the files.
#[derive(Clone, Debug)]
pub struct Moved<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its number.
    pub number: &'a str,
    /// Its bridge.
    pub owner: &'a str,
    /// When it was asked for. It may be dialled for five minutes, and claimed for an hour.
    pub created_at: Timestamp,
}

impl Moved<'_> {
    /// The text of one of the files for this call: values are replaced, and nothing else.
    #[must_use]
    pub fn text(&self, released: &str) -> String {
        let after = |wait| self.created_at.plus(wait).as_millis().to_string();
        let expires = self.created_at.plus(Duration::from_hours(24 * 90));
        [
            ("6f1a3f0e-52a7-4d0c-9a53-2d8f3b7c1e40", self.id.to_owned()),
            ("+15550000200", self.number.to_owned()),
            ("bridge1", self.owner.to_owned()),
            ("2026-11-28", self.created_at.day()),
            ("1795860000123", after(Duration::ZERO)),
            ("1795860000456", after(Duration::from_millis(333))),
            ("1795860300123", after(Duration::from_mins(5))),
            ("1795863933456", after(Duration::from_hours(1))),
            ("1803636000", expires.as_secs().to_string()),
        ]
        .iter()
        .fold(released.to_owned(), |text, (old, new)| {
            text.replace(old, new)
        })
    }

    /// The item for this call.
    #[must_use]
    pub fn item(&self, released: &str) -> Item {
        item(&self.text(released))
    }
}

/// An item from the form in which `DynamoDB` sends it.
#[must_use]
pub fn item(text: &str) -> Item {
    let value: Value = serde_json::from_str(text).expect("JSON");
    attributes(&value)
}

fn attributes(value: &Value) -> Item {
    let named = value.as_object().expect("attributes").iter();
    named
        .map(|(name, value)| (name.clone(), attribute(value)))
        .collect()
}

fn attribute(value: &Value) -> AttributeValue {
    let (kind, value) = value
        .as_object()
        .and_then(|typed| typed.iter().next())
        .expect("a type and a value");
    let text = || value.as_str().expect("a text").to_owned();
    match kind.as_str() {
        "S" => AttributeValue::S(text()),
        "N" => AttributeValue::N(text()),
        "L" => {
            let values = value.as_array().expect("a list").iter();
            AttributeValue::L(values.map(attribute).collect())
        }
        "M" => AttributeValue::M(attributes(value)),
        kind => panic!("an attribute of the type {kind}"),
    }
}

#[cfg(test)]
mod tests {
    use cloud::call_item;
    use domain::{CallStatus, QueueMessage};

    use super::*;

    const VARIABLES: [&str; 3] = ["IVR_NAME", "MONITOR_EXEC", "SIPFROMDOMAIN"];

    #[test]
    fn what_the_release_wrote_is_read_and_says_the_same() {
        let pending = call_item::decode(&item(PENDING)).unwrap();
        let claimed = call_item::decode(&item(CLAIMED)).unwrap();
        let message = QueueMessage::decode(MESSAGE).unwrap().into_request();
        assert_eq!(pending.status, CallStatus::Pending);
        assert_eq!(claimed.status, CallStatus::Dialing);
        assert_eq!(claimed.owner, "bridge1".parse().ok());
        assert_eq!(claimed.timeline.len(), 2);
        for request in [&pending.request, &claimed.request] {
            assert_eq!(*request, message);
        }
        let names: Vec<_> = message.variables.get().keys().collect();
        assert_eq!(names, VARIABLES);
        assert_eq!(message.variables.get()["IVR_NAME"], "Zoë");
        assert_eq!(message.caller_id.unwrap().name(), Some("Acme"));
    }

    #[test]
    fn nothing_is_lost_when_it_is_written_again() {
        for released in [PENDING, CLAIMED] {
            let released = item(released);
            let call = call_item::decode(&released).unwrap();
            let seconds: i64 = released["expires_at"].as_n().unwrap().parse().unwrap();
            let expires_at = Timestamp::from_millis(seconds * 1_000);
            assert_eq!(call_item::encode(&call, expires_at), released);
        }
    }

    #[test]
    fn a_call_is_moved_as_a_whole() {
        let moved = Moved {
            id: "2f1a3f0e-52a7-4d0c-9a53-2d8f3b7c1e41",
            number: "+15550000486",
            owner: "bridge2",
            created_at: Timestamp::from_millis(1_800_000_000_000),
        };
        let call = call_item::decode(&moved.item(CLAIMED)).unwrap();
        let message = QueueMessage::decode(&moved.text(MESSAGE)).unwrap();
        assert_eq!(call.request, message.into_request());
        assert_eq!(call.request.id.to_string(), moved.id);
        assert_eq!(
            call.request.endpoint.to_string(),
            "PJSIP/+15550000486@trunk"
        );
        assert_eq!(call.owner, "bridge2".parse().ok());
        assert_eq!(call.request.created_at, moved.created_at);
    }
}
