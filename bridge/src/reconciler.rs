//! Reconciliation: finds the calls that this bridge owns and does not follow, and the channels of its
//! application that no call has. At the start, after each reconnect, and now and then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloud::{error, tables};
use domain::Timestamp;
use domain::rules::{Rule, kept};
use futures_util::{StreamExt, stream};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::adoption::{Adopter, Found};
use crate::ari::Place;
use crate::flag::Flag;
use crate::lease::NameLease;

/// How often it is done while nothing has happened: the index of calls lags a little, so one look may miss one.
const EVERY: Duration = Duration::from_secs(20);
/// How soon it is done again when it could not be done whole.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
/// Most calls of one look.
const MOST: usize = 10_000;
/// How many of them are read at once.
const AT_ONCE: usize = 16;

/// Which channels are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Those in our application.
    OurApp,
    /// All that bear a UUID. For each that is not followed, the record says whose it is.
    Everywhere,
}

/// What reconciliation works with.
pub struct Reconciler {
    /// What takes the calls on.
    pub adopter: Adopter,
    /// Whether events arrive.
    pub up: Arc<Flag>,
    /// The lease of the bridge's name. While it is held, the clock has been compared with AWS's.
    pub lease: Arc<NameLease>,
}

impl Reconciler {
    /// Reconciles until the bridge stops.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = self.lease.held.wait_for(true) => {}
        }
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = self.up.moment();
        // While this bridge runs, it follows what leaves its application. So channels elsewhere are
        // looked at when it has been away only.
        let mut scope = Scope::Everywhere;
        loop {
            let reconnected = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.up.changed_since(seen) => true,
                () = self.adopter.shared.unfollowed.notified() => false,
                _ = ticks.tick() => false,
            };
            seen = self.up.moment();
            // Nothing that is found can be followed without events.
            if !self.up.is_up() {
                continue;
            }
            if reconnected {
                scope = Scope::Everywhere;
            }
            if reconnected && kept(Rule::ResyncedOnReconnect) {
                self.adopter.shared.registry.resync();
            }
            let look = async {
                if reconnected {
                    // An earlier life may have left it.
                    let deleted = self.adopter.shared.outside.ari.delete_canary().await;
                    if let Err(error) = deleted {
                        tracing::warn!(error = %error::chain(&error), "the canary channel was not deleted");
                    }
                }
                self.look_around(scope).await
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                found_all = look => if found_all {
                    scope = Scope::OurApp;
                } else {
                    ticks.reset_after(AGAIN_AFTER);
                }
            }
        }
    }

    /// Looks for calls that nobody follows. Returns whether nothing kept it from finding all.
    async fn look_around(&self, scope: Scope) -> bool {
        // Every channel that is found costs a read of its record. While the table does not answer, one
        // probe asks whether it does again.
        if self.adopter.shared.store_breaker.is_open() {
            return false;
        }
        self.adopter.shared.unsettled.forget_old();
        let holder = tables::held_by(&self.adopter.shared.settings.bridge_id);
        let end_of_time = Timestamp::from_millis(i64::MAX);
        let (held, channels) = tokio::join!(
            self.adopter
                .shared
                .outside
                .calls
                .held(&holder, end_of_time, MOST),
            self.adopter.shared.outside.ari.channels(),
        );
        let found_all = held.is_ok() && channels.is_ok();
        let mut places = BTreeMap::new();
        match held {
            Ok(_) if !kept(Rule::HeldReconciled) => {}
            Ok(held) => places.extend(held.into_iter().map(|(_, id)| (id, Place::OurApp))),
            Err(error) => {
                tracing::warn!(error = %error::chain(&error), "this bridge's calls were not listed");
            }
        }
        match channels {
            Ok(_) if !kept(Rule::ChannelsReconciled) => {}
            Ok(channels) => {
                let everywhere = scope == Scope::Everywhere && kept(Rule::LeftChannelsFound);
                for channel in channels {
                    if channel.place == Place::OurApp || everywhere {
                        places.entry(channel.id).or_insert(channel.place);
                    }
                }
            }
            Err(error) => {
                tracing::warn!(error = %error::chain(&error), "this bridge's channels were not listed");
            }
        }
        let found = stream::iter(places).map(|(id, place)| self.adopter.take_on(id, place));
        found
            .buffer_unordered(AT_ONCE)
            .fold(found_all, async |all, found| {
                // Whoever works on a call now may leave a channel elsewhere alone.
                let is_open = found == Found::Known && scope == Scope::Everywhere;
                all && found != Found::Unread && !is_open
            })
            .await
    }
}
