//! The bridge on a real Asterisk: how many calls it makes, against the least that can make one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::asterisk::Asterisk;
use e2e::world::number;
use e2e::{Line, Pbx, World};
use serde_json::json;

use crate::bare::{self, Callee, Way};
use crate::figures::{Table, ms, ratio, verdict};
use crate::measured::Measured;
use crate::share::Share;
use crate::shipped::{cpu, used_since};

/// Calls of one measurement.
pub(crate) const CALLS: usize = 1_500;
/// Calls under way at once.
pub(crate) const AT_ONCE: usize = 100;
/// How often each is measured, in turn.
const ROUNDS: usize = 7;
/// A callee that is rejected at once: the call passes through every state that it must.
pub(crate) const CALLEE: &str = "404";
/// What Asterisk and the bridge get of a processor, each for itself, where each is to have its own.
const OWN_PROCESSOR: f64 = 0.5;

/// Calls whose number is measured.
struct Calls {
    what: &'static str,
    line: Line,
    /// The last digits of who is called.
    callee: &'static str,
    /// Where in the dialplan an answered call goes on.
    context: Option<&'static str>,
    many: usize,
    at_once: usize,
    rounds: usize,
    /// What Asterisk gets of a processor, and the bridge as much; none if all share all.
    share: Option<f64>,
    /// Who makes them.
    who: &'static [Who],
}

/// Who makes calls, and how its requests reach Asterisk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Bare(Way),
    Bridge(Way),
}

const ALL: [Who; 4] = [
    Who::Bare(Way::Http),
    Who::Bare(Way::Socket),
    Who::Bridge(Way::Http),
    Who::Bridge(Way::Socket),
];

/// All that is done for a call, as often as it can be.
const REJECTED: Calls = Calls {
    what: "to a Local channel that is rejected at once; everything shares the processors",
    line: Line::Local,
    callee: CALLEE,
    context: None,
    many: CALLS,
    at_once: AT_ONCE,
    rounds: ROUNDS,
    share: None,
    who: &ALL,
};
/// The same, and Asterisk has no less of a processor because of what else runs on this machine.
const ON_ITS_OWN: Calls = Calls {
    what: "to a Local channel that is rejected at once; Asterisk has half a processor, the bridge another half, and the servers of table and queue the rest",
    share: Some(OWN_PROCESSOR),
    rounds: 5,
    ..REJECTED
};
/// Calls as they are made: over SIP, answered after 0.3 s, with a voice for ten seconds.
const REMINDERS: Calls = Calls {
    what: "over SIP that are answered after 0.3 s and hear ten seconds from the dialplan; everything shares the processors",
    line: Line::Trunk,
    callee: "200",
    context: Some("reminder"),
    many: 900,
    at_once: 300,
    rounds: 3,
    share: None,
    who: &[Who::Bare(Way::Http), Who::Bridge(Way::Socket)],
};

/// One measurement.
struct Run {
    rate: f64,
    /// Per call.
    of_program: Duration,
    of_asterisk: Duration,
    /// Events of ARI per second; none for who does not count them.
    events: f64,
}

/// Measures it. Returns how many calls that are rejected at once the bridge makes per second, and the events per second that
/// Asterisk sent meanwhile.
pub async fn throughput() -> (f64, f64) {
    println!(
        "\n## Calls\n\nThe bridge's are in the queue before it starts, and counted until the last is recorded as over; the queue and the tables are \
         servers on the same machine. Medians of rounds in turn."
    );
    let most = REJECTED.measure().await;
    ON_ITS_OWN.measure().await;
    REMINDERS.measure().await;
    most
}

impl Calls {
    async fn measure(&self) -> (f64, f64) {
        // Declared first, to be removed last.
        let shares = self.share.map(|share| {
            ["asterisk", "bridge"].map(|of| Share::of(&format!("bench-calls-{of}"), share))
        });
        let asterisk = asterisk().await;
        if let Some([share, _]) = &shares {
            share.limit(asterisk.process().expect("an Asterisk of our own"));
        }
        let pbx = Arc::new(Pbx::Asterisk(Box::new(asterisk)));
        let of_bridge = shares.as_ref().map(|[_, share]| share);
        let mut runs: BTreeMap<Who, Vec<Run>> = BTreeMap::new();
        for round in 0..=self.rounds {
            for who in self.who {
                let run = match who {
                    Who::Bare(way) => self.by_the_bare_client(&pbx, *way).await,
                    Who::Bridge(way) => self.by_the_bridge(&pbx, *way, of_bridge).await,
                };
                // The first round warms up.
                if round > 0 {
                    runs.entry(*who).or_default().push(run);
                }
            }
        }
        self.print(&runs)
    }

    fn print(&self, runs: &BTreeMap<Who, Vec<Run>>) -> (f64, f64) {
        let rate = |runs: &[Run]| median(runs.iter().map(|run| run.rate));
        let bare = runs
            .iter()
            .filter(|(who, _)| matches!(who, Who::Bare(_)))
            .map(|(_, runs)| rate(runs))
            .fold(0.0, f64::max);
        println!(
            "\n{} calls {}, at most {} at a time; {} rounds.\n",
            self.many, self.what, self.at_once, self.rounds
        );
        let mut table = Table::new(&[
            "who",
            "calls per second",
            "of the better bare client",
            "≥ 0.95",
            "CPU per call",
            "Asterisk's CPU per call",
            "of Asterisk's",
            "≤ 10 %",
        ]);
        for (who, runs) in runs {
            let of_bare = rate(runs) / bare;
            let of_asterisk = median(
                runs.iter()
                    .map(|run| ratio(run.of_program, run.of_asterisk)),
            );
            let is_bridge = matches!(who, Who::Bridge(_));
            let said = |reached| if is_bridge { verdict(reached) } else { "" };
            table.row(&[
                who.name().to_owned(),
                format!("{:.0}", rate(runs)),
                format!("{of_bare:.2}"),
                said(of_bare >= 0.95).to_owned(),
                ms(middle(runs.iter().map(|run| run.of_program))),
                ms(middle(runs.iter().map(|run| run.of_asterisk))),
                format!("{:.1} %", of_asterisk * 100.0),
                said(of_asterisk <= 0.1).to_owned(),
            ]);
        }
        table.print();
        let bridge = &runs[&Who::Bridge(Way::Socket)];
        let events = median(bridge.iter().map(|run| run.events));
        (rate(bridge), events)
    }

    async fn by_the_bare_client(&self, pbx: &Pbx, way: Way) -> Run {
        let number = format!("+1555000{}", self.callee);
        let endpoint = self.line.template().replace("{number}", &number);
        let callee = Callee {
            endpoint: endpoint.replace("{context}", "outbound-ivr"),
            context: self.context.map(str::to_owned),
        };
        let before = (cpu(std::process::id()), cpu(process(pbx)));
        let (took, done) = bare::calls(pbx, way, &callee, self.many, self.at_once).await;
        assert!(
            done * 100 >= self.many * 99,
            "{way:?}: {done} of {}",
            self.many
        );
        Run {
            rate: per_second(done, took),
            of_program: each(used_since(std::process::id(), before.0), done),
            of_asterisk: each(used_since(process(pbx), before.1), done),
            events: 0.0,
        }
    }

    async fn by_the_bridge(&self, pbx: &Arc<Pbx>, way: Way, share: Option<&Share>) -> Run {
        let world = World::without_bridge(pbx).await;
        let api = world.api(self.line).await;
        let body = self.context.map_or_else(
            || json!({}),
            |context| json!({"context": context, "extension": "s", "priority": 1}),
        );
        for _ in 0..self.many {
            api.place(&number(self.callee), body.clone()).await;
        }
        let of_asterisk = cpu(process(pbx));
        let over_websocket = if way == Way::Socket { "true" } else { "false" };
        let settings = [("ARI_REST_OVER_WEBSOCKET", over_websocket)];
        let bridge = Measured::start_with(&world, self.at_once, &settings);
        if let Some(share) = share {
            share.limit(bridge.program.id());
        }
        bridge.wait_for("calls_launched_total", 1.0).await;
        let (begun, before) = (Instant::now(), cpu(bridge.program.id()));
        bridge.wait_for("calls_total{", count(self.many)).await;
        let took = begun.elapsed();
        Run {
            rate: per_second(self.many, took),
            of_program: each(used_since(bridge.program.id(), before), self.many),
            of_asterisk: each(used_since(process(pbx), of_asterisk), self.many),
            events: bridge.sum("ari_events_total{").await / took.as_secs_f64(),
        }
    }
}

impl Who {
    fn name(self) -> &'static str {
        match self {
            Self::Bare(Way::Http) => "bare client, HTTP",
            Self::Bare(Way::Socket) => "bare client, WebSocket",
            Self::Bridge(Way::Http) => "bridge, HTTP",
            Self::Bridge(Way::Socket) => "bridge, WebSocket",
        }
    }
}

pub(crate) async fn asterisk() -> Asterisk {
    let asterisk = Asterisk::start().expect("an Asterisk");
    asterisk.wait_until_ready().await;
    asterisk
}

fn process(pbx: &Pbx) -> u32 {
    match pbx {
        Pbx::Asterisk(asterisk) => asterisk.process().expect("an Asterisk of our own"),
        Pbx::Simulator { .. } => std::process::id(),
    }
}

pub(crate) fn count(many: usize) -> f64 {
    f64::from(u32::try_from(many).unwrap_or(u32::MAX))
}

fn per_second(many: usize, took: Duration) -> f64 {
    count(many) / took.as_secs_f64()
}

fn each(total: Duration, many: usize) -> Duration {
    total / u32::try_from(many).unwrap_or(u32::MAX)
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn middle(values: impl Iterator<Item = Duration>) -> Duration {
    Duration::from_secs_f64(median(values.map(|value| value.as_secs_f64())))
}
