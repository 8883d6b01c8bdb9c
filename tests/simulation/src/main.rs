//! Runs many seeds, or one with all its steps.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use simulation::{Outcome, run};

const USAGE: &str = "usage: simulation [--seeds N] [--calls N] [--first SEED]   many seeds (10000 of 100 calls each)
       simulation --seed SEED [--calls N]              one seed, with all its steps";

fn main() -> ExitCode {
    let mut options = [
        ("--seeds", 10_000),
        ("--calls", 100),
        ("--first", 0),
        ("--seed", u64::MAX),
    ];
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse().ok());
        let option = options.iter_mut().find(|(known, _)| *known == name);
        let (Some(option), Some(value)) = (option, value) else {
            eprintln!("{USAGE}");
            return ExitCode::from(64);
        };
        option.1 = value;
    }
    let [(_, seeds), (_, calls), (_, first), (_, seed)] = options;
    let Ok(calls) = usize::try_from(calls) else {
        return ExitCode::from(64);
    };
    if seed == u64::MAX {
        many(first, seeds, calls)
    } else {
        let outcome = run(seed, calls, true);
        println!("{outcome:#?}");
        ExitCode::from(u8::from(!outcome.violations.is_empty()))
    }
}

fn many(first: u64, seeds: u64, calls: usize) -> ExitCode {
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let total = Mutex::new(Outcome::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + seeds {
                return;
            }
            let outcome = run(seed, calls, false);
            let Ok(mut total) = total.lock() else { return };
            for (ending, count) in outcome.endings {
                *total.endings.entry(ending).or_default() += count;
            }
            total.invites += outcome.invites;
            total.kills += outcome.kills;
            for violation in outcome.violations {
                println!("seed {seed}: {violation}");
                total.violations.push(violation);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let Ok(total) = total.into_inner() else {
        return ExitCode::FAILURE;
    };
    let all: usize = total.endings.values().sum();
    println!(
        "{} calls over {seeds} seeds in {} s: {all} recorded, {} phones rang, {} bridges were killed",
        seeds.saturating_mul(u64::try_from(calls).unwrap_or(u64::MAX)),
        began.elapsed().as_secs(),
        total.invites,
        total.kills
    );
    for (ending, count) in &total.endings {
        println!("{count:>9}  {ending}");
    }
    println!("{} violations", total.violations.len());
    if total.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("to see a seed's steps: cargo run -p simulation -- --seed SEED --calls {calls}");
        ExitCode::FAILURE
    }
}
