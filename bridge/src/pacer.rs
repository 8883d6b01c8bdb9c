//! `MAX_CALLS_PER_SECOND`: a token bucket.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Most calls that are started at once after a quiet time.
const BURST: f64 = 10.0;

/// Lets so many calls start a second.
#[derive(Debug)]
pub struct Pacer {
    per_second: f64,
    a_second: usize,
    burst: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Pacer {
    /// `per_second` calls a second, in bursts of at most ten.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        let per_second = per_second.max(1);
        let a_second = usize::try_from(per_second).unwrap_or(usize::MAX);
        let per_second = f64::from(per_second);
        let burst = per_second.min(BURST);
        Self {
            per_second,
            a_second,
            burst,
            bucket: Mutex::new(Bucket {
                tokens: burst,
                filled: Instant::now(),
            }),
        }
    }

    /// Waits until one more call may start.
    pub async fn take(&self) {
        while let Err(wait) = self.try_take() {
            tokio::time::sleep(wait).await;
        }
    }

    /// How many calls may start in a second; at least one.
    #[must_use]
    pub fn a_second(&self) -> usize {
        self.a_second
    }

    fn try_take(&self) -> Result<(), Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let gained = (now - bucket.filled).as_secs_f64() * self.per_second;
        bucket.tokens = (bucket.tokens + gained).min(self.burst);
        bucket.filled = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let wait = Duration::from_secs_f64((1.0 - bucket.tokens) / self.per_second);
        Err(wait.max(Duration::from_millis(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_start_than_the_rate_allows() {
        let pacer = Pacer::new(20);
        let begun = Instant::now();
        for _ in 0..110 {
            pacer.take().await;
        }
        // Ten at once, then twenty a second.
        let seconds = begun.elapsed().as_secs_f64();
        assert!((4.6..5.6).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_times_are_not_saved_up() {
        let pacer = Pacer::new(5);
        tokio::time::sleep(Duration::from_mins(1)).await;
        let begun = Instant::now();
        for _ in 0..6 {
            pacer.take().await;
        }
        assert!(begun.elapsed() >= Duration::from_millis(200));
    }
}
