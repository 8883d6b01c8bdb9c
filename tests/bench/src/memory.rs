//! How much memory a function is given, which on Lambda is how much of a processor: what its requests wait for, and what is billed.

use std::time::Instant;

use crate::figures::{Samples, Table, ms};
use crate::functions::{FUNCTIONS, Scene};
use crate::share::Share;
use crate::shipped::peak_memory;

/// In megabytes, as a template says it.
const MEMORY: [u32; 6] = [128, 256, 512, 1024, 1769, 3008];
/// At this much a function has one processor (AWS Lambda Developer Guide, "Configure Lambda function memory").
const WHOLE: u32 = 1769;
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
                let (mut program, mut api) = scene.start(name).await;
                api.wait_until_asked().await;
                let processors = f64::from(memory) / f64::from(WHOLE);
                let share = Share::of(&format!("bench-{name}-{memory}-{start}"), processors);
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
                program.kill().await;
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
