//! Which way the requests to ARI go: over a WebSocket where Asterisk takes them there, and over HTTP otherwise.

use std::sync::Arc;
use std::time::Duration;

use bridge::Bridge;
use e2e::proxy::Proxy;
use e2e::world::{Behind, number};
use e2e::{Client, Line, Pbx, World};
use serde_json::{Value, json};

use crate::Suite;

/// What only a request over HTTP begins with.
const HTTP_POST: &str = "POST /ari/";

pub fn add(suite: &mut Suite) {
    suite.add_scenario("rest_over_websocket::is_used_where_it_is_there", is_used);
    suite.add_scenario("rest_over_websocket::may_be_switched_off", is_not_used);
}

/// Places calls until the requests for one go over a socket: the first finds none, and has it connected.
pub async fn until_used(api: &Client, bridge: &Bridge) {
    let used = async {
        while bridge.counts().over_websocket == 0 {
            let id = api.place(&number("486"), json!({})).await;
            api.wait_until_over(&id).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), used)
        .await
        .expect("a socket for requests");
}

async fn is_used(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let ari = Proxy::before(&pbx.ari().0).await;
    let behind = Behind {
        ari: Some(&ari),
        ..Behind::default()
    };
    let bridge = world.bridge_behind(behind, &[]).await;
    until_used(&api, &bridge).await;

    ari.lose_answers(HTTP_POST, usize::MAX);
    // As large as a request gets.
    let variables: Value = (0..20)
        .map(|i| (format!("LARGE_{i}"), json!("\"".repeat(256))))
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
    assert_eq!(ari.lost(), 0, "requests over HTTP");
    assert!(bridge.stop().await);
}

async fn is_not_used(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let ari = Proxy::before(&pbx.ari().0).await;
    let behind = Behind {
        ari: Some(&ari),
        ..Behind::default()
    };
    let off = [("ARI_REST_OVER_WEBSOCKET", "false")];
    let bridge = world.bridge_behind(behind, &off).await;
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
