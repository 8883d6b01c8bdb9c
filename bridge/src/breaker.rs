//! A circuit breaker: while something outside does not answer, nothing new is begun and nothing is
//! repeated; a probe finds out now and then whether it is back.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::rules::{Rule, kept};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::flag::Flag;

/// Failures in a row that open the circuit.
const THRESHOLD: u32 = 5;
/// Shortest and longest time between two probes.
const PROBE_EVERY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// The circuit to one thing outside.
#[derive(Debug)]
pub struct Breaker {
    what: &'static str,
    failures: AtomicU32,
    open: Flag,
}

impl Breaker {
    /// Closed, to `what`.
    #[must_use]
    pub fn new(what: &'static str) -> Self {
        Self {
            what,
            failures: AtomicU32::new(0),
            open: Flag::default(),
        }
    }

    /// It answered.
    pub fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
        if self.open.set(false) {
            tracing::info!(what = self.what, "it answers again");
        }
    }

    /// It did not answer.
    pub fn failed(&self) {
        let failures = self
            .failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        if failures < THRESHOLD {
            return;
        }
        if self.open.set(true) {
            tracing::warn!(
                what = self.what,
                "it does not answer: it is left alone but for probes"
            );
        }
    }

    /// Whether it is to be left alone now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open.is_up()
    }

    /// Waits until it need not be left alone.
    pub async fn closed(&self) {
        self.open.wait_for(false).await;
    }

    /// Probes while the circuit is open, until `stop`; `probe` says whether it answered.
    pub async fn probe<F, A>(&self, probe: F, stop: &CancellationToken)
    where
        F: Fn() -> A + Send + Sync,
        A: Future<Output = bool> + Send,
    {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.open.wait_for(true) => {}
            }
            let mut backoff = Backoff::new(PROBE_EVERY.0, PROBE_EVERY.1);
            while self.is_open() {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(backoff.next_delay()) => {}
                }
                if probe().await && kept(Rule::CircuitCloses) {
                    self.succeeded();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let breaker = Breaker::new("test");
        for _ in 1..THRESHOLD {
            breaker.failed();
        }
        breaker.succeeded();
        breaker.failed();
        assert!(!breaker.is_open());
        for _ in 0..THRESHOLD {
            breaker.failed();
        }
        assert!(breaker.is_open());
        breaker.succeeded();
        assert!(!breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_answered_closes_it() {
        let breaker = Arc::new(Breaker::new("test"));
        let stop = CancellationToken::new();
        let probes = Arc::new(AtomicU32::new(0));
        let (for_task, counted, stopped) =
            (Arc::clone(&breaker), Arc::clone(&probes), stop.clone());
        let probing = tokio::spawn(async move {
            let probe = || std::future::ready(counted.fetch_add(1, Ordering::Relaxed) == 2);
            for_task.probe(probe, &stopped).await;
        });
        // While it is closed nobody asks.
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(probes.load(Ordering::Relaxed), 0);
        for _ in 0..THRESHOLD {
            breaker.failed();
        }
        breaker.closed().await;
        assert_eq!(probes.load(Ordering::Relaxed), 3);
        stop.cancel();
        probing.await.unwrap();
    }
}
