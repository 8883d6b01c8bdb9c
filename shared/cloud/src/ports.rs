//! What the rest asks of the tables and the queues. In production these are `DynamoDB` and SQS; the simulation
//! puts models in their place that lose, delay and repeat what they are asked.

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    BridgeId, Call, CallId, ClaimId, ControlMessage, FailureReason, QueueMessage, Timestamp,
    WaitingReason,
};

use crate::calls::{Claim, Creation, PendingEnd, Saved, SenderId, Takeover, Unsent};
use crate::queue::{Delivery, Receipt};
use crate::{Heartbeat, StoreError};

/// The table of calls, as far as a call on its way needs it.
#[async_trait]
pub trait Calls: Send + Sync {
    /// Records a new call, to be forgotten after `expires_at`, whose last sender is `sender`.
    /// Repeated after a lost answer, the same `sender` finds that it created the call.
    ///
    /// # Errors
    /// If the table cannot be written; the call may have been recorded.
    async fn create(
        &self,
        call: &Call,
        sender: SenderId,
        expires_at: Timestamp,
    ) -> Result<Creation, StoreError>;

    /// Makes `sender` the last sender of a call that is pending and nobody's. Whoever queues a call
    /// that is recorded already does so first, so that no earlier sender marks the call failed.
    ///
    /// # Errors
    /// If the table cannot be written; the change may have been recorded.
    async fn take_over_sending(&self, id: CallId, sender: SenderId)
    -> Result<Takeover, StoreError>;

    /// Notes that a call that is pending was queued again then, so that the next repeats need not.
    ///
    /// # Errors
    /// If the table cannot be written; the change may have been recorded.
    async fn note_queued_again(&self, id: CallId, at: Timestamp) -> Result<(), StoreError>;

    /// Marks a call as not queued that is pending, nobody's, and last sent by `sender`, so that no
    /// bridge will dial it.
    ///
    /// # Errors
    /// If the table cannot be written; the change may have been recorded.
    async fn fail_unsent(
        &self,
        pending: &Call,
        sender: SenderId,
        now: Timestamp,
    ) -> Result<Unsent, StoreError>;

    /// Reads a call, as it was written last.
    ///
    /// # Errors
    /// If the table cannot be read, or the item is malformed.
    async fn get(&self, id: CallId) -> Result<Option<Call>, StoreError>;

    /// Takes a pending call that is nobody's: one conditional write decides between all
    /// bridges and all deliveries of its message. Repeated after a lost answer, the same
    /// `claim` finds that it has the call.
    ///
    /// # Errors
    /// If the table cannot be written; the claim may have taken effect.
    async fn claim(
        &self,
        id: CallId,
        owner: &BridgeId,
        claim: ClaimId,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Result<Claim, StoreError>;

    /// Writes a claimed call back. Refused if the record is another's, and harmless if
    /// it is as new already: writes may be repeated and may come late.
    ///
    /// # Errors
    /// If the table cannot be written; the change may have been recorded.
    async fn save(&self, call: &Call) -> Result<Saved, StoreError>;

    /// Marks a call failed that is pending and nobody's, so that no bridge will dial it.
    ///
    /// # Errors
    /// If the table cannot be written; the change may have been recorded.
    async fn fail_pending(
        &self,
        pending: &Call,
        reason: FailureReason,
        now: Timestamp,
    ) -> Result<PendingEnd, StoreError>;

    /// Marks a call canceled that is pending and nobody's, so that no bridge will dial it.
    ///
    /// # Errors
    /// If the table cannot be written; the change may have been recorded.
    async fn cancel_pending(
        &self,
        pending: &Call,
        now: Timestamp,
    ) -> Result<PendingEnd, StoreError>;

    /// Notes in the record of a pending call why it waits, unless a reason is noted already.
    ///
    /// # Errors
    /// If the table cannot be written; the reason may have been noted.
    async fn note_waiting(&self, id: CallId, reason: WaitingReason) -> Result<(), StoreError>;

    /// The first calls of `holder` ([`crate::tables::PENDING`] or [`crate::tables::held_by`]) in the order in
    /// which something is due: when, and which. At most `most` of them, and only those due before `due_before`.
    ///
    /// The index lags a little behind the table, so each has to be read before anything is done.
    ///
    /// # Errors
    /// If the table cannot be read, or an entry is malformed.
    async fn held(
        &self,
        holder: &str,
        due_before: Timestamp,
        most: usize,
    ) -> Result<Vec<(Timestamp, CallId)>, StoreError>;
}

/// A queue: from the functions, which send, to the bridges, which receive.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Sends a message.
    ///
    /// # Errors
    /// If SQS does not take it, or gives no answer; then it may have been sent.
    async fn send(&self, message: &QueueMessage) -> Result<(), StoreError>;

    /// Sends the text of a delivered message again, as a new message that is delivered after
    /// `delay` (at most 15 minutes). The queue counts its deliveries from one.
    ///
    /// # Errors
    /// If SQS does not take it, or gives no answer; then it may have been sent.
    async fn send_again(&self, body: &str, delay: Duration) -> Result<(), StoreError>;

    /// Receives up to `most` messages, waiting up to `wait` for the first; none of
    /// them is delivered again for `invisible`.
    ///
    /// # Errors
    /// If SQS gives no answer; messages may have been taken and come back after `invisible`.
    async fn receive(
        &self,
        most: usize,
        wait: Duration,
        invisible: Duration,
    ) -> Result<Vec<Delivery>, StoreError>;

    /// Deletes up to [`crate::queue::MAX_BATCH`] messages at once; says which could not be.
    ///
    /// # Errors
    /// If SQS gives no answer; some may have been deleted. Deleting again does no harm.
    async fn delete(&self, receipts: &[Receipt]) -> Result<Vec<Receipt>, StoreError>;

    /// Gives a message back: it is delivered again after `delay`.
    ///
    /// # Errors
    /// If SQS does not answer; then the message comes back when its time is up.
    async fn give_back(&self, receipt: &Receipt, delay: Duration) -> Result<(), StoreError>;
}

/// The control queues of all bridges.
#[async_trait]
pub trait Control: Send + Sync {
    /// Sends a message to a bridge.
    ///
    /// # Errors
    /// If SQS does not take it, or gives no answer; then it may have been sent.
    async fn send(&self, bridge: &BridgeId, message: ControlMessage) -> Result<(), StoreError>;
}

/// The switch by which an administrator stops all bridges from taking new calls.
#[async_trait]
pub trait Pause: Send + Sync {
    /// Whether calls are paused.
    ///
    /// # Errors
    /// If the table cannot be read.
    async fn is_on(&self) -> Result<bool, StoreError>;
}

/// What a heartbeat found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beaten {
    /// There was none before: somebody has forgotten the bridge, or the table was lost.
    pub is_first: bool,
    /// The time by AWS's clock, in whole seconds, if the answer tells.
    pub date: Option<Timestamp>,
}

/// The bridges' signs of life.
#[async_trait]
pub trait SignsOfLife: Send + Sync {
    /// Makes a bridge known. Once at its start is enough.
    ///
    /// # Errors
    /// If the table cannot be written.
    async fn announce(&self, bridge: &BridgeId) -> Result<(), StoreError>;

    /// Writes a heartbeat. If it is the first, the bridge has to announce itself again.
    ///
    /// # Errors
    /// If the table cannot be written.
    async fn beat(&self, heartbeat: &Heartbeat) -> Result<Beaten, StoreError>;

    /// The last heartbeat of every bridge, by name.
    ///
    /// # Errors
    /// If the table cannot be read.
    async fn read(&self) -> Result<Vec<Heartbeat>, StoreError>;
}
