//! Measures what users wait for and pay, of the programs that are shipped, on this machine. `tests/bench/run` builds them
//! and runs this.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bare;
mod calls;
mod events;
mod figures;
mod functions;
mod growth;
mod measured;
mod memory;
mod share;
mod shipped;
mod size;
mod waiting;

use std::process::ExitCode;

const PARTS: [&str; 10] = [
    "size", "cold", "tls", "warm", "token", "memory", "calls", "waiting", "events", "growth",
];

#[tokio::main]
async fn main() -> ExitCode {
    let wanted: Vec<_> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| !PARTS.contains(&name.as_str())) {
        eprintln!("there is no part {unknown}; there are {}", PARTS.join(", "));
        return ExitCode::from(64);
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (mut most, mut emitted) = (None, None);
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|name| name == part);
    if wants("size") {
        size::run();
    }
    if wants("cold") {
        functions::cold().await;
    }
    if wants("tls") {
        functions::tls().await;
    }
    if wants("warm") {
        functions::warm().await;
    }
    if wants("token") {
        functions::token().await;
    }
    if wants("memory") {
        memory::run().await;
    }
    if wants("calls") {
        let (rate, events) = calls::throughput().await;
        (most, emitted) = (Some(rate), Some(events));
    }
    if wants("waiting") {
        waiting::run(most).await;
    }
    if wants("events") {
        events::run(emitted).await;
    }
    if wants("growth") {
        growth::run().await;
    }
    ExitCode::SUCCESS
}
