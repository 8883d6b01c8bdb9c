//! `bridge --check`: what is missing is named, a line each, before a call is at stake.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use e2e::program::Program;
use e2e::world::source;
use e2e::{Pbx, World};
use serde_json::json;
use tokio::net::TcpListener;

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add_scenario("check::what_is_missing_is_named", names_what_is_missing);
    suite.add_scenario("check::an_application_that_is_taken", application_taken);
    suite.add_scenario("check::what_calls_will_need_is_named", what_calls_need);
    suite.add_scenario("check::a_queue_without_rights", queue_without_rights);
    suite.add_asterisk("check::a_user_that_may_only_read", only_reads);
    suite.add("check::an_unknown_option_exits_64", unknown_option);
}

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

/// The lines that say that something is missing, and whether the program said so in its exit status.
async fn missing(environment: &BTreeMap<String, String>, changes: &[(&str, &str)]) -> Vec<String> {
    let mut environment = environment.clone();
    environment.extend(source(changes));
    let ended = Program::start("bridge", &["--check"], &environment)
        .wait()
        .await;
    let (missing, rest): (Vec<_>, Vec<_>) = ended
        .stdout
        .lines()
        .partition(|line| line.starts_with("MISSING  "));
    for line in rest {
        let known = line.starts_with("ok       ") || line.starts_with("note     ");
        assert!(known, "{line}");
    }
    let code = i32::from(!missing.is_empty());
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(!ended.stdout.contains(&environment["ARI_PASSWORD"]));
    missing.into_iter().map(str::to_owned).collect()
}

async fn names_what_is_missing(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let mut environment = world.bridge_environment();
    let id = environment["BRIDGE_ID"].parse().unwrap();
    let control = world.embedded.create_control_queue(&id).await.unwrap();
    environment.insert("CONTROL_QUEUE_URL".to_owned(), control);

    assert_eq!(missing(&environment, &[]).await, [""; 0]);
    // It can be asked again: nothing is left behind.
    assert_eq!(missing(&environment, &[]).await, [""; 0]);
    assert_eq!(world.queued().await, 0);

    // What follows asks for what no bridge is to have: not as one.
    environment.insert("AWS_ACCESS_KEY_ID".to_owned(), "local".to_owned());
    let gone_queue = format!("{}-gone", environment["CALLS_QUEUE_URL"]);
    for (changes, expected) in [
        (
            vec![("ARI_PASSWORD", "wrong")],
            vec!["Asterisk at", "ARI refused the username or password"],
        ),
        (
            vec![("ARI_HTTP_URL", NOWHERE)],
            vec!["Asterisk at http://127.0.0.1:9/: ", "did not answer"],
        ),
        (
            vec![("CALLS_TABLE", "elsewhere")],
            vec!["CALLS_TABLE elsewhere: there is none of this name"],
        ),
        (
            vec![("STATE_TABLE", "elsewhere")],
            vec!["STATE_TABLE elsewhere: there is none of this name"],
        ),
        (
            vec![("CALLS_QUEUE_URL", &*gone_queue)],
            vec!["CALLS_QUEUE_URL", "there is none of this name"],
        ),
    ] {
        let missing = missing(&environment, &changes).await;
        assert_eq!(missing.len(), 1, "{missing:?}");
        for part in expected {
            assert!(missing[0].contains(part), "{part}: {missing:?}");
        }
    }
    let nothing = [
        ("ARI_HTTP_URL", NOWHERE),
        ("AWS_ENDPOINT_URL_DYNAMODB", NOWHERE),
        ("AWS_ENDPOINT_URL_SQS", NOWHERE),
    ];
    let missing = missing(&environment, &nothing).await;
    assert_eq!(missing.len(), 5, "{missing:?}");
    for line in &missing[1..] {
        assert!(line.contains("no answer"), "{line}");
    }
}

async fn application_taken(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let app = world.add_bridge(&[]).await;
    let mut environment = world.bridge_environment();
    environment.insert("ARI_APP".to_owned(), app.clone());
    // Nothing is missing: a bridge that runs is looked at, too.
    assert_eq!(missing(&environment, &[]).await, [""; 0]);
    let check = Program::start("bridge", &["--check"], &environment);
    let expected = format!("note     ARI_APP {app} is in use");
    let stdout = check.wait().await.stdout;
    assert!(stdout.contains(&expected), "{stdout}");
    assert!(world.bridge().is_up(), "the bridge that runs was disturbed");
}

async fn what_calls_need(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let environment = world.bridge_environment();
    let fine = [
        ("DIAL_ENDPOINT", "PJSIP/{number}@trunk"),
        ("DEFAULT_CONTEXT", "outbound-ivr"),
        ("DEFAULT_EXTENSION", "s"),
        ("DEFAULT_PRIORITY", "1"),
    ];
    assert_eq!(missing(&environment, &fine).await, [""; 0]);
    let notes = async |changes: &[(&str, &str)]| {
        let mut environment = environment.clone();
        environment.extend(source(changes));
        let check = Program::start("bridge", &["--check"], &environment);
        check.wait().await.stdout
    };
    let transfers = "PJSIP/transfers: allow_transfer is yes";
    let anything = "note     ALLOWED_NUMBERS is not set";
    let lax = notes(&[("DIAL_ENDPOINT", "PJSIP/{number}@transfers")]).await;
    assert!(lax.contains(transfers) && lax.contains(anything), "{lax}");
    let strict = [
        ("DIAL_ENDPOINT", "PJSIP/{number}@trunk"),
        ("ALLOWED_NUMBERS", "+1415"),
    ];
    let strict = notes(&strict).await;
    assert!(
        !strict.contains("allow_transfer") && !strict.contains(anything),
        "{strict}"
    );
    for (name, value, expected) in [
        (
            "DIAL_ENDPOINT",
            "PJSIP/{number}@nosuch",
            "DIAL_ENDPOINT PJSIP/nosuch: endpoint not found in Asterisk",
        ),
        (
            "DIAL_ENDPOINT",
            "Local/{number}@nowhere/n",
            "DIAL_ENDPOINT nowhere: not found in the dialplan",
        ),
        (
            "DEFAULT_CONTEXT",
            "nowhere",
            "DEFAULT_CONTEXT nowhere,s,1: not found in the dialplan",
        ),
        (
            "DEFAULT_EXTENSION",
            "missing",
            "DEFAULT_CONTEXT outbound-ivr,missing,1: not found in the dialplan",
        ),
    ] {
        let changes: Vec<_> = fine
            .into_iter()
            .map(|(known, good)| (known, if known == name { value } else { good }))
            .collect();
        let missing = missing(&environment, &changes).await;
        assert_eq!(missing.len(), 1, "{missing:?}");
        assert!(missing[0].ends_with(expected), "{missing:?}");
    }
}

async fn only_reads(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let mut environment = world.bridge_environment();
    let reader = format!("{}-reader", environment["ARI_USERNAME"]);
    environment.insert("ARI_USERNAME".to_owned(), reader);
    let missing = missing(&environment, &[]).await;
    assert_eq!(missing.len(), 1, "{missing:?}");
    let expected = "ARI_USERNAME may only read: ari.conf has read_only=yes for it";
    assert!(missing[0].ends_with(expected), "{missing:?}");
}

async fn queue_without_rights(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let refusal = json!({
        "__type": "com.amazon.coral.service#AccessDeniedException",
        "message": "User: u is not authorized to perform: a"
    });
    let refuse = move || async move {
        let headers = [("content-type", "application/x-amz-json-1.0")];
        (StatusCode::BAD_REQUEST, headers, refusal.to_string())
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = axum::serve(listener, Router::new().fallback(refuse));
    let server = tokio::spawn(server.into_future());
    let changes = [("AWS_ENDPOINT_URL_SQS", &*url)];
    let missing = missing(&world.bridge_environment(), &changes).await;
    server.abort();
    assert_eq!(missing.len(), 1, "{missing:?}");
    let expected = "not allowed: the policy lacks sqs:DeleteMessage";
    assert!(missing[0].ends_with(expected), "{missing:?}");
}

async fn unknown_option(_: Arc<Pbx>) {
    let ended = Program::start("bridge", &["--chek"], &BTreeMap::new())
        .wait()
        .await;
    assert_eq!(ended.code, Some(64));
    assert!(
        ended.stderr.starts_with("usage: bridge"),
        "{}",
        ended.stderr
    );
}
