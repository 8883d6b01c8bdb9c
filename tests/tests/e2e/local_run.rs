//! `cargo run`, as a person uses it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use e2e::Pbx;
use e2e::program::{Ended, Program};
use e2e::world::{number, source};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add(
        "local::the_printed_lines_take_a_call_to_its_end",
        printed_lines,
    );
    suite.add("local::calls_and_the_user_outlive_a_restart", restart);
    suite.add(
        "local::without_a_database_a_token_is_printed",
        without_database,
    );
    suite.add("local::mistakes_get_one_clear_line", mistakes);
    suite.add("local::a_data_folder_has_one_system", one_system);
    suite.add_scenario("local::it_works_with_an_asterisk", with_asterisk);
}

fn settings(data: &TempDir, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut settings = source(&[("PORT", "0"), ("LOCAL_DATA", data.path().to_str().unwrap())]);
    settings.extend(source(more));
    settings
}

async fn start(settings: &BTreeMap<String, String>) -> (Program, String) {
    let mut program = Program::start("local", &[], settings);
    let welcome = program.wait_for_line("Ctrl-C ends everything").await;
    (program, welcome)
}

async fn stop(program: Program) -> Ended {
    program.signal("INT").await;
    let ended = program.wait().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    ended
}

/// Runs the printed lines in a shell, then `more`; returns what that writes.
async fn paste(welcome: &str, password: &str, more: &str) -> String {
    paste_with(welcome, &[("DEMO_PASSWORD", password)], more).await
}

/// The printed lines.
fn printed(welcome: &str) -> &str {
    let begin = welcome.find("TOKEN=").expect("a TOKEN line");
    let end = welcome
        .find("\n\nDynamoDB is served")
        .expect("the end of the lines");
    &welcome[begin..end]
}

/// The same with these variables set.
async fn paste_with(welcome: &str, variables: &[(&str, &str)], more: &str) -> String {
    let script = format!("{}\necho\n{more}", printed(welcome));
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .envs(variables.iter().copied())
        .output()
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The last printed line again and again, until the call is over.
fn until_over(welcome: &str) -> String {
    let last = welcome
        .lines()
        .find(|line| line.starts_with("curl "))
        .expect("a curl line");
    format!(
        "until ANSWER=$({last}); echo \"$ANSWER\" | grep -q '\"is_completed\":true'; do sleep 0.1; done; echo \"$ANSWER\""
    )
}

async fn printed_lines(_: Arc<Pbx>) {
    let data = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let (program, welcome) = start(&settings(&data, &[])).await;
    let output = paste(&welcome, "", &until_over(&welcome)).await;
    println!(
        "from the start to the end of the first call: {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    let first: serde_json::Value = serde_json::from_str(output.lines().next().unwrap()).unwrap();
    assert!(
        ["pending", "dialing", "ringing"].contains(&first["status"].as_str().unwrap()),
        "{first}"
    );
    let last: serde_json::Value = serde_json::from_str(output.lines().last().unwrap()).unwrap();
    assert_eq!(
        (last["status"].as_str(), last["hangup_cause"].as_u64()),
        (Some("completed"), Some(16))
    );
    assert_eq!(last["duration"], 2);
    assert!(last["answered_at"].is_string());
    let ended = stop(program).await;
    // The password is shown on standard output and nowhere else.
    let password = welcome
        .split("password ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert!(
        password.len() >= 16 && !ended.stderr.contains(password),
        "{}",
        ended.stderr
    );
}

async fn restart(_: Arc<Pbx>) {
    let data = tempfile::tempdir().unwrap();
    let given = settings(&data, &[("DEMO_PASSWORD", "a demo password")]);
    let (program, welcome) = start(&given).await;
    let over = paste(
        &welcome,
        "a demo password",
        &format!("{}; echo $CALL", until_over(&welcome)),
    )
    .await;
    let id = over.lines().last().unwrap().to_owned();
    stop(program).await;

    let (program, welcome) = start(&settings(&data, &[])).await;
    assert!(
        welcome.contains("as the first start has shown it"),
        "{welcome}"
    );
    let read = welcome
        .lines()
        .find(|line| line.starts_with("curl "))
        .unwrap()
        .replace("${CALL:?}", &id);
    let answer = paste(&welcome, "a demo password", &read).await;
    let call: serde_json::Value = serde_json::from_str(answer.lines().last().unwrap()).unwrap();
    assert_eq!(
        (call["call_id"].as_str(), call["status"].as_str()),
        (Some(id.as_str()), Some("completed"))
    );
    stop(program).await;
}

async fn without_database(_: Arc<Pbx>) {
    let data = tempfile::tempdir().unwrap();
    let (program, welcome) = start(&settings(&data, &[("DISABLE_DB", "true")])).await;
    let base = welcome
        .split("Ready on ")
        .nth(1)
        .unwrap()
        .split(',')
        .next()
        .unwrap();
    let more = format!(
        "{}; curl -s -o /dev/null -w '%{{http_code}}' {base}/api/v2/token -d username=demo -d password=x",
        until_over(&welcome)
    );
    let output = paste(&welcome, "", &more).await;
    assert!(output.contains("\"status\":\"completed\""), "{output}");
    assert!(output.ends_with("503"), "{output}");
    stop(program).await;
    assert_eq!(
        std::fs::read_dir(data.path()).unwrap().count(),
        0,
        "something was kept"
    );
}

async fn mistakes(_: Arc<Pbx>) {
    let data = tempfile::tempdir().unwrap();
    // An argument starts nothing.
    for (argument, code) in [("--help", 0), ("--port=80", 64)] {
        let ended = Program::start("local", &[argument], &settings(&data, &[]))
            .wait()
            .await;
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code, Some(code), "{argument}: {said}");
        assert!(said.starts_with("usage: cargo run"), "{said}");
    }
    let taken = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let nobody = e2e::ports::free_tcp();
    let nowhere = format!("http://127.0.0.1:{nobody}");
    let asterisk = [
        ("ARI_HTTP_URL", nowhere.as_str()),
        ("ARI_USERNAME", "u"),
        ("ARI_PASSWORD", "hush-hush"),
    ];
    for (mistake, code, wanted) in [
        (
            [("PORT", port.as_str())].as_slice(),
            69,
            "set PORT to another",
        ),
        (&[("PORT", "eighty")], 64, "PORT must be a whole number"),
        (
            &[("DIAL_ENDPOINT", "PJSIP/trunk")],
            64,
            "DIAL_ENDPOINT must be",
        ),
        (
            &[("SECRET_KEY", "changeme")],
            64,
            "SECRET_KEY is a placeholder",
        ),
        (
            &[("LOCAL_DATA", "/dev/null/x")],
            69,
            "/dev/null/x cannot be written",
        ),
        (&asterisk, 69, "no Asterisk at ARI_HTTP_URL"),
        (&asterisk[..1], 64, "ARI_USERNAME is not set"),
    ] {
        let ended = Program::start("local", &[], &settings(&data, mistake))
            .wait()
            .await;
        assert_eq!(ended.code, Some(code), "{mistake:?}: {ended:?}");
        assert!(
            ended.stderr.contains(wanted),
            "{mistake:?}: {}",
            ended.stderr
        );
        assert!(ended.stderr.lines().count() <= 4, "{}", ended.stderr);
        assert!(!ended.stderr.contains("hush-hush"), "{}", ended.stderr);
    }
}

/// Pastes the printed lines as they are, each by itself, as into a terminal.
async fn rings_nobody(welcome: &str) {
    let token = printed(welcome).lines().next().expect("a TOKEN line");
    let base = welcome.split("Ready on ").nth(1).unwrap();
    let base = base.split(',').next().unwrap();
    let list = format!("curl -s -H \"Authorization: Bearer $TOKEN\" {base}/api/v2/calls");
    // What the lines refuse to send ends their shell.
    let script = format!("(\n{}\n)\necho; {token}\n{list}", printed(welcome));
    let output = Command::new("bash")
        .args(["-c", &script])
        .env_remove("YOUR_NUMBER")
        .output()
        .await
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("YOUR_NUMBER: is not set"), "{complaint}");
    let listed = String::from_utf8_lossy(&output.stdout);
    let listed: serde_json::Value =
        serde_json::from_str(listed.lines().last().expect("a list")).expect("a list");
    assert_eq!(listed["calls"], serde_json::json!([]));
}

async fn one_system(_: Arc<Pbx>) {
    let data = tempfile::tempdir().unwrap();
    let given = settings(&data, &[("DEMO_PASSWORD", "a demo password")]);
    let (mut first, _) = start(&given).await;
    let second = Program::start("local", &[], &given).wait().await;
    assert_eq!(second.code, Some(69), "{second:?}");
    let lines: Vec<_> = second.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{}", second.stderr);
    assert!(lines[0].contains("set LOCAL_DATA"), "{}", second.stderr);
    assert!(lines[0].contains(data.path().to_str().unwrap()));
    // Nothing is left behind that keeps the next one out.
    first.kill().await;
    let (third, _) = start(&given).await;
    // What keeps nothing needs no folder.
    let without = settings(&data, &[("DISABLE_DB", "true")]);
    let (fourth, _) = start(&without).await;
    stop(fourth).await;
    stop(third).await;
}

async fn with_asterisk(pbx: Arc<Pbx>) {
    let data = tempfile::tempdir().unwrap();
    let (url, username, password) = pbx.ari();
    let settings = settings(
        &data,
        &[
            ("ARI_HTTP_URL", &url),
            ("ARI_USERNAME", &username),
            ("ARI_PASSWORD", &password),
            (
                "ARI_APP",
                &format!("local-{}", uuid::Uuid::new_v4().simple()),
            ),
            ("DIAL_ENDPOINT", "PJSIP/{number}@trunk"),
        ],
    );
    let (program, welcome) = start(&settings).await;
    assert!(
        welcome.contains("the Asterisk at ARI_HTTP_URL"),
        "{welcome}"
    );
    rings_nobody(&welcome).await;
    let to = number("200");
    let variables = [("YOUR_NUMBER", to.as_str())];
    let output = paste_with(&welcome, &variables, &until_over(&welcome)).await;
    assert!(output.contains("\"status\":\"completed\""), "{output}");
    assert_eq!(pbx.invites_to(&to), 1);
    stop(program).await;

    let wrong = source(&[("ARI_PASSWORD", "wrong")]);
    let ended = Program::start("local", &[], &settings.into_iter().chain(wrong).collect())
        .wait()
        .await;
    assert_eq!(ended.code, Some(69));
    assert!(
        ended.stderr.contains("refused the username or password"),
        "{}",
        ended.stderr
    );
}
