//! Takes messages from the queue: only while calls can be placed, and no more than may start.

use std::sync::Arc;
use std::time::Duration;

use cloud::error;
use cloud::queue::{Delivery, MAX_BATCH, MAX_WAIT, Receipt};
use domain::rules::{Rule, kept};
use domain::{CallId, CallStatus, QueueMessage, WaitingReason};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::backoff::Backoff;
use crate::call_task::CallTask;
use crate::circuits::{Admission, Pass};
use crate::flag::Flag;
use crate::lease::NameLease;
use crate::pacer::Pacer;
use crate::registry::Busy;
use crate::returning;
use crate::shared::Shared;

/// When a message is looked at again that nothing was done about.
const AGAIN_AFTER: Duration = Duration::from_secs(2);

/// One of a bridge's pollers.
#[derive(Clone)]
pub struct Poller {
    /// What the calls share.
    pub shared: Arc<Shared>,
    /// `MAX_CONCURRENT_CALLS`
    pub slots: Arc<Semaphore>,
    /// `MAX_CALLS_PER_SECOND`
    pub pacer: Arc<Pacer>,
    /// Whether events arrive.
    pub up: Arc<Flag>,
    /// The lease of the bridge's name.
    pub lease: Arc<NameLease>,
    /// The calls' tasks.
    pub tasks: TaskTracker,
}

impl Poller {
    /// Polls until the bridge stops.
    pub async fn run(self) {
        let stopping = self.shared.stopping.clone();
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            let (slots, mut pass) = tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                slots = self.wait_for_slots() => slots,
            };
            let settings = &self.shared.settings;
            let receiving = self.shared.outside.queue.receive(
                slots.len(),
                MAX_WAIT,
                settings.visibility_timeout,
            );
            // A receive that is dropped may have taken messages; they come back by themselves.
            let received = tokio::select! {
                biased;
                () = stopping.cancelled() => return,
                received = receiving => received,
            };
            match received {
                Ok(deliveries) => {
                    backoff.reset();
                    for (delivery, slot) in deliveries.into_iter().zip(slots) {
                        let may_start = tokio::select! {
                            biased;
                            () = stopping.cancelled() => false,
                            () = self.pacer.take() => self.up.is_up(),
                        };
                        // A circuit that has opened since holds all but the call that tries it.
                        let reason = if pass.is_some() {
                            None
                        } else {
                            self.shared.circuits.reason()
                        };
                        self.take(delivery, slot, pass.take(), may_start, reason);
                    }
                }
                Err(error) => {
                    drop((slots, pass));
                    tracing::warn!(error = %error::chain(&error), "no messages could be received");
                    tokio::select! {
                        biased;
                        () = stopping.cancelled() => return,
                        () = tokio::time::sleep(backoff.next_delay()) => {}
                    }
                }
            }
        }
    }

    /// Waits until calls can be placed. Returns a slot for each that may be received, and the
    /// permission to try an open circuit if it is only one.
    async fn wait_for_slots(&self) -> (Vec<OwnedSemaphorePermit>, Option<Pass>) {
        loop {
            self.lease.held.wait_for(true).await;
            self.up.wait_for(true).await;
            self.shared.ari_breaker.closed().await;
            self.shared.store_breaker.closed().await;
            let (most, pass) = match self.shared.circuits.admit().await {
                Admission::Any => (self.pacer.a_second().min(MAX_BATCH), None),
                Admission::One(pass) => (1, Some(pass)),
            };
            let mut slots = Vec::with_capacity(most);
            match Arc::clone(&self.slots).acquire_owned().await {
                Ok(slot) => slots.push(slot),
                Err(_) => return std::future::pending().await,
            }
            while slots.len() < most
                && let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned()
            {
                slots.push(slot);
            }
            let open = self.shared.ari_breaker.is_open()
                || self.shared.store_breaker.is_open()
                || (pass.is_none() && self.shared.circuits.is_open());
            if self.up.is_up() && !open {
                return (slots, pass);
            }
        }
    }

    fn take(
        &self,
        delivery: Delivery,
        slot: OwnedSemaphorePermit,
        pass: Option<Pass>,
        may_start: bool,
        reason: Option<WaitingReason>,
    ) {
        let message = match QueueMessage::decode(&delivery.body) {
            Ok(message) => message,
            Err(error) => {
                // It comes back, perhaps to a bridge of a newer release, until the queue moves it to the dead-letter queue.
                self.shared.metrics.bad_message();
                tracing::error!(
                    error = %error::chain(&error),
                    receive_count = delivery.receive_count,
                    "a message cannot be read"
                );
                self.give_back_unread(delivery.receipt);
                return;
            }
        };
        let is_repeat = matches!(message, QueueMessage::DialAgain(_));
        let request = message.into_request();
        if !may_start || reason.is_some() {
            self.give_back(request.id, delivery, reason);
            return;
        }
        match self.shared.registry.register(request.id) {
            Ok(registration) => {
                let span = tracing::info_span!(
                    "call",
                    call_id = %request.id,
                    request_id = %request.request_id
                );
                let (shared, id) = (Arc::clone(&self.shared), request.id);
                let task = async move {
                    // Most repeats come when their call is on its way: that is read before a channel is made.
                    if is_repeat && is_done_with(&shared, id).await {
                        let _ = shared.done.try_send(delivery.receipt);
                        return;
                    }
                    let message = delivery.into();
                    let limits = (slot, pass);
                    let task = CallTask::new(shared, request, message, registration, limits);
                    task.run().await;
                };
                // Every line about the call bears both.
                self.tasks.spawn(task.instrument(span));
            }
            Err(Busy { claimed }) if claimed || !kept(Rule::DuplicateReturned) => {
                // With a full backlog it comes back and is deleted then.
                let _ = self.shared.done.try_send(delivery.receipt);
            }
            // The first delivery may still give its message back, so this one must not delete it. If both
            // are of one message, they come back together.
            Err(Busy { .. }) => self.give_back(request.id, delivery, None),
        }
    }

    /// Lets a message come back whose call waits, each time later: deliveries are counted.
    fn give_back(&self, id: CallId, delivery: Delivery, reason: Option<WaitingReason>) {
        let shared = Arc::clone(&self.shared);
        let errand = returning::give_back(shared, id, delivery.into(), AGAIN_AFTER, reason);
        self.shared.errands.spawn(errand);
    }

    /// Lets a message come back that cannot be read.
    fn give_back_unread(&self, receipt: Receipt) {
        let queue = Arc::clone(&self.shared.outside.queue);
        self.shared.errands.spawn(async move {
            if let Err(error) = queue.give_back(&receipt, AGAIN_AFTER).await {
                tracing::warn!(error = %error::chain(&error), "a message was not given back");
            }
        });
    }
}

/// Whether a call is on its way or over, so that a repeat of its message says nothing new. What cannot be
/// read is found out by the claim.
async fn is_done_with(shared: &Shared, id: CallId) -> bool {
    match shared.outside.calls.get(id).await {
        Ok(Some(call)) => call.status != CallStatus::Pending || call.owner.is_some(),
        Ok(None) | Err(_) => false,
    }
}
