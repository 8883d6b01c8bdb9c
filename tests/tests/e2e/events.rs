//! Whatever comes over the socket, calls go on.

use std::sync::Arc;

use e2e::world::number;
use e2e::{Line, Pbx, World};
use serde_json::json;

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add("events::garbage_is_ignored_and_counted", garbage);
    suite.add("events::a_cut_socket_is_connected_again", cut_socket);
    suite.add_scenario("events::unknown_and_large_events_are_ignored", user_events);
}

async fn garbage(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let app = world.add_bridge(&[]).await;
    let api = world.api(Line::Trunk).await;
    let Pbx::Simulator { simulator, .. } = &*pbx else {
        unreachable!()
    };
    let id = api.place(&number("203"), json!({})).await;
    api.wait_until(&id, |call| call["status"] == "ringing")
        .await;
    let long = format!(r#"{{"type":"Later","x":"{}"}}"#, "x".repeat(100_000));
    let garbage = [
        "",
        "garbage",
        "\u{0}",
        "[]",
        "{}",
        r#"{"type":null}"#,
        r#"{"type":"PeerStatusChange","peer":{"technology":"x"}}"#,
        &long,
        r#"{"type":"ChannelDestroyed"}"#,
        r#"{"type":"ChannelDestroyed","channel":{"id":"1700000000.1"},"cause":16}"#,
        &format!(r#"{{"type":"ChannelDestroyed","channel":{{"id":"{id};2"}},"cause":16}}"#),
        &format!(r#"{{"type":"ChannelStateChange","channel":{{"id":"{id}","state":"Later"}}}}"#),
    ];
    for text in garbage {
        simulator.inject(&app, text);
    }
    let call = api.wait_until_over(&id).await;
    assert_eq!(call["status"], "completed", "{call}");
    let counts = world.bridge().counts();
    let ignored = (
        counts.malformed,
        counts.other_type,
        counts.other_channel,
        counts.nothing_new,
    );
    assert_eq!(ignored, (6, 2, 3, 1));
    assert!(world.bridge().is_up());
}

/// Sends an event of a type that the bridge does not know to its application. Asterisk itself takes no
/// more than 40 KiB in a request, and the simulator's event is larger.
async fn send_unknown_event(pbx: &Pbx, app: &str) {
    match pbx {
        Pbx::Asterisk(asterisk) => {
            // The bridge's filter would keep the event from it.
            asterisk.allow_event(app, "ChannelUserevent").await;
            let variables = json!({"x": "x".repeat(39_000)});
            asterisk.send_user_event(app, "later", &variables).await;
        }
        Pbx::Simulator { simulator, .. } => {
            let event = json!({"type": "ChannelUserevent", "eventname": "later",
                "userevent": {"x": "x".repeat(100_000)}});
            simulator.inject(app, &event.to_string());
        }
    }
}

async fn user_events(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let app = world.add_bridge(&[]).await;
    let api = world.api(Line::Trunk).await;
    let id = api.place(&number("203"), json!({})).await;
    api.wait_until(&id, |call| call["status"] == "ringing")
        .await;
    assert_eq!(world.bridge().counts().other_type, 0);
    send_unknown_event(&pbx, &app).await;
    let call = api.wait_until_over(&id).await;
    assert_eq!(call["status"], "completed", "{call}");
    assert_eq!(world.bridge().counts().other_type, 1);
    assert!(world.bridge().is_up());
}

async fn cut_socket(_: Arc<Pbx>) {
    // A simulator of its own: all its sockets are cut.
    let pbx = Arc::new(Pbx::simulator().await);
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let Pbx::Simulator { simulator, .. } = &*pbx else {
        unreachable!()
    };
    let up = world.bridge().readiness();
    simulator.drop_sockets();
    up.wait_for(false).await;
    up.wait_for(true).await;
    let id = api.place(&number("486"), json!({})).await;
    assert_eq!(api.wait_until_over(&id).await["status"], "busy");
}
