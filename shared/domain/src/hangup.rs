//! Why a channel ended, in the telephone network's words and in SIP's.

use std::fmt;

use crate::rules::{Rule, kept};

/// A hangup cause: ITU-T Q.850, table 1, as Asterisk reports it in `ChannelDestroyed`.
///
/// The causes that decide a call's status have names; the others are carried as
/// numbers, so that an unknown cause is recorded like a known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HangupCause {
    /// 0: Asterisk does not know.
    Unknown,
    /// 1: the number is not in use.
    UnallocatedNumber,
    /// 3: no route to the destination.
    NoRoute,
    /// 16: the normal end of a call, and what Asterisk says when it has nothing better to say.
    NormalClearing,
    /// 17: the callee is on the phone.
    UserBusy,
    /// 18: the callee's equipment did not respond.
    NoUserResponse,
    /// 19: it rang, nobody answered.
    NoAnswer,
    /// 20: the callee's phone is off or out of reach.
    SubscriberAbsent,
    /// 21: the callee refused the call.
    CallRejected,
    /// 22: the number has changed.
    NumberChanged,
    /// 27: the destination is out of order.
    DestinationOutOfOrder,
    /// 28: the number is not in a valid format.
    InvalidNumberFormat,
    /// 34: no circuit is free.
    NoCircuitAvailable,
    /// 38: the network is out of order.
    NetworkOutOfOrder,
    /// 41: a temporary failure.
    TemporaryFailure,
    /// 42: the switch is congested.
    SwitchCongestion,
    /// Any other number.
    Other(u16),
}

impl From<u16> for HangupCause {
    fn from(code: u16) -> Self {
        match code {
            0 => Self::Unknown,
            1 => Self::UnallocatedNumber,
            3 => Self::NoRoute,
            16 => Self::NormalClearing,
            17 => Self::UserBusy,
            18 => Self::NoUserResponse,
            19 => Self::NoAnswer,
            20 => Self::SubscriberAbsent,
            21 => Self::CallRejected,
            22 => Self::NumberChanged,
            27 => Self::DestinationOutOfOrder,
            28 => Self::InvalidNumberFormat,
            34 => Self::NoCircuitAvailable,
            38 => Self::NetworkOutOfOrder,
            41 => Self::TemporaryFailure,
            42 => Self::SwitchCongestion,
            other => Self::Other(other),
        }
    }
}

impl HangupCause {
    /// The Q.850 number.
    #[must_use]
    pub const fn code(self) -> u16 {
        match self {
            Self::Unknown => 0,
            Self::UnallocatedNumber => 1,
            Self::NoRoute => 3,
            Self::NormalClearing => 16,
            Self::UserBusy => 17,
            Self::NoUserResponse => 18,
            Self::NoAnswer => 19,
            Self::SubscriberAbsent => 20,
            Self::CallRejected => 21,
            Self::NumberChanged => 22,
            Self::DestinationOutOfOrder => 27,
            Self::InvalidNumberFormat => 28,
            Self::NoCircuitAvailable => 34,
            Self::NetworkOutOfOrder => 38,
            Self::TemporaryFailure => 41,
            Self::SwitchCongestion => 42,
            Self::Other(code) => code,
        }
    }
}

impl HangupCause {
    /// The more telling of this cause, from `ChannelDestroyed`, and the one that a
    /// `ChannelHangupRequest` announced before, for a call that was not answered.
    ///
    /// A Local channel whose other half is hung up at once with a cause loses that cause in a race,
    /// about every third time on Asterisk 22.10. It is destroyed with 16, and only the request says 1. A
    /// request of our own (32) or without a cause (0) announces nothing.
    #[must_use]
    pub fn or_announced(self, announced: Option<Self>) -> Self {
        match (self, announced) {
            (_, None | Some(Self::Unknown | Self::NormalClearing | Self::Other(_))) => self,
            (Self::Unknown | Self::NormalClearing, Some(announced)) => announced,
            (told, Some(_)) => told,
        }
    }
}

impl fmt::Display for HangupCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.code().fmt(f)
    }
}

/// The SIP response code behind a hangup cause, RFC 3261 section 21, from the
/// event's `tech_cause`. Asterisk maps some of them to causes in its own way (603 to 21, 500 to
/// 38), so both are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SipCode(u16);

impl SipCode {
    /// From a response code; `None` outside 100 to 699.
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        if code >= 100 && code <= 699 {
            Some(Self(code))
        } else {
            None
        }
    }

    /// The response code.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// How a channel ended, as far as the far end said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The Q.850 cause.
    pub cause: HangupCause,
    /// The SIP response code with which the far end refused the call, if it did.
    pub sip_code: Option<SipCode>,
}

impl Ending {
    /// The cause of the `ChannelHangupRequest` that Asterisk sends when the hangup was asked for on
    /// our side: by a `DELETE`, or by the timeout of the dial. It is `AST_SOFTHANGUP_EXPLICIT`.
    pub const ASKED_BY_US: HangupCause = HangupCause::Other(32);

    /// Reads the `cause` and `tech_cause` of a `ChannelDestroyed`, and the `announced` cause of the
    /// last `ChannelHangupRequest` before it.
    ///
    /// Asterisk derives a SIP code from a hangup of our own, too (480 when the dial's timeout is
    /// over). Such a code was never said by the far end, so it is left out.
    #[must_use]
    pub fn read(
        cause: HangupCause,
        tech_cause: Option<SipCode>,
        announced: Option<HangupCause>,
    ) -> Self {
        let ours = announced == Some(Self::ASKED_BY_US) && kept(Rule::OwnTimeoutIsNoAnswer);
        Self {
            cause: cause.or_announced(announced),
            sip_code: tech_cause.filter(|_| !ours),
        }
    }

    /// Whether it gives no reason: 16 is what Asterisk says when it has nothing better to say.
    #[must_use]
    pub fn says_nothing(self) -> bool {
        self.sip_code.is_none()
            && matches!(
                self.cause,
                HangupCause::NormalClearing | HangupCause::Unknown
            )
    }

    /// The end of a channel that an undialled or unseen call leaves: nothing is known of it.
    pub const UNKNOWN: Self = Self {
        cause: HangupCause::Unknown,
        sip_code: None,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_after_a_hangup_of_ours_is_not_the_callees() {
        let code = SipCode::new(480);
        let read = |announced| Ending::read(HangupCause::NoAnswer, code, announced).sip_code;
        assert_eq!(read(Some(Ending::ASKED_BY_US)), None);
        assert_eq!(read(Some(HangupCause::NoAnswer)), code);
        assert_eq!(read(None), code);
    }

    #[test]
    fn every_number_is_a_cause_and_keeps_its_number() {
        for code in 0..=u16::MAX {
            assert_eq!(HangupCause::from(code).code(), code);
        }
    }

    #[test]
    fn an_announced_cause_counts_where_the_last_one_says_nothing() {
        use HangupCause::{NormalClearing, UnallocatedNumber, Unknown, UserBusy};
        for (told, announced, expected) in [
            (NormalClearing, Some(UnallocatedNumber), UnallocatedNumber),
            (Unknown, Some(UserBusy), UserBusy),
            (UserBusy, Some(UnallocatedNumber), UserBusy),
            (NormalClearing, Some(HangupCause::Other(32)), NormalClearing),
            (NormalClearing, Some(Unknown), NormalClearing),
            (NormalClearing, None, NormalClearing),
        ] {
            assert_eq!(told.or_announced(announced), expected);
        }
    }

    #[test]
    fn a_sip_code_is_a_response_code() {
        assert_eq!(SipCode::new(486).map(SipCode::get), Some(486));
        assert_eq!(SipCode::new(0), None);
        assert_eq!(SipCode::new(700), None);
    }
}
