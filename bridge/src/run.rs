//! A running bridge.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use cloud::aws::Clients;
use cloud::lease::LeaseRefusal;
use cloud::ports::Calls;
use cloud::queue::MAX_WAIT;
use domain::{CallId, WaitingReason};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::adoption::Adopter;
use crate::ari::listener::Listener;
use crate::ari::{AriError, Asterisk};
use crate::backoff::MAX_RETURN_AFTER;
use crate::breaker::Breaker;
use crate::circuits::Circuits;
use crate::control::Control;
use crate::deleter;
use crate::flag::Flag;
use crate::hangup::hang_up_if_ours;
use crate::heart::Heart;
use crate::lease::NameLease;
use crate::metrics::{Counts, Metrics};
use crate::outside::Outside;
use crate::pacer::Pacer;
use crate::pause;
use crate::poller::Poller;
use crate::reconciler::Reconciler;
use crate::registry::Registry;
use crate::settings::BridgeSettings;
use crate::shared::Shared;
use crate::suitability;
use crate::targets::Targets;
use crate::unsettled::Unsettled;

/// Channels that wait to be hung up because nobody dialled them.
const ORPHANS: usize = 1024;

/// A bridge could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The HTTP client could not be set up.
    #[error(transparent)]
    Ari(#[from] AriError),
    /// The metrics could not be set up.
    #[error("the metrics could not be set up")]
    Metrics(#[from] prometheus::Error),
}

/// How a bridge is, for those who look at it from outside.
#[derive(Clone)]
pub struct Vitals {
    metrics: Arc<Metrics>,
    registry: Arc<Registry>,
    up: Arc<Flag>,
    lease: Arc<NameLease>,
    circuits: Arc<Circuits>,
}

impl Vitals {
    /// Why this process does not hold the lease of its bridge's name, if it was refused.
    #[must_use]
    pub fn lease_refusal(&self) -> Option<LeaseRefusal> {
        self.lease.refusal()
    }

    /// Whether events arrive, so that calls can be placed.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.is_up()
    }

    /// Why calls wait in the queue although events arrive, if they do.
    #[must_use]
    pub fn waiting_reason(&self) -> Option<WaitingReason> {
        self.circuits.reason()
    }

    /// The metrics in Prometheus' text format.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.metrics
            .text(self.registry.len(), self.is_up(), self.waiting_reason())
    }
}

/// A bridge at work, in production, in the local run and in the tests.
pub struct Bridge {
    stopping: CancellationToken,
    closing: CancellationToken,
    tasks: TaskTracker,
    errands: TaskTracker,
    deleter: JoinHandle<()>,
    shared: Option<Arc<Shared>>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    up: Arc<Flag>,
    lease: Arc<NameLease>,
    lost: CancellationToken,
    circuits: Arc<Circuits>,
    shutdown_timeout: Duration,
}

impl Bridge {
    /// Starts a bridge on the current runtime. It connects by itself, again and again.
    ///
    /// # Errors
    /// If the HTTP client or the metrics cannot be set up.
    pub fn start(settings: BridgeSettings, aws: &Clients) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::new(&settings.bridge_id)?);
        let outside = Outside::real(&settings, aws, Arc::clone(&metrics))?;
        let (ari, api) = (settings.ari.clone(), settings.api.clone());
        let bridge = Self::start_in(settings, outside, metrics);
        let (up, closing) = (bridge.readiness(), bridge.closing.clone());
        bridge.errands.spawn(async move {
            let look = async {
                up.wait_for(true).await;
                suitability::log_findings(ari, api).await;
            };
            tokio::select! {
                biased;
                () = closing.cancelled() => {}
                () = look => {}
            }
        });
        Ok(bridge)
    }

    /// Starts a bridge on the current runtime, in the surroundings given.
    #[must_use]
    pub fn start_in(settings: BridgeSettings, outside: Outside, metrics: Arc<Metrics>) -> Self {
        let ahead = Arc::new(AtomicI64::new(0));
        let own_clock = outside.clock.clone();
        let outside = Outside {
            clock: own_clock.set_back(Arc::clone(&ahead)),
            ..outside
        };
        let stopping = CancellationToken::new();
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();
        let errands = TaskTracker::new();
        let registry = Arc::new(Registry::default());
        let up = Arc::new(Flag::default());
        let lease = Arc::new(NameLease::default());
        let lost = CancellationToken::new();
        let circuits = Circuits::new();
        let (done, done_rx) = mpsc::channel(deleter::BACKLOG);
        let deleter = tokio::spawn(deleter::run(Arc::clone(&outside.queue), done_rx));

        let heart = Heart {
            bridge_id: settings.bridge_id.clone(),
            started_at: outside.clock.now(),
            heartbeats: Arc::clone(&outside.heartbeats),
            calls: Arc::clone(&outside.calls),
            processes: Arc::clone(&outside.processes),
            clock: outside.clock.clone(),
            own_clock,
            ahead,
            ari: Arc::clone(&outside.ari),
            registry: Arc::clone(&registry),
            metrics: Arc::clone(&metrics),
            up: Arc::clone(&up),
            lease: Arc::clone(&lease),
            lost: lost.clone(),
            circuits: Arc::clone(&circuits),
        };
        start_listener(&errands, &heart, &closing);
        errands.spawn(heart.run(closing.clone()));
        let switch = Arc::clone(&outside.pause);
        errands.spawn(pause::watch(switch, Arc::clone(&circuits), closing.clone()));
        let shutdown_timeout = settings.shutdown_timeout;
        // A message that was given back, or could not be, and a poll that may be under way.
        let back_within = settings.visibility_timeout.max(MAX_RETURN_AFTER) + MAX_WAIT;
        let slots = Arc::new(Semaphore::new(settings.max_concurrent_calls));
        let pacer = Arc::new(Pacer::new(settings.max_calls_per_second));
        let pollers = settings.pollers;
        let (ari_breaker, store_breaker) = start_breakers(&errands, &outside, &closing, &circuits);
        let shared = Arc::new(Shared {
            settings,
            outside,
            done,
            metrics: Arc::clone(&metrics),
            registry: Arc::clone(&registry),
            unsettled: Unsettled::new(back_within),
            up: Arc::clone(&up),
            targets: Targets::default(),
            circuits: Arc::clone(&circuits),
            ari_breaker,
            store_breaker,
            errands: errands.clone(),
            unfollowed: Notify::new(),
            stopping: stopping.clone(),
        });
        let adopter = Adopter {
            shared: Arc::clone(&shared),
            slots: Arc::clone(&slots),
            tasks: tasks.clone(),
        };
        start_followers(&tasks, &adopter, (&up, &lease), &stopping);
        let poller = Poller {
            shared: Arc::clone(&shared),
            slots,
            pacer,
            up: Arc::clone(&up),
            lease: Arc::clone(&lease),
            tasks: tasks.clone(),
        };
        for _ in 0..pollers {
            tasks.spawn(poller.clone().run());
        }
        Self {
            stopping,
            closing,
            tasks,
            errands,
            deleter,
            shared: Some(shared),
            registry,
            metrics,
            up,
            lease,
            lost,
            circuits,
            shutdown_timeout,
        }
    }

    /// Waits until another process has taken the lease of this bridge's name, or this bridge has
    /// given the lease up because its Asterisk is another one. Nothing is left to do then but to stop.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        self.lost.clone().cancelled_owned()
    }

    /// Whether events arrive, so that calls can be placed.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.up.is_up()
    }

    /// Waits until calls can be placed.
    pub async fn wait_until_up(&self) {
        self.up.wait_for(true).await;
    }

    /// Says whether events arrive, so that calls can be placed.
    #[must_use]
    pub fn readiness(&self) -> Arc<Flag> {
        Arc::clone(&self.up)
    }

    /// How the bridge is, for those who look at it from outside.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        Vitals {
            metrics: Arc::clone(&self.metrics),
            registry: Arc::clone(&self.registry),
            up: Arc::clone(&self.up),
            lease: Arc::clone(&self.lease),
            circuits: Arc::clone(&self.circuits),
        }
    }

    /// How many calls are under way.
    #[must_use]
    pub fn live_calls(&self) -> usize {
        self.registry.len()
    }

    /// Hangs a call up for its client; `false` if this bridge has no such call claimed.
    #[must_use]
    pub fn hang_up(&self, id: CallId) -> bool {
        self.registry.hang_up(id)
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.metrics.counts()
    }

    /// Stops: takes nothing new, finishes what is between create and dial, writes
    /// what is known, and leaves live calls running. Returns within `SHUTDOWN_TIMEOUT`; `false` if
    /// something was cut short.
    pub async fn stop(mut self) -> bool {
        let finish = async {
            self.stopping.cancel();
            self.tasks.close();
            self.tasks.wait().await;
            // The last sender of finished messages goes, and with it the deleter.
            self.shared = None;
            let deleted = (&mut self.deleter).await.is_ok();
            self.closing.cancel();
            self.errands.close();
            self.errands.wait().await;
            deleted
        };
        timeout(self.shutdown_timeout, finish)
            .await
            .unwrap_or(false)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.closing.cancel();
    }
}

/// What reads Asterisk's events, and what hangs up channels that start with nobody to dial them.
fn start_listener(errands: &TaskTracker, heart: &Heart, closing: &CancellationToken) {
    let (orphans_tx, orphans) = mpsc::channel(ORPHANS);
    let listener = Listener {
        ari: Arc::clone(&heart.ari),
        registry: Arc::clone(&heart.registry),
        metrics: Arc::clone(&heart.metrics),
        orphans: orphans_tx,
        up: Arc::clone(&heart.up),
        lease: Arc::clone(&heart.lease),
    };
    errands.spawn(listener.run(closing.clone()));
    errands.spawn(hang_up_orphans(
        Arc::clone(&heart.ari),
        Arc::clone(&heart.registry),
        orphans,
    ));
}

/// What finds calls that nobody follows: the control queue, if there is one, and reconciliation.
fn start_followers(
    tasks: &TaskTracker,
    adopter: &Adopter,
    (up, lease): (&Arc<Flag>, &Arc<NameLease>),
    stopping: &CancellationToken,
) {
    if let Some(queue) = &adopter.shared.outside.control {
        let control = Control {
            queue: Arc::clone(queue),
            adopter: adopter.clone(),
            up: Arc::clone(up),
            lease: Arc::clone(lease),
        };
        tasks.spawn(control.run(stopping.clone()));
    }
    let reconciler = Reconciler {
        adopter: adopter.clone(),
        up: Arc::clone(up),
        lease: Arc::clone(lease),
    };
    tasks.spawn(reconciler.run(stopping.clone()));
}

/// The circuits to ARI and to the table of calls, with their probes and those of the trunks. The
/// probes outlive the calls' tasks, which wait for them.
fn start_breakers(
    errands: &TaskTracker,
    outside: &Outside,
    closing: &CancellationToken,
    circuits: &Arc<Circuits>,
) -> (Arc<Breaker>, Arc<Breaker>) {
    let (probing, asterisk) = (Arc::clone(circuits), Arc::clone(&outside.ari));
    let stop_probing = closing.clone();
    errands.spawn(async move { probing.probe(asterisk, stop_probing).await });
    let to_ari = Arc::new(Breaker::new("ARI"));
    let to_store = Arc::new(Breaker::new("DynamoDB"));
    errands.spawn(probe_ari(
        Arc::clone(&to_ari),
        Arc::clone(&outside.ari),
        closing.clone(),
    ));
    errands.spawn(probe_store(
        Arc::clone(&to_store),
        Arc::clone(&outside.calls),
        closing.clone(),
    ));
    (to_ari, to_store)
}

async fn probe_ari(breaker: Arc<Breaker>, ari: Arc<dyn Asterisk>, stop: CancellationToken) {
    let probe = || {
        let ari = Arc::clone(&ari);
        async move { ari.ping().await.is_ok() }
    };
    breaker.probe(probe, &stop).await;
}

async fn probe_store(breaker: Arc<Breaker>, calls: Arc<dyn Calls>, stop: CancellationToken) {
    let probe = || {
        let calls = Arc::clone(&calls);
        // Any id will do; there is no such call.
        async move { calls.get(Uuid::nil().into()).await.is_ok() }
    };
    breaker.probe(probe, &stop).await;
}

async fn hang_up_orphans(
    ari: Arc<dyn Asterisk>,
    registry: Arc<Registry>,
    mut orphans: mpsc::Receiver<CallId>,
) {
    while let Some(id) = orphans.recv().await {
        // The news may be old.
        if let Ok(registration) = registry.register(id) {
            hang_up_if_ours(Arc::clone(&ari), registration).await;
        }
    }
}
