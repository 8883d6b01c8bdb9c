//! The bridge's heartbeat: it says in the table `state` that it is there, and how it is.

use std::sync::Arc;

use cloud::heartbeats::HEARTBEAT_EVERY;
use cloud::{Heartbeat, Heartbeats, clock, error};
use domain::{BridgeId, Timestamp};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::ari::AriClient;
use crate::metrics::Metrics;
use crate::registry::Registry;

/// What a heartbeat is made of.
pub struct Heart {
    /// The bridge.
    pub bridge_id: BridgeId,
    /// When it started.
    pub started_at: Timestamp,
    /// Where heartbeats are written.
    pub heartbeats: Heartbeats,
    /// Asterisk.
    pub ari: AriClient,
    /// The calls under way.
    pub registry: Arc<Registry>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether events arrive.
    pub up: watch::Receiver<bool>,
}

impl Heart {
    /// Beats every [`HEARTBEAT_EVERY`] and whenever the events socket comes or goes, until the bridge
    /// has stopped; then says so.
    pub async fn run(mut self, closing: CancellationToken) {
        let mut announced = false;
        let mut ticks = tokio::time::interval(HEARTBEAT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = closing.cancelled() => break,
                _ = ticks.tick() => {}
                // The sender lives as long as the bridge.
                Ok(()) = self.up.changed() => {}
            }
            if !announced {
                announced = self.announce().await;
            }
            let events_up = *self.up.borrow_and_update();
            let ari_up = self.ari.ping().await.is_ok();
            self.beat(events_up, ari_up).await;
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

    async fn beat(&self, events_up: bool, ari_up: bool) {
        let live_calls = self.registry.len();
        let heartbeat = Heartbeat {
            bridge_id: self.bridge_id.clone(),
            at: clock::now(),
            started_at: self.started_at,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            events_up,
            ari_up,
            live_calls: u64::try_from(live_calls).unwrap_or(u64::MAX),
            metrics: self.metrics.text(live_calls, events_up),
        };
        if let Err(error) = self.heartbeats.beat(&heartbeat).await {
            tracing::warn!(error = %error::chain(&error), "the heartbeat was not written");
        }
    }
}
