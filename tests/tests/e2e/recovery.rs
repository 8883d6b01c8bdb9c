//! What becomes of calls when a bridge, its socket or an answer is lost on the way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::program::Program;
use e2e::proxy::{Mode, Proxy};
use e2e::world::{Behind, number};
use e2e::{Client, Line, Pbx, World};
use serde_json::{Value, json};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add_scenario(
        "recovery::a_killed_bridge_follows_its_calls_again",
        killed_bridge,
    );
    suite.add_scenario(
        "recovery::what_was_answered_while_the_bridge_was_down_goes_on",
        answered_meanwhile,
    );
    suite.add_scenario(
        "recovery::what_ended_while_the_bridge_was_down_ends",
        ended_meanwhile,
    );
    suite.add_scenario("recovery::a_cut_socket_loses_no_call", cut_socket);
    suite.add_scenario(
        "recovery::a_claim_whose_answer_is_lost_is_known",
        lost_claim,
    );
    suite.add_scenario(
        "recovery::a_store_that_is_gone_for_a_while_loses_nothing",
        store_gone,
    );
    suite.add_scenario(
        "recovery::a_store_that_is_gone_under_fifty_calls_is_not_pestered",
        store_gone_under_load,
    );
}

/// How soon each record is right once a socket that was cut may connect again.
const RIGHT_WITHIN: Duration = Duration::from_secs(30);

/// How much memory, in KiB, a bridge may need for what fifty calls have to say while nothing can be written.
const MEMORY_OF_FIFTY: u64 = 32 * 1024;

async fn kill(mut bridge: Program) {
    bridge.kill().await;
}

/// Waits until the channel is in this state; `None` means that it is gone.
pub async fn wait_for_channel(pbx: &Pbx, id: &str, state: Option<&str>) {
    let (url, username, password) = pbx.ari();
    let http = reqwest::Client::new();
    let reached = async {
        loop {
            let request = http.get(format!("{url}/channels/{id}"));
            let response = request.basic_auth(&username, Some(&password)).send().await;
            let response = response.unwrap();
            let found = response.status().is_success();
            let channel: Value = response.json().await.unwrap_or_default();
            let now = found.then(|| channel["state"].as_str().unwrap_or_default());
            if now == state {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), reached)
        .await
        .unwrap_or_else(|_| panic!("the channel was never {state:?}"));
}

/// Asks for a call and waits until it has come so far; on a slow machine it may be further by then.
pub async fn place_until(api: &Client, to: &str, body: Value, status: &str) -> String {
    let id = api.place(to, body).await;
    let at = format!("{status}_at");
    api.wait_until(&id, |call| !call[&at].is_null()).await;
    id
}

async fn killed_bridge(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let environment = world.bridge_environment();
    let bridge = Program::start("bridge", &[], &environment);
    let (silent, talking) = (number("000"), number("200"));
    let ringing = place_until(&api, &silent, json!({"timeout": 6_000}), "ringing").await;
    let answered = place_until(&api, &talking, json!({}), "answered").await;
    kill(bridge).await;
    let bridge = Program::start("bridge", &[], &environment);
    let call = api.wait_until_over(&ringing).await;
    assert_eq!(call["status"], "no_answer", "{call}");
    let call = api.wait_until_over(&answered).await;
    assert_eq!(call["status"], "completed", "{call}");
    for to in [silent, talking] {
        assert_eq!(pbx.invites_to(&to), 1);
    }
    kill(bridge).await;
}

async fn answered_meanwhile(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let environment = world.bridge_environment();
    let bridge = Program::start("bridge", &[], &environment);
    // Two, as one goes on in the dialplan and the other is played to.
    let into_ivr = place_until(&api, &number("203"), json!({}), "ringing").await;
    let media = json!({"media": ["digits:42"]});
    let played_to = api.place(&number("203"), media).await;
    api.wait_until(&played_to, |call| call["status"] == "ringing")
        .await;
    kill(bridge).await;
    for id in [&into_ivr, &played_to] {
        wait_for_channel(&pbx, id, Some("Up")).await;
    }
    let bridge = Program::start("bridge", &[], &environment);
    for id in [&into_ivr, &played_to] {
        let call = api.wait_until_over(id).await;
        assert_eq!(call["status"], "completed", "{call}");
        assert!(call["answered_at"].is_string(), "{call}");
    }
    let events = api.events(&played_to).await;
    assert!(events.contains(&"played".to_owned()), "{events:?}");
    kill(bridge).await;
}

async fn ended_meanwhile(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let environment = world.bridge_environment();
    let bridge = Program::start("bridge", &[], &environment);
    let answered = place_until(&api, &number("201"), json!({}), "answered").await;
    let to = number("286");
    let busy = place_until(&api, &to, json!({}), "ringing").await;
    kill(bridge).await;
    for id in [&answered, &busy] {
        wait_for_channel(&pbx, id, None).await;
    }
    let bridge = Program::start("bridge", &[], &environment);
    let call = api.wait_until_over(&answered).await;
    assert_eq!(call["status"], "completed", "{call}");
    let call = api.wait_until_over(&busy).await;
    assert_eq!(
        (call["status"].as_str(), call["failure_reason"].as_str()),
        (Some("failed"), Some("outcome_unknown")),
        "{call}"
    );
    assert_eq!(pbx.invites_to(&to), 1);
    kill(bridge).await;
}

/// A bridge that reaches ARI alone through a proxy.
pub fn behind_ari(proxy: &Proxy) -> Behind<'_> {
    Behind {
        ari: Some(proxy),
        ..Behind::default()
    }
}

fn behind_store(proxy: &Proxy) -> Behind<'_> {
    Behind {
        store: Some(proxy),
        ..Behind::default()
    }
}

async fn cut_socket(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let proxy = Proxy::before(&pbx.ari().0).await;
    let bridge = world.bridge_behind(behind_ari(&proxy), &[]).await;
    let answers = place_until(&api, &number("203"), json!({}), "ringing").await;
    let goes_on = place_until(&api, &number("000"), json!({"timeout": 8_000}), "ringing").await;
    let over = place_until(&api, &number("201"), json!({}), "answered").await;
    proxy.set(Mode::Cut);
    wait_for_channel(&pbx, &answers, Some("Up")).await;
    wait_for_channel(&pbx, &over, None).await;
    // What comes in meanwhile waits.
    let waits = api.place(&number("486"), json!({})).await;
    proxy.set(Mode::Open);
    for (id, status) in [
        (&answers, "completed"),
        (&goes_on, "no_answer"),
        (&over, "completed"),
        (&waits, "busy"),
    ] {
        let call = api.wait_until_over_within(id, RIGHT_WITHIN).await;
        assert_eq!(call["status"], status, "{call}");
    }
    assert!(bridge.stop().await);
}

async fn lost_claim(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let proxy = Proxy::before(world.embedded.dynamodb_url()).await;
    let bridge = world.bridge_behind(behind_store(&proxy), &[]).await;
    // Once, the repetition of the write finds its own; often, the next delivery of the message does.
    for times in [1, 3] {
        let before = proxy.lost();
        proxy.lose_answers("attribute_not_exists(#owner) AND dial_before", times);
        let to = number("486");
        let id = api.place(&to, json!({})).await;
        let call = api.wait_until_over(&id).await;
        assert_eq!(call["status"], "busy", "{call}");
        assert_eq!(pbx.invites_to(&to), 1);
        assert_eq!(proxy.lost() - before, times);
    }
    assert!(bridge.stop().await);
}

async fn store_gone(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let proxy = Proxy::before(world.embedded.dynamodb_url()).await;
    let bridge = world.bridge_behind(behind_store(&proxy), &[]).await;
    let mut calls = Vec::new();
    for digits in ["200", "486", "201", "480"] {
        let to = number(digits);
        let id = place_until(
            &api,
            &to,
            json!({}),
            if digits == "201" {
                "answered"
            } else {
                "ringing"
            },
        )
        .await;
        calls.push((digits, id));
    }
    proxy.set(Mode::Stalled);
    for (_, id) in &calls {
        wait_for_channel(&pbx, id, None).await;
    }
    assert!(bridge.is_up(), "the events socket stays up");
    proxy.set(Mode::Open);
    for (digits, id) in &calls {
        let call = api.wait_until_over(id).await;
        let expected = match *digits {
            "486" => "busy",
            "480" => "no_answer",
            _ => "completed",
        };
        assert_eq!(call["status"], expected, "{call}");
    }
    assert!(bridge.stop().await);
}

/// Fifty calls ring, are answered or hung up while nothing can be written, until the last phone has rung for half a minute.
async fn store_gone_under_load(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let proxy = Proxy::before(world.embedded.dynamodb_url()).await;
    let mut environment = world.environment_behind(behind_store(&proxy));
    environment.insert("LOG_LEVEL".to_owned(), "error".to_owned());
    let bridge = Program::start("bridge", &[], &environment);
    let endings = [
        ("200", "completed"),
        ("486", "busy"),
        ("201", "completed"),
        ("480", "no_answer"),
        ("000", "no_answer"),
    ];
    let mut calls = Vec::new();
    for index in 0..50 {
        let (digits, status) = endings[index % endings.len()];
        let to = number(digits);
        let id = api.place(&to, json!({"timeout": 32_000})).await;
        calls.push((to, id, status));
    }
    for (_, id, _) in &calls {
        api.wait_until(id, |call| call["dialed_at"].is_string())
            .await;
    }
    let before = proxy.connections();
    let footprint_before = bridge.footprint();
    proxy.set(Mode::Cut);
    let cut = Instant::now();
    for (_, id, _) in &calls {
        wait_for_channel(&pbx, id, None).await;
    }
    // The store is probed now and then, and nothing else is asked of it.
    let all_over = proxy.connections();
    let probed = async {
        while proxy.connections() < all_over + 4 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), probed)
        .await
        .expect("probes");
    let asked = proxy.connections() - before;
    let footprint = bridge.footprint();
    let gone = cut.elapsed().as_secs();
    proxy.set(Mode::Open);
    // None is unknown: every event was read meanwhile.
    for (to, id, status) in &calls {
        let call = api.wait_until_over(id).await;
        assert_eq!(call["status"], *status, "{call}");
        assert_eq!(pbx.invites_to(to), 1);
    }
    // Each call would have been written two to three times: ringing, answered, over.
    println!(
        "{asked} requests of fifty calls while the store was gone for {gone} s; \
         the bridge took {footprint_before} before and {footprint} after"
    );
    assert!(asked <= 120, "{asked} requests");
    assert!(footprint.memory <= footprint_before.memory + MEMORY_OF_FIFTY);
    bridge.signal("TERM").await;
    assert_eq!(bridge.wait().await.code, Some(0));
}
