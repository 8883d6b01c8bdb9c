//! Dialling, and what the callee does then.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::ending::End;
use super::{Dials, Refusal, Switch, TrunkState};
use crate::callee::{self, Alert, Behaviour, Outcome};
use crate::endpoint::Endpoint;

/// How long Asterisk takes to find out that no RTP port is left.
const NO_RTP_AFTER: Duration = Duration::from_millis(3);

/// What a dial leads to.
enum Dialled {
    /// A callee who behaves like this.
    Callee(Behaviour),
    /// No INVITE: the channel ends.
    NoRtp,
    /// Nothing at all.
    Nothing,
}

impl Switch {
    /// Dials a channel.
    ///
    /// # Errors
    /// [`Refusal`] unless its application has it and it is `Down`.
    pub fn dial(self: &Arc<Self>, id: &str, timeout: Duration) -> Result<(), Refusal> {
        let mut inner = self.lock();
        let entry = inner.in_stasis(id)?;
        if entry.channel.state != "Down" {
            return Err(Refusal::NotDown);
        }
        if inner.faults.dials == Dials::Refused {
            return Err(Refusal::AllocationFailed);
        }
        let (endpoint, over) = (entry.endpoint.clone(), entry.over.clone());
        let destination = entry.destination.clone();
        let dialled = match &endpoint {
            _ if inner.faults.dials == Dials::LeadNowhere => Dialled::Nothing,
            Endpoint::Trunk { .. } if inner.faults.dials == Dials::WithoutRtp => Dialled::NoRtp,
            Endpoint::Trunk { trunk, number, .. } => match inner.faults.trunk(trunk) {
                // A phone behind it hears nothing, so it is not among those that were called.
                TrunkState::Silent => Dialled::Callee(callee::SILENT),
                TrunkState::Online | TrunkState::Offline | TrunkState::Missing => {
                    inner.remember_dial(format!("{number}@{trunk}"));
                    Dialled::Callee(callee::behind_trunk(number))
                }
            },
            Endpoint::Local {
                number, context, ..
            } => {
                inner.remember_dial(format!("{number}@{context}"));
                Dialled::Callee(callee::in_dialplan(number, context))
            }
        };
        if let Some(entry) = inner.channels.get_mut(id) {
            entry.was_dialled = true;
        }
        if matches!(dialled, Dialled::Callee(_)) {
            inner.emit_dial(id, "", &destination);
        }
        drop(inner);
        let (switch, id) = (Arc::clone(self), id.to_owned());
        let gives_up_at = Instant::now() + timeout;
        tokio::spawn(async move {
            let calling = async {
                match dialled {
                    Dialled::Callee(behaviour) => {
                        switch.play_callee(&id, behaviour, gives_up_at).await;
                    }
                    Dialled::NoRtp => {
                        sleep(NO_RTP_AFTER).await;
                        switch.end(&id, End::without_rtp());
                    }
                    Dialled::Nothing => {}
                }
            };
            tokio::select! {
                () = over.cancelled() => {}
                () = calling => {}
            }
        });
        Ok(())
    }

    /// What the callee does, until it has answered or the call is over.
    async fn play_callee(&self, id: &str, behaviour: Behaviour, gives_up_at: Instant) {
        match behaviour.alert {
            Alert::Nothing => {}
            Alert::Ringing => self.change(id, "Ringing", "RINGING"),
            Alert::Progress => self
                .lock()
                .emit(id, "Dial", json!({"dialstatus": "PROGRESS"})),
        }
        let before_the_answer = async {
            match behaviour.outcome {
                Outcome::Waits => std::future::pending().await,
                Outcome::Answers(after) => sleep(after).await,
                Outcome::AnswersBriefly(_) => {}
                Outcome::Refuses { after, tone, .. } => {
                    sleep(after).await;
                    if let Some((status, lasting)) = tone {
                        self.lock().emit_dial(id, status, "");
                        sleep(lasting).await;
                    }
                }
            }
        };
        tokio::select! {
            () = before_the_answer => {}
            () = sleep_until(gives_up_at) => return self.end(id, End::given_up()),
        }
        match behaviour.outcome {
            Outcome::Refuses {
                cause, sip_code, ..
            } => {
                self.tell_of_redirection(id, sip_code);
                self.end(id, End::refused(cause, sip_code));
            }
            Outcome::AnswersBriefly(lasting) => {
                self.change(id, "Up", "ANSWER");
                sleep(lasting).await;
                self.end(id, End::hung_up_by_callee());
            }
            Outcome::Answers(_) | Outcome::Waits => self.change(id, "Up", "ANSWER"),
        }
    }

    /// A callee that redirects is told of with the address that it named, which is not dialled.
    fn tell_of_redirection(&self, id: &str, sip_code: Option<u16>) {
        let times = match sip_code {
            Some(302) => 3,
            Some(300..400) => 2,
            _ => return,
        };
        for _ in 0..times {
            let more = json!({"dialstatus": "CANCEL", "forward": "elsewhere", "dialstring": ""});
            self.lock().emit(id, "Dial", more);
        }
    }

    fn change(&self, id: &str, state: &'static str, dial_status: &str) {
        let mut inner = self.lock();
        let Some(entry) = inner.channels.get_mut(id) else {
            return;
        };
        entry.channel.state = state;
        // Both signals of one fact come in either order.
        let dial_first = self.next_name().is_multiple_of(2);
        if dial_first {
            inner.emit_dial(id, dial_status, "");
            inner.emit(id, "ChannelStateChange", json!({}));
        } else {
            inner.emit(id, "ChannelStateChange", json!({}));
            inner.emit_dial(id, dial_status, "");
        }
    }
}
