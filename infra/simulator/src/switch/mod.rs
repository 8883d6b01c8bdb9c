//! The switch itself: its channels, and what is known of each.

mod applications;
mod calling;
mod commands;
mod creating;
mod ending;
mod faults;
mod playing;
mod second_leg;
mod variables;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::endpoint::Endpoint;
use crate::events::{Channel, event, timestamp};
use applications::App;
use commands::Command;
use faults::Faults;
use playing::Playback;
use second_leg::Phone;
use variables::Limit;

pub use commands::Place;
pub use creating::Create;
pub use faults::{Dials, Phase, TrunkState};
pub use variables::Unreadable;

/// Dials that are remembered, for [`Switch::dials_to`].
const REMEMBERED_DIALS: usize = 100_000;

/// A telephone switch with Asterisk's behaviour.
pub struct Switch {
    inner: Mutex<Inner>,
    names: AtomicUsize,
}

impl Default for Switch {
    fn default() -> Self {
        let inner = Inner {
            channels: HashMap::new(),
            legs: HashMap::new(),
            apps: HashMap::new(),
            dialled: VecDeque::new(),
            playbacks: HashMap::new(),
            faults: Faults::default(),
            phase: Phase::Up,
            started_at: timestamp(),
            entity_id: "02:00:00:00:00:01".to_owned(),
        };
        Self {
            inner: Mutex::new(inner),
            names: AtomicUsize::default(),
        }
    }
}

struct Inner {
    channels: HashMap<String, Entry>,
    /// The phones that the dialplan has dialled for channels of ours.
    legs: HashMap<String, Phone>,
    apps: HashMap<String, App>,
    dialled: VecDeque<String>,
    playbacks: HashMap<String, Playback>,
    faults: Faults,
    phase: Phase,
    started_at: String,
    /// Tells one Asterisk from another.
    entity_id: String,
}

/// A channel that an application has created.
struct Entry {
    channel: Channel,
    app: String,
    app_args: String,
    stage: Stage,
    endpoint: Endpoint,
    /// The dial string.
    destination: String,
    was_dialled: bool,
    variables: HashMap<String, String>,
    limit: Option<Limit>,
    commands: mpsc::Sender<Command>,
    over: CancellationToken,
}

/// Who has a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody yet: its `StasisStart` is on its way.
    Starting,
    /// Its application.
    Stasis,
    /// The dialplan.
    Dialplan,
}

/// Why a request about a channel is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The channel does not exist.
    NotFound,
    /// A channel with this id exists already.
    Exists,
    /// Its application does not have the channel.
    NotInStasis,
    /// The channel was answered or is ringing.
    NotDown,
    /// The channel was not answered.
    NotUp,
    /// Asterisk does not say why.
    AllocationFailed,
    /// The create names no endpoint.
    NoEndpoint,
    /// The endpoint has no technology or no resource.
    InvalidEndpoint,
    /// The reason of a hangup is none of ARI's.
    InvalidReason,
}

impl Switch {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that no channel's name has yet.
    fn next_name(&self) -> usize {
        self.names.fetch_add(1, Ordering::Relaxed)
    }

    /// `startup_time`
    pub fn entity_id(&self) -> String {
        self.lock().entity_id.clone()
    }

    pub fn set_entity_id(&self, entity_id: &str) {
        entity_id.clone_into(&mut self.lock().entity_id);
    }

    pub fn started_at(&self) -> String {
        self.lock().started_at.clone()
    }

    /// How often `destination` (as in `+15550000200@trunk`) was dialled.
    pub fn dials_to(&self, destination: &str) -> usize {
        self.lock()
            .dialled
            .iter()
            .filter(|dialled| *dialled == destination)
            .count()
    }

    /// The channel as ARI shows it.
    pub fn show(&self, id: &str) -> Option<Value> {
        let inner = self.lock();
        let ours = inner.channels.get(id).map(|entry| &entry.channel);
        let leg = || inner.legs.get(id).map(|leg| &leg.channel);
        ours.or_else(leg).map(Channel::json)
    }

    /// All channels as ARI shows them.
    pub fn show_all(&self) -> Vec<Value> {
        let inner = self.lock();
        let ours = inner.channels.values().map(|entry| &entry.channel);
        let legs = inner.legs.values().map(|leg| &leg.channel);
        ours.chain(legs).map(Channel::json).collect()
    }
}

impl Inner {
    /// The channel, if its application has it.
    fn in_stasis(&self, id: &str) -> Result<&Entry, Refusal> {
        let entry = self.channels.get(id).ok_or(Refusal::NotFound)?;
        if entry.stage == Stage::Stasis {
            Ok(entry)
        } else {
            Err(Refusal::NotInStasis)
        }
    }

    /// Counts a phone that was dialled.
    fn remember_dial(&mut self, destination: String) {
        if self.dialled.len() == REMEMBERED_DIALS {
            self.dialled.pop_front();
        }
        self.dialled.push_back(destination);
    }

    /// Sends an event about a channel to its application.
    fn emit(&self, id: &str, kind: &str, more: Value) {
        let Some(entry) = self.channels.get(id) else {
            return;
        };
        let Some(app) = self.apps.get(&entry.app) else {
            return;
        };
        if app.allows(kind) {
            app.send(event(kind, &entry.app, &entry.channel, more).to_string());
        }
    }

    fn emit_dial(&self, id: &str, status: &str, destination: &str) {
        let more = json!({"dialstatus": status, "forward": "", "dialstring": destination});
        self.emit(id, "Dial", more);
    }
}
