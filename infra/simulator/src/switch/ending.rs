//! How channels end, and what Asterisk says of it.

use serde_json::{Value, json};

use super::{Refusal, Stage, Switch};
use crate::callee::NO_CAUSE;
use crate::causes::sip_code_of;
use crate::endpoint::Endpoint;

/// What Asterisk says at the end of a channel.
pub struct End {
    /// The `ChannelHangupRequest` before the end, if there is one.
    request: Option<Value>,
    cause: u16,
    /// Told over a trunk only.
    tech_cause: Option<u16>,
    kind: Kind,
}

/// Who ends a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A request to ARI.
    HungUp,
    /// The callee after the answer.
    CalleeHungUp,
    /// `TIMEOUT(absolute)`.
    TimedOut,
    /// Anything else.
    Other,
}

/// The SIP code of a channel over a trunk that was never dialled, unless its cause has one.
const UNDIALLED_SIP_CODE: u16 = 603;

impl End {
    /// We hang up.
    fn hung_up(cause: u16, tech_cause: Option<u16>) -> Self {
        Self {
            request: Some(json!({"cause": 32, "soft": true})),
            cause,
            tech_cause,
            kind: Kind::HungUp,
        }
    }

    /// The dial's own timeout is over.
    pub fn given_up() -> Self {
        Self {
            kind: Kind::Other,
            ..Self::hung_up(19, Some(480))
        }
    }

    /// The callee refuses, or its extension does not exist ([`NO_CAUSE`]).
    pub fn refused(cause: u16, sip_code: Option<u16>) -> Self {
        let request = match sip_code {
            Some(code) => json!({"cause": cause, "tech_cause": code}),
            None => json!({"cause": cause}),
        };
        Self {
            request: Some(request),
            cause: if cause == NO_CAUSE { 16 } else { cause },
            tech_cause: sip_code,
            kind: Kind::Other,
        }
    }

    /// The callee hangs up after the answer.
    pub fn hung_up_by_callee() -> Self {
        Self {
            request: Some(json!({"cause": 16})),
            kind: Kind::CalleeHungUp,
            ..Self::by_dialplan(16)
        }
    }

    /// The dialplan hangs up.
    pub fn by_dialplan(cause: u16) -> Self {
        Self {
            request: None,
            cause,
            tech_cause: sip_code_of(cause),
            kind: Kind::Other,
        }
    }

    /// No RTP port was left for the dial.
    pub fn without_rtp() -> Self {
        Self {
            request: Some(json!({})),
            ..Self::by_dialplan(16)
        }
    }

    /// `TIMEOUT(absolute)` is over.
    pub fn timed_out() -> Self {
        Self {
            kind: Kind::TimedOut,
            ..Self::by_dialplan(16)
        }
    }

    /// What is different for a channel that was never dialled, and the `ChannelHangupRequest` that comes
    /// after its `StasisEnd`.
    fn of_undialled(self, is_trunk: bool) -> (Self, Option<Value>) {
        let cause = match self.kind {
            Kind::TimedOut if is_trunk => 21,
            Kind::TimedOut => 0,
            _ => self.cause,
        };
        let code = self.tech_cause.unwrap_or(UNDIALLED_SIP_CODE);
        let late_request = is_trunk.then(|| json!({"cause": cause, "tech_cause": code}));
        let end = Self {
            cause,
            tech_cause: Some(code),
            ..self
        };
        (end, late_request)
    }
}

impl Switch {
    /// Hangs a channel up for one of ARI's reasons; `None` is the normal one.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], or [`Refusal::InvalidReason`].
    pub fn hang_up(&self, id: &str, reason: Option<&str>) -> Result<(), Refusal> {
        let inner = self.lock();
        if let Some(leg) = inner.legs.get(id) {
            leg.hung_up.cancel();
            return Ok(());
        }
        if !inner.channels.contains_key(id) {
            return Err(Refusal::NotFound);
        }
        drop(inner);
        let (cause, tech_cause) = match reason {
            None | Some("normal") => (16, None),
            Some("busy") => (17, Some(486)),
            Some("no_answer") => (19, Some(480)),
            Some("congestion") => (34, Some(503)),
            Some("answered_elsewhere") => (26, None),
            Some(_) => return Err(Refusal::InvalidReason),
        };
        self.end(id, End::hung_up(cause, tech_cause));
        Ok(())
    }

    /// Ends a channel; one that has ended already stays as it was.
    pub fn end(&self, id: &str, end: End) {
        let mut inner = self.lock();
        let Some(entry) = inner.channels.get_mut(id) else {
            return;
        };
        entry.over.cancel();
        if entry.stage == Stage::Starting {
            // A channel that ends this early is given to its application all the same.
            inner.start_stasis(id);
        }
        let Some(entry) = inner.channels.get(id) else {
            return;
        };
        let stage = entry.stage;
        let is_trunk = matches!(entry.endpoint, Endpoint::Trunk { .. });
        let (mut end, late_request) = if entry.was_dialled {
            (end, None)
        } else {
            end.of_undialled(is_trunk)
        };
        // A Local channel that is refused at once loses the cause about every third time.
        if !is_trunk && end.cause == 1 && id.bytes().last().is_some_and(|b| b % 3 == 0) {
            end.cause = 16;
        }
        if stage == Stage::Stasis && end.kind == Kind::CalleeHungUp {
            end.request = Some(json!({}));
        }
        if let Some(request) = end.request {
            inner.emit(id, "ChannelHangupRequest", request);
        }
        inner.break_off_playbacks(id, end.kind != Kind::TimedOut);
        if stage == Stage::Stasis {
            inner.emit(id, "StasisEnd", json!({}));
        }
        if let Some(request) = late_request {
            inner.emit(id, "ChannelHangupRequest", request);
        }
        let mut destroyed = json!({"cause": end.cause, "cause_txt": ""});
        if let Some(code) = end.tech_cause.filter(|_| is_trunk) {
            destroyed["tech_cause"] = code.into();
        }
        inner.emit(id, "ChannelDestroyed", destroyed);
        inner.channels.remove(id);
    }
}
