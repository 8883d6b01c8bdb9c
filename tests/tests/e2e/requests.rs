//! What a request may ask for beyond the number: repeated safely, tried dry, limited, with variables.

use std::sync::Arc;

use e2e::client::read;
use e2e::world::number;
use e2e::{Client, Line, Pbx, World};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add_scenario(
        "requests::a_hundred_posts_with_one_key_make_one_call",
        one_key,
    );
    suite.add(
        "requests::a_key_belongs_to_one_client_and_one_request",
        keys,
    );
    suite.add(
        "requests::a_dry_run_says_what_would_be_dialled_and_queues_nothing",
        dry_run,
    );
    suite.add_scenario("requests::max_duration_ends_an_answered_call", max_duration);
    suite.add_scenario("requests::variables_reach_the_channel", variables);
    suite.add_scenario("requests::the_timeline_tells_what_happened", timeline);
    suite.add("requests::bad_values_name_their_fields", bad_values);
}

async fn post(api: &Client, key: &str, body: &Value) -> (u16, bool, Value) {
    let request = api
        .request(Method::POST, "/api/v2/calls")
        .header("idempotency-key", key);
    let response = request.json(body).send().await.unwrap();
    let replayed = response
        .headers()
        .get("idempotent-replayed")
        .is_some_and(|value| value == "true");
    let (status, body) = read(response).await;
    (status, replayed, body)
}

async fn one_key(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let to = number("486");
    let body = json!({"phone_number": to});
    let answers = join_all((0..100).map(|_| post(&api, "order-17", &body))).await;
    let first = &answers[0].2;
    assert!(
        answers
            .iter()
            .all(|(status, _, body)| (*status, body) == (202, first)),
        "{answers:?}"
    );
    assert_eq!(
        answers.iter().filter(|(_, replayed, _)| !replayed).count(),
        1
    );
    let id = first["call_id"].as_str().unwrap();
    assert_eq!(api.wait_until_over(id).await["status"], "busy");
    // After the end as well.
    let (status, replayed, again) = post(&api, "order-17", &body).await;
    assert_eq!((status, replayed, &again), (202, true, first));
    assert_eq!(pbx.invites_to(&to), 1);
    assert_eq!(world.recorded().await, 1);
}

async fn keys(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let to = number("486");
    let (_, _, first) = post(&api, "k", &json!({"phone_number": to, "priority": 1})).await;
    // The order of fields is no difference, a value is.
    let (status, replayed, _) = post(&api, "k", &json!({"priority": 1, "phone_number": to})).await;
    assert_eq!((status, replayed), (202, true));
    let (status, _, body) = post(&api, "k", &json!({"phone_number": to, "priority": 2})).await;
    assert_eq!(
        (status, body["errors"][0]["field"].as_str()),
        (422, Some("Idempotency-Key"))
    );
    let (_, replayed, other) = post(&api, "l", &json!({"phone_number": to, "priority": 1})).await;
    assert!(!replayed && other["call_id"] != first["call_id"]);
    for key in ["", &"x".repeat(256)] {
        assert_eq!(post(&api, key, &json!({"phone_number": to})).await.0, 422);
    }
    assert_eq!(world.recorded().await, 2);
}

async fn dry_run(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let to = number("200");
    let body = json!({"phone_number": to, "dry_run": true});
    let response = api
        .request(Method::POST, "/api/v2/calls")
        .json(&body)
        .send()
        .await
        .unwrap();
    let (status, body) = read(response).await;
    assert_eq!((status, &body["dry_run"]), (200, &json!(true)));
    assert_eq!(body["channel"], format!("PJSIP/{to}@trunk"));
    assert_eq!((world.queued().await, world.recorded().await), (0, 0));
}

async fn max_duration(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    // The IVR alone would take 2 s.
    let id = api.place(&number("200"), json!({"max_duration": 1})).await;
    let call = api.wait_until_over(&id).await;
    assert_eq!(
        (call["status"].as_str(), call["duration"].as_u64()),
        (Some("completed"), Some(1))
    );
    let path = format!("/api/v2/calls/{id}/events");
    let (_, timeline) = read(api.request(Method::GET, &path).send().await.unwrap()).await;
    assert!(
        timeline.to_string().contains("hangup_requested"),
        "{timeline}"
    );
}

async fn variables(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let body = json!({"variables": {"IVR_PATIENT": "Zoë", "__IVR_ROOM": 7}});
    let id = api.place(&number("000"), body).await;
    api.wait_until(&id, |call| call["status"] == "ringing")
        .await;
    for (name, value) in [("IVR_PATIENT", "Zoë"), ("IVR_ROOM", "7")] {
        let read = pbx
            .get(&format!("channels/{id}/variable?variable={name}"))
            .await;
        assert_eq!(read.expect("a variable")["value"], value, "{name}");
    }
    assert!(world.bridge().hang_up(id.parse().unwrap()));
    api.wait_until_over(&id).await;
}

async fn timeline(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let id = api.place(&number("486"), json!({})).await;
    api.wait_until_over(&id).await;
    let path = format!("/api/v1/calls/{id}/events");
    let (status, body) = read(api.request(Method::GET, &path).send().await.unwrap()).await;
    assert_eq!((status, body["call_id"].as_str()), (200, Some(id.as_str())));
    let events = body["events"].as_array().unwrap();
    let names: Vec<_> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["created", "dialing", "ringing", "ended"]);
    assert!(
        events
            .iter()
            .zip(1..)
            .all(|(event, sequence)| event["sequence"] == sequence)
    );
    let end = &events[3];
    assert_eq!(
        (&end["status"], &end["hangup_cause"], &end["sip_code"]),
        (&json!("busy"), &json!(17), &json!(486))
    );
    assert!(end["asterisk_at"].is_string() && end["recorded_at"].is_string());
}

async fn bad_values(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    for (field, value) in [
        ("variables", json!([])),
        ("variables", json!({"CALLERID(num)": "1"})),
        ("variables", json!({"a": {"b": 1}})),
        ("variables", json!({"a": "x".repeat(300)})),
        ("max_duration", json!(0)),
        ("queue_timeout", json!(10)),
        ("dry_run", json!("yes")),
    ] {
        let body = json!({"phone_number": number("200"), field: value});
        let response = api
            .request(Method::POST, "/api/v2/calls")
            .json(&body)
            .send()
            .await
            .unwrap();
        let (status, answer) = read(response).await;
        assert_eq!(
            (status, answer["errors"][0]["field"].as_str()),
            (422, Some(field)),
            "{body}"
        );
    }
    assert_eq!((world.queued().await, world.recorded().await), (0, 0));
}
