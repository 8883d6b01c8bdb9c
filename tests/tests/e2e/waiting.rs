//! Calls that nobody can be called for wait, and say why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, header};

use cloud::queue::MAX_WAIT;
use e2e::program::Program;
use e2e::world::number;
use e2e::{Client, Line, Own, Pbx, World};
use local::embedded::MAX_RECEIVE_COUNT;
use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Simulator, TrunkState};
use tokio::net::TcpListener;

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add("waiting::while_asterisk_refuses_calls", asterisk_refuses);
    suite.add("waiting::while_the_trunk_is_offline", trunk_offline);
    suite.add_scenario("waiting::while_an_administrator_has_paused_calls", paused);
    suite.add_scenario("waiting::while_the_clock_is_minutes_wrong", clock_wrong);
    suite.add_own(
        "waiting::a_message_outlives_its_last_delivery",
        last_delivery,
    );
    suite.add("waiting::an_expired_call_says_why_it_waited", expired);
    suite.add(
        "waiting::a_dial_that_calls_nobody_is_told_and_then_tried_one_by_one",
        nobody_dialled,
    );
    suite.add(
        "waiting::a_shutdown_that_refuses_dials_calls_nobody",
        dials_refused,
    );
    suite.add("waiting::a_dial_that_nothing_follows_is_ended", unheard);
    suite.add_scenario(
        "waiting::nobody_is_called_for_a_missing_target",
        missing_target,
    );
}

/// A simulator that no other test uses: what is wrong with it concerns all its calls.
async fn own_simulator() -> (Arc<Pbx>, World, Client) {
    let pbx = Arc::new(Pbx::simulator().await);
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    (pbx, world, api)
}

fn simulator(pbx: &Pbx) -> &Simulator {
    match pbx {
        Pbx::Simulator { simulator, .. } => simulator,
        Pbx::Asterisk(_) => unreachable!("it is a simulator"),
    }
}

async fn place_ten(api: &Client) -> Vec<(String, String)> {
    let mut calls = Vec::new();
    for _ in 0..10 {
        let to = number("486");
        let id = api.place(&to, json!({})).await;
        calls.push((to, id));
    }
    calls
}

/// At least one of the calls has been tried and given back for this reason.
async fn wait_for_reason(api: &Client, calls: &[(String, String)], reason: &str) {
    let noted = async {
        loop {
            for (_, id) in calls {
                if api.status(id).await["waiting_reason"] == reason {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), noted)
        .await
        .expect("a reason to wait");
}

async fn all_are_dialled_once(pbx: &Pbx, api: &Client, calls: &[(String, String)]) {
    for (to, id) in calls {
        let call = api.wait_until_over(id).await;
        assert_eq!(call["status"], "busy", "{call}");
        assert_eq!(pbx.invites_to(to), 1, "{to}");
    }
}

/// What `/health` says of the one bridge, once it says this.
async fn wait_for_health(api: &Client, reason: Option<&str>) -> Value {
    let told = async {
        loop {
            let response = api.anonymous(Method::GET, "/health").send().await.unwrap();
            let health: Value = response.json().await.unwrap();
            if health["bridges"][0]["waiting_reason"].as_str() == reason {
                return health;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told)
        .await
        .expect("the health of a bridge")
}

async fn asterisk_refuses(_: Arc<Pbx>) {
    let (pbx, world, api) = own_simulator().await;
    simulator(&pbx).refuse_creates(true);
    let calls = place_ten(&api).await;
    wait_for_reason(&api, &calls, "asterisk_refuses").await;
    let health = wait_for_health(&api, Some("asterisk_refuses")).await;
    assert_eq!(health["status"], "degraded", "{health}");
    let text = world.bridge().vitals().metrics();
    assert!(
        text.lines()
            .any(|line| line.starts_with("circuit_open{") && line.ends_with(" 1")),
        "{text}"
    );
    for (to, id) in &calls {
        assert_eq!(api.status(id).await["status"], "pending");
        assert_eq!(pbx.invites_to(to), 0);
    }
    simulator(&pbx).refuse_creates(false);
    all_are_dialled_once(&pbx, &api, &calls).await;
    wait_for_health(&api, None).await;
}

async fn trunk_offline(_: Arc<Pbx>) {
    let (pbx, _world, api) = own_simulator().await;
    simulator(&pbx).set_trunk("trunk", TrunkState::Offline);
    let calls = place_ten(&api).await;
    wait_for_reason(&api, &calls, "trunk_unavailable").await;
    for (to, _) in &calls {
        assert_eq!(pbx.invites_to(to), 0);
    }
    simulator(&pbx).set_trunk("trunk", TrunkState::Online);
    all_are_dialled_once(&pbx, &api, &calls).await;
}

/// The queue delivers a message [`MAX_RECEIVE_COUNT`] times, and then gives it up.
async fn last_delivery(own: Own) {
    let pbx = own.start().await;
    let mut world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Qualified).await;
    let to = number("486");
    let id = api.place(&to, json!({"queue_timeout": 3_600_000})).await;
    // As if bridges had given the message back before.
    for _ in 1..MAX_RECEIVE_COUNT {
        let queue = world.queue();
        let received = queue.receive(1, MAX_WAIT, Duration::ZERO).await;
        assert_eq!(received.expect("an answer").len(), 1);
    }
    pbx.silence_provider(true).await;
    world.add_bridge(&[]).await;
    wait_for_health(&api, Some("trunk_unavailable")).await;
    assert_eq!(pbx.invites_to(&to), 0);
    pbx.silence_provider(false).await;
    let call = api.wait_until_over_within(&id, TRIED_WITHIN).await;
    assert_eq!(call["status"], "busy", "{call}");
    assert_eq!(pbx.invites_to(&to), 1);
    let dead = &world.embedded.dead_letter_queue_url;
    assert_eq!((world.in_queue(dead).await, world.queued().await), (0, 0));
}

async fn paused(pbx: Arc<Pbx>) {
    let mut world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    // One that is up goes on.
    let up = api.place(&number("000"), json!({"timeout": 600_000})).await;
    api.wait_until(&up, |call| call["status"] == "ringing")
        .await;
    assert_eq!(world.admin(&["pause"], "").await.code, Some(0));
    wait_for_health(&api, Some("paused")).await;
    let calls = place_ten(&api).await;
    assert_eq!(api.status(&up).await["status"], "ringing");
    assert!(world.bridge().hang_up(up.parse().unwrap()));
    api.wait_until_over(&up).await;
    // A bridge that starts now takes nothing, either.
    assert!(world.take_bridge().stop().await);
    world.add_bridge(&[]).await;
    wait_for_health(&api, Some("paused")).await;
    for (to, id) in &calls {
        assert_eq!(api.status(id).await["status"], "pending");
        assert_eq!(pbx.invites_to(to), 0);
    }
    assert_eq!(world.admin(&["resume"], "").await.code, Some(0));
    all_are_dialled_once(&pbx, &api, &calls).await;
}

/// A relay before a server, in whose answers it is later by so many seconds.
async fn later_by(server: &str, seconds: Arc<AtomicU64>) -> String {
    let (server, http) = (server.to_owned(), reqwest::Client::new());
    let answer = async move |mut headers: HeaderMap, body: Bytes| {
        headers.remove(header::HOST);
        let asked = http.post(&server).headers(headers).body(body);
        // The test may be over, and the server gone.
        let Ok(answer) = asked.send().await else {
            return Response::builder()
                .status(502)
                .body(Body::empty())
                .expect("a response");
        };
        let mut response = Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            response = response.header(name, value);
        }
        let ahead = Duration::from_secs(seconds.load(Ordering::SeqCst));
        let date = DateTime::from_secs(cloud::clock::now().plus(ahead).as_secs());
        let date = date.fmt(DateTimeFormat::HttpDate).expect("a date");
        let headers = response.headers_mut().expect("headers");
        headers.insert(header::DATE, date.parse().expect("a date"));
        response
            .body(Body::from(answer.bytes().await.expect("a body")))
            .expect("a response")
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let router = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn clock_wrong(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let later = Arc::new(AtomicU64::new(300));
    let url = later_by(world.embedded.dynamodb_url(), Arc::clone(&later)).await;
    let sqs = world.embedded.sqs_url().to_owned();
    let environment = world.bridge_environment();
    world.embedded = world.embedded.behind(url.clone(), sqs);
    world.add_bridge(&[]).await;
    let api = world.api(Line::Trunk).await;
    let calls = place_ten(&api).await;
    let health = wait_for_health(&api, Some("clock_wrong")).await;
    let ahead = health["bridges"][0]["clock_ahead_seconds"].as_i64();
    assert!(
        ahead.is_some_and(|ahead| (-302..=-298).contains(&ahead)),
        "{health}"
    );
    for (to, id) in &calls {
        assert_eq!(api.status(id).await["status"], "pending");
        assert_eq!(pbx.invites_to(to), 0);
    }
    let mut behind = environment.clone();
    behind.insert("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), url);
    let check = Program::start("bridge", &["--check"], &behind);
    let told = check.wait().await.stdout;
    let expected = "AWS's: a bridge whose clock is so wrong takes no calls";
    assert!(
        told.contains("MISSING  clock, -") && told.contains(expected),
        "{told}"
    );
    // A bridge whose clock is right takes them, beside the one whose clock is wrong.
    let right = Program::start("bridge", &[], &environment);
    all_are_dialled_once(&pbx, &api, &calls).await;
    assert_eq!(world.bridge().counts().dialled, 0);
    right.signal("TERM").await;
    assert_eq!(right.wait().await.code, Some(0));
    let calls = place_ten(&api).await;
    later.store(0, Ordering::SeqCst);
    all_are_dialled_once(&pbx, &api, &calls).await;
    assert_eq!(world.bridge().counts().dialled, 10);
}

async fn expired(_: Arc<Pbx>) {
    let (pbx, world, api) = own_simulator().await;
    simulator(&pbx).set_trunk("trunk", TrunkState::Offline);
    let to = number("200");
    let id = api.place(&to, json!({"queue_timeout": 1_000})).await;
    let waits = api.wait_until(&id, |call| !call["waiting_reason"].is_null());
    assert_eq!(waits.await["waiting_reason"], "trunk_unavailable");
    let later = cloud::clock::now().plus(Duration::from_hours(1));
    world.sweeper().sweep(later).await.unwrap();
    let call = api.status(&id).await;
    assert_eq!(call["failure_reason"], "expired", "{call}");
    assert_eq!(call["waiting_reason"], "trunk_unavailable", "{call}");
    assert_eq!(pbx.invites_to(&to), 0);
}

async fn dials_refused(_: Arc<Pbx>) {
    let (pbx, world, api) = own_simulator().await;
    simulator(&pbx).refuse_dials(true);
    // More than open the circuit for dials that are taken and call nobody.
    for _ in 0..3 {
        let to = number("200");
        let id = api.place(&to, json!({})).await;
        let call = api.wait_until_over(&id).await;
        assert_eq!(call["status"], "failed", "{call}");
        assert_eq!(call["failure_reason"], "not_dialled", "{call}");
        assert_eq!(pbx.invites_to(&to), 0);
        assert!(pbx.channels_among(&[id]).await.is_empty());
    }
    let text = world.bridge().vitals().metrics();
    let circuit_is_open = |line: &str| line.starts_with("circuit_open{") && !line.ends_with(" 0");
    assert!(!text.lines().any(circuit_is_open), "{text}");
    simulator(&pbx).refuse_dials(false);
    let calls = place_ten(&api).await;
    all_are_dialled_once(&pbx, &api, &calls).await;
    assert_eq!(world.queued().await, 0, "messages");
}

async fn nobody_dialled(_: Arc<Pbx>) {
    let (pbx, _world, api) = own_simulator().await;
    simulator(&pbx).exhaust_rtp(true);
    // The second in a row opens the circuit.
    for _ in 0..2 {
        let to = number("200");
        let id = api.place(&to, json!({})).await;
        let call = api.wait_until_over(&id).await;
        assert_eq!(call["status"], "failed", "{call}");
        assert_eq!(call["failure_reason"], "not_dialled", "{call}");
        assert_eq!(call["hangup_cause"], Value::Null, "{call}");
    }
    wait_for_health(&api, Some("asterisk_refuses")).await;
    // One call at a time tries, so that of ten at most one is spent on it here.
    let calls = place_ten(&api).await;
    simulator(&pbx).exhaust_rtp(false);
    let mut spent = 0;
    for (to, id) in &calls {
        let call = api.wait_until_over_within(id, TRIED_WITHIN).await;
        let dialled = pbx.invites_to(to);
        match call["failure_reason"].as_str() {
            Some("not_dialled") => spent += 1,
            _ => assert_eq!(
                (call["status"].as_str(), dialled),
                (Some("busy"), 1),
                "{call}"
            ),
        }
    }
    assert!(spent <= 1, "{spent} calls tried");
}

/// How long an open circuit may wait for its next call.
const TRIED_WITHIN: Duration = Duration::from_mins(2);

async fn unheard(_: Arc<Pbx>) {
    let (pbx, _world, api) = own_simulator().await;
    simulator(&pbx).swallow_events(true);
    let id = api.place(&number("000"), json!({"timeout": 600_000})).await;
    let call = api.wait_until_over(&id).await;
    assert_eq!(call["failure_reason"], "outcome_unknown", "{call}");
    simulator(&pbx).swallow_events(false);
    assert_eq!(pbx.channels_among(&[id]).await, Vec::<String>::new());
}

async fn missing_target(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    for line in [Line::Trunk, Line::Local] {
        let api = world.api(line).await;
        for body in [
            json!({"context": "nowhere"}),
            json!({"extension": "missing"}),
            json!({"priority": 77}),
        ] {
            let to = number("200");
            let id = api.place(&to, body.clone()).await;
            let call = api.wait_until_over(&id).await;
            assert_eq!(call["status"], "failed", "{body}: {call}");
            assert_eq!(call["failure_reason"], "context_missing", "{body}: {call}");
            assert_eq!(pbx.invites_to(&to), 0, "{body}");
            assert_eq!(call["dialed_at"], Value::Null, "{body}");
        }
    }
}
