//! The queue's message: what a function tells the bridges.
//!
//! The wire form is separate from the domain's types and carries a version, so that
//! functions and bridges of neighbouring releases understand each other.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{CallId, CallRequest, CallerId, DialplanTarget, Media, Priority, Timestamp, Variables};

/// A message between the functions and the bridges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueMessage {
    /// Place this call.
    Dial(CallRequest),
    /// The same, sent for a request that was repeated: the call may be over, or on its way.
    DialAgain(CallRequest),
}

/// Longest message that is read, in bytes. The longest that a request can lead to is shorter.
pub const MAX_MESSAGE_LENGTH: usize = 32 * 1024;

/// The text is not a message of ours. The text itself is not part of the error: it may
/// be anything.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMessage {
    /// Longer than [`MAX_MESSAGE_LENGTH`].
    #[error("the message has {0} bytes, more than are read")]
    TooLong(usize),
    /// Not JSON, or not of the form of any version we know.
    #[error("the message is not of a known form")]
    Form(#[from] serde_json::Error),
    /// A field's value is not allowed.
    #[error("the message's {field} {problem}")]
    Field {
        /// The field's name on the wire.
        field: &'static str,
        /// What it must be.
        problem: String,
    },
}

/// A message to the bridge that owns a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlMessage {
    /// The client wants the call to end.
    HangUp(CallId),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type")]
enum ControlWire {
    #[serde(rename = "hangup.v1")]
    HangUpV1 { call_id: String },
}

impl ControlMessage {
    /// Writes the message as JSON.
    ///
    /// # Errors
    /// None that is known of; serialisation is fallible by its interface.
    pub fn encode(self) -> Result<String, serde_json::Error> {
        let Self::HangUp(id) = self;
        serde_json::to_string(&ControlWire::HangUpV1 {
            call_id: id.to_string(),
        })
    }

    /// Reads a message.
    ///
    /// # Errors
    /// [`InvalidMessage`] if it is not one of ours.
    pub fn decode(text: &str) -> Result<Self, InvalidMessage> {
        if text.len() > MAX_MESSAGE_LENGTH {
            return Err(InvalidMessage::TooLong(text.len()));
        }
        let ControlWire::HangUpV1 { call_id } = serde_json::from_str(text)?;
        Ok(Self::HangUp(field("call_id", call_id.parse())?))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type")]
enum Wire {
    #[serde(rename = "dial.v1")]
    DialV1(DialV1),
}

#[derive(Serialize, Deserialize)]
struct DialV1 {
    call_id: String,
    phone_number: String,
    endpoint: String,
    context: String,
    extension: String,
    priority: u32,
    dial_timeout_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    media: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    max_duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    variables: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    caller_id: Option<String>,
    created_at_ms: i64,
    dial_before_ms: i64,
    #[serde(default)]
    request_id: String,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    again: bool,
}

impl QueueMessage {
    /// The call that is asked for.
    #[must_use]
    pub fn into_request(self) -> CallRequest {
        match self {
            Self::Dial(request) | Self::DialAgain(request) => request,
        }
    }

    /// The call that is asked for.
    #[must_use]
    pub const fn request(&self) -> &CallRequest {
        match self {
            Self::Dial(request) | Self::DialAgain(request) => request,
        }
    }

    /// Writes the message as JSON.
    ///
    /// # Errors
    /// None that is known of; serialisation is fallible by its interface.
    pub fn encode(&self) -> Result<String, serde_json::Error> {
        let request = self.request();
        serde_json::to_string(&Wire::DialV1(DialV1 {
            call_id: request.id.to_string(),
            phone_number: request.phone_number.to_string(),
            endpoint: request.endpoint.to_string(),
            context: request.target.context.to_string(),
            extension: request.target.extension.to_string(),
            priority: request.target.priority.get(),
            media: request
                .media
                .as_ref()
                .map(|media| media.uris().map(str::to_owned).collect()),
            dial_timeout_ms: millis(request.dial_timeout),
            max_duration_ms: request.max_duration.map(millis),
            variables: request.variables.get().clone(),
            caller_id: request.caller_id.as_ref().map(ToString::to_string),
            created_at_ms: request.created_at.as_millis(),
            dial_before_ms: request.dial_before.as_millis(),
            request_id: request.request_id.clone(),
            again: matches!(self, Self::DialAgain(_)),
        }))
    }

    /// Reads a message; unknown fields are ignored, every known one is checked again.
    ///
    /// # Errors
    /// [`InvalidMessage`] if it is not one of ours.
    pub fn decode(text: &str) -> Result<Self, InvalidMessage> {
        if text.len() > MAX_MESSAGE_LENGTH {
            return Err(InvalidMessage::TooLong(text.len()));
        }
        let Wire::DialV1(wire) = serde_json::from_str(text)?;
        let kind = if wire.again {
            Self::DialAgain
        } else {
            Self::Dial
        };
        Ok(kind(CallRequest {
            id: field("call_id", wire.call_id.parse())?,
            phone_number: field("phone_number", wire.phone_number.parse())?,
            endpoint: field("endpoint", wire.endpoint.parse())?,
            target: DialplanTarget {
                context: field("context", wire.context.parse())?,
                extension: field("extension", wire.extension.parse())?,
                priority: field("priority", Priority::try_from(i64::from(wire.priority)))?,
            },
            media: wire
                .media
                .map(|uris| field("media", Media::new(&uris)))
                .transpose()?,
            dial_timeout: Duration::from_millis(wire.dial_timeout_ms),
            max_duration: wire.max_duration_ms.map(Duration::from_millis),
            variables: field("variables", Variables::read_back(wire.variables))?,
            caller_id: wire
                .caller_id
                .map(|text| field("caller_id", CallerId::read_back(&text)))
                .transpose()?,
            created_at: Timestamp::from_millis(wire.created_at_ms),
            dial_before: Timestamp::from_millis(wire.dial_before_ms),
            request_id: wire.request_id,
            fingerprint: None,
        }))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn field<T, E: std::error::Error>(
    field: &'static str,
    parsed: Result<T, E>,
) -> Result<T, InvalidMessage> {
    parsed.map_err(|problem| InvalidMessage::Field {
        field,
        problem: problem.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#"{"type":"dial.v1","call_id":"3f2b8c1e-0000-4000-8000-000000000001",
        "phone_number":"+15550000200","endpoint":"PJSIP/15550000200@trunk","context":"outbound-ivr",
        "extension":"s","priority":1,"media":["sound:hello-world","digits:42"],"dial_timeout_ms":30000,"caller_id":"100","max_duration_ms":5000,"variables":{"NAME":"Zoë"},"created_at_ms":1,
        "dial_before_ms":2,"request_id":"r","added_later":{"x":[1]}}"#;

    #[test]
    fn a_message_reads_back_and_unknown_fields_are_ignored() {
        let message = QueueMessage::decode(MESSAGE).unwrap();
        assert_eq!(
            QueueMessage::decode(&message.encode().unwrap()).unwrap(),
            message
        );
    }

    #[test]
    fn a_repeated_message_says_so_and_an_earlier_release_reads_it_as_any_other() {
        let first = QueueMessage::decode(MESSAGE).unwrap();
        let again = QueueMessage::DialAgain(first.request().clone());
        let text = again.encode().unwrap();
        assert_eq!(QueueMessage::decode(&text).unwrap(), again);
        assert!(text.contains(r#""again":true"#) && text.contains("dial.v1"));
        assert!(!first.encode().unwrap().contains("again"));
    }

    #[test]
    fn the_longest_request_makes_a_message_that_is_read() {
        let mut request = QueueMessage::decode(MESSAGE).unwrap().into_request();
        let value = "😀".repeat(crate::variables::MAX_VARIABLE_VALUE);
        let name = |n| format!("{n:a>64}");
        let variables =
            (10..10 + crate::variables::MAX_VARIABLES).map(|n| (name(n), value.clone()));
        request.variables = Variables::new(variables.collect()).unwrap();
        let uri = format!("sound:{}", "x".repeat(crate::media::MAX_MEDIA_URI - 6));
        request.media = Some(Media::new(&vec![uri; crate::media::MAX_MEDIA]).unwrap());
        let caller = format!("\"{}\" <+{}>", "é".repeat(40), "5".repeat(20));
        request.caller_id = Some(caller.parse().unwrap());
        request.target.context = "c".repeat(79).parse().unwrap();
        request.target.extension = "e".repeat(79).parse().unwrap();
        request.endpoint = format!("P/{}", "x".repeat(253)).parse().unwrap();
        request.request_id = "\"".repeat(128);
        let message = QueueMessage::Dial(request);
        let text = message.encode().unwrap();
        assert_eq!(QueueMessage::decode(&text).unwrap(), message);
        assert!(text.len() > 20_000, "{}", text.len());
    }

    #[test]
    fn what_an_earlier_release_took_from_a_request_is_read_back() {
        let message = MESSAGE
            .replace(r#""100""#, r#""\"+1 555 000 0100\"""#)
            .replace("Zoë", "a\u{ffff}");
        let request = QueueMessage::decode(&message).unwrap().into_request();
        let caller_id = request.caller_id.unwrap();
        assert_eq!(caller_id.name(), Some("+1 555 000 0100"));
        assert_eq!(request.variables.get()["NAME"], "a\u{ffff}");
    }

    #[test]
    fn a_control_message_reads_back() {
        let id = "3f2b8c1e-0000-4000-8000-000000000001".parse().unwrap();
        let message = ControlMessage::HangUp(id);
        assert_eq!(
            ControlMessage::decode(&message.encode().unwrap()).unwrap(),
            message
        );
        assert!(ControlMessage::decode(MESSAGE).is_err());
    }

    #[test]
    fn a_message_that_is_not_ours_is_refused_and_not_quoted() {
        for (from, to) in [
            ("dial.v1", "dial.v9"),
            ("+15550000200", "1555&PJSIP/other"),
            ("outbound-ivr", "a,b"),
            ("PJSIP/15550000200@trunk", "PJSIP/1&PJSIP/secret"),
            ("\"priority\":1", "\"priority\":0"),
            ("sound:hello-world", "sound:/etc/secret"),
            ("3f2b8c1e", "zzzzzzzz"),
        ] {
            let error = QueueMessage::decode(&MESSAGE.replace(from, to)).unwrap_err();
            assert!(!error.to_string().contains(to), "{error}");
        }
        assert!(QueueMessage::decode("").is_err());
        assert!(QueueMessage::decode("[1]").is_err());
        let long = format!("{}{}", MESSAGE, " ".repeat(MAX_MESSAGE_LENGTH));
        assert!(matches!(
            QueueMessage::decode(&long),
            Err(InvalidMessage::TooLong(_))
        ));
    }
}
