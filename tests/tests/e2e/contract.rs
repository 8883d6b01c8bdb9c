//! The API's contract: tokens, errors, and what never reaches the queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use cloud::StandingStore;
use cloud::logins::Logins;
use cloud::password;
use cloud::rate_limit::{RateLimit, RateLimiter};
use domain::Timestamp;
use e2e::client::read;
use e2e::world::{SECRET_KEY, jwt, number};
use e2e::{Client, Line, Pbx, World};
use functions::client_address::GatewayAddress;
use functions::jwt::Scope;
use functions::login::{LoginGuard, STRANGERS};
use functions::router;
use functions::token::TokenState;
use futures_util::stream::StreamExt;
use local::embedded::STATE_TABLE;
use reqwest::Method;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add(
        "contract::an_address_gets_so_many_tokens_from_all_instances_together",
        token_limit,
    );
    suite.add(
        "contract::guessing_from_everywhere_keeps_no_client_from_its_token",
        guessing,
    );
    suite.add("contract::a_password_gets_a_token_that_works", tokens);
    suite.add(
        "contract::a_wrong_password_an_unknown_and_a_disabled_user_look_alike",
        wrong_credentials,
    );
    suite.add(
        "contract::bad_tokens_are_401_and_small_ones_403",
        bad_tokens,
    );
    suite.add(
        "contract::bad_requests_name_their_fields_and_reach_nobody",
        bad_requests,
    );
    suite.add("contract::bad_bodies_say_where", bad_bodies);
    suite.add(
        "contract::an_accepted_call_is_recorded_and_queued",
        accepted,
    );
    suite.add("contract::unknown_calls_routes_and_methods", unknown);
    suite.add(
        "contract::a_queue_that_is_gone_is_503_and_the_call_failed",
        queue_gone,
    );
    suite.add("contract::a_table_that_is_gone_is_503", table_gone);
}

const PATHS: [(Method, &str); 5] = [
    (Method::POST, "/interaction/+15550000200"),
    (Method::POST, "/calls"),
    (Method::GET, "/status/3f2b8c1e-0000-4000-8000-000000000001"),
    (
        Method::GET,
        "/interaction/3f2b8c1e-0000-4000-8000-000000000001/status",
    ),
    (Method::GET, "/calls/3f2b8c1e-0000-4000-8000-000000000001"),
];

async fn form(api: &Client, body: &str) -> (u16, reqwest::header::HeaderMap, Value) {
    let response = api
        .anonymous(Method::POST, "/api/v2/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.to_owned())
        .send()
        .await
        .unwrap();
    let headers = response.headers().clone();
    let (status, body) = read(response).await;
    (status, headers, body)
}

async fn tokens(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    world
        .accounts()
        .add("alice", &password::hash("correct horse").unwrap(), None)
        .await
        .unwrap();

    let (status, headers, body) = form(
        &api,
        "grant_type=password&username=alice&password=correct+horse",
    )
    .await;
    assert_eq!(
        (status, &body["token_type"], &body["expires_in"]),
        (200, &json!("bearer"), &json!(1800))
    );
    assert_eq!(body["scope"], "calls:write calls:read");
    assert_eq!(headers["cache-control"], "no-store");
    let token = body["access_token"].as_str().unwrap();
    let response = api
        .anonymous(Method::POST, "/api/v1/interaction/+15550000200")
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(read(response).await.0, 202);

    // Without grant_type, as clients of the old service send it; with a narrower scope.
    let (status, _, body) = form(
        &api,
        "username=alice&password=correct+horse&scope=calls:read",
    )
    .await;
    assert_eq!((status, body["scope"].as_str()), (200, Some("calls:read")));

    for (body, error) in [
        ("", "invalid_request"),
        ("username=alice", "invalid_request"),
        ("username=alice&username=bob&password=x", "invalid_request"),
        (
            "grant_type=client_credentials&username=alice&password=x",
            "unsupported_grant_type",
        ),
        (
            "username=alice&password=correct+horse&scope=admin",
            "invalid_scope",
        ),
    ] {
        let (status, _, answer) = form(&api, body).await;
        assert_eq!(
            (status, answer["error"].as_str()),
            (400, Some(error)),
            "{body}"
        );
    }
}

async fn token_limit(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    // A window that does not end during the test.
    let limit = RateLimit {
        requests: 10,
        window: Duration::from_hours(24),
    };
    // Not as a stranger, for whom there is a bound besides.
    let logins = Logins::new(world.clients.dynamodb.clone(), STATE_TABLE.to_owned());
    let remembered = logins.remember("alice", "127.0.0.1", cloud::clock::now());
    remembered.await.unwrap();
    let mut instances = Vec::new();
    for _ in 0..3 {
        instances.push(world.api_with_limit(Line::Trunk, limit).await);
    }
    for attempt in 1..=10 {
        let (status, headers, _) =
            form(&instances[attempt % 3], "username=alice&password=wrong").await;
        assert_eq!(status, 401, "{attempt}");
        let told = headers["ratelimit"].to_str().unwrap();
        assert!(
            told.starts_with(&format!("\"token\";r={};t=", 10 - attempt)),
            "{told}"
        );
        assert_eq!(headers["ratelimit-policy"], "\"token\";q=10;w=86400");
    }
    let (status, headers, body) = form(&instances[0], "username=alice&password=wrong").await;
    assert_eq!(
        (status, body["error"].as_str()),
        (429, Some("temporarily_unavailable"))
    );
    assert!(
        headers["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 0
    );
    // The address is the connection's, whatever a client claims.
    let request = instances[1]
        .anonymous(Method::POST, "/api/v2/token")
        .header("x-forwarded-for", "192.0.2.7");
    let request = request.header("forwarded", "for=192.0.2.7");
    assert_eq!(
        request
            .form(&[("username", "a"), ("password", "b")])
            .send()
            .await
            .unwrap()
            .status(),
        429
    );
}

async fn wrong_credentials(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let hash = password::hash("correct horse").unwrap();
    world.accounts().add("alice", &hash, None).await.unwrap();
    world.accounts().add("bob", &hash, None).await.unwrap();
    world.accounts().disable("bob").await.unwrap();
    let mut answers = Vec::new();
    for who in [
        "alice&password=wrong",
        "nobody&password=wrong",
        "bob&password=correct+horse",
        "%00&password=x",
    ] {
        let (status, headers, body) = form(&api, &format!("username={who}")).await;
        assert_eq!(status, 401, "{who}");
        assert!(
            headers["www-authenticate"]
                .to_str()
                .unwrap()
                .starts_with("Bearer"),
            "{who}"
        );
        assert_eq!(body["error"], "invalid_grant");
        answers.push(body);
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
}

async fn bad_tokens(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let now = cloud::clock::now();
    let good = jwt(SECRET_KEY).issue("alice", &Scope::ALL, now).unwrap();
    let parts: Vec<_> = good.split('.').collect();
    let expired = jwt(SECRET_KEY)
        .issue("alice", &Scope::ALL, Timestamp::from_millis(0))
        .unwrap();
    let other_key = jwt("another key of the same length as the first")
        .issue("alice", &Scope::ALL, now)
        .unwrap();
    let bad = [
        ("expired", expired),
        ("another key", other_key),
        (
            "tampered",
            format!("{}.{}x.{}", parts[0], parts[1], parts[2]),
        ),
        ("alg none", format!("eyJhbGciOiJub25lIn0.{}.", parts[1])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("garbage", "garbage".to_owned()),
    ];
    for (method, path) in PATHS {
        for prefix in ["/api/v1", "/api/v2"] {
            let path = format!("{prefix}{path}");
            for (what, token) in &bad {
                let response = api
                    .anonymous(method.clone(), &path)
                    .bearer_auth(token)
                    .send()
                    .await
                    .unwrap();
                let challenge = response.headers()["www-authenticate"]
                    .to_str()
                    .unwrap()
                    .to_owned();
                let (status, body) = read(response).await;
                assert_eq!(
                    (status, body["status"].as_u64()),
                    (401, Some(401)),
                    "{what} {path}"
                );
                assert!(
                    challenge.contains("error=\"invalid_token\""),
                    "{what}: {challenge}"
                );
            }
            let response = api.anonymous(method.clone(), &path).send().await.unwrap();
            assert_eq!(
                response.headers()["www-authenticate"],
                "Bearer realm=\"calls\""
            );
            assert_eq!(read(response).await.0, 401, "{path}");

            let other = if method == Method::GET {
                Scope::CallsWrite
            } else {
                Scope::CallsRead
            };
            let token = jwt(SECRET_KEY).issue("alice", &[other], now).unwrap();
            let response = api
                .anonymous(method.clone(), &path)
                .bearer_auth(token)
                .send()
                .await
                .unwrap();
            let challenge = response.headers()["www-authenticate"]
                .to_str()
                .unwrap()
                .to_owned();
            assert!(challenge.contains("insufficient_scope"), "{challenge}");
            assert_eq!(read(response).await.0, 403, "{path}");
        }
    }
    assert_eq!((world.queued().await, world.recorded().await), (0, 0));
}

async fn bad_requests(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Local).await;
    let good = "+15550000200";
    let cases = [
        (json!({}), vec!["phone_number"]),
        (
            json!({"phone_number": "+1555/evil@x"}),
            vec!["phone_number"],
        ),
        (
            json!({"phone_number": "1555&PJSIP/other"}),
            vec!["phone_number"],
        ),
        (
            json!({"phone_number": 15_550_000_200_u64}),
            vec!["phone_number"],
        ),
        (
            json!({"phone_number": good, "context": "a,b"}),
            vec!["context"],
        ),
        (
            json!({"phone_number": good, "context": "a&Local/x"}),
            vec!["context"],
        ),
        (
            json!({"phone_number": good, "extension": "s@x"}),
            vec!["extension"],
        ),
        (
            json!({"phone_number": good, "priority": 0}),
            vec!["priority"],
        ),
        (
            json!({"phone_number": good, "priority": "one"}),
            vec!["priority"],
        ),
        (json!({"phone_number": good, "timeout": 0}), vec!["timeout"]),
        (
            json!({"phone_number": good, "timeout": 1e9}),
            vec!["timeout"],
        ),
        (
            json!({"phone_number": good, "caller_id": "x\r\ny"}),
            vec!["caller_id"],
        ),
        (
            json!({"phone_number": "x", "context": " ", "priority": -1, "timeout": 1.5}),
            vec!["phone_number", "context", "priority", "timeout"],
        ),
    ];
    for (body, fields) in cases {
        let response = api
            .request(Method::POST, "/api/v2/calls")
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let (status, answer) = read(response).await;
        assert_eq!(status, 422, "{body}: {answer}");
        let mut named: Vec<_> = answer["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["field"].as_str().unwrap())
            .collect();
        let mut fields = fields;
        named.sort_unstable();
        fields.sort_unstable();
        assert_eq!(named, fields, "{body}");
    }
    for path in [
        "+1555%2Fevil@x",
        "+1555/evil@x",
        "1555&PJSIP",
        "1555%26PJSIP%2Fother",
        "%FF",
        "12%2034567",
        "+1555%0a0000200",
    ] {
        let response = api
            .request(Method::POST, &format!("/api/v2/interaction/{path}"))
            .send()
            .await
            .unwrap();
        let (status, answer) = read(response).await;
        assert_eq!(
            (status, answer["errors"][0]["field"].as_str()),
            (422, Some("number")),
            "{path}"
        );
    }
    assert_eq!((world.queued().await, world.recorded().await), (0, 0));
}

async fn bad_bodies(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let post = async |content_type: &str, body: String| {
        let request = api
            .request(Method::POST, "/api/v2/calls")
            .header("content-type", content_type);
        read(request.body(body).send().await.unwrap()).await
    };
    let (status, body) = post("application/json", "{\n  \"phone_number\": +1}".to_owned()).await;
    assert_eq!(
        (status, body["errors"][0]["detail"].as_str()),
        (422, Some("is not JSON: line 2, column 19"))
    );
    let (status, body) = post("application/json", "[]".to_owned()).await;
    assert_eq!(
        (status, body["errors"][0]["field"].as_str()),
        (422, Some("body"))
    );
    let (status, _) = post("text/plain", "{}".to_owned()).await;
    assert_eq!(status, 415);
    let (status, body) = post(
        "application/json",
        format!("{{\"x\":\"{}\"}}", "x".repeat(70_000)),
    )
    .await;
    assert_eq!(
        (status, body["type"].as_str()),
        (413, Some("urn:problem:body-too-large"))
    );
    let deep = "[".repeat(60_000);
    assert_eq!(post("application/json", deep).await.0, 422);
    assert_eq!((world.queued().await, world.recorded().await), (0, 0));
}

async fn accepted(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let to = number("200");
    let response = api
        .request(Method::POST, &format!("/api/v1/interaction/{to}"))
        .header("x-request-id", "my-request")
        .json(&json!({"context": "sales", "extension": "100", "priority": 2, "timeout": 1500}))
        .send()
        .await
        .unwrap();
    assert_eq!(response.headers()["x-request-id"], "my-request");
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let (status, body) = read(response).await;
    let id = body["call_id"].as_str().unwrap();
    assert_eq!((status, location), (202, format!("../calls/{id}")));
    assert_eq!(
        (
            &body["success"],
            &body["phone_number"],
            &body["status"],
            &body["channel"]
        ),
        (
            &json!(true),
            &json!(to),
            &json!("pending"),
            &json!(format!("PJSIP/{to}@trunk"))
        )
    );
    for path in [
        format!("/api/v2/status/{id}"),
        format!("/api/v1/interaction/{id}/status"),
        format!("/api/v2/calls/{id}"),
    ] {
        let (status, call) = read(api.request(Method::GET, &path).send().await.unwrap()).await;
        assert_eq!(status, 200, "{path}");
        assert_eq!(
            (
                &call["context"],
                &call["extension"],
                &call["priority"],
                &call["is_active"]
            ),
            (&json!("sales"), &json!("100"), &json!(2), &json!(true))
        );
        assert_eq!(call["created_at"], body["created_at"]);
    }
    assert_eq!((world.queued().await, world.recorded().await), (1, 1));
    let stored = world
        .calls()
        .get(id.parse().unwrap())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored.request.request_id, "my-request");
}

async fn unknown(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    for (method, path, expected, kind) in [
        (
            Method::GET,
            "/api/v2/calls/3f2b8c1e-0000-4000-8000-000000000001",
            404,
            "urn:problem:call-not-found",
        ),
        (
            Method::GET,
            "/api/v2/calls/17",
            422,
            "urn:problem:invalid-request",
        ),
        (
            Method::GET,
            "/api/v2/status/%FF",
            422,
            "urn:problem:invalid-request",
        ),
        (Method::GET, "/api/v3/calls", 404, "urn:problem:not-found"),
        (
            Method::PUT,
            "/api/v2/calls",
            405,
            "urn:problem:method-not-allowed",
        ),
    ] {
        let response = api.request(method.clone(), path).send().await.unwrap();
        assert_eq!(
            response.headers().contains_key("allow"),
            expected == 405,
            "{path}"
        );
        assert!(response.headers().contains_key("x-request-id"), "{path}");
        let (status, body) = read(response).await;
        assert_eq!(
            (status, body["type"].as_str()),
            (expected, Some(kind)),
            "{method} {path}"
        );
    }
}

async fn queue_gone(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    world
        .clients
        .sqs
        .delete_queue()
        .queue_url(&world.embedded.calls_queue_url)
        .send()
        .await
        .unwrap();
    let response = api
        .request(Method::POST, "/api/v2/calls")
        .json(&json!({"phone_number": number("200")}))
        .send()
        .await
        .unwrap();
    assert!(response.headers().contains_key("retry-after"));
    let (status, body) = read(response).await;
    assert_eq!(
        (status, body["type"].as_str()),
        (503, Some("urn:problem:unavailable"))
    );
    assert!(
        !body
            .to_string()
            .to_lowercase()
            .contains("queue does not exist"),
        "{body}"
    );
    let items = world
        .clients
        .dynamodb
        .scan()
        .table_name("calls")
        .send()
        .await
        .unwrap();
    let call = cloud::call_item::decode(&items.items()[0]).unwrap();
    assert_eq!(call.failure_reason, Some(domain::FailureReason::NotQueued));
}

async fn table_gone(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    world
        .clients
        .dynamodb
        .delete_table()
        .table_name("calls")
        .send()
        .await
        .unwrap();
    let response = api
        .request(Method::POST, "/api/v2/calls")
        .json(&json!({"phone_number": number("200")}))
        .send()
        .await
        .unwrap();
    assert_eq!(read(response).await.0, 503);
    let path = "/api/v2/calls/3f2b8c1e-0000-4000-8000-000000000001";
    assert_eq!(
        read(api.request(Method::GET, path).send().await.unwrap())
            .await
            .0,
        503
    );
    assert_eq!(world.queued().await, 0);
}

/// Logs in from an address, behind the gateway. Returns the status.
async fn log_in(tokens: &Router, address: &str, password: &str) -> u16 {
    let body = format!("username=alice&password={password}");
    let mut request = Request::post("/api/v2/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from(body))
        .unwrap();
    let address = GatewayAddress(address.to_owned());
    request.extensions_mut().insert(address);
    let answer = tokens.clone().oneshot(request).await.unwrap();
    answer.status().as_u16()
}

async fn guessing(pbx: Arc<Pbx>) {
    const MANY: u32 = 1_000;
    const AT_ONCE: usize = 50;
    let world = World::without_bridge(&pbx).await;
    let hash = password::hash("correct horse").unwrap();
    world.accounts().add("alice", &hash, None).await.unwrap();
    let dynamodb = world.clients.dynamodb.clone();
    let state = STATE_TABLE.to_owned();
    let limit = RateLimit {
        requests: 10,
        window: Duration::from_hours(24),
    };
    let limiter = RateLimiter::new(dynamodb.clone(), state.clone(), "token", limit);
    let guard = LoginGuard::new(dynamodb.clone(), state.clone());
    let standings = StandingStore::new(dynamodb, state);
    let keys = Arc::new(jwt(SECRET_KEY));
    let state = TokenState::new(Some(world.users()), limiter, guard, standings, keys);
    let hashes = state.hashes();
    let tokens = router::token(state);
    let so_far = || hashes.load(Ordering::SeqCst);

    // It has logged in before, from this network.
    assert_eq!(log_in(&tokens, "2001:db8::1", "correct+horse").await, 200);
    let begun = Instant::now();
    let flood = (0..2 * MANY).map(|guess| {
        let tokens = tokens.clone();
        let address = if guess % 2 == 0 {
            "198.51.100.1".to_owned()
        } else {
            format!("10.0.{}.{}", guess / 256, guess % 256)
        };
        async move { log_in(&tokens, &address, "wrong").await }
    });
    // More at once would try the table of this machine, not the guard.
    let flood = futures_util::stream::iter(flood.collect::<Vec<_>>())
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>();
    let flood = tokio::spawn(flood);
    let most_in = |begun: Instant| {
        let windows = begun.elapsed().as_secs() + 2;
        windows * u64::from(STRANGERS.requests)
    };
    // While it goes on, others' hashes do not stand between the client and its token.
    while so_far() < 3 {
        tokio::task::yield_now().await;
    }
    let (asked, before) = (Instant::now(), so_far());
    assert_eq!(log_in(&tokens, "2001:db8::2", "correct+horse").await, 200);
    let between = so_far() - before;
    assert!(between <= 2 + most_in(asked), "{between} hashes");
    let answers = flood.await.unwrap();
    let of = |status: u16| answers.iter().filter(|answer| **answer == status).count();
    assert_eq!(of(401) + of(429), answers.len(), "{} are 503", of(503));
    assert!(
        of(401) > 0 && so_far() <= 2 + most_in(begun),
        "{}",
        so_far()
    );
    // A right password is delayed and not refused, from wherever it comes.
    let mut tries = 0;
    while log_in(&tokens, "203.0.113.9", "correct+horse").await != 200 {
        tries += 1;
        assert!(tries < 5, "a right password is refused");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
