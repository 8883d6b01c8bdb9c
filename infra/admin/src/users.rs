//! `admin user`: who may ask for tokens, and for which.

use cloud::accounts::Changed;
use cloud::aws::{Clients, Patience};
use cloud::password::{self, MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH};
use cloud::users::check_username;
use cloud::{Accounts, Scope, UserStore, error, scope};

use crate::{Outcome, hidden, table};

async fn accounts() -> Outcome<Accounts> {
    let (users, state) = (table("USERS_TABLE")?, table("STATE_TABLE")?);
    let clients = Clients::load(Patience::FUNCTION).await;
    Ok(Accounts::new(clients.dynamodb, users, state))
}

/// Adds a user. Without scopes the user has those of [`Scope::DEFAULT`].
pub async fn add(name: &str, scopes: &[&str]) -> Outcome {
    check_username(name).map_err(|problem| problem.to_string())?;
    let scopes = read_scopes(scopes)?;
    let accounts = accounts().await?;
    let hash = read_and_hash()?;
    let scopes = Some(scopes.as_slice()).filter(|scopes| !scopes.is_empty());
    let added = accounts.add(name, &hash, scopes).await;
    match added.map_err(|problem| error::chain(&problem))? {
        Changed::Yes => {
            println!("{name} was added");
            Ok(())
        }
        Changed::No => Err(format!(
            "there is a user {name} already; `admin user passwd {name}` changes the password"
        )),
    }
}

/// Gives a user another password.
pub async fn set_password(name: &str) -> Outcome {
    let accounts = accounts().await?;
    let hash = read_and_hash()?;
    let changed = accounts.set_password(name, &hash).await;
    let changed = changed.map_err(|problem| error::chain(&problem))?;
    report(
        name,
        changed,
        "has another password; within 15 s no token of before is taken",
    )
}

/// Gives a user other scopes.
pub async fn set_scopes(name: &str, scopes: &[&str]) -> Outcome {
    let scopes = read_scopes(scopes)?;
    let changed = accounts().await?.set_scopes(name, &scopes).await;
    let changed = changed.map_err(|problem| error::chain(&problem))?;
    let what = format!(
        "has the scopes {}; within 15 s no token of before is taken",
        scope::join(&scopes)
    );
    report(name, changed, &what)
}

/// Disables a user.
pub async fn disable(name: &str) -> Outcome {
    let changed = accounts().await?.disable(name).await;
    let changed = changed.map_err(|problem| error::chain(&problem))?;
    report(name, changed, "is disabled; within 15 s no token is taken")
}

/// Enables a user again.
pub async fn enable(name: &str) -> Outcome {
    let changed = accounts().await?.enable(name).await;
    let changed = changed.map_err(|problem| error::chain(&problem))?;
    report(name, changed, "is enabled")
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

/// Lists the users.
pub async fn list() -> Outcome {
    let table = table("USERS_TABLE")?;
    let clients = Clients::load(Patience::FUNCTION).await;
    let all = UserStore::new(clients.dynamodb, table).list().await;
    for user in all.map_err(|problem| error::chain(&problem))? {
        let mut line = user.username;
        if user.scopes != Scope::DEFAULT {
            line = format!("{line}\t{}", scope::join(&user.scopes));
        }
        if user.disabled {
            line.push_str("\tdisabled");
        }
        println!("{line}");
    }
    Ok(())
}

fn read_scopes(names: &[&str]) -> Outcome<Vec<Scope>> {
    let read = |name: &&str| {
        Scope::named(name).ok_or_else(|| {
            let known = scope::join(&Scope::ALL);
            format!("there is no scope {name}; the scopes are {known}")
        })
    };
    names.iter().map(read).collect()
}

fn read_and_hash() -> Outcome<String> {
    let password = hidden::read_new("password")?;
    if password.chars().count() < MIN_PASSWORD_LENGTH || password.len() > MAX_PASSWORD_LENGTH {
        return Err(format!(
            "a password has at least {MIN_PASSWORD_LENGTH} characters and at most {MAX_PASSWORD_LENGTH} bytes"
        ));
    }
    password::hash(&password).map_err(|problem| problem.to_string())
}
