//! `admin`: what an administrator does by hand.
//!
//! Passwords and keys come from a prompt or from standard input, never from an argument: arguments
//! are seen by every process of the machine.

mod bridges;
mod dlq;
mod hidden;
mod keys;
mod pause;
mod users;

use std::process::ExitCode;

use cloud::settings::EXIT_USAGE;

const USAGE: &str = "\
usage: admin user add NAME [--scope SCOPE]...
                                 adds a user; the password is prompted for, or read from standard input.
                                 The scopes are calls:write and calls:read; both unless some are given
       admin user passwd NAME    gives a user another password, and ends the user's tokens
       admin user scope NAME SCOPE...
                                 gives a user other scopes, and ends the user's tokens
       admin user disable NAME   gives a user no more tokens, and ends those that are out
       admin user enable NAME    gives a user tokens again; those of before stay ended
       admin user list           lists the users, and the scopes of those who have not both
       admin key id              prints the id of a signing key, which is prompted for, or read from standard input
       admin key revoke ID       ends all tokens of that key, for ever; put a new key in its place first
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
        ["user", "add", name, ref options @ ..] => match scope_options(options) {
            Some(scopes) => users::add(name, &scopes).await,
            None => return usage(),
        },
        ["user", "passwd", name] => users::set_password(name).await,
        ["user", "scope", name, ref scopes @ ..] if !scopes.is_empty() => {
            users::set_scopes(name, scopes).await
        }
        ["user", "disable", name] => users::disable(name).await,
        ["user", "enable", name] => users::enable(name).await,
        ["user", "list"] => users::list().await,
        ["key", "id"] => keys::id(),
        ["key", "revoke", id] => keys::revoke(id).await,
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
        _ => return usage(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(EXIT_USAGE)
}

/// The values of `--scope`, as often as it is there; nothing if there is anything else.
fn scope_options<'a>(options: &[&'a str]) -> Option<Vec<&'a str>> {
    let pairs = options.chunks(2).map(|pair| match pair {
        ["--scope", scope] => Some(*scope),
        _ => None,
    });
    pairs.collect()
}

/// What went wrong, in one line.
type Outcome<T = ()> = Result<T, String>;

/// The table that the setting `name` names.
fn table(name: &str) -> Outcome<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set"))
}
