//! The bridge's heartbeat: it says in the table `state` that it is there, and how it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use cloud::heartbeats::HEARTBEAT_EVERY;
use cloud::ports::{Beaten, SignsOfLife};
use cloud::{Clock, Heartbeat, aws_date, error};
use domain::rules::{Rule, kept};
use domain::{BridgeId, Timestamp};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::ari::Asterisk;
use crate::circuits::Circuits;
use crate::flag::Flag;
use crate::metrics::Metrics;
use crate::registry::Registry;

/// How soon a bridge that is not known yet tries again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// How long a heartbeat waits for Asterisk. An Asterisk that stalls must not make its bridge look gone.
const PING_WITHIN: Duration = Duration::from_secs(2);

/// Farthest that the clock may be from AWS's, in milliseconds. The sweeper leaves calls alone for half a
/// minute after they were due, because clocks differ; a bridge must not use that up.
pub const MOST_AHEAD_MS: u64 = 20_000;

/// What a heartbeat is made of.
pub struct Heart {
    /// The bridge.
    pub bridge_id: BridgeId,
    /// When it started.
    pub started_at: Timestamp,
    /// Where heartbeats are written.
    pub heartbeats: Arc<dyn SignsOfLife>,
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
    /// Whether the bridge has made itself known: only then its calls can be ended for it.
    pub known: Arc<Flag>,
    /// The circuits to this Asterisk and its trunks.
    pub circuits: Arc<Circuits>,
}

impl Heart {
    /// Beats every [`HEARTBEAT_EVERY`] and whenever the events socket comes or goes, until the bridge
    /// has stopped; then says so.
    pub async fn run(self, closing: CancellationToken) {
        let (mut announced, mut ahead) = (false, None);
        let mut ticks = tokio::time::interval(HEARTBEAT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.up.moment();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                _ = ticks.tick() => {}
                () = self.up.changed_since(seen) => {}
            }
            seen = self.up.moment();
            if !announced && kept(Rule::BridgeAnnounced) {
                announced = self.announce().await;
            }
            let events_up = self.up.is_up();
            let ping = tokio::time::timeout(PING_WITHIN, self.ari.ping());
            let ari_up = matches!(ping.await, Ok(Ok(())));
            let beaten = match self.beat(events_up, ari_up, &mut ahead).await {
                // It was announced to a table that is lost, or was forgotten since.
                Some(Beaten { is_first: true, .. }) if announced && self.known.is_up() => {
                    announced = self.announce().await;
                    true
                }
                beaten => beaten.is_some(),
            };
            if (announced && beaten) || !kept(Rule::BridgeAnnounced) {
                self.known.set(true);
            } else if !self.known.is_up() {
                ticks.reset_after(AGAIN_AFTER);
            }
        }
        self.beat(false, false, &mut ahead).await;
    }

    async fn announce(&self) -> bool {
        let announced = self.heartbeats.announce(&self.bridge_id).await;
        if let Err(error) = &announced {
            tracing::warn!(error = %error::chain(error), "the bridge was not announced");
        }
        announced.is_ok()
    }

    /// Writes a heartbeat, and compares the clock with AWS's.
    async fn beat(&self, events_up: bool, ari_up: bool, ahead: &mut Option<i64>) -> Option<Beaten> {
        let live_calls = self.registry.len();
        let waiting = self.circuits.reason();
        let heartbeat = Heartbeat {
            bridge_id: self.bridge_id.clone(),
            at: self.clock.now(),
            started_at: self.started_at,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            events_up,
            ari_up,
            live_calls: u64::try_from(live_calls).unwrap_or(u64::MAX),
            waiting,
            clock_ahead_ms: *ahead,
            metrics: self.metrics.text(live_calls, events_up, waiting),
        };
        let before = self.own_clock.now();
        let beaten = self.heartbeats.beat(&heartbeat).await;
        if let Ok(Beaten {
            date: Some(date), ..
        }) = beaten
        {
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
            *ahead = Some(measured);
        }
        if let Err(error) = &beaten {
            tracing::warn!(error = %error::chain(error), "the heartbeat was not written");
        }
        beaten.ok()
    }
}
