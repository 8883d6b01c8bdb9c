//! How a callee behaves, by the last three digits of the number.
//!
//! | digits | over a trunk | over a Local channel |
//! |---|---|---|
//! | 200, any other | rings, answers | the same |
//! | 201 | answers at once, hangs up after 1 s | the same |
//! | 203 | rings for 3 s, answers | the same |
//! | 183 | early media, then answers | the same |
//! | 000 | rings until it is given up | the same |
//! | 404 | rings, then 404 | does not ring: cause 1 |
//! | 408, 480, 500, 603 | rings, then that SIP code | rings, then the cause without a code |
//! | 486 | rings, then 486 | rings, busy tone for 1 s |
//! | 286 | like 486, but rings for 3 s | the same |
//! | 503 | rings, then 503 | does not ring, congestion tone for 1 s |
//!
//! A trunk named `down` never answers; any other than `trunk` and `down` does not exist. The
//! context `nowhere` has no extensions; all others have all of them.

use std::time::Duration;

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
const TONE_FOR: Duration = Duration::from_secs(1);
const BRIEFLY: Duration = Duration::from_secs(1);

/// The behaviour at the end of `endpoint`; `None` if there is no such endpoint.
#[must_use]
pub fn behind(endpoint: &str) -> Option<(Line, Behaviour)> {
    let (technology, resource) = endpoint.split_once('/')?;
    let (number, place) = resource.split_once('@')?;
    let waits = |alert| Behaviour {
        alert,
        outcome: Outcome::Waits,
    };
    match (technology, place) {
        ("PJSIP", "trunk") => Some((Line::Trunk, behaviour(number, Line::Trunk))),
        ("PJSIP", "down") => Some((Line::Trunk, waits(Alert::Nothing))),
        ("Local", "nowhere") => {
            let hung_up = Outcome::Refuses {
                after: Duration::ZERO,
                tone: None,
                cause: 16,
                sip_code: None,
            };
            Some((
                Line::Local,
                Behaviour {
                    alert: Alert::Nothing,
                    outcome: hung_up,
                },
            ))
        }
        ("Local", _) => Some((Line::Local, behaviour(number, Line::Local))),
        _ => None,
    }
}

fn behaviour(number: &str, line: Line) -> Behaviour {
    let digits = number
        .get(number.len().saturating_sub(3)..)
        .unwrap_or_default();
    let (digits, rings_for) = match digits {
        "203" => ("200", RINGS_LONG),
        "286" => ("486", RINGS_LONG),
        _ => (digits, RINGS_FOR),
    };
    let rings = |outcome| Behaviour {
        alert: Alert::Ringing,
        outcome,
    };
    let refuses = |cause| {
        let sip_code = (line == Line::Trunk).then(|| digits.parse().ok()).flatten();
        Outcome::Refuses {
            after: rings_for,
            tone: None,
            cause,
            sip_code,
        }
    };
    let silent = |outcome| Behaviour {
        alert: Alert::Nothing,
        outcome,
    };
    match (digits, line) {
        ("201", _) => silent(Outcome::AnswersBriefly(BRIEFLY)),
        ("183", _) => Behaviour {
            alert: Alert::Progress,
            outcome: Outcome::Answers(EARLY_MEDIA_FOR),
        },
        ("000", _) => rings(Outcome::Waits),
        ("404", Line::Local) => silent(Outcome::Refuses {
            after: Duration::ZERO,
            tone: None,
            cause: 1,
            sip_code: None,
        }),
        ("486", Line::Local) => rings(Outcome::Refuses {
            after: rings_for,
            tone: Some(("BUSY", TONE_FOR)),
            cause: 17,
            sip_code: None,
        }),
        ("503", Line::Local) => silent(Outcome::Refuses {
            after: Duration::ZERO,
            tone: Some(("CONGESTION", TONE_FOR)),
            cause: 34,
            sip_code: None,
        }),
        ("404", Line::Trunk) => rings(refuses(1)),
        ("408", _) => rings(refuses(18)),
        ("480", _) => rings(refuses(19)),
        ("486", Line::Trunk) => rings(refuses(17)),
        ("500", _) => rings(refuses(38)),
        ("503", Line::Trunk) => rings(refuses(34)),
        ("603", _) => rings(refuses(21)),
        _ => rings(Outcome::Answers(rings_for)),
    }
}
