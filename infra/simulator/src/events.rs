//! ARI's JSON, in the form of the recordings.

use std::time::SystemTime;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

/// A channel as ARI shows it.
#[derive(Clone, Debug)]
pub struct Channel {
    pub id: String,
    pub name: String,
    pub state: &'static str,
    pub caller_number: String,
    pub caller_name: String,
    pub context: String,
    pub extension: String,
    pub app_name: &'static str,
    pub app_data: String,
    pub created: String,
}

impl Channel {
    pub fn json(&self) -> Value {
        json!({
            "id": self.id, "name": self.name, "state": self.state, "protocol_id": "",
            "caller": {"name": self.caller_name, "number": self.caller_number},
            "connected": {"name": "", "number": ""}, "accountcode": "",
            "dialplan": {"context": self.context, "exten": self.extension, "priority": 1,
                         "app_name": self.app_name, "app_data": self.app_data},
            "creationtime": self.created, "language": "en"
        })
    }
}

/// Now, as Asterisk writes it.
pub fn timestamp() -> String {
    let format = format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]+0000"
    );
    OffsetDateTime::from(SystemTime::now())
        .format(format)
        .unwrap_or_default()
}

/// An event of `kind` with its `channel` (or `peer`), and whatever else it has.
pub fn event(kind: &str, app: &str, channel: &Channel, more: Value) -> Value {
    let mut event = json!({
        "type": kind, "timestamp": timestamp(),
        "asterisk_id": "02:00:00:00:00:01", "application": app
    });
    let holder = match kind {
        "Dial" => Some("peer"),
        "PlaybackStarted" | "PlaybackContinuing" | "PlaybackFinished" => None,
        _ => Some("channel"),
    };
    if let Some(holder) = holder {
        event[holder] = channel.json();
    }
    if let (Value::Object(event), Value::Object(more)) = (&mut event, more) {
        event.extend(more);
    }
    event
}
