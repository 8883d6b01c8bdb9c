//! Measures what users wait for and pay, of the programs that are shipped, on this machine. `tests/bench/run` builds them
//! and runs this.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::large_futures
)]

mod bare;
mod calls;
mod events;
mod figures;
mod functions;
mod growth;
mod host;
mod measured;
mod memory;
mod share;
mod shipped;
mod size;
mod waiting;

use std::process::ExitCode;

use self::host::Processors;

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
    part(&wanted, "size", async { size::run() }).await;
    part(&wanted, "cold", functions::cold()).await;
    part(&wanted, "tls", functions::tls()).await;
    part(&wanted, "warm", functions::warm()).await;
    part(&wanted, "token", functions::token()).await;
    part(&wanted, "memory", memory::run()).await;
    let measured = part(&wanted, "calls", calls::throughput()).await;
    part(
        &wanted,
        "waiting",
        waiting::run(measured.map(|(most, _)| most)),
    )
    .await;
    part(
        &wanted,
        "events",
        events::run(measured.map(|(_, emitted)| emitted)),
    )
    .await;
    part(&wanted, "growth", growth::run()).await;
    ExitCode::SUCCESS
}

/// Measures it, if it is wanted, and says how far others have had a hand in it.
async fn part<T>(wanted: &[String], name: &str, measure: impl Future<Output = T>) -> Option<T> {
    if !wanted.is_empty() && !wanted.iter().any(|part| part == name) {
        return None;
    }
    let before = Processors::now();
    let measured = measure.await;
    let stolen = Processors::now().stolen_since(&before);
    println!(
        "Other guests of this machine's host took {stolen:.1} % of the processors meanwhile.\n"
    );
    Some(measured)
}
