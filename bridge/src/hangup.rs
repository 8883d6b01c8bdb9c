//! Hanging up channels that no call's task follows.

use std::sync::Arc;
use std::time::Duration;

use cloud::error;
use domain::CallId;
use domain::origination::ChannelOwner;

use crate::ari::{AriError, Asterisk};
use crate::backoff::Backoff;
use crate::registry::{Registration, Registry};

/// How often Asterisk is asked.
const TRIES: u32 = 5;

/// Hangs a channel up that nobody follows, with a few tries. Meanwhile nobody begins with its call: the channel of a new attempt
/// would have the same id.
pub async fn hang_up_surely(ari: Arc<dyn Asterisk>, registration: Registration) {
    let id = registration.id();
    ask(id, "a channel was not hung up", || ari.hang_up(id)).await;
}

/// The same, unless a task has come to take care of the call: then the channel may be a newer one.
pub async fn hang_up_unless_busy(ari: Arc<dyn Asterisk>, registry: Arc<Registry>, id: CallId) {
    if let Ok(registration) = registry.register(id) {
        hang_up_surely(ari, registration).await;
    }
}

/// Hangs a channel up that has started in our application with nobody to dial it. The news may be old, and its call's channel
/// another bridge's by now: all attempts of a call have the same id.
pub async fn hang_up_orphan(ari: Arc<dyn Asterisk>, registry: Arc<Registry>, id: CallId) {
    let Ok(registration) = registry.register(id) else {
        return;
    };
    let owner = ask(id, "a channel was not read", || ari.channel_owner(id)).await;
    if owner == Some(ChannelOwner::ThisBridge) {
        tracing::warn!(call_id = %id, "a channel started with nobody to dial it: it is hung up");
        hang_up_surely(ari, registration).await;
    }
}

/// Asks until there is an answer, a few times.
async fn ask<T, F>(id: CallId, failed: &'static str, question: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<T, AriError>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
    for _ in 0..TRIES {
        match question().await {
            Ok(answer) => return Some(answer),
            Err(error) => {
                tracing::warn!(call_id = %id, error = %error::chain(&error), "{failed}");
            }
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
    None
}
