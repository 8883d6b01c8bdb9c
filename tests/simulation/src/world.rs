//! Everything outside the programs under test: the tables, the queues, the Asterisks, the phones, and time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::plan::{Plan, Service};
use crate::process::Process;
use crate::queue::Queue;
use crate::switch::Switch;
use crate::table::{Signs, Table};
use crate::witness::Witness;

/// When the simulated time begins: 2026-01-01T00:00:00Z, in milliseconds.
const BEGINNING: i64 = 1_767_225_600_000;

/// More than so many requests in a thousand lost is a lot.
const HEAVY_LOSS: u32 = 40;

/// The world.
pub struct World {
    state: Mutex<State>,
    began: Instant,
    /// Something came into a queue.
    pub queued: Notify,
}

/// What is in it.
pub struct State {
    /// The table of calls.
    pub table: Table,
    /// The heartbeats.
    pub signs: Signs,
    /// Since when an administrator has paused all calls.
    pub paused: Option<Instant>,
    /// The queue of calls.
    pub queue: Queue,
    /// The control queues, by bridge.
    pub control: BTreeMap<String, Queue>,
    /// One Asterisk for each bridge, and then one for a twin of each.
    pub switches: Vec<Switch>,
    /// The processes that live.
    pub alive: BTreeSet<String>,
    /// Who sees it all.
    pub witness: Witness,
    /// How likely a request or its answer is lost, in a thousand.
    pub lossy: u32,
    /// How likely it is that what is seen of a channel is out of date when the answer comes, in a thousand.
    pub stale: u32,
    /// Who does not reach what (everybody, if no bridge is named), until when.
    pub blocked: Vec<(Option<usize>, Service, Instant)>,
}

impl World {
    /// As it is in the beginning.
    #[must_use]
    pub fn new(plan: &Plan, verbose: bool) -> Self {
        let began = Timestamp::from_millis(BEGINNING);
        let queue = || Queue::new(plan.duplicates);
        Self {
            state: Mutex::new(State {
                table: Table::default(),
                signs: Signs::default(),
                paused: None,
                queue: queue(),
                control: (0..plan.bridges).map(|n| (name(n), queue())).collect(),
                switches: (0..2 * plan.bridges).map(|_| Switch::new(began)).collect(),
                alive: BTreeSet::new(),
                witness: Witness {
                    heavy_loss: plan.lossy > HEAVY_LOSS,
                    stale_looks: plan.stale > 0,
                    ..Witness::new(verbose)
                },
                lossy: plan.lossy,
                stale: plan.stale,
                blocked: Vec::new(),
            }),
            began: Instant::now(),
            queued: Notify::new(),
        }
    }

    /// What is in it now. Nobody waits while holding this.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The true time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(BEGINNING).plus(self.began.elapsed())
    }

    /// When the true time is, or was, this.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.began + at.since(Timestamp::from_millis(BEGINNING))
    }

    /// Ends everything that goes wrong.
    pub fn heal(&self) {
        let state = &mut *self.lock();
        state.lossy = 0;
        state.stale = 0;
        state.blocked.clear();
        state.queue.duplicates = 0;
        for queue in state.control.values_mut() {
            queue.duplicates = 0;
        }
    }

    /// Notes that something is wrong from now on for so long.
    pub fn upheaval(&self, lasts: Duration) {
        let now = Instant::now();
        let until = now + lasts;
        self.lock().witness.upheavals.push((now, until));
    }
}

impl State {
    /// Whether what was just seen of a channel is out of date when the answer comes. Draws nothing unless the plan
    /// has such answers.
    #[must_use]
    pub fn draws_stale(&self) -> bool {
        self.stale > 0 && fastrand::u32(..1_000) < self.stale
    }

    /// Whether a process reaches a service now.
    #[must_use]
    pub fn reaches(&self, process: &Process, service: Service) -> bool {
        let now = Instant::now();
        let host = process.bridge.map(|_| process.host);
        let blocked = self.blocked.iter().any(|(whom, what, until)| {
            *what == service && *until > now && (whom.is_none() || *whom == host)
        });
        let down =
            service == Service::Ari && host.is_some_and(|host| !self.switches[host].is_running());
        !blocked && !down
    }
}

/// The name of a bridge, and of its application.
#[must_use]
pub fn name(bridge: usize) -> String {
    format!("bridge-{bridge}")
}
