//! Revoking: what an administrator ends is taken nowhere after seconds, whatever still runs.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloud::kept_keys::key_id;
use cloud::{Secret, password};
use e2e::client::read;
use e2e::gateway::{self, Gateway, Mapping};
use e2e::secrets_manager::{SECRET_ARN, SecretsManager};
use e2e::wire::WireRequest;
use e2e::world::{SECRET_KEY, jwt, number, source};
use e2e::{Client, Line, Pbx, World};
use functions::jwt::Scope;
use local::embedded::STATE_TABLE;
use reqwest::Method;
use ring::hmac;
use serde_json::{Value, json};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add(
        "revoking::within_15_s_no_route_of_a_warm_function_takes_what_was_ended",
        everywhere,
    );
    suite.add(
        "revoking::what_cannot_be_read_is_503_on_every_route",
        unreadable,
    );
    suite.add(
        "revoking::a_change_that_cannot_end_tokens_is_not_made",
        not_made,
    );
    suite.add(
        "revoking::a_user_who_is_enabled_again_needs_a_new_token",
        enabled_again,
    );
    suite.add(
        "revoking::a_user_for_reading_gets_no_token_for_calls",
        reader,
    );
    suite.add(
        "revoking::a_user_whose_calls_of_the_day_are_spent_gets_429",
        daily_calls,
    );
}

/// What the documentation promises.
const PROMISED: Duration = Duration::from_secs(15);
const PASSWORD: &str = "correct horse";
const KEYS: [&str; 3] = [
    "the leaked key of this test, 32 bytes or more",
    "the second key of this test, 32 bytes or more",
    "the third key of this test, 32 bytes or more",
];

fn id(key: &str) -> String {
    key_id(&Secret::new(key.to_owned()))
}

/// A token as whoever has `key` makes it: for carol, dated in the future, for ever.
fn forged(key: &str, kid: Option<&str>) -> String {
    let header = json!({"alg": "HS256", "kid": kid});
    let claims = json!({"sub": "carol", "iat": 4e9, "exp": 9e9, "scope": "calls:write calls:read"});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let tag = hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The id of the key that a token names.
fn kid(token: &str) -> Option<String> {
    let header = token.split('.').next()?;
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    header["kid"].as_str().map(str::to_owned)
}

/// A request for each route that needs a token, as the template has them.
fn requests() -> Vec<WireRequest> {
    let with_token = ["originate", "status", "control"];
    let routes = gateway::routes();
    let routes = routes
        .iter()
        .filter(|route| with_token.contains(&route.function.as_str()));
    let requests = routes.map(|route| {
        let (method, path) = route.key.split_once(' ').unwrap();
        let path = path
            .replace("{call_id}", "3f2b8c1e-0000-4000-8000-000000000001")
            .replace("{number}", "+15550000200")
            .replace("{rest+}", "rest");
        let request = WireRequest::new(method, &path);
        if method != "POST" {
            return request;
        }
        let mut body = json!({"dry_run": true});
        if path.ends_with("/calls") {
            body["phone_number"] = json!("+15550000200");
        }
        request
            .header("content-type", "application/json")
            .body(body.to_string())
    });
    requests.collect()
}

/// The routes that take the token, and those that refuse it as invalid.
async fn split(gateway: &mut Gateway, token: &str) -> (Vec<String>, Vec<String>) {
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for request in requests() {
        let route = format!("{} {}", request.method, request.target);
        let request = request.header("authorization", &format!("Bearer {token}"));
        let answer = gateway.ask(&request, Mapping::None).await;
        match answer.status {
            401 => {
                let challenge = answer.header("www-authenticate");
                assert!(challenge.contains("invalid_token"), "{route}: {challenge}");
                refused.push(route);
            }
            200 | 404 | 422 => accepted.push(route),
            status => panic!("{route}: {status}"),
        }
    }
    assert!(accepted.len() + refused.len() > 20);
    (accepted, refused)
}

async fn log_in(gateway: &mut Gateway, user: &str, password: &str) -> (u16, Value) {
    let password = password.replace(' ', "+");
    let request = WireRequest::new("POST", "/api/v2/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("username={user}&password={password}"));
    let answer = gateway.ask(&request, Mapping::None).await;
    (answer.status, answer.json())
}

async fn token_of(gateway: &mut Gateway, user: &str, password: &str) -> String {
    let (status, body) = log_in(gateway, user, password).await;
    assert_eq!(status, 200, "{user}: {body}");
    body["access_token"].as_str().unwrap().to_owned()
}

async fn administer(world: &World, arguments: &[&str], input: &str) {
    let ended = world.admin(arguments, input).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

async fn everywhere(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let hash = password::hash(PASSWORD).unwrap();
    for user in ["alice", "bob", "carol"] {
        world.accounts().add(user, &hash, None).await.unwrap();
    }
    let kept = SecretsManager::start(KEYS[0]).await;
    kept.put(KEYS[1]);
    let settings = source(&[
        ("SECRET_KEY", ""),
        ("SECRET_KEY_ARN", SECRET_ARN),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &kept.url),
        ("RATE_LIMIT_REQUESTS", "1000"),
        // Nobody reads more of what they say.
        ("LOG_LEVEL", "error"),
        ("METRICS_ENABLED", "false"),
    ]);
    let mut gateway = Gateway::start_with(&world, &settings).await;
    let gateway = &mut gateway;
    let alice = token_of(gateway, "alice", PASSWORD).await;
    let bob = token_of(gateway, "bob", PASSWORD).await;
    let carol = token_of(gateway, "carol", PASSWORD).await;
    let leaked = KEYS[0];
    let old = [
        ("disabled", alice),
        ("of the password before", bob),
        ("of the leaked key", forged(leaked, Some(&id(leaked)))),
        ("of the leaked key, unnamed", forged(leaked, None)),
    ];
    for (what, token) in &old {
        let (_, refused) = split(gateway, token).await;
        assert!(refused.is_empty(), "{what}: {refused:?}");
    }

    let ended = async {
        administer(&world, &["user", "disable", "alice"], "").await;
        administer(&world, &["user", "passwd", "bob"], "battery staple\n").await;
        administer(&world, &["key", "revoke", &id(leaked)], "").await;
    };
    ended.await;
    let nowhere = async {
        for (what, token) in &old {
            loop {
                let (accepting, _) = split(gateway, token).await;
                if accepting.is_empty() {
                    break;
                }
                println!("{what}: still taken by {}", accepting.len());
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    };
    tokio::time::timeout(PROMISED, nowhere)
        .await
        .expect("nothing old is taken after 15 s");

    // Whom it is not about goes on, and so does whoever asks for a new token.
    let bob = token_of(gateway, "bob", "battery staple").await;
    for token in [&carol, &bob] {
        let (_, refused) = split(gateway, token).await;
        assert!(refused.is_empty(), "{refused:?}");
    }
    assert_eq!(log_in(gateway, "alice", PASSWORD).await.0, 401);
    assert_eq!(log_in(gateway, "bob", PASSWORD).await.0, 401);

    signing_key(&world, gateway, &kept).await;
}

/// The key that signs is revoked: at once the next one signs, which nobody had to wait for.
async fn signing_key(world: &World, gateway: &mut Gateway, kept: &SecretsManager) {
    kept.put(KEYS[2]);
    administer(world, &["key", "revoke", &id(KEYS[1])], "").await;
    let token = token_of(gateway, "carol", PASSWORD).await;
    assert_eq!(kid(&token), Some(id(KEYS[2])));
    let (_, refused) = split(gateway, &token).await;
    assert!(refused.is_empty(), "{refused:?}");
    // There is no other than the revoked one.
    administer(world, &["key", "revoke", &id(KEYS[2])], "").await;
    let (status, body) = log_in(gateway, "carol", PASSWORD).await;
    assert_eq!(status, 503, "{body}");
    let line = gateway
        .wait_for_log("token", "the key that signs tokens is revoked")
        .await;
    assert!(line.contains(&id(KEYS[2])), "{line}");
}

async fn unreadable(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let quiet = source(&[("LOG_LEVEL", "critical"), ("METRICS_ENABLED", "false")]);
    let mut gateway = Gateway::start_with(&world, &quiet).await;
    let dynamodb = &world.clients.dynamodb;
    let gone = dynamodb.delete_table().table_name(STATE_TABLE).send().await;
    gone.unwrap();
    let token = jwt(SECRET_KEY).issue("alice", &Scope::ALL, cloud::clock::now());
    let bearer = format!("Bearer {}", token.unwrap());
    for request in requests() {
        let route = format!("{} {}", request.method, request.target);
        let request = request.header("authorization", &bearer);
        let answer = gateway.ask(&request, Mapping::None).await;
        assert_eq!(answer.status, 503, "{route}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(!answer.header("retry-after").is_empty(), "{route}");
    }
    assert_eq!((world.queued().await, world.recorded().await), (0, 0));
}

async fn not_made(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let input = format!("{PASSWORD}\n");
    administer(&world, &["user", "add", "alice"], &input).await;
    let before = world.users().get("alice").await.unwrap().unwrap();
    let dynamodb = &world.clients.dynamodb;
    let gone = dynamodb.delete_table().table_name(STATE_TABLE).send().await;
    gone.unwrap();
    for (arguments, input) in [
        (["user", "passwd", "alice"].as_slice(), "battery staple\n"),
        (&["user", "disable", "alice"], ""),
        (&["user", "scope", "alice", "calls:read"], ""),
    ] {
        let ended = world.admin(arguments, input).await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        let after = world.users().get("alice").await.unwrap().unwrap();
        assert!(after == before, "{arguments:?}");
    }
}

/// Asks for a token in this process. Returns the status and the body.
async fn ask(api: &Client, form: &[(&str, &str)]) -> (u16, Value) {
    let request = api.anonymous(Method::POST, "/api/v2/token").form(form);
    read(request.send().await.unwrap()).await
}

async fn list(api: &Client, token: &str) -> u16 {
    let request = api.anonymous(Method::GET, "/api/v2/calls");
    let answer = request.bearer_auth(token).send().await.unwrap();
    answer.status().as_u16()
}

async fn enabled_again(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let form = [("username", "alice"), ("password", PASSWORD)];
    let input = format!("{PASSWORD}\n");
    administer(&world, &["user", "add", "alice"], &input).await;
    let api = world.api(Line::Trunk).await;
    let (_, granted) = ask(&api, &form).await;
    let old = granted["access_token"].as_str().unwrap();
    assert_eq!(list(&api, old).await, 200);
    administer(&world, &["user", "disable", "alice"], "").await;
    // Another instance remembers nothing of before.
    assert_eq!(list(&world.api(Line::Trunk).await, old).await, 401);
    assert_eq!(ask(&api, &form).await.0, 401);
    administer(&world, &["user", "enable", "alice"], "").await;
    let api = world.api(Line::Trunk).await;
    assert_eq!(list(&api, old).await, 401);
    let (_, granted) = ask(&api, &form).await;
    let new = granted["access_token"].as_str().unwrap();
    assert_eq!(list(&api, new).await, 200);
    // Nobody is disabled or given a password who is not there.
    for arguments in [["user", "disable", "nobody"], ["user", "enable", "nobody"]] {
        let ended = world.admin(&arguments, "").await;
        assert!(ended.stderr.contains("no user nobody"), "{ended:?}");
    }
    let ended = world.admin(&["key", "revoke", "alice"], "").await;
    assert!(ended.stderr.contains("not the id of a key"), "{ended:?}");
    let printed = world
        .admin(&["key", "id"], &format!("{SECRET_KEY}\n"))
        .await;
    assert_eq!(printed.stdout.trim(), id(SECRET_KEY));
}

async fn reader(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let input = format!("{PASSWORD}\n");
    let add = ["user", "add", "reader", "--scope", "calls:read"];
    administer(&world, &add, &input).await;
    administer(&world, &["user", "add", "alice"], &input).await;
    let listed = world.admin(&["user", "list"], "").await;
    assert_eq!(listed.stdout, "alice\nreader\tcalls:read\n");
    let wrong = world
        .admin(&["user", "add", "bob", "--scope", "admin"], "")
        .await;
    assert!(wrong.stderr.contains("no scope admin"), "{wrong:?}");

    let api = world.api(Line::Trunk).await;
    let form = [("username", "reader"), ("password", PASSWORD)];
    let (_, granted) = ask(&api, &form).await;
    assert_eq!(granted["scope"], "calls:read");
    let reading = api.with_token(granted["access_token"].as_str().unwrap().to_owned());
    assert_eq!(list(&api, reading.token()).await, 200);
    assert_eq!(reading.try_place(&number("200"), json!({})).await.0, 403);
    for scope in ["calls:write", "calls:read calls:write"] {
        let (status, answer) = ask(&api, &[form[0], form[1], ("scope", scope)]).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_scope")));
    }

    let both = ["user", "scope", "reader", "calls:write", "calls:read"];
    administer(&world, &both, "").await;
    let api = world.api(Line::Trunk).await;
    // What it may do has changed, so it needs a new token.
    assert_eq!(list(&api, reading.token()).await, 401);
    let (_, granted) = ask(&api, &form).await;
    assert_eq!(granted["scope"], "calls:write calls:read");
    assert_eq!((world.queued().await, world.recorded().await), (0, 0));
}

async fn daily_calls(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api_with_daily_calls(Line::Trunk, Some(2)).await;
    let place = async |key: &str| {
        let request = api.request(Method::POST, "/api/v2/calls");
        let request = request.json(&json!({"phone_number": "+15550000200"}));
        let answer = request.header("idempotency-key", key).send().await.unwrap();
        let after = answer.headers().get("retry-after").cloned();
        let replayed = answer.headers().contains_key("idempotent-replayed");
        let (status, body) = read(answer).await;
        (status, replayed, after, body)
    };
    // A repeat makes no call, and is not counted. Nor is what only asks.
    assert_eq!(place("one").await.0, 202);
    for _ in 0..3 {
        let (status, replayed, ..) = place("one").await;
        assert_eq!((status, replayed), (202, true));
    }
    let dry_run = json!({"dry_run": true});
    assert_eq!(api.try_place(&number("200"), dry_run.clone()).await.0, 200);
    assert_eq!(place("two").await.0, 202);

    let (status, _, after, body) = place("three").await;
    assert_eq!(status, 429, "{body}");
    assert_eq!(body["type"], "urn:problem:daily-calls-spent");
    let after: u64 = after.unwrap().to_str().unwrap().parse().unwrap();
    assert!((1..=24 * 3_600).contains(&after), "{after}");
    assert_eq!(api.try_place(&number("200"), json!({})).await.0, 429);
    // What was asked for before is answered as before.
    let (status, replayed, ..) = place("two").await;
    assert_eq!((status, replayed), (202, true));
    assert_eq!(api.try_place(&number("200"), dry_run).await.0, 200);
    assert_eq!(world.recorded().await, 2);

    // Each user has a number of its own.
    let token = jwt(SECRET_KEY).issue("another", &Scope::ALL, cloud::clock::now());
    let another = api.with_token(token.unwrap());
    assert_eq!(another.try_place(&number("200"), json!({})).await.0, 202);
}
