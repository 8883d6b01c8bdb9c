//! Takes messages from the queue: only while calls can be placed, and no more than may start.

use std::sync::Arc;
use std::time::Duration;

use cloud::error;
use cloud::queue::{Delivery, MAX_BATCH, MAX_WAIT, Receipt};
use domain::QueueMessage;
use domain::rules::{Rule, kept};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::backoff::{Backoff, return_after};
use crate::call_task::CallTask;
use crate::flag::Flag;
use crate::pacer::Pacer;
use crate::registry::Busy;
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
    /// Whether the bridge has made itself known.
    pub known: Arc<Flag>,
    /// The calls' tasks.
    pub tasks: TaskTracker,
}

impl Poller {
    /// Polls until the bridge stops.
    pub async fn run(self) {
        let stopping = self.shared.stopping.clone();
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            let slots = tokio::select! {
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
                        if may_start {
                            self.take(delivery, slot);
                        } else {
                            self.give_back_for_longer(delivery);
                        }
                    }
                }
                Err(error) => {
                    drop(slots);
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

    /// Waits until calls can be placed, and says how many.
    async fn wait_for_slots(&self) -> Vec<OwnedSemaphorePermit> {
        loop {
            self.known.wait_for(true).await;
            self.up.wait_for(true).await;
            self.shared.ari_breaker.closed().await;
            self.shared.store_breaker.closed().await;
            let most = self.pacer.a_second().min(MAX_BATCH);
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
            let open = self.shared.ari_breaker.is_open() || self.shared.store_breaker.is_open();
            if self.up.is_up() && !open {
                return slots;
            }
        }
    }

    fn take(&self, delivery: Delivery, slot: OwnedSemaphorePermit) {
        let QueueMessage::Dial(request) = match QueueMessage::decode(&delivery.body) {
            Ok(message) => message,
            Err(error) => {
                // It comes back, perhaps to a bridge of a newer release, until the queue moves it to the dead-letter queue.
                self.shared.metrics.bad_message();
                tracing::error!(
                    error = %error::chain(&error),
                    receive_count = delivery.receive_count,
                    "a message cannot be read"
                );
                self.give_back(delivery.receipt, AGAIN_AFTER);
                return;
            }
        };
        match self.shared.registry.register(request.id) {
            Ok(registration) => {
                let span = tracing::info_span!(
                    "call",
                    call_id = %request.id,
                    request_id = %request.request_id
                );
                let task = CallTask::new(
                    Arc::clone(&self.shared),
                    request,
                    (delivery.receipt, delivery.receive_count),
                    registration,
                    slot,
                );
                // Every line about the call bears both.
                self.tasks.spawn(task.run().instrument(span));
            }
            Err(Busy { claimed }) if claimed || !kept(Rule::DuplicateReturned) => {
                // With a full backlog it comes back and is deleted then.
                let _ = self.shared.done.try_send(delivery.receipt);
            }
            // The first delivery may still give its message back, so this one must not delete it. If both
            // are of one message, they come back together.
            Err(Busy { .. }) => self.give_back_for_longer(delivery),
        }
    }

    /// Lets a message come back, each time later: deliveries are counted.
    fn give_back_for_longer(&self, delivery: Delivery) {
        let after = return_after(AGAIN_AFTER, delivery.receive_count);
        self.give_back(delivery.receipt, after);
    }

    /// Lets a message come back after a while.
    fn give_back(&self, receipt: Receipt, after: Duration) {
        let queue = Arc::clone(&self.shared.outside.queue);
        self.shared.errands.spawn(async move {
            if let Err(error) = queue.give_back(&receipt, after).await {
                tracing::warn!(error = %error::chain(&error), "a message was not given back");
            }
        });
    }
}
