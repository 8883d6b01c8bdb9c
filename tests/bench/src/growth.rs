//! What grows with the number of live calls, and with the number of records.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::world::{call_of, number};
use e2e::{Line, Pbx, World};
use functions::jwt::Scope;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::figures::{Samples, Table, ms};
use crate::measured::Measured;
use crate::shipped::{function_environment, start};

/// Live calls in one bridge.
const LIVE: [usize; 3] = [100, 1_000, 10_000];
/// Records.
const RECORDS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// Records that are made at once.
const AT_ONCE: usize = 1_000;
/// Requests of each kind.
const REQUESTS: usize = 300;

/// Both curves.
pub async fn run() {
    live_calls().await;
    records().await;
}

async fn live_calls() {
    println!(
        "\n## Live calls in one bridge\n\nThe calls ring at the simulator. The bridge is killed and started again.\n"
    );
    let mut table = Table::new(&[
        "live calls",
        "memory",
        "per call",
        "killed, and following all again after",
    ]);
    let mut at_rest = None;
    for many in LIVE {
        let pbx = Arc::new(Pbx::simulator().await);
        let world = World::without_bridge(&pbx).await;
        let api = world.api(Line::Trunk).await;
        let mut bridge = Measured::start(&world, 2 * many);
        let up = "ari_websocket_up";
        bridge.wait_for(up, 1.0).await;
        let empty = *at_rest.get_or_insert_with(|| bridge.program.footprint().memory);
        let mut placing = JoinSet::new();
        for _ in 0..many {
            while placing.len() >= 32 {
                placing.join_next().await;
            }
            let api = api.clone();
            placing
                .spawn(async move { api.place(&number("000"), json!({"timeout": 600_000})).await });
        }
        placing.join_all().await;
        let count = f64::from(u32::try_from(many).unwrap_or(u32::MAX));
        bridge.wait_for("calls_launched_total", count).await;
        // A message that a bridge has when it is killed comes back when its time is over, not when the bridge does.
        while world.queued().await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let memory = bridge.program.footprint().memory;
        bridge.restart().await;
        let begun = Instant::now();
        bridge.wait_for("calls_active", count).await;
        let again = begun.elapsed();
        let per_call =
            (memory.saturating_sub(empty)) * 1024 / u64::try_from(many).unwrap_or(u64::MAX);
        table.row(&[
            many.to_string(),
            format!(
                "{:.1} MiB",
                f64::from(u32::try_from(memory).unwrap_or(u32::MAX)) / 1024.0
            ),
            format!("{per_call} bytes"),
            ms(again),
        ]);
    }
    table.print();
}

async fn records() {
    println!(
        "\n## Records\n\nMedians of {REQUESTS} requests to the function `status`; the table is SQLite behind a server on this machine.\n"
    );
    let mut table = Table::new(&[
        "records",
        "one call, p50",
        "p99",
        "a page of a day's calls, p50",
        "p99",
        "a number's calls, p50",
        "p99",
    ]);
    let world = World::without_bridge(&Arc::new(Pbx::simulator().await)).await;
    let mut there = 0;
    for many in RECORDS {
        let mut one = None;
        while there < many {
            let calls: Vec<_> = (0..AT_ONCE)
                .map(|_| call_of(&number("200"), cloud::clock::now()))
                .collect();
            world.record(&calls).await;
            there += calls.len();
            one = calls.into_iter().next();
        }
        let one = one.expect("a record").request;
        let mut runtime = e2e::runtime_api::RuntimeApi::start().await;
        let environment = function_environment("status", &world, &runtime);
        let _program = start("status", &environment);
        let token = e2e::world::jwt(e2e::world::SECRET_KEY).issue(
            "bench",
            &Scope::ALL,
            cloud::clock::now(),
        );
        let headers = json!({"authorization": format!("Bearer {}", token.expect("a token"))});
        let (id, created_at) = (one.id, one.created_at.to_string());
        let day = &created_at[..10];
        let number = one.phone_number.as_str().replace('+', "%2B");
        let mut cells = vec![there.to_string()];
        for (path, query) in [
            (format!("/api/v2/calls/{id}"), String::new()),
            ("/api/v2/calls".to_owned(), format!("day={day}")),
            ("/api/v2/calls".to_owned(), format!("phone_number={number}")),
        ] {
            let mut samples = Samples::default();
            for _ in 0..REQUESTS {
                let sent = Instant::now();
                ask(&mut runtime, &headers, &path, &query).await;
                samples.add(sent.elapsed());
            }
            cells.extend([ms(samples.median()), ms(samples.percentile(99))]);
        }
        table.row(&cells);
        eprintln!("{there} records");
    }
    table.print();
}

async fn ask(
    runtime: &mut e2e::runtime_api::RuntimeApi,
    headers: &Value,
    path: &str,
    query: &str,
) -> Value {
    let answer = runtime.get(path, query, headers.clone()).await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    serde_json::from_str(answer["body"].as_str().unwrap_or_default()).expect("JSON")
}
