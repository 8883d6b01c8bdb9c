//! What is wrong with this Asterisk: its trunks, what it has run out of, and its restarts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Inner, Switch};
use crate::endpoint::Endpoint;
use crate::events::timestamp;

/// How long a restarted Asterisk answers 404, because ARI is not loaded yet.
const LOADING_FOR: Duration = Duration::from_millis(200);
/// How long it then answers 503, because it is not fully booted.
const BOOTING_FOR: Duration = Duration::from_millis(200);

/// How a trunk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrunkState {
    /// Its phones can be called.
    Online,
    /// Asterisk knows that nobody is there, because it qualifies the trunk: it refuses every create.
    Offline,
    /// It is not configured.
    Missing,
    /// Nobody is there, and Asterisk does not know: creates and dials are taken, and nothing answers.
    Silent,
}

/// Whether Asterisk answers requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It does.
    Up,
    /// ARI is not loaded: every request gets 404.
    Loading,
    /// ARI is loaded, Asterisk is not: every request gets 503.
    Booting,
}

/// What becomes of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dials {
    /// The callee is called.
    Work,
    /// Asterisk is shutting down: it takes no more commands for the channels that it has.
    Refused,
    /// No RTP port is left: a dial over a trunk is taken, and the channel ends before an INVITE is sent.
    WithoutRtp,
    /// Two file descriptors are left: the dial is taken, and nothing follows.
    LeadNowhere,
}

impl Dials {
    /// This fault while it is there.
    pub const fn while_it_is(self, there: bool) -> Self {
        if there { self } else { Self::Work }
    }
}

/// What is wrong.
pub struct Faults {
    trunks: BTreeMap<String, TrunkState>,
    /// A graceful restart is pending, or no file descriptor is left: no channel can be created.
    pub refuses_creates: bool,
    /// What becomes of a dial.
    pub dials: Dials,
}

impl Default for Faults {
    fn default() -> Self {
        let trunks = [
            ("trunk", TrunkState::Online),
            // The scenarios dial this one when nobody is to answer.
            ("down", TrunkState::Silent),
        ];
        Self {
            trunks: trunks
                .map(|(name, state)| (name.to_owned(), state))
                .into_iter()
                .collect(),
            refuses_creates: false,
            dials: Dials::Work,
        }
    }
}

impl Faults {
    /// How a trunk is.
    pub fn trunk(&self, name: &str) -> TrunkState {
        self.trunks
            .get(name)
            .copied()
            .unwrap_or(TrunkState::Missing)
    }

    /// Whether a channel can be created to this endpoint.
    pub fn allow_create(&self, endpoint: &Endpoint) -> bool {
        !self.refuses_creates
            && match endpoint {
                Endpoint::Local { .. } => true,
                Endpoint::Trunk {
                    trunk, has_address, ..
                } => match self.trunk(trunk) {
                    TrunkState::Online | TrunkState::Silent => true,
                    TrunkState::Offline => *has_address,
                    TrunkState::Missing => false,
                },
            }
    }
}

impl Switch {
    /// Changes what is wrong.
    pub fn set_fault(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.lock().faults);
    }

    /// Makes a trunk be like this from now on. Calls over it go on.
    pub fn set_trunk(&self, name: &str, state: TrunkState) {
        self.lock().faults.trunks.insert(name.to_owned(), state);
    }

    /// The endpoint as ARI shows it; `None` if it does not exist.
    pub fn show_endpoint(&self, technology: &str, resource: &str) -> Option<Value> {
        let inner = self.lock();
        let state = inner.faults.trunk(resource);
        (technology == "PJSIP").then(|| inner.endpoint_json(resource, state))?
    }

    /// The endpoints of a technology; `None` if it has none or does not exist, as `Local`.
    pub fn show_endpoints(&self, technology: &str) -> Option<Vec<Value>> {
        (technology == "PJSIP").then(|| self.show_all_endpoints())
    }

    /// All endpoints.
    pub fn show_all_endpoints(&self) -> Vec<Value> {
        let inner = self.lock();
        let trunks = inner.faults.trunks.iter();
        let shown = trunks.filter_map(|(name, state)| inner.endpoint_json(name, *state));
        shown.collect()
    }

    /// Whether Asterisk answers requests.
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Restarts Asterisk: every call is gone without an event, and so is every socket. Returns when it
    /// answers again.
    pub async fn restart(self: &Arc<Self>) {
        self.lock().go_down();
        tokio::time::sleep(LOADING_FOR).await;
        self.lock().phase = Phase::Booting;
        tokio::time::sleep(BOOTING_FOR).await;
        let mut inner = self.lock();
        inner.started_at = timestamp();
        inner.phase = Phase::Up;
    }
}

impl Inner {
    fn go_down(&mut self) {
        self.phase = Phase::Loading;
        for (_, app) in self.apps.drain() {
            app.cut();
        }
        for (_, entry) in self.channels.drain() {
            entry.over.cancel();
        }
        self.legs.clear();
        self.playbacks.clear();
        // The restart that was pending has come.
        self.faults.refuses_creates = false;
    }

    fn endpoint_json(&self, name: &str, state: TrunkState) -> Option<Value> {
        let state = match state {
            TrunkState::Online | TrunkState::Silent => "online",
            TrunkState::Offline => "offline",
            TrunkState::Missing => return None,
        };
        let over_it = self.channels.iter().filter(
            |(_, entry)| matches!(&entry.endpoint, Endpoint::Trunk { trunk, .. } if trunk == name),
        );
        let channel_ids: Vec<_> = over_it.map(|(id, _)| id).collect();
        Some(json!({
            "technology": "PJSIP", "resource": name, "state": state, "channel_ids": channel_ids
        }))
    }
}
