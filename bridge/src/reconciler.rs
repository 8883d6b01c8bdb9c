//! Reconciliation: finds the calls that this bridge owns and does not follow, and the channels of its
//! application that no call has. At the start, after each reconnect, and now and then.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cloud::{error, tables};
use domain::rules::{Rule, kept};
use domain::{CallId, CallStatus, Timestamp};
use tokio::sync::Semaphore;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::call_task::CallTask;
use crate::flag::Flag;
use crate::hangup::hang_up_surely;
use crate::shared::Shared;

/// How often it is done while nothing has happened: the index of calls lags a little, so one look may miss one.
const EVERY: Duration = Duration::from_secs(20);
/// How soon it is done again when it could not be done whole.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
/// Most calls of one look.
const MOST: usize = 10_000;

/// What reconciliation works with.
pub struct Reconciler {
    /// What the calls share.
    pub shared: Arc<Shared>,
    /// Calls that are followed take a place each, if there is one.
    pub slots: Arc<Semaphore>,
    /// Whether events arrive.
    pub up: Arc<Flag>,
    /// Whether all calls of an earlier life have been found.
    pub settled_in: Arc<Flag>,
    /// The calls' tasks.
    pub tasks: TaskTracker,
}

impl Reconciler {
    /// Reconciles until the bridge stops.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.up.moment();
        loop {
            let reconnected = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.up.changed_since(seen) => true,
                () = self.shared.unfollowed.notified() => false,
                _ = ticks.tick() => false,
            };
            seen = self.up.moment();
            // Nothing that is found can be followed without events.
            if !self.up.is_up() {
                continue;
            }
            if reconnected && kept(Rule::ResyncedOnReconnect) {
                self.shared.registry.resync();
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                found_all = self.look_around() => {
                    if found_all {
                        self.settled_in.set(true);
                    } else {
                        ticks.reset_after(AGAIN_AFTER);
                    }
                }
            }
        }
    }

    /// Whether nothing kept it from finding all.
    async fn look_around(&self) -> bool {
        self.shared.unsettled.forget_old();
        let holder = tables::held_by(&self.shared.settings.bridge_id);
        let end_of_time = Timestamp::from_millis(i64::MAX);
        let (held, channels) = tokio::join!(
            self.shared.outside.calls.held(&holder, end_of_time, MOST),
            self.shared.outside.ari.our_channels(),
        );
        let mut found_all = held.is_ok() && channels.is_ok();
        let mut ids = BTreeSet::new();
        match held {
            Ok(_) if !kept(Rule::HeldReconciled) => {}
            Ok(held) => ids.extend(held.into_iter().map(|(_, id)| id)),
            Err(error) => {
                tracing::warn!(error = %error::chain(&error), "this bridge's calls were not listed");
            }
        }
        match channels {
            Ok(_) if !kept(Rule::ChannelsReconciled) => {}
            Ok(channels) => ids.extend(channels),
            Err(error) => {
                tracing::warn!(error = %error::chain(&error), "this bridge's channels were not listed");
            }
        }
        for id in ids {
            if !self.shared.registry.contains(id) && !self.shared.unsettled.contains(id) {
                found_all &= self.take_on(id).await;
            }
        }
        found_all
    }

    /// Follows a call of ours that nobody follows; hangs a channel up that has no call of ours. Whether it could be
    /// told which it is.
    async fn take_on(&self, id: CallId) -> bool {
        // Nobody else begins with it meanwhile.
        let Ok(registration) = self.shared.registry.register(id) else {
            return true;
        };
        let call = match self.shared.outside.calls.get(id).await {
            Ok(call) => call,
            Err(error) => {
                tracing::warn!(call_id = %id, error = %error::chain(&error), "the call was not read");
                return false;
            }
        };
        let live = call.filter(|call| {
            call.status != CallStatus::Pending && !call.status.is_terminal() && call.owner.is_some()
        });
        if let Some(owner) = live.as_ref().and_then(|call| call.owner.as_ref())
            && *owner != self.shared.settings.bridge_id
        {
            tracing::error!(call_id = %id, %owner, "another bridge's call is in this application: each needs an ARI_APP of its own");
            return true;
        }
        let Some(call) = live else {
            drop(registration);
            let (ari, registry) = (
                Arc::clone(&self.shared.outside.ari),
                Arc::clone(&self.shared.registry),
            );
            self.shared.errands.spawn(hang_up_surely(ari, registry, id));
            return true;
        };
        let span =
            tracing::info_span!("call", call_id = %id, request_id = %call.request.request_id);
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok();
        let task =
            span.in_scope(|| CallTask::adopt(Arc::clone(&self.shared), call, registration, permit));
        self.tasks.spawn(task.run().instrument(span));
        true
    }
}
