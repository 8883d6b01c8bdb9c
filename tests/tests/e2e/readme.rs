//! The examples of the README and of the API's document, run as they are printed.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use e2e::Pbx;
use e2e::program::Program;
use e2e::world::source;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add("readme::its_examples_answer_what_it_says", examples);
    suite.add(
        "readme::a_wrong_password_shows_where_it_is_used",
        wrong_password,
    );
}

/// The documents with examples, each with the section that they are in, and the number of answers
/// that it shows.
const DOCUMENTS: [(&str, &str, usize); 2] =
    [("README.md", "One call", 1), ("docs/api.md", "Examples", 7)];

/// The section of a document below a heading, up to the next one of its level.
fn section(document: &str, heading: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(document);
    let text = std::fs::read_to_string(path).unwrap();
    let (_, below) = text
        .split_once(&format!("\n## {heading}\n"))
        .expect("the section with the examples");
    below.split("\n## ").next().unwrap_or(below).to_owned()
}

/// The blocks of a section: each one's language and its text.
fn blocks(section: &str) -> Vec<(&str, &str)> {
    let mut blocks = Vec::new();
    let mut parts = section.split("```");
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        blocks.push(block.split_once('\n').expect("a language"));
    }
    blocks
}

/// The names of all fields, of those within lists too.
fn fields(value: &Value, prefix: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let name = format!("{prefix}.{name}");
                fields(value, &name, into);
                into.insert(name);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, prefix, into)),
        _ => {}
    }
}

async fn examples(_: Arc<Pbx>) {
    let data = tempfile::tempdir().unwrap();
    let settings = source(&[
        ("PORT", "0"),
        ("LOCAL_DATA", data.path().to_str().unwrap()),
        ("DEMO_PASSWORD", "the password of the examples"),
    ]);
    let mut program = Program::start("local", &[], &settings);
    let welcome = program.wait_for_line("Ctrl-C ends everything").await;
    let base = welcome.split("Ready on ").nth(1).unwrap();
    let base = base.split(',').next().unwrap();

    for (document, heading, answers) in DOCUMENTS {
        let section = section(document, heading);
        assert_eq!(run_examples(base, &blocks(&section)).await, answers);
    }
    program.signal("INT").await;
    assert_eq!(program.wait().await.code, Some(0));
}

/// Runs examples one after the other against the system at `base`, and compares what they answer
/// with what they show. Returns how many answers were compared.
async fn run_examples(base: &str, blocks: &[(&str, &str)]) -> usize {
    // Any error of the server ends the script; a line tells the blocks' outputs apart.
    let mut script = String::from("curl() { command curl --fail-with-body \"$@\"; echo; }\n");
    for (language, text) in blocks {
        if *language == "sh" {
            script.push_str(text);
            script.push_str("echo '=== end of block'\n");
        }
    }
    script = script
        .replace("BASE=http://127.0.0.1:8000\n", &format!("BASE={base}\n"))
        .replace(
            "PASSWORD=the-password-printed-at-the-start\n",
            "PASSWORD='the password of the examples'\n",
        );
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .output()
        .await
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{printed}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let mut outputs = printed.split("=== end of block\n");
    let mut last = "";
    let mut compared = 0;
    for (language, text) in blocks {
        if *language == "sh" {
            last = outputs.next().expect("an output for each block");
            continue;
        }
        let expected: Value = serde_json::from_str(text).expect("the example's JSON");
        let line = last.lines().rev().find(|line| !line.trim().is_empty());
        let answered: Value = serde_json::from_str(line.expect("an answer")).unwrap();
        let (mut said, mut got) = (BTreeSet::new(), BTreeSet::new());
        fields(&expected, "", &mut said);
        fields(&answered, "", &mut got);
        // A list that an example shows empty holds what another example shows.
        got.retain(|name| said.contains(name) || !name.starts_with(".calls."));
        assert_eq!(said, got, "{text}\n{answered}");
        compared += 1;
    }
    compared
}

/// Pastes lines into an interactive shell, which goes on after a mistake.
async fn paste(lines: &str) -> (String, String) {
    let mut shell = Command::new("bash")
        .args(["--norc", "-i"])
        .env("HISTFILE", "/dev/null")
        .env_remove("DEMO_PASSWORD")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = shell.stdin.take().unwrap();
    stdin.write_all(lines.as_bytes()).await.unwrap();
    drop(stdin);
    let output = shell.wait_with_output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

async fn wrong_password(_: Arc<Pbx>) {
    let data = tempfile::tempdir().unwrap();
    let settings = source(&[
        ("PORT", "0"),
        ("LOCAL_DATA", data.path().to_str().unwrap()),
        ("DEMO_PASSWORD", "the password of the examples"),
    ]);
    let mut program = Program::start("local", &[], &settings);
    let welcome = program.wait_for_line("Ctrl-C ends everything").await;
    let base = welcome.split("Ready on ").nth(1).unwrap();
    let base = base.split(',').next().unwrap();

    let documented = DOCUMENTS.map(|(document, heading, _)| {
        let section = section(document, heading);
        // What is asked about the service itself needs no token.
        let needing_a_token = section.split("\n### The service\n").next();
        blocks(needing_a_token.unwrap_or(&section))
            .into_iter()
            .filter(|(language, _)| *language == "sh")
            .map(|(_, text)| text)
            .collect::<String>()
            .replace("BASE=http://127.0.0.1:8000\n", &format!("BASE={base}\n"))
    });
    let begin = welcome.find("TOKEN=").expect("the printed lines");
    let end = welcome.find("\n\nDynamoDB is served").expect("their end");
    let printed = format!("DEMO_PASSWORD=wrong\n{}\n", &welcome[begin..end]);
    for lines in documented.into_iter().chain([printed.clone()]) {
        let (answers, errors) = paste(&lines).await;
        // The mistake is named once, and nothing is sent after it.
        assert_eq!(errors.matches("password is wrong").count(), 1, "{errors}");
        assert!(
            errors.contains("TOKEN: parameter null or not set"),
            "{errors}"
        );
        assert_eq!(answers.trim(), "", "{lines}");
    }
    // Without the password itself, not even that is sent.
    let unset = printed.replace("DEMO_PASSWORD=wrong\n", "");
    let (answers, errors) = paste(&unset).await;
    assert!(
        errors.contains("DEMO_PASSWORD: parameter null or not set"),
        "{errors}"
    );
    assert!(!errors.contains("password is wrong"), "{errors}");
    assert_eq!(answers.trim(), "");
    program.signal("INT").await;
    assert_eq!(program.wait().await.code, Some(0));
}
