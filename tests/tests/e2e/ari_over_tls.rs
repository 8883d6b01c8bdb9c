//! ARI over TLS, for a bridge that is not on Asterisk's machine.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use e2e::callees::MIX;
use e2e::program::Program;
use e2e::tls::{Authority, Secured};
use e2e::world::number;
use e2e::{Client, Line, Pbx, World};
use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::Suite;
use crate::bridge_program::monitor_of;

pub fn add(suite: &mut Suite) {
    suite.add_scenario("tls::calls_end_as_they_do_without_it", calls);
    suite.add_scenario("tls::who_is_not_trusted_is_named", not_trusted);
}

/// Ten calls at once, this often: the last request of each ten is the one that would not be seen.
const TENS: usize = 5;

/// The settings of a bridge that reaches ARI over TLS and trusts this authority alone.
fn trusting(world: &World, ari: &Secured, authority: &str) -> (BTreeMap<String, String>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("authority.pem");
    fs::write(&file, authority).unwrap();
    let mut environment = world.bridge_environment();
    for (name, value) in [
        ("ARI_HTTP_URL", &*ari.url),
        ("SSL_CERT_FILE", file.to_str().unwrap()),
        ("SSL_CERT_DIR", "/nonexistent"),
    ] {
        environment.insert(name.to_owned(), value.to_owned());
    }
    (environment, folder)
}

async fn metrics(monitor: &str) -> String {
    let metrics = reqwest::get(format!("{monitor}/metrics")).await.unwrap();
    metrics.text().await.unwrap()
}

/// How many requests went this way.
fn requests(metrics: &str, over: &str) -> f64 {
    let of_this_way = |line: &&str| {
        line.starts_with("ari_requests_total{") && line.contains(&format!("over=\"{over}\""))
    };
    let line = metrics.lines().find(of_this_way);
    line.map_or(0.0, |line| {
        line.rsplit(' ').next().unwrap().parse().unwrap()
    })
}

/// Places a call to each of these, all at once, and waits for their ends.
async fn place(pbx: &Pbx, api: &Client, digits: &[(&str, &str)]) {
    let numbers: Vec<_> = digits.iter().map(|(digits, _)| number(digits)).collect();
    let placing = numbers
        .iter()
        .map(|to| api.place(to, json!({"timeout": 5_000})));
    let ids = join_all(placing).await;
    for ((to, id), (_, status)) in numbers.iter().zip(&ids).zip(digits) {
        let call = api.wait_until_over(id).await;
        assert_eq!(call["status"], *status, "{call}");
        assert_eq!(pbx.invites_to(to), 1, "{to}");
    }
}

async fn calls(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let ari = pbx.ari_over_tls().await;
    let (environment, _folder) = trusting(&world, &ari, &ari.authority);
    let mut bridge = Program::start("bridge", &[], &environment);
    let monitor = monitor_of(&mut bridge).await;
    // The first find no sockets, and have them connected.
    let used = async {
        while requests(&metrics(&monitor).await, "websocket") < 2.0 {
            place(&pbx, &api, &[("486", "busy")]).await;
        }
    };
    let within = Duration::from_secs(30);
    timeout(within, used).await.expect("sockets for requests");
    let before = requests(&metrics(&monitor).await, "http");
    place(&pbx, &api, &MIX).await;
    for _ in 0..TENS {
        place(&pbx, &api, &[("486", "busy"); 10]).await;
    }
    let text = metrics(&monitor).await;
    assert!(!text.contains("ari_errors_total{"), "{text}");
    // Looks, hangups, limits and questions about the dialplan go over HTTP, what makes a call does not.
    let over_http = requests(&text, "http") - before;
    assert!(over_http <= 15.0, "{over_http}: {text}");
    bridge.signal("TERM").await;
    assert_eq!(bridge.wait().await.code, Some(0));
}

async fn not_trusted(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let ari = pbx.ari_over_tls().await;
    let (environment, _folder) = trusting(&world, &ari, &Authority::new().certificate);
    let check = Program::start("bridge", &["--check"], &environment);
    let ended = check.wait().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let missing = |line: &&str| line.starts_with("MISSING  Asterisk at https://localhost:");
    let line = ended.stdout.lines().find(missing);
    assert!(
        line.is_some_and(|line| line.contains("certificate")),
        "{ended:?}"
    );
}
