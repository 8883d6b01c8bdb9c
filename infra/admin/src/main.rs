//! `admin`: what an administrator does by hand.
//!
//! Passwords come from a prompt or from standard input, never from an argument: arguments
//! are seen by every process of the machine.

mod bridges;
mod dlq;
mod pause;

use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;

use cloud::aws::{Clients, Patience};
use cloud::password::{self, MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH};
use cloud::settings::EXIT_USAGE;
use cloud::users::{Changed, check_username};
use cloud::{UserStore, error};

const USAGE: &str = "\
usage: admin user add NAME       adds a user; the password is prompted for, or read from standard input
       admin user passwd NAME    gives a user another password
       admin user disable NAME   gives a user no more tokens; those that are out expire by themselves
       admin user enable NAME    undoes that
       admin user list           lists the users
       admin dlq list            lists the messages that nobody could do anything with
       admin dlq show ID         prints one
       admin dlq redrive ID      sends one to the bridges again; --all sends all of them
       admin bridge list         lists the bridges, when each was heard of, and its calls
       admin bridge forget ID    forgets one that is not coming back; its calls have to be over
       admin pause               stops all bridges from taking new calls, within seconds; calls wait
       admin resume              lets them take calls again

USERS_TABLE and STATE_TABLE name the tables, CALLS_QUEUE_URL and DEAD_LETTER_QUEUE_URL the queues; region, credentials and endpoint are those of every AWS tool
(AWS_REGION, AWS_PROFILE, AWS_ENDPOINT_URL, …).";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["user", "add", name] => add(name).await,
        ["user", "passwd", name] => set_password(name).await,
        ["user", "disable", name] => set_disabled(name, true).await,
        ["user", "enable", name] => set_disabled(name, false).await,
        ["user", "list"] => list().await,
        ["dlq", "list"] => dlq::list().await,
        ["dlq", "show", id] => dlq::show(id).await,
        ["dlq", "redrive", "--all"] => dlq::redrive(None).await,
        ["dlq", "redrive", id] => dlq::redrive(Some(id)).await,
        ["pause"] => pause::pause().await,
        ["resume"] => pause::resume().await,
        ["bridge", "list"] => bridges::list().await,
        ["bridge", "forget", id] => bridges::forget(id).await,
        ["-h" | "--help"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// What went wrong, in one line.
type Outcome<T = ()> = Result<T, String>;

async fn users() -> Outcome<UserStore> {
    let table = std::env::var("USERS_TABLE").map_err(|_| "USERS_TABLE is not set".to_owned())?;
    Ok(UserStore::new(
        Clients::load(Patience::FUNCTION).await.dynamodb,
        table,
    ))
}

async fn add(name: &str) -> Outcome {
    check_username(name).map_err(|problem| problem.to_string())?;
    let users = users().await?;
    let hash = read_and_hash()?;
    match users
        .add(name, &hash)
        .await
        .map_err(|problem| error::chain(&problem))?
    {
        Changed::Yes => {
            println!("{name} was added");
            Ok(())
        }
        Changed::No => Err(format!(
            "there is a user {name} already; `admin user passwd {name}` changes the password"
        )),
    }
}

async fn set_password(name: &str) -> Outcome {
    let users = users().await?;
    let hash = read_and_hash()?;
    let changed = users
        .set_password(name, &hash)
        .await
        .map_err(|problem| error::chain(&problem))?;
    report(name, changed, "has another password")
}

async fn set_disabled(name: &str, disabled: bool) -> Outcome {
    let users = users().await?;
    let changed = users
        .set_disabled(name, disabled)
        .await
        .map_err(|problem| error::chain(&problem))?;
    report(
        name,
        changed,
        if disabled {
            "is disabled"
        } else {
            "is enabled"
        },
    )
}

fn report(name: &str, changed: Changed, what: &str) -> Outcome {
    match changed {
        Changed::Yes => {
            println!("{name} {what}");
            Ok(())
        }
        Changed::No => Err(format!("there is no user {name}")),
    }
}

async fn list() -> Outcome {
    let all = users()
        .await?
        .list()
        .await
        .map_err(|problem| error::chain(&problem))?;
    for user in all {
        println!(
            "{}{}",
            user.username,
            if user.disabled { "\tdisabled" } else { "" }
        );
    }
    Ok(())
}

fn read_and_hash() -> Outcome<String> {
    let password = if io::stdin().is_terminal() {
        let ask = |prompt| {
            rpassword::prompt_password(prompt)
                .map_err(|error| format!("no password was read: {error}"))
        };
        let password = ask("Password: ")?;
        if ask("Again: ")? != password {
            return Err("the passwords differ".to_owned());
        }
        password
    } else {
        let mut line = String::new();
        io::stdin()
            .lock()
            .read_line(&mut line)
            .map_err(|error| format!("no password was read: {error}"))?;
        line.trim_end_matches(['\r', '\n']).to_owned()
    };
    if password.chars().count() < MIN_PASSWORD_LENGTH || password.len() > MAX_PASSWORD_LENGTH {
        return Err(format!(
            "a password has at least {MIN_PASSWORD_LENGTH} characters and at most {MAX_PASSWORD_LENGTH} bytes"
        ));
    }
    password::hash(&password).map_err(|problem| problem.to_string())
}
