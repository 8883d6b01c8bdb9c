//! All end-to-end tests, in one program, so that one Asterisk serves them all.
//!
//! A scenario is written once and runs on the simulator (`simulator::…`) and on a real Asterisk
//! (`asterisk::…`). Each has tables, a queue, bridges and phone numbers of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod ari_over_tls;
mod bridge_program;
mod checking;
mod codes;
mod contract;
mod costs;
mod crashes;
mod dead_letters;
mod endings;
mod events;
mod field;
mod forbidden;
mod hangup;
mod lambda;
mod leases;
mod limits;
mod listing;
mod load;
mod local_run;
mod media;
mod networks;
mod once;
mod operators;
mod outages;
mod pages;
mod readme;
mod recovery;
mod repeats;
mod requests;
mod rest_over_websocket;
mod revoking;
mod secrets;
mod spellings;
mod sweeping;
mod transfers;
mod trust;
mod two_legs;
mod users;
mod waiting;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use cloud::settings::{Environment, Reader};
use cloud::telemetry::{self, LogSettings};
use e2e::asterisk::{Asterisk, Extras};
use e2e::{Own, Pbx};
use libtest_mimic::{Arguments, Trial};
use tokio::runtime::{Handle, Runtime};

/// Tests wait for phones most of the time, so many go on at once.
const THREADS: usize = 8;

/// Filters of tests that need no Asterisk.
const WITHOUT_ASTERISK: [&str; 2] = ["simulator::", "contract::"];

/// Collects the tests.
struct Suite {
    handle: Handle,
    simulator: Arc<Pbx>,
    /// Or why there is none.
    asterisk: Result<Arc<Pbx>, String>,
    trials: Vec<Trial>,
}

impl Suite {
    /// A test that needs no PBX but the simulator.
    fn add<F>(&mut self, name: &str, test: fn(Arc<Pbx>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.add_on(name.to_owned(), Ok(Arc::clone(&self.simulator)), test);
    }

    /// A scenario, for the simulator and for Asterisk.
    fn add_scenario<F, T>(&mut self, name: &str, scenario: T)
    where
        F: Future<Output = ()> + Send + 'static,
        T: Fn(Arc<Pbx>) -> F + Clone + Send + 'static,
    {
        let simulator = Ok(Arc::clone(&self.simulator));
        self.add_on(format!("simulator::{name}"), simulator, scenario.clone());
        self.add_on(format!("asterisk::{name}"), self.asterisk.clone(), scenario);
    }

    /// A test that only a real Asterisk can pass.
    fn add_asterisk<F, T>(&mut self, name: &str, test: T)
    where
        F: Future<Output = ()> + Send + 'static,
        T: Fn(Arc<Pbx>) -> F + Send + 'static,
    {
        self.add_on(format!("asterisk::{name}"), self.asterisk.clone(), test);
    }

    /// A scenario with a PBX of its own, which it starts itself.
    fn add_own<F>(&mut self, name: &str, scenario: fn(Own) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let simulator = Ok(Arc::clone(&self.simulator));
        self.add_on(format!("simulator::{name}"), simulator, move |_| {
            scenario(Own::Simulator)
        });
        let asterisk = self.asterisk.clone();
        self.add_on(format!("asterisk::{name}"), asterisk, move |_| {
            scenario(Own::Asterisk(Extras::default()))
        });
    }

    fn add_on<F, T>(&mut self, name: String, pbx: Result<Arc<Pbx>, String>, test: T)
    where
        F: Future<Output = ()> + Send + 'static,
        T: Fn(Arc<Pbx>) -> F + Send + 'static,
    {
        let handle = self.handle.clone();
        self.trials.push(Trial::test(name, move || {
            handle.block_on(test(pbx?));
            Ok(())
        }));
    }
}

fn main() -> ExitCode {
    // Fails only if a provider is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    // With LOG_LEVEL set, the bridges in this process log as they do in production.
    if std::env::var_os("LOG_LEVEL").is_some() {
        let mut reader = Reader::new(&Environment);
        let settings = LogSettings::read(&mut reader);
        telemetry::start(&settings).expect("logs");
    }
    let runtime = Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let wants_asterisk = !arguments.list
        && arguments
            .filter
            .as_ref()
            .is_none_or(|filter| !WITHOUT_ASTERISK.iter().any(|lane| filter.starts_with(lane)));
    let asterisk = if wants_asterisk {
        Asterisk::start().inspect(|asterisk| runtime.block_on(asterisk.wait_until_ready()))
    } else {
        Err("not started".to_owned())
    };
    let mut suite = Suite {
        handle: runtime.handle().clone(),
        simulator: Arc::new(runtime.block_on(Pbx::simulator())),
        asterisk: asterisk.map(|asterisk| Arc::new(Pbx::Asterisk(Box::new(asterisk)))),
        trials: Vec::new(),
    };
    endings::add(&mut suite);
    codes::add(&mut suite);
    waiting::add(&mut suite);
    once::add(&mut suite);
    events::add(&mut suite);
    hangup::add(&mut suite);
    recovery::add(&mut suite);
    repeats::add(&mut suite);
    requests::add(&mut suite);
    rest_over_websocket::add(&mut suite);
    revoking::add(&mut suite);
    ari_over_tls::add(&mut suite);
    costs::add(&mut suite);
    media::add(&mut suite);
    listing::add(&mut suite);
    load::add(&mut suite);
    contract::add(&mut suite);
    api::add(&mut suite);
    users::add(&mut suite);
    lambda::add(&mut suite);
    leases::add(&mut suite);
    spellings::add(&mut suite);
    bridge_program::add(&mut suite);
    checking::add(&mut suite);
    local_run::add(&mut suite);
    pages::add(&mut suite);
    readme::add(&mut suite);
    secrets::add(&mut suite);
    sweeping::add(&mut suite);
    trust::add(&mut suite);
    dead_letters::add(&mut suite);
    crashes::add(&mut suite);
    outages::add(&mut suite);
    networks::add(&mut suite);
    field::add(&mut suite);
    transfers::add(&mut suite);
    two_legs::add(&mut suite);
    forbidden::add(&mut suite);
    limits::add(&mut suite);
    operators::add(&mut suite);
    let Suite { trials, .. } = suite;
    // The trials hold what is left of the PBX; it ends with the last of them.
    libtest_mimic::run(&arguments, trials).exit_code()
}
