//! The programs as they are shipped, which are measured from outside.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use e2e::World;
use e2e::program::Program;
use e2e::runtime_api::RuntimeApi;

/// Ticks of the clock that Linux counts processor time by, in a second (`getconf CLK_TCK`).
const TICKS: u32 = 100;

/// Where the program is: `BENCH_PROGRAMS`, the folder of a release build.
pub fn path(name: &str) -> PathBuf {
    let folder =
        std::env::var_os("BENCH_PROGRAMS").expect("BENCH_PROGRAMS: tests/bench/run sets it");
    PathBuf::from(folder).join(name)
}

/// Starts one.
pub fn start(name: &str, environment: &BTreeMap<String, String>) -> Program {
    let path = path(name);
    let null = fs::File::options()
        .write(true)
        .open("/dev/null")
        .expect("/dev/null");
    Program::start_logging(path.to_str().expect("UTF-8"), &[], environment, null)
}

/// The environment of a function.
pub fn function_environment(
    name: &str,
    world: &World,
    api: &RuntimeApi,
) -> BTreeMap<String, String> {
    let mut environment = world.function_environment(name, api);
    // None of what is measured is refused.
    environment.insert("RATE_LIMIT_REQUESTS".to_owned(), "1000000".to_owned());
    environment
}

/// The processor time that a process has used, of all its threads.
pub fn cpu(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("a running process");
    // The name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')').expect("proc(5)");
    let ticks: u32 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u32>().expect("ticks"))
        .sum();
    Duration::from_secs(1) * ticks / TICKS
}

/// The same since it was so much.
pub fn used_since(process: u32, before: Duration) -> Duration {
    cpu(process).saturating_sub(before)
}

/// The most memory that a process has had, in KiB.
pub fn peak_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a running process");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("proc(5)");
    let number = line.split_whitespace().next().expect("a number");
    number.parse().expect("a number")
}
