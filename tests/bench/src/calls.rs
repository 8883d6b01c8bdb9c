//! The bridge on a real Asterisk: how many calls it makes, against the least that can make one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::asterisk::Asterisk;
use e2e::world::number;
use e2e::{Line, Pbx, World};
use serde_json::json;

use crate::bare::{self, Way};
use crate::figures::{Table, ms, verdict};
use crate::measured::Measured;
use crate::shipped::{cpu, used_since};

/// Calls of one measurement.
pub(crate) const CALLS: usize = 1_500;
/// Calls under way at once.
pub(crate) const AT_ONCE: usize = 100;
/// How often each is measured, in turn.
const ROUNDS: usize = 7;
/// A callee that is rejected at once: the call passes through every state that it must.
pub(crate) const CALLEE: &str = "404";

/// One measurement.
struct Run {
    rate: f64,
    /// Per call.
    of_program: Duration,
    of_asterisk: Duration,
    /// Events of ARI per second; none for who does not count them.
    events: f64,
}

/// Measures it. Returns calls per second, and the events per second that Asterisk sent meanwhile.
pub async fn throughput() -> (f64, f64) {
    let pbx = Arc::new(Pbx::Asterisk(asterisk().await));
    let mut runs: BTreeMap<&str, Vec<Run>> = BTreeMap::new();
    for round in 0..=ROUNDS {
        for way in [Way::Http, Way::Socket] {
            let before = (cpu(std::process::id()), cpu(process(&pbx)));
            let endpoint = format!("Local/+1555000{CALLEE}@outbound-ivr");
            let (took, done) = bare::calls(&pbx, way, &endpoint, CALLS, AT_ONCE).await;
            assert!(done * 100 >= CALLS * 99, "{way:?}: {done} of {CALLS}");
            let run = Run {
                rate: per_second(done, took),
                of_program: each(used_since(std::process::id(), before.0), done),
                of_asterisk: each(used_since(process(&pbx), before.1), done),
                events: 0.0,
            };
            note(
                &mut runs,
                round,
                if way == Way::Http {
                    "bare client, HTTP"
                } else {
                    "bare client, WebSocket"
                },
                run,
            );
        }
        for (name, over_websocket) in [("bridge, HTTP", "false"), ("bridge, WebSocket", "true")] {
            let run = through_the_bridge(&pbx, over_websocket).await;
            note(&mut runs, round, name, run);
        }
    }
    let best = |name: &str| median(runs[name].iter().map(|run| run.rate));
    let bare = best("bare client, HTTP").max(best("bare client, WebSocket"));
    println!(
        "\n## Calls\n\n{CALLS} calls to a Local channel that is rejected at once, at most {AT_ONCE} at a time, medians of {ROUNDS} rounds in turn. The bridge's are in the queue \
         before it starts, and counted until the last is recorded as over; the queue and the tables are servers on the same machine.\n"
    );
    let mut table = Table::new(&[
        "who",
        "calls per second",
        "of the better bare client",
        "CPU per call",
        "Asterisk's CPU per call",
    ]);
    for (name, runs) in &runs {
        let rate = median(runs.iter().map(|run| run.rate));
        table.row(&[
            (*name).to_owned(),
            format!("{rate:.0}"),
            format!("{:.2}", rate / bare),
            ms(middle(runs.iter().map(|run| run.of_program))),
            ms(middle(runs.iter().map(|run| run.of_asterisk))),
        ]);
    }
    table.print();
    let bridge = &runs["bridge, WebSocket"];
    let share = median(
        bridge
            .iter()
            .map(|run| run.of_program.as_secs_f64() / run.of_asterisk.as_secs_f64()),
    );
    println!(
        "At least 0.95 of the bare client: {}. The bridge's CPU is {:.1} % of Asterisk's (≤ 10 %: {}).\n",
        verdict(best("bridge, WebSocket") >= 0.95 * bare),
        share * 100.0,
        verdict(share <= 0.1)
    );
    let events = median(bridge.iter().map(|run| run.events));
    (best("bridge, WebSocket"), events)
}

fn note<'a>(runs: &mut BTreeMap<&'a str, Vec<Run>>, round: usize, name: &'a str, run: Run) {
    // The first round warms up.
    if round > 0 {
        runs.entry(name).or_default().push(run);
    }
}

pub(crate) async fn asterisk() -> Asterisk {
    let asterisk = Asterisk::start().expect("an Asterisk");
    asterisk.wait_until_ready().await;
    asterisk
}

fn process(pbx: &Pbx) -> u32 {
    match pbx {
        Pbx::Asterisk(asterisk) => asterisk.process().expect("an Asterisk of our own"),
        Pbx::Simulator { .. } => std::process::id(),
    }
}

async fn through_the_bridge(pbx: &Arc<Pbx>, over_websocket: &str) -> Run {
    let world = World::without_bridge(pbx).await;
    let api = world.api(Line::Local).await;
    let mut ids = Vec::new();
    for _ in 0..CALLS {
        ids.push(api.place(&number(CALLEE), json!({})).await);
    }
    let of_asterisk = cpu(process(pbx));
    let settings = [("ARI_REST_OVER_WEBSOCKET", over_websocket)];
    let bridge = Measured::start_with(&world, AT_ONCE, &settings);
    bridge.wait_for("calls_launched_total", 1.0).await;
    let (begun, before) = (Instant::now(), cpu(bridge.program.id()));
    bridge.wait_for("calls_total{", count(CALLS)).await;
    let took = begun.elapsed();
    Run {
        rate: per_second(CALLS, took),
        of_program: each(used_since(bridge.program.id(), before), CALLS),
        of_asterisk: each(used_since(process(pbx), of_asterisk), CALLS),
        events: bridge.sum("ari_events_total{").await / took.as_secs_f64(),
    }
}

pub(crate) fn count(many: usize) -> f64 {
    f64::from(u32::try_from(many).unwrap_or(u32::MAX))
}

fn per_second(many: usize, took: Duration) -> f64 {
    count(many) / took.as_secs_f64()
}

fn each(total: Duration, many: usize) -> Duration {
    total / u32::try_from(many).unwrap_or(u32::MAX)
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn middle(values: impl Iterator<Item = Duration>) -> Duration {
    Duration::from_secs_f64(median(values.map(|value| value.as_secs_f64())))
}
