//! The functions' real binaries, behind a Lambda Runtime API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::password;
use e2e::gateway::{self, Gateway, Mapping};
use e2e::program::Program;
use e2e::request_table::{self, Served};
use e2e::runtime_api::RuntimeApi;
use e2e::secrets_manager::{SECRET_ARN, SecretsManager};
use e2e::wire::WireRequest;
use e2e::world::{SECRET_KEY, jwt, source};
use e2e::{Pbx, World};
use functions::jwt::Scope;
use serde_json::{Value, json};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add(
        "lambda::a_call_goes_through_the_functions",
        functions_in_turn,
    );
    suite.add(
        "lambda::one_table_of_requests_gets_the_same_answers_from_the_functions_and_cargo_run",
        request_table,
    );
    suite.add(
        "lambda::what_is_not_a_request_gets_an_answer_and_the_function_goes_on",
        no_requests,
    );
    suite.add(
        "lambda::a_function_without_its_settings_says_so",
        without_settings,
    );
    suite.add(
        "lambda::the_documentation_needs_no_setting_and_no_service",
        documentation,
    );
    suite.add(
        "lambda::a_context_that_is_not_allowed_is_refused",
        other_context,
    );
    suite.add(
        "lambda::a_key_that_is_kept_can_be_changed_without_a_deployment",
        kept_key,
    );
}

async fn start(name: &str, world: &World) -> (Program, RuntimeApi) {
    start_with(name, world, &BTreeMap::new()).await
}

/// Starts a function's program with some settings of its own.
pub async fn start_with(
    name: &str,
    world: &World,
    settings: &BTreeMap<String, String>,
) -> (Program, RuntimeApi) {
    let api = RuntimeApi::start().await;
    let mut environment = world.function_environment(name, &api);
    environment.extend(settings.clone());
    (Program::start(name, &[], &environment), api)
}

/// The JSON body of a function's answer.
pub fn body(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap_or_default()).unwrap_or_default()
}

async fn functions_in_turn(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    world
        .accounts()
        .add("alice", &password::hash("correct horse").unwrap(), None)
        .await
        .unwrap();
    let (_token, mut token) = start("token", &world).await;
    let (_originate, mut originate) = start("originate", &world).await;
    let (_status, mut status) = start("status", &world).await;

    let form = json!({"content-type": "application/x-www-form-urlencoded"});
    let answer = token
        .invoke(
            "POST",
            "/api/v2/token",
            form,
            "username=alice&password=correct+horse",
        )
        .await;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let bearer = format!("Bearer {}", body(&answer)["access_token"].as_str().unwrap());

    let headers = json!({"authorization": bearer, "content-type": "application/json"});
    let request = r#"{"phone_number":"+15550000200"}"#;
    let answer = originate
        .invoke("POST", "/api/v2/calls", headers.clone(), request)
        .await;
    assert_eq!(answer["statusCode"], 202, "{answer}");
    let id = body(&answer)["call_id"].as_str().unwrap().to_owned();
    assert_eq!(world.queued().await, 1);

    let answer = status
        .invoke("GET", &format!("/api/v2/calls/{id}"), headers.clone(), "")
        .await;
    assert_eq!(
        (
            answer["statusCode"].as_u64(),
            body(&answer)["status"].as_str()
        ),
        (Some(200), Some("pending"))
    );
    let (_control, mut control) = start("control", &world).await;
    let path = format!("/api/v2/calls/{id}/hangup");
    let answer = control.invoke("POST", &path, headers.clone(), "").await;
    assert_eq!(
        (
            answer["statusCode"].as_u64(),
            body(&answer)["status"].as_str()
        ),
        (Some(202), Some("canceled"))
    );
    // A function has its own routes only.
    let answer = status
        .invoke("POST", "/api/v2/token", headers, request)
        .await;
    assert_eq!(answer["statusCode"], 404, "{answer}");
}

const USER: &str = "alice";
const PASSWORD: &str = "correct horse";

async fn request_table(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let hash = password::hash(PASSWORD).unwrap();
    world.accounts().add(USER, &hash, None).await.unwrap();
    let mut gateway = Gateway::start(&world).await;
    let mut problems = Vec::new();
    for mapping in [
        Mapping::None,
        Mapping::Hidden("/voice"),
        Mapping::InPath("/voice"),
        Mapping::InPath("/api/v2"),
    ] {
        let gateway = &mut gateway;
        let mut served = Served::Events { gateway, mapping };
        let (asked, wrong) = request_table::run(&mut served, USER, PASSWORD).await;
        println!("{mapping:?}: {asked} requests");
        problems.extend(wrong.iter().map(|wrong| format!("{mapping:?}: {wrong}")));
    }

    let data = tempfile::tempdir().unwrap();
    let settings = source(&[
        ("PORT", "0"),
        ("LOCAL_DATA", data.path().to_str().unwrap()),
        ("DEMO_PASSWORD", PASSWORD),
    ]);
    let mut program = Program::start("local", &[], &settings);
    let welcome = program.wait_for_line("Ctrl-C ends everything").await;
    let base = welcome.split("Ready on ").nth(1).unwrap();
    let base = base.split(',').next().unwrap().to_owned();
    let mut served = Served::Http(base);
    let (asked, wrong) = request_table::run(&mut served, "demo", PASSWORD).await;
    println!("cargo run: {asked} requests");
    problems.extend(wrong.iter().map(|wrong| format!("cargo run: {wrong}")));
    program.signal("INT").await;
    assert_eq!(program.wait().await.code, Some(0));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

async fn no_requests(_: Arc<Pbx>) {
    let mut api = RuntimeApi::start().await;
    let _program = Program::start("docs", &[], &api.environment("docs"));
    let request = WireRequest::new("GET", "/openapi.json").header("x-request-id", "find-me");
    let good = gateway::event(&request, "GET /openapi.json", Mapping::None);
    let changed = |pointer: &str, value: Value| {
        let mut event = good.clone();
        *event.pointer_mut(pointer).unwrap() = value;
        event
    };
    let mut packed = changed("/isBase64Encoded", json!(true));
    packed["body"] = json!("?");
    for event in [
        changed("/rawQueryString", json!("a=<")),
        changed("/requestContext/http/method", json!("G ET")),
        changed("/headers", json!({"a b": "c"})),
        changed("/headers", json!({"a": "b\nc"})),
        changed("/headers", json!([])),
        changed("/rawPath", json!("x".repeat(70_000))),
        packed,
        // Another payload format, and no request at all.
        json!({"version": "1.0", "httpMethod": "GET", "path": "/", "requestContext": {}}),
        json!({}),
        json!("?"),
    ] {
        let shown = event.to_string();
        let answer = api.send(event).await;
        assert_eq!(answer["statusCode"], 400, "{shown:.200}: {answer}");
        let kind = body(&answer)["type"].clone();
        assert_eq!(kind, "urn:problem:unreadable-request", "{answer}");
        assert!(answer["headers"]["x-request-id"].is_string(), "{answer}");
        assert!(answer["headers"]["x-content-type-options"].is_string());
    }
    let odd_host = changed("/headers/host", json!("[not a host"));
    for event in [good, odd_host] {
        let answer = api.send(event).await;
        assert_eq!(answer["statusCode"], 200, "{answer}");
        assert_eq!(answer["headers"]["x-request-id"], "find-me");
    }
}

async fn documentation(_: Arc<Pbx>) {
    let mut api = RuntimeApi::start().await;
    let _program = Program::start("docs", &[], &api.environment("docs"));
    let headers = json!({"accept-encoding": "gzip"});
    let page = api.invoke("GET", "/docs", headers.clone(), "").await;
    assert_eq!(page["statusCode"], 200, "{page}");
    assert_eq!(page["isBase64Encoded"], false);
    assert!(page["body"].as_str().unwrap().contains("\"docs/start.js\""));
    let style = api.invoke("GET", "/docs/swagger-ui.css", headers, "").await;
    assert_eq!(style["statusCode"], 200, "{style}");
    assert_eq!(style["headers"]["content-encoding"], "gzip");
    assert_eq!(style["isBase64Encoded"], true);
    let sent = STANDARD.decode(style["body"].as_str().unwrap()).unwrap();
    let file = include_bytes!("../../../functions/assets/swagger-ui.css.gz");
    assert!(sent == file, "{} bytes", sent.len());

    let mut api = RuntimeApi::start().await;
    let mut environment = api.environment("docs");
    environment.extend(source(&[("DOCS_ENABLED", "false")]));
    let _program = Program::start("docs", &[], &environment);
    let page = api.invoke("GET", "/docs", json!({}), "").await;
    assert_eq!(page["statusCode"], 404, "{page}");
}

async fn other_context(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let settings = source(&[("ALLOWED_CONTEXTS", "reminder")]);
    let (_program, mut originate) = start_with("originate", &world, &settings).await;
    let token = jwt(SECRET_KEY).issue("alice", &Scope::ALL, cloud::clock::now());
    let bearer = format!("Bearer {}", token.unwrap());
    let headers = json!({"authorization": bearer, "content-type": "application/json"});
    for (context, status) in [("reminder", 202), ("outbound-ivr", 202), ("internal", 422)] {
        let request = json!({"phone_number": "+15550000200", "context": context});
        let answer = originate
            .invoke(
                "POST",
                "/api/v2/calls",
                headers.clone(),
                &request.to_string(),
            )
            .await;
        assert_eq!(answer["statusCode"], status, "{context}: {answer}");
    }
    assert_eq!(world.queued().await, 2);
}

async fn kept_key(pbx: Arc<Pbx>) {
    const KEYS: [&str; 3] = [
        "the first key of this test, 32 bytes or more",
        "the second key of this test, 32 bytes or more",
        "the third key of this test, 32 bytes or more",
    ];
    let world = World::without_bridge(&pbx).await;
    let kept = SecretsManager::start(KEYS[0]).await;
    let settings = source(&[
        ("SECRET_KEY", ""),
        ("SECRET_KEY_ARN", SECRET_ARN),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &kept.url),
    ]);
    let (_status, mut status) = start_with("status", &world, &settings).await;
    let tokens = KEYS.map(|key| {
        let now = cloud::clock::now();
        jwt(key).issue("alice", &Scope::ALL, now).unwrap()
    });
    let mut ask = async |token: &str| {
        let headers = json!({"authorization": format!("Bearer {token}")});
        let path = "/api/v2/calls/3f2b8c1e-0000-4000-8000-000000000001";
        let answer = status.invoke("GET", path, headers, "").await;
        answer["statusCode"].as_u64()
    };
    assert_eq!(ask(&tokens[0]).await, Some(404));
    assert_eq!(ask(&tokens[1]).await, Some(401));
    for changed in 1..KEYS.len() {
        kept.put(KEYS[changed]);
        // A key that is not known has the keys read again, though not at once: anybody can name one.
        let taken = async {
            while ask(&tokens[changed]).await != Some(404) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        let taken = tokio::time::timeout(Duration::from_mins(1), taken).await;
        taken.expect("the new key");
        assert_eq!(ask(&tokens[changed - 1]).await, Some(404));
    }
    assert_eq!(ask(&tokens[0]).await, Some(401));
}

async fn without_settings(_: Arc<Pbx>) {
    for (name, missing) in [
        (
            "token",
            ["SECRET_KEY", "USERS_TABLE", "STATE_TABLE"].as_slice(),
        ),
        (
            "originate",
            &[
                "SECRET_KEY",
                "CALLS_TABLE",
                "STATE_TABLE",
                "CALLS_QUEUE_URL",
            ],
        ),
        ("status", &["SECRET_KEY", "CALLS_TABLE", "STATE_TABLE"]),
        (
            "control",
            &[
                "SECRET_KEY",
                "CALLS_TABLE",
                "STATE_TABLE",
                "CONTROL_QUEUE_URL_PREFIX",
            ],
        ),
    ] {
        let ended = Program::start(name, &[], &source(&[])).wait().await;
        assert_eq!(ended.code, Some(64), "{ended:?}");
        for setting in missing {
            assert!(
                ended.stderr.contains(&format!("{setting} is not set")),
                "{}",
                ended.stderr
            );
        }
    }
}
