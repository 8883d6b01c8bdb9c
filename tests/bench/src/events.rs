//! Events: how many a bridge takes, with live calls, and how long it leaves the socket unread.

use std::time::{Duration, Instant};

use e2e::world::number;
use e2e::{Line, Pbx, World};
use serde_json::{Value, json};

use crate::figures::{ms, verdict};
use crate::measured::Measured;

/// Live calls.
const CALLS: usize = 200;
/// Events that are sent, as fast as they are taken.
const EVENTS: usize = 300_000;

/// How often a real Asterisk sends events, if that was measured before.
pub async fn run(emitted: Option<f64>) {
    let pbx = std::sync::Arc::new(Pbx::simulator().await);
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let bridge = Measured::start(&world, CALLS);
    let mut ids = Vec::new();
    for _ in 0..CALLS {
        ids.push(api.place(&number("000"), json!({"timeout": 600_000})).await);
    }
    for id in &ids {
        api.wait_until(id, |call| call["status"] == "ringing").await;
    }
    let Pbx::Simulator { simulator, .. } = &*pbx else {
        unreachable!("it was made a simulator");
    };
    let (url, username, password) = pbx.ari();
    let channels: Vec<Value> = reqwest::Client::new()
        .get(format!("{url}/channels"))
        .basic_auth(username, Some(password))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("channels");
    let texts: Vec<_> = channels
        .into_iter()
        .map(|channel| {
            let event = json!({"type": "ChannelStateChange", "timestamp": "2026-11-21T02:17:07.145+0000", "channel": channel,
                "asterisk_id": "02:fc:00:00:00:01", "application": bridge.app});
            event.to_string()
        })
        .collect();
    let bytes = texts.iter().map(String::len).sum::<usize>() / texts.len();
    let taken = "ari_events_total{taken=\"yes\"";
    let before = bridge.sum(taken).await;
    let begun = Instant::now();
    let longest = simulator.flood(&bridge.app, &texts, EVENTS).await;
    let all = f64::from(u32::try_from(EVENTS).unwrap_or(u32::MAX));
    bridge.wait_for(taken, before + all).await;
    let rate = all / begun.elapsed().as_secs_f64();
    println!(
        "\n## Events\n\n{EVENTS} events of {bytes} bytes about {CALLS} live calls, sent as fast as they are taken: {rate:.0} per second.\n"
    );
    println!(
        "The longest that the socket was not read: {} (< 50 ms: {}).\n",
        ms(longest),
        verdict(longest < Duration::from_millis(50))
    );
    if let Some(emitted) = emitted {
        let times = rate / emitted;
        println!(
            "The real Asterisk sent {emitted:.0} per second at its ceiling: {times:.0} times less (≥ 20: {}).\n",
            verdict(times >= 20.0)
        );
    }
}
