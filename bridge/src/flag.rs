//! Something that is so or not, and can be waited for.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// A flag, down at first. Who waits is woken in the order of waiting, so that a simulation that is run again runs
/// alike.
#[derive(Debug, Default)]
pub struct Flag {
    /// How often it has changed; odd while it is up.
    changes: AtomicU64,
    changed: Notify,
}

/// A moment in the life of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(u64);

impl Flag {
    /// Whether it is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        is_up(self.changes.load(Ordering::Acquire))
    }

    /// Raises or lowers it; whether that changed it.
    pub fn set(&self, up: bool) -> bool {
        let other = |changes| (is_up(changes) != up).then(|| changes + 1);
        let changed = self
            .changes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, other)
            .is_ok();
        if changed {
            self.changed.notify_waiters();
        }
        changed
    }

    /// Waits until it is up, or down.
    pub async fn wait_for(&self, up: bool) {
        loop {
            let changed = self.changed.notified();
            if self.is_up() == up {
                return;
            }
            changed.await;
        }
    }

    /// The present moment.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment(self.changes.load(Ordering::Acquire))
    }

    /// Waits until it has changed since `moment`, if only for a while.
    pub async fn changed_since(&self, moment: Moment) {
        loop {
            let changed = self.changed.notified();
            if self.moment() != moment {
                return;
            }
            changed.await;
        }
    }
}

const fn is_up(changes: u64) -> bool {
    changes % 2 == 1
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_that_did_not_last() {
        let flag = Flag::default();
        let before = flag.moment();
        assert!(flag.set(true) && !flag.set(true) && flag.set(false));
        assert!(!flag.is_up());
        flag.changed_since(before).await;
    }

    #[tokio::test]
    async fn all_who_wait_are_woken() {
        let flag = Arc::new(Flag::default());
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let flag = Arc::clone(&flag);
                tokio::spawn(async move { flag.wait_for(true).await })
            })
            .collect();
        tokio::task::yield_now().await;
        flag.set(true);
        for waiting in waiting {
            waiting.await.unwrap();
        }
        flag.wait_for(true).await;
    }
}
