//! What a channel's end means for its call: the table of endings.

use std::fmt;
use std::str::FromStr;

use crate::rules::{Rule, kept};
use crate::transition::HangupOrigin;
use crate::{CallStatus, HangupCause};

/// Why a call failed. The wire names are part of the API; new ones may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureReason {
    /// The message could not be put on the queue; nobody was or will be called.
    NotQueued,
    /// The call waited in the queue past its `dial_before`.
    Expired,
    /// Asterisk has no such endpoint, or the trunk does not take calls.
    EndpointUnavailable,
    /// Asterisk refused to dial the channel it had made.
    DialRefused,
    /// Whether the phone rang cannot be told: the bridge or Asterisk went away in between.
    OutcomeUnknown,
    /// Asterisk was restarted before anybody answered.
    AsteriskRestarted,
    /// Its bridge went away and nobody followed it to its end.
    BridgeLost,
    /// The callee refused the call.
    Rejected,
    /// The number is not in use, or not in a valid format.
    UnallocatedNumber,
    /// The network or the callee's equipment is out of order.
    NetworkError,
    /// No circuit, or the switch is congested.
    Congestion,
    /// Nothing ever answered: it never rang, so nobody failed to answer.
    NoResponse,
    /// The callee's phone is off or out of reach.
    SubscriberAbsent,
    /// No route leads to the number.
    NoRoute,
    /// It ended before anybody answered, with a cause that says nothing more.
    EndedUnanswered,
    /// It lasted past its deadline before it was answered.
    DeadlineExceeded,
    /// The callee answered, and `media` could not be played to its end. The call is `completed` all the same.
    MediaFailed,
}

impl FailureReason {
    /// All reasons.
    pub const ALL: [Self; 17] = [
        Self::NotQueued,
        Self::Expired,
        Self::EndpointUnavailable,
        Self::DialRefused,
        Self::OutcomeUnknown,
        Self::AsteriskRestarted,
        Self::BridgeLost,
        Self::Rejected,
        Self::UnallocatedNumber,
        Self::NetworkError,
        Self::Congestion,
        Self::NoResponse,
        Self::SubscriberAbsent,
        Self::NoRoute,
        Self::EndedUnanswered,
        Self::DeadlineExceeded,
        Self::MediaFailed,
    ];

    /// The name in the API and in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotQueued => "not_queued",
            Self::Expired => "expired",
            Self::EndpointUnavailable => "endpoint_unavailable",
            Self::DialRefused => "dial_refused",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::AsteriskRestarted => "asterisk_restarted",
            Self::BridgeLost => "bridge_lost",
            Self::Rejected => "rejected",
            Self::UnallocatedNumber => "unallocated_number",
            Self::NetworkError => "network_error",
            Self::Congestion => "congestion",
            Self::NoResponse => "no_response",
            Self::SubscriberAbsent => "subscriber_absent",
            Self::NoRoute => "no_route",
            Self::EndedUnanswered => "ended_unanswered",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::MediaFailed => "media_failed",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a failure reason")]
pub struct UnknownFailureReason;

impl FromStr for FailureReason {
    type Err = UnknownFailureReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or(UnknownFailureReason)
    }
}

/// What is known of a call when its channel ends.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The callee answered.
    pub answered: bool,
    /// A phone rang, or early media played.
    pub alerted: bool,
    /// Who asked for the end, if we did.
    pub hangup: Option<HangupOrigin>,
    /// What Asterisk gave as the cause.
    pub cause: HangupCause,
}

/// The final status of a call whose channel has ended, as seen on a real Asterisk 22.
///
/// An answered call is completed whatever ended it. `no_answer` needs a phone
/// that was alerted; a 16 that was never up is no completed call.
#[must_use]
pub fn final_status(facts: Facts) -> (CallStatus, Option<FailureReason>) {
    use FailureReason as Why;
    use HangupCause as Cause;

    if facts.answered && kept(Rule::AnsweredIsCompleted) {
        return (CallStatus::Completed, None);
    }
    match facts.hangup {
        Some(HangupOrigin::Client) => return (CallStatus::Canceled, None),
        Some(HangupOrigin::Deadline) => return (CallStatus::Failed, Some(Why::DeadlineExceeded)),
        Some(HangupOrigin::UnconfirmedDial) if !facts.alerted => {
            return (CallStatus::Failed, Some(Why::OutcomeUnknown));
        }
        // Media are played to answered calls only.
        Some(HangupOrigin::UnconfirmedDial | HangupOrigin::MediaOver) | None => {}
    }
    let reason = match facts.cause {
        Cause::UserBusy => return (CallStatus::Busy, None),
        Cause::NoUserResponse | Cause::NoAnswer
            if facts.alerted || !kept(Rule::NoAnswerNeedsAlert) =>
        {
            return (CallStatus::NoAnswer, None);
        }
        Cause::NoUserResponse | Cause::NoAnswer => Why::NoResponse,
        Cause::CallRejected => Why::Rejected,
        // The old number of a subscriber who moved is out of use as well.
        Cause::UnallocatedNumber | Cause::NumberChanged | Cause::InvalidNumberFormat => {
            Why::UnallocatedNumber
        }
        Cause::NetworkOutOfOrder | Cause::DestinationOutOfOrder | Cause::TemporaryFailure => {
            Why::NetworkError
        }
        Cause::NoCircuitAvailable | Cause::SwitchCongestion => Why::Congestion,
        Cause::SubscriberAbsent => Why::SubscriberAbsent,
        Cause::NoRoute => Why::NoRoute,
        Cause::NormalClearing | Cause::Unknown | Cause::Other(_) => Why::EndedUnanswered,
    };
    (CallStatus::Failed, Some(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(answered: bool, alerted: bool, cause: u16) -> (CallStatus, Option<&'static str>) {
        let (status, reason) = final_status(Facts {
            answered,
            alerted,
            hangup: None,
            cause: cause.into(),
        });
        (status, reason.map(FailureReason::as_str))
    }

    #[test]
    fn endings_are_those_seen_on_a_real_asterisk() {
        use CallStatus::{Busy, Completed, Failed, NoAnswer};
        for (name, answered, alerted, cause, expected) in [
            ("sip-answered", true, true, 16, (Completed, None)),
            ("sip-callee-hangs-up", true, false, 16, (Completed, None)),
            ("sip-busy", false, true, 17, (Busy, None)),
            ("sip-no-answer", false, true, 19, (NoAnswer, None)),
            ("sip-timeout", false, true, 18, (NoAnswer, None)),
            ("sip-declined", false, true, 21, (Failed, Some("rejected"))),
            (
                "local-unallocated",
                false,
                false,
                1,
                (Failed, Some("unallocated_number")),
            ),
            (
                "sip-server-error",
                false,
                true,
                38,
                (Failed, Some("network_error")),
            ),
            (
                "local-congestion",
                false,
                false,
                34,
                (Failed, Some("congestion")),
            ),
            (
                "sip-trunk-down",
                false,
                false,
                19,
                (Failed, Some("no_response")),
            ),
            (
                "local-no-such-extension",
                false,
                false,
                16,
                (Failed, Some("ended_unanswered")),
            ),
            (
                "unknown cause",
                false,
                false,
                127,
                (Failed, Some("ended_unanswered")),
            ),
        ] {
            assert_eq!(ended(answered, alerted, cause), expected, "{name}");
        }
    }

    #[test]
    fn a_hangup_of_ours_decides_only_what_nobody_answered() {
        let end = |answered, hangup| {
            final_status(Facts {
                answered,
                alerted: true,
                hangup: Some(hangup),
                cause: HangupCause::NormalClearing,
            })
        };
        assert_eq!(end(false, HangupOrigin::Client).0, CallStatus::Canceled);
        assert_eq!(end(true, HangupOrigin::Client).0, CallStatus::Completed);
        assert_eq!(
            end(false, HangupOrigin::Deadline).1,
            Some(FailureReason::DeadlineExceeded)
        );
        assert_eq!(end(true, HangupOrigin::Deadline).0, CallStatus::Completed);
    }

    #[test]
    fn reasons_have_names_that_read_back() {
        for reason in FailureReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
    }
}
