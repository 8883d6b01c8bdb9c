//! How much memory a function is given, which on Lambda is how much of a processor: what its requests wait for, and what is billed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::figures::{Samples, Table, ms};
use crate::functions::{FUNCTIONS, Scene};
use crate::shipped::peak_memory;

/// In megabytes, as a template says it.
const MEMORY: [u32; 6] = [128, 256, 512, 1024, 1769, 3008];
/// At this much a function has one processor (AWS Lambda Developer Guide, "Configure Lambda function memory").
const WHOLE: u32 = 1769;
/// How often the share of a processor is dealt out; in microseconds.
const PERIOD: u32 = 20_000;
const STARTS: usize = 3;
const REQUESTS: usize = 60;

/// Prints it for each function that answers requests.
pub async fn run() {
    let scene = Scene::new().await;
    println!(
        "\n## Memory\n\nEach function with the share of a processor that Lambda gives it with so much memory ({WHOLE} MB are one processor), from its first request on: \
         a start has all that there is. {STARTS} starts, {REQUESTS} requests after each first one. GB-s are those of the requests that find a function there, billed by the \
         whole millisecond, without the time that DynamoDB and SQS take to be reached in a region.\n"
    );
    let mut table = Table::new(&[
        "function",
        "memory",
        "first request",
        "p50",
        "p99",
        "GB-s per million requests",
        "most memory used",
    ]);
    for name in FUNCTIONS {
        for memory in MEMORY {
            let (mut first, mut warm, mut peak) = (Samples::default(), Samples::default(), 0);
            let mut billed = 0.0;
            for start in 0..STARTS {
                let (program, mut api) = scene.start(name).await;
                api.wait_until_asked().await;
                let share = Share::of(&format!("bench-{name}-{memory}-{start}"), memory);
                share.limit(program.id());
                for request in 0..=REQUESTS {
                    let sent = Instant::now();
                    scene.asked[name].send(&mut api).await;
                    let took = sent.elapsed();
                    if request == 0 {
                        first.add(took);
                    } else {
                        warm.add(took);
                        billed += (took.as_secs_f64() * 1e3).ceil() / 1e3;
                    }
                }
                peak = peak.max(peak_memory(program.id()));
                program.signal("KILL").await;
                program.wait().await;
            }
            let requests = f64::from(u32::try_from(STARTS * REQUESTS).unwrap_or(u32::MAX));
            let gb_s = billed / requests * 1e6 * f64::from(memory) / 1024.0;
            table.row(&[
                name.to_owned(),
                format!("{memory} MB"),
                ms(first.median()),
                ms(warm.median()),
                ms(warm.percentile(99)),
                format!("{gb_s:.0}"),
                format!("{} MiB", peak / 1024),
            ]);
        }
    }
    table.print();
}

/// A control group with a share of a processor. It is removed with this.
struct Share {
    folder: PathBuf,
}

impl Share {
    fn of(name: &str, memory: u32) -> Self {
        let quota = u64::from(PERIOD) * u64::from(memory) / u64::from(WHOLE);
        let root = Path::new("/sys/fs/cgroup");
        // The older kind, and the newer one.
        let older = root.join("cpu/cpu.cfs_quota_us").exists();
        let folder = if older { root.join("cpu") } else { root.into() }.join(name);
        let write = |file: &str, text: String| {
            let path = folder.join(file);
            let written = fs::write(&path, text);
            written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        };
        fs::create_dir_all(&folder).expect("a control group: this takes root, and cgroups");
        if older {
            write("cpu.cfs_period_us", PERIOD.to_string());
            write("cpu.cfs_quota_us", quota.to_string());
        } else {
            write("cpu.max", format!("{quota} {PERIOD}"));
        }
        Self { folder }
    }

    fn limit(&self, process: u32) {
        fs::write(self.folder.join("cgroup.procs"), process.to_string()).expect("its group");
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // It can be removed once its process is gone, which may take a moment.
        let begun = Instant::now();
        while fs::remove_dir(&self.folder).is_err() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::yield_now();
        }
    }
}
