//! What becomes of calls while the network between a bridge and ARI, the table or the queue does not work, in every
//! way in which networks do not.

use std::sync::Arc;
use std::time::Duration;

use bridge::Bridge;
use e2e::proxy::{Mode, Proxy};
use e2e::world::{Behind, number};
use e2e::{Client, Line, Pbx, World};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::Suite;
use crate::recovery::{place_until, wait_for_channel};
use crate::rest_over_websocket::until_used;

const MODES: [(&str, Mode); 5] = [
    ("cut", Mode::Cut),
    ("reset", Mode::Reset),
    ("stalled", Mode::Stalled),
    ("half_open", Mode::HalfOpen),
    ("slow", Mode::Slow(Duration::from_millis(20))),
];

/// How the sockets for requests are told from that for events.
const REQUESTS: &str = "%3Arequests";

/// How soon each record is right once the way to ARI is open again.
const RIGHT_WITHIN: Duration = Duration::from_secs(30);

/// The settings of a bridge that gives up soon, so that its messages come back soon.
const GIVES_UP_SOON: [(&str, &str); 4] = [
    ("ARI_TIMEOUT", "1000"),
    ("ARI_RETRIES", "0"),
    ("STASIS_START_TIMEOUT", "1000"),
    ("QUEUE_VISIBILITY_TIMEOUT", "13"),
];

/// What is behind the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Ari,
    /// The sockets for requests alone.
    Requests,
    Store,
    Queue,
}

pub fn add(suite: &mut Suite) {
    suite.add_asterisk(
        "networks::old_news_ends_no_call_of_another_bridge",
        old_news,
    );
    for (part_name, part) in [
        ("ari", Part::Ari),
        ("requests", Part::Requests),
        ("store", Part::Store),
        ("queue", Part::Queue),
    ] {
        for (mode_name, mode) in MODES {
            let name = format!("networks::{part_name}_{mode_name}");
            suite.add_scenario(&name, move |pbx| does_not_work(pbx, part, mode));
        }
    }
}

/// A bridge that waited in vain for its channels' start gives its calls back. When their `StasisStart`
/// comes at last, the channels of these calls are another bridge's, and ring.
async fn old_news(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let ari = Proxy::before(&pbx.ari().0).await;
    let queue = Proxy::before(world.embedded.sqs_url()).await;
    let behind = Behind {
        ari: Some(&ari),
        queue: Some(&queue),
        ..Behind::default()
    };
    let app = Uuid::new_v4().to_string();
    let settings = [&GIVES_UP_SOON[..], &[("ARI_APP", &*app)]].concat();
    let bridge = world.bridge_behind(behind, &settings).await;
    ari.set_for(&format!("/events?app={app} "), Mode::Stalled);
    let numbers: Vec<_> = (0..3).map(|_| number("000")).collect();
    let mut calls = Vec::new();
    for to in &numbers {
        calls.push(api.place(to, json!({"timeout": 120_000})).await);
    }
    let tried = async {
        while pbx.channels_among(&calls).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        while bridge.live_calls() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(RIGHT_WITHIN, tried)
        .await
        .expect("they are tried and given back");
    // It takes no more of them.
    queue.set(Mode::Cut);
    world.add_bridge(&[]).await;
    for id in &calls {
        api.wait_until(id, |call| call["status"] == "ringing").await;
    }
    ari.set(Mode::Open);
    let read = async {
        while bridge.counts().undeliverable == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(RIGHT_WITHIN, read)
        .await
        .expect("the old news is read");
    for (to, id) in numbers.iter().zip(&calls) {
        assert!(world.bridge().hang_up(id.parse().unwrap()), "it is live");
        ends(&api, id, "canceled").await;
        assert_eq!(pbx.invites_to(to), 1, "{to}");
    }
    assert!(bridge.stop().await);
}

async fn proxy_and_bridge(world: &World, part: Part) -> (Proxy, Bridge) {
    let url = match part {
        Part::Ari | Part::Requests => world.pbx.ari().0,
        Part::Store => world.embedded.dynamodb_url().to_owned(),
        Part::Queue => world.embedded.sqs_url().to_owned(),
    };
    let proxy = Proxy::before(&url).await;
    let only = |wanted: &[Part]| wanted.contains(&part).then_some(&proxy);
    let behind = Behind {
        ari: only(&[Part::Ari, Part::Requests]),
        store: only(&[Part::Store]),
        queue: only(&[Part::Queue]),
    };
    let bridge = world.bridge_behind(behind, &GIVES_UP_SOON).await;
    (proxy, bridge)
}

async fn does_not_work(pbx: Arc<Pbx>, part: Part, mode: Mode) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let (proxy, bridge) = proxy_and_bridge(&world, part).await;
    if part == Part::Requests {
        until_used(&api, &bridge).await;
    }
    let numbers: Vec<_> = ["000", "200", "203", "486"].map(number).to_vec();
    let rings = place_until(&api, &numbers[0], json!({"timeout": 60_000}), "ringing").await;
    let lasting = json!({"context": pbx.lasting_context()});
    let over = place_until(&api, &numbers[1], lasting, "answered").await;
    let answers = place_until(&api, &numbers[2], json!({}), "ringing").await;

    if part == Part::Requests {
        proxy.set_for(REQUESTS, mode);
    } else {
        proxy.set(mode);
    }
    let waits = api.place(&numbers[3], json!({})).await;
    wait_for_channel(&pbx, &answers, Some("Up")).await;
    pbx.end_channel(&over).await;
    wait_for_channel(&pbx, &over, None).await;
    match (part, mode) {
        // Slowly it goes on, and without the socket over HTTP.
        (_, Mode::Slow(_)) | (Part::Requests, _) => {
            for (id, status) in [
                (&over, "completed"),
                (&answers, "completed"),
                (&waits, "busy"),
            ] {
                ends(&api, id, status).await;
            }
        }
        // What is live is followed to its end, and what is new waits.
        (Part::Queue, _) => {
            ends(&api, &over, "completed").await;
            ends(&api, &answers, "completed").await;
            assert_eq!(pbx.invites_to(&numbers[3]), 0, "{waits}");
        }
        (Part::Store, _) => {
            wait_for_channel(&pbx, &answers, None).await;
            assert!(bridge.is_up(), "events are read without the table");
            assert_eq!(pbx.invites_to(&numbers[3]), 0, "{waits}");
        }
        (Part::Ari, _) => assert_eq!(pbx.invites_to(&numbers[3]), 0, "{waits}"),
    }

    proxy.set(Mode::Open);
    // A connection that was lost takes the event of an end with it; one that stalled brings it late.
    let unseen = part == Part::Ari && matches!(mode, Mode::Cut | Mode::Reset | Mode::HalfOpen);
    let reason = unseen.then_some("end_not_seen");
    ends_with(&api, &over, "completed", reason).await;
    for (id, status) in [(&answers, "completed"), (&waits, "busy")] {
        ends(&api, id, status).await;
    }
    assert_eq!(api.status(&rings).await["status"], "ringing");
    assert!(bridge.hang_up(rings.parse().unwrap()), "it is followed");
    ends(&api, &rings, "canceled").await;
    for to in &numbers {
        assert_eq!(pbx.invites_to(to), 1, "{to}");
    }
    let ids = [rings, over, answers, waits];
    for id in &ids {
        // A request that was under way for long may have made a channel just now.
        wait_for_channel(&pbx, id, None).await;
    }
    assert_eq!(pbx.channels_among(&ids).await, Vec::<String>::new());
    assert!(bridge.stop().await);
}

async fn ends(api: &Client, id: &str, status: &str) {
    ends_with(api, id, status, None).await;
}

async fn ends_with(api: &Client, id: &str, status: &str, reason: Option<&str>) {
    let call: Value = api.wait_until_over_within(id, RIGHT_WITHIN).await;
    assert_eq!(call["status"], status, "{call}");
    assert_eq!(call["failure_reason"].as_str(), reason, "{call}");
}
