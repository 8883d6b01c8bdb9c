//! The bridge's real program, killed at every point of a call's way, and started again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bridge::crash::POINTS;
use e2e::program::Program;
use e2e::world::{number, source};
use e2e::{Line, Pbx, World};
use futures_util::{StreamExt, stream};
use serde_json::json;

use crate::Suite;

/// How often the bridge is killed at each point, unless `E2E_KILLS` says otherwise.
const KILLS: usize = 3;

/// How many bridges of one point are killed at once.
const AT_ONCE: usize = 4;

pub fn add(suite: &mut Suite) {
    for point in POINTS {
        let name = format!("crashes::{point}");
        suite.add_scenario(&name, move |pbx| killed_at(pbx, point));
    }
}

/// Kills so far, and those whose call ended as `outcome_unknown`.
static KILLED: AtomicUsize = AtomicUsize::new(0);
static UNKNOWN: AtomicUsize = AtomicUsize::new(0);

async fn killed_at(pbx: Arc<Pbx>, point: &'static str) {
    let kills = std::env::var("E2E_KILLS").ok();
    let kills = kills.and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    stream::iter(0..kills)
        .for_each_concurrent(AT_ONCE, |_| kill_once(&pbx, point))
        .await;
    println!(
        "{point}: so far {} of {} calls ended as outcome_unknown",
        UNKNOWN.load(Ordering::Relaxed),
        KILLED.load(Ordering::Relaxed)
    );
}

async fn kill_once(pbx: &Arc<Pbx>, point: &str) {
    let world = World::without_bridge(pbx).await;
    let api = world.api(Line::Trunk).await;
    let environment = environment(&world);
    let mut doomed = environment.clone();
    doomed.insert("BRIDGE_CRASH_AT".to_owned(), point.to_owned());
    let bridge = Program::start("bridge", &[], &doomed);
    let to = number("200");
    let id = api.place(&to, json!({})).await;
    let ended = bridge.wait().await;
    assert_eq!(ended.code, None, "{point}: it was to be killed: {ended:?}");

    let bridge = Program::start("bridge", &[], &environment);
    let call = api.wait_until_over(&id).await;
    let reason = call["failure_reason"].as_str();
    let invites = pbx.invites_to(&to);
    assert!(invites <= 1, "{point}: rung {invites} times");
    KILLED.fetch_add(1, Ordering::Relaxed);
    match call["status"].as_str() {
        Some("completed") => assert_eq!(invites, 1, "{point}: {call}"),
        // Only between the claim and the first sign of the phone can it not be told.
        Some("failed") if reason == Some("outcome_unknown") => {
            assert!(
                ["after_claim", "before_dial", "after_dial", "before_delete"].contains(&point),
                "{point}: {call}"
            );
            UNKNOWN.fetch_add(1, Ordering::Relaxed);
        }
        _ => panic!("{point}: {call}"),
    }
    // Nothing is left behind.
    let gone = async {
        let ids = [id.clone()];
        while !pbx.channels_among(&ids).await.is_empty() || world.queued().await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), gone)
        .await
        .unwrap_or_else(|_| panic!("{point}: a channel or a message is left"));
    bridge.signal("TERM").await;
    assert_eq!(bridge.wait().await.code, Some(0), "{point}");
}

/// That of a bridge that gives up soon, so that its messages come back soon.
fn environment(world: &World) -> BTreeMap<String, String> {
    let mut environment = world.bridge_environment();
    environment.extend(source(&[
        ("ARI_TIMEOUT", "2000"),
        ("ARI_RETRIES", "1"),
        ("STASIS_START_TIMEOUT", "2000"),
        ("QUEUE_VISIBILITY_TIMEOUT", "15"),
    ]));
    environment
}
