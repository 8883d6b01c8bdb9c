//! Nobody's phone rings twice: duplicates, redeliveries, several bridges.

use std::sync::Arc;
use std::time::Duration;

use domain::{CallId, QueueMessage};
use e2e::world::number;
use e2e::{Client, Line, Pbx, World};
use serde_json::json;

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add_scenario("once::each_message_twice_to_one_bridge", |pbx| {
        duplicates(pbx, 1)
    });
    suite.add_scenario("once::each_message_twice_to_two_bridges", |pbx| {
        duplicates(pbx, 2)
    });
    suite.add_scenario(
        "once::a_message_redelivered_after_the_call_is_over",
        redelivered_late,
    );
    suite.add_scenario(
        "once::a_leftover_channel_of_a_bridge_that_died_is_no_obstacle",
        leftover_channel,
    );
    suite.add_scenario("once::a_call_past_its_time_is_not_dialled", expired);
    suite.add_scenario(
        "once::a_call_that_was_refused_to_the_client_is_not_dialled",
        refused,
    );
}

async fn send_again(world: &World, id: &str) {
    let id: CallId = id.parse().unwrap();
    let call = world.calls().get(id).await.unwrap().expect("a record");
    world
        .queue()
        .send(&QueueMessage::Dial(call.request))
        .await
        .unwrap();
}

/// Takes the only message out of the queue.
async fn take_message(world: &World) {
    let (queue, patience) = (world.queue(), Duration::from_secs(20));
    let received = queue.receive(10, patience, patience).await.unwrap();
    assert_eq!(received.len(), 1);
    let kept = queue.delete(&[received[0].receipt.clone()]).await.unwrap();
    assert_eq!((kept.len(), world.queued().await), (0, 0));
}

async fn wait_until_drained(world: &World) {
    let drained = async {
        while world.queued().await > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(90), drained)
        .await
        .expect("the queue is drained");
}

async fn place_pending(api: &Client, count: usize) -> Vec<(String, String)> {
    let mut calls = Vec::new();
    for _ in 0..count {
        let to = number("486");
        let id = api.place(&to, json!({})).await;
        calls.push((to, id));
    }
    calls
}

async fn duplicates(pbx: Arc<Pbx>, bridges: usize) {
    let mut world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let calls = place_pending(&api, 30).await;
    for (_, id) in &calls {
        send_again(&world, id).await;
    }
    for _ in 0..bridges {
        world.add_bridge(&[]).await;
    }
    for (to, id) in &calls {
        let call = api.wait_until_over(id).await;
        assert_eq!(call["status"], "busy", "{call}");
        assert_eq!(pbx.invites_to(to), 1, "{to}");
    }
    wait_until_drained(&world).await;
    let ids: Vec<_> = calls.iter().map(|(_, id)| id.clone()).collect();
    assert_eq!(pbx.channels_among(&ids).await, Vec::<String>::new());
    for (to, _) in &calls {
        assert_eq!(pbx.invites_to(to), 1, "{to}");
    }
}

async fn redelivered_late(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let calls = place_pending(&api, 1).await;
    let (to, id) = &calls[0];
    let before = api.wait_until_over(id).await;
    send_again(&world, id).await;
    wait_until_drained(&world).await;
    assert_eq!(api.status(id).await, before);
    assert_eq!(pbx.invites_to(to), 1);
    assert_eq!(
        pbx.channels_among(std::slice::from_ref(id)).await,
        Vec::<String>::new()
    );
}

/// A bridge that dies between the create and the claim leaves a channel that nobody has dialled; the
/// message comes back to the next one.
async fn leftover_channel(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    // A channel lives only in an application that is connected, so the bridge is there first.
    let app = world.add_bridge(&[]).await;
    let to = number("486");
    let id = uuid::Uuid::new_v4().to_string();
    let (url, username, password) = pbx.ari();
    let http = reqwest::Client::new();
    let create = http
        .post(format!("{url}/channels/create"))
        .basic_auth(username, Some(password))
        .json(&json!({"endpoint": format!("PJSIP/{to}@trunk"), "app": app, "appArgs": id, "channelId": id}));
    let created = create.send().await.unwrap();
    assert!(created.status().is_success());
    // The bridge does not know it and hangs it up.
    let gone = async {
        while !pbx
            .channels_among(std::slice::from_ref(&id))
            .await
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .expect("the orphan is hung up");
    assert_eq!(pbx.invites_to(&to), 0);
    // And goes on working.
    let id = api.place(&number("486"), json!({})).await;
    assert_eq!(api.wait_until_over(&id).await["status"], "busy");
}

/// Only the message says that its time is over, and it is the only one: the record would still let the call be
/// claimed.
async fn expired(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let calls = place_pending(&api, 1).await;
    let (to, id) = &calls[0];
    take_message(&world).await;
    let call = world.calls().get(id.parse().unwrap()).await.unwrap();
    let mut request = call.expect("a record").request;
    request.dial_before = request.created_at;
    let message = QueueMessage::Dial(request);
    world.queue().send(&message).await.unwrap();
    world.add_bridge(&[]).await;
    let call = api.wait_until_over(id).await;
    wait_until_drained(&world).await;
    assert_eq!(
        (call["status"].as_str(), call["failure_reason"].as_str()),
        (Some("failed"), Some("expired")),
        "{call}"
    );
    assert!(call["dialed_at"].is_null(), "{call}");
    assert_eq!(pbx.invites_to(to), 0);
    assert_eq!(
        pbx.channels_among(std::slice::from_ref(id)).await,
        Vec::<String>::new()
    );
}

/// The message got through although its send seemed to fail: the record says failed, so no bridge dials.
async fn refused(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let calls = place_pending(&api, 1).await;
    let (to, id) = &calls[0];
    let call = world
        .calls()
        .get(id.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    let reason = domain::FailureReason::NotQueued;
    world
        .calls()
        .fail_pending(&call, reason, cloud::clock::now())
        .await
        .unwrap();
    world.add_bridge(&[]).await;
    wait_until_drained(&world).await;
    let call = api.status(id).await;
    assert_eq!(
        (call["status"].as_str(), call["failure_reason"].as_str()),
        (Some("failed"), Some("not_queued"))
    );
    assert_eq!(pbx.invites_to(to), 0);
    assert_eq!(
        pbx.channels_among(std::slice::from_ref(id)).await,
        Vec::<String>::new()
    );
}
