//! Many calls at once, and many one after another.

use std::sync::Arc;

use e2e::callees::MIX;
use e2e::world::number;
use e2e::{Client, Line, Pbx, World};
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add_scenario("load::five_hundred_calls_at_once", five_hundred);
    suite.add_scenario("load::a_thousand_calls_one_after_another", |pbx| {
        a_thousand(pbx)
    });
}

async fn wait_for_all(api: &Client, ids: Vec<String>) -> Vec<Value> {
    stream::iter(ids)
        .map(|id| {
            let api = api.clone();
            async move { api.wait_until_over(&id).await }
        })
        .buffered(16)
        .collect()
        .await
}

async fn five_hundred(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let calls: Vec<_> = (0..500)
        .map(|index| {
            let (digits, status) = MIX[index % MIX.len()];
            (number(digits), status)
        })
        .collect();
    let numbers: Vec<String> = calls.iter().map(|(to, _)| to.clone()).collect();
    let ids: Vec<String> = stream::iter(numbers)
        .map(|to| {
            let api = api.clone();
            async move { api.place(&to, json!({"timeout": 3_000})).await }
        })
        .buffered(32)
        .collect()
        .await;
    let ended = wait_for_all(&api, ids.clone()).await;
    for ((to, status), call) in calls.iter().zip(&ended) {
        assert_eq!(call["status"], *status, "{call}");
        assert_eq!(pbx.invites_to(to), 1, "{to}");
    }
    assert_eq!(pbx.channels_among(&ids).await, Vec::<String>::new());
    let mut dialled: Vec<_> = ended
        .iter()
        .filter_map(|call| call["dialed_at"].as_str())
        .collect();
    dialled.sort_unstable();
    println!("500 calls, dialled from {} to {}", dialled[0], dialled[499]);
}

/// A dial before `StasisStart` is refused and leaves the channel `Down` for ever: it must never happen.
async fn a_thousand(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    world
        .add_bridge(&[("MAX_CONCURRENT_CALLS", "1"), ("QUEUE_POLLERS", "1")])
        .await;
    let api = world.api(Line::Local).await;
    let ids: Vec<String> = stream::iter(0..1_000)
        .map(|_| {
            let api = api.clone();
            // The last of them waits for long on a slow machine.
            let body = json!({"queue_timeout": 3_600_000});
            async move { api.place(&number("404"), body).await }
        })
        .buffered(8)
        .collect()
        .await;
    for call in wait_for_all(&api, ids.clone()).await {
        assert_eq!(call["failure_reason"], "unallocated_number", "{call}");
    }
    assert_eq!(pbx.channels_among(&ids).await, Vec::<String>::new());
    assert_eq!(world.bridge().counts().dialled, 1_000);
}
