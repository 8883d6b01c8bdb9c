//! What can be wrong with an Asterisk, and what its requests and events are like then.

use serde_json::{Value, json};
use simulator::TrunkState;

use crate::ari::{APP, Ari};

const TRUNK: &str = "PJSIP/15550000200@trunk";
const LOCAL: &str = "Local/15550000200@outbound-ivr/n";

fn refused() -> (u16, Value) {
    (500, json!({"error": "Allocation failed"}))
}

async fn state_of(ari: &Ari, trunk: &str) -> Value {
    let path = format!("/endpoints/PJSIP/{trunk}");
    let (status, mut endpoint) = ari.send("GET", &path, &[]).await;
    if status == 200 {
        endpoint["state"].take()
    } else {
        endpoint["message"].take()
    }
}

#[tokio::test]
async fn while_creates_are_refused_nothing_else_shows_it() {
    let mut ari = Ari::start(APP).await;
    ari.call("live", "PJSIP/15550000200@trunk").await;
    ari.wait_for("ChannelStateChange").await;
    ari.simulator.refuse_creates(true);
    for endpoint in [TRUNK, LOCAL, "Local/canary@canary", "PJSIP/1@nosuch"] {
        assert_eq!(ari.create("new", endpoint).await, refused(), "{endpoint}");
    }
    assert_eq!(ari.send("GET", "/asterisk/info", &[]).await.0, 200);
    assert_eq!(state_of(&ari, "trunk").await, "online");
    assert_eq!(ari.send("GET", "/channels/live", &[]).await.0, 200);

    ari.simulator.refuse_creates(false);
    let (status, canary) = ari.create("canary", "Local/canary@canary").await;
    assert_eq!((status, &canary["id"]), (200, &json!("canary")));
    assert_eq!(ari.send("DELETE", "/channels/canary", &[]).await.0, 204);
    assert_eq!(ari.create("new", TRUNK).await.0, 200);
}

#[tokio::test]
async fn a_trunk_is_told_apart_by_its_endpoint() {
    let mut ari = Ari::start(APP).await;
    let by_address = "PJSIP/trunk/sip:15550000200@127.0.0.1";
    for (trunk, state, created, created_by_address) in [
        (TrunkState::Offline, "offline", 500, 200),
        (TrunkState::Missing, "Endpoint not found", 500, 500),
        (TrunkState::Online, "online", 200, 200),
        (TrunkState::Silent, "online", 200, 200),
    ] {
        ari.simulator.set_trunk("trunk", trunk);
        assert_eq!(state_of(&ari, "trunk").await, state);
        for (endpoint, expected) in [(TRUNK, created), (by_address, created_by_address)] {
            assert_eq!(
                ari.create("c", endpoint).await.0,
                expected,
                "{trunk:?} {endpoint}"
            );
            ari.send("DELETE", "/channels/c", &[]).await;
        }
        // The dialplan is there in any case.
        assert_eq!(ari.create("l", LOCAL).await.0, 200);
        ari.send("DELETE", "/channels/l", &[]).await;
    }
    ari.call("silent", TRUNK).await;
    let seen = ari.wait_for("Dial").await;
    assert_eq!(seen.last().unwrap()["dialstatus"], "");
    assert_eq!(
        ari.simulator.dials_to("15550000200@trunk"),
        0,
        "phones that rang"
    );
    let (_, endpoint) = ari.send("GET", "/endpoints/PJSIP/trunk", &[]).await;
    assert_eq!(endpoint["channel_ids"], json!(["silent"]));
}

#[tokio::test]
async fn without_rtp_ports_a_dial_over_a_trunk_ends_before_it_is_one() {
    let mut ari = Ari::start(APP).await;
    ari.simulator.exhaust_rtp(true);
    ari.call("c", TRUNK).await;
    let seen = ari.wait_for("ChannelDestroyed").await;
    assert!(seen.iter().all(|event| event["type"] != "Dial"), "{seen:?}");
    let end = seen.last().unwrap();
    assert_eq!(
        (&end["cause"], &end["tech_cause"]),
        (&json!(16), &Value::Null)
    );
    assert_eq!(
        ari.simulator.dials_to("15550000200@trunk"),
        0,
        "phones that rang"
    );
    ari.call("l", LOCAL).await;
    ari.wait_for("Dial").await;

    ari.simulator.exhaust_rtp(false);
    ari.call("again", TRUNK).await;
    ari.wait_for("Dial").await;
}

#[tokio::test]
async fn what_is_swallowed_ends_when_it_is_hung_up() {
    let mut ari = Ari::start(APP).await;
    ari.simulator.swallow_events(true);
    for (id, endpoint) in [("c", TRUNK), ("l", LOCAL)] {
        ari.call(id, endpoint).await;
        let channel = format!("/channels/{id}");
        let (status, shown) = ari.send("GET", &channel, &[]).await;
        assert_eq!((status, &shown["state"]), (200, &json!("Down")));
        assert_eq!(ari.send("DELETE", &channel, &[]).await.0, 204);
        let seen = ari.wait_for("ChannelDestroyed").await;
        let types: Vec<_> = seen.iter().map(|event| &event["type"]).collect();
        assert_eq!(
            types,
            ["ChannelHangupRequest", "StasisEnd", "ChannelDestroyed"]
        );
    }
}

#[tokio::test]
async fn a_restart_takes_calls_and_sockets_away() {
    let mut ari = Ari::start(APP).await;
    let started = async |ari: &Ari| {
        let (_, mut info) = ari.send("GET", "/asterisk/info", &[]).await;
        info["status"]["startup_time"].take()
    };
    let before = started(&ari).await;
    ari.call("c", TRUNK).await;
    ari.wait_for("ChannelStateChange").await;
    ari.simulator.refuse_creates(true);

    let mut seen = Vec::new();
    let polling = async {
        loop {
            let (status, body) = ari.send("GET", "/channels/c", &[]).await;
            if seen.last() != Some(&(status, body.clone())) {
                seen.push((status, body));
            }
        }
    };
    tokio::select! {
        () = ari.simulator.restart() => {}
        () = polling => {}
    }
    let not_booted = json!({"message": "Asterisk not booted"});
    assert_eq!(seen, [(404, Value::Null), (503, not_booted)]);
    assert_ne!(started(&ari).await, before);
    assert_eq!(ari.send("GET", "/channels", &[]).await, (200, json!([])));
    while let Some(event) = ari.next().await {
        assert_ne!(event["type"], "ChannelDestroyed");
    }
    ari.connect(APP).await;
    ari.call("c", TRUNK).await;
    ari.wait_for("ChannelStateChange").await;
}
