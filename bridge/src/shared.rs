//! What all calls of a bridge share.

use std::sync::Arc;

use cloud::queue::Receipt;
use domain::Timestamp;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::breaker::Breaker;
use crate::circuits::Circuits;
use crate::flag::Flag;
use crate::metrics::Metrics;
use crate::outside::Outside;
use crate::registry::Registry;
use crate::settings::BridgeSettings;
use crate::targets::Targets;
use crate::unsettled::Unsettled;

/// What all calls of a bridge share.
pub struct Shared {
    /// The configuration.
    pub settings: BridgeSettings,
    /// Asterisk, the tables, the queues, the clock.
    pub outside: Outside,
    /// Messages that are done with.
    pub done: mpsc::Sender<Receipt>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The calls under way.
    pub registry: Arc<Registry>,
    /// Claims whose answer never came.
    pub unsettled: Unsettled,
    /// Up while ARI's events arrive.
    pub up: Arc<Flag>,
    /// Places that the dialplan was found to have.
    pub targets: Targets,
    /// The circuits to this Asterisk and its trunks.
    pub circuits: Arc<Circuits>,
    /// The circuit to ARI.
    pub ari_breaker: Arc<Breaker>,
    /// The circuit to the table of calls.
    pub store_breaker: Arc<Breaker>,
    /// Short tasks that outlive their call's task.
    pub errands: TaskTracker,
    /// A call of ours has been found that nobody follows.
    pub unfollowed: Notify,
    /// The bridge stops: finish what is under way, leave live calls running.
    pub stopping: CancellationToken,
}

impl Shared {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.outside.clock.now()
    }
}
