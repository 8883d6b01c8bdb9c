//! The sweeper ends what nobody else does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use axum::http::HeaderMap;
use axum::{Json, Router};
use cloud::aws::{Clients, Patience};
use cloud::calls::Claim;
use cloud::lease::LeaseClaim;
use cloud::ports::{BeatOutcome, SignsOfLife};
use cloud::{Heartbeat, Heartbeats, clock};
use domain::{BridgeId, Timestamp};
use e2e::program::Program;
use e2e::world::{call_of, number};
use e2e::{Line, Pbx, World};
use functions::sweeper::{Sweeper, Swept};
use local::embedded::STATE_TABLE;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::Suite;
use crate::lambda::start_with;

pub fn add(suite: &mut Suite) {
    suite.add("sweeping::a_call_that_waited_too_long_expires", expired);
    suite.add(
        "sweeping::the_calls_of_a_bridge_that_is_gone_end",
        bridge_gone,
    );
    suite.add(
        "sweeping::a_bridge_that_runs_and_was_forgotten_is_known_again",
        forgotten,
    );
    suite.add("sweeping::the_function_sweeps_on_its_schedule", function);
    suite.add(
        "sweeping::heartbeats_that_are_left_for_later_are_read",
        unprocessed,
    );
    suite.add("sweeping::past_its_time_a_call_cannot_be_claimed", too_late);
}

fn heartbeats(world: &World) -> Arc<dyn SignsOfLife> {
    let table = STATE_TABLE.to_owned();
    Arc::new(Heartbeats::new(world.clients.dynamodb.clone(), table))
}

/// Writes a heartbeat, whoever holds the lease.
async fn beat(world: &World, heartbeat: &Heartbeat) {
    let mut claim = LeaseClaim::default();
    let signs = heartbeats(world);
    while let BeatOutcome::Refused(lease) = signs.beat(heartbeat, &claim).await.unwrap().outcome {
        (claim.instead_of, claim.asterisk) = (lease.holder, lease.asterisk);
    }
}

/// What a bridge that follows two calls wrote then.
fn heartbeat(bridge_id: BridgeId, at: Timestamp) -> Heartbeat {
    Heartbeat {
        refused: None,
        bridge_id,
        at,
        started_at: at,
        version: String::new(),
        events_up: true,
        ari_up: true,
        waiting: None,
        live_calls: 2,
        clock_ahead_ms: None,
        metrics: String::new(),
    }
}

async fn expired(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let (soon, later) = (number("200"), number("486"));
    let short = api.place(&soon, json!({"queue_timeout": 1_000})).await;
    let long = api.place(&later, json!({"queue_timeout": 600_000})).await;
    let sweeper = world.sweeper();
    assert_eq!(sweeper.sweep(clock::now()).await.unwrap(), Swept::default());
    let after = clock::now().plus(Duration::from_mins(1));
    // A run whose time is up leaves the rest to the next.
    let hurried = Sweeper {
        budget: Duration::ZERO,
        ..world.sweeper()
    };
    let swept = hurried.sweep(after).await.unwrap();
    assert_eq!((swept.expired, swept.unfinished), (0, true));
    let swept = sweeper.sweep(after).await.unwrap();
    assert_eq!((swept.expired, swept.lost, swept.failed), (1, 0, 0));
    let call = api.status(&short).await;
    assert_eq!(call["failure_reason"], "expired", "{call}");
    assert_eq!(sweeper.sweep(after).await.unwrap(), Swept::default());
    // Its message is still there, and does no harm; the other call is as it was.
    world.add_bridge(&[]).await;
    assert_eq!(api.wait_until_over(&long).await["status"], "busy");
    assert_eq!(pbx.invites_to(&soon), 0);
}

async fn bridge_gone(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let environment = world.bridge_environment();
    let mut bridge = Program::start("bridge", &[], &environment);
    let ringing = api.place(&number("000"), json!({"timeout": 20_000})).await;
    let talking = api.place(&number("200"), json!({})).await;
    for (id, status) in [(&ringing, "ringing"), (&talking, "answered")] {
        api.wait_until(id, |call| call["status"] == status).await;
    }
    bridge.kill().await;

    let admin = async |arguments: &[&str]| world.admin(arguments, "").await;
    let id = &environment["BRIDGE_ID"];
    // It was heard of just now.
    let refused = admin(&["bridge", "forget", id]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("is alive"), "{refused:?}");

    // Before their deadlines they are left alone, and as long as the bridge is heard of.
    let sweeper = world.sweeper();
    let soon = clock::now().plus(Duration::from_mins(5));
    assert_eq!(sweeper.sweep(soon).await.unwrap(), Swept::default());
    let later = clock::now().plus(Duration::from_hours(3));
    let bridge_id = environment["BRIDGE_ID"].parse().unwrap();
    let mut heartbeat = heartbeat(bridge_id, later);
    beat(&world, &heartbeat).await;
    assert_eq!(sweeper.sweep(later).await.unwrap(), Swept::default());
    heartbeat.at = clock::now().minus(Duration::from_mins(1));
    beat(&world, &heartbeat).await;
    let refused = admin(&["bridge", "forget", id]).await;
    assert!(refused.stderr.contains("has 2 calls"), "{refused:?}");
    let swept = sweeper.sweep(later).await.unwrap();
    assert_eq!((swept.expired, swept.lost, swept.failed), (0, 2, 0));
    let call = api.status(&ringing).await;
    assert_eq!(
        (call["status"].as_str(), call["failure_reason"].as_str()),
        (Some("failed"), Some("bridge_lost"))
    );
    assert_eq!(api.status(&talking).await["status"], "completed");
    assert_eq!(sweeper.sweep(later).await.unwrap(), Swept::default());

    assert!(admin(&["bridge", "list"]).await.stdout.starts_with(id));
    assert_eq!(admin(&["bridge", "forget", id]).await.code, Some(0));
    assert_eq!(admin(&["bridge", "list"]).await.stdout, "");
    let missing = admin(&["bridge", "forget", id]).await;
    assert!(missing.stderr.contains("no bridge"), "{missing:?}");
}

/// Somebody forgot it, or the table was lost, while its calls go on.
async fn forgotten(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let signs = heartbeats(&world);
    let known = async || {
        let known = async {
            loop {
                if let [bridge] = &signs.read().await.unwrap()[..] {
                    return bridge.bridge_id.to_string();
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), known)
            .await
            .expect("a bridge")
    };
    let id = known().await;
    for key in ["bridges".to_owned(), format!("bridge#{id}")] {
        let dynamodb = &world.clients.dynamodb;
        let delete = dynamodb.delete_item().table_name(STATE_TABLE);
        let delete = delete.key("state_key", AttributeValue::S(key));
        delete.send().await.unwrap();
    }
    assert!(signs.read().await.unwrap().is_empty());
    assert_eq!(known().await, id);
}

async fn too_late(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let id = api
        .place(&number("200"), json!({"queue_timeout": 1_000}))
        .await;
    let id = id.parse().unwrap();
    let claim = async |at| {
        let attempt = Uuid::new_v4().into();
        let owner = "b1".parse().unwrap();
        let deadline = Timestamp::from_millis(i64::MAX);
        world.calls().claim(id, &owner, attempt, deadline, at).await
    };
    let now = clock::now();
    let late = claim(now.plus(Duration::from_secs(2))).await.unwrap();
    assert_eq!(late, Claim::Expired);
    assert!(matches!(claim(now).await.unwrap(), Claim::Claimed(_)));
    assert!(matches!(claim(now).await.unwrap(), Claim::Taken(_)));
}

/// A call that nobody dialled in time, one that nobody follows, and one that may still be dialled.
async fn function(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let long_ago = clock::now().minus(Duration::from_hours(1));
    let (expired, lost) = (
        call_of("+15550000486", long_ago),
        call_of("+15550000200", long_ago),
    );
    let waits = api.place(&number("486"), json!({})).await;
    world.record(&[expired.clone(), lost.clone()]).await;
    let bridge_id = "gone".parse().unwrap();
    let claim = Uuid::new_v4().into();
    let calls = world.calls();
    let claimed = calls.claim(lost.request.id, &bridge_id, claim, long_ago, long_ago);
    assert!(matches!(claimed.await.unwrap(), Claim::Claimed(_)));
    let signs = heartbeats(&world);
    signs.announce(&bridge_id).await.unwrap();
    beat(&world, &heartbeat(bridge_id, long_ago)).await;

    let (_program, mut sweeper) = start_with("sweeper", &world, &BTreeMap::new()).await;
    let event = json!({
        "version": "0", "id": "e", "detail-type": "Scheduled Event", "source": "aws.events",
        "account": "0", "time": "2026-11-21T00:00:00Z", "region": "us-east-1", "resources": [], "detail": {}
    });
    let answer = sweeper.send(event.clone()).await;
    assert_eq!(answer, json!({"expired": 1, "lost": 1, "failed": 0}));
    for (id, status, reason) in [
        (expired.request.id.to_string(), "failed", Some("expired")),
        (lost.request.id.to_string(), "failed", Some("bridge_lost")),
        (waits, "pending", None),
    ] {
        let call = api.status(&id).await;
        assert_eq!(
            (call["status"].as_str(), call["failure_reason"].as_str()),
            (Some(status), reason),
            "{call}"
        );
    }
    let answer = sweeper.send(event).await;
    assert_eq!(answer, json!({"expired": 0, "lost": 0, "failed": 0}));
}

/// `DynamoDB` may answer a part of a batch, and leave the rest for the next request.
async fn unprocessed(_: Arc<Pbx>) {
    let item = |name: &str| {
        json!({
            "state_key": {"S": format!("bridge#{name}")}, "bridge_id": {"S": name},
            "at": {"N": "1"}, "started_at": {"N": "1"}
        })
    };
    // How many batches leave something.
    for (leave, expected) in [(0, Some(2)), (2, Some(2)), (u32::MAX, None)] {
        let batches = Arc::new(AtomicU32::new(0));
        let answer = async move |headers: HeaderMap, body: String| {
            let target = headers["x-amz-target"].to_str().unwrap_or_default();
            if !target.ends_with("BatchGetItem") {
                return Json(json!({"Item": {"ids": {"SS": ["a", "b"]}}}));
            }
            let asked: Value = serde_json::from_str(&body).unwrap();
            let keys = &asked["RequestItems"][STATE_TABLE]["Keys"];
            let last = keys.as_array().unwrap().last().unwrap().clone();
            Json(if batches.fetch_add(1, Ordering::SeqCst) < leave {
                json!({"Responses": {}, "UnprocessedKeys": {STATE_TABLE: {"Keys": keys}}})
            } else if keys.as_array().map(Vec::len) == Some(2) {
                let left = json!({STATE_TABLE: {"Keys": [last]}});
                json!({"Responses": {STATE_TABLE: [item("a")]}, "UnprocessedKeys": left})
            } else {
                json!({"Responses": {STATE_TABLE: [item("b")]}, "UnprocessedKeys": {}})
            })
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = axum::serve(listener, Router::new().fallback(answer));
        let server = tokio::spawn(server.into_future());
        let clients = Clients::local(Patience::FUNCTION, &url, &url).await;
        let heartbeats = Heartbeats::new(clients.dynamodb, STATE_TABLE.to_owned());
        let read = heartbeats.read().await;
        server.abort();
        assert_eq!(read.ok().map(|all| all.len()), expected, "{leave}");
    }
}
