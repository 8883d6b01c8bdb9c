//! The bridge's real program.

use std::sync::Arc;

use e2e::client::read;
use e2e::program::Program;
use e2e::world::{number, source};
use e2e::{Line, Pbx, World};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add_scenario(
        "bridge::it_takes_a_call_and_stops_cleanly_on_sigterm",
        takes_a_call,
    );
    suite.add(
        "bridge::a_client_that_says_nothing_holds_no_place",
        silent_client,
    );
    suite.add("bridge::without_its_settings_it_exits_64", without_settings);
}

/// Where a bridge that has just been started can be watched.
pub async fn monitor_of(bridge: &mut Program) -> String {
    let log = bridge.wait_for_error("metrics are served").await;
    let served: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    format!("http://{}", served["address"].as_str().unwrap())
}

async fn takes_a_call(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let environment = world.bridge_environment();
    let password = environment["ARI_PASSWORD"].clone();
    let mut bridge = Program::start("bridge", &[], &environment);
    let monitor = monitor_of(&mut bridge).await;
    assert!(monitor.starts_with("http://127.0.0.1:"), "{monitor}");
    let request = api
        .request(Method::POST, "/api/v2/calls")
        .header("x-request-id", "find-me-in-the-log")
        .json(&json!({"phone_number": number("486")}));
    let (_, accepted) = read(request.send().await.unwrap()).await;
    let id = accepted["call_id"].as_str().unwrap();
    assert_eq!(api.wait_until_over(id).await["status"], "busy");
    for (path, status, expected) in [
        ("metrics", 200, "status=\"busy\"} 1"),
        ("ready", 200, "ready"),
        ("live", 200, "live"),
        ("elsewhere", 404, ""),
    ] {
        let response = reqwest::get(format!("{monitor}/{path}")).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let text = response.text().await.unwrap();
        let same = text.replace(&format!(",bridge_id=\"{}\"", environment["BRIDGE_ID"]), "");
        assert!(same.contains(expected), "{text}");
    }

    // A call that is live when the bridge stops goes on without it.
    let to = number("000");
    let live = api.place(&to, json!({"timeout": 60_000})).await;
    api.wait_until(&live, |call| call["status"] == "ringing")
        .await;
    bridge.signal("TERM").await;
    let ended = bridge.wait().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(
        pbx.channels_among(std::slice::from_ref(&live)).await,
        std::slice::from_ref(&live)
    );
    assert_eq!(api.status(&live).await["status"], "ringing");
    assert_eq!(world.queued().await, 0);

    let about = ended.stderr.lines().filter(|line| line.contains(id));
    let about: Vec<serde_json::Value> = about
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert!(
        about
            .iter()
            .any(|line| line["message"] == "the call is over")
    );
    for line in about {
        assert_eq!(line["span"]["request_id"], "find-me-in-the-log", "{line}");
    }
    assert!(!ended.stderr.contains(&password), "a secret was logged");
    pbx.end_channel(&live).await;
}

async fn without_settings(_: Arc<Pbx>) {
    let bad = source(&[
        ("ARI_HTTP_URL", "asterisk"),
        ("MAX_CONCURRENT_CALLS", "0"),
        ("LOG_LEVEL", "loud"),
    ]);
    let ended = Program::start("bridge", &[], &bad).wait().await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(64), ""));
    let wrong = [
        "BRIDGE_ID is not set",
        "ARI_HTTP_URL",
        "ARI_USERNAME is not set",
        "ARI_PASSWORD is not set",
        "CALLS_TABLE is not set",
        "CALLS_QUEUE_URL is not set",
        "MAX_CONCURRENT_CALLS must",
        "LOG_LEVEL must",
    ];
    for problem in wrong {
        assert!(
            ended.stderr.contains(problem),
            "{problem}: {}",
            ended.stderr
        );
    }
}

/// Whoever reaches `METRICS_ADDRESS` cannot keep others from it.
async fn silent_client(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let mut bridge = Program::start("bridge", &[], &world.bridge_environment());
    let monitor = monitor_of(&mut bridge).await;
    let address = monitor.trim_start_matches("http://").to_owned();
    let mut silent = Vec::new();
    for _ in 0..64 {
        let mut client = TcpStream::connect(&address).await.unwrap();
        client.write_all(b"GET /metrics HTT").await.unwrap();
        silent.push(client);
    }
    // Its turn comes when they have been cut off.
    let response = reqwest::get(format!("{monitor}/live")).await.unwrap();
    assert_eq!(response.status(), 200);
    for mut client in silent {
        let mut answer = Vec::new();
        let read = client.read_to_end(&mut answer).await;
        assert!(read.is_err() || !answer.starts_with(b"HTTP/1.1 200"));
    }
}
