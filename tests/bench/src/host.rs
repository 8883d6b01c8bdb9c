//! What else runs on the host of this machine, which is measured too.

use std::fs;

/// How the processors' time has gone since the machine was started, in ticks.
#[derive(Clone, Copy)]
pub struct Processors {
    /// Taken by other guests of the host while there was something to do here.
    stolen: u64,
    all: u64,
}

impl Processors {
    /// Until now (`/proc/stat`).
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").expect("Linux");
        let line = stat.lines().next().expect("proc(5)");
        // user, nice, system, idle, iowait, irq, softirq, steal; what guests of our own took is in the first two.
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .map(|field| field.parse().expect("ticks"))
            .collect();
        Self {
            stolen: ticks[7],
            all: ticks.iter().sum(),
        }
    }

    /// In percent, since then.
    pub fn stolen_since(&self, before: &Self) -> f64 {
        let per_mille = (self.stolen - before.stolen) * 1_000 / (self.all - before.all).max(1);
        f64::from(u32::try_from(per_mille).unwrap_or(u32::MAX)) / 10.0
    }
}
