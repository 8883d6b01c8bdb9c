//! How a call moves: one pure, total function from a call and an event to the call after it.

use crate::endings::Alert;
use crate::outcome::{Dialled, Facts, final_status};
use crate::rules::{Rule, kept};
use crate::{
    BridgeId, Call, CallStatus, ClaimId, Ending, FailureReason, TimelineEntry, TimelineKind,
    Timestamp,
};

/// Something that happened to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEvent {
    /// A bridge took the call; it dials next.
    Claimed {
        /// The bridge.
        owner: BridgeId,
        /// Its attempt.
        claim: ClaimId,
        /// When the call must have ended.
        deadline: Timestamp,
    },
    /// Early media: a 183, or `Dial` with `PROGRESS`.
    Progressed,
    /// The phone rings: `Dial` with `RINGING`, or the channel's state `Ringing`.
    Rang,
    /// The callee answered: `Dial` with `ANSWER`, or the channel's state `Up`.
    Answered,
    /// Playing the call's `media` is over.
    Played(Heard),
    /// One of us asked Asterisk to hang up.
    HangupRequested(HangupOrigin),
    /// The channel is gone: `ChannelDestroyed`.
    Ended {
        /// How it ended.
        ending: Ending,
        /// Whether it was dialled.
        dialled: Dialled,
    },
    /// The channel is gone, and its `ChannelDestroyed` was not seen.
    EndUnseen,
    /// It came to nothing without a channel's end to tell.
    Failed(FailureReason),
}

/// How much of its `media` a callee has heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Heard {
    /// Every item was played to its end.
    All,
    /// At least one item was not played, or not to its end.
    NotAll,
    /// The end of the list was not seen.
    Unknown,
}

impl Heard {
    const fn as_reason(self) -> Option<FailureReason> {
        match self {
            Self::All => None,
            Self::NotAll => Some(FailureReason::MediaFailed),
            Self::Unknown => Some(FailureReason::MediaUnconfirmed),
        }
    }
}

/// Who of us asked for a call's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HangupOrigin {
    /// The client, over the API.
    Client,
    /// The call's deadline.
    Deadline,
    /// A dial whose answer was lost and that no event confirmed.
    UnconfirmedDial,
    /// There is nothing more to play.
    MediaOver,
    /// The dialplan behind a Local channel said that the callee is busy (`Dial` with `BUSY`).
    CalleeBusy,
    /// The dialplan behind a Local channel said that the call failed (`Dial` with `CONGESTION`).
    CalleeCongested,
}

impl HangupOrigin {
    /// All origins.
    pub const ALL: [Self; 6] = [
        Self::Client,
        Self::Deadline,
        Self::UnconfirmedDial,
        Self::MediaOver,
        Self::CalleeBusy,
        Self::CalleeCongested,
    ];
}

/// When something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// By our clock. The record's times are ours, so that they compare.
    pub now: Timestamp,
    /// By Asterisk's clock, for the timeline.
    pub asterisk: Option<Timestamp>,
}

impl When {
    /// Something that Asterisk had no part in.
    #[must_use]
    pub const fn ours(now: Timestamp) -> Self {
        Self {
            now,
            asterisk: None,
        }
    }
}

/// What the owner of a call has to do besides writing it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing else.
    None,
    /// Send the answered channel on into the dialplan.
    Continue,
    /// Play its `media` to the answered channel.
    Play,
    /// Hang up: there is nothing more to play.
    HangUp,
    /// Stop following: the call is over.
    Forget,
}

impl Call {
    /// The call after `event`, and what to do about it; `None` if the event says nothing new.
    ///
    /// Duplicates, late events and events that do not fit are ignored: a status never goes back
    /// and a call that is over never changes. Times never run backwards, whatever the clock does.
    #[must_use]
    pub fn next(&self, event: &CallEvent, at: When) -> Option<(Self, Effect)> {
        use CallStatus::{Answered, Dialing, Pending, Ringing};

        match (self.status, event) {
            (status, _) if status.is_terminal() => None,

            (
                Pending,
                CallEvent::Claimed {
                    owner,
                    claim,
                    deadline,
                },
            ) => {
                let mut call = self.moved(Dialing, TimelineKind::Dialing, at);
                call.owner = Some(owner.clone());
                call.claim = Some(*claim);
                call.deadline = Some(*deadline);
                call.dialed_at = Some(self.not_before_last(at.now));
                Some((call, Effect::None))
            }
            (Pending, CallEvent::HangupRequested(_)) => {
                let mut call = self.ended(CallStatus::Canceled, at);
                call.hangup = Some(HangupOrigin::Client);
                Some((call, Effect::Forget))
            }

            (Dialing, CallEvent::Progressed) if self.alerted_at.is_none() => {
                let mut call = self.moved(Dialing, TimelineKind::Progress, at);
                call.alerted_at = Some(self.not_before_last(at.now));
                Some((call, Effect::None))
            }
            (Answered, CallEvent::Rang) if !kept(Rule::NeverBack) => {
                Some((self.ringing(at), Effect::None))
            }
            (Dialing, CallEvent::Rang) => Some((self.ringing(at), Effect::None)),
            (Dialing | Ringing, CallEvent::Answered) => {
                let mut call = self.moved(Answered, TimelineKind::Answered, at);
                call.answered_at = Some(self.not_before_last(at.now));
                // One that is being hung up goes nowhere any more.
                let effect = match (self.hangup, &self.request.media) {
                    (Some(_), _) => Effect::None,
                    (None, Some(_)) => Effect::Play,
                    (None, None) => Effect::Continue,
                };
                Some((call, effect))
            }

            (Answered, CallEvent::Played(heard)) if self.plays() => {
                let mut call = self.moved(Answered, TimelineKind::Played, at);
                call.failure_reason = heard.as_reason();
                Some((call, Effect::HangUp))
            }
            (Dialing | Ringing | Answered, CallEvent::HangupRequested(origin)) => {
                if self.hangup.is_some() {
                    return None;
                }
                let mut call = self.moved(self.status, TimelineKind::HangupRequested, at);
                call.hangup = Some(*origin);
                Some((call, Effect::None))
            }

            (Dialing | Ringing | Answered, CallEvent::Ended { ending, dialled }) => {
                Some((self.ended_by(*ending, *dialled, at), Effect::Forget))
            }
            (Dialing | Ringing | Answered, CallEvent::EndUnseen) => {
                Some((self.ended_unseen(at), Effect::Forget))
            }
            (Pending | Dialing | Ringing | Answered, CallEvent::Failed(reason)) => {
                // It came to nothing because its client had it hung up.
                if self.hangup == Some(HangupOrigin::Client) && self.answered_at.is_none() {
                    return Some((self.ended(CallStatus::Canceled, at), Effect::Forget));
                }
                let mut call = self.ended(CallStatus::Failed, at);
                call.failure_reason = Some(*reason);
                Some((call, Effect::Forget))
            }

            // A call nobody has claimed has no channel that could tell us anything.
            (
                Pending,
                CallEvent::Progressed
                | CallEvent::Rang
                | CallEvent::Answered
                | CallEvent::EndUnseen
                | CallEvent::Ended { .. },
            )
            // A second claim, what is played to nobody, and signals of what is known.
            | (_, CallEvent::Claimed { .. } | CallEvent::Played(_))
            | (Dialing | Ringing | Answered, CallEvent::Progressed)
            | (Ringing | Answered, CallEvent::Rang)
            | (Answered, CallEvent::Answered)
            // Unreachable after the first arm; spelt out so that a new status has to be thought of.
            | (
                CallStatus::Completed
                | CallStatus::Busy
                | CallStatus::NoAnswer
                | CallStatus::Failed
                | CallStatus::Canceled,
                _,
            ) => None,
        }
    }

    /// The call after the end of its channel.
    fn ended_by(&self, ending: Ending, dialled: Dialled, at: When) -> Self {
        let facts = self.facts(ending, dialled);
        let (status, reason) = final_status(facts);
        let mut call = self.ended(status, at);
        call.failure_reason = reason.or(self.failure_reason);
        // What Asterisk says of a channel that nobody dialled is not a callee's word.
        if facts.dialled == Dialled::Yes {
            call.hangup_cause = Some(facts.cause());
            call.sip_code = ending.sip_code;
        }
        call
    }

    /// The call after an end of its channel that was not seen.
    fn ended_unseen(&self, at: When) -> Self {
        let facts = self.facts(Ending::UNKNOWN, Dialled::Unknown);
        let (status, reason) = match final_status(facts) {
            (CallStatus::Completed, _) => (CallStatus::Completed, FailureReason::EndNotSeen),
            (CallStatus::Canceled, _) => return self.ended(CallStatus::Canceled, at),
            (status, Some(FailureReason::DeadlineExceeded)) => {
                (status, FailureReason::DeadlineExceeded)
            }
            _ => (CallStatus::Failed, FailureReason::OutcomeUnknown),
        };
        let mut call = self.ended(status, at);
        call.failure_reason = Some(reason);
        if status == CallStatus::Completed && kept(Rule::UnseenEndBounded) {
            // The call cannot have lasted beyond its limit, whenever that is noticed.
            call.ended_at = call.ended_at.min(self.latest_end().or(call.ended_at));
        }
        call
    }

    fn facts(&self, ending: Ending, dialled: Dialled) -> Facts {
        Facts {
            answered: self.answered_at.is_some(),
            alert: Alert {
                alerted: self.alerted_at.is_some(),
                rang: self.ringing_at.is_some(),
            },
            hangup: self.hangup,
            ending,
            dialled: if self.is_known_dialled(dialled) {
                Dialled::Yes
            } else {
                dialled
            },
            local: self.request.endpoint.is_local(),
        }
    }

    /// Whether the channel was dialled, by the events of its end or by what the record has.
    fn is_known_dialled(&self, dialled: Dialled) -> bool {
        dialled == Dialled::Yes || self.alerted_at.is_some() || self.answered_at.is_some()
    }

    /// Whether something is being played to the callee.
    fn plays(&self) -> bool {
        self.request.media.is_some() && self.hangup.is_none() && !self.was_played()
    }

    /// Whether what was to be played has been, or could not be.
    #[must_use]
    pub fn was_played(&self) -> bool {
        let played = |entry: &TimelineEntry| entry.kind == TimelineKind::Played;
        self.timeline.iter().any(played)
    }

    fn ringing(&self, at: When) -> Self {
        let mut call = self.moved(CallStatus::Ringing, TimelineKind::Ringing, at);
        let rang_at = Some(self.not_before_last(at.now));
        call.ringing_at = rang_at;
        call.alerted_at = call.alerted_at.or(rang_at);
        call
    }

    fn ended(&self, status: CallStatus, at: When) -> Self {
        let mut call = self.moved(status, TimelineKind::Ended, at);
        call.ended_at = Some(self.not_before_last(at.now));
        call
    }

    fn moved(&self, status: CallStatus, kind: TimelineKind, at: When) -> Self {
        let mut call = self.clone();
        call.status = status;
        call.sequence = call.sequence.saturating_add(1);
        call.timeline.push(TimelineEntry {
            kind,
            asterisk_at: at.asterisk,
            recorded_at: self.not_before_last(at.now),
        });
        call
    }

    /// `now`, or the time of the last thing that happened if the clock went back.
    fn not_before_last(&self, now: Timestamp) -> Timestamp {
        self.timeline
            .last()
            .map_or(now, |entry| entry.recorded_at.max(now))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::{CallRequest, DialplanTarget, HangupCause, Media, Priority, SipCode, Variables};

    pub(crate) fn pending() -> Call {
        Call::new(CallRequest {
            id: Uuid::nil().into(),
            phone_number: "+15550000200".parse().unwrap(),
            endpoint: "PJSIP/15550000200@trunk".parse().unwrap(),
            target: DialplanTarget {
                context: "outbound-ivr".parse().unwrap(),
                extension: "s".parse().unwrap(),
                priority: Priority::try_from(1).unwrap(),
            },
            media: None,
            dial_timeout: Duration::from_secs(30),
            max_duration: None,
            variables: Variables::default(),
            caller_id: None,
            created_at: Timestamp::from_millis(1_000),
            dial_before: Timestamp::from_millis(100_000),
            request_id: "r".to_owned(),
            fingerprint: None,
        })
    }

    pub(crate) fn claimed() -> CallEvent {
        CallEvent::Claimed {
            owner: "b1".parse().unwrap(),
            claim: Uuid::nil().into(),
            deadline: Timestamp::from_millis(200_000),
        }
    }

    fn ended(cause: u16) -> CallEvent {
        CallEvent::Ended {
            ending: Ending {
                cause: cause.into(),
                sip_code: None,
            },
            dialled: Dialled::Yes,
        }
    }

    fn play(events: &[CallEvent]) -> (Call, Vec<Effect>) {
        let mut call = pending();
        let mut effects = Vec::new();
        for (step, event) in (0..).zip(events) {
            let at = When::ours(Timestamp::from_millis(2_000 + 1_000 * step));
            if let Some((next, effect)) = call.next(event, at) {
                call = next;
                effects.push(effect);
            }
        }
        (call, effects)
    }

    #[test]
    fn an_answered_call_is_continued_once_and_completed() {
        let (call, effects) = play(&[
            claimed(),
            CallEvent::Rang,
            CallEvent::Rang,
            CallEvent::Answered,
            CallEvent::Answered,
            ended(16),
            ended(16),
        ]);
        assert_eq!(call.status, CallStatus::Completed);
        assert_eq!(
            effects,
            [Effect::None, Effect::None, Effect::Continue, Effect::Forget]
        );
        assert_eq!(call.duration(), Some(Duration::from_secs(2)));
        assert_eq!(call.hangup_cause.map(HangupCause::code), Some(16));
    }

    #[test]
    fn a_call_with_media_is_played_to_and_hung_up() {
        let mut call = pending();
        call.request.media = Some(Media::new(&["sound:hello-world"]).unwrap());
        let mut effects = Vec::new();
        for event in [
            claimed(),
            CallEvent::Played(Heard::All),
            CallEvent::Answered,
            CallEvent::Played(Heard::NotAll),
            CallEvent::Played(Heard::All),
            CallEvent::HangupRequested(HangupOrigin::MediaOver),
            ended(16),
        ] {
            let next = call.next(&event, When::ours(Timestamp::from_millis(2_000)));
            effects.push(next.as_ref().map(|(_, effect)| *effect));
            call = next.map_or(call, |(call, _)| call);
        }
        let expected = [
            Some(Effect::None),
            None,
            Some(Effect::Play),
            Some(Effect::HangUp),
            None,
            Some(Effect::None),
            Some(Effect::Forget),
        ];
        assert_eq!(effects, expected);
        assert_eq!(
            (call.status, call.failure_reason),
            (CallStatus::Completed, Some(FailureReason::MediaFailed))
        );
    }

    #[test]
    fn an_end_that_was_not_seen_has_no_duration_and_is_no_later_than_the_limit() {
        // The claim at 2,000 has a deadline of 200,000, which leaves 138 s after the answer.
        let mut call = pending();
        for (event, millis) in [
            (claimed(), 2_000),
            (CallEvent::Answered, 5_000),
            (CallEvent::EndUnseen, 999_000),
        ] {
            let at = When::ours(Timestamp::from_millis(millis));
            call = call.next(&event, at).unwrap().0;
        }
        assert_eq!(
            (call.status, call.failure_reason, call.duration()),
            (CallStatus::Completed, Some(FailureReason::EndNotSeen), None)
        );
        assert_eq!(call.ended_at, Some(Timestamp::from_millis(5_000 + 138_000)));
        let (call, _) = play(&[claimed(), CallEvent::Rang, CallEvent::EndUnseen]);
        assert_eq!(call.failure_reason, Some(FailureReason::OutcomeUnknown));
    }

    #[test]
    fn early_media_counts_as_alerting_but_not_as_ringing() {
        let (call, _) = play(&[claimed(), CallEvent::Progressed]);
        assert_eq!((call.status, call.ringing_at), (CallStatus::Dialing, None));
        let (call, _) = play(&[claimed(), CallEvent::Progressed, ended(19)]);
        assert_eq!(call.status, CallStatus::NoAnswer);
        let (call, _) = play(&[
            claimed(),
            CallEvent::Progressed,
            CallEvent::Answered,
            ended(16),
        ]);
        assert_eq!(call.status, CallStatus::Completed);
    }

    #[test]
    fn a_pending_call_can_be_canceled_or_fail_but_not_ring() {
        let (call, _) = play(&[CallEvent::Rang, CallEvent::Answered, ended(16)]);
        assert_eq!(call, pending());
        let (call, _) = play(&[CallEvent::HangupRequested(HangupOrigin::Client), claimed()]);
        assert_eq!((call.status, call.owner), (CallStatus::Canceled, None));
        let (call, _) = play(&[CallEvent::Failed(FailureReason::Expired), claimed()]);
        assert_eq!(call.failure_reason, Some(FailureReason::Expired));
    }

    #[test]
    fn a_call_that_its_client_had_hung_up_before_the_dial_is_canceled() {
        let hangup = CallEvent::HangupRequested(HangupOrigin::Client);
        let failed = CallEvent::Failed(FailureReason::EndedUnanswered);
        let (call, _) = play(&[claimed(), hangup, failed]);
        assert_eq!(
            (call.status, call.failure_reason),
            (CallStatus::Canceled, None)
        );
    }

    #[test]
    fn a_second_claim_changes_nothing() {
        let (call, _) = play(&[claimed()]);
        let other = CallEvent::Claimed {
            owner: "b2".parse().unwrap(),
            claim: Uuid::max().into(),
            deadline: Timestamp::from_millis(1),
        };
        assert_eq!(
            call.next(&other, When::ours(Timestamp::from_millis(9_000))),
            None
        );
    }

    pub(crate) fn any_event() -> impl Strategy<Value = CallEvent> {
        prop_oneof![
            Just(claimed()),
            Just(CallEvent::Progressed),
            Just(CallEvent::Rang),
            Just(CallEvent::Answered),
            proptest::sample::select(vec![Heard::All, Heard::NotAll, Heard::Unknown])
                .prop_map(CallEvent::Played),
            proptest::sample::select(HangupOrigin::ALL.to_vec())
                .prop_map(CallEvent::HangupRequested),
            (
                any::<u16>(),
                proptest::option::of(100u16..700),
                proptest::sample::select(vec![Dialled::Yes, Dialled::No, Dialled::Unknown])
            )
                .prop_map(|(cause, sip, dialled)| {
                    CallEvent::Ended {
                        ending: Ending {
                            cause: (cause % 130).into(),
                            sip_code: sip.and_then(SipCode::new),
                        },
                        dialled,
                    }
                }),
            Just(CallEvent::EndUnseen),
            proptest::sample::select(FailureReason::ALL.to_vec())
                .prop_filter("only of a call that is not completed", |reason| !reason
                    .is_of_completed())
                .prop_map(CallEvent::Failed),
        ]
    }

    /// Every time in the order in which a call passes through it.
    fn times(call: &Call) -> Vec<Timestamp> {
        [
            Some(call.request.created_at),
            call.dialed_at,
            call.alerted_at,
            call.ringing_at,
            call.answered_at,
            call.ended_at,
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn no_order_of_events_breaks_a_call(
            events in proptest::collection::vec((any_event(), -5_000i64..50_000), 0..24),
            plays in any::<bool>(),
        ) {
            let mut call = pending();
            call.request.media = plays.then(|| Media::new(&["tone:busy"]).unwrap());
            for (event, millis) in &events {
                let at = When::ours(Timestamp::from_millis(*millis));
                let Some((next, effect)) = call.next(event, at) else { continue };

                prop_assert!(!call.status.is_terminal(), "a call that is over changed");
                prop_assert!(next.status.progress() >= call.status.progress(), "a status went back");
                prop_assert_eq!(next.sequence, call.sequence + 1);
                prop_assert_eq!(&next.request, &call.request);
                prop_assert_eq!(effect == Effect::Forget, next.status.is_terminal());
                let goes_on = if plays { Effect::Play } else { Effect::Continue };
                prop_assert_eq!(effect == goes_on, next.status == CallStatus::Answered
                    && call.status != CallStatus::Answered && call.hangup.is_none());
                prop_assert!(next.next(event, at).is_none(), "a duplicate was not ignored");

                let times = times(&next);
                prop_assert!(times.is_sorted(), "times run backwards: {:?}", times);
                prop_assert!(next.timeline.iter().map(|e| e.recorded_at).is_sorted());
                let kinds: HashSet<_> = next.timeline.iter().map(|e| e.kind).collect();
                prop_assert_eq!(kinds.len(), next.timeline.len(), "a kind twice in the timeline");

                prop_assert_eq!(next.status.is_terminal(), next.ended_at.is_some());
                prop_assert_eq!(next.status == CallStatus::Failed, next.failure_reason
                    .is_some_and(|reason| !reason.is_of_completed()));
                prop_assert!(next.duration().is_none() || next.status == CallStatus::Completed);
                if let (CallEvent::EndUnseen, Some(limit)) = (event, next.latest_end()) {
                    prop_assert!(call.answered_at.is_none() || next.ended_at <= Some(limit));
                }
                prop_assert!(next.status != CallStatus::Completed || next.answered_at.is_some());
                prop_assert!(next.status != CallStatus::NoAnswer || next.alerted_at.is_some());
                prop_assert_eq!(next.owner.is_some(), next.dialed_at.is_some());
                call = next;
            }
        }
    }
}
