//! Ends a call for its client: a pending one here and now, a live one by the bridge that owns it.

use cloud::StoreError;
use cloud::calls::PendingEnd;
use cloud::ports::{Calls, Control};
use domain::{Call, CallId, CallStatus, ControlMessage, Timestamp};

/// What a call is ended with.
pub struct Ending<'a, C, B> {
    /// The table of calls.
    pub calls: &'a C,
    /// The queues to the bridges.
    pub bridges: &'a B,
    /// The time.
    pub now: &'a (dyn Fn() -> Timestamp + Sync),
}

/// A call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was pending, and is canceled.
    Canceled,
    /// Its bridge was asked; this is how it stands.
    Asked(CallStatus),
}

/// A call was not ended.
#[derive(Debug)]
pub enum NotEnded {
    /// There is none.
    Missing,
    /// It is over, as this.
    Over(CallStatus),
    /// The table or the queue is at fault.
    Store(StoreError),
}

impl<C: Calls, B: Control> Ending<'_, C, B> {
    /// Ends the call. Asked twice, it does no harm.
    ///
    /// # Errors
    /// [`NotEnded`] says why.
    pub async fn end(&self, id: CallId) -> Result<Ended, NotEnded> {
        let call = self.calls.get(id).await.map_err(NotEnded::Store)?;
        let call = call.ok_or(NotEnded::Missing)?;
        if call.owner.is_some() || call.status.is_terminal() {
            return self.end_live(&call).await;
        }
        let canceled = self.calls.cancel_pending(&call, (self.now)()).await;
        match canceled.map_err(NotEnded::Store)? {
            PendingEnd::Ended => Ok(Ended::Canceled),
            // A bridge was faster.
            PendingEnd::NotPending(call) => self.end_live(&call).await,
            PendingEnd::Missing => Err(NotEnded::Missing),
        }
    }

    async fn end_live(&self, call: &Call) -> Result<Ended, NotEnded> {
        let id = call.request.id;
        let Some(owner) = call.owner.as_ref().filter(|_| !call.status.is_terminal()) else {
            return Err(NotEnded::Over(call.status));
        };
        let sent = self.bridges.send(owner, ControlMessage::HangUp(id)).await;
        sent.map_err(NotEnded::Store)?;
        tracing::info!(call_id = %id, bridge_id = %owner, "the call is to be hung up");
        Ok(Ended::Asked(call.status))
    }
}
