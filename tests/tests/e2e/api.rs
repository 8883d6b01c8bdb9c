//! What holds for every route.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cloud::aws::{Clients, Patience};
use e2e::client::read;
use e2e::program::Program;
use e2e::proxy::{Mode, Proxy};
use e2e::world::{SECRET_KEY, jwt, number, source};
use e2e::{Line, Pbx, World};
use functions::guard::AllowedOrigins;
use functions::jwt::Scope;
use functions::router;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add("api::every_route_asks_for_its_token_and_its_scope", access);
    suite.add("api::the_document_names_every_route", document);
    suite.add("api::every_example_of_the_document_is_accepted", examples);
    suite.add("api::pages_of_other_origins_ask_only_if_allowed", origins);
    suite.add("api::every_answer_is_guarded", guarded);
    suite.add("api::what_goes_wrong_underneath_is_not_shown", underneath);
    suite.add("api::health_tells_of_the_bridges", health);
    suite.add("api::health_answers_when_the_database_does_not", stalled);
    suite.add("api::pages_can_be_switched_off", switched_off);
    suite.add("api::metrics_are_those_of_the_bridges", metrics);
}

const READ: Scope = Scope::CallsRead;
const WRITE: Scope = Scope::CallsWrite;

/// Every route under the prefixes, the scope it asks for, and what it answers to a good token.
const ROUTES: [(&str, &str, Option<Scope>, u16); 9] = [
    ("POST", "/token", None, 400),
    ("POST", "/interaction/+15550000486", Some(WRITE), 202),
    ("POST", "/calls", Some(WRITE), 202),
    ("GET", "/calls", Some(READ), 200),
    ("GET", "/calls/ID", Some(READ), 200),
    ("GET", "/status/ID", Some(READ), 200),
    ("GET", "/interaction/ID/status", Some(READ), 200),
    ("GET", "/calls/ID/events", Some(READ), 200),
    ("POST", "/calls/ID/hangup", Some(WRITE), 202),
];

async fn access(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let jwt = jwt(SECRET_KEY);
    let now = cloud::clock::now();
    let long_ago = now.minus(Duration::from_hours(2));
    let issue = |scopes: &[Scope], at| jwt.issue("e2e", scopes, at).unwrap();
    for version in ["v1", "v2"] {
        for (method, path, scope, good) in ROUTES {
            let id = api.place(&number("200"), json!({})).await;
            let path = format!("/api/{version}{}", path.replace("ID", &id));
            let method: Method = method.parse().unwrap();
            let send = async |token: Option<String>| -> Response {
                let mut request = api.anonymous(method.clone(), &path);
                if let Some(token) = token {
                    request = request.bearer_auth(token);
                }
                if path.ends_with("/calls") && method == Method::POST {
                    request = request.json(&json!({"phone_number": number("200")}));
                }
                request.send().await.unwrap()
            };
            let Some(scope) = scope else {
                assert_eq!(send(None).await.status(), good, "{path}");
                continue;
            };
            let wrong = if scope == READ { WRITE } else { READ };
            for (what, token, status, error) in [
                ("no token", None, 401, None),
                (
                    "expired",
                    Some(issue(&Scope::ALL, long_ago)),
                    401,
                    Some("invalid_token"),
                ),
                (
                    "wrong scope",
                    Some(issue(&[wrong], now)),
                    403,
                    Some("insufficient_scope"),
                ),
                ("valid", Some(issue(&[scope], now)), good, None),
            ] {
                let response = send(token).await;
                let case = format!("{method} {path} with {what}");
                assert_eq!(response.status(), status, "{case}");
                let challenge = response
                    .headers()
                    .get("www-authenticate")
                    .map(|value| value.to_str().unwrap().to_owned());
                assert_eq!(challenge.is_some(), status >= 400, "{case}");
                if let Some(error) = error {
                    let expected = format!("error=\"{error}\"");
                    assert!(challenge.unwrap().contains(&expected), "{case}");
                }
                if status >= 400 {
                    let content_type = &response.headers()["content-type"];
                    assert_eq!(content_type, "application/problem+json", "{case}");
                }
            }
        }
    }
}

async fn document(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let answer = api.anonymous(Method::GET, "/openapi.json").send().await;
    let (status, document) = read(answer.unwrap()).await;
    assert_eq!(status, 200);
    for prefix in ["/api/v1", "/api/v2"] {
        for (method, path, _, _) in ROUTES {
            let path = match path {
                "/interaction/+15550000486" => "/interaction/{number}".to_owned(),
                path => path.replace("ID", "{call_id}"),
            };
            let path = format!("{prefix}{path}");
            let operation = &document["paths"][&path][method.to_lowercase()];
            assert!(operation["operationId"].is_string(), "{method} {path}");
        }
    }
}

/// What `$ref` leads to, or the value itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let reference = value["$ref"]
        .as_str()
        .and_then(|text| text.strip_prefix('#'));
    reference.map_or(value, |pointer| {
        document.pointer(pointer).expect("what it refers to")
    })
}

/// The bodies that a page fills in, or a reader takes from the document: each example of the
/// whole body, and each property's example alone beside what is required.
fn example_bodies(document: &Value, media_type: &Value) -> Vec<Value> {
    let named = media_type["examples"].as_object().into_iter().flatten();
    let mut bodies: Vec<Value> = named.map(|(_, example)| example["value"].clone()).collect();
    bodies.extend(media_type.get("example").cloned());
    let schema = resolved(document, &media_type["schema"]);
    let properties = schema["properties"].as_object().expect("properties");
    let example = |name: &str| {
        let property = &properties[name];
        let of_items = || Some(json!([property["items"].get("example")?]));
        property.get("example").cloned().or_else(of_items)
    };
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for name in properties.keys().filter(|name| example(name).is_some()) {
        let mut body = json!({});
        for name in required
            .iter()
            .filter_map(Value::as_str)
            .chain([name.as_str()])
        {
            // A password has no example; the test's user has this one.
            body[name] = example(name).unwrap_or_else(|| json!("correct horse"));
        }
        bodies.push(body);
    }
    bodies
}

/// A form in parts, as a browser or a client library sends it.
fn multipart(request: RequestBuilder, fields: &Value) -> RequestBuilder {
    let part = |(name, value): (&String, &Value)| {
        let value = value.as_str().expect("a text");
        format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let parts: String = fields
        .as_object()
        .expect("fields")
        .iter()
        .map(part)
        .collect();
    request
        .header("content-type", "multipart/form-data; boundary=b")
        .body(format!("{parts}--b--"))
}

/// A request as the document shows it, and what is sent with it.
struct Shown {
    path: String,
    request: RequestBuilder,
    body: Value,
}

/// The requests that an operation of the document shows. Where it names no call, `id` is meant.
fn shown(api: &e2e::Client, document: &Value, route: (&str, &str), id: &str) -> Vec<Shown> {
    let (mut path, method) = (route.0.to_owned(), route.1);
    let operation = &document["paths"][route.0][method];
    let (mut query, mut headers) = (Vec::new(), Vec::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        match (
            parameter["in"].as_str().unwrap(),
            parameter["example"].as_str(),
        ) {
            ("path", example) => {
                path = path.replace(&format!("{{{name}}}"), example.unwrap_or(id));
            }
            ("query", Some(example)) => query.push((name, example)),
            ("header", Some(example)) => headers.push((name, example)),
            _ => {}
        }
    }
    let request = || {
        let method: Method = method.to_uppercase().parse().unwrap();
        let request = api.request(method, &path).query(&query);
        headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        })
    };
    let mut all = Vec::new();
    let content = operation["requestBody"]["content"].as_object();
    for (kind, media_type) in content.into_iter().flatten() {
        for body in example_bodies(document, media_type) {
            let request = match kind.as_str() {
                "application/json" => request().json(&body),
                "application/x-www-form-urlencoded" => request().form(&body),
                "multipart/form-data" => multipart(request(), &body),
                other => panic!("{other}"),
            };
            let path = path.clone();
            all.push(Shown {
                path,
                request,
                body,
            });
        }
    }
    if all.is_empty() {
        let (request, body) = (request(), Value::Null);
        all.push(Shown {
            path,
            request,
            body,
        });
    }
    all
}

async fn examples(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let hash = cloud::password::hash("correct horse").unwrap();
    world.accounts().add("demo", &hash, None).await.unwrap();
    let id = api.place(&number("200"), json!({})).await;
    let (_, document) = get(&api, "/openapi.json").await;
    let mut requests = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            requests.extend(shown(&api, &document, (path, method), &id));
        }
    }
    assert!(requests.len() > 60, "{} requests", requests.len());
    for Shown {
        path,
        request,
        body,
    } in requests
    {
        let (status, answer) = read(request.send().await.unwrap()).await;
        let right = match path.as_str() {
            // There is no bridge.
            "/health" => status == 503,
            // The example before may have ended the call.
            path if path.ends_with("/hangup") => [202, 409].contains(&status),
            _ => [200, 202].contains(&status),
        };
        assert!(right, "{path} {body}: {status} {answer}");
    }
}

/// Serves `router` and answers its address.
async fn serve(router: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    base
}

fn allowed(origins: &str) -> AllowedOrigins {
    let source = source(&[("ALLOWED_ORIGINS", origins)]);
    AllowedOrigins::read(&mut cloud::settings::Reader::new(&source))
}

async fn origins(_: Arc<Pbx>) {
    for (setting, origin, expected) in [
        (
            "https://a.example",
            "https://a.example",
            Some("https://a.example"),
        ),
        ("https://a.example", "https://evil.example", None),
        ("*", "https://b.example", Some("*")),
        ("", "https://a.example", None),
    ] {
        let routes = axum::Router::new().route("/x", axum::routing::post(async || "x"));
        let base = serve(router::finish(routes, &allowed(setting))).await;
        let client = reqwest::Client::new();
        let preflight = client
            .request(Method::OPTIONS, format!("{base}/x"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,idempotency-key",
            );
        let plain = client.post(format!("{base}/x")).header("origin", origin);
        for request in [preflight, plain] {
            let response = request.send().await.unwrap();
            let given = response.headers().get("access-control-allow-origin");
            let given = given.map(|value| value.to_str().unwrap());
            assert_eq!(given, expected, "{setting} {origin}");
            let credentials = response.headers().get("access-control-allow-credentials");
            assert!(credentials.is_none(), "{setting}");
        }
    }
}

async fn guarded(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    for path in ["/", "/docs", "/nowhere", "/api/v2/calls", "/openapi.json"] {
        let response = api.anonymous(Method::GET, path).send().await.unwrap();
        for name in [
            "x-content-type-options",
            "content-security-policy",
            "referrer-policy",
            "strict-transport-security",
            "x-request-id",
        ] {
            assert!(response.headers().contains_key(name), "{path}: {name}");
        }
    }
}

/// A handler that panics, without the text and the backtrace a panic prints: this one is expected.
async fn panics() -> &'static str {
    std::panic::resume_unwind(Box::new("an internal detail"))
}

async fn underneath(_: Arc<Pbx>) {
    let routes = axum::Router::new().route("/x", axum::routing::get(panics));
    let base = serve(router::finish(routes, &AllowedOrigins::default())).await;
    let request = reqwest::Client::new().get(format!("{base}/x"));
    let response = request
        .header("x-request-id", "find-me")
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["x-request-id"], "find-me");
    let (status, body) = read(response).await;
    assert_eq!(
        (status, body["type"].as_str()),
        (500, Some("urn:problem:internal"))
    );
    assert!(!body.to_string().contains("detail\":\"an"), "{body}");
}

async fn get(api: &e2e::Client, path: &str) -> (u16, Value) {
    read(api.anonymous(Method::GET, path).send().await.unwrap()).await
}

async fn health(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let (status, body) = get(&api, "/health").await;
    assert_eq!(
        (status, body["status"].as_str()),
        (503, Some("unhealthy")),
        "{body}"
    );
    assert_eq!(body["database"]["status"], "healthy");

    api.place(&number("200"), json!({})).await;
    let (_, body) = get(&api, "/health").await;
    assert_eq!(body["queue"]["depth"], 1, "{body}");
    assert_eq!(body["queue"]["oldest_age_seconds"], 0, "{body}");

    world.add_bridge(&[]).await;
    let reported = async |wanted: &str| {
        loop {
            let (status, body) = get(&api, "/health").await;
            if body["status"] == wanted {
                return (status, body);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let patience = Duration::from_secs(30);
    let healthy = tokio::time::timeout(patience, reported("healthy")).await;
    let (status, body) = healthy.expect("healthy");
    assert_eq!(status, 200);
    assert_eq!(body["bridges"][0]["websocket_up"], true);
    // Nothing that helps an attacker.
    let text = body.to_string();
    assert!(
        !text.contains("127.0.0.1") && !text.contains("http"),
        "{text}"
    );

    assert!(world.take_bridge().stop().await);
    let gone = tokio::time::timeout(patience, reported("unhealthy")).await;
    assert_eq!(gone.expect("unhealthy").0, 503);
}

async fn stalled(pbx: Arc<Pbx>) {
    let mut world = World::without_bridge(&pbx).await;
    let target = world.embedded.dynamodb_url().trim_start_matches("http://");
    let proxy = Proxy::start(target.trim_end_matches('/').to_owned()).await;
    let url = format!("http://{}", proxy.address);
    let clients = Clients::local(Patience::FUNCTION, &url, world.embedded.sqs_url());
    world.clients = clients.await;
    let api = world.api(Line::Trunk).await;
    let (_, body) = get(&api, "/health").await;
    assert_eq!(body["database"]["status"], "healthy", "{body}");
    proxy.set(Mode::Stalled);
    // The client itself waits for ten seconds only.
    let (status, body) = get(&api, "/health").await;
    assert_eq!(
        (status, body["database"]["status"].as_str()),
        (503, Some("unhealthy"))
    );
    assert_eq!(body["queue"]["status"], "healthy", "{body}");
}

async fn switched_off(_: Arc<Pbx>) {
    let data = tempfile::tempdir().unwrap();
    let settings = source(&[
        ("PORT", "0"),
        ("LOCAL_DATA", data.path().to_str().unwrap()),
        ("DOCS_ENABLED", "false"),
        ("METRICS_ENABLED", "false"),
    ]);
    let mut program = Program::start("local", &[], &settings);
    let welcome = program.wait_for_line("Ctrl-C ends everything").await;
    let base = welcome.split("Ready on ").nth(1).unwrap();
    let base = base.split(',').next().unwrap();
    for (path, expected) in [
        ("/health", 200),
        ("/", 200),
        ("/metrics", 404),
        ("/docs", 404),
        ("/docs/start.js", 404),
        ("/redoc", 404),
        ("/openapi.json", 404),
    ] {
        let response = reqwest::get(format!("{base}{path}")).await.unwrap();
        assert_eq!(response.status(), expected, "{path}");
    }
    program.signal("INT").await;
    assert_eq!(program.wait().await.code, Some(0));
}

async fn metrics(pbx: Arc<Pbx>) {
    let mut world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    for digits in ["486", "201"] {
        let id = api.place(&number(digits), json!({})).await;
        api.wait_until_over(&id).await;
    }
    // The last heartbeat comes with the end.
    assert!(world.take_bridge().stop().await);
    let (status, text) = get(&api, "/metrics").await;
    assert_eq!(status, 200);
    let text = text.as_str().unwrap();
    let value = |name: &str| {
        let of = |line: &&str| line.starts_with(&format!("{name}{{"));
        let line = text.lines().find(of).unwrap_or_else(|| panic!("{name}"));
        line.rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(value("calls_launched_total"), "2");
    assert_eq!(value("calls_success_total"), "1");
    assert_eq!(value("calls_failed_total"), "1");
    assert_eq!(value("calls_active"), "0");
    assert_eq!(value("originate_latency_seconds_count"), "2");
    assert_eq!(value("queue_to_dial_seconds_count"), "2");
    // Whatever the order of the labels.
    let ended = |status: &str| {
        let label = format!("status=\"{status}\"");
        let of = |line: &&str| line.starts_with("calls_total{") && line.contains(&label);
        let lines: Vec<_> = text.lines().filter(of).collect();
        assert_eq!(lines.len(), 1, "{status}: {text}");
        lines[0].rsplit(' ').next().unwrap().to_owned()
    };
    for (status, calls) in [
        ("busy", "1"),
        ("completed", "1"),
        ("failed", "0"),
        ("no_answer", "0"),
        ("canceled", "0"),
    ] {
        assert_eq!(ended(status), calls, "{status}");
    }
    assert!(value("event_to_store_seconds_count") != "0");
}
