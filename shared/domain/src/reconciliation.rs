//! What to do about a call that a bridge owns when it may have missed what became of it: at its
//! start, and after its events socket was down.
//!
//! [`reconcile`] takes the record and what Asterisk says of the channel, and nothing else. Asked twice it
//! decides the same; followed twice it changes nothing the second time. A call is never dialled again.

use crate::rules::{Rule, kept};
use crate::{Call, CallEvent, CallStatus, FailureReason, HangupOrigin, Timestamp};

/// What Asterisk says of a call's channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelSeen {
    /// There is none.
    Gone,
    /// Made, and perhaps dialled: it stays so until the far end rings.
    Down,
    /// The phone rings.
    Ringing,
    /// The callee is on the line.
    Up {
        /// It waits in our application to be sent on.
        in_stasis: bool,
    },
}

/// What is known besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Knowledge {
    /// Whether the dial is known to have been made: the bridge did not die meanwhile.
    pub dialled: bool,
    /// When Asterisk started, by its own clock, which is taken to agree with ours to the minute.
    pub asterisk_started_at: Option<Timestamp>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: the call is over, or was never claimed.
    Leave,
    /// Follow it; what has become clear is this.
    Follow(Option<CallEvent>),
    /// Follow it, and send it on (or play to it): it was answered and nobody has.
    SendOn,
    /// Hang it up: that was wanted, and may have been forgotten. What has become clear is this.
    HangUp(Option<CallEvent>),
    /// It is over.
    End(CallEvent),
    /// Whether its phone rang cannot be told: hang the channel up, and it is over.
    HangUpAndEnd(CallEvent),
}

/// Decides about one call of this bridge.
#[must_use]
pub fn reconcile(call: &Call, channel: ChannelSeen, known: Knowledge) -> Verdict {
    use CallStatus::{Answered, Dialing, Pending, Ringing};
    match (call.status, channel) {
        (Pending, _) => Verdict::Leave,
        (status, _) if status.is_terminal() => Verdict::Leave,
        (_, ChannelSeen::Down | ChannelSeen::Ringing | ChannelSeen::Up { .. })
            if call.hangup.is_some() && kept(Rule::HangupRemembered) =>
        {
            let seen = match channel {
                ChannelSeen::Up { .. } => fresh(call, CallEvent::Answered),
                ChannelSeen::Ringing => fresh(call, CallEvent::Rang),
                ChannelSeen::Down | ChannelSeen::Gone => None,
            };
            Verdict::HangUp(seen)
        }
        (Answered, ChannelSeen::Up { in_stasis: true })
            if call.was_played() && kept(Rule::HangupRemembered) =>
        {
            let over = CallEvent::HangupRequested(HangupOrigin::MediaOver);
            Verdict::HangUp(Some(over))
        }
        (Answered, ChannelSeen::Up { in_stasis: true }) if kept(Rule::WaitingSentOn) => {
            Verdict::SendOn
        }
        (_, ChannelSeen::Up { .. }) => Verdict::Follow(fresh(call, CallEvent::Answered)),
        (_, ChannelSeen::Ringing) => Verdict::Follow(fresh(call, CallEvent::Rang)),
        // What has rung is never `Down` again: this is the channel of another attempt, which nobody dialled.
        (Ringing, ChannelSeen::Down) if !known.dialled => {
            Verdict::HangUpAndEnd(CallEvent::Failed(FailureReason::OutcomeUnknown))
        }
        (Answered, ChannelSeen::Down) if !known.dialled => {
            Verdict::HangUpAndEnd(CallEvent::EndUnseen)
        }
        // The event that told us may be faster than the state that we see.
        (Ringing | Answered, ChannelSeen::Down) => Verdict::Follow(None),
        // A channel is `Down` while early media plays, too.
        (_, ChannelSeen::Down) if known.dialled || call.alerted_at.is_some() => {
            Verdict::Follow(None)
        }
        (_, ChannelSeen::Down) => {
            Verdict::HangUpAndEnd(CallEvent::Failed(FailureReason::OutcomeUnknown))
        }
        (_, ChannelSeen::Gone) if !kept(Rule::GoneIsOver) => Verdict::Follow(None),
        (Answered, ChannelSeen::Gone) => Verdict::End(CallEvent::EndUnseen),
        (Dialing | Ringing, ChannelSeen::Gone) => {
            let restarted = known
                .asterisk_started_at
                .zip(call.dialed_at)
                .is_some_and(|(started, dialled)| started > dialled);
            let reason = if restarted {
                FailureReason::AsteriskRestarted
            } else {
                FailureReason::OutcomeUnknown
            };
            Verdict::End(CallEvent::Failed(reason))
        }
        // Terminal, which the second arm has; spelt out so that a new status has to be thought of.
        (
            CallStatus::Completed
            | CallStatus::Busy
            | CallStatus::NoAnswer
            | CallStatus::Failed
            | CallStatus::Canceled,
            _,
        ) => Verdict::Leave,
    }
}

/// The event, if it says something new.
fn fresh(call: &Call, event: CallEvent) -> Option<CallEvent> {
    let at = crate::When::ours(call.request.created_at);
    call.next(&event, at).map(|_| event)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::transition::tests::{any_event, claimed, pending};
    use crate::{Heard, Media, When};

    #[test]
    fn a_call_that_was_played_to_is_not_played_to_again() {
        let mut call = pending();
        call.request.media = Some(Media::new(&["sound:hello-world"]).unwrap());
        let at = When::ours(Timestamp::from_millis(5_000));
        for event in [claimed(), CallEvent::Answered] {
            call = call.next(&event, at).unwrap().0;
        }
        let waits = ChannelSeen::Up { in_stasis: true };
        assert_eq!(reconcile(&call, waits, NOTHING), Verdict::SendOn);
        let (played, _) = call.next(&CallEvent::Played(Heard::All), at).unwrap();
        let over = CallEvent::HangupRequested(HangupOrigin::MediaOver);
        assert_eq!(
            reconcile(&played, waits, NOTHING),
            Verdict::HangUp(Some(over))
        );
    }

    fn after(events: &[CallEvent]) -> Call {
        events.iter().fold(pending(), |call, event| {
            let at = When::ours(Timestamp::from_millis(5_000));
            call.next(event, at).map_or(call, |(call, _)| call)
        })
    }

    const NOTHING: Knowledge = Knowledge {
        dialled: false,
        asterisk_started_at: None,
    };

    #[test]
    fn every_state_of_a_call_meets_every_state_of_its_channel() {
        use ChannelSeen::{Down, Gone, Ringing, Up};
        let dialing = after(&[claimed()]);
        let ringing = after(&[claimed(), CallEvent::Rang]);
        let early = after(&[claimed(), CallEvent::Progressed]);
        let answered = after(&[claimed(), CallEvent::Answered]);
        let hangup = CallEvent::HangupRequested(HangupOrigin::Client);
        let unwanted = after(&[claimed(), CallEvent::Answered, hangup]);
        let unknown = CallEvent::Failed(FailureReason::OutcomeUnknown);
        let ended = CallEvent::EndUnseen;
        for (call, seen, expected) in [
            (&dialing, Gone, Verdict::End(unknown.clone())),
            (&dialing, Down, Verdict::HangUpAndEnd(unknown.clone())),
            (&dialing, Ringing, Verdict::Follow(Some(CallEvent::Rang))),
            (
                &dialing,
                Up { in_stasis: true },
                Verdict::Follow(Some(CallEvent::Answered)),
            ),
            (&early, Down, Verdict::Follow(None)),
            (&ringing, Down, Verdict::HangUpAndEnd(unknown.clone())),
            (&answered, Down, Verdict::HangUpAndEnd(ended.clone())),
            (&ringing, Gone, Verdict::End(unknown)),
            (&ringing, Ringing, Verdict::Follow(None)),
            (&answered, Gone, Verdict::End(ended.clone())),
            (&answered, Up { in_stasis: true }, Verdict::SendOn),
            (&answered, Up { in_stasis: false }, Verdict::Follow(None)),
            (&unwanted, Up { in_stasis: true }, Verdict::HangUp(None)),
            (&unwanted, Gone, Verdict::End(ended.clone())),
            (&pending(), Gone, Verdict::Leave),
        ] {
            assert_eq!(
                reconcile(call, seen, NOTHING),
                expected,
                "{:?} {seen:?}",
                call.status
            );
        }
        let dialled = Knowledge {
            dialled: true,
            ..NOTHING
        };
        for call in [&dialing, &ringing, &answered] {
            assert_eq!(reconcile(call, Down, dialled), Verdict::Follow(None));
        }
    }

    #[test]
    fn a_restart_of_asterisk_is_told_from_an_end_that_was_missed() {
        let ringing = after(&[claimed(), CallEvent::Rang]);
        for (started, reason) in [
            (4_000, FailureReason::OutcomeUnknown),
            (6_000, FailureReason::AsteriskRestarted),
        ] {
            let known = Knowledge {
                dialled: true,
                asterisk_started_at: Some(Timestamp::from_millis(started)),
            };
            assert_eq!(
                reconcile(&ringing, ChannelSeen::Gone, known),
                Verdict::End(CallEvent::Failed(reason))
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_decided_once_is_nothing_new_the_second_time(
            events in proptest::collection::vec(any_event(), 0..12),
            seen in proptest::sample::select(vec![
                ChannelSeen::Gone, ChannelSeen::Down, ChannelSeen::Ringing,
                ChannelSeen::Up { in_stasis: false },
            ]),
            dialled in any::<bool>(),
        ) {
            let call = after(&events);
            let known = Knowledge { dialled, ..NOTHING };
            let at = When::ours(Timestamp::from_millis(9_000));
            let once = match reconcile(&call, seen, known) {
                Verdict::Leave
                | Verdict::Follow(None)
                | Verdict::SendOn
                | Verdict::HangUp(None) => call,
                Verdict::Follow(Some(event))
                | Verdict::End(event)
                | Verdict::HangUp(Some(event))
                | Verdict::HangUpAndEnd(event) => {
                    let next = call.next(&event, at);
                    prop_assert!(next.is_some(), "an event that says nothing new");
                    next.map_or(call, |(call, _)| call)
                }
            };
            prop_assert!(matches!(
                reconcile(&once, seen, known),
                Verdict::Leave | Verdict::Follow(None) | Verdict::HangUp(None)
            ));
        }
    }
}
