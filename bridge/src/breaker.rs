//! A circuit breaker: while something outside does not answer, nothing new is begun; now and then one
//! attempt finds out whether it is back.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// Failures in a row that open the circuit.
const THRESHOLD: u32 = 5;
/// Shortest and longest time that it stays open before an attempt.
const OPEN_FOR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long an attempt may take before the next is let through.
const ATTEMPT_FOR: Duration = Duration::from_secs(30);

/// The circuit to one thing outside.
#[derive(Debug)]
pub struct Breaker {
    what: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    failures: u32,
    /// While open: when the next attempt may be made.
    open_until: Option<Instant>,
    backoff: Backoff,
}

impl Breaker {
    /// Closed, to `what`.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self {
            what,
            state: Mutex::new(State {
                failures: 0,
                open_until: None,
                backoff: Backoff::new(OPEN_FOR.0, OPEN_FOR.1),
            }),
        }
    }

    /// It answered.
    pub fn succeeded(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = 0;
        if state.open_until.take().is_some() {
            state.backoff.reset();
            tracing::info!(what = self.what, "it answers again: new calls are taken");
        }
    }

    /// It did not answer.
    pub fn failed(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = state.failures.saturating_add(1);
        if state.failures < THRESHOLD {
            return;
        }
        if state.open_until.is_none() {
            tracing::warn!(
                what = self.what,
                "it does not answer: no new calls are taken"
            );
        }
        let delay = state.backoff.next_delay();
        state.open_until = Some(Instant::now() + delay);
    }

    /// Whether nothing is to be begun now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.open_until.is_some()
    }

    /// Waits until something may be begun, and says how much: all of it, or one attempt.
    pub async fn admit(&self) -> Admission {
        loop {
            let until = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                match state.open_until {
                    None => return Admission::All,
                    Some(until) if until <= now => {
                        state.open_until = Some(now + ATTEMPT_FOR);
                        return Admission::OneAttempt;
                    }
                    Some(until) => until,
                }
            };
            // A success closes the circuit earlier: looked at now and then.
            let soon = Instant::now() + OPEN_FOR.0;
            tokio::time::sleep_until(until.min(soon)).await;
        }
    }
}

/// How much may be begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Everything.
    All,
    /// One thing, to find out.
    OneAttempt,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_lets_one_attempt_through() {
        let breaker = Breaker::new("test");
        for _ in 1..THRESHOLD {
            breaker.failed();
        }
        breaker.succeeded();
        breaker.failed();
        assert_eq!(breaker.admit().await, Admission::All);
        for _ in 0..THRESHOLD {
            breaker.failed();
        }
        assert!(breaker.is_open());
        let begun = Instant::now();
        assert_eq!(breaker.admit().await, Admission::OneAttempt);
        assert!(begun.elapsed() >= OPEN_FOR.0 / 2);
        // Nobody else while that attempt is under way.
        let begun = Instant::now();
        assert_eq!(breaker.admit().await, Admission::OneAttempt);
        assert!(begun.elapsed() + OPEN_FOR.0 >= ATTEMPT_FOR);
        breaker.succeeded();
        assert_eq!(breaker.admit().await, Admission::All);
    }
}
