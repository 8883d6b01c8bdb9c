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
        let per_second = f64::from(per_second.max(1));
        let burst = per_second.min(BURST);
        Self {
            per_second,
            burst,
            bucket: Mutex::new(Bucket {
                tokens: burst,
                filled: Instant::now(),
            }),
        }
    }

    /// Takes up to `most` starts, waiting until there is one.
    pub async fn take(&self, most: usize) -> usize {
        loop {
            match self.try_take(most) {
                Ok(taken) => return taken,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Gives back starts that were not used.
    pub fn give_back(&self, unused: usize) {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        bucket.tokens = (bucket.tokens + as_f64(unused)).min(self.burst);
    }

    fn try_take(&self, most: usize) -> Result<usize, Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let gained = (now - bucket.filled).as_secs_f64() * self.per_second;
        bucket.tokens = (bucket.tokens + gained).min(self.burst);
        bucket.filled = now;
        let taken = (1..=most)
            .rev()
            .find(|count| as_f64(*count) <= bucket.tokens);
        match taken {
            Some(taken) => {
                bucket.tokens -= as_f64(taken);
                Ok(taken)
            }
            None => Err(
                Duration::from_secs_f64((1.0 - bucket.tokens) / self.per_second)
                    .max(Duration::from_millis(1)),
            ),
        }
    }
}

fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_more_start_than_the_rate_allows() {
        let pacer = Pacer::new(20);
        let begun = Instant::now();
        let mut started = 0;
        while started < 110 {
            started += pacer.take(7).await;
        }
        // Ten at once, then twenty a second.
        let seconds = begun.elapsed().as_secs_f64();
        assert!((4.6..5.6).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn unused_starts_are_not_lost_and_not_saved_up() {
        let pacer = Pacer::new(5);
        assert_eq!(pacer.take(10).await, 5);
        pacer.give_back(100);
        assert_eq!(pacer.take(10).await, 5);
        let begun = Instant::now();
        assert_eq!(pacer.take(10).await, 1);
        assert!(begun.elapsed() >= Duration::from_millis(200));
    }
}
