//! The functions: how soon they are there, what a request takes, and what a password costs.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, Version};
use cloud::password;
use e2e::program::Program;
use e2e::runtime_api::RuntimeApi;
use e2e::world::{SECRET_KEY, jwt};
use e2e::{Pbx, World};
use functions::jwt::Scope;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::figures::{Samples, Table, ms, ratio, verdict};
use crate::shipped::{cpu, function_environment, start, used_since};

/// Cold starts of each program.
const STARTS: usize = 31;
/// Warm requests of each kind, and those before them that are not counted.
const REQUESTS: usize = 5_000;
const WARM_UP: usize = 200;
/// Tokens of each kind.
const TOKENS: usize = 101;

const PASSWORD: &str = "correct horse";
/// The functions that answer requests.
pub const FUNCTIONS: [&str; 6] = ["token", "originate", "status", "control", "system", "docs"];

/// A request that a function is measured with.
pub struct Asked {
    method: &'static str,
    path: String,
    headers: Value,
    body: &'static str,
}

impl Asked {
    /// Sends it.
    pub async fn send(&self, api: &mut RuntimeApi) -> Value {
        api.invoke(self.method, &self.path, self.headers.clone(), self.body)
            .await
    }
}

/// The functions' world, and a request to each.
pub struct Scene {
    world: World,
    /// By function.
    pub asked: BTreeMap<&'static str, Asked>,
}

impl Scene {
    /// With a user and a call.
    pub async fn new() -> Self {
        let world = World::without_bridge(&Pbx::simulator().await.into()).await;
        let hash = password::hash(PASSWORD).expect("a hash");
        world
            .accounts()
            .add("alice", &hash, None)
            .await
            .expect("a user");
        let now = cloud::clock::now();
        let token = jwt(SECRET_KEY).issue("alice", &Scope::ALL, now);
        let bearer = format!("Bearer {}", token.expect("a token"));
        let headers = json!({"authorization": bearer, "content-type": "application/json"});
        let with = |method, path: &str, body| Asked {
            method,
            path: path.to_owned(),
            headers: headers.clone(),
            body,
        };
        let nobody = "/api/v2/calls/3f2b8c1e-0000-4000-8000-000000000001/hangup";
        let call = r#"{"phone_number":"+15550000200"}"#;
        let form = json!({"content-type": "application/x-www-form-urlencoded"});
        let token = Asked {
            method: "POST",
            path: "/api/v2/token".to_owned(),
            headers: form,
            body: "username=alice&password=correct+horse",
        };
        let asked = BTreeMap::from([
            ("hello", with("GET", "/", "")),
            ("originate", with("POST", "/api/v2/calls", call)),
            ("control", with("POST", nobody, "")),
            ("system", with("GET", "/", "")),
            ("docs", with("GET", "/docs", "")),
            ("token", token),
        ]);
        let mut scene = Self { world, asked };
        let (_program, mut api) = scene.start("originate").await;
        let answer = scene.asked["originate"].send(&mut api).await;
        let call: Value = serde_json::from_str(answer["body"].as_str().unwrap_or_default())
            .expect("an accepted call");
        let id = call["call_id"].as_str().expect("its id");
        let status = with("GET", &format!("/api/v2/calls/{id}"), "");
        scene.asked.insert("status", status);
        scene
    }

    /// Starts a function.
    pub async fn start(&self, name: &str) -> (Program, RuntimeApi) {
        let api = RuntimeApi::start().await;
        let environment = function_environment(name, &self.world, &api);
        (start(name, &environment), api)
    }
}

/// From the start of a program to its first question for work, to its first answer, and the answer to a second request.
pub async fn cold() {
    let scene = Scene::new().await;
    let programs: Vec<_> = ["hello"].into_iter().chain(FUNCTIONS).collect();
    let mut samples: BTreeMap<&str, [Samples; 4]> = BTreeMap::new();
    for _ in 0..STARTS {
        // In turn, so that whatever slows the machine down slows all.
        for name in &programs {
            let asked = &scene.asked[name];
            let begun = Instant::now();
            let (_program, mut api) = scene.start(name).await;
            api.wait_until_asked().await;
            let ready = begun.elapsed();
            let sent = Instant::now();
            asked.send(&mut api).await;
            let (first, answered) = (sent.elapsed(), begun.elapsed());
            let mut warm = Duration::MAX;
            for _ in 0..5 {
                let sent = Instant::now();
                asked.send(&mut api).await;
                warm = warm.min(sent.elapsed());
            }
            let [a, b, c, d] = samples.entry(name).or_default();
            a.add(ready);
            b.add(answered);
            c.add(first);
            d.add(warm);
        }
    }
    println!("\n## Cold start\n\nMedians of {STARTS} starts of each program, in turn.\n");
    let mut table = Table::new(&[
        "program",
        "asks for work after",
        "of hello",
        "≤ 1.5",
        "first answer after",
        "of hello",
        "first request",
        "a warm one",
        "ratio",
        "≤ 2",
    ]);
    let hello = samples["hello"].clone();
    for name in programs {
        let [ready, answered, first, warm] = &samples[name];
        let to_hello = ratio(ready.median(), hello[0].median());
        let to_warm = ratio(first.median(), warm.median());
        table.row(&[
            name.to_owned(),
            ms(ready.median()),
            format!("{to_hello:.2}"),
            verdict(to_hello <= 1.5).to_owned(),
            ms(answered.median()),
            format!("{:.2}", ratio(answered.median(), hello[1].median())),
            ms(first.median()),
            ms(warm.median()),
            format!("{to_warm:.2}"),
            verdict(to_warm <= 2.0).to_owned(),
        ]);
    }
    table.print();
}

/// How soon a program speaks TLS, against one with the SDK's default features.
pub async fn tls() {
    let scene = Scene::new().await;
    let mut samples: BTreeMap<&str, Samples> = BTreeMap::new();
    for _ in 0..STARTS {
        for name in ["status", "default-client"] {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
            let address = listener.local_addr().expect("its address");
            let api = RuntimeApi::start().await;
            let mut environment = function_environment(name, &scene.world, &api);
            let url = format!("https://{address}");
            environment.insert("AWS_ENDPOINT_URL_DYNAMODB".to_owned(), url);
            let begun = Instant::now();
            let _program = start(name, &environment);
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut first = [0];
            socket.read_exact(&mut first).await.expect("a byte");
            samples.entry(name).or_default().add(begun.elapsed());
            // A handshake's record.
            assert_eq!(first, [22], "{name}");
        }
    }
    let (ours, other) = (
        samples["status"].median(),
        samples["default-client"].median(),
    );
    let times = ratio(other, ours);
    println!(
        "\n## First bytes of TLS\n\nMedians of {STARTS}, in turn, from the start of the program: `status` {}, a client with the SDK's default features {}: {times:.1} times \
         sooner (≥ 8: {}).\n",
        ms(ours),
        ms(other),
        verdict(times >= 8.0)
    );
}

/// Requests to functions that are there already.
pub async fn warm() {
    let scene = Scene::new().await;
    println!("\n## Warm requests\n\n{REQUESTS} requests, one after the other.\n");
    let mut table = Table::new(&[
        "function",
        "p50",
        "p99",
        "requests per CPU second",
        "memory",
    ]);
    for name in ["hello", "originate", "status"] {
        let asked = &scene.asked[name];
        let (program, mut api) = scene.start(name).await;
        for _ in 0..WARM_UP {
            asked.send(&mut api).await;
        }
        let mut samples = Samples::default();
        let before = cpu(program.id());
        for _ in 0..REQUESTS {
            let sent = Instant::now();
            let answer = asked.send(&mut api).await;
            samples.add(sent.elapsed());
            let status = answer["statusCode"].as_u64().unwrap_or_default();
            assert!((200..300).contains(&status), "{answer}");
        }
        let used = used_since(program.id(), before);
        let rate = f64::from(u32::try_from(REQUESTS).unwrap_or(u32::MAX)) / used.as_secs_f64();
        table.row(&[
            name.to_owned(),
            ms(samples.median()),
            ms(samples.percentile(99)),
            format!("{rate:.0}"),
            program.footprint().to_string(),
        ]);
    }
    table.print();
}

/// What a password costs, right or wrong, known or unknown.
pub async fn token() {
    let scene = Scene::new().await;
    let (_program, mut api) = scene.start("token").await;
    let headers = &scene.asked["token"].headers;
    let kinds = [
        ("right password", "username=alice&password=correct+horse"),
        ("wrong password", "username=alice&password=wrong+horse"),
        ("unknown user", "username=nobody&password=correct+horse"),
    ];
    let mut samples: [Samples; 3] = Default::default();
    let mut alone = Samples::default();
    for _ in 0..TOKENS {
        for (samples, (_, body)) in samples.iter_mut().zip(kinds) {
            let sent = Instant::now();
            api.invoke("POST", "/api/v2/token", headers.clone(), body)
                .await;
            samples.add(sent.elapsed());
        }
        let begun = Instant::now();
        hash_alone();
        alone.add(begun.elapsed());
    }
    println!(
        "\n## Tokens\n\nMedians of {TOKENS} of each, in turn; the crate alone at opt-level 3.\n"
    );
    let mut table = Table::new(&["what", "median", "of the crate alone", "≤ 1.1"]);
    table.row(&[
        "argon2id, 19 MiB, 2 passes, 1 lane",
        &ms(alone.median()),
        "1",
        "",
    ]);
    for (samples, (kind, _)) in samples.iter().zip(kinds) {
        let of_alone = ratio(samples.median(), alone.median());
        table.row(&[
            kind.to_owned(),
            ms(samples.median()),
            format!("{of_alone:.3}"),
            verdict(of_alone <= 1.1).to_owned(),
        ]);
    }
    table.print();
    let [_, wrong, unknown] = &samples;
    let apart = (ratio(unknown.median(), wrong.median()) - 1.0).abs() * 100.0;
    println!(
        "An unknown user and a wrong password differ by {apart:.2} % in the median (< 2 %: {}).\n",
        verdict(apart < 2.0)
    );
}

/// The hash and nothing else.
fn hash_alone() {
    let params = Params::new(19 * 1024, 2, 1, Some(32)).expect("good parameters");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut hash = [0_u8; 32];
    argon2
        .hash_password_into(PASSWORD.as_bytes(), b"nobody's salt here", &mut hash)
        .expect("a hash");
    black_box(hash);
}
