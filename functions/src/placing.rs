//! Places a call: records it, then queues it.
//!
//! A client that is told that nobody was called is right: either nothing was recorded, or the record was marked
//! failed, and then no bridge can claim it.

use cloud::calls::{Creation, PendingEnd};
use cloud::error;
use cloud::ports::{Calls, Queue};
use domain::rules::{Rule, kept};
use domain::{Call, CallRequest, CallStatus, FailureReason, QueueMessage, Timestamp};

/// What a call is placed with.
pub struct Placing<'a, C, Q> {
    /// The table of calls.
    pub calls: &'a C,
    /// The queue to the bridges.
    pub queue: &'a Q,
    /// The time.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
}

/// A call was placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// By this request.
    Now,
    /// By this earlier one, with the same id.
    Before(Box<CallRequest>),
}

/// A call was not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotPlaced {
    /// Its id is that of another request.
    OtherRequest,
    /// It could not be recorded. Nobody was or will be called.
    NotRecorded,
    /// It could not be queued. Nobody was or will be called.
    NotQueued,
    /// An earlier request with this id could not be queued. Nobody was or will be called.
    NotQueuedBefore,
    /// Whether somebody is called cannot be told: the record will tell.
    Unknown,
}

impl<C: Calls, Q: Queue> Placing<'_, C, Q> {
    /// Records the call, to be forgotten after `expires_at`, and queues it. A request whose call has a
    /// fingerprint may be repeated.
    ///
    /// # Errors
    /// [`NotPlaced`] says whether somebody may be called all the same.
    pub async fn place(&self, call: &Call, expires_at: Timestamp) -> Result<Placed, NotPlaced> {
        let id = call.request.id;
        if !kept(Rule::RecordThenQueue) {
            self.send(call).await?;
        }
        match self.calls.create(call, expires_at).await {
            Ok(Creation::Created) => {}
            Ok(Creation::Exists(existing)) => return self.replay(call, &existing).await,
            Err(error) => {
                tracing::error!(call_id = %id, error = %error::chain(&error), "the call could not be recorded");
                return Err(self.not_recorded(call).await);
            }
        }
        self.send(call).await?;
        tracing::info!(call_id = %id, "the call was queued");
        Ok(Placed::Now)
    }

    /// Sends the message of a recorded call, or marks the call failed.
    async fn send(&self, call: &Call) -> Result<(), NotPlaced> {
        let id = call.request.id;
        let message = QueueMessage::Dial(call.request.clone());
        let Err(error) = self.queue.send(&message).await else {
            return Ok(());
        };
        tracing::error!(call_id = %id, error = %error::chain(&error), "the call could not be queued");
        let reason = FailureReason::NotQueued;
        if !kept(Rule::UnsentMarkedFailed) {
            return Err(NotPlaced::NotQueued);
        }
        match self.calls.fail_pending(call, reason, (self.now)()).await {
            Ok(PendingEnd::Ended | PendingEnd::Missing) => Err(NotPlaced::NotQueued),
            // Another request with the same key was faster to mark it.
            Ok(PendingEnd::NotPending(call)) if call.failure_reason == Some(reason) => {
                Err(NotPlaced::NotQueued)
            }
            // It was sent after all, and a bridge has it already.
            Ok(PendingEnd::NotPending(_)) => Ok(()),
            Err(error) => {
                tracing::error!(call_id = %id, error = %error::chain(&error), "the call could not be marked");
                Err(NotPlaced::Unknown)
            }
        }
    }

    /// A request whose call was recorded before.
    async fn replay(&self, call: &Call, existing: &Call) -> Result<Placed, NotPlaced> {
        if existing.request.fingerprint != call.request.fingerprint {
            return Err(NotPlaced::OtherRequest);
        }
        if existing.failure_reason == Some(FailureReason::NotQueued) {
            return Err(NotPlaced::NotQueuedBefore);
        }
        // Whoever recorded it may have died before it was sent. Sent twice it is dialled once. If it cannot be sent,
        // it may have been before: then its status tells.
        if existing.status == CallStatus::Pending && kept(Rule::ReplayQueuesAgain) {
            let message = QueueMessage::Dial(existing.request.clone());
            let id = existing.request.id;
            self.queue.send(&message).await.map_err(|error| {
                tracing::error!(call_id = %id, error = %error::chain(&error), "the call could not be queued again");
                NotPlaced::Unknown
            })?;
        }
        // Our own put, whose answer was lost and which the SDK repeated.
        if existing.request == call.request {
            return Ok(Placed::Now);
        }
        Ok(Placed::Before(Box::new(existing.request.clone())))
    }

    /// A put whose answer was lost may have been done; nothing was sent, so the record is
    /// only tidied up. With an `Idempotency-Key` it may be that of an earlier request, which was sent: its status tells.
    async fn not_recorded(&self, call: &Call) -> NotPlaced {
        if call.request.fingerprint.is_some() {
            return NotPlaced::Unknown;
        }
        let reason = FailureReason::NotQueued;
        if let Err(error) = self.calls.fail_pending(call, reason, (self.now)()).await {
            tracing::warn!(call_id = %call.request.id, error = %error::chain(&error), "the call could not be marked");
        }
        NotPlaced::NotRecorded
    }
}
