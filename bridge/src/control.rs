//! The control queue: what clients want of the calls that this bridge owns.

use std::sync::Arc;
use std::time::Duration;

use cloud::error;
use cloud::ports::Queue;
use cloud::queue::{Delivery, MAX_BATCH, MAX_WAIT};
use domain::rules::{Rule, kept};
use domain::{CallId, ControlMessage};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ari::Asterisk;
use crate::backoff::Backoff;
use crate::flag::Flag;
use crate::hangup::hang_up_surely;
use crate::metrics::Metrics;
use crate::registry::Registry;

/// How long a message stays away that could not be obeyed yet.
const INVISIBLE_FOR: Duration = Duration::from_secs(2);

/// Obeys the messages of the queue until `stop`, once the calls of an earlier life have been found: until then it
/// cannot be told which calls are followed.
pub async fn run(
    queue: Arc<dyn Queue>,
    settled_in: Arc<Flag>,
    ari: Arc<dyn Asterisk>,
    errands: TaskTracker,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    tokio::select! {
        biased;
        () = stop.cancelled() => return,
        () = settled_in.wait_for(true) => {}
    }
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            received = queue.receive(MAX_BATCH, MAX_WAIT, INVISIBLE_FOR) => received,
        };
        match received {
            Ok(deliveries) => {
                backoff.reset();
                let done: Vec<_> = deliveries
                    .into_iter()
                    .filter(|delivery| match obey(&registry, &metrics, delivery) {
                        Obeyed::NotYet => false,
                        Obeyed::NotFollowed(id) => {
                            let registry = Arc::clone(&registry);
                            errands.spawn(hang_up_surely(Arc::clone(&ari), registry, id));
                            true
                        }
                    })
                    .map(|delivery| delivery.receipt)
                    .collect();
                if !done.is_empty()
                    && let Err(error) = queue.delete(&done).await
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

/// What became of a message.
enum Obeyed {
    /// It has to come back.
    NotYet,
    /// This bridge does not follow the call (any more): its channel, if there is one, is to end all the same.
    NotFollowed(CallId),
}

/// Does what a message says. A hangup comes back until its call is no longer followed: only then nothing that happens
/// to this bridge can make it forgotten.
fn obey(registry: &Registry, metrics: &Metrics, delivery: &Delivery) -> Obeyed {
    match ControlMessage::decode(&delivery.body) {
        Ok(ControlMessage::HangUp(id)) if registry.contains(id) => {
            registry.hang_up(id);
            if kept(Rule::ClientObeyed) {
                Obeyed::NotYet
            } else {
                Obeyed::NotFollowed(id)
            }
        }
        Ok(ControlMessage::HangUp(id)) => Obeyed::NotFollowed(id),
        Err(error) => {
            metrics.bad_message();
            tracing::error!(error = %error::chain(&error), "a control message cannot be read");
            Obeyed::NotYet
        }
    }
}
