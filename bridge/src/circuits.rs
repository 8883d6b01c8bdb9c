//! The circuits to what calls go through: this Asterisk, and its trunks.
//!
//! A circuit opens when Asterisk refuses to make a channel and it has been found out why, or when it
//! takes dials and dials nobody. While a circuit is open, nothing is received from the queue: calls
//! wait. Nothing that a request chooses opens a circuit.
//!
//! There are two kinds. A circuit whose state Asterisk can be asked for (a refusing Asterisk, an
//! offline trunk) is probed once a second. Of the others only a call can tell: one call at a time
//! tries, at growing intervals.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloud::error;
use domain::endpoint::Trunk;
use domain::origination::Refusal;
use domain::rules::{Rule, kept};
use domain::{CallRequest, WaitingReason};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ari::{AriError, Asterisk, Canary, EndpointState};
use crate::backoff::Backoff;
use crate::flag::Flag;

/// How often a circuit is probed whose state Asterisk can be asked for.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// Shortest and longest time between two calls that try an open circuit.
const TRY_EVERY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(1));
/// Calls in a row that Asterisk took and did not dial, before the circuit opens.
const UNDIALLED_IN_A_ROW: u32 = 2;
/// Most trunks that have a circuit. A bridge has one or a few; a call of a further one waits alone.
const MAX_TRUNKS: usize = 64;

/// The circuits of a bridge.
pub struct Circuits {
    state: Mutex<State>,
    /// Up while a circuit is open.
    open: Flag,
    /// Wakes who waits for a change, in the order of waiting.
    changed: Notify,
    /// One refusal is explained at a time: hundreds of calls may be refused for one reason.
    explaining: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Whether an administrator has paused all calls, once that is known.
    paused: Option<bool>,
    /// The clock is too far from AWS's: calls would expire too soon, or be dialled too late.
    clock_is_wrong: bool,
    /// Asterisk makes no channels at all.
    asterisk_refuses: bool,
    /// Trunks that are offline.
    offline: BTreeSet<Trunk>,
    /// One call at a time tries.
    trial: Option<Trial>,
    /// Calls in a row that Asterisk took and did not dial.
    undialled: u32,
}

struct Trial {
    reason: WaitingReason,
    backoff: Backoff,
    next_at: Instant,
    under_way: bool,
    /// The call that tried has found the circuit's reason again.
    failed: bool,
}

/// How many calls may be received.
pub enum Admission {
    /// As many as there is room for.
    Any,
    /// One, which tries an open circuit.
    One(Pass),
}

/// A call's permission to try an open circuit. When it is dropped and the call has failed for the
/// circuit's reason, the next call may try after a longer interval. A call that told nothing (it was
/// over already, say) does not count, so that the next may try at once.
pub struct Pass(Arc<Circuits>);

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        if let Some(trial) = &mut state.trial {
            trial.under_way = false;
            if std::mem::take(&mut trial.failed) {
                trial.next_at = Instant::now() + trial.backoff.next_delay();
            }
        }
        drop(state);
        self.0.changed.notify_waiters();
    }
}

impl Circuits {
    /// All closed.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            open: Flag::default(),
            changed: Notify::new(),
            explaining: tokio::sync::Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and tells those who wait.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let open = {
            let mut state = self.lock();
            change(&mut state);
            state.reason()
        };
        if self.open.set(open.is_some()) {
            if let Some(reason) = open {
                tracing::warn!(
                    reason = reason.as_str(),
                    "circuit opened: calls wait in the queue"
                );
            } else {
                tracing::info!("circuit closed: calls are placed again");
            }
        }
        self.changed.notify_waiters();
    }

    /// Why calls wait now, if they do.
    #[must_use]
    pub fn reason(&self) -> Option<WaitingReason> {
        self.lock().reason()
    }

    /// Whether nothing is to be begun now, except by the one call that tries.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_up()
    }

    /// Waits until calls may be received, and says how many.
    pub async fn admit(self: &Arc<Self>) -> Admission {
        loop {
            // Before the look, so that no change in between is missed.
            let changed = self.changed.notified();
            let try_at = {
                let mut state = self.lock();
                let paused = state.paused != Some(false) && kept(Rule::PauseObeyed);
                if paused
                    || state.clock_is_wrong
                    || state.asterisk_refuses
                    || !state.offline.is_empty()
                {
                    None
                } else {
                    match &mut state.trial {
                        None => return Admission::Any,
                        Some(trial) if trial.under_way => None,
                        Some(trial) if trial.next_at <= Instant::now() => {
                            trial.under_way = true;
                            return Admission::One(Pass(Arc::clone(self)));
                        }
                        Some(trial) => Some(trial.next_at),
                    }
                }
            };
            let until = async {
                match try_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = until => {}
            }
        }
    }

    /// Finds out why Asterisk refused to make a call's channel, and opens the circuit that this
    /// is about.
    pub async fn explain(&self, ari: &dyn Asterisk, call: &CallRequest) -> Refusal {
        let _one_at_a_time = self.explaining.lock().await;
        // Another call has found out already.
        if let Some(reason) = self.lock().reason_for(call) {
            return Refusal::Temporary(reason);
        }
        match self.ask(ari, call).await {
            Ok(refusal) => {
                tracing::warn!(call_id = %call.id, ?refusal, "Asterisk refused to make the channel");
                refusal
            }
            Err(error) => {
                tracing::warn!(
                    call_id = %call.id,
                    error = %error::chain(&error),
                    "why Asterisk refused to make the channel cannot be told"
                );
                Refusal::Unknown
            }
        }
    }

    async fn ask(&self, ari: &dyn Asterisk, call: &CallRequest) -> Result<Refusal, AriError> {
        let trunk = call.endpoint.trunk();
        if let Some(trunk) = &trunk {
            match ari.endpoint_state(trunk).await? {
                EndpointState::Missing => return Ok(Refusal::Missing),
                EndpointState::Offline if is_chosen(trunk, call) => {
                    return Ok(Refusal::Unreachable);
                }
                EndpointState::Offline => {
                    self.change(|state| {
                        if state.offline.len() < MAX_TRUNKS {
                            state.offline.insert(trunk.clone());
                        }
                    });
                    return Ok(Refusal::Temporary(WaitingReason::TrunkUnavailable));
                }
                EndpointState::Online | EndpointState::Unknown => {}
            }
        }
        if ari.try_canary().await? == Canary::Refused {
            self.change(|state| state.asterisk_refuses = true);
            return Ok(Refusal::Temporary(WaitingReason::AsteriskRefuses));
        }
        // Asterisk makes channels, and this one not: only another call can tell when it does.
        if trunk.is_some_and(|trunk| !is_chosen(&trunk, call)) {
            self.change(|state| state.try_one_at_a_time(WaitingReason::TrunkUnavailable));
        }
        Ok(Refusal::Temporary(WaitingReason::TrunkUnavailable))
    }

    /// Notes whether an administrator has paused all calls. Nothing is received before this is known.
    pub fn pause(&self, paused: bool) {
        if self.lock().paused != Some(paused) {
            self.change(|state| state.paused = Some(paused));
        }
    }

    /// Notes whether this machine's clock is too far from AWS's.
    pub fn clock(&self, is_wrong: bool) {
        let is_wrong = is_wrong && kept(Rule::ClockCompared);
        if self.lock().clock_is_wrong != is_wrong {
            self.change(|state| state.clock_is_wrong = is_wrong);
        }
    }

    /// Notes that Asterisk has begun to dial a call.
    pub fn dial_seen(&self) {
        let quiet = {
            let state = self.lock();
            state.undialled == 0 && state.trial.is_none()
        };
        if !quiet {
            self.change(|state| {
                state.undialled = 0;
                if kept(Rule::CircuitCloses) {
                    state.trial = None;
                }
            });
        }
    }

    /// Notes that Asterisk took the dial of a call, and that nobody was dialled.
    pub fn not_dialled(&self) {
        self.change(|state| {
            state.undialled = state.undialled.saturating_add(1);
            if state.undialled >= UNDIALLED_IN_A_ROW {
                state.try_one_at_a_time(WaitingReason::AsteriskRefuses);
            }
        });
    }

    /// Probes what can be asked for while it is open, until `stop`.
    pub async fn probe(&self, ari: Arc<dyn Asterisk>, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.open.wait_for(true) => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PROBE_EVERY) => {}
            }
            self.probe_once(&*ari).await;
        }
    }

    async fn probe_once(&self, ari: &dyn Asterisk) {
        let (asterisk_refuses, offline) = {
            let state = self.lock();
            (state.asterisk_refuses, state.offline.clone())
        };
        if asterisk_refuses && matches!(ari.try_canary().await, Ok(Canary::Made)) {
            self.close(|state| state.asterisk_refuses = false);
        }
        for trunk in offline {
            // One that is missing now is found missing by the next call.
            if matches!(
                ari.endpoint_state(&trunk).await,
                Ok(EndpointState::Online | EndpointState::Missing)
            ) {
                self.close(|state| {
                    state.offline.remove(&trunk);
                });
            }
        }
    }

    fn close(&self, change: impl FnOnce(&mut State)) {
        if kept(Rule::CircuitCloses) {
            self.change(change);
        }
    }
}

impl State {
    fn reason(&self) -> Option<WaitingReason> {
        if self.paused == Some(true) && kept(Rule::PauseObeyed) {
            return Some(WaitingReason::Paused);
        }
        if self.clock_is_wrong {
            return Some(WaitingReason::ClockWrong);
        }
        if self.asterisk_refuses {
            return Some(WaitingReason::AsteriskRefuses);
        }
        if !self.offline.is_empty() {
            return Some(WaitingReason::TrunkUnavailable);
        }
        self.trial.as_ref().map(|trial| trial.reason)
    }

    /// Why this call waits, if the circuit that it would open is open already.
    fn reason_for(&self, call: &CallRequest) -> Option<WaitingReason> {
        if self.asterisk_refuses {
            return Some(WaitingReason::AsteriskRefuses);
        }
        let trunk = call.endpoint.trunk()?;
        let offline = self.offline.contains(&trunk);
        offline.then_some(WaitingReason::TrunkUnavailable)
    }

    fn try_one_at_a_time(&mut self, reason: WaitingReason) {
        if let Some(trial) = &mut self.trial {
            trial.failed = true;
        } else {
            let mut backoff = Backoff::new(TRY_EVERY.0, TRY_EVERY.1);
            self.trial = Some(Trial {
                reason,
                next_at: Instant::now() + backoff.next_delay(),
                backoff,
                under_way: false,
                failed: false,
            });
        }
    }
}

/// Whether a request chooses this endpoint: by its number, or by its context.
fn is_chosen(trunk: &Trunk, call: &CallRequest) -> bool {
    let number = call.phone_number.as_str();
    let digits = number.strip_prefix('+').unwrap_or(number);
    trunk.resource.contains(digits) || trunk.resource == call.target.context.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_admitted(circuits: &Arc<Circuits>) -> Option<Pass> {
        match circuits.admit().await {
            Admission::Any => None,
            Admission::One(pass) => Some(pass),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_call_at_a_time_tries_and_a_dial_closes_the_circuit() {
        let circuits = Circuits::new();
        circuits.pause(false);
        assert!(is_admitted(&circuits).await.is_none());
        circuits.not_dialled();
        assert!(!circuits.is_open());
        circuits.not_dialled();
        assert!(circuits.is_open());
        let began = Instant::now();
        let pass = is_admitted(&circuits).await.unwrap();
        assert!(began.elapsed() >= TRY_EVERY.0 / 2);
        // While it tries, nobody else does.
        let other = Arc::clone(&circuits);
        let waiting = tokio::spawn(async move { is_admitted(&other).await.is_none() });
        tokio::time::sleep(Duration::from_hours(1)).await;
        assert!(!waiting.is_finished());
        circuits.dial_seen();
        assert!(waiting.await.unwrap());
        drop(pass);
        assert!(!circuits.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_fails_makes_the_next_wait_longer_and_one_that_tells_nothing_does_not() {
        let circuits = Circuits::new();
        circuits.pause(false);
        circuits.not_dialled();
        circuits.not_dialled();
        let pass = is_admitted(&circuits).await.unwrap();
        drop(pass);
        let began = Instant::now();
        let pass = is_admitted(&circuits).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO);
        circuits.not_dialled();
        drop(pass);
        let pass = is_admitted(&circuits).await.unwrap();
        assert!(began.elapsed() >= TRY_EVERY.0);
        drop(pass);
    }

    #[test]
    fn what_a_request_chooses_opens_no_circuit() {
        for (resource, chosen) in [
            ("trunk", false),
            ("15550000200", true),
            ("phone-15550000200", true),
            ("outbound-ivr", true),
        ] {
            let trunk = Trunk {
                technology: "PJSIP".to_owned(),
                resource: resource.to_owned(),
            };
            assert_eq!(is_chosen(&trunk, &call()), chosen, "{resource}");
        }
    }

    fn call() -> CallRequest {
        let text = r#"{"type":"dial.v1","call_id":"3f2b8c1e-0000-4000-8000-000000000001",
            "phone_number":"+15550000200","endpoint":"PJSIP/15550000200@trunk","context":"outbound-ivr",
            "extension":"s","priority":1,"dial_timeout_ms":30000,"created_at_ms":1,"dial_before_ms":2}"#;
        domain::QueueMessage::decode(text).unwrap().into_request()
    }
}
