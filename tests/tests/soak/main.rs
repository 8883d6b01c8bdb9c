//! Mixed load on a real Asterisk while everything around the bridges fails at random, and what must be true afterwards.
//!
//! `tests/soak [SECONDS] [--seed N]`. The seed repeats every choice: which calls, which faults, how long; when
//! each takes effect is up to the machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod faults;
mod load;
mod site;
mod verdict;
mod watch;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::faults::Faults;
use crate::load::Load;
use crate::site::Site;
use crate::watch::Watch;

const USAGE: &str = "usage: tests/soak [SECONDS] [--seed N]     120 seconds unless told otherwise";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (mut seconds, mut seed) = (120, fastrand::u64(..));
    while let Some(argument) = arguments.next() {
        let (value, option) = if argument == "--seed" {
            let value = arguments.next().unwrap_or_default();
            (value.parse(), &mut seed)
        } else {
            (argument.parse(), &mut seconds)
        };
        let Ok(value) = value else {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        };
        *option = value;
    }
    // Fails only if a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let violations = runtime.block_on(soak(Duration::from_secs(seconds), seed));
    for violation in &violations {
        println!("VIOLATION: {violation}");
    }
    println!("{} violations; seed {seed}", violations.len());
    if violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("to repeat its choices: tests/soak {seconds} --seed {seed}");
        ExitCode::FAILURE
    }
}

async fn soak(time: Duration, seed: u64) -> Vec<String> {
    println!("seed {seed}, {} s", time.as_secs());
    let logs = tempfile::tempdir().expect("a temporary folder");
    let (site, mut bridges) = Site::start(logs.path().to_owned()).await;
    let mut random = fastrand::Rng::with_seed(seed);
    let until = Instant::now() + time;
    let load = Arc::new(Load::new(&site));
    let watch = Watch::start(&site, &load);
    let mut faults = Faults::new(random.fork());
    tokio::join!(
        load.run(&site, random.fork(), until),
        faults.run(&site, &mut bridges, until),
    );
    let footprints = watch.stop();
    site.heal();
    println!("healed; waiting for the end of every call");
    let mut violations = verdict::violations(&site, load.placed(), &faults).await;
    violations.extend(footprints.violations());
    for bridge in bridges {
        violations.extend(bridge.stop(&site).await.err());
    }
    if !violations.is_empty() {
        println!("the bridges' logs are kept in {}", logs.keep().display());
    }
    violations
}
