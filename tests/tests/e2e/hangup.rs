//! Hanging up over the API, at each moment of a call.

use std::sync::Arc;
use std::time::Duration;

use e2e::client::read;
use e2e::program::Program;
use e2e::world::number;
use e2e::{Client, Line, Pbx, World};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::Suite;
use crate::recovery::place_until;

pub fn add(suite: &mut Suite) {
    suite.add_scenario(
        "hangup::a_pending_call_is_canceled_and_never_dialled",
        pending,
    );
    suite.add_scenario("hangup::a_ringing_call_is_canceled", ringing);
    suite.add_scenario("hangup::an_answered_call_is_completed", answered);
    suite.add_scenario("hangup::right_after_the_request_it_ends_canceled", at_once);
    suite.add_scenario(
        "hangup::asked_for_while_the_bridge_is_down_all_calls_end_canceled",
        bridge_down,
    );
    suite.add(
        "hangup::a_request_that_cannot_be_read_is_deleted",
        unreadable,
    );
    suite.add("hangup::what_is_unknown_or_not_a_call_is_refused", unknown);
}

async fn hang_up(api: &Client, id: &str) -> (u16, Value) {
    let path = format!("/api/v2/calls/{id}/hangup");
    read(api.request(Method::POST, &path).send().await.unwrap()).await
}

async fn wait_until_gone(pbx: &Pbx, ids: &[String]) {
    let gone = async {
        while !pbx.channels_among(ids).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .expect("no channel is left");
}

async fn pending(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let to = number("200");
    let id = api.place(&to, json!({})).await;
    let (status, body) = hang_up(&api, &id).await;
    assert_eq!((status, body["status"].as_str()), (202, Some("canceled")));
    let (status, body) = hang_up(&api, &id).await;
    assert_eq!(
        (status, body["type"].as_str()),
        (409, Some("urn:problem:call-over"))
    );
    world.add_bridge(&[]).await;
    let after = api.place(&number("486"), json!({})).await;
    api.wait_until_over(&after).await;
    assert_eq!(api.status(&id).await["status"], "canceled");
    assert_eq!(pbx.invites_to(&to), 0);
}

async fn ringing(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let to = number("000");
    let id = api.place(&to, json!({})).await;
    api.wait_until(&id, |call| call["status"] == "ringing")
        .await;
    // Twice at once does no harm.
    let (first, second) = tokio::join!(hang_up(&api, &id), hang_up(&api, &id));
    // The later one may find the call over.
    let mut statuses = [first.0, second.0];
    statuses.sort_unstable();
    assert!(
        [[202, 202], [202, 409]].contains(&statuses),
        "{first:?} {second:?}"
    );
    let call = api.wait_until_over(&id).await;
    assert_eq!(
        (call["status"].as_str(), call["hangup_cause"].as_u64()),
        (Some("canceled"), Some(16))
    );
    assert_eq!(pbx.invites_to(&to), 1);
    wait_until_gone(&pbx, &[id]).await;
}

async fn answered(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let id = api.place(&number("200"), json!({})).await;
    api.wait_until(&id, |call| call["status"] == "answered")
        .await;
    assert_eq!(hang_up(&api, &id).await.0, 202);
    let call = api.wait_until_over(&id).await;
    assert_eq!(call["status"], "completed", "{call}");
    assert_eq!(hang_up(&api, &id).await.0, 409);
    wait_until_gone(&pbx, &[id]).await;
}

async fn at_once(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        let to = number("000");
        let id = api.place(&to, json!({})).await;
        assert_eq!(hang_up(&api, &id).await.0, 202);
        calls.push((to, id));
    }
    for (to, id) in &calls {
        let call = api.wait_until_over(id).await;
        assert_eq!(call["status"], "canceled", "{call}");
        assert!(pbx.invites_to(to) <= 1);
    }
    let ids: Vec<_> = calls.into_iter().map(|(_, id)| id).collect();
    wait_until_gone(&pbx, &ids).await;
}

async fn bridge_down(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let mut environment = world.bridge_environment();
    let id = environment["BRIDGE_ID"].parse().unwrap();
    let control = world.embedded.create_control_queue(&id).await.unwrap();
    environment.insert("CONTROL_QUEUE_URL".to_owned(), control);
    let mut bridge = Program::start("bridge", &[], &environment);
    let numbers: Vec<_> = (0..20).map(|_| number("000")).collect();
    let ringing = numbers
        .iter()
        .map(|to| place_until(&api, to, json!({}), "ringing"));
    let ids = join_all(ringing).await;
    bridge.kill().await;
    for id in &ids {
        assert_eq!(hang_up(&api, id).await.0, 202);
    }
    // What it has to obey is there before it knows any of its calls.
    let mut bridge = Program::start("bridge", &[], &environment);
    for (to, id) in numbers.iter().zip(&ids) {
        let call = api.wait_until_over(id).await;
        assert_eq!(call["status"], "canceled", "{call}");
        assert_eq!(pbx.invites_to(to), 1);
    }
    wait_until_gone(&pbx, &ids).await;
    bridge.kill().await;
}

async fn unknown(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    assert_eq!(
        hang_up(&api, "3f2b8c1e-0000-4000-8000-000000000001")
            .await
            .0,
        404
    );
    assert_eq!(hang_up(&api, "17").await.0, 422);
}

/// One of a later release, for example: it would come back every two seconds for a day.
async fn unreadable(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let environment = world.bridge_environment();
    let id = environment["BRIDGE_ID"].parse().unwrap();
    let control = world.embedded.create_control_queue(&id).await.unwrap();
    for body in ["no JSON", r#"{"type":"hold.v9","call_id":"x"}"#] {
        let sqs = &world.clients.sqs;
        let sent = sqs.send_message().queue_url(&control).message_body(body);
        sent.send().await.unwrap();
    }
    world.add_bridge(&[("BRIDGE_ID", id.as_str())]).await;
    let deleted = async {
        while world.in_queue(&control).await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), deleted)
        .await
        .expect("an empty queue");
    assert_eq!(world.bridge().counts().bad_messages, 2);
}
