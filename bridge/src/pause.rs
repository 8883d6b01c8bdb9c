//! Watches whether an administrator has paused all calls: `admin pause`.

use std::sync::Arc;
use std::time::Duration;

use cloud::error;
use cloud::ports::Pause;
use tokio_util::sync::CancellationToken;

use crate::circuits::Circuits;

/// How often the switch is looked at. Each look is half a read unit of `DynamoDB`.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How soon it is looked at again that could not be read before anything was known.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Looks that may fail before anything is known. Then calls are placed: a bridge that may not read the
/// switch, because its policy is that of an earlier release, is no reason to place none.
const FAILURES: u32 = 3;

/// Looks at the switch until `stop`, and tells the circuits. What cannot be read stays as it was.
pub async fn watch(switch: Arc<dyn Pause>, circuits: Arc<Circuits>, stop: CancellationToken) {
    let (mut known, mut failures) = (false, 0);
    loop {
        match switch.is_on().await {
            Ok(paused) => {
                (known, failures) = (true, 0);
                circuits.pause(paused);
            }
            Err(error) => {
                failures += 1;
                if failures == FAILURES {
                    tracing::error!(
                        error = %error::chain(&error),
                        "whether calls are paused cannot be read: `admin pause` has no effect on this bridge until it can"
                    );
                }
                if failures >= FAILURES && !known {
                    known = true;
                    circuits.pause(false);
                }
            }
        }
        let wait = if known { LOOK_EVERY } else { AGAIN_AFTER };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}
