//! Requests as clients really write them, over HTTP and as the gateway's events.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::password;
use e2e::program::Program;
use e2e::runtime_api::RuntimeApi;
use e2e::spellings::{Spelling, USER, spellings};
use e2e::world::source;
use e2e::{Line, Pbx, World};
use reqwest::Method;
use serde_json::{Map, Value, json};

use crate::Suite;
use crate::lambda::{body, start_with};

pub fn add(suite: &mut Suite) {
    suite.add("spellings::over_http", over_http);
    suite.add("spellings::as_events_of_the_gateway", as_events);
    suite.add(
        "spellings::unknown_names_are_passed_over_if_the_service_is_told_so",
        unknown_ignored,
    );
}

/// A system with the user of the table.
async fn world(pbx: &Arc<Pbx>) -> World {
    let world = World::without_bridge(pbx).await;
    let hash = password::hash(USER.1).unwrap();
    world.accounts().add(USER.0, &hash, None).await.unwrap();
    world
}

/// Compares an answer with the table.
fn check(spelling: &Spelling, status: u16, answer: &Value) {
    let what = format!("{}: {answer}", spelling.what);
    assert_eq!(status, spelling.status, "{what}");
    let Some((pointer, wanted)) = &spelling.told else {
        return;
    };
    let told = answer.pointer(pointer).unwrap_or(&Value::Null);
    match (told, wanted) {
        (Value::String(told), Value::String(wanted)) => {
            assert!(told.ends_with(wanted.as_str()), "{what}");
        }
        _ => assert_eq!(told, wanted, "{what}"),
    }
}

/// A refused request reaches neither the table nor the queue; an accepted one reaches both.
async fn check_effects(world: &World, spellings: &[Spelling]) {
    let accepted = spellings.iter().filter(|one| one.status == 202).count();
    assert_eq!(world.queued().await, accepted);
    assert_eq!(world.recorded().await, accepted);
}

async fn over_http(pbx: Arc<Pbx>) {
    let world = world(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let spellings = spellings();
    for spelling in &spellings {
        let path = format!("{}?{}", spelling.path, spelling.query);
        let path = path.trim_end_matches('?');
        let method: Method = spelling.method.parse().unwrap();
        let token = spelling.token.unwrap_or(api.token());
        let mut request = api.anonymous(method, path).bearer_auth(token);
        for (name, value) in &spelling.headers {
            request = request.header(*name, *value);
        }
        let response = request.body(spelling.body.clone()).send().await.unwrap();
        let (status, answer) = e2e::client::read(response).await;
        check(spelling, status, &answer);
    }
    check_effects(&world, &spellings).await;
}

/// The functions that requests go to, each with its program.
struct Functions(BTreeMap<&'static str, (Program, RuntimeApi)>);

impl Functions {
    async fn start(world: &World, settings: &BTreeMap<String, String>) -> Self {
        let mut functions = BTreeMap::new();
        for name in ["token", "originate", "status"] {
            functions.insert(name, start_with(name, world, settings).await);
        }
        Self(functions)
    }

    /// Sends a request as an HTTP API does that takes its body for bytes.
    async fn ask(&mut self, spelling: &Spelling, token: &str) -> (u16, Value) {
        let name = match (spelling.method, spelling.path) {
            (_, path) if path.contains("/token") => "token",
            ("POST", _) => "originate",
            _ => "status",
        };
        let (method, path) = (spelling.method, spelling.path);
        let bearer = format!("Bearer {}", spelling.token.unwrap_or(token));
        let mut headers = Map::from_iter([("authorization".to_owned(), json!(bearer))]);
        for (name, value) in &spelling.headers {
            headers.insert((*name).to_owned(), json!(value));
        }
        let event = json!({
            "version": "2.0", "routeKey": "$default",
            "rawPath": path, "rawQueryString": spelling.query, "headers": headers,
            "isBase64Encoded": true, "body": STANDARD.encode(&spelling.body),
            "requestContext": {
                "accountId": "0", "apiId": "api", "domainName": "api.example", "domainPrefix": "api",
                "http": {
                    "method": method, "path": path, "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1", "userAgent": "e2e",
                },
                "requestId": "r", "routeKey": "$default", "stage": "$default",
                "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_u64,
            },
        });
        let (_, api) = self.0.get_mut(name).expect("a function");
        let answer = api.send(event).await;
        let status = answer["statusCode"].as_u64().unwrap_or_default();
        (u16::try_from(status).unwrap(), body(&answer))
    }
}

async fn as_events(pbx: Arc<Pbx>) {
    let world = world(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let mut functions = Functions::start(&world, &BTreeMap::new()).await;
    let spellings = spellings();
    for spelling in &spellings {
        let (status, answer) = functions.ask(spelling, api.token()).await;
        check(spelling, status, &answer);
    }
    check_effects(&world, &spellings).await;
}

async fn unknown_ignored(pbx: Arc<Pbx>) {
    let world = world(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let settings = source(&[("UNKNOWN_FIELDS", "ignore")]);
    let mut functions = Functions::start(&world, &settings).await;
    let usual = |method, path, query, body: &str| Spelling {
        what: "ignored",
        method,
        path,
        query,
        headers: vec![("content-type", "application/json")],
        token: None,
        body: body.into(),
        status: 0,
        told: None,
    };
    let number = "/api/v2/interaction/+15550000200";
    for (spelling, wanted) in [
        (
            usual("POST", number, "", r#"{"dryrun": true, "x": [1]}"#),
            202,
        ),
        (usual("POST", number, "dry_run=true&x=1&x=2", ""), 202),
        (usual("GET", "/api/v2/calls", "limits=1&x=1&x=2", ""), 200),
        // A name that is known is still held to its rules.
        (usual("POST", number, "", r#"{"dry_run": "true"}"#), 422),
        (usual("GET", "/api/v2/calls", "limit=0", ""), 422),
    ] {
        let (status, answer) = functions.ask(&spelling, api.token()).await;
        assert_eq!(status, wanted, "{answer}");
    }
    assert_eq!(world.queued().await, 2);
}
