//! Which way the requests to ARI go: over a WebSocket where Asterisk takes them there, and over HTTP otherwise.

use std::sync::Arc;
use std::time::Duration;

use bridge::Bridge;
use e2e::proxy::{Mode, Proxy};
use e2e::world::number;
use e2e::{Client, Line, Pbx, World};
use serde_json::{Value, json};

use crate::Suite;
use crate::recovery::{behind_ari, place_until};

/// What only a request over HTTP begins with.
const HTTP_POST: &str = "POST /ari/";

pub fn add(suite: &mut Suite) {
    suite.add_scenario("rest_over_websocket::is_used_where_it_is_there", is_used);
    suite.add_scenario("rest_over_websocket::may_be_switched_off", is_not_used);
    suite.add_scenario(
        "rest_over_websocket::a_create_that_takes_long_holds_up_no_call_that_has_begun",
        slow_create,
    );
}

/// Places calls until the create and the dial of one go over sockets: the first find none, and have them connected.
pub async fn until_used(api: &Client, bridge: &Bridge) {
    let used = async {
        let mut before = bridge.counts().over_websocket;
        loop {
            let id = api.place(&number("486"), json!({})).await;
            api.wait_until_over(&id).await;
            let now = bridge.counts().over_websocket;
            if now == before + 2 {
                return;
            }
            before = now;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), used)
        .await
        .expect("a socket for requests");
}

/// A system whose bridge reaches ARI through a proxy.
async fn behind_a_proxy(
    pbx: &Arc<Pbx>,
    settings: &[(&str, &str)],
) -> (World, Client, Proxy, Bridge) {
    let world = World::without_bridge(pbx).await;
    let api = world.api(Line::Trunk).await;
    let ari = Proxy::before(&pbx.ari().0).await;
    let bridge = world.bridge_behind(behind_ari(&ari), settings).await;
    (world, api, ari, bridge)
}

async fn is_used(pbx: Arc<Pbx>) {
    let (_world, api, ari, bridge) = behind_a_proxy(&pbx, &[]).await;
    until_used(&api, &bridge).await;

    ari.lose_answers(HTTP_POST, usize::MAX);
    // What is even larger goes over HTTP.
    let variables: Value = (0..20)
        .map(|i| (format!("IVR_LARGE_{i}"), json!("\"".repeat(60))))
        .collect();
    for (to, body, status) in [
        ("486", json!({"variables": variables}), "busy"),
        ("200", json!({}), "completed"),
        ("200", json!({"media": ["sound:hello-world"]}), "completed"),
    ] {
        let to = number(to);
        let id = api.place(&to, body).await;
        let call = api.wait_until_over(&id).await;
        assert_eq!(call["status"], status, "{call}");
        assert_eq!(pbx.invites_to(&to), 1, "{to}");
    }
    // The limit of each answered call: Asterisk may hold its answer back.
    assert_eq!(ari.lost(), 2, "requests over HTTP");
    assert!(bridge.stop().await);
}

async fn is_not_used(pbx: Arc<Pbx>) {
    let off = [("ARI_REST_OVER_WEBSOCKET", "false")];
    let (_world, api, ari, bridge) = behind_a_proxy(&pbx, &off).await;
    for calls in 1..=2 {
        ari.lose_answers(HTTP_POST, 1);
        let to = number("486");
        let id = api.place(&to, json!({})).await;
        let call = api.wait_until_over(&id).await;
        assert_eq!(call["status"], "busy", "{call}");
        assert_eq!(pbx.invites_to(&to), 1, "{to}");
        assert_eq!(ari.lost(), calls, "answers over HTTP");
    }
    assert!(bridge.stop().await);
}

async fn slow_create(pbx: Arc<Pbx>) {
    let patient = [
        ("ARI_MAX_IN_FLIGHT", "2"),
        ("ARI_TIMEOUT", "60000"),
        ("ARI_RETRIES", "0"),
        ("QUEUE_VISIBILITY_TIMEOUT", "300"),
    ];
    let (_world, api, ari, bridge) = behind_a_proxy(&pbx, &patient).await;
    until_used(&api, &bridge).await;
    let begun = number("203");
    let begun_id = place_until(&api, &begun, json!({}), "ringing").await;
    ari.set_for("%3Arequests-new", Mode::Stalled);
    // More than there may be requests under way.
    let new: Vec<_> = (0..3).map(|_| number("486")).collect();
    let mut new_ids = Vec::new();
    for to in &new {
        new_ids.push(api.place(to, json!({})).await);
    }
    let call = api.wait_until_over(&begun_id).await;
    assert_eq!(call["status"], "completed", "{call}");
    assert_eq!(pbx.invites_to(&new[0]), 0);
    // Nor was it held up until a socket was given up.
    let metrics = bridge.vitals().metrics();
    assert!(!metrics.contains("ari_errors_total{"), "{metrics}");
    ari.set(Mode::Open);
    for (to, id) in new.iter().zip(&new_ids) {
        let call = api.wait_until_over(id).await;
        assert_eq!(call["status"], "busy", "{call}");
        assert_eq!(pbx.invites_to(to), 1, "{to}");
    }
    assert_eq!(pbx.invites_to(&begun), 1);
    assert!(bridge.stop().await);
}
