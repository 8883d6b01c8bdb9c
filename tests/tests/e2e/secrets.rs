//! Secrets stay where they belong: none is in any output of any program, whatever happens.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloud::password;
use e2e::program::Program;
use e2e::world::{number, source};
use e2e::{Line, Pbx, World};
use serde_json::json;

use crate::Suite;
use crate::lambda::{body, start_with};

pub fn add(suite: &mut Suite) {
    suite.add("secrets::none_is_in_any_output", none_in_any_output);
}

const SECRET_KEY: &str = "MARKED-signing-key-of-32-bytes-or-more";
const PREVIOUS_KEY: &str = "MARKED-previous-key-of-32-bytes-or-more";
const PASSWORD: &str = "MARKED password";
const WRONG_PASSWORD: &str = "MARKED wrong password";
const AWS_SECRET: &str = "MARKED/aws/secret";
const ARI_PASSWORD: &str = "MARKED-ari-password";

async fn none_in_any_output(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let hash = password::hash(PASSWORD).unwrap();
    world.accounts().add("alice", &hash, None).await.unwrap();
    let loud = source(&[
        ("SECRET_KEY", SECRET_KEY),
        ("SECRET_KEY_PREVIOUS", PREVIOUS_KEY),
        ("AWS_SECRET_ACCESS_KEY", AWS_SECRET),
        ("LOG_LEVEL", "trace"),
    ]);
    let mut broken = loud.clone();
    // Nobody listens there: everything fails, and says so.
    broken.extend(source(&[
        ("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:9"),
        ("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9"),
    ]));

    let mut programs = Vec::new();
    let mut secrets: Vec<String> = [
        SECRET_KEY,
        PREVIOUS_KEY,
        PASSWORD,
        WRONG_PASSWORD,
        AWS_SECRET,
        ARI_PASSWORD,
    ]
    .map(str::to_owned)
    .into();
    secrets.push(hash);
    let mut bearer = String::new();
    for environment in [&loud, &broken] {
        let (program, mut token) = start_with("token", &world, environment).await;
        programs.push(program);
        let form = json!({"content-type": "application/x-www-form-urlencoded"});
        for given in [PASSWORD, WRONG_PASSWORD] {
            let form_body = format!("username=alice&password={}", given.replace(' ', "+"));
            let answer = token
                .invoke("POST", "/api/v2/token", form.clone(), &form_body)
                .await;
            if let Some(granted) = body(&answer)["access_token"].as_str() {
                granted.clone_into(&mut bearer);
                secrets.push(granted.to_owned());
            }
        }
        assert!(!bearer.is_empty());
        let tampered = format!("{}x", &bearer[..bearer.len() - 2]);
        secrets.push(tampered.clone());
        for name in ["originate", "status", "control", "system", "docs"] {
            let (program, mut function) = start_with(name, &world, environment).await;
            programs.push(program);
            for token in [&bearer, &tampered] {
                let headers = json!({"authorization": format!("Bearer {token}"), "content-type": "application/json"});
                for (method, path, sent) in [
                    (
                        "POST",
                        "/api/v2/calls",
                        r#"{"phone_number":"+15550000486"}"#,
                    ),
                    ("POST", "/api/v2/calls", "{broken"),
                    ("GET", "/api/v2/calls", ""),
                    (
                        "POST",
                        "/api/v2/calls/3f2b8c1e-0000-4000-8000-000000000001/hangup",
                        "",
                    ),
                    ("GET", "/health", ""),
                ] {
                    function.invoke(method, path, headers.clone(), sent).await;
                }
            }
        }
    }

    let (good, refused, ari_password) = bridges(&world).await;
    secrets.push(ari_password);
    programs.extend([good, refused]);

    let mut lines = 0;
    for program in programs {
        program.signal("TERM").await;
        let ended = program.wait().await;
        let output = format!("{}{}", ended.stdout, ended.stderr);
        lines += output.lines().count();
        for secret in &secrets {
            assert!(
                !output.contains(secret.as_str()),
                "{secret} is in:\n{output}"
            );
        }
        // Nor in the encoding of an Authorization header.
        assert!(!output.contains("Basic "), "{output}");
    }
    assert!(lines > 50, "the programs were to be loud: {lines} lines");
}

/// A bridge that has taken a call, one whose password is wrong, and the right one.
async fn bridges(world: &World) -> (Program, Program, String) {
    let api = world.api(Line::Trunk).await;
    let aws = source(&[
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", AWS_SECRET),
        ("AWS_ENDPOINT_URL_DYNAMODB", world.embedded.dynamodb_url()),
        ("AWS_ENDPOINT_URL_SQS", world.embedded.sqs_url()),
        ("LOG_LEVEL", "trace"),
    ]);
    let mut environment = world.bridge_environment();
    environment.extend(aws);
    let good = Program::start("bridge", &[], &environment);
    let id = api.place(&number("486"), json!({})).await;
    api.wait_until_over(&id).await;
    let refused = with(&environment, "ARI_PASSWORD", ARI_PASSWORD);
    let refused = with(&refused, "BRIDGE_ID", "refused");
    let mut refused = Program::start("bridge", &[], &refused);
    refused.wait_for_error("refused").await;
    (good, refused, environment["ARI_PASSWORD"].clone())
}

fn with(
    environment: &BTreeMap<String, String>,
    name: &str,
    value: &str,
) -> BTreeMap<String, String> {
    let mut environment = environment.clone();
    environment.insert(name.to_owned(), value.to_owned());
    environment
}
