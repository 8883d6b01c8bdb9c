//! What the bridges' processes take, over time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e::footprint::Footprint;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::load::Load;
use crate::site::Site;

const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// One sample in so many is printed.
const PRINTED: u64 = 10;
/// Samples of a life that are left out: a process fills its buffers and connections first.
const WARM_UP: usize = 15;
/// Samples that a life needs to be judged.
const JUDGED_FROM: usize = 45;
/// How much the median of a life's last third may be above that of its first, at equal load: memory in KiB, and files.
/// An outage at the end of a life keeps the calls and connections of its time.
const MEMORY_BOUND: u64 = 16 * 1024;
const FILES_BOUND: u64 = 100;

/// A process: which bridge, and which of its starts.
type Life = (usize, usize);

/// The samples of all processes.
#[derive(Default)]
pub struct Footprints(BTreeMap<Life, Vec<Footprint>>);

/// Looks at the processes.
pub struct Watch {
    footprints: Arc<Mutex<Footprints>>,
    task: JoinHandle<()>,
}

impl Watch {
    pub fn start(site: &Arc<Site>, load: &Arc<Load>) -> Self {
        let footprints = Arc::new(Mutex::new(Footprints::default()));
        let (site, load, samples) = (Arc::clone(site), Arc::clone(load), Arc::clone(&footprints));
        let task = tokio::spawn(async move {
            let began = Instant::now();
            let mut ticks = interval(SAMPLE_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for tick in 1_u64.. {
                ticks.tick().await;
                let now = site.footprints();
                if tick % PRINTED == 0 {
                    let bridges = now.iter().map(|(index, start, footprint)| {
                        format!("bridge {index}.{start}: {footprint}")
                    });
                    let bridges: Vec<_> = bridges.collect();
                    let (at, placed) = (began.elapsed().as_secs(), load.count());
                    println!("{at:>6} s  {placed} calls placed; {}", bridges.join("; "));
                }
                let mut samples = samples.lock().expect("no panic");
                for (index, start, footprint) in now {
                    samples.0.entry((index, start)).or_default().push(footprint);
                }
            }
        });
        Self { footprints, task }
    }

    pub fn stop(self) -> Footprints {
        self.task.abort();
        std::mem::take(&mut *self.footprints.lock().expect("no panic"))
    }
}

impl Footprints {
    /// Prints the first and the last third of each long life; what has grown.
    pub fn violations(&self) -> Vec<String> {
        let mut violations = Vec::new();
        let mut short = 0;
        for ((index, start), samples) in &self.0 {
            if samples.len() < JUDGED_FROM {
                short += 1;
                continue;
            }
            let third = (samples.len() - WARM_UP) / 3;
            let first = median(&samples[WARM_UP..WARM_UP + third]);
            let last = median(&samples[samples.len() - third..]);
            let line = format!(
                "bridge {index}.{start}, {} s: {first} in the first third, {last} in the last",
                samples.len()
            );
            println!("{line}");
            if last.memory > first.memory + MEMORY_BOUND || last.files > first.files + FILES_BOUND {
                violations.push(format!("it has grown: {line}"));
            }
        }
        println!("{short} lives of bridges were shorter than {JUDGED_FROM} s");
        violations
    }
}

/// The median of each.
fn median(samples: &[Footprint]) -> Footprint {
    let middle = |mut values: Vec<u64>| {
        values.sort_unstable();
        values[values.len() / 2]
    };
    Footprint {
        memory: middle(samples.iter().map(|sample| sample.memory).collect()),
        files: middle(samples.iter().map(|sample| sample.files).collect()),
    }
}
