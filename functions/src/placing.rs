//! Places a call: records it, then queues it.
//!
//! A client that is told that nobody was called is right: either nothing was recorded, or the record was marked
//! failed, and then no bridge can claim it.
//!
//! Requests with one `Idempotency-Key` make one call. A call that could not be queued stays as it is
//! marked, and the next such request makes another one in its place.

use std::time::Duration;

use cloud::calls::{Creation, PendingEnd, SenderId, Takeover, Unsent};
use cloud::error;
use cloud::ports::{Calls, Queue};
use domain::rules::{Rule, kept};
use domain::{Call, CallId, CallRequest, CallStatus, FailureReason, QueueMessage, Timestamp};

/// How many calls requests with one `Idempotency-Key` make at most, each in the place of one that
/// could not be queued.
pub const MAX_TRIES: u8 = 16;

/// How long repeats of a request send nothing after one of them has: each message costs the bridges
/// something.
pub const QUEUED_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What a call is placed with.
pub struct Placing<'a, C, Q> {
    /// The table of calls.
    pub calls: &'a C,
    /// The queue to the bridges.
    pub queue: &'a Q,
    /// The time.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
    /// Identifies this attempt to queue a call; no other has the same.
    pub sender: SenderId,
    /// The id of the call of a later try, counted from 1. The first try has the request's own id.
    /// Asked only for requests that may be repeated.
    pub id_of_try: &'a (dyn Fn(u8) -> CallId + Sync),
}

/// A call was placed. What was asked for is in it, with the call's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placed {
    /// By this request.
    Now(Box<CallRequest>),
    /// By this earlier one, with the same id.
    Before(Box<CallRequest>),
}

/// A call was not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotPlaced {
    /// The call that was tried last.
    pub id: CallId,
    /// What keeps it from being placed.
    pub reason: Refusal,
}

/// Why a call was not placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its id is that of another request.
    OtherRequest,
    /// It could not be recorded. Nobody was or will be called.
    NotRecorded,
    /// It could not be queued. Nobody was or will be called.
    NotQueued,
    /// None of [`MAX_TRIES`] calls could be queued. Nobody was or will be called.
    TriesUsedUp,
    /// Whether somebody is called cannot be told: the record will tell.
    Unknown,
}

/// What came of one try.
enum Tried {
    Placed(Placed),
    /// The call of this try could not be queued by an earlier request. Nobody was or will be called.
    NotQueuedBefore,
}

impl<C: Calls, Q: Queue> Placing<'_, C, Q> {
    /// Records the call, to be forgotten after `expires_at`, and queues it. A request with a
    /// fingerprint may be repeated.
    ///
    /// # Errors
    /// [`NotPlaced`] says whether somebody may be called all the same.
    pub async fn place(
        &self,
        request: CallRequest,
        expires_at: Timestamp,
    ) -> Result<Placed, NotPlaced> {
        let mut call = Call::new(request);
        let refused = |call: &Call, reason| {
            let id = call.request.id;
            NotPlaced { id, reason }
        };
        for earlier_tries in 0..MAX_TRIES {
            if earlier_tries > 0 {
                call.request.id = (self.id_of_try)(earlier_tries);
            }
            match self.try_to_place(&call, expires_at).await {
                Ok(Tried::Placed(placed)) => return Ok(placed),
                Ok(Tried::NotQueuedBefore) if call.request.fingerprint.is_some() => {}
                Ok(Tried::NotQueuedBefore) => return Err(refused(&call, Refusal::NotQueued)),
                Err(reason) => return Err(refused(&call, reason)),
            }
        }
        tracing::error!(call_id = %call.request.id, tries = MAX_TRIES, "no call with this key could be queued");
        Err(refused(&call, Refusal::TriesUsedUp))
    }

    async fn try_to_place(&self, call: &Call, expires_at: Timestamp) -> Result<Tried, Refusal> {
        let id = call.request.id;
        if !kept(Rule::RecordThenQueue) {
            self.send(call).await?;
        }
        match self.calls.create(call, self.sender, expires_at).await {
            Ok(Creation::Created) => {}
            Ok(Creation::Exists(existing)) => return self.replay(call, *existing).await,
            Err(error) => {
                tracing::error!(call_id = %id, error = %error::chain(&error), "the call could not be recorded");
                return Err(self.not_recorded(call).await);
            }
        }
        self.send(call).await?;
        tracing::info!(call_id = %id, "the call was queued");
        Ok(Tried::Placed(Placed::Now(Box::new(call.request.clone()))))
    }

    /// Sends the message of a recorded call, or marks the call failed.
    async fn send(&self, call: &Call) -> Result<(), Refusal> {
        let id = call.request.id;
        let message = QueueMessage::Dial(call.request.clone());
        let Err(error) = self.queue.send(&message).await else {
            return Ok(());
        };
        tracing::error!(call_id = %id, error = %error::chain(&error), "the call could not be queued");
        if !kept(Rule::UnsentMarkedFailed) {
            return Err(Refusal::NotQueued);
        }
        match self
            .calls
            .fail_unsent(call, self.sender, (self.now)())
            .await
        {
            Ok(Unsent::Marked | Unsent::Missing) => Err(Refusal::NotQueued),
            // The request was repeated meanwhile, and that one queues the call.
            Ok(Unsent::TakenOver) => Err(Refusal::Unknown),
            Ok(Unsent::NotPending(call)) if is_not_queued(&call) => Err(Refusal::NotQueued),
            // It was sent after all, and a bridge has it already.
            Ok(Unsent::NotPending(_)) => Ok(()),
            Err(error) => {
                tracing::error!(call_id = %id, error = %error::chain(&error), "the call could not be marked");
                Err(Refusal::Unknown)
            }
        }
    }

    /// A request whose call was recorded before.
    async fn replay(&self, call: &Call, existing: Call) -> Result<Tried, Refusal> {
        if existing.request.fingerprint != call.request.fingerprint {
            return Err(Refusal::OtherRequest);
        }
        // Whoever recorded it may have died before it was sent. Sent twice it is dialled once.
        let existing = if existing.status == CallStatus::Pending && kept(Rule::ReplayQueuesAgain) {
            self.queue_again(existing).await?
        } else {
            existing
        };
        if is_not_queued(&existing) {
            return Ok(Tried::NotQueuedBefore);
        }
        Ok(Tried::Placed(Placed::Before(Box::new(existing.request))))
    }

    /// Queues a call that an earlier request recorded, and returns it as it was found.
    ///
    /// Whoever recorded the call may be about to mark it as not queued, because its own message was
    /// not taken. The record names this sender first, so that such a mark is refused. If this
    /// message is not taken either, an earlier one may have been: then the call's status tells.
    async fn queue_again(&self, existing: Call) -> Result<Call, Refusal> {
        let id = existing.request.id;
        if kept(Rule::LastSenderMarks) {
            match self.calls.take_over_sending(id, self.sender).await {
                // A message of it is on its way for certain: whoever wrote this had sent one.
                Ok(Takeover::Taken {
                    queued_again_at: Some(at),
                }) if (self.now)().since(at) < QUEUED_AGAIN_AFTER => return Ok(existing),
                Ok(Takeover::Taken { .. }) => {}
                Ok(Takeover::NotPending(call)) => return Ok(*call),
                Ok(Takeover::Missing) => return Err(Refusal::Unknown),
                Err(error) => {
                    tracing::error!(call_id = %id, error = %error::chain(&error), "the call could not be taken over");
                    return Err(Refusal::Unknown);
                }
            }
        }
        let message = QueueMessage::DialAgain(existing.request.clone());
        self.queue.send(&message).await.map_err(|error| {
            tracing::error!(call_id = %id, error = %error::chain(&error), "the call could not be queued again");
            Refusal::Unknown
        })?;
        if let Err(error) = self.calls.note_queued_again(id, (self.now)()).await {
            tracing::warn!(call_id = %id, error = %error::chain(&error), "that the call was queued again was not noted");
        }
        Ok(existing)
    }

    /// A put whose answer was lost may have been done; nothing was sent, so the record is
    /// only tidied up. With an `Idempotency-Key` it may be that of an earlier request, which was sent: its status tells.
    async fn not_recorded(&self, call: &Call) -> Refusal {
        if call.request.fingerprint.is_some() {
            return Refusal::Unknown;
        }
        let reason = FailureReason::NotQueued;
        match self.calls.fail_pending(call, reason, (self.now)()).await {
            Ok(PendingEnd::Ended | PendingEnd::NotPending(_) | PendingEnd::Missing) => {}
            Err(error) => {
                tracing::warn!(call_id = %call.request.id, error = %error::chain(&error), "the call could not be marked");
            }
        }
        Refusal::NotRecorded
    }
}

/// Whether a call was marked because it could not be queued.
fn is_not_queued(call: &Call) -> bool {
    call.failure_reason == Some(FailureReason::NotQueued)
}
