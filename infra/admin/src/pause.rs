//! `admin pause` and `admin resume`: the emergency stop.

use cloud::aws::{Clients, Patience};
use cloud::pause::PauseSwitch;
use cloud::{clock, error};

use crate::Outcome;

async fn switch() -> Outcome<PauseSwitch> {
    let table = std::env::var("STATE_TABLE").map_err(|_| "STATE_TABLE is not set".to_owned())?;
    let clients = Clients::load(Patience::FUNCTION).await;
    Ok(PauseSwitch::new(clients.dynamodb, table))
}

/// Stops all bridges from taking new calls.
pub async fn pause() -> Outcome {
    let paused = switch().await?.pause(clock::now()).await;
    paused.map_err(|problem| error::chain(&problem))?;
    println!(
        "paused: within seconds no bridge takes a new call. Calls that are up go on, and others wait until their \
         queue_timeout. `admin resume` ends the pause"
    );
    Ok(())
}

/// Lets them take calls again.
pub async fn resume() -> Outcome {
    let resumed = switch().await?.resume().await;
    resumed.map_err(|problem| error::chain(&problem))?;
    println!("resumed: calls are placed again");
    Ok(())
}
