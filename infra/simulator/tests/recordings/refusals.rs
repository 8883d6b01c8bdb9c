//! Answers that no recording has, as seen on the same Asterisk.

use reqwest::Client;
use serde_json::{Value, json};

use crate::ari::{APP, Ari};

const ID: &str = "3f2b8c1e-0000-4000-8000-000000000001";

fn message(text: &str) -> Value {
    json!({"message": text})
}

#[tokio::test]
async fn refusals_are_those_of_asterisk() {
    let mut ari = Ari::start(APP).await;
    let endpoint = "PJSIP/15550000000@trunk";
    let channel = format!("/channels/{ID}");
    let dial = format!("{channel}/dial");
    let not_found = (404, message("Channel not found"));
    assert_eq!(ari.send("POST", &dial, &[]).await, not_found);
    assert_eq!(ari.send("DELETE", &channel, &[]).await, not_found);
    assert_eq!(ari.create(ID, endpoint).await.0, 200);
    let early = ari.send("POST", &dial, &[]).await;
    let not_in_stasis = (409, message("Channel not in Stasis application"));
    assert_eq!(early, not_in_stasis);
    let again = ari.create(ID, endpoint).await;
    let exists = message("Channel with given unique ID already exists");
    assert_eq!(again, (409, exists));
    ari.wait_for("StasisStart").await;
    assert_eq!(ari.send("POST", &dial, &[]).await.0, 204);
    ari.wait_for("ChannelStateChange").await;
    let twice = ari.send("POST", &dial, &[]).await;
    let not_down = message("Channel is not in the 'Down' state");
    assert_eq!(twice, (409, not_down));
    assert_eq!(ari.send("DELETE", &channel, &[]).await.0, 204);
    assert_eq!(ari.send("DELETE", &channel, &[]).await, not_found);
    // After the channel has gone, its id can be used again.
    assert_eq!(ari.create(ID, endpoint).await.0, 200);

    let client = Client::new();
    let anonymous = client
        .get(format!("{}/channels", ari.simulator.url()))
        .send()
        .await
        .expect("an answer");
    assert_eq!(anonymous.status(), 401);
}

#[tokio::test]
async fn endpoints_that_are_none_are_refused_with_400() {
    let ari = Ari::start(APP).await;
    for (endpoint, text) in [
        ("", "Endpoint must be specified"),
        ("PJSIP", "Invalid endpoint specified"),
        ("PJSIP/", "Invalid endpoint specified"),
        ("/x", "Invalid endpoint specified"),
    ] {
        assert_eq!(
            ari.create(ID, endpoint).await,
            (400, message(text)),
            "{endpoint}"
        );
    }
}

#[tokio::test]
async fn technologies_without_endpoints_are_unknown() {
    let ari = Ari::start(APP).await;
    for technology in ["Local", "NOTECH"] {
        let text = format!("No Endpoints found - invalid tech {technology}");
        let path = format!("/endpoints/{technology}");
        assert_eq!(ari.send("GET", &path, &[]).await, (404, message(&text)));
        let path = format!("/endpoints/{technology}/x");
        let none = message("Endpoint not found");
        assert_eq!(ari.send("GET", &path, &[]).await, (404, none));
    }
}

#[tokio::test]
async fn a_channel_that_is_not_answered_or_has_gone_on_is_not_played_to() {
    let mut ari = Ari::start(APP).await;
    let channel = format!("/channels/{ID}");
    let play = format!("{channel}/play");
    let beep = [("media", "sound:beep")];
    assert_eq!(ari.create(ID, "PJSIP/15550000200@trunk").await.0, 200);
    ari.wait_for("StasisStart").await;
    let invalid = (412, message("Channel in invalid state"));
    assert_eq!(ari.send("POST", &play, &beep).await, invalid);
    let dial = format!("{channel}/dial");
    assert_eq!(ari.send("POST", &dial, &[]).await.0, 204);
    ari.wait_for("ChannelStateChange").await;
    assert_eq!(ari.send("POST", &play, &beep).await, invalid);
    ari.wait_for("ChannelStateChange").await;
    let go_on = [
        ("context", "outbound-ivr"),
        ("extension", "s"),
        ("priority", "1"),
    ];
    let path = format!("{channel}/continue");
    assert_eq!(ari.send("POST", &path, &go_on).await.0, 204);
    ari.wait_for("StasisEnd").await;
    let not_in_stasis = (409, message("Channel not in Stasis application"));
    assert_eq!(ari.send("POST", &play, &beep).await, not_in_stasis);
    let variable = format!("{channel}/variable");
    let limit = [("variable", "TIMEOUT(absolute)"), ("value", "5")];
    assert_eq!(ari.send("POST", &variable, &limit).await, not_in_stasis);
    // Reading is possible there, too.
    let read = ari.send("GET", &variable, &limit[..1]).await;
    assert_eq!(read, (200, json!({"value": "0"})));
}

#[tokio::test]
async fn variables_are_read_and_set_as_asterisk_does() {
    let mut ari = Ari::start(APP).await;
    let variable = format!("/channels/{ID}/variable");
    let nameless = (400, message("Variable name is required"));
    assert_eq!(ari.send("GET", &variable, &[]).await, nameless);
    assert_eq!(ari.send("POST", &variable, &[]).await, nameless);
    let name = [("variable", "A")];
    let gone = (404, message("Provided channel was not found"));
    assert_eq!(ari.send("GET", &variable, &name).await, gone);
    let gone = (404, message("Channel not found"));
    assert_eq!(ari.send("POST", &variable, &name).await, gone);

    let create = json!({"endpoint": "PJSIP/15550000200@trunk", "app": APP, "channelId": ID,
        "variables": {"B": "Zoë", "TIMEOUT(absolute)": "60"}});
    let created = ari
        .send_json("POST", "/channels/create", &[], &create)
        .await;
    assert_eq!(created.0, 200);
    ari.wait_for("StasisStart").await;
    let unset = (404, message("Provided variable was not found"));
    assert_eq!(ari.send("GET", &variable, &name).await, unset);
    let set = [("variable", "A"), ("value", "1")];
    assert_eq!(ari.send("POST", &variable, &set).await.0, 204);
    let no_function = (500, message("Unable to read provided function"));
    for (name, expected) in [
        ("A", (200, json!({"value": "1"}))),
        ("B", (200, json!({"value": "Zoë"}))),
        ("NOFUNC(a)", no_function.clone()),
        ("DIALPLAN_EXISTS()", no_function),
        (
            "DIALPLAN_EXISTS(outbound-ivr,s,3)",
            (200, json!({"value": "1"})),
        ),
        (
            "DIALPLAN_EXISTS(outbound-ivr,s,4)",
            (200, json!({"value": "0"})),
        ),
        (
            "DIALPLAN_EXISTS(outbound-ivr,s,n)",
            (200, json!({"value": "0"})),
        ),
        (
            "DIALPLAN_EXISTS(outbound-ivr)",
            (200, json!({"value": "1"})),
        ),
        ("DIALPLAN_EXISTS(nowhere,s,1)", (200, json!({"value": "0"}))),
    ] {
        let read = ari.send("GET", &variable, &[("variable", name)]).await;
        assert_eq!(read, expected, "{name}");
    }
    let limit = [("variable", "TIMEOUT(absolute)")];
    let (status, left) = ari.send("GET", &variable, &limit).await;
    let left: f64 = left["value"].as_str().unwrap().parse().unwrap();
    assert!(status == 200 && left > 0.0 && left <= 60.0, "{left}");
    let reason = [("reason", "rubbish")];
    let refused = ari
        .send("DELETE", &format!("/channels/{ID}"), &reason)
        .await;
    let invalid = message("Invalid reason for hangup reason provided");
    assert_eq!(refused, (400, invalid));
}
