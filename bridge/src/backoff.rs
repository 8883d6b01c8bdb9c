//! Delays that grow, with jitter.

use std::time::Duration;

/// Delays that double from `first` up to `most`, each drawn between its half and its whole, so
/// that many who failed together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins at `first`.
    #[must_use]
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            next: first,
        }
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.most);
        jittered(delay)
    }

    /// Begins again, after a real success.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Longest that a message stays away that could not be worked on.
pub const MAX_RETURN_AFTER: Duration = Duration::from_mins(1);

/// How long a message stays away that has been received so many times, the first time about `first`. What keeps
/// failing comes back more and more slowly, long before it counts as poison.
#[must_use]
pub fn return_after(first: Duration, receive_count: u32) -> Duration {
    let doublings = receive_count.saturating_sub(1).min(6);
    jittered((first * (1 << doublings)).min(MAX_RETURN_AFTER))
}

/// `delay` or up to half less.
#[must_use]
pub fn jittered(delay: Duration) -> Duration {
    delay.mul_f64(1.0 - fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_most_and_begin_again_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(300));
        for most in [100, 200, 300, 300] {
            let delay = backoff.next_delay().as_millis();
            assert!((most / 2..=most).contains(&delay), "{delay} of {most}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }
}
