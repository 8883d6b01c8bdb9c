//! `admin key`: ending the tokens of a key that has become known.

use cloud::aws::{Clients, Patience};
use cloud::kept_keys::{is_key_id, key_id};
use cloud::{Secret, StandingStore, error};

use crate::{Outcome, hidden, table};

/// Prints the id of a key, which tokens name as their `kid`.
pub fn id() -> Outcome {
    let key = hidden::read("key")?;
    // The functions leave the end out, too.
    let key = key.trim_end();
    if key.is_empty() {
        return Err("no key was read".to_owned());
    }
    println!("{}", key_id(&Secret::new(key.to_owned())));
    Ok(())
}

/// Revokes a key. There is no way back, because whoever has the key still has it.
pub async fn revoke(id: &str) -> Outcome {
    if !is_key_id(id) {
        return Err(format!(
            "{id} is not the id of a key; `admin key id` prints that of a key, and tokens name it as `kid`"
        ));
    }
    let table = table("STATE_TABLE")?;
    let clients = Clients::load(Patience::FUNCTION).await;
    let store = StandingStore::new(clients.dynamodb, table);
    let revoked = store.revoke_key(id).await;
    revoked.map_err(|problem| error::chain(&problem))?;
    println!(
        "{id} is revoked: within 15 s no token of it is taken. Tokens are given again once another key signs"
    );
    Ok(())
}
