//! The second phone that the dialplan dials for an answered call.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::ending::End;
use super::{Inner, Switch};
use crate::callee::{self, Alert, Behaviour, Outcome};
use crate::endpoint::Endpoint;
use crate::events::{Channel, event, timestamp};

/// How long a `Local` channel without `/n` stays after its second phone has answered. Asterisk takes it
/// out with the first sound, which is always heard here.
const OPTIMISED_AWAY_AFTER: Duration = Duration::from_millis(20);
/// How long two phones talk that no channel of ours is between any more.
const UNSEEN_FOR: Duration = Duration::from_mins(1);

impl Switch {
    /// Dials a second phone for a channel, and bridges the two until one of them hangs up.
    ///
    /// The channel has to be ended by somebody else for this to be given up; the phone is then gone too.
    pub(super) async fn bridge(self: &Arc<Self>, id: &str, number: &str) {
        let Some(leg) = Leg::dial(self, id, number) else {
            return;
        };
        let hung_up = leg.hung_up.clone();
        tokio::select! {
            () = hung_up.cancelled() => self.end(id, End::by_dialplan(16)),
            () = self.talk(id, leg, callee::behind_trunk(number)) => {}
        }
    }

    /// What a second phone does, until the call is over.
    async fn talk(self: &Arc<Self>, id: &str, leg: Leg, behaviour: Behaviour) {
        match behaviour.alert {
            Alert::Nothing => {}
            Alert::Ringing => leg.tell("Ringing", "RINGING"),
            Alert::Progress => leg.tell("Down", "PROGRESS"),
        }
        let talks_for = match behaviour.outcome {
            Outcome::Waits => return std::future::pending().await,
            Outcome::Refuses {
                after,
                cause,
                sip_code,
                ..
            } => {
                sleep(after).await;
                let (status, cause) = match (sip_code, cause) {
                    (Some(300..400), _) => ("CONGESTION", 16),
                    (_, 3) => ("CHANUNAVAIL", 3),
                    (_, 17) => ("BUSY", 17),
                    (_, 34) => ("CONGESTION", 34),
                    _ => ("NOANSWER", cause),
                };
                leg.tell("Down", status);
                return self.end(id, End::by_dialplan(cause));
            }
            Outcome::Answers(after) => {
                sleep(after).await;
                None
            }
            Outcome::AnswersBriefly(lasting) => Some(lasting),
        };
        leg.tell("Up", "ANSWER");
        if let Some(first) = self.optimised_away(id) {
            sleep(OPTIMISED_AWAY_AFTER).await;
            let first = Leg::new(self, id, &first, "Up");
            let lasting = talks_for.unwrap_or(UNSEEN_FOR);
            tokio::spawn(async move {
                tokio::select! {
                    () = first.hung_up.cancelled() => {}
                    () = leg.hung_up.cancelled() => {}
                    () = sleep(lasting) => {}
                }
            });
            return self.end(id, End::hung_up_by_callee());
        }
        match talks_for {
            Some(lasting) => sleep(lasting).await,
            None => std::future::pending().await,
        }
        self.end(id, End::by_dialplan(16));
    }

    /// The number of the first phone, if the channel leaves the call as soon as the two phones can talk
    /// without it.
    fn optimised_away(&self, id: &str) -> Option<String> {
        match &self.lock().channels.get(id)?.endpoint {
            Endpoint::Local {
                number,
                stays: false,
                ..
            } => Some(number.clone()),
            _ => None,
        }
    }
}

/// A phone of the dialplan's as the switch knows it.
pub struct Phone {
    pub channel: Channel,
    /// Cancelled when somebody hangs the phone up over ARI.
    pub hung_up: CancellationToken,
}

/// A phone of the dialplan's while it is in a call; its channel is gone when this is dropped.
struct Leg {
    switch: Arc<Switch>,
    /// The channel that it was dialled for.
    caller: String,
    id: String,
    hung_up: CancellationToken,
}

impl Leg {
    /// `None` if the caller is gone.
    fn dial(switch: &Arc<Switch>, caller: &str, number: &str) -> Option<Self> {
        switch.lock().channels.get(caller)?;
        let leg = Self::new(switch, caller, number, "Down");
        let destination = format!("{number}@trunk");
        let mut inner = switch.lock();
        inner.emit_second_dial(caller, &leg.id, "", &destination);
        inner.remember_dial(destination);
        drop(inner);
        Some(leg)
    }

    fn new(switch: &Arc<Switch>, caller: &str, number: &str, state: &'static str) -> Self {
        let name = switch.next_name();
        let id = format!("leg.{name}");
        let channel = Channel {
            id: id.clone(),
            name: format!("PJSIP/trunk-{name:08x}"),
            state,
            caller_number: number.to_owned(),
            caller_name: String::new(),
            context: "from-trunk".to_owned(),
            extension: number.to_owned(),
            app_name: "AppDial",
            app_data: "(Outgoing Line)".to_owned(),
            created: timestamp(),
        };
        let hung_up = CancellationToken::new();
        let phone = Phone {
            channel,
            hung_up: hung_up.clone(),
        };
        switch.lock().legs.insert(id.clone(), phone);
        Self {
            switch: Arc::clone(switch),
            caller: caller.to_owned(),
            id,
            hung_up,
        }
    }

    fn tell(&self, state: &'static str, status: &str) {
        let mut inner = self.switch.lock();
        if let Some(leg) = inner.legs.get_mut(&self.id) {
            leg.channel.state = state;
        }
        inner.emit_second_dial(&self.caller, &self.id, status, "");
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        self.switch.lock().legs.remove(&self.id);
    }
}

impl Inner {
    /// Sends the `Dial` event of a second phone to the application of the channel that it is for.
    fn emit_second_dial(&self, caller: &str, leg: &str, status: &str, destination: &str) {
        let (Some(entry), Some(leg)) = (self.channels.get(caller), self.legs.get(leg)) else {
            return;
        };
        let Some(app) = self.apps.get(&entry.app) else {
            return;
        };
        if app.allows("Dial") {
            let more: Value = json!({
                "caller": entry.channel.json(), "dialstatus": status, "forward": "",
                "dialstring": destination
            });
            app.send(event("Dial", &entry.app, &leg.channel, more).to_string());
        }
    }
}
