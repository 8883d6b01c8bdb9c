//! The control queue: what clients want of the calls that this bridge owns.

use std::sync::Arc;
use std::time::Duration;

use cloud::error;
use cloud::ports::Queue;
use cloud::queue::{Delivery, MAX_BATCH, MAX_WAIT};
use domain::ControlMessage;
use domain::rules::{Rule, kept};
use tokio_util::sync::CancellationToken;

use crate::adoption::{Adopter, Found};
use crate::ari::Place;
use crate::backoff::Backoff;
use crate::flag::Flag;
use crate::lease::NameLease;

/// How often a message is looked at until its call is over.
pub const LOOKED_AT_EVERY: Duration = Duration::from_secs(2);

/// What obeys the messages.
pub struct Control {
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// What takes calls on that nobody follows.
    pub adopter: Adopter,
    /// Whether events arrive.
    pub up: Arc<Flag>,
    /// The lease of the bridge's name. While it is held, the clock has been compared with AWS's.
    pub lease: Arc<NameLease>,
}

impl Control {
    /// Obeys the messages until `stop`, from when events arrive for the first time.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = self.lease.held.wait_for(true) => {}
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = self.up.wait_for(true) => {}
        }
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
        loop {
            let received = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                received = self.queue.receive(MAX_BATCH, MAX_WAIT, LOOKED_AT_EVERY) => received,
            };
            match received {
                Ok(deliveries) => {
                    backoff.reset();
                    for delivery in deliveries {
                        self.obey(delivery);
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error::chain(&error), "no control messages could be received");
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(backoff.next_delay()) => {}
                    }
                }
            }
        }
    }

    /// Does what a message says. It comes back until its call is no longer followed: only then nothing that happens to this
    /// bridge can make it forgotten. A call of an earlier life may not be followed yet: it is from then on.
    fn obey(&self, delivery: Delivery) {
        let shared = &self.adopter.shared;
        let id = match ControlMessage::decode(&delivery.body) {
            Ok(ControlMessage::HangUp(id)) => id,
            Err(error) => {
                shared.metrics.bad_message();
                tracing::error!(error = %error::chain(&error), "a control message cannot be read, and is deleted");
                let queue = Arc::clone(&self.queue);
                self.adopter.tasks.spawn(async move {
                    if let Err(error) = queue.delete(&[delivery.receipt]).await {
                        tracing::warn!(error = %error::chain(&error), "a control message could not be deleted");
                    }
                });
                return;
            }
        };
        let is_followed = shared.registry.contains(id);
        shared.registry.hang_up(id);
        if is_followed && kept(Rule::ClientObeyed) || !self.up.is_up() {
            return;
        }
        // Those who are followed do not wait for the table.
        let (queue, adopter) = (Arc::clone(&self.queue), self.adopter.clone());
        self.adopter.tasks.spawn(async move {
            let is_done = is_followed
                || !kept(Rule::HangupTakesOn)
                || adopter.take_on(id, Place::OurApp).await == Found::NotOurs;
            adopter.shared.registry.hang_up(id);
            if is_done && let Err(error) = queue.delete(&[delivery.receipt]).await {
                tracing::warn!(error = %error::chain(&error), "a control message could not be deleted");
            }
        });
    }
}
