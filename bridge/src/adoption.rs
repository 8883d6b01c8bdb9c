//! Takes calls on that this bridge owns and nobody follows, and hangs channels up that have no call of ours.

use std::sync::Arc;

use cloud::error;
use domain::{CallId, CallStatus};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::ari::Place;
use crate::call_task::CallTask;
use crate::hangup::{hang_up_if_ours, hang_up_surely};
use crate::registry::Busy;
use crate::shared::Shared;

/// What the bridge needs to adopt calls.
#[derive(Clone)]
pub struct Adopter {
    /// What the calls share.
    pub shared: Arc<Shared>,
    /// Calls that are followed take a place each, if there is one.
    pub slots: Arc<Semaphore>,
    /// The calls' tasks.
    pub tasks: TaskTracker,
}

/// How it stands about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is followed from now on.
    Adopted,
    /// It is followed already.
    Followed,
    /// It is being worked on, or its message will come back and decide.
    Known,
    /// It is no live call of this bridge. Its channel, if there is one, is hung up.
    NotOurs,
    /// Its channel is another program's: no record of this bridge has its id.
    Foreign,
    /// It could not be read.
    Unread,
}

impl Adopter {
    /// Follows a call of ours that nobody follows; hangs a channel up that has no call of ours.
    ///
    /// A channel outside our application is ours only if its record names this bridge: other
    /// programs use UUIDs, too. `place` is where the channel is, or [`Place::OurApp`] for a call
    /// that was found by its record.
    pub async fn take_on(&self, id: CallId, place: Place) -> Found {
        // Nobody else begins with it meanwhile.
        let registration = match self.shared.registry.register(id) {
            Ok(registration) => registration,
            Err(Busy { claimed: true }) => return Found::Followed,
            Err(Busy { claimed: false }) => return Found::Known,
        };
        // After that: a task notes its claim here before it gives up its place.
        if self.shared.unsettled.contains(id) {
            return Found::Known;
        }
        let call = match self.shared.outside.calls.get(id).await {
            Ok(call) => call,
            Err(error) => {
                tracing::warn!(call_id = %id, error = %error::chain(&error), "the call was not read");
                return Found::Unread;
            }
        };
        let owner = call.as_ref().and_then(|call| call.owner.as_ref());
        if place == Place::Elsewhere && owner != Some(&self.shared.settings.bridge_id) {
            return Found::Foreign;
        }
        let is_over = call.as_ref().is_some_and(|call| call.status.is_terminal());
        let live = call.filter(|call| {
            call.status != CallStatus::Pending && !call.status.is_terminal() && call.owner.is_some()
        });
        if let Some(owner) = live.as_ref().and_then(|call| call.owner.as_ref())
            && *owner != self.shared.settings.bridge_id
        {
            tracing::error!(call_id = %id, %owner, "another bridge's call is in this application: each needs an ARI_APP of its own");
            return Found::NotOurs;
        }
        let Some(call) = live else {
            let ari = Arc::clone(&self.shared.outside.ari);
            if is_over {
                self.shared.errands.spawn(hang_up_surely(ari, registration));
            } else {
                self.shared
                    .errands
                    .spawn(hang_up_if_ours(ari, registration));
            }
            return Found::NotOurs;
        };
        let span =
            tracing::info_span!("call", call_id = %id, request_id = %call.request.request_id);
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok();
        let task =
            span.in_scope(|| CallTask::adopt(Arc::clone(&self.shared), call, registration, permit));
        self.tasks.spawn(task.run().instrument(span));
        Found::Adopted
    }
}
