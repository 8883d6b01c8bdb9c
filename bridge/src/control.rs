//! The control queue: what clients want of the calls that this bridge owns.

use std::sync::Arc;
use std::time::Duration;

use cloud::queue::{Delivery, MAX_BATCH, MAX_WAIT};
use cloud::{CallQueue, error};
use domain::ControlMessage;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::metrics::Metrics;
use crate::registry::Registry;

/// How long a message stays away that could not be obeyed yet.
const INVISIBLE_FOR: Duration = Duration::from_secs(2);

/// Obeys the messages of the queue until `stop`.
pub async fn run(
    queue: CallQueue,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = queue.receive(MAX_BATCH, MAX_WAIT, INVISIBLE_FOR) => received,
        };
        match received {
            Ok(deliveries) => {
                backoff.reset();
                let done: Vec<_> = deliveries
                    .into_iter()
                    .filter(|delivery| obey(&registry, &metrics, delivery))
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
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(backoff.next_delay()) => {}
                }
            }
        }
    }
}

/// Does what a message says; whether it is done with.
fn obey(registry: &Registry, metrics: &Metrics, delivery: &Delivery) -> bool {
    match ControlMessage::decode(&delivery.body) {
        // One that is being claimed right now is asked again. One that is not ours is over.
        Ok(ControlMessage::HangUp(id)) => registry.hang_up(id) || !registry.contains(id),
        Err(error) => {
            metrics.bad_message();
            tracing::error!(error = %error::chain(&error), "a control message cannot be read");
            false
        }
    }
}
