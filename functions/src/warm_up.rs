//! Opens connections while a function starts, so that its first request finds them: Lambda gives a starting function more
//! processor than a small one has later.

use std::future::Future;
use std::time::Duration;

use cloud::{StoreError, error};
use tokio::time::timeout;

/// How long the start may be held up. A service that does not answer is the first request's problem, not the start's.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits for a request whose answer nobody needs.
pub async fn connect<T>(request: impl Future<Output = Result<T, StoreError>>) {
    match timeout(PATIENCE, request).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = %error::chain(&error), "a connection was not opened at the start");
        }
        Err(_) => tracing::warn!("a connection was not opened at the start in time"),
    }
}
