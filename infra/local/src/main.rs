//! `cargo run`: the whole system on this machine.

use std::io::{self, Write};
use std::process::ExitCode;

use cloud::settings::{EXIT_USAGE, Environment};
use cloud::telemetry;
use local::system::{DEMO_USER, Entry};
use local::{LocalSettings, System, SystemError};
use tokio::signal::unix::{SignalKind, signal};

/// `EX_UNAVAILABLE` of sysexits(3): something this needs is not there.
const EXIT_UNAVAILABLE: u8 = 69;

const USAGE: &str = "usage: cargo run     starts the whole system on this machine, until Ctrl-C
Its configuration is in the environment: see docs/configuration.md";

#[tokio::main]
async fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None => {}
        Some("--help" | "-h") => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Some(_) => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    }
    let settings = match LocalSettings::read(&Environment) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    telemetry::start(&settings.log).ok();
    match Box::pin(run(settings)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{}", cloud::error::chain(&error));
            ExitCode::from(EXIT_UNAVAILABLE)
        }
    }
}

async fn run(settings: LocalSettings) -> Result<bool, SystemError> {
    let signals = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    );
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        eprintln!("signals cannot be handled here");
        return Ok(false);
    };
    let system = System::start(settings).await?;
    let stopped = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    tokio::pin!(stopped);
    tokio::select! {
        () = system.wait_until_up() => {
            // Nobody may be reading.
            let _ = io::stdout().write_all(welcome(&system).as_bytes());
            stopped.await;
        }
        () = &mut stopped => {}
    }
    let clean = system.stop().await;
    println!("Stopped.");
    Ok(clean)
}

/// What a person needs for a first call.
fn welcome(system: &System) -> String {
    let base = format!("http://{}", system.address);
    let behind = if system.is_simulated() {
        "the simulator: the last three digits choose what the callee does (200 answers, 486 is busy, 000 never answers)"
    } else {
        "the Asterisk at ARI_HTTP_URL"
    };
    // Takes one field out of an answer. An answer without it is shown, the variable stays empty,
    // and then `:?` keeps the next line from being sent.
    let field = |name: &str| {
        format!("sed -nE -e 's/.*\"{name}\":\"([^\"]+)\".*/\\1/p' -e t -e 'w /dev/stderr'")
    };
    let (token_field, call_field) = (field("access_token"), field("call_id"));
    let token = |password: &str| {
        format!(
            "TOKEN=$(curl -sS {base}/api/v2/token -d username={DEMO_USER} --data-urlencode \"password={password}\" \
             | {token_field})"
        )
    };
    let (note, token) = match &system.entry {
        Entry::NewPassword(password) => (
            format!("User {DEMO_USER}, password {password} (shown this once)"),
            token(password),
        ),
        Entry::GivenPassword => (
            format!("User {DEMO_USER}, password as in DEMO_PASSWORD"),
            token("${DEMO_PASSWORD:?}"),
        ),
        Entry::EarlierPassword => (
            format!(
                "User {DEMO_USER}, password as the first start has shown it; DEMO_PASSWORD=… changes it"
            ),
            token("${DEMO_PASSWORD:?}"),
        ),
        Entry::Token(text) => (
            "No database (DISABLE_DB): nothing is kept, and this token stands in for users"
                .to_owned(),
            format!("TOKEN={text}"),
        ),
    };
    // Against a real Asterisk a number would be somebody's. A shell refuses the line until the
    // variable is set.
    let (place, number) = if system.is_simulated() {
        ("Place a call and see what becomes of it", "+15550000200")
    } else {
        (
            "Set YOUR_NUMBER to the number of a phone of yours. Then place a call to it and see what \
             becomes of it",
            "${YOUR_NUMBER:?is not set: it is to be the number of a phone of yours}",
        )
    };
    let (dynamodb, sqs) = system.endpoints();
    format!(
        "\nReady on {base}, with {behind}.\n{note}.\n\n\
         {place}:\n\n\
         {token}\n\
         CALL=$(curl -sS -X POST -H \"Authorization: Bearer ${{TOKEN:?}}\" \"{base}/api/v2/interaction/{number}\" \
         | {call_field})\n\
         curl -sS -H \"Authorization: Bearer ${{TOKEN:?}}\" {base}/api/v2/status/${{CALL:?}}\n\n\
         DynamoDB is served on {dynamodb}, SQS on {sqs}. Ctrl-C ends everything.\n\n"
    )
}
