//! Many calls at once, and many one after another.

use std::sync::Arc;

use e2e::callees::MIX;
use e2e::world::number;
use e2e::{Client, Line, Pbx, World};
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add_scenario("load::five_hundred_phones_ring_at_once", at_once);
    suite.add_scenario(
        "load::five_hundred_calls_end_as_their_callees_do",
        five_hundred,
    );
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

/// Asks for all of these calls, some of them at once.
async fn place_all(api: &Client, numbers: &[String], body: impl Fn(&str) -> Value) -> Vec<String> {
    let requests: Vec<_> = numbers.iter().map(|to| (to.clone(), body(to))).collect();
    stream::iter(requests)
        .map(|(to, body)| {
            let api = api.clone();
            async move { api.place(&to, body).await }
        })
        .buffered(32)
        .collect()
        .await
}

/// None of them ends by itself, so that all are there at the same time.
async fn at_once(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let numbers: Vec<_> = (0..500).map(|_| number("000")).collect();
    let ids = place_all(&api, &numbers, |_| json!({"timeout": 600_000})).await;
    for id in &ids {
        api.wait_until(id, |call| call["status"] == "ringing").await;
    }
    assert_eq!(pbx.channels_among(&ids).await.len(), 500);
    assert_eq!(world.bridge().live_calls(), 500);
    for id in &ids {
        assert!(world.bridge().hang_up(id.parse().unwrap()));
    }
    for (to, call) in numbers.iter().zip(wait_for_all(&api, ids.clone()).await) {
        assert_eq!(call["status"], "canceled", "{call}");
        assert_eq!(pbx.invites_to(to), 1, "{to}");
    }
    assert_eq!(pbx.channels_among(&ids).await, Vec::<String>::new());
}

async fn five_hundred(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let kinds: Vec<_> = MIX.iter().copied().cycle().take(500).collect();
    let numbers: Vec<_> = kinds.iter().map(|(digits, _)| number(digits)).collect();
    // Only the phone that never answers is given up, and a slow machine rings it by then. The others have time.
    let timeout = |to: &str| if to.ends_with("000") { 10_000 } else { 60_000 };
    let ids = place_all(&api, &numbers, |to| json!({"timeout": timeout(to)})).await;
    let ended = wait_for_all(&api, ids.clone()).await;
    for (((digits, status), to), call) in kinds.iter().zip(&numbers).zip(&ended) {
        let reason = match *digits {
            "603" => Some("rejected"),
            "404" => Some("unallocated_number"),
            _ => None,
        };
        assert_eq!(
            (call["status"].as_str(), call["failure_reason"].as_str()),
            (Some(*status), reason),
            "{call}"
        );
        assert_eq!(pbx.invites_to(to), 1, "{to}");
    }
    assert_eq!(pbx.channels_among(&ids).await, Vec::<String>::new());
    assert_eq!(world.bridge().counts().dialled, 500);
}

/// A dial before `StasisStart` is refused and leaves the channel `Down` for ever: it must never happen.
async fn a_thousand(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    world
        .add_bridge(&[("MAX_CONCURRENT_CALLS", "1"), ("QUEUE_POLLERS", "1")])
        .await;
    let api = world.api(Line::Local).await;
    // The last of them waits for long on a slow machine.
    let body = json!({"queue_timeout": 3_600_000});
    let numbers: Vec<_> = (0..1_000).map(|_| number("404")).collect();
    let ids = place_all(&api, &numbers, |_| body.clone()).await;
    let mut ended = wait_for_all(&api, ids.clone()).await;
    for call in &ended {
        assert_eq!(call["failure_reason"], "unallocated_number", "{call}");
        assert!(call["dialed_at"].is_string(), "{call}");
    }
    // Times of one form are in the order of their text.
    ended.sort_unstable_by_key(|call| call["dialed_at"].to_string());
    for pair in ended.windows(2) {
        let (over, next) = (pair[0]["ended_at"].as_str(), pair[1]["dialed_at"].as_str());
        assert!(over <= next, "{pair:?}");
    }
    assert_eq!(pbx.channels_among(&ids).await, Vec::<String>::new());
    assert_eq!(world.bridge().counts().dialled, 1_000);
}
