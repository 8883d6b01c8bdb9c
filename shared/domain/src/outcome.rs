//! Why a call failed, and what the end of a channel means for its call.

use std::fmt;
use std::str::FromStr;

use crate::endings::{self, Alert};
use crate::hangup::Ending;
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
    /// Asterisk refused to dial the channel that it had made, although the channel was there: it no
    /// longer takes this bridge's credentials, for example. Nobody was called.
    DialRefused,
    /// Whether the phone rang cannot be told: the bridge or Asterisk went away in between.
    OutcomeUnknown,
    /// Asterisk was restarted before anybody answered.
    AsteriskRestarted,
    /// Its bridge went away and nobody followed it to its end.
    BridgeLost,
    /// The channel ended before Asterisk dialled it: no phone rang.
    NotDialled,
    /// The number is not one of those that this bridge may call. Nobody was called.
    NumberNotAllowed,
    /// A variable of the call has a name that Asterisk itself obeys. Nobody was called.
    VariableForbidden,
    /// The message that asked for the call did not say what its record says. Nobody was called.
    MessageMismatch,
    /// The dialplan has no such context, extension or priority. Nobody was called.
    ContextMissing,
    /// The callee, or the callee's side, declined the call.
    Rejected,
    /// The callee's side does not want calls from this caller (607). Do not call again.
    Unwanted,
    /// An intermediary blocked the call, as unwanted in its opinion (608).
    Blocked,
    /// The provider refused the call, not the callee.
    RefusedByProvider,
    /// The callee cannot be reached now: the phone is off or not registered.
    Unreachable,
    /// The callee is elsewhere, and the call does not follow a redirection.
    Redirected,
    /// The two ends have no codec or no encryption in common.
    IncompatibleMedia,
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
    /// The callee answered, and not all of `media` was heard. The call is `completed` all the same.
    MediaFailed,
    /// The callee answered, and whether all of `media` was heard was not seen. The call is
    /// `completed` all the same.
    MediaUnconfirmed,
    /// The callee answered, and the end of the call was not seen, so that its duration is not
    /// known. The call is `completed` all the same.
    EndNotSeen,
}

impl FailureReason {
    /// All reasons.
    pub const ALL: [Self; 30] = [
        Self::NotQueued,
        Self::Expired,
        Self::EndpointUnavailable,
        Self::DialRefused,
        Self::OutcomeUnknown,
        Self::AsteriskRestarted,
        Self::BridgeLost,
        Self::NotDialled,
        Self::NumberNotAllowed,
        Self::VariableForbidden,
        Self::MessageMismatch,
        Self::ContextMissing,
        Self::Rejected,
        Self::Unwanted,
        Self::Blocked,
        Self::RefusedByProvider,
        Self::Unreachable,
        Self::Redirected,
        Self::IncompatibleMedia,
        Self::UnallocatedNumber,
        Self::NetworkError,
        Self::Congestion,
        Self::NoResponse,
        Self::SubscriberAbsent,
        Self::NoRoute,
        Self::EndedUnanswered,
        Self::DeadlineExceeded,
        Self::MediaFailed,
        Self::MediaUnconfirmed,
        Self::EndNotSeen,
    ];

    /// Whether a call that has this reason was answered and is completed all the same.
    #[must_use]
    pub const fn is_of_completed(self) -> bool {
        matches!(
            self,
            Self::MediaFailed | Self::MediaUnconfirmed | Self::EndNotSeen
        )
    }

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
            Self::NotDialled => "not_dialled",
            Self::NumberNotAllowed => "number_not_allowed",
            Self::VariableForbidden => "variable_forbidden",
            Self::MessageMismatch => "message_mismatch",
            Self::ContextMissing => "context_missing",
            Self::Rejected => "rejected",
            Self::Unwanted => "unwanted",
            Self::Blocked => "blocked",
            Self::RefusedByProvider => "refused_by_provider",
            Self::Unreachable => "unreachable",
            Self::Redirected => "redirected",
            Self::IncompatibleMedia => "incompatible_media",
            Self::UnallocatedNumber => "unallocated_number",
            Self::NetworkError => "network_error",
            Self::Congestion => "congestion",
            Self::NoResponse => "no_response",
            Self::SubscriberAbsent => "subscriber_absent",
            Self::NoRoute => "no_route",
            Self::EndedUnanswered => "ended_unanswered",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::MediaFailed => "media_failed",
            Self::MediaUnconfirmed => "media_unconfirmed",
            Self::EndNotSeen => "end_not_seen",
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

/// Whether the call's channel was dialled, as far as Asterisk's events tell.
///
/// `Dial` events that name the channel as their `peer` tell that Asterisk has begun to dial it. An
/// undialled channel ends with causes and codes that look like a callee's (16, or 21 with 603), so
/// its end says nothing about a callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialled {
    /// A `Dial` event was seen.
    Yes,
    /// It was not: no event came although all would have been seen, or the dial was never sent.
    No,
    /// Events may have been missed.
    Unknown,
}

/// What is known of a call when its channel ends.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The callee answered.
    pub answered: bool,
    /// What else the callee was heard to do.
    pub alert: Alert,
    /// Who asked for the end, if we did.
    pub hangup: Option<HangupOrigin>,
    /// How the channel ended.
    pub ending: Ending,
    /// Whether the channel was dialled.
    pub dialled: Dialled,
    /// The channel is one half of a Local channel, so that a dialplan decides what is dialled.
    pub local: bool,
}

impl Facts {
    /// The cause of the end: what the dialplan behind a Local channel said before we hung up, if the
    /// end itself says nothing.
    #[must_use]
    pub fn cause(&self) -> HangupCause {
        match self.hangup {
            Some(HangupOrigin::CalleeBusy) if self.ending.says_nothing() => HangupCause::UserBusy,
            Some(HangupOrigin::CalleeCongested) if self.ending.says_nothing() => {
                HangupCause::NoCircuitAvailable
            }
            _ => self.ending.cause,
        }
    }
}

/// The final status of a call whose channel has ended, as seen on a real Asterisk 22.
///
/// An answered call is completed whatever ended it. `no_answer` needs a callee that was alerted. A
/// call that nobody was seen to dial never ends by what its channel's end says.
#[must_use]
pub fn final_status(facts: Facts) -> (CallStatus, Option<FailureReason>) {
    use FailureReason as Why;

    let failed = |reason| (CallStatus::Failed, Some(reason));
    if facts.answered && kept(Rule::AnsweredIsCompleted) {
        return (CallStatus::Completed, None);
    }
    match facts.hangup {
        Some(HangupOrigin::Client) => return (CallStatus::Canceled, None),
        Some(HangupOrigin::Deadline) => return failed(Why::DeadlineExceeded),
        Some(HangupOrigin::UnconfirmedDial) if !facts.alert.alerted => {
            return failed(Why::OutcomeUnknown);
        }
        _ => {}
    }
    if kept(Rule::UndialledNotRead) {
        match facts.dialled {
            Dialled::Yes => {}
            Dialled::No => return failed(Why::NotDialled),
            Dialled::Unknown => return failed(Why::OutcomeUnknown),
        }
    }
    let ending = Ending {
        cause: facts.cause(),
        sip_code: facts.ending.sip_code,
    };
    // A dialplan without the extension ends like one that has called somebody and said no more.
    if facts.local && ending.says_nothing() && !facts.alert.alerted {
        return failed(Why::OutcomeUnknown);
    }
    let alert = if kept(Rule::NoAnswerNeedsAlert) {
        facts.alert
    } else {
        Alert {
            alerted: true,
            rang: true,
        }
    };
    endings::read(ending, alert)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hangup::SipCode;

    const RANG: Alert = Alert {
        alerted: true,
        rang: true,
    };

    fn facts(cause: u16, code: u16) -> Facts {
        Facts {
            answered: false,
            alert: RANG,
            hangup: None,
            ending: Ending {
                cause: cause.into(),
                sip_code: SipCode::new(code),
            },
            dialled: Dialled::Yes,
            local: false,
        }
    }

    fn reason(facts: Facts) -> Option<&'static str> {
        final_status(facts).1.map(FailureReason::as_str)
    }

    #[test]
    fn every_status_and_reason_is_explained() {
        let document = include_str!("../../../docs/outcomes.md");
        let statuses = CallStatus::ALL.map(CallStatus::as_str);
        let reasons = FailureReason::ALL.map(FailureReason::as_str);
        for name in statuses.into_iter().chain(reasons) {
            let explained = document
                .lines()
                .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
                .any(|cell| cell.contains(&format!("`{name}`")));
            assert!(explained, "docs/outcomes.md does not explain {name}");
        }
    }

    #[test]
    fn an_answered_call_is_completed_whatever_ends_it() {
        let answered = Facts {
            answered: true,
            ..facts(17, 486)
        };
        assert_eq!(final_status(answered), (CallStatus::Completed, None));
    }

    #[test]
    fn the_end_of_a_channel_that_was_not_seen_dialled_is_not_read() {
        for (dialled, expected) in [
            (Dialled::No, "not_dialled"),
            (Dialled::Unknown, "outcome_unknown"),
            (Dialled::Yes, "rejected"),
        ] {
            let undialled = Facts {
                dialled,
                ..facts(21, 603)
            };
            assert_eq!(reason(undialled), Some(expected));
        }
    }

    #[test]
    fn a_local_channel_that_says_nothing_may_have_called_somebody() {
        let silent = Facts {
            local: true,
            alert: Alert {
                alerted: false,
                rang: false,
            },
            ..facts(16, 0)
        };
        assert_eq!(reason(silent), Some("outcome_unknown"));
        let rang = Facts {
            alert: RANG,
            ..silent
        };
        assert_eq!(reason(rang), Some("ended_unanswered"));
    }

    #[test]
    fn a_refusal_behind_a_local_channel_counts_unless_its_end_says_more() {
        let busy = Facts {
            local: true,
            hangup: Some(HangupOrigin::CalleeBusy),
            ..facts(16, 0)
        };
        assert_eq!(final_status(busy), (CallStatus::Busy, None));
        let congested = |cause| Facts {
            local: true,
            hangup: Some(HangupOrigin::CalleeCongested),
            ..facts(cause, 0)
        };
        assert_eq!(reason(congested(16)), Some("congestion"));
        assert_eq!(reason(congested(21)), Some("rejected"));
    }

    #[test]
    fn a_hangup_of_ours_decides_only_what_nobody_answered() {
        let end = |answered, hangup| {
            final_status(Facts {
                answered,
                hangup: Some(hangup),
                ..facts(16, 0)
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
