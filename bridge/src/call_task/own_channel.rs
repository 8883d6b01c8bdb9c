//! Which channel is the call's own.
//!
//! All attempts to start a call give their channels the call's id, so that Asterisk refuses a second
//! one. Events from an abandoned channel may arrive while the next attempt is at work. They must never be
//! attributed to that attempt's channel.

use domain::rules::{Rule, kept};
use domain::{AttemptId, Timestamp};

use crate::ari::{ChannelEvent, ChannelEventKind};

/// The channel whose events are the call's.
#[derive(Clone, Copy, Debug)]
pub enum OwnChannel {
    /// The one whose `StasisStart` brings this attempt's id.
    OfAttempt(AttemptId),
    /// The one that was created then, by Asterisk's clock.
    CreatedAt(Timestamp),
    /// Whichever there is: the call was claimed in an earlier life, and one channel only is dialled.
    Any,
}

impl OwnChannel {
    /// Whether the event is about the call's own channel.
    pub fn is_about(&mut self, event: &ChannelEvent) -> bool {
        if !kept(Rule::OwnChannelOnly) {
            return true;
        }
        match (*self, event.kind) {
            (Self::OfAttempt(ours), ChannelEventKind::StasisStarted { attempt }) => {
                let is_ours = attempt == Some(ours);
                if is_ours {
                    *self = event.channel_created_at.map_or(Self::Any, Self::CreatedAt);
                }
                is_ours
            }
            (Self::OfAttempt(_), _) => false,
            // What does not tell its channel is taken to be about the one there is.
            (Self::CreatedAt(ours), _) => event.channel_created_at.is_none_or(|at| at == ours),
            (Self::Any, _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::HangupCause;
    use uuid::Uuid;

    use super::*;

    const fn attempt(number: u128) -> AttemptId {
        AttemptId::new(Uuid::from_u128(number))
    }

    const fn started(number: u128) -> ChannelEventKind {
        let attempt = Some(attempt(number));
        ChannelEventKind::StasisStarted { attempt }
    }

    fn event(kind: ChannelEventKind, created_at: Option<i64>) -> ChannelEvent {
        ChannelEvent {
            call_id: Uuid::from_u128(7).into(),
            at: None,
            channel_created_at: created_at.map(Timestamp::from_millis),
            kind,
        }
    }

    const GONE: ChannelEventKind = ChannelEventKind::Destroyed(HangupCause::NormalClearing, None);

    const PLAYED: ChannelEventKind = ChannelEventKind::Played {
        item: Some(0),
        whole: true,
    };

    #[test]
    fn late_news_of_an_earlier_attempt_is_not_ours() {
        let mut own = OwnChannel::OfAttempt(attempt(2));
        for (earlier, is_ours) in [
            (event(started(1), Some(1_000)), false),
            (event(GONE, Some(1_000)), false),
            (event(started(2), Some(9_000)), true),
            (event(GONE, Some(1_000)), false),
            (event(ChannelEventKind::Rang, Some(9_000)), true),
            (event(PLAYED, None), true),
            (event(GONE, Some(9_000)), true),
        ] {
            assert_eq!(own.is_about(&earlier), is_ours, "{earlier:?}");
        }
    }

    #[test]
    fn a_start_without_an_attempt_is_not_ours() {
        let mut own = OwnChannel::OfAttempt(attempt(2));
        let kind = ChannelEventKind::StasisStarted { attempt: None };
        assert!(!own.is_about(&event(kind, None)));
    }

    #[test]
    fn an_asterisk_that_does_not_say_when_a_channel_was_created_is_believed() {
        let mut own = OwnChannel::OfAttempt(attempt(2));
        assert!(own.is_about(&event(started(2), None)));
        assert!(own.is_about(&event(GONE, None)));
    }
}
