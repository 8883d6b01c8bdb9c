//! Everything outside the bridge that it works with.

use std::sync::Arc;

use cloud::aws::Clients;
use cloud::pause::PauseSwitch;
use cloud::ports::{Calls, Pause, Queue, SignsOfLife};
use cloud::{CallQueue, CallStore, Clock, Heartbeats};

use crate::ari::{AriClient, AriError, Asterisk};
use crate::metrics::Metrics;
use crate::processes::{Processes, ThisProcess};
use crate::settings::BridgeSettings;

/// Everything outside the bridge that it works with.
#[derive(Clone)]
pub struct Outside {
    /// Asterisk.
    pub ari: Arc<dyn Asterisk>,
    /// The table of calls.
    pub calls: Arc<dyn Calls>,
    /// The queue of calls.
    pub queue: Arc<dyn Queue>,
    /// This bridge's control queue, if it has one.
    pub control: Option<Arc<dyn Queue>>,
    /// Where heartbeats are written.
    pub heartbeats: Arc<dyn SignsOfLife>,
    /// The administrator's switch.
    pub pause: Arc<dyn Pause>,
    /// This process, and the others of this machine.
    pub processes: Arc<dyn Processes>,
    /// The wall clock.
    pub clock: Clock,
}

impl Outside {
    /// What the settings name: the real Asterisk, `DynamoDB` and SQS.
    ///
    /// # Errors
    /// If the HTTP client cannot be set up.
    pub fn real(
        settings: &BridgeSettings,
        aws: &Clients,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AriError> {
        let queue = |url: &String| CallQueue::new(aws.sqs.clone(), url.clone());
        let control = settings.control_queue_url.as_ref().map(queue);
        Ok(Self {
            ari: Arc::new(AriClient::new(Arc::new(settings.ari.clone()), metrics)?),
            calls: Arc::new(CallStore::new(
                aws.dynamodb.clone(),
                settings.calls_table.clone(),
            )),
            queue: Arc::new(queue(&settings.calls_queue_url)),
            control: control.map(|control| Arc::new(control) as Arc<dyn Queue>),
            heartbeats: Arc::new(Heartbeats::new(
                aws.dynamodb.clone(),
                settings.state_table.clone(),
            )),
            pause: Arc::new(PauseSwitch::new(
                aws.dynamodb.clone(),
                settings.state_table.clone(),
            )),
            processes: ThisProcess::show(settings.boot_id.as_deref()),
            clock: Clock::system(),
        })
    }
}
