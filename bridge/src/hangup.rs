//! Hanging up channels that no call's task follows.

use std::sync::Arc;
use std::time::Duration;

use cloud::error;
use domain::CallId;
use domain::origination::ChannelOwner;

use crate::ari::{AriError, Asterisk};
use crate::backoff::Backoff;
use crate::registry::Registration;

/// How often Asterisk is asked. What is left then is found by reconciliation.
const TRIES: u32 = 3;

/// Hangs the channel of a call up that is over and that nobody follows, with a few tries.
pub async fn hang_up_surely(ari: Arc<dyn Asterisk>, registration: Registration) {
    let id = registration.id();
    try_for(id, || ari.hang_up(id)).await;
}

/// Hangs a channel up that nobody follows, with a few tries, if it is in our application. Its call may be begun again: nobody here does
/// meanwhile, and what another bridge has made of it is looked at before each try. The channels of all attempts have the same id.
pub async fn hang_up_if_ours(ari: Arc<dyn Asterisk>, registration: Registration) {
    let id = registration.id();
    let hang_up = || async {
        if ari.channel_owner(id).await? == ChannelOwner::ThisBridge {
            tracing::warn!(call_id = %id, "a channel with nobody to follow it is hung up");
            ari.hang_up(id).await?;
        }
        Ok(())
    };
    try_for(id, hang_up).await;
}

/// Tries until it is done, a few times.
async fn try_for<T, F>(id: CallId, hang_up: impl Fn() -> F)
where
    F: Future<Output = Result<T, AriError>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
    for tried in 1..=TRIES {
        let Err(error) = hang_up().await else {
            return;
        };
        tracing::warn!(call_id = %id, error = %error::chain(&error), "a channel was not hung up");
        if tried < TRIES {
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
}
