//! The bridge's heartbeat: it says in the table `state` that the bridge is there, and how it is. With
//! each heartbeat this process takes or renews the lease of the bridge's name.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use cloud::heartbeats::{GONE_AFTER, HEARTBEAT_EVERY};
use cloud::lease::{LastBeat, LeaseClaim, LeaseRefusal};
use cloud::ports::{BeatOutcome, Calls, SignsOfLife};
use cloud::{Clock, Heartbeat, aws_date, error, tables};
use domain::rules::{Rule, kept};
use domain::{BridgeId, Timestamp};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::ari::Asterisk;
use crate::circuits::Circuits;
use crate::flag::Flag;
use crate::lease::{NameLease, TRY_EVERY, Watch};
use crate::metrics::Metrics;
use crate::processes::Processes;
use crate::registry::Registry;

/// How soon a bridge that is not known yet tries again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long a heartbeat waits for Asterisk. An Asterisk that stalls must not make its bridge look gone.
const PING_WITHIN: Duration = Duration::from_secs(2);

/// Farthest that the clock may be from AWS's, in milliseconds. The sweeper leaves calls alone for half a
/// minute after they were due, because clocks differ; a bridge must not use that up.
pub const MOST_AHEAD_MS: u64 = 20_000;

/// How many heartbeats are tried at once. Each one uses what the answer to the last one taught: that
/// the holder is gone, which Asterisk is stored, or that the old Asterisk's calls are over.
const TRIES: u32 = 4;
/// Most calls that are looked at before a name moves to another Asterisk.
const MOST_OLD_CALLS: usize = 10_000;

/// What a heartbeat is made of.
pub struct Heart {
    /// The bridge.
    pub bridge_id: BridgeId,
    /// When it started.
    pub started_at: Timestamp,
    /// Where heartbeats are written.
    pub heartbeats: Arc<dyn SignsOfLife>,
    /// Where the calls of this bridge's name are looked up before the name moves to another Asterisk.
    pub calls: Arc<dyn Calls>,
    /// This process, and the others of this machine.
    pub processes: Arc<dyn Processes>,
    /// The wall clock, set back by [`Heart::ahead`].
    pub clock: Clock,
    /// This machine's wall clock as it is.
    pub own_clock: Clock,
    /// By how many milliseconds the bridge sets its clock back, because AWS's shows another time. What
    /// becomes of calls that are up is recorded with times that are right.
    pub ahead: Arc<AtomicI64>,
    /// Asterisk.
    pub ari: Arc<dyn Asterisk>,
    /// The calls under way.
    pub registry: Arc<Registry>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether events arrive.
    pub up: Arc<Flag>,
    /// The lease of this bridge's name. It is held only once the bridge has made itself known: only
    /// then its calls can be ended for it.
    pub lease: Arc<NameLease>,
    /// Told when another process has taken the lease.
    pub lost: CancellationToken,
    /// The circuits to this Asterisk and its trunks.
    pub circuits: Arc<Circuits>,
}

/// What one heartbeat leaves for the next one.
#[derive(Default)]
struct Memory {
    announced: bool,
    /// How far the clock was ahead of AWS's at the last heartbeat.
    ahead: Option<i64>,
    /// The holder that this process waits for.
    watch: Watch,
    /// What the holder's heartbeats say of another process that was refused.
    refused: Option<(LeaseRefusal, Timestamp)>,
    /// When a refusal was last noted in the holder's heartbeat.
    noted: Option<Instant>,
}

/// How the bridge is now.
struct Condition {
    events_up: bool,
    ari_up: bool,
    /// The entity id of the Asterisk that answers, if one does.
    asterisk: Option<String>,
}

/// What became of the lease.
enum Standing {
    Held {
        is_first: bool,
        asterisk: Option<String>,
    },
    Refused(LeaseRefusal),
    /// The table did not answer.
    Unknown,
}

impl Heart {
    /// Beats every [`HEARTBEAT_EVERY`] and whenever the events socket comes or goes, until the bridge
    /// has stopped; then says so, and gives up the lease.
    pub async fn run(self, closing: CancellationToken) {
        let mut memory = Memory::default();
        let mut ticks = tokio::time::interval(HEARTBEAT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.up.moment();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                () = self.lost.cancelled() => return,
                _ = ticks.tick() => {}
                () = self.up.changed_since(seen) => {}
                () = self.lease.doubted.notified() => {}
            }
            seen = self.up.moment();
            if !memory.announced && self.lease.refusal().is_none() && kept(Rule::BridgeAnnounced) {
                memory.announced = self.announce().await;
            }
            let condition = self.look().await;
            match self.take_lease(&condition, &mut memory).await {
                Standing::Held { is_first, asterisk } => {
                    let was_held = self.lease.held.is_up();
                    // It was announced to a table that is lost, or was forgotten since.
                    if is_first && memory.announced && was_held {
                        memory.announced = self.announce().await;
                    }
                    self.lease.renewed(asterisk);
                    if memory.announced || !kept(Rule::BridgeAnnounced) {
                        self.lease.held.set(true);
                    } else {
                        ticks.reset_after(AGAIN_AFTER);
                    }
                }
                Standing::Unknown if !self.lease.held.is_up() => ticks.reset_after(AGAIN_AFTER),
                Standing::Unknown => {}
                Standing::Refused(refusal) => {
                    self.note_refusal(refusal, &mut memory).await;
                    ticks.reset_after(TRY_EVERY);
                }
            }
            self.metrics.lease_held(self.lease.held.is_up());
        }
        if self.lease.held.is_up() {
            self.give_up(&mut memory).await;
        }
    }

    async fn announce(&self) -> bool {
        let announced = self.heartbeats.announce(&self.bridge_id).await;
        if let Err(error) = &announced {
            tracing::warn!(error = %error::chain(error), "the bridge was not announced");
        }
        announced.is_ok()
    }

    async fn look(&self) -> Condition {
        let events_up = self.up.is_up();
        let asked = tokio::time::timeout(PING_WITHIN, self.ari.entity_id()).await;
        Condition {
            events_up,
            ari_up: matches!(asked, Ok(Ok(_))),
            asterisk: asked.ok().and_then(Result::ok).flatten(),
        }
    }

    /// Writes a heartbeat, and again at once where the answer says that another one may be written.
    async fn take_lease(&self, condition: &Condition, memory: &mut Memory) -> Standing {
        let mut claim = LeaseClaim {
            process: self.processes.own().to_owned(),
            place: self.processes.place().map(str::to_owned),
            asterisk: condition.asterisk.clone().or_else(|| self.lease.asterisk()),
            ..LeaseClaim::default()
        };
        let mut refusal = LeaseRefusal::AnotherProcess;
        for _ in 0..TRIES {
            let lease = match self.beat(condition, &claim, memory).await {
                None => return Standing::Unknown,
                Some(BeatOutcome::Written { is_first, refused }) => {
                    // What was noted before this process held the lease may be of this process.
                    let was_held = self.lease.held.is_up();
                    memory.refused = refused.filter(|(_, at)| was_held && self.is_new(*at));
                    let asterisk = claim.asterisk;
                    return Standing::Held { is_first, asterisk };
                }
                Some(BeatOutcome::Refused(lease)) => lease,
            };
            let may_try_again;
            let is_in_the_way = |holder: &LastBeat| {
                holder.process != claim.process && claim.instead_of.as_ref() != Some(holder)
            };
            if lease.holder.as_ref().is_some_and(is_in_the_way) {
                refusal = LeaseRefusal::AnotherProcess;
                may_try_again = memory
                    .watch
                    .is_gone(&lease, &*self.processes, Instant::now());
                claim.instead_of = lease.holder;
            } else if claim.asterisk.is_none() {
                may_try_again = true;
                claim.asterisk = lease.asterisk;
            } else {
                refusal = LeaseRefusal::AnotherAsterisk;
                may_try_again = self.old_calls_are_over().await;
                claim.moves = true;
            }
            if !may_try_again {
                break;
            }
        }
        Standing::Refused(refusal)
    }

    /// Whether the deadlines of all calls of this name are past. If they cannot be read, they are not.
    async fn old_calls_are_over(&self) -> bool {
        let holder = tables::held_by(&self.bridge_id);
        let (now, end_of_time) = (self.clock.now(), Timestamp::from_millis(i64::MAX));
        match self.calls.held(&holder, end_of_time, MOST_OLD_CALLS).await {
            Ok(held) => held.iter().all(|(deadline, _)| *deadline < now),
            Err(error) => {
                tracing::warn!(error = %error::chain(&error), "this bridge's calls were not listed");
                false
            }
        }
    }

    /// Says that this process does not hold the lease, and lets go of what it held.
    async fn note_refusal(&self, refusal: LeaseRefusal, memory: &mut Memory) {
        let was_held = self.lease.held.is_up();
        if self.lease.refused(refusal) {
            let bridge_id = &self.bridge_id;
            match refusal {
                LeaseRefusal::AnotherProcess => tracing::error!(
                    %bridge_id,
                    "another process holds the lease of this BRIDGE_ID: this process takes no calls. \
                     Each bridge needs a BRIDGE_ID of its own"
                ),
                LeaseRefusal::AnotherAsterisk => tracing::error!(
                    %bridge_id,
                    "the calls of this BRIDGE_ID are on another Asterisk: this process takes no calls \
                     until their deadlines are past. Each Asterisk needs a BRIDGE_ID of its own"
                ),
            }
        }
        if was_held {
            // On another Asterisk this process still holds the name, which the right one may need.
            if refusal == LeaseRefusal::AnotherAsterisk {
                self.give_up(memory).await;
            }
            self.lost.cancel();
            return;
        }
        let now = Instant::now();
        let is_due = |noted: Instant| now.duration_since(noted) >= HEARTBEAT_EVERY;
        if memory.noted.is_none_or(is_due) {
            memory.noted = Some(now);
            let at = self.clock.now();
            let noted = self
                .heartbeats
                .note_refusal(&self.bridge_id, refusal, at)
                .await;
            if let Err(error) = noted {
                tracing::warn!(error = %error::chain(&error), "the refusal was not noted");
            }
        }
    }

    /// Whether something noted at this time still tells how things are.
    fn is_new(&self, at: Timestamp) -> bool {
        self.clock.now().since(at) <= GONE_AFTER
    }

    async fn give_up(&self, memory: &mut Memory) {
        let condition = Condition {
            events_up: false,
            ari_up: false,
            asterisk: None,
        };
        let claim = LeaseClaim {
            process: self.processes.own().to_owned(),
            asterisk: self.lease.asterisk(),
            gives_up: true,
            ..LeaseClaim::default()
        };
        self.beat(&condition, &claim, memory).await;
    }

    /// Writes a heartbeat, and compares the clock with AWS's.
    async fn beat(
        &self,
        condition: &Condition,
        claim: &LeaseClaim,
        memory: &mut Memory,
    ) -> Option<BeatOutcome> {
        let live_calls = self.registry.len();
        let waiting = self.circuits.reason();
        let events_up = condition.events_up;
        let heartbeat = Heartbeat {
            bridge_id: self.bridge_id.clone(),
            at: self.clock.now(),
            started_at: self.started_at,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            events_up,
            ari_up: condition.ari_up,
            live_calls: u64::try_from(live_calls).unwrap_or(u64::MAX),
            waiting,
            clock_ahead_ms: memory.ahead,
            metrics: self.metrics.text(live_calls, events_up, waiting),
            refused: memory.refused,
        };
        let before = self.own_clock.now();
        let beaten = match self.heartbeats.beat(&heartbeat, claim).await {
            Ok(beaten) => beaten,
            Err(error) => {
                tracing::warn!(error = %error::chain(&error), "the heartbeat was not written");
                return None;
            }
        };
        if let Some(date) = beaten.date {
            let measured = aws_date::ahead(before, self.own_clock.now(), date);
            self.metrics.clock_is_ahead(measured);
            let is_wrong = measured.unsigned_abs() > MOST_AHEAD_MS;
            self.circuits.clock(is_wrong);
            // A smaller difference is less than what is known of it.
            let set_back = if is_wrong && kept(Rule::ClockCompared) {
                measured
            } else {
                0
            };
            self.ahead.store(set_back, Ordering::Relaxed);
            memory.ahead = Some(measured);
        }
        Some(beaten.outcome)
    }
}
