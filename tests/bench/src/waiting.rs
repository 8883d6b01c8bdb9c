//! What calls wait for in the bridge, on a real Asterisk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use domain::{Call, QueueMessage};
use e2e::world::{call_of, number};
use e2e::{Pbx, World};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::calls::{AT_ONCE, CALLEE, CALLS, asterisk, count, median};
use crate::figures::{Table, verdict};
use crate::measured::{Measured, sum};

/// How often each way is measured, in turn.
const ROUNDS: usize = 5;
/// Calls per second, unless it has been measured just now how many there could be: half of that, then.
const RATE: f64 = 233.0;
/// What requests go over, and the setting.
const WAYS: [(&str, &str); 2] = [("HTTP", "false"), ("WebSocket", "true")];
/// Buckets of both histograms, in seconds.
const BOUNDS: [&str; 6] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25"];
/// What is waited for, and the bound that 99 % have to be within.
const WAITS: [(&str, &str, &str); 2] = [
    (
        "queue_to_dial_seconds",
        "the message that is sent to the dial (99 % ≤ 25 ms)",
        "0.025",
    ),
    (
        "event_to_store_seconds",
        "an event of ARI to its durable record (99 % ≤ 50 ms)",
        "0.05",
    ),
];

/// Measures it, at half of what the bridge can do.
pub async fn run(most: Option<f64>) {
    let rate = most.map_or(RATE, |most| most / 2.0);
    let pbx = Arc::new(Pbx::Asterisk(Box::new(asterisk().await)));
    // In percent, by way, histogram and bound.
    let mut shares: BTreeMap<(&str, &str, &str), Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (way, over_websocket) in WAYS {
            let (before, after) = measure(&pbx, rate, over_websocket).await;
            for (histogram, ..) in WAITS {
                for bound in BOUNDS {
                    if let Some(share) = share(&before, &after, histogram, bound) {
                        let key = (way, histogram, bound);
                        shares.entry(key).or_default().push(share);
                    }
                }
            }
        }
    }
    println!(
        "\n## Waiting\n\n{CALLS} calls at {rate:.0} per second, recorded beforehand; the bridge's own histograms, medians of {ROUNDS} rounds in turn.\n"
    );
    let within = |key| {
        shares
            .get(&key)
            .map(|shares| median(shares.iter().copied()))
    };
    let mut columns = vec!["from … to".to_owned(), "over".to_owned()];
    columns.extend(
        BOUNDS
            .iter()
            .map(|bound| format!("≤ {} ms", bound.parse::<f64>().unwrap_or_default() * 1e3)),
    );
    columns.push("reached".to_owned());
    let columns: Vec<_> = columns.iter().map(String::as_str).collect();
    let mut table = Table::new(&columns);
    for (histogram, what, goal) in WAITS {
        for (way, _) in WAYS {
            let mut cells = vec![what.to_owned(), way.to_owned()];
            cells.extend(BOUNDS.iter().map(|bound| {
                within((way, histogram, bound))
                    .map_or_else(String::new, |share| format!("{share:.1} %"))
            }));
            let reached = within((way, histogram, goal)).is_some_and(|share| share >= 99.0);
            cells.push(verdict(reached).to_owned());
            table.row(&cells);
        }
    }
    table.print();
}

/// The bridge's metrics before and after the calls.
async fn measure(pbx: &Arc<Pbx>, rate: f64, over_websocket: &str) -> (String, String) {
    let world = World::without_bridge(pbx).await;
    let (first, calls) = (recorded(&world, 50).await, recorded(&world, CALLS).await);
    let settings = [("ARI_REST_OVER_WEBSOCKET", over_websocket)];
    let bridge = Measured::start_with(&world, AT_ONCE, &settings);
    send(&world, first, rate / 2.0).await;
    bridge.wait_for("calls_total{", 50.0).await;
    let before = bridge.text().await;
    send(&world, calls, rate).await;
    bridge.wait_for("calls_total{", count(CALLS + 50)).await;
    (before, bridge.text().await)
}

/// How many of a hundred were within the bound; nothing if the histogram has no such bucket.
fn share(before: &str, after: &str, histogram: &str, bound: &str) -> Option<f64> {
    let within = |text: &str| {
        let lines = text.lines().filter(|line| {
            line.starts_with(&format!("{histogram}_bucket"))
                && line.contains(&format!("le=\"{bound}\""))
        });
        lines
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
            .reduce(|a, b| a + b)
    };
    let all = format!("{histogram}_count");
    let all = sum(after, &all) - sum(before, &all);
    Some((within(after)? - within(before).unwrap_or_default()) / all * 100.0)
}

/// Calls that are recorded, as a function leaves them.
async fn recorded(world: &World, many: usize) -> Vec<Call> {
    let calls: Vec<_> = (0..many)
        .map(|_| {
            let number = number(CALLEE);
            let mut call = call_of(&number, cloud::clock::now());
            let endpoint = format!("Local/{number}@outbound-ivr/n");
            call.request.endpoint = endpoint.parse().expect("an endpoint");
            call.request.dial_before = call.request.created_at.plus(Duration::from_mins(10));
            call
        })
        .collect();
    world.record(&calls).await;
    calls
}

/// Sends their messages at a steady rate. What the bridge measures from is when each is sent.
async fn send(world: &World, calls: Vec<Call>, rate: f64) {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut sending = JoinSet::new();
    for call in calls {
        ticks.tick().await;
        let queue = world.queue();
        sending.spawn(async move {
            let mut request = call.request;
            request.created_at = cloud::clock::now();
            let sent = queue.send(&QueueMessage::Dial(request)).await;
            sent.expect("a message that is sent");
        });
    }
    sending.join_all().await;
}
