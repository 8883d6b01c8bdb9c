//! How channels end, and what Asterisk says of it.

use serde_json::{Value, json};

use super::{Refusal, Stage, Switch};
use crate::endpoint::Endpoint;

/// What Asterisk says at the end of a channel.
pub struct End {
    /// The `ChannelHangupRequest` before it, if there is one.
    request: Option<Value>,
    cause: u16,
    /// Told over a trunk only.
    tech_cause: Option<u16>,
    /// The cause if the channel was never dialled; over a trunk it goes with a SIP code.
    undialled: Option<u16>,
}

/// The SIP code of a channel over a trunk that was never dialled.
const UNDIALLED_SIP_CODE: u16 = 603;

impl End {
    /// We hang up, with one of ARI's reasons.
    fn hung_up(cause: u16, tech_cause: Option<u16>) -> Self {
        Self {
            request: Some(json!({"cause": 32, "soft": true})),
            cause,
            tech_cause,
            undialled: Some(cause),
        }
    }

    /// The dial's own timeout is over.
    pub fn given_up() -> Self {
        Self {
            undialled: None,
            ..Self::hung_up(19, Some(480))
        }
    }

    /// The callee refuses.
    pub fn refused(cause: u16, sip_code: Option<u16>) -> Self {
        // Without a cause of its own the request has none, and the end has 16.
        let requested = if cause == 16 && sip_code.is_none() {
            0
        } else {
            cause
        };
        let request = match sip_code {
            Some(code) => json!({"cause": requested, "tech_cause": code}),
            None => json!({"cause": requested}),
        };
        Self {
            request: Some(request),
            cause,
            tech_cause: sip_code,
            undialled: None,
        }
    }

    /// The callee hangs up after the answer.
    pub fn hung_up_by_callee() -> Self {
        Self {
            request: Some(json!({"cause": 16})),
            ..Self::by_dialplan(16)
        }
    }

    /// The dialplan hangs up.
    pub fn by_dialplan(cause: u16) -> Self {
        Self {
            request: None,
            cause,
            tech_cause: None,
            undialled: None,
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
            undialled: Some(21),
            ..Self::by_dialplan(16)
        }
    }
}

impl Switch {
    /// Hangs a channel up for one of ARI's reasons; `None` is the normal one.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], or [`Refusal::InvalidReason`].
    pub fn hang_up(&self, id: &str, reason: Option<&str>) -> Result<(), Refusal> {
        let (cause, tech_cause) = match reason {
            None | Some("normal") => (16, None),
            Some("busy") => (17, Some(486)),
            Some("no_answer") => (19, Some(480)),
            Some("congestion") => (34, Some(503)),
            Some("answered_elsewhere") => (26, None),
            Some(_) => return Err(Refusal::InvalidReason),
        };
        let inner = self.lock();
        if let Some(leg) = inner.legs.get(id) {
            leg.hung_up.cancel();
            return Ok(());
        }
        if !inner.channels.contains_key(id) {
            return Err(Refusal::NotFound);
        }
        drop(inner);
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
        let playing = entry.playing.take();
        let (stage, was_dialled) = (entry.stage, entry.was_dialled);
        let is_trunk = matches!(entry.endpoint, Endpoint::Trunk { .. });
        // A Local channel that is refused at once loses the cause about every third time.
        let is_lost = !is_trunk && end.cause == 1 && id.bytes().last().is_some_and(|b| b % 3 == 0);
        let (cause, tech_cause, late_request) = match end.undialled {
            Some(cause) if !was_dialled && is_trunk => {
                let code = UNDIALLED_SIP_CODE;
                let request = json!({"cause": cause, "tech_cause": code});
                (cause, Some(code), Some(request))
            }
            Some(cause) if !was_dialled => (cause, None, None),
            _ if is_lost => (16, None, None),
            _ => (end.cause, end.tech_cause.filter(|_| is_trunk), None),
        };
        if let Some(request) = end.request {
            inner.emit(id, "ChannelHangupRequest", request);
        }
        if let Some(mut playback) = playing {
            playback["state"] = "failed".into();
            inner.emit(id, "PlaybackFinished", json!({"playback": playback}));
        }
        if stage == Stage::Stasis {
            inner.emit(id, "StasisEnd", json!({}));
        }
        if let Some(request) = late_request {
            inner.emit(id, "ChannelHangupRequest", request);
        }
        let mut destroyed = json!({"cause": cause, "cause_txt": ""});
        if let Some(code) = tech_cause {
            destroyed["tech_cause"] = code.into();
        }
        inner.emit(id, "ChannelDestroyed", destroyed);
        inner.channels.remove(id);
        inner.playbacks.retain(|_, playback| playback.channel != id);
    }
}
