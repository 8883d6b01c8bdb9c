//! The bridge's heartbeat: it says in the table `state` that it is there, and how it is.

use std::sync::Arc;
use std::time::Duration;

use cloud::heartbeats::HEARTBEAT_EVERY;
use cloud::ports::{Beaten, SignsOfLife};
use cloud::{Clock, Heartbeat, error};
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

/// What a heartbeat is made of.
pub struct Heart {
    /// The bridge.
    pub bridge_id: BridgeId,
    /// When it started.
    pub started_at: Timestamp,
    /// Where heartbeats are written.
    pub heartbeats: Arc<dyn SignsOfLife>,
    /// The wall clock.
    pub clock: Clock,
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
        let mut announced = false;
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
            let beaten = match self.beat(events_up, ari_up).await {
                // It was announced to a table that is lost, or was forgotten since.
                Some(Beaten::First) if announced && self.known.is_up() => {
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
        self.beat(false, false).await;
    }

    async fn announce(&self) -> bool {
        let announced = self.heartbeats.announce(&self.bridge_id).await;
        if let Err(error) = &announced {
            tracing::warn!(error = %error::chain(error), "the bridge was not announced");
        }
        announced.is_ok()
    }

    async fn beat(&self, events_up: bool, ari_up: bool) -> Option<Beaten> {
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
            metrics: self.metrics.text(live_calls, events_up, waiting),
        };
        let beaten = self.heartbeats.beat(&heartbeat).await;
        if let Err(error) = &beaten {
            tracing::warn!(error = %error::chain(error), "the heartbeat was not written");
        }
        beaten.ok()
    }
}
