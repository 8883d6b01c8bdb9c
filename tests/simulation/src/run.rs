//! One run: a seed, its plan, the programs, the faults, and what the witness says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge::metrics::Metrics;
use bridge::{Bridge, BridgeSettings};
use cloud::settings::Reader;
use domain::{CallId, CallRequest, Media, Priority, Timestamp, Variables};
use functions::ending::Ending;
use functions::placing::{NotPlaced, Placed, Placing, Refusal};
use functions::sweeper::{BUDGET, Sweeper};
use tokio::runtime::Builder;
use tokio::time::Instant;
use uuid::Uuid;

use crate::outside::{Messages, Store, of_bridge};
use crate::plan::{Asked, Callee, Fault, MAX_CALL_DURATION, Plan, PlannedCall};
use crate::process::Process;
use crate::switch::{self, Switch};
use crate::witness::{Told, Truth};
use crate::world::{State, World, name};

/// How long after everything is healed every call has to be over.
const ALL_OVER_WITHIN: Duration = Duration::from_mins(20);

/// How long a bridge may take from its start until it hears events, while some requests are lost.
const READY_WITHIN: Duration = Duration::from_secs(15);

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What must never be, and was.
    pub violations: Vec<String>,
    /// A number made of all that happened.
    pub trace: u64,
    /// Calls by their final status and reason.
    pub endings: BTreeMap<String, usize>,
    /// Phones that were made to ring.
    pub invites: usize,
    /// Programs that were killed.
    pub kills: usize,
}

/// Runs a seed with so many calls. `verbose` writes each step to the standard error.
///
/// # Panics
/// If no runtime can be made.
#[must_use]
pub fn run(seed: u64, calls: usize, verbose: bool) -> Outcome {
    run_plan_with(seed, || Plan::draw(calls), verbose)
}

/// Runs a plan. What it leaves open is drawn from the seed.
///
/// # Panics
/// If no runtime can be made.
#[must_use]
pub fn run_plan(seed: u64, plan: impl FnOnce() -> Plan) -> Outcome {
    run_plan_with(seed, plan, false)
}

#[expect(
    clippy::expect_used,
    reason = "there is nothing to do without a runtime"
)]
fn run_plan_with(seed: u64, plan: impl FnOnce() -> Plan, verbose: bool) -> Outcome {
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(play(&plan(), verbose))
}

async fn play(plan: &Plan, verbose: bool) -> Outcome {
    Simulation::new(plan, verbose).play(plan).await
}

/// A bridge at work.
type Running = (Arc<Process>, Bridge);

/// The programs in their world.
struct Simulation {
    world: Arc<World>,
    bridges: Vec<Mutex<Option<Running>>>,
    /// What was killed stays, or it would end itself properly.
    killed: Mutex<Vec<Bridge>>,
    settings: BridgeSettings,
}

impl Simulation {
    fn new(plan: &Plan, verbose: bool) -> Arc<Self> {
        let simulation = Arc::new(Self {
            world: Arc::new(World::new(plan, verbose)),
            bridges: (0..plan.bridges).map(|_| Mutex::default()).collect(),
            killed: Mutex::default(),
            settings: settings(),
        });
        for bridge in 0..plan.bridges {
            simulation.start_bridge(bridge);
        }
        simulation
    }

    async fn play(self: &Arc<Self>, plan: &Plan) -> Outcome {
        let began = Instant::now();
        if self.world.lock().witness.verbose {
            eprintln!("{plan:#?}");
        }
        for call in plan.calls.iter().cloned() {
            tokio::spawn(Arc::clone(self).client(call));
        }
        tokio::spawn(Arc::clone(self).sweep());
        for (at, fault) in &plan.faults {
            tokio::time::sleep_until(began + *at).await;
            self.strike(*fault);
        }
        tokio::time::sleep_until(began + plan.healed_after).await;
        self.world.heal();
        let until = Instant::now() + ALL_OVER_WITHIN;
        while !self.is_all_over() && Instant::now() < until && self.is_well() {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        // Nothing may come after the end.
        tokio::time::sleep(Duration::from_secs(90)).await;
        self.judge()
    }

    fn is_well(&self) -> bool {
        self.world.lock().witness.violations.is_empty()
    }

    fn is_all_over(&self) -> bool {
        let state = self.world.lock();
        state.table.calls().all(|call| call.status.is_terminal())
            && state.queue.is_empty()
            && self.channels(&state).is_empty()
    }

    /// The channels that are there and should not be in the end. One that nobody dialled stays where no bridge
    /// ever comes back.
    fn channels(&self, state: &State) -> Vec<CallId> {
        let switches = state.switches.iter().enumerate();
        let of = |(bridge, switch): (usize, &Switch)| {
            // A twin leaves its Asterisk for good, and what waits for the lease does not act yet.
            let acts = |bridge: &Mutex<Option<Running>>| {
                lock(bridge).as_ref().is_some_and(|(_, it)| it.is_up())
            };
            let deserted = !self.bridges.get(bridge).is_some_and(acts);
            // What a dialplan has taken the limit away from ends with its callee alone.
            let talks_on = |id: &CallId| {
                let truth = state.witness.truths.get(id);
                truth.is_some_and(|truth| {
                    matches!(truth.plan.callee, Callee::TalksOn { clears: true, .. })
                })
            };
            switch
                .channels(deserted)
                .filter(|id| !(deserted && talks_on(id)))
                .collect::<Vec<_>>()
        };
        switches.flat_map(of).collect()
    }

    fn judge(&self) -> Outcome {
        let state = &mut *self.world.lock();
        let mut outcome = Outcome::default();
        let calls: Vec<_> = state.table.calls().cloned().collect();
        for call in &calls {
            let reason = call.failure_reason.map_or("", |reason| reason.as_str());
            let ending = format!("{} {reason}", call.status);
            *outcome
                .endings
                .entry(ending.trim_end().to_owned())
                .or_default() += 1;
            // By a clock that may be behind.
            let over_at = call.ended_at.map_or(Instant::now(), |at| {
                self.world.instant(at) + Duration::from_secs(2)
            });
            state.witness.judge(call, over_at);
        }
        let accepted: Vec<_> = state
            .witness
            .truths
            .iter()
            .filter(|(_, truth)| truth.told == Told::Accepted)
            .map(|(id, _)| *id)
            .collect();
        for id in accepted {
            if state.table.get(id).is_none() {
                state
                    .witness
                    .violation(id, "accepted, and there is no record");
            }
        }
        for id in self.channels(state) {
            state.witness.violation(id, "its channel was left");
        }
        for (id, invites) in state.witness.invites_by_request() {
            if invites > 1 {
                let what = "the calls of one request made a phone ring twice";
                state.witness.violation(id, what);
            }
        }
        let rang = |truth: &Truth| usize::try_from(truth.invites).unwrap_or(usize::MAX);
        outcome.invites = state.witness.truths.values().map(rang).sum();
        outcome.violations.clone_from(&state.witness.violations);
        outcome.trace = state.witness.trace;
        outcome.kills = lock(&self.killed).len();
        outcome
    }

    fn start_bridge(self: &Arc<Self>, bridge: usize) {
        let started = self.new_bridge(bridge, bridge);
        *lock(&self.bridges[bridge]) = started;
    }

    /// Starts a bridge that was gone. Until it has the lease and hears events, it is still gone.
    async fn restart_bridge(self: &Arc<Self>, bridge: usize) {
        // Unless it has been replaced meanwhile.
        if lock(&self.bridges[bridge]).is_some() {
            return;
        }
        self.start_bridge(bridge);
        let began = Instant::now();
        let ready = lock(&self.bridges[bridge])
            .as_ref()
            .map(|(_, running)| running.readiness());
        if let Some(ready) = ready {
            // Whatever is lost, that takes no longer.
            let _ = tokio::time::timeout(READY_WITHIN, ready.wait_for(true)).await;
        }
        let back = (began, Instant::now());
        self.world.lock().witness.upheavals.push(back);
    }

    fn new_bridge(self: &Arc<Self>, bridge: usize, host: usize) -> Option<Running> {
        let mut settings = self.settings.clone();
        settings.bridge_id = name(bridge).parse().ok()?;
        let metrics = Arc::new(Metrics::new(&settings.bridge_id).ok()?);
        let process = Process::start_on(&self.world, Some(bridge), host);
        let outside = of_bridge(&process, bridge);
        self.world
            .lock()
            .witness
            .note(&format!("start {bridge} on {host}"), None);
        let running = Bridge::start_in(settings, outside, metrics);
        let lost = running.lost();
        let (simulation, id) = (Arc::clone(self), Arc::as_ptr(&process) as usize);
        tokio::spawn(async move {
            lost.await;
            simulation.start_again(bridge, id).await;
        });
        Some((process, running))
    }

    /// Starts a bridge again that has lost the lease of its name, as its supervisor does.
    async fn start_again(self: Arc<Self>, bridge: usize, process: usize) {
        let is_it = |running: &mut Running| Arc::as_ptr(&running.0) as usize == process;
        let lost = lock(&self.bridges[bridge]).take_if(is_it);
        let Some((process, running)) = lost else {
            return;
        };
        self.world.upheaval(self.settings.shutdown_timeout);
        running.stop().await;
        process.kill();
        self.restart_bridge(bridge).await;
    }

    fn strike(self: &Arc<Self>, fault: Fault) {
        self.world.lock().witness.note(&format!("{fault:?}"), None);
        match fault {
            // Nothing is lost by it, so nothing is excused.
            Fault::Trouble {
                bridge,
                trouble,
                lasts,
            } => {
                let until = Instant::now() + lasts;
                self.world.lock().switches[bridge].trouble(trouble, until);
            }
            Fault::Kill {
                bridge,
                after_steps,
                back_after,
            } => {
                tokio::spawn(Arc::clone(self).kill(bridge, after_steps, back_after));
            }
            Fault::Stop { bridge, back_after } => {
                tokio::spawn(Arc::clone(self).stop(bridge, back_after));
            }
            Fault::Twin {
                bridge,
                elsewhere,
                lasts,
            } => {
                tokio::spawn(Arc::clone(self).twin(bridge, elsewhere, lasts));
            }
            Fault::Replace { bridge, lasts } => {
                tokio::spawn(Arc::clone(self).replace(bridge, lasts));
            }
            Fault::CutSocket { bridge, silently } => {
                self.world.upheaval(Duration::from_secs(30));
                let state = &mut *self.world.lock();
                state.switches[bridge].cut(&name(bridge), silently);
            }
            Fault::StallSocket { bridge, lasts } => {
                self.world.upheaval(lasts);
                let until = Instant::now() + lasts;
                self.world.lock().switches[bridge].stall(&name(bridge), until);
            }
            Fault::RestartAsterisk { bridge, lasts } => {
                self.world.upheaval(lasts);
                switch::stop(&mut self.world.lock(), bridge);
                let world = Arc::clone(&self.world);
                tokio::spawn(async move {
                    tokio::time::sleep(lasts).await;
                    switch::start(&world, &mut world.lock(), bridge);
                });
            }
            Fault::Pause { lasts } => {
                self.world.lock().paused = Some(Instant::now());
                let world = Arc::clone(&self.world);
                tokio::spawn(async move {
                    tokio::time::sleep(lasts).await;
                    world.lock().paused = None;
                });
            }
            Fault::Outage { service, lasts } => {
                self.world.upheaval(lasts);
                let until = Instant::now() + lasts;
                self.world.lock().blocked.push((None, service, until));
            }
            Fault::Partition {
                bridge,
                service,
                lasts,
            } => {
                self.world.upheaval(lasts);
                let until = Instant::now() + lasts;
                let blocked = (Some(bridge), service, until);
                self.world.lock().blocked.push(blocked);
            }
        }
    }

    async fn kill(self: Arc<Self>, bridge: usize, after_steps: u32, back_after: Option<Duration>) {
        // One that is down already is left so.
        let Some((process, running)) = lock(&self.bridges[bridge]).take() else {
            return;
        };
        process.kill_after(after_steps);
        // It goes on until then.
        let soon = Duration::from_secs(30);
        if tokio::time::timeout(soon, process.died()).await.is_err() {
            process.kill();
        }
        self.world
            .lock()
            .witness
            .note(&format!("killed {bridge}"), None);
        lock(&self.killed).push(running);
        match back_after {
            Some(back_after) => {
                self.world.upheaval(back_after);
                tokio::time::sleep(back_after).await;
                self.restart_bridge(bridge).await;
            }
            // Its calls end by the sweeper.
            None => self.world.upheaval(ALL_OVER_WITHIN),
        }
    }

    async fn stop(self: Arc<Self>, bridge: usize, back_after: Duration) {
        let Some((process, running)) = lock(&self.bridges[bridge]).take() else {
            return;
        };
        let limit = self.settings.shutdown_timeout;
        self.world.upheaval(limit + back_after);
        running.stop().await;
        process.kill();
        tokio::time::sleep(back_after).await;
        self.restart_bridge(bridge).await;
    }

    async fn twin(self: Arc<Self>, bridge: usize, elsewhere: bool, lasts: Duration) {
        let host = if elsewhere {
            bridge + self.bridges.len()
        } else {
            bridge
        };
        let Some((process, running)) = self.new_bridge(bridge, host) else {
            return;
        };
        let end = Instant::now() + lasts;
        let ready = running.readiness();
        let ready = tokio::time::timeout_at(end, ready.wait_for(true)).await;
        let took_over = ready.is_ok().then(Instant::now);
        tokio::time::sleep_until(end).await;
        process.kill();
        // The first one has to wait until this one is known to be gone, and elsewhere its calls over.
        if let Some(took_over) = took_over {
            let over = (took_over, end + Duration::from_mins(5));
            self.world.lock().witness.upheavals.push(over);
        }
        lock(&self.killed).push(running);
    }

    async fn replace(self: Arc<Self>, bridge: usize, lasts: Duration) {
        let Some((new, running)) = self.new_bridge(bridge, bridge) else {
            return;
        };
        tokio::time::sleep(lasts).await;
        let old = lock(&self.bridges[bridge]).replace((new, running));
        if let Some((process, running)) = old {
            self.world.upheaval(self.settings.shutdown_timeout);
            running.stop().await;
            process.kill();
        }
    }

    async fn sweep(self: Arc<Self>) {
        let mut minutes = tokio::time::interval(Duration::from_mins(1));
        loop {
            minutes.tick().await;
            let process = Process::start(&self.world, None);
            let store = Arc::new(Store(Arc::clone(&process)));
            let sweeper = Sweeper {
                calls: Arc::clone(&store) as Arc<_>,
                heartbeats: store,
                budget: BUDGET,
            };
            // What it could not do, the next one does.
            let _ = sweeper.sweep(process.clock().now()).await;
        }
    }

    /// A client: asks for a call, repeats its request if it may, and perhaps asks for the call's end.
    async fn client(self: Arc<Self>, plan: PlannedCall) {
        tokio::time::sleep(plan.at).await;
        let begun = Instant::now();
        let truth = Truth::new(&plan, begun);
        self.world.lock().witness.truths.insert(plan.id, truth);
        let mut id = plan.id;
        let tries = if plan.repeats { 4 } else { 1 };
        for _ in 0..tries {
            let mut request = tokio::spawn(Arc::clone(&self).ask(plan.clone()));
            // Who is impatient repeats a request that goes on.
            let answer = tokio::select! {
                biased;
                answer = &mut request => answer.ok(),
                () = tokio::time::sleep(plan.patience) => None,
            };
            if let Some((call, told)) = answer {
                id = call;
                if told == Told::Accepted {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
        if let Some(after) = plan.ends_after {
            tokio::time::sleep_until(begun + after).await;
            let process = Process::start(&self.world, None);
            let clock = process.clock();
            let ending = Ending {
                calls: &Store(Arc::clone(&process)),
                bridges: &Messages {
                    process,
                    control: None,
                },
                now: &|| clock.now(),
            };
            // Whatever the answer: the request may have had its effect.
            if let Some(truth) = self.world.lock().witness.truth(id) {
                truth.end_asked = Some(Instant::now());
            }
            let promised = ending.end(id).await.is_ok();
            if let Some(truth) = self.world.lock().witness.truth(id) {
                truth.end_promised = promised;
            }
        }
    }

    /// One request for a call: which call it was about at the end, and what its client was told.
    async fn ask(self: Arc<Self>, plan: PlannedCall) -> (CallId, Told) {
        let process = Process::start(&self.world, None);
        // A function can be cut off at any step as well.
        let cut_off = self.world.lock().lossy > 0 && fastrand::u32(..50) == 0;
        if cut_off {
            process.kill_after(fastrand::u32(..6));
        }
        let clock = process.clock();
        let Some(request) = request(&plan, clock.now()) else {
            return (plan.id, Told::Unknown);
        };
        let expires_at = request.dial_before.plus(Duration::from_hours(48));
        let placing = Placing {
            calls: &Store(Arc::clone(&process)),
            queue: &Messages {
                process: Arc::clone(&process),
                control: None,
            },
            now: &|| clock.now(),
            sender: Uuid::from_u128(fastrand::u128(..)).into(),
            id_of_try: &|number| self.id_of_try(&plan, number),
        };
        let answer = tokio::select! {
            biased;
            answer = placing.place(request, expires_at) => answer,
            () = process.died() => return (plan.id, Told::Unknown),
        };
        let (id, told) = match answer {
            Ok(Placed::Now(call) | Placed::Before(call)) => (call.id, Told::Accepted),
            Err(NotPlaced { id, reason }) => match reason {
                Refusal::Unknown | Refusal::OtherRequest => (id, Told::Unknown),
                Refusal::NotRecorded | Refusal::NotQueued | Refusal::TriesUsedUp => {
                    (id, Told::NobodyCalled)
                }
            },
        };
        self.world.lock().witness.tell(id, told);
        (id, told)
    }

    /// The id of the call that takes the place of one that could not be queued.
    fn id_of_try(&self, plan: &PlannedCall, number: u8) -> CallId {
        let first = Uuid::from(plan.id).as_u128();
        let id = CallId::from(Uuid::from_u128(first.wrapping_add(number.into())));
        let witness = &mut self.world.lock().witness;
        let truth = || Truth::new(plan, Instant::now());
        witness.truths.entry(id).or_insert_with(truth);
        id
    }
}

/// The request of a planned call.
#[must_use]
pub fn request(plan: &PlannedCall, now: Timestamp) -> Option<CallRequest> {
    let sounds = vec!["sound:hello-world"; plan.plays.len()];
    let media = Media::new(&sounds).ok();
    let context = if plan.target_exists {
        "outbound-ivr"
    } else {
        "nowhere"
    };
    let endpoint = match plan.callee {
        Callee::NoEndpoint => "PJSIP/15550000200@nosuch",
        _ if plan.is_local() => "Local/15550000200@outbound-ivr/n",
        _ => "PJSIP/15550000200@trunk",
    };
    Some(CallRequest {
        id: plan.id,
        phone_number: "+15550000200".parse().ok()?,
        endpoint: endpoint.parse().ok()?,
        target: domain::DialplanTarget {
            context: context.parse().ok()?,
            extension: "s".parse().ok()?,
            priority: Priority::try_from(1).ok()?,
        },
        media,
        dial_timeout: plan.dial_timeout,
        max_duration: None,
        variables: variables(plan),
        caller_id: None,
        created_at: now,
        dial_before: now.plus(plan.queue_timeout),
        request_id: String::new(),
        fingerprint: plan.repeats.then(|| "the same".to_owned()),
    })
}

fn variables(plan: &PlannedCall) -> Variables {
    let name = match plan.asked {
        Asked::WithForbiddenVariable => "MONITOR_EXEC",
        Asked::Rightly | Asked::ByForgedMessage => "IVR_NAME",
    };
    let given = BTreeMap::from([(name.to_owned(), "1".to_owned())]);
    Variables::new(given).unwrap_or_default()
}

/// Read as the program reads them, from nothing but what it requires.
#[expect(clippy::expect_used, reason = "they are constants")]
fn settings() -> BridgeSettings {
    let given: BTreeMap<String, String> = [
        ("BRIDGE_ID", "bridge-0"),
        ("ARI_HTTP_URL", "http://127.0.0.1:1/"),
        ("ARI_USERNAME", "u"),
        ("ARI_PASSWORD", "p"),
        ("CALLS_TABLE", "calls"),
        ("STATE_TABLE", "state"),
        ("CALLS_QUEUE_URL", "http://127.0.0.1:1/q"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let mut reader = Reader::new(&given);
    let settings = BridgeSettings::read(&mut reader);
    let mut settings = reader.finish(settings).expect("good settings");
    settings.max_call_duration = MAX_CALL_DURATION;
    settings
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
