//! Gives messages back to the queue whose calls wait.
//!
//! The queue gives a message up after so many deliveries, because a message that keeps failing may
//! be poison. A call that waits for its trunk is none, however long it waits. So a message that has
//! come back a few times is sent anew, and the queue counts from one again. Should this bridge die
//! between the two requests, there are two messages of one call; the claim decides between them.

use std::sync::Arc;
use std::time::Duration;

use cloud::error;
use cloud::queue::{Delivery, Receipt};
use domain::rules::{Rule, kept};
use domain::{CallId, WaitingReason};

use crate::backoff::return_after;
use crate::shared::Shared;

/// The delivery at which a message is sent anew. The queue allows ten unless told otherwise, and
/// always more than this (`MaxReceiveCount` of the template), so that a bridge that is killed in
/// between does no harm.
pub const SENT_ANEW_AT: u32 = 4;

/// A message that a call's task works on.
#[derive(Clone, Debug)]
pub struct Message {
    /// Names its delivery.
    pub receipt: Receipt,
    /// Its text, as it was received: another release may have written more into it.
    pub body: Arc<str>,
    /// How many times it has been delivered, this one included.
    pub receive_count: u32,
}

impl From<Delivery> for Message {
    fn from(delivery: Delivery) -> Self {
        Self {
            receipt: delivery.receipt,
            body: delivery.body.into(),
            receive_count: delivery.receive_count,
        }
    }
}

/// Lets the message of a call come back, about so much later and each time more slowly. Why nobody
/// could be called is noted in the record the first time.
pub async fn give_back(
    shared: Arc<Shared>,
    id: CallId,
    message: Message,
    after: Duration,
    reason: Option<WaitingReason>,
) {
    shared.metrics.returned(reason);
    if let Some(reason) = reason.filter(|_| message.receive_count == 1)
        && let Err(error) = shared.outside.calls.note_waiting(id, reason).await
    {
        tracing::warn!(call_id = %id, error = %error::chain(&error), "why the call waits was not noted");
    }
    let after = return_after(after, message.receive_count);
    let queue = &shared.outside.queue;
    if message.receive_count >= SENT_ANEW_AT && kept(Rule::GivenBackSentAnew) {
        match queue.send_again(&message.body, after).await {
            Ok(()) => {
                if let Err(error) = queue.delete(std::slice::from_ref(&message.receipt)).await {
                    tracing::warn!(call_id = %id, error = %error::chain(&error), "a message that was sent anew was not deleted");
                }
                return;
            }
            Err(error) => {
                tracing::warn!(call_id = %id, error = %error::chain(&error), "a message was not sent anew");
            }
        }
    }
    if let Err(error) = queue.give_back(&message.receipt, after).await {
        tracing::warn!(call_id = %id, error = %error::chain(&error), "a message was not given back");
    }
}
