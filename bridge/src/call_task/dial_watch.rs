//! Whether Asterisk was seen to dial a call's channel.

use std::sync::Arc;

use domain::Dialled;

use crate::flag::{Flag, Moment};

/// Watches for the `Dial` events of one channel.
#[derive(Debug)]
pub struct DialWatch {
    /// Up while events arrive.
    events: Arc<Flag>,
    /// Only what Asterisk's SIP stack dials itself is known to leave nobody called without an event.
    is_pjsip: bool,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The dial was not sent, or not taken.
    NotSent,
    /// The dial was sent, while events arrived since this moment.
    Sent(Moment),
    /// An event was seen.
    Seen,
    /// An earlier life of the bridge may have sent the dial.
    Missed,
}

impl DialWatch {
    /// Of a channel that is not dialled yet.
    #[must_use]
    pub const fn new(events: Arc<Flag>, is_pjsip: bool) -> Self {
        Self {
            events,
            is_pjsip,
            state: State::NotSent,
        }
    }

    /// Of a call that an earlier life of the bridge has claimed.
    #[must_use]
    pub const fn missed(events: Arc<Flag>) -> Self {
        Self {
            events,
            is_pjsip: false,
            state: State::Missed,
        }
    }

    /// The dial is about to be sent.
    pub fn sent(&mut self) {
        if matches!(self.state, State::NotSent) {
            self.state = State::Sent(self.events.moment());
        }
    }

    /// The dial was not taken, so that nobody was dialled.
    pub fn not_taken(&mut self) {
        if matches!(self.state, State::Sent(_)) {
            self.state = State::NotSent;
        }
    }

    /// Whether the dial was sent by this bridge in this life, and not refused.
    #[must_use]
    pub const fn was_sent(&self) -> bool {
        matches!(self.state, State::Sent(_) | State::Seen)
    }

    /// Notes that an event shows that the channel is being dialled. Returns whether that was unknown.
    pub fn see(&mut self) -> bool {
        let news = !matches!(self.state, State::Seen);
        self.state = State::Seen;
        news
    }

    /// What is known when the channel has ended.
    #[must_use]
    pub fn dialled(&self) -> Dialled {
        match self.state {
            State::Seen => Dialled::Yes,
            State::NotSent => Dialled::No,
            State::Sent(since)
                if self.is_pjsip && self.events.is_up() && self.events.moment() == since =>
            {
                Dialled::No
            }
            State::Sent(_) | State::Missed => Dialled::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(is_pjsip: bool) -> (Arc<Flag>, DialWatch) {
        let events = Arc::new(Flag::default());
        events.set(true);
        let watch = DialWatch::new(Arc::clone(&events), is_pjsip);
        (events, watch)
    }

    #[test]
    fn nobody_was_dialled_only_if_every_event_would_have_been_seen() {
        let (_, mut sip) = watch(true);
        assert_eq!(sip.dialled(), Dialled::No);
        sip.sent();
        assert_eq!(sip.dialled(), Dialled::No);
        assert!(sip.see() && !sip.see());
        assert_eq!(sip.dialled(), Dialled::Yes);

        let (_, mut refused) = watch(false);
        refused.sent();
        refused.not_taken();
        assert_eq!(refused.dialled(), Dialled::No);
        assert!(!refused.was_sent());

        let (events, mut cut) = watch(true);
        cut.sent();
        events.set(false);
        events.set(true);
        assert_eq!(cut.dialled(), Dialled::Unknown);

        let (_, mut local) = watch(false);
        local.sent();
        assert_eq!(local.dialled(), Dialled::Unknown);
    }

    #[test]
    fn what_an_earlier_life_did_is_not_known() {
        let events = Arc::new(Flag::default());
        let mut missed = DialWatch::missed(events);
        assert_eq!(missed.dialled(), Dialled::Unknown);
        missed.see();
        assert_eq!(missed.dialled(), Dialled::Yes);
    }
}
