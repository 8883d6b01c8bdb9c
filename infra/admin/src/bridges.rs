//! `admin bridge`: which bridges are known, and forgetting one that is not coming back.

use cloud::aws::{Clients, Patience};
use cloud::heartbeats::GONE_AFTER;
use cloud::ports::{Calls, SignsOfLife};
use cloud::{CallStore, Heartbeats, clock, error, tables};
use domain::{BridgeId, Timestamp};

use crate::Outcome;

/// Most calls of a bridge that are counted.
const MANY: usize = 1_000;

fn table(name: &str) -> Outcome<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set"))
}

async fn heartbeats() -> Outcome<Heartbeats> {
    let table = table("STATE_TABLE")?;
    let clients = Clients::load(Patience::FUNCTION).await;
    Ok(Heartbeats::new(clients.dynamodb, table))
}

/// Prints each bridge, how long ago it was heard of, and how many calls it had.
pub async fn list() -> Outcome {
    let heartbeats = heartbeats().await?;
    let known = heartbeats.read().await;
    for heartbeat in known.map_err(|problem| error::chain(&problem))? {
        println!(
            "{}\t{} s ago\t{} calls",
            heartbeat.bridge_id,
            clock::now().since(heartbeat.at).as_secs(),
            heartbeat.live_calls,
        );
    }
    Ok(())
}

/// Forgets a bridge that is gone, and whose calls are all over: the sweeper ends those of known bridges only.
pub async fn forget(id: &str) -> Outcome {
    let id: BridgeId = id.parse().map_err(|problem| format!("{id} {problem}"))?;
    let heartbeats = heartbeats().await?;
    let calls = table("CALLS_TABLE")?;
    let clients = Clients::load(Patience::FUNCTION).await;
    let calls = CallStore::new(clients.dynamodb, calls);
    let known = heartbeats.read().await;
    let known = known.map_err(|problem| error::chain(&problem))?;
    let Some(last) = known.iter().find(|heartbeat| heartbeat.bridge_id == id) else {
        return Err(format!("there is no bridge {id}"));
    };
    let silent = clock::now().since(last.at);
    if silent <= GONE_AFTER {
        return Err(format!(
            "{id} is alive: it was heard of {} s ago; stop it first, and wait for {} s",
            silent.as_secs(),
            GONE_AFTER.as_secs()
        ));
    }
    let end_of_time = Timestamp::from_millis(i64::MAX);
    let held = calls.held(&tables::held_by(&id), end_of_time, MANY).await;
    let held = held.map_err(|problem| error::chain(&problem))?.len();
    if held > 0 {
        return Err(format!(
            "{id} has {held} calls that are not over; the sweeper ends them after their deadlines"
        ));
    }
    let forgotten = heartbeats.forget(&id).await;
    forgotten.map_err(|problem| error::chain(&problem))?;
    println!("{id} is forgotten");
    Ok(())
}
