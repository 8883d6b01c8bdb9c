//! Listens to ARI's events: keeps the socket connected, and hands each event on without ever waiting for
//! anything else.

use std::sync::Arc;
use std::time::Duration;

use domain::CallId;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ari::event::Incoming;
use crate::ari::{Asterisk, ChannelEventKind, SocketLost};
use crate::backoff::Backoff;
use crate::flag::Flag;
use crate::lease::NameLease;
use crate::metrics::Metrics;
use crate::registry::Registry;

/// How long a connection must have lasted for the next one to be tried at once.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// What the listener works with.
pub struct Listener {
    /// Asterisk.
    pub ari: Arc<dyn Asterisk>,
    /// Where events go.
    pub registry: Arc<Registry>,
    /// Counts events.
    pub metrics: Arc<Metrics>,
    /// Channels that started with nobody to dial them.
    pub orphans: mpsc::Sender<CallId>,
    /// Whether events arrive now: nothing may be created while they do not.
    pub up: Arc<Flag>,
    /// The lease of the bridge's name. A process that does not hold it leaves the application alone.
    pub lease: Arc<NameLease>,
}

impl Listener {
    /// Keeps the socket connected while the lease is held, until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.lease.held.wait_for(true) => {}
            }
            let since = Instant::now();
            let lost = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.lease.held.wait_for(false) => SocketLost::NotLeased,
                lost = self.connect_and_read() => lost,
            };
            self.up.set(false);
            tracing::warn!(error = %cloud::error::chain(&lost), "the ARI events socket is down");
            if since.elapsed() > STABLE_AFTER && !matches!(lost, SocketLost::Replaced) {
                backoff.reset();
            }
            let again = async {
                tokio::time::sleep(backoff.next_delay()).await;
                // Perhaps by a process of the same name that has taken the lease.
                if matches!(lost, SocketLost::Replaced) {
                    self.lease.next_renewal().await;
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.lease.held.wait_for(false) => {}
                () = again => {}
            }
        }
        self.up.set(false);
    }

    async fn connect_and_read(&self) -> SocketLost {
        match self.ari.entity_id().await {
            // The lease was taken while no Asterisk answered, or the address leads elsewhere now.
            Ok(Some(asterisk)) if !self.lease.names(&asterisk) => {
                self.lease.next_renewal().await;
                if !self.lease.names(&asterisk) {
                    return SocketLost::OtherAsterisk;
                }
            }
            Ok(_) => {}
            Err(error) => return SocketLost::Unnamed(error),
        }
        let mut socket = match self.ari.connect().await {
            Ok(socket) => socket,
            Err(lost) => return lost,
        };
        if let Err(error) = self.ari.filter_events().await {
            return SocketLost::Filter(error);
        }
        tracing::info!("the ARI events socket is up");
        self.up.set(true);
        loop {
            match socket.next().await {
                Ok(incoming) => {
                    if self.take(incoming) {
                        return SocketLost::Replaced;
                    }
                }
                Err(lost) => return lost,
            }
        }
    }

    /// Hands one event on, without waiting; whether we have been replaced.
    fn take(&self, incoming: Incoming) -> bool {
        match incoming {
            Incoming::Channel(event) => {
                self.metrics.event();
                if !self.registry.deliver(event) {
                    self.metrics.undeliverable();
                    // A channel of ours that started when its call had been given up: nobody has dialled it.
                    if matches!(event.kind, ChannelEventKind::StasisStarted { .. })
                        && self.orphans.try_send(event.call_id).is_err()
                    {
                        tracing::warn!(call_id = %event.call_id, "too many orphaned channels wait to be hung up");
                    }
                }
                false
            }
            Incoming::ApplicationReplaced => true,
            Incoming::Ignored(reason) => {
                self.metrics.ignored(reason);
                false
            }
        }
    }
}
