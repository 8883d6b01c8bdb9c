//! What the end of an unanswered call means: one total table from the SIP response code and, where
//! there is none, from the Q.850 cause.
//!
//! The codes are those of IANA's registry of SIP response codes. A code that is not in the table
//! means what RFC 3261, section 8.1.3.2 says of its class. Asterisk's own cause for each code was
//! seen on 22.10.1 (`tests/asterisk/endings.tsv`); the code counts, because Asterisk merges many
//! codes into one cause (127 for 400 and for 607 alike).

use crate::hangup::{Ending, HangupCause, SipCode};
use crate::{CallStatus, FailureReason};

/// What a code or a cause says about the callee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The callee is on the phone.
    Busy,
    /// Nothing was heard in time: nobody answered if the callee had been alerted, and otherwise
    /// nothing ever responded.
    Silence,
    /// The callee cannot be reached now. After ringing it means that nobody answered, because many
    /// phones and providers end a call so that rang for too long.
    Unavailable,
    /// The call failed for this reason.
    Failed(FailureReason),
}

/// What the callee was heard to do before the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The phone rang, or early media played (an announcement, perhaps).
    pub alerted: bool,
    /// The phone rang.
    pub rang: bool,
}

/// A SIP response code, its name, the RFC that defines it, and what it means for a call.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The code.
    pub code: u16,
    /// The name in IANA's registry.
    pub name: &'static str,
    /// The RFC that defines the code.
    pub rfc: u16,
    /// What the code means.
    pub meaning: Meaning,
}

const fn row(code: u16, name: &'static str, rfc: u16, meaning: Meaning) -> Row {
    Row {
        code,
        name,
        rfc,
        meaning,
    }
}

const fn failed(reason: FailureReason) -> Meaning {
    Meaning::Failed(reason)
}

const REDIRECTED: Meaning = failed(FailureReason::Redirected);
const PROVIDER: Meaning = failed(FailureReason::RefusedByProvider);
const UNALLOCATED: Meaning = failed(FailureReason::UnallocatedNumber);
const NETWORK: Meaning = failed(FailureReason::NetworkError);
const MEDIA: Meaning = failed(FailureReason::IncompatibleMedia);
const REJECTED: Meaning = failed(FailureReason::Rejected);

/// The registered final responses that refuse a call, in order.
pub const SIP_CODES: &[Row] = &[
    row(300, "Multiple Choices", 3261, REDIRECTED),
    row(301, "Moved Permanently", 3261, REDIRECTED),
    row(302, "Moved Temporarily", 3261, REDIRECTED),
    row(305, "Use Proxy", 3261, REDIRECTED),
    row(380, "Alternative Service", 3261, REDIRECTED),
    row(400, "Bad Request", 3261, PROVIDER),
    row(401, "Unauthorized", 3261, PROVIDER),
    row(402, "Payment Required", 3261, PROVIDER),
    row(403, "Forbidden", 3261, PROVIDER),
    row(404, "Not Found", 3261, UNALLOCATED),
    row(405, "Method Not Allowed", 3261, PROVIDER),
    row(406, "Not Acceptable", 3261, PROVIDER),
    row(407, "Proxy Authentication Required", 3261, PROVIDER),
    row(408, "Request Timeout", 3261, Meaning::Silence),
    row(410, "Gone", 3261, UNALLOCATED),
    row(412, "Conditional Request Failed", 3903, PROVIDER),
    row(413, "Request Entity Too Large", 3261, PROVIDER),
    row(414, "Request-URI Too Long", 3261, PROVIDER),
    row(415, "Unsupported Media Type", 3261, MEDIA),
    row(416, "Unsupported URI Scheme", 3261, PROVIDER),
    row(417, "Unknown Resource-Priority", 4412, PROVIDER),
    row(420, "Bad Extension", 3261, PROVIDER),
    row(421, "Extension Required", 3261, PROVIDER),
    row(422, "Session Interval Too Small", 4028, PROVIDER),
    row(423, "Interval Too Brief", 3261, PROVIDER),
    row(424, "Bad Location Information", 6442, PROVIDER),
    row(425, "Bad Alert Message", 8876, PROVIDER),
    row(428, "Use Identity Header", 8224, PROVIDER),
    row(429, "Provide Referrer Identity", 3892, PROVIDER),
    row(430, "Flow Failed", 5626, failed(FailureReason::Unreachable)),
    row(433, "Anonymity Disallowed", 5079, REJECTED),
    row(436, "Bad Identity Info", 8224, PROVIDER),
    row(437, "Unsupported Credential", 8224, PROVIDER),
    row(438, "Invalid Identity Header", 8224, PROVIDER),
    row(439, "First Hop Lacks Outbound Support", 5626, PROVIDER),
    row(440, "Max-Breadth Exceeded", 5393, NETWORK),
    row(469, "Bad Info Package", 6086, PROVIDER),
    row(470, "Consent Needed", 5360, REJECTED),
    row(480, "Temporarily Unavailable", 3261, Meaning::Unavailable),
    row(481, "Call/Transaction Does Not Exist", 3261, NETWORK),
    row(482, "Loop Detected", 3261, NETWORK),
    row(483, "Too Many Hops", 3261, NETWORK),
    row(484, "Address Incomplete", 3261, UNALLOCATED),
    row(485, "Ambiguous", 3261, UNALLOCATED),
    row(486, "Busy Here", 3261, Meaning::Busy),
    row(
        487,
        "Request Terminated",
        3261,
        failed(FailureReason::EndedUnanswered),
    ),
    row(488, "Not Acceptable Here", 3261, MEDIA),
    row(489, "Bad Event", 6665, PROVIDER),
    row(491, "Request Pending", 3261, NETWORK),
    row(493, "Undecipherable", 3261, MEDIA),
    row(494, "Security Agreement Required", 3329, PROVIDER),
    row(500, "Server Internal Error", 3261, NETWORK),
    row(501, "Not Implemented", 3261, NETWORK),
    row(502, "Bad Gateway", 3261, NETWORK),
    row(
        503,
        "Service Unavailable",
        3261,
        failed(FailureReason::Congestion),
    ),
    row(504, "Server Time-out", 3261, NETWORK),
    row(505, "Version Not Supported", 3261, NETWORK),
    row(513, "Message Too Large", 3261, NETWORK),
    row(
        555,
        "Push Notification Service Not Supported",
        8599,
        NETWORK,
    ),
    row(580, "Precondition Failure", 3312, NETWORK),
    row(600, "Busy Everywhere", 3261, Meaning::Busy),
    row(603, "Decline", 3261, REJECTED),
    row(604, "Does Not Exist Anywhere", 3261, UNALLOCATED),
    row(606, "Not Acceptable", 3261, MEDIA),
    row(607, "Unwanted", 8197, failed(FailureReason::Unwanted)),
    row(608, "Rejected", 8688, failed(FailureReason::Blocked)),
];

/// What a SIP code means, if it is one that refuses a call (300 to 699).
#[must_use]
pub fn of_sip_code(code: SipCode) -> Option<Meaning> {
    let code = code.get();
    let known = SIP_CODES.iter().find(|row| row.code == code);
    if let Some(row) = known {
        return Some(row.meaning);
    }
    match code {
        300..=399 => Some(REDIRECTED),
        400..=499 => Some(PROVIDER),
        500..=599 => Some(NETWORK),
        600..=699 => Some(REJECTED),
        _ => None,
    }
}

/// What a Q.850 cause means. Every cause means something.
#[must_use]
pub fn of_cause(cause: HangupCause) -> Meaning {
    use HangupCause as Cause;

    match cause {
        Cause::UserBusy => Meaning::Busy,
        Cause::NoUserResponse | Cause::NoAnswer => Meaning::Silence,
        Cause::CallRejected => REJECTED,
        // The old number of a subscriber who moved is out of use as well.
        Cause::UnallocatedNumber | Cause::NumberChanged | Cause::InvalidNumberFormat => UNALLOCATED,
        // 102: recovery on the expiry of a timer.
        Cause::NetworkOutOfOrder
        | Cause::DestinationOutOfOrder
        | Cause::TemporaryFailure
        | Cause::Other(102) => NETWORK,
        // 44 and 47: no channel or no other resource is available.
        Cause::NoCircuitAvailable | Cause::SwitchCongestion | Cause::Other(44 | 47) => {
            failed(FailureReason::Congestion)
        }
        Cause::SubscriberAbsent => failed(FailureReason::SubscriberAbsent),
        Cause::NoRoute => failed(FailureReason::NoRoute),
        // 23: the callee is at another destination.
        Cause::Other(23) => REDIRECTED,
        // 29, 55 and 57: the facility was rejected or is not authorised.
        Cause::Other(29 | 55 | 57) => PROVIDER,
        // 58, 65 and 88: the bearer or the destination is not compatible.
        Cause::Other(58 | 65 | 88) => MEDIA,
        Cause::NormalClearing | Cause::Unknown | Cause::Other(_) => {
            failed(FailureReason::EndedUnanswered)
        }
    }
}

/// The final status and reason of an unanswered call that was dialled and ended so.
#[must_use]
pub fn read(ending: Ending, alert: Alert) -> (CallStatus, Option<FailureReason>) {
    let meaning = ending
        .sip_code
        .and_then(of_sip_code)
        .unwrap_or_else(|| of_cause(ending.cause));
    let nobody_answered = match meaning {
        Meaning::Busy => return (CallStatus::Busy, None),
        Meaning::Failed(reason) => return (CallStatus::Failed, Some(reason)),
        Meaning::Silence => alert.alerted,
        Meaning::Unavailable => alert.rang,
    };
    let reason = match meaning {
        _ if nobody_answered => return (CallStatus::NoAnswer, None),
        Meaning::Unavailable => FailureReason::Unreachable,
        _ => FailureReason::NoResponse,
    };
    (CallStatus::Failed, Some(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(cause: u16, code: u16) -> Ending {
        Ending {
            cause: cause.into(),
            sip_code: SipCode::new(code),
        }
    }

    const NOTHING: Alert = Alert {
        alerted: false,
        rang: false,
    };
    const EARLY_MEDIA: Alert = Alert {
        alerted: true,
        rang: false,
    };
    const RANG: Alert = Alert {
        alerted: true,
        rang: true,
    };

    #[test]
    fn the_table_is_in_order_and_total() {
        assert!(SIP_CODES.is_sorted_by_key(|row| row.code));
        for code in 300..=699 {
            let code = SipCode::new(code).unwrap();
            assert!(of_sip_code(code).is_some(), "{code:?}");
        }
        assert_eq!(of_sip_code(SipCode::new(200).unwrap()), None);
        for cause in 0..=u16::MAX {
            let _ = of_cause(cause.into());
        }
    }

    #[test]
    fn a_code_says_more_than_the_cause_that_asterisk_makes_of_it() {
        use CallStatus::{Busy, Failed, NoAnswer};
        use FailureReason as Why;

        for (cause, code, alert, expected) in [
            (21, 403, NOTHING, (Failed, Some(Why::RefusedByProvider))),
            (21, 603, NOTHING, (Failed, Some(Why::Rejected))),
            (127, 607, RANG, (Failed, Some(Why::Unwanted))),
            (127, 608, NOTHING, (Failed, Some(Why::Blocked))),
            (19, 480, NOTHING, (Failed, Some(Why::Unreachable))),
            (19, 480, EARLY_MEDIA, (Failed, Some(Why::Unreachable))),
            (19, 480, RANG, (NoAnswer, None)),
            (19, 483, NOTHING, (Failed, Some(Why::NetworkError))),
            (18, 408, EARLY_MEDIA, (NoAnswer, None)),
            (18, 408, NOTHING, (Failed, Some(Why::NoResponse))),
            (17, 600, NOTHING, (Busy, None)),
            (58, 488, NOTHING, (Failed, Some(Why::IncompatibleMedia))),
            (23, 302, NOTHING, (Failed, Some(Why::Redirected))),
        ] {
            assert_eq!(read(ending(cause, code), alert), expected, "{code}");
        }
    }

    #[test]
    fn without_a_code_the_cause_decides() {
        use CallStatus::{Busy, Failed, NoAnswer};
        use FailureReason as Why;

        for (cause, alert, expected) in [
            (17, RANG, (Busy, None)),
            (19, RANG, (NoAnswer, None)),
            (19, EARLY_MEDIA, (NoAnswer, None)),
            (19, NOTHING, (Failed, Some(Why::NoResponse))),
            (1, NOTHING, (Failed, Some(Why::UnallocatedNumber))),
            (34, NOTHING, (Failed, Some(Why::Congestion))),
            (38, RANG, (Failed, Some(Why::NetworkError))),
            (16, NOTHING, (Failed, Some(Why::EndedUnanswered))),
            (127, NOTHING, (Failed, Some(Why::EndedUnanswered))),
        ] {
            assert_eq!(read(ending(cause, 0), alert), expected, "{cause}");
        }
    }
}
