//! Remembers for a few seconds which places the dialplan has, so that a call in the common case
//! costs no request to find out.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::DialplanTarget;
use tokio::time::Instant;

/// How long an answer is believed. A reload may take a context away.
const BELIEVED_FOR: Duration = Duration::from_secs(5);
/// Most places that are remembered. Requests choose them, so there may be many.
const MAX_TARGETS: usize = 256;

type Key = (String, String, u32);

/// The places that the dialplan was found to have.
#[derive(Debug, Default)]
pub struct Targets {
    known: Mutex<BTreeMap<Key, Instant>>,
}

fn key(target: &DialplanTarget) -> Key {
    (
        target.context.to_string(),
        target.extension.to_string(),
        target.priority.get(),
    )
}

impl Targets {
    /// Whether the place was found lately.
    #[must_use]
    pub fn are_known(&self, target: &DialplanTarget) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .get(&key(target))
            .is_some_and(|until| *until > Instant::now())
    }

    /// Remembers that the place was found.
    pub fn remember(&self, target: &DialplanTarget) {
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_TARGETS {
            known.retain(|_, until| *until > now);
        }
        if known.len() < MAX_TARGETS {
            known.insert(key(target), now + BELIEVED_FOR);
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Priority;

    use super::*;

    fn target(extension: &str) -> DialplanTarget {
        DialplanTarget {
            context: "ivr".parse().unwrap(),
            extension: extension.parse().unwrap(),
            priority: Priority::try_from(1).unwrap(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_believed_for_seconds_only() {
        let targets = Targets::default();
        targets.remember(&target("s"));
        assert!(targets.are_known(&target("s")) && !targets.are_known(&target("t")));
        tokio::time::sleep(BELIEVED_FOR).await;
        assert!(!targets.are_known(&target("s")));
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_remembered_than_fit() {
        let targets = Targets::default();
        for number in 0..2 * MAX_TARGETS {
            targets.remember(&target(&number.to_string()));
        }
        assert_eq!(targets.known.lock().unwrap().len(), MAX_TARGETS);
        tokio::time::sleep(BELIEVED_FOR).await;
        targets.remember(&target("s"));
        assert!(targets.are_known(&target("s")));
    }
}
