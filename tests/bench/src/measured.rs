//! A bridge under measurement, and its metrics.

use std::time::{Duration, Instant};

use e2e::World;
use e2e::ports::free_tcp;
use e2e::program::Program;
use e2e::world::source;
use tokio::time::sleep;

use crate::shipped::start;

/// How long a measurement may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// How often the metrics are looked at, which takes the bridge processor time.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A bridge, and where its metrics are.
pub struct Measured {
    /// The bridge.
    pub program: Program,
    /// Its Stasis application.
    pub app: String,
    metrics: String,
    environment: std::collections::BTreeMap<String, String>,
}

impl Measured {
    /// Starts one that has so many calls at once.
    pub fn start(world: &World, at_once: usize) -> Self {
        Self::start_with(world, at_once, &[])
    }

    /// The same with some settings of its own.
    pub fn start_with(world: &World, at_once: usize, settings: &[(&str, &str)]) -> Self {
        let address = format!("127.0.0.1:{}", free_tcp());
        let mut environment = world.bridge_environment();
        environment.extend(source(settings));
        let settings = [
            ("METRICS_ADDRESS", address.clone()),
            ("MAX_CONCURRENT_CALLS", at_once.to_string()),
            ("MAX_CALLS_PER_SECOND", "10000".to_owned()),
            ("QUEUE_POLLERS", "4".to_owned()),
        ];
        environment.extend(settings.map(|(name, value)| (name.to_owned(), value)));
        Self {
            program: start("bridge", &environment),
            app: environment["ARI_APP"].clone(),
            metrics: format!("http://{address}/metrics"),
            environment,
        }
    }

    /// Kills it and starts it again.
    pub async fn restart(&mut self) {
        self.program.kill().await;
        self.program = start("bridge", &self.environment);
    }

    /// Its metrics; empty while it is not there.
    pub async fn text(&self) -> String {
        let Ok(answer) = reqwest::get(&self.metrics).await else {
            return String::new();
        };
        answer.text().await.unwrap_or_default()
    }

    /// The sum of the metrics whose lines begin so.
    pub async fn sum(&self, beginning: &str) -> f64 {
        sum(&self.text().await, beginning)
    }

    /// Waits until that sum is reached.
    pub async fn wait_for(&self, beginning: &str, at_least: f64) {
        let begun = Instant::now();
        while self.sum(beginning).await < at_least {
            assert!(
                begun.elapsed() < PATIENCE,
                "{beginning} never reached {at_least}:\n{}",
                self.text().await
            );
            sleep(LOOK_EVERY).await;
        }
    }
}

/// The sum of the metrics whose lines begin so.
pub fn sum(text: &str, beginning: &str) -> f64 {
    let lines = text.lines().filter(|line| line.starts_with(beginning));
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}
