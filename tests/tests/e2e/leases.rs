//! Two real bridges with one name: one of them acts, and the other one says that it does not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use e2e::client::Client;
use e2e::program::Program;
use e2e::world::{number, source};
use e2e::{Line, Pbx, World};
use reqwest::Method;
use serde_json::{Value, json};

use crate::Suite;
use crate::bridge_program::monitor_of;

pub fn add(suite: &mut Suite) {
    suite.add_scenario(
        "leases::a_bridge_that_is_replaced_leaves_its_calls_to_the_new_process",
        replaced,
    );
    suite.add_scenario(
        "leases::a_bridge_on_another_asterisk_leaves_the_calls_of_its_name_alone",
        elsewhere,
    );
    suite.add("leases::check_says_who_holds_the_name", checked);
}

const REFUSED: &str = "another process holds the lease";

async fn ready(monitor: &str) -> (u16, String) {
    let response = reqwest::get(format!("{monitor}/ready")).await.unwrap();
    let status = response.status().as_u16();
    (status, response.text().await.unwrap())
}

async fn wait_until_ready(monitor: &str) {
    let ready = async {
        while ready(monitor).await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let minute = Duration::from_mins(1);
    tokio::time::timeout(minute, ready)
        .await
        .expect("a bridge that is ready");
}

async fn health(api: &Client) -> Value {
    let response = api.request(Method::GET, "/health").send().await.unwrap();
    response.json().await.unwrap()
}

/// What `/health` says about the only bridge, once that is as wanted.
async fn wait_for_health(api: &Client, wanted: impl Fn(&Value) -> bool) -> Value {
    let look = async {
        loop {
            let bridge = health(api).await["bridges"][0].clone();
            if wanted(&bridge) {
                return bridge;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let minute = Duration::from_mins(1);
    tokio::time::timeout(minute, look)
        .await
        .expect("such a health")
}

fn refusal(bridge: &Value) -> Option<&str> {
    bridge["lease_refused"].as_str()
}

/// Starts a bridge, and waits until it says that it was refused.
async fn start_refused(environment: &BTreeMap<String, String>) -> (Program, String) {
    let mut bridge = Program::start("bridge", &[], environment);
    let monitor = monitor_of(&mut bridge).await;
    bridge.wait_for_error(REFUSED).await;
    assert_eq!(
        ready(&monitor).await,
        (
            503,
            "lease of BRIDGE_ID refused: another_process\n".to_owned()
        )
    );
    let metrics = reqwest::get(format!("{monitor}/metrics")).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let name = &environment["BRIDGE_ID"];
    let held = format!("bridge_lease_held{{bridge_id=\"{name}\"}} 0");
    assert!(metrics.contains(&held), "{metrics}");
    (bridge, monitor)
}

/// The environment of a bridge with the same name on another Asterisk, and that Asterisk.
async fn clone_of(environment: &BTreeMap<String, String>) -> (Pbx, BTreeMap<String, String>) {
    let other = Pbx::simulator().await;
    if let Pbx::Simulator { simulator, .. } = &other {
        simulator.set_entity_id("02:00:00:00:00:02");
    }
    let (url, username, password) = other.ari();
    let mut cloned = environment.clone();
    cloned.extend(source(&[
        ("ARI_HTTP_URL", &url),
        ("ARI_USERNAME", &username),
        ("ARI_PASSWORD", &password),
    ]));
    (other, cloned)
}

/// A rolling restart starts the new process before the old one has gone.
async fn replaced(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let environment = world.bridge_environment();
    let mut old = Program::start("bridge", &[], &environment);
    wait_until_ready(&monitor_of(&mut old).await).await;
    let to = number("000");
    let live = api.place(&to, json!({"timeout": 60_000})).await;
    api.wait_until(&live, |call| call["status"] == "ringing")
        .await;

    let (mut new, monitor) = start_refused(&environment).await;
    let health = wait_for_health(&api, |bridge| refusal(bridge).is_some()).await;
    assert_eq!(refusal(&health), Some("another_process"), "{health}");
    assert_eq!(health["status"], "degraded", "{health}");
    // The holder goes on undisturbed.
    let busy = api.place(&number("486"), json!({})).await;
    assert_eq!(api.wait_until_over(&busy).await["status"], "busy");
    assert_eq!(api.status(&live).await["status"], "ringing");

    old.signal("TERM").await;
    let ended = old.wait().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    wait_until_ready(&monitor).await;
    wait_for_health(&api, |bridge| refusal(bridge).is_none()).await;
    pbx.end_channel(&live).await;
    assert!(api.wait_until_over(&live).await["dialed_at"].is_string());
    assert_eq!(pbx.invites_to(&to), 1);
    new.kill().await;
}

/// A machine was cloned with its configuration: the same name, and another Asterisk.
async fn elsewhere(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let environment = world.bridge_environment();
    let (_other, cloned) = clone_of(&environment).await;

    let mut first = Program::start("bridge", &[], &environment);
    wait_until_ready(&monitor_of(&mut first).await).await;
    let to = number("000");
    let live = api.place(&to, json!({"timeout": 60_000})).await;
    api.wait_until(&live, |call| call["status"] == "ringing")
        .await;
    let (mut clone, its_monitor) = start_refused(&cloned).await;

    // Nobody holds the name, and yet the clone must not: the call is on the first one's Asterisk.
    first.kill().await;
    clone.wait_for_error("are on another Asterisk").await;
    let detail = "lease of BRIDGE_ID refused: another_asterisk\n".to_owned();
    assert_eq!(ready(&its_monitor).await, (503, detail));
    wait_for_health(&api, |bridge| refusal(bridge) == Some("another_asterisk")).await;
    assert_eq!(api.status(&live).await["status"], "ringing");

    let mut first = Program::start("bridge", &[], &environment);
    wait_until_ready(&monitor_of(&mut first).await).await;
    assert_eq!(api.status(&live).await["status"], "ringing");
    pbx.end_channel(&live).await;
    api.wait_until_over(&live).await;
    assert_eq!(pbx.invites_to(&to), 1);

    // With its calls over, the name may move.
    first.kill().await;
    wait_until_ready(&its_monitor).await;
    clone.kill().await;
    let log = first.wait().await.stderr;
    assert!(!log.contains("lease of this BRIDGE_ID is lost"), "{log}");
}

/// The mistake is found before anything is started.
async fn checked(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let environment = world.bridge_environment();
    let name = environment["BRIDGE_ID"].clone();
    let app = environment["ARI_APP"].clone();
    world
        .add_bridge(&[("BRIDGE_ID", &name), ("ARI_APP", &app)])
        .await;
    let check = async |environment: &BTreeMap<String, String>| {
        let report = Program::start("bridge", &["--check"], environment)
            .wait()
            .await
            .stdout;
        let line = report.lines().find(|line| line.contains("BRIDGE_ID"));
        line.unwrap_or_else(|| panic!("no line:\n{report}"))
            .to_owned()
    };
    let line = check(&environment).await;
    assert_eq!(
        line,
        format!("note     BRIDGE_ID {name} is in use: this bridge runs on this machine")
    );
    let (_other, cloned) = clone_of(&environment).await;
    let line = check(&cloned).await;
    assert!(
        line.starts_with(&format!(
            "MISSING  BRIDGE_ID {name}: a bridge of this name works with another Asterisk"
        )),
        "{line}"
    );
}
