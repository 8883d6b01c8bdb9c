//! ARI's events, as far as they say something about a call.
//!
//! Whatever comes in, reading it never fails: what is not understood is ignored and
//! counted, by the reason why.

use std::borrow::Cow;

use domain::{AttemptId, CallEvent, CallId, HangupCause, SipCode, Timestamp};
use serde::Deserialize;
use uuid::Uuid;

use crate::ari::playback::PlaybackId;

/// The types of event that the bridge asks Asterisk for; the rest is cut at the source.
pub const WANTED_TYPES: [&str; 6] = [
    "StasisStart",
    "Dial",
    "ChannelStateChange",
    "ChannelHangupRequest",
    "ChannelDestroyed",
    "PlaybackFinished",
];

/// `AST_SOFTHANGUP_SHUTDOWN`: the `cause` of a soft hangup is no Q.850 cause but a flag of Asterisk's.
const SHUTDOWN: u16 = 4;

/// Another client has taken our application over.
pub const APPLICATION_REPLACED: &str = "ApplicationReplaced";

/// What a text from the socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Something about a channel that bears a call's id.
    Channel(ChannelEvent),
    /// Another client has taken our application over.
    ApplicationReplaced,
    /// Nothing for us.
    Ignored(Ignored),
}

/// Why an event is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// Not JSON, or not an object with a `type`.
    Malformed,
    /// Of a type that we do not know or need.
    OtherType,
    /// Without a channel, or with one that bears no call's id.
    OtherChannel,
    /// About a call, but nothing that changes it.
    NothingNew,
}

/// Something that happened to a call's channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelEvent {
    /// The call.
    pub call_id: CallId,
    /// When, by Asterisk's clock.
    pub at: Option<Timestamp>,
    /// When its channel was created, by Asterisk's clock, if the event says so: tells it from others with its id.
    pub channel_created_at: Option<Timestamp>,
    /// What.
    pub kind: ChannelEventKind,
}

/// What happened to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelEventKind {
    /// It entered our application and can be dialled.
    StasisStarted {
        /// The attempt that created it.
        attempt: Option<AttemptId>,
    },
    /// The dial has begun.
    DialBegun,
    /// Early media.
    Progressed,
    /// It rings.
    Rang,
    /// It was answered.
    Answered,
    /// The dialplan behind it says that the callee is busy.
    CalleeBusy,
    /// The dialplan behind it says that the call failed.
    CalleeCongested,
    /// Playing one item of the call's `media` is over.
    Played {
        /// Which item, from 0; `None` for a playback of the whole list, as earlier releases
        /// began it.
        item: Option<usize>,
        /// Whether it was played to its end.
        whole: bool,
    },
    /// It is about to be hung up, for this cause.
    HangupAnnounced(HangupCause),
    /// It is about to be hung up, because Asterisk is shutting down.
    ShutdownAnnounced,
    /// It is gone.
    Destroyed(HangupCause, Option<SipCode>),
}

impl ChannelEventKind {
    /// How far the callee has come, if this says so of a call that has been dialled. What ends a
    /// call or a playback needs more than the event.
    #[must_use]
    pub const fn as_progress(self) -> Option<CallEvent> {
        match self {
            Self::Progressed => Some(CallEvent::Progressed),
            Self::Rang => Some(CallEvent::Rang),
            Self::Answered => Some(CallEvent::Answered),
            Self::StasisStarted { .. }
            | Self::DialBegun
            | Self::CalleeBusy
            | Self::CalleeCongested
            | Self::Played { .. }
            | Self::HangupAnnounced(_)
            | Self::ShutdownAnnounced
            | Self::Destroyed(..) => None,
        }
    }

    /// Whether this shows that Asterisk has begun to dial the channel.
    #[must_use]
    pub const fn shows_a_dial(self) -> bool {
        matches!(
            self,
            Self::DialBegun
                | Self::Progressed
                | Self::Rang
                | Self::Answered
                | Self::CalleeBusy
                | Self::CalleeCongested
        )
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    channel: Option<Channel<'a>>,
    #[serde(borrow)]
    peer: Option<Channel<'a>>,
    #[serde(borrow)]
    playback: Option<Channel<'a>>,
    #[serde(borrow)]
    dialstatus: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    args: Vec<Cow<'a, str>>,
    cause: Option<u16>,
    tech_cause: Option<u16>,
    #[serde(default)]
    soft: bool,
}

#[derive(Deserialize)]
struct Channel<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    state: Option<Cow<'a, str>>,
    #[serde(borrow)]
    creationtime: Option<Cow<'a, str>>,
}

/// Reads a text from the socket.
#[must_use]
pub fn read(text: &str) -> Incoming {
    let Ok(envelope) = serde_json::from_str::<Envelope<'_>>(text) else {
        return Incoming::Ignored(Ignored::Malformed);
    };
    let kind = envelope.r#type.as_ref();
    if kind == APPLICATION_REPLACED {
        return Incoming::ApplicationReplaced;
    }
    if !WANTED_TYPES.contains(&kind) {
        return Incoming::Ignored(Ignored::OtherType);
    }
    let Ok(body) = serde_json::from_str::<Body<'_>>(text) else {
        return Incoming::Ignored(Ignored::Malformed);
    };
    let channel = match kind {
        // A dial is told of the channel being called, which is its peer.
        "Dial" => &body.peer,
        // A playback bears the id of its call.
        "PlaybackFinished" => &body.playback,
        _ => &body.channel,
    };
    let Some((channel, playback)) = channel
        .as_ref()
        .and_then(|channel| Some((channel, channel.id.parse::<PlaybackId>().ok()?)))
        // Only a playback's id is made of more than its call's.
        .filter(|(_, id)| id.item.is_none() || kind == "PlaybackFinished")
    else {
        return Incoming::Ignored(Ignored::OtherChannel);
    };
    let kind = match kind {
        "StasisStart" => Some(ChannelEventKind::StasisStarted {
            attempt: attempt(&body.args),
        }),
        "Dial" => dial_status(body.dialstatus.as_deref().unwrap_or_default()),
        "ChannelStateChange" => channel_state(channel.state.as_deref().unwrap_or_default()),
        "PlaybackFinished" => Some(ChannelEventKind::Played {
            item: playback.item,
            whole: channel.state.as_deref() == Some("done"),
        }),
        "ChannelHangupRequest" if body.soft && body.cause == Some(SHUTDOWN) => {
            Some(ChannelEventKind::ShutdownAnnounced)
        }
        // A callee who just hangs up gives no cause.
        "ChannelHangupRequest" => Some(ChannelEventKind::HangupAnnounced(HangupCause::from(
            body.cause.unwrap_or(0),
        ))),
        "ChannelDestroyed" => Some(ChannelEventKind::Destroyed(
            HangupCause::from(body.cause.unwrap_or(0)),
            body.tech_cause.and_then(SipCode::new),
        )),
        _ => None,
    };
    match kind {
        Some(kind) => Incoming::Channel(ChannelEvent {
            call_id: playback.call,
            at: body.timestamp.as_deref().and_then(Timestamp::from_asterisk),
            channel_created_at: channel
                .creationtime
                .as_deref()
                .and_then(Timestamp::from_asterisk),
            kind,
        }),
        None => Incoming::Ignored(Ignored::NothingNew),
    }
}

/// The attempt that created a channel, from the `args` of its `StasisStart`: the call's id, and that.
fn attempt(args: &[Cow<'_, str>]) -> Option<AttemptId> {
    let id = Uuid::try_parse(args.get(1)?).ok()?;
    Some(AttemptId::new(id))
}

/// `dialstatus` of a `Dial` event. `BUSY` and `CONGESTION` come from the dialplan behind a Local
/// channel, which then may keep the channel for a while. The other final ones (`NOANSWER`,
/// `CANCEL`, …) say less than the `ChannelDestroyed` that follows each.
fn dial_status(status: &str) -> Option<ChannelEventKind> {
    match status {
        "" | "PROCEEDING" => Some(ChannelEventKind::DialBegun),
        "PROGRESS" => Some(ChannelEventKind::Progressed),
        "RINGING" => Some(ChannelEventKind::Rang),
        "ANSWER" => Some(ChannelEventKind::Answered),
        "BUSY" => Some(ChannelEventKind::CalleeBusy),
        "CONGESTION" => Some(ChannelEventKind::CalleeCongested),
        _ => None,
    }
}

/// A channel's state. `Ring` is that of a caller's channel, `Busy` comes with an end of its own.
fn channel_state(state: &str) -> Option<ChannelEventKind> {
    match state {
        "Ringing" => Some(ChannelEventKind::Rang),
        "Up" => Some(ChannelEventKind::Answered),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2b8c1e-0000-4000-8000-000000000001";

    fn kind(json: &str) -> Incoming {
        read(&json.replace("ID", ID))
    }

    #[test]
    fn both_signals_of_one_fact_read_alike() {
        for (json, expected) in [
            (
                r#"{"type":"Dial","dialstatus":"RINGING","peer":{"id":"ID"}}"#,
                ChannelEventKind::Rang,
            ),
            (
                r#"{"type":"ChannelStateChange","channel":{"id":"ID","state":"Ringing"}}"#,
                ChannelEventKind::Rang,
            ),
            (
                r#"{"type":"Dial","dialstatus":"ANSWER","peer":{"id":"ID"}}"#,
                ChannelEventKind::Answered,
            ),
            (
                r#"{"type":"ChannelStateChange","channel":{"id":"ID","state":"Up"}}"#,
                ChannelEventKind::Answered,
            ),
            (
                r#"{"type":"Dial","dialstatus":"","peer":{"id":"ID"}}"#,
                ChannelEventKind::DialBegun,
            ),
            (
                r#"{"type":"ChannelDestroyed","cause":17,"tech_cause":486,"channel":{"id":"ID"}}"#,
                ChannelEventKind::Destroyed(HangupCause::UserBusy, SipCode::new(486)),
            ),
            (
                r#"{"type":"ChannelHangupRequest","cause":4,"soft":true,"channel":{"id":"ID"}}"#,
                ChannelEventKind::ShutdownAnnounced,
            ),
            (
                r#"{"type":"ChannelHangupRequest","cause":4,"channel":{"id":"ID"}}"#,
                ChannelEventKind::HangupAnnounced(HangupCause::Other(4)),
            ),
            (
                r#"{"type":"ChannelDestroyed","channel":{"id":"ID"},"new":[{}]}"#,
                ChannelEventKind::Destroyed(HangupCause::Unknown, None),
            ),
        ] {
            let Incoming::Channel(event) = kind(json) else {
                panic!("{json}")
            };
            assert_eq!(
                (event.kind, event.call_id.to_string()),
                (expected, ID.to_owned()),
                "{json}"
            );
        }
    }

    #[test]
    fn a_second_leg_of_the_dialplan_is_not_the_calls_own() {
        let json =
            r#"{"type":"Dial","dialstatus":"ANSWER","caller":{"id":"ID"},"peer":{"id":"1.2"}}"#;
        assert_eq!(kind(json), Incoming::Ignored(Ignored::OtherChannel));
    }

    #[test]
    fn a_playback_names_its_call_and_its_item() {
        for (id, item, expected) in [
            ("ID-0", Some(0), true),
            ("ID-15", Some(15), true),
            ("ID", None, true),
            ("ID-", None, false),
            ("ID-x", None, false),
        ] {
            let json = format!(
                r#"{{"type":"PlaybackFinished","playback":{{"id":"{id}","state":"failed"}}}}"#
            );
            let Incoming::Channel(event) = kind(&json) else {
                assert!(!expected, "{id}");
                continue;
            };
            let played = ChannelEventKind::Played { item, whole: false };
            assert_eq!((event.kind, expected), (played, true), "{id}");
            assert_eq!(event.call_id.to_string(), ID);
        }
        // A channel's id is a call's as it is.
        let json = r#"{"type":"ChannelDestroyed","channel":{"id":"ID-0"}}"#;
        assert_eq!(kind(json), Incoming::Ignored(Ignored::OtherChannel));
    }

    #[test]
    fn what_is_not_understood_is_ignored_by_its_reason() {
        let long = format!(r#"{{"type":"Later","x":"{}"}}"#, "x".repeat(100_000));
        for (json, expected) in [
            ("", Ignored::Malformed),
            ("\u{0}\u{1}", Ignored::Malformed),
            ("[]", Ignored::Malformed),
            ("{}", Ignored::Malformed),
            (r#"{"type":7}"#, Ignored::Malformed),
            (
                r#"{"type":"ChannelDestroyed","cause":"x","channel":{"id":"ID"}}"#,
                Ignored::Malformed,
            ),
            (
                r#"{"type":"ChannelDestroyed","cause":-1,"channel":{"id":"ID"}}"#,
                Ignored::Malformed,
            ),
            (
                r#"{"type":"PeerStatusChange","peer":7}"#,
                Ignored::OtherType,
            ),
            (&long, Ignored::OtherType),
            (r#"{"type":"ChannelDestroyed"}"#, Ignored::OtherChannel),
            (
                r#"{"type":"ChannelDestroyed","channel":{"id":"ID;2"}}"#,
                Ignored::OtherChannel,
            ),
            (
                r#"{"type":"Dial","dialstatus":"ANSWER","channel":{"id":"ID"}}"#,
                Ignored::OtherChannel,
            ),
            (
                r#"{"type":"Dial","dialstatus":"LATER","peer":{"id":"ID"}}"#,
                Ignored::NothingNew,
            ),
            (
                r#"{"type":"ChannelStateChange","channel":{"id":"ID","state":"Later"}}"#,
                Ignored::NothingNew,
            ),
        ] {
            assert_eq!(
                kind(json),
                Incoming::Ignored(expected),
                "{}",
                &json[..json.len().min(80)]
            );
        }
    }

    #[test]
    fn everything_that_a_real_asterisk_was_recorded_saying_is_understood() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/simulator/traces");
        let mut ends = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            for line in text
                .lines()
                .filter(|line| line.contains(r#""kind": "event""#))
            {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                match read(&line["event"].to_string()) {
                    Incoming::Channel(event) => {
                        assert!(event.at.is_some());
                        ends += usize::from(matches!(event.kind, ChannelEventKind::Destroyed(..)));
                    }
                    // The later recordings have channels with short names.
                    Incoming::Ignored(
                        Ignored::OtherType | Ignored::NothingNew | Ignored::OtherChannel,
                    ) => {}
                    other => panic!("{other:?}: {line}"),
                }
            }
        }
        assert!(ends >= 19, "{ends}");
    }
}
