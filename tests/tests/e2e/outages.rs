//! What becomes of many calls when an Asterisk or a bridge goes down among them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cloud::clock;
use e2e::asterisk::Asterisk;
use e2e::program::Program;
use e2e::world::{number, source};
use e2e::{Client, Line, Pbx, World};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add_asterisk("outages::asterisk_restarts_with_fifty_calls", restart);
    suite.add_asterisk(
        "outages::one_of_two_bridges_dies_among_four_hundred_calls",
        one_of_two,
    );
    suite.add_scenario("outages::a_bridge_is_stopped_under_load", stopped);
}

/// An Asterisk that no other test uses.
pub async fn own_asterisk() -> Arc<Pbx> {
    let asterisk = Asterisk::start().expect("an Asterisk");
    asterisk.wait_until_ready().await;
    Arc::new(Pbx::Asterisk(Box::new(asterisk)))
}

/// Places a call to each of these numbers, several at once.
async fn place_all(api: &Client, numbers: &[String], body: &Value) -> Vec<String> {
    let calls = numbers.iter().cloned().map(|to| {
        let (api, body) = (api.clone(), body.clone());
        async move { api.place(&to, body).await }
    });
    stream::iter(calls.collect::<Vec<_>>())
        .buffered(16)
        .collect()
        .await
}

async fn restart(_: Arc<Pbx>) {
    let pbx = own_asterisk().await;
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let silent: Vec<_> = (0..25).map(|_| number("000")).collect();
    let talking: Vec<_> = (0..25).map(|_| number("200")).collect();
    let ringing = place_all(&api, &silent, &json!({"timeout": 120_000})).await;
    let long = json!({"media": vec!["digits:0123456789"; 16]});
    let answered = place_all(&api, &talking, &long).await;
    for (ids, status) in [(&ringing, "ringing"), (&answered, "answered")] {
        for id in ids {
            api.wait_until(id, |call| call["status"] == status).await;
        }
    }
    let Pbx::Asterisk(asterisk) = &*pbx else {
        unreachable!("it is one");
    };
    asterisk.restart();
    asterisk.wait_until_ready().await;
    for id in &ringing {
        let call = api.wait_until_over(id).await;
        assert_eq!(
            (call["status"].as_str(), call["failure_reason"].as_str()),
            (Some("failed"), Some("asterisk_restarted")),
            "{call}"
        );
    }
    for id in &answered {
        let call = api.wait_until_over(id).await;
        assert_eq!(call["status"], "completed", "{call}");
    }
    for to in silent.iter().chain(&talking) {
        assert_eq!(pbx.invites_to(to), 1);
    }
    let after = api.place(&number("486"), json!({})).await;
    assert_eq!(api.wait_until_over(&after).await["status"], "busy");
}

/// The environment of a bridge as a program, on this PBX.
fn environment(world: &World, pbx: &Pbx) -> BTreeMap<String, String> {
    let (url, username, password) = pbx.ari();
    let mut environment = world.bridge_environment();
    environment.extend(source(&[
        ("ARI_HTTP_URL", &url),
        ("ARI_USERNAME", &username),
        ("ARI_PASSWORD", &password),
        ("ARI_TIMEOUT", "2000"),
        ("ARI_RETRIES", "1"),
        ("STASIS_START_TIMEOUT", "2000"),
        ("QUEUE_VISIBILITY_TIMEOUT", "15"),
        ("LOG_LEVEL", "error"),
    ]));
    environment
}

async fn one_of_two(pbx: Arc<Pbx>) {
    let other = own_asterisk().await;
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let doomed = environment(&world, &pbx);
    let (mut dying, living) = (
        Program::start("bridge", &[], &doomed),
        Program::start("bridge", &[], &environment(&world, &other)),
    );
    let numbers: Vec<_> = (0..400).map(|_| number("200")).collect();
    let first = place_all(&api, &numbers[..200], &json!({})).await;
    dying.kill().await;
    let rest = place_all(&api, &numbers[200..], &json!({})).await;
    let ids: Vec<_> = first.into_iter().chain(rest).collect();

    // Everything that is not the dead one's goes through the other.
    let mut lost = Vec::new();
    for id in &ids {
        let id_ = id.parse().unwrap();
        let ended = async {
            loop {
                let call = world.calls().get(id_).await.unwrap().unwrap();
                let dead = call.owner.as_ref().map(domain::BridgeId::as_str)
                    == Some(doomed["BRIDGE_ID"].as_str());
                if call.status.is_terminal() || dead {
                    return call.status.is_terminal();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_mins(2), ended).await;
        if !ended.expect("an end") {
            lost.push(id.clone());
        }
    }
    let later = clock::now().plus(Duration::from_hours(3));
    let swept = world.sweeper().sweep(later).await.unwrap();
    assert_eq!(swept.lost, lost.len());
    println!("{} calls were the dead bridge's", lost.len());
    for (to, id) in numbers.iter().zip(&ids) {
        let call = api.status(id).await;
        assert_eq!(call["is_completed"], true, "{call}");
        let invites = pbx.invites_to(to) + other.invites_to(to);
        assert!(invites <= 1, "rung {invites} times: {call}");
        if !lost.contains(id) {
            assert_eq!(
                (call["status"].as_str(), invites),
                (Some("completed"), 1),
                "{call}"
            );
        }
    }
    living.signal("TERM").await;
    assert_eq!(living.wait().await.code, Some(0));
}

async fn stopped(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let environment = environment(&world, &pbx);
    let numbers: Vec<_> = (0..100).map(|_| number("200")).collect();
    let bridge = Program::start("bridge", &[], &environment);
    let ids = place_all(&api, &numbers, &json!({})).await;
    // Some are on their way, some wait.
    bridge.signal("TERM").await;
    assert_eq!(bridge.wait().await.code, Some(0), "nothing was cut short");
    // None was started and left: what is claimed has been dialled, and has its message deleted.
    let bridge = Program::start("bridge", &[], &environment);
    for (to, id) in numbers.iter().zip(&ids) {
        let call = api.wait_until_over(id).await;
        assert_eq!(call["status"], "completed", "{call}");
        assert_eq!(pbx.invites_to(to), 1, "{call}");
    }
    bridge.signal("TERM").await;
    assert_eq!(bridge.wait().await.code, Some(0));
}
