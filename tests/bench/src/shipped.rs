//! The programs as they are shipped, which are measured from outside.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use e2e::World;
use e2e::program::Program;
use e2e::runtime_api::RuntimeApi;
use e2e::world::{SECRET_KEY, source};

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
    source(&[
        ("AWS_LAMBDA_RUNTIME_API", &api.address),
        ("AWS_LAMBDA_FUNCTION_NAME", name),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "g"),
        ("AWS_LAMBDA_LOG_STREAM_NAME", "s"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("AWS_ENDPOINT_URL_DYNAMODB", world.embedded.dynamodb_url()),
        ("AWS_ENDPOINT_URL_SQS", world.embedded.sqs_url()),
        ("SECRET_KEY", SECRET_KEY),
        ("USERS_TABLE", "users"),
        ("STATE_TABLE", "state"),
        ("CALLS_TABLE", "calls"),
        ("RATE_LIMIT_REQUESTS", "1000000"),
        ("CALLS_QUEUE_URL", &world.embedded.calls_queue_url),
        (
            "CONTROL_QUEUE_URL_PREFIX",
            &world.embedded.control_queue_url_prefix,
        ),
    ])
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
