//! How a callee behaves, by the last digits of the number.
//!
//! | last three digits | over a trunk | over a Local channel |
//! |---|---|---|
//! | 200, any other | rings, answers | the same |
//! | 201 | answers at once, hangs up after 1 s | the same |
//! | 203 | rings for 3 s, answers | the same |
//! | 183 | early media, then answers | the same |
//! | 000 | rings until it is given up | the same |
//! | 286 | rings for 3 s, then 486 | rings for 3 s, busy tone for 1 s |
//! | 300 to 699 | rings for 0.3 s, then that SIP code | rings for 0.3 s, then that code's cause |
//!
//! The digit before a SIP code changes how the callee refuses. With `9` it refuses at once and never
//! rings. With `8` it plays early media for 0.3 s and never rings. Any other digit changes nothing.
//!
//! Three callees of a Local channel are dialplan applications and differ. 404 does not ring. 486 has a
//! busy tone for 1 s. 503 has a congestion tone for 1 s and does not ring.
//! A context without `Hangup` after its `Dial` plays a tone for 10 s when a callee refuses. The event is
//! `Dial BUSY` for 486 and 600, otherwise `Dial CONGESTION`. After 480 and 483 it ends at once.

use std::time::Duration;

use crate::causes::cause_of;
use crate::dialplan;

/// Where an endpoint leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A SIP trunk.
    Trunk,
    /// The dialplan of this Asterisk.
    Local,
}

/// What a callee does, step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// What is heard first.
    pub alert: Alert,
    /// How it goes on.
    pub outcome: Outcome,
}

/// What the caller hears before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// Nothing.
    Nothing,
    /// Ringing.
    Ringing,
    /// Early media.
    Progress,
}

/// How a callee's part ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answers after a while, and waits.
    Answers(Duration),
    /// It answers at once and hangs up after a while.
    AnswersBriefly(Duration),
    /// It refuses after a while.
    Refuses {
        /// After this long.
        after: Duration,
        /// `dialstatus` of a last `Dial` event, and how long a tone plays then.
        tone: Option<(&'static str, Duration)>,
        /// Q.850 cause.
        cause: u16,
        /// SIP code, over a trunk.
        sip_code: Option<u16>,
    },
    /// It does nothing.
    Waits,
}

/// How long a phone rings before something happens.
const RINGS_FOR: Duration = Duration::from_millis(300);
/// Long enough for something else to happen before.
const RINGS_LONG: Duration = Duration::from_secs(3);
const EARLY_MEDIA_FOR: Duration = Duration::from_millis(500);
/// How long early media lasts before a refusal.
const ANNOUNCES_FOR: Duration = Duration::from_millis(300);
const TONE_FOR: Duration = Duration::from_secs(1);
/// How long Asterisk plays a tone at the end of a context that does not hang up.
const FALLTHROUGH_TONE_FOR: Duration = Duration::from_secs(10);
const BRIEFLY: Duration = Duration::from_secs(1);

/// The cause of a Local channel whose extension does not exist: it was given none.
pub const NO_CAUSE: u16 = 0;

/// Nothing ever answers, until Asterisk gives the INVITE up after 32 s (timer B of RFC 3261).
pub const SILENT: Behaviour = Behaviour {
    alert: Alert::Nothing,
    outcome: Outcome::Refuses {
        after: Duration::from_secs(32),
        tone: None,
        cause: 18,
        sip_code: Some(408),
    },
};

/// The phone at `number` behind a trunk.
#[must_use]
pub fn behind_trunk(number: &str) -> Behaviour {
    by_digits(number).unwrap_or_else(|refusal| refusal.over_trunk())
}

/// The extension `number` in `context`.
#[must_use]
pub fn in_dialplan(number: &str, context: &str) -> Behaviour {
    if !dialplan::exists(context, number, 1) {
        return Behaviour {
            alert: Alert::Nothing,
            outcome: Outcome::Refuses {
                after: Duration::ZERO,
                tone: None,
                cause: NO_CAUSE,
                sip_code: None,
            },
        };
    }
    by_digits(number).unwrap_or_else(|refusal| {
        if dialplan::ends_without_hangup(context) {
            refusal.without_hangup()
        } else {
            refusal.over_local()
        }
    })
}

/// A callee that refuses.
struct Refusal {
    alert: Alert,
    after: Duration,
    sip_code: u16,
}

impl Refusal {
    fn over_trunk(&self) -> Behaviour {
        self.ending(None, cause_of(self.sip_code), Some(self.sip_code))
    }

    /// The cause that the dialplan hands on.
    fn local_cause(&self) -> u16 {
        match self.sip_code {
            // The dialplan follows the redirection and nobody is there.
            300..400 => 16,
            code => cause_of(code),
        }
    }

    fn over_local(&self) -> Behaviour {
        let cause = self.local_cause();
        let at_once = Self {
            alert: Alert::Nothing,
            after: Duration::ZERO,
            ..*self
        };
        match self.sip_code {
            _ if self.alert != Alert::Ringing => self.ending(None, cause, None),
            404 => at_once.ending(None, cause, None),
            486 => self.ending(Some(("BUSY", TONE_FOR)), cause, None),
            503 => at_once.ending(Some(("CONGESTION", TONE_FOR)), cause, None),
            _ => self.ending(None, cause, None),
        }
    }

    fn without_hangup(&self) -> Behaviour {
        let (status, cause) = match self.local_cause() {
            17 => ("BUSY", 17),
            19 => return self.ending(None, 19, None),
            _ => ("CONGESTION", 34),
        };
        self.ending(Some((status, FALLTHROUGH_TONE_FOR)), cause, None)
    }

    fn ending(
        &self,
        tone: Option<(&'static str, Duration)>,
        cause: u16,
        sip_code: Option<u16>,
    ) -> Behaviour {
        Behaviour {
            alert: self.alert,
            outcome: Outcome::Refuses {
                after: self.after,
                tone,
                cause,
                sip_code,
            },
        }
    }
}

/// What the digits of a number say: a callee that does the same over every line, or a refusal.
fn by_digits(number: &str) -> Result<Behaviour, Refusal> {
    let (before, digits) = number
        .len()
        .checked_sub(3)
        .and_then(|length| number.split_at_checked(length))
        .unwrap_or_default();
    let does = |alert, outcome| Ok(Behaviour { alert, outcome });
    match digits {
        "203" => return does(Alert::Ringing, Outcome::Answers(RINGS_LONG)),
        "201" => return does(Alert::Nothing, Outcome::AnswersBriefly(BRIEFLY)),
        "183" => return does(Alert::Progress, Outcome::Answers(EARLY_MEDIA_FOR)),
        "000" => return does(Alert::Ringing, Outcome::Waits),
        _ => {}
    }
    let (alert, after, sip_code) = match (digits, digits.parse()) {
        ("286", _) => (Alert::Ringing, RINGS_LONG, 486),
        (_, Ok(sip_code @ 300..700)) => match before.bytes().last() {
            Some(b'9') => (Alert::Nothing, Duration::ZERO, sip_code),
            Some(b'8') => (Alert::Progress, ANNOUNCES_FOR, sip_code),
            _ => (Alert::Ringing, RINGS_FOR, sip_code),
        },
        _ => return does(Alert::Ringing, Outcome::Answers(RINGS_FOR)),
    };
    Err(Refusal {
        alert,
        after,
        sip_code,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuses(
        alert: Alert,
        after: Duration,
        tone: Option<(&'static str, Duration)>,
        cause: u16,
        sip_code: Option<u16>,
    ) -> Behaviour {
        Behaviour {
            alert,
            outcome: Outcome::Refuses {
                after,
                tone,
                cause,
                sip_code,
            },
        }
    }

    #[test]
    fn a_sip_code_and_the_digit_before_it_choose_the_refusal() {
        let (rings, silent, early) = (Alert::Ringing, Alert::Nothing, Alert::Progress);
        for (number, expected) in [
            (
                "+15550000403",
                refuses(rings, RINGS_FOR, None, 21, Some(403)),
            ),
            (
                "+15550009403",
                refuses(silent, Duration::ZERO, None, 21, Some(403)),
            ),
            (
                "+15550008480",
                refuses(early, ANNOUNCES_FOR, None, 19, Some(480)),
            ),
            (
                "+15550000286",
                refuses(rings, RINGS_LONG, None, 17, Some(486)),
            ),
            ("607", refuses(rings, RINGS_FOR, None, 127, Some(607))),
        ] {
            assert_eq!(behind_trunk(number), expected, "{number}");
        }
    }

    #[test]
    fn a_local_callee_refuses_without_a_code() {
        let (rings, silent, early) = (Alert::Ringing, Alert::Nothing, Alert::Progress);
        let (busy, congestion) = (("BUSY", TONE_FOR), ("CONGESTION", TONE_FOR));
        for (number, expected) in [
            (
                "+15550000486",
                refuses(rings, RINGS_FOR, Some(busy), 17, None),
            ),
            (
                "+15550009486",
                refuses(silent, Duration::ZERO, None, 17, None),
            ),
            (
                "+15550000404",
                refuses(silent, Duration::ZERO, None, 1, None),
            ),
            ("+15550008404", refuses(early, ANNOUNCES_FOR, None, 1, None)),
            (
                "+15550000503",
                refuses(silent, Duration::ZERO, Some(congestion), 34, None),
            ),
            ("+15550000403", refuses(rings, RINGS_FOR, None, 21, None)),
            ("+15550000302", refuses(rings, RINGS_FOR, None, 16, None)),
        ] {
            assert_eq!(in_dialplan(number, "carrier"), expected, "{number}");
        }
        let (busy, congestion) = (
            ("BUSY", FALLTHROUGH_TONE_FOR),
            ("CONGESTION", FALLTHROUGH_TONE_FOR),
        );
        for (number, expected) in [
            (
                "+15550000600",
                refuses(rings, RINGS_FOR, Some(busy), 17, None),
            ),
            (
                "+15550009486",
                refuses(silent, Duration::ZERO, Some(busy), 17, None),
            ),
            (
                "+15550000404",
                refuses(rings, RINGS_FOR, Some(congestion), 34, None),
            ),
            (
                "+15550008480",
                refuses(early, ANNOUNCES_FOR, None, 19, None),
            ),
        ] {
            assert_eq!(in_dialplan(number, "nohangup"), expected, "{number}");
        }
    }

    #[test]
    fn other_numbers_answer() {
        for number in ["+15550000200", "+15550000299", "+15550000700", "", "é1"] {
            let answers = Outcome::Answers(RINGS_FOR);
            assert_eq!(behind_trunk(number).outcome, answers, "{number}");
        }
        let nobody = in_dialplan("+15550000200", "nowhere");
        assert_eq!(
            nobody,
            refuses(Alert::Nothing, Duration::ZERO, None, NO_CAUSE, None)
        );
    }
}
