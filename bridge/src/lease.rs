//! The lease of this bridge's name, as the bridge sees it: whether this process holds the lease, and
//! what it does while another process does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cloud::heartbeats::GONE_AFTER;
use cloud::lease::{LastBeat, Lease, LeaseRefusal};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::flag::Flag;
use crate::processes::Processes;

/// How soon a process that was refused tries again.
pub const TRY_EVERY: Duration = Duration::from_secs(1);

/// What is known of the lease.
#[derive(Debug, Default)]
pub struct NameLease {
    /// Up while this process holds the lease and has made its bridge known.
    pub held: Flag,
    /// Somebody has to find out whether the lease is still held.
    pub doubted: Notify,
    renewed: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The Asterisk that the lease names.
    asterisk: Option<String>,
    refusal: Option<LeaseRefusal>,
    /// How often the lease was renewed.
    renewals: u64,
}

impl NameLease {
    /// Why this process does not hold the lease, if it was refused.
    #[must_use]
    pub fn refusal(&self) -> Option<LeaseRefusal> {
        self.lock().refusal
    }

    /// Notes that the lease was taken or renewed, for this Asterisk if it is known.
    pub fn renewed(&self, asterisk: Option<String>) {
        {
            let mut state = self.lock();
            if asterisk.is_some() {
                state.asterisk = asterisk;
            }
            state.refusal = None;
            state.renewals += 1;
        }
        self.renewed.notify_waiters();
    }

    /// Notes that the lease was refused. Returns whether that was unknown.
    pub fn refused(&self, refusal: LeaseRefusal) -> bool {
        self.held.set(false);
        self.lock().refusal.replace(refusal) != Some(refusal)
    }

    /// The Asterisk that the lease names, if it is known.
    #[must_use]
    pub fn asterisk(&self) -> Option<String> {
        self.lock().asterisk.clone()
    }

    /// Whether the lease names this Asterisk.
    #[must_use]
    pub fn names(&self, asterisk: &str) -> bool {
        self.lock().asterisk.as_deref() == Some(asterisk)
    }

    /// Waits until the lease has been renewed once more.
    pub async fn next_renewal(&self) {
        let before = self.lock().renewals;
        self.doubted.notify_one();
        loop {
            let next = self.renewed.notified();
            if self.lock().renewals != before {
                return;
            }
            next.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches the holder of a lease that this process wants.
#[derive(Debug, Default)]
pub struct Watch {
    /// The holder's last heartbeat, and since when nothing newer has been seen.
    last: Option<(LastBeat, Instant)>,
}

impl Watch {
    /// Whether the holder is gone: its process has ended, as this machine can tell, or it has been
    /// silent for [`GONE_AFTER`] by this process's monotonic clock.
    pub fn is_gone(&mut self, lease: &Lease, processes: &dyn Processes, now: Instant) -> bool {
        let Some(holder) = &lease.holder else {
            self.last = None;
            return true;
        };
        let is_here = lease.place.is_some() && lease.place.as_deref() == processes.place();
        if is_here && !processes.lives(&holder.process) {
            return true;
        }
        match &self.last {
            Some((last, since)) if last == holder => now.duration_since(*since) >= GONE_AFTER,
            _ => {
                self.last = Some((holder.clone(), now));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Timestamp;

    use super::*;

    struct Here {
        alive: &'static str,
    }

    impl Processes for Here {
        fn own(&self) -> &'static str {
            "me"
        }

        fn place(&self) -> Option<&str> {
            Some("here")
        }

        fn lives(&self, process: &str) -> bool {
            process == self.alive
        }
    }

    fn held_by(process: &str, place: &str, at: i64) -> Lease {
        Lease {
            holder: Some(LastBeat {
                process: process.to_owned(),
                at: Timestamp::from_millis(at),
            }),
            place: Some(place.to_owned()),
            asterisk: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_is_gone_when_it_has_ended_or_been_silent_for_long() {
        let here = Here { alive: "alive" };
        let mut watch = Watch::default();
        let mut is_gone = |lease: &Lease| watch.is_gone(lease, &here, Instant::now());
        assert!(is_gone(&Lease::default()));
        assert!(is_gone(&held_by("ended", "here", 1)));
        assert!(!is_gone(&held_by("alive", "here", 1)));
        // Of a process elsewhere only its silence tells.
        assert!(!is_gone(&held_by("ended", "there", 1)));
        tokio::time::advance(Duration::from_secs(44)).await;
        assert!(!is_gone(&held_by("ended", "there", 1)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(is_gone(&held_by("ended", "there", 1)));
        // Each heartbeat begins the wait anew.
        assert!(!is_gone(&held_by("ended", "there", 2)));
    }

    #[tokio::test]
    async fn the_next_renewal_is_one_that_comes_later() {
        let lease = std::sync::Arc::new(NameLease::default());
        lease.renewed(None);
        let waiting = tokio::spawn({
            let lease = std::sync::Arc::clone(&lease);
            async move { lease.next_renewal().await }
        });
        lease.doubted.notified().await;
        assert!(!waiting.is_finished());
        lease.renewed(Some("a".to_owned()));
        waiting.await.unwrap();
        assert!(lease.names("a") && !lease.names("b"));
    }
}
