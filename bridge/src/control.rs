//! The control queue: what clients want of the calls that this bridge owns.

use std::sync::Arc;
use std::time::Duration;

use cloud::error;
use cloud::ports::Queue;
use cloud::queue::{Delivery, MAX_BATCH, MAX_WAIT, Receipt};
use domain::rules::{Rule, kept};
use domain::{CallId, ControlMessage};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use crate::adoption::{Adopter, Found};
use crate::backoff::Backoff;
use crate::flag::Flag;
use crate::hangup::hang_up_unless_busy;

/// How long a message stays away that could not be obeyed yet.
const INVISIBLE_FOR: Duration = Duration::from_secs(2);

/// What obeys the messages.
pub struct Control {
    /// The queue.
    pub queue: Arc<dyn Queue>,
    /// What takes calls on that nobody follows.
    pub adopter: Adopter,
    /// Whether events arrive.
    pub up: Arc<Flag>,
}

impl Control {
    /// Obeys the messages until `stop`, from when events arrive for the first time.
    pub async fn run(self, stop: CancellationToken) {
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
                received = self.queue.receive(MAX_BATCH, MAX_WAIT, INVISIBLE_FOR) => received,
            };
            match received {
                Ok(deliveries) => {
                    backoff.reset();
                    let done = join_all(deliveries.iter().map(|delivery| self.obey(delivery)));
                    let done: Vec<_> = done.await.into_iter().flatten().collect();
                    if !done.is_empty()
                        && let Err(error) = self.queue.delete(&done).await
                    {
                        tracing::warn!(error = %error::chain(&error), "control messages could not be deleted");
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

    /// Does what a message says. Returns its receipt if it is done with.
    async fn obey(&self, delivery: &Delivery) -> Option<Receipt> {
        let done = match ControlMessage::decode(&delivery.body) {
            Ok(ControlMessage::HangUp(id)) => self.hang_up(id).await,
            Err(error) => {
                self.adopter.shared.metrics.bad_message();
                tracing::error!(error = %error::chain(&error), "a control message cannot be read");
                false
            }
        };
        done.then(|| delivery.receipt.clone())
    }

    /// Whether the message is done with. It comes back until its call is no longer followed: only then nothing that
    /// happens to this bridge can make it forgotten. A call of an earlier life may not be followed yet: it is from then on.
    async fn hang_up(&self, id: CallId) -> bool {
        let shared = &self.adopter.shared;
        if !shared.registry.contains(id) && !kept(Rule::HangupTakesOn) {
            let (ari, registry) = (
                Arc::clone(&shared.outside.ari),
                Arc::clone(&shared.registry),
            );
            shared.errands.spawn(hang_up_unless_busy(ari, registry, id));
            return true;
        }
        let is_over = !shared.registry.contains(id)
            && self.up.is_up()
            && self.adopter.take_on(id).await == Found::NotOurs;
        shared.registry.hang_up(id);
        is_over || !kept(Rule::ClientObeyed)
    }
}
