//! What goes wrong, one thing after another, and sometimes two at once.

use std::collections::BTreeMap;
use std::time::Duration;

use cloud::clock;
use domain::Timestamp;
use e2e::proxy::{Mode, Proxy};
use fastrand::Rng;
use tokio::time::{Instant, sleep};

use crate::site::{BRIDGES, BridgePost, Site};

/// What the beginnings of the sockets to ARI hold, and no other connection's.
const SOCKETS: &str = "/events?app=";
/// The same, of those for requests alone.
const REQUESTS: &str = "%3Arequests";
/// How long after its end a fault may still be felt: backing off, starting.
const AFTERMATH: Duration = Duration::from_secs(12);

/// A time in which something was wrong.
#[derive(Clone, Copy, Debug)]
pub struct Trouble {
    pub from: Timestamp,
    pub until: Timestamp,
    /// Asterisk itself was started again.
    pub asterisk: bool,
}

#[derive(Clone, Copy)]
enum Fault {
    Kill,
    Terminate,
    Asterisk,
    Sockets(Mode),
    Requests(Mode),
    Ari(Mode),
    Store(Mode),
    Queue(Mode),
}

impl Fault {
    /// Each as often as it stands here.
    fn draw(random: &mut Rng) -> Self {
        let slow = Mode::Slow(Duration::from_millis(random.u64(5..150)));
        let broken = [Mode::Cut, Mode::Reset, Mode::Stalled, Mode::HalfOpen];
        let mode = broken[random.usize(..broken.len())];
        match random.u8(..100) {
            0..25 => Self::Kill,
            25..33 => Self::Terminate,
            33..36 => Self::Asterisk,
            36..48 => Self::Sockets(mode),
            48..54 => Self::Requests(mode),
            54..60 => Self::Ari(mode),
            60..64 => Self::Ari(slow),
            64..77 => Self::Store(mode),
            77..83 => Self::Store(slow),
            83..95 => Self::Queue(mode),
            _ => Self::Queue(slow),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kill => "bridge killed",
            Self::Terminate => "bridge stopped",
            Self::Asterisk => "Asterisk restarted",
            Self::Sockets(_) => "ARI's sockets",
            Self::Requests(_) => "sockets for requests",
            Self::Ari(_) => "ARI",
            Self::Store(_) => "DynamoDB",
            Self::Queue(_) => "SQS",
        }
    }
}

/// The faults of a run.
pub struct Faults {
    random: Rng,
    pub troubles: Vec<Trouble>,
    pub counts: BTreeMap<&'static str, usize>,
    began: Instant,
}

impl Faults {
    pub fn new(random: Rng) -> Self {
        Self {
            random,
            troubles: Vec::new(),
            counts: BTreeMap::new(),
            began: Instant::now(),
        }
    }

    /// Breaks and heals until then.
    pub async fn run(&mut self, site: &Site, bridges: &mut [BridgePost], until: Instant) {
        loop {
            let quiet = Duration::from_millis(self.random.u64(5_000..20_000));
            sleep(quiet.min(until.saturating_duration_since(Instant::now()))).await;
            if Instant::now() >= until {
                return;
            }
            self.break_and_heal(site, bridges).await;
        }
    }

    async fn break_and_heal(&mut self, site: &Site, bridges: &mut [BridgePost]) {
        let from = clock::now();
        let fault = Fault::draw(&mut self.random);
        // One bridge is the victim nearly always, so that the other lives long enough for its memory to be judged.
        let victim = usize::from(self.random.u8(..100) >= 85) % BRIDGES;
        let lasting = Duration::from_millis(self.random.u64(500..10_000));
        let (killed_too, pause) = (
            self.random.u8(..4) == 0,
            Duration::from_millis(self.random.u64(..3_000)),
        );
        let at = self.began.elapsed().as_secs();
        *self.counts.entry(fault.name()).or_default() += 1;
        match fault {
            Fault::Kill | Fault::Terminate => {
                println!("{at:>6} s  {} {victim}", fault.name());
                let signal = if matches!(fault, Fault::Kill) {
                    "KILL"
                } else {
                    "TERM"
                };
                bridges[victim].restart(site, signal, pause).await;
            }
            Fault::Asterisk => {
                println!("{at:>6} s  {}", fault.name());
                site.asterisk().restart();
                site.asterisk().wait_until_ready().await;
            }
            Fault::Sockets(mode)
            | Fault::Requests(mode)
            | Fault::Ari(mode)
            | Fault::Store(mode)
            | Fault::Queue(mode) => {
                let proxy = proxy(site, fault, victim);
                match fault {
                    Fault::Sockets(_) => proxy.set_for(SOCKETS, mode),
                    Fault::Requests(_) => proxy.set_for(REQUESTS, mode),
                    _ => proxy.set(mode),
                }
                let also = if killed_too { ", and it is killed" } else { "" };
                println!(
                    "{at:>6} s  {} {mode:?} for {} ms (bridge {victim}{also})",
                    fault.name(),
                    lasting.as_millis()
                );
                sleep(lasting / 2).await;
                if killed_too {
                    *self.counts.entry(Fault::Kill.name()).or_default() += 1;
                    bridges[victim].restart(site, "KILL", pause).await;
                }
                sleep(lasting / 2).await;
                site.heal();
            }
        }
        self.troubles.push(Trouble {
            from,
            until: clock::now().plus(AFTERMATH),
            asterisk: matches!(fault, Fault::Asterisk),
        });
    }
}

fn proxy(site: &Site, fault: Fault, victim: usize) -> &Proxy {
    match fault {
        Fault::Store(_) => &site.store,
        Fault::Queue(_) => &site.queue,
        _ => &site.ari[victim],
    }
}
