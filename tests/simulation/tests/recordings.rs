//! The model of Asterisk is Asterisk, as far as recordings of a real one go: the same requests lead to
//! the same events, read by the bridge's own reader.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test panics when it cannot go on"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bridge::ari::event::{self, Incoming};
use bridge::ari::{Canary, ChannelEventKind, EndpointState, NewChannel};
use domain::origination::{CreateReply, DialReply};
use domain::{AttemptId, CallRequest};
use serde_json::Value;
use simulation::plan::{Alert, Asked, Callee, Plan, PlannedCall, Trouble};
use simulation::run::request;
use simulation::switch::{self, Socket};
use simulation::witness::Truth;
use simulation::world::{World, name};
use tokio::time::Instant;
use uuid::Uuid;

/// What is asked of Asterisk once the call has come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// Nothing.
    Nothing,
    /// To continue it in the dialplan, once it is answered.
    Continue,
    /// To hang it up, once it rings or is answered.
    HangUp,
}

/// A recording, the channel in it that is compared, and what the model is told so as to do the same.
struct Case {
    recording: &'static str,
    channel: &'static str,
    callee: Callee,
    local: bool,
    then: Then,
    trouble: Option<Trouble>,
    ends_after: Duration,
}

const LONG: Duration = Duration::from_hours(1);
const SOON: Duration = Duration::from_millis(300);
/// The channel of the first recordings.
const FIRST: &str = "3f2b8c1e-0000-4000-8000-000000000001";

const fn case(recording: &'static str, callee: Callee, then: Then) -> Case {
    Case {
        recording,
        channel: FIRST,
        callee,
        local: false,
        then,
        trouble: None,
        ends_after: LONG,
    }
}

const fn refused(recording: &'static str, code: u16, cause: u16) -> Case {
    let callee = Callee::Refuses {
        alert: Alert::Rings,
        after: SOON,
        code,
        cause,
    };
    case(recording, callee, Then::Nothing)
}

const ANSWERS: Callee = Callee::Answers {
    after: SOON,
    lasts: Duration::from_secs(2),
};

fn cases() -> Vec<Case> {
    let local = |case: Case| Case {
        local: true,
        ..case
    };
    let channel = |channel, case: Case| Case { channel, ..case };
    vec![
        case("sip-answered", ANSWERS, Then::Continue),
        refused("sip-busy", 486, 17),
        refused("sip-declined", 603, 21),
        refused("sip-unavailable", 480, 19),
        refused("sip-timeout", 408, 18),
        refused("sip-unknown-number", 404, 1),
        refused("sip-server-error", 500, 38),
        refused("sip-service-unavailable", 503, 34),
        case("sip-no-answer", Callee::NeverAnswers, Then::Nothing),
        case("sip-trunk-down", Callee::Silent, Then::Nothing),
        case(
            "sip-cancelled-while-ringing",
            Callee::NeverAnswers,
            Then::HangUp,
        ),
        local(case("local-answered", ANSWERS, Then::Continue)),
        local(case("local-no-answer", Callee::NeverAnswers, Then::Nothing)),
        local(channel(
            "l4",
            case(
                "local-busy-without-hangup",
                Callee::BusyBehindLocal { after: SOON },
                Then::Nothing,
            ),
        )),
        channel(
            "r2",
            Case {
                trouble: Some(Trouble::NoPorts),
                ..case("rtp-ports-exhausted", ANSWERS, Then::Nothing)
            },
        ),
        channel(
            "t3",
            Case {
                ends_after: Duration::from_secs(3),
                ..case(
                    "timeout-absolute-while-ringing",
                    Callee::NeverAnswers,
                    Then::Nothing,
                )
            },
        ),
    ]
}

/// Recordings that are compared by the answers to their requests.
const BY_ANSWERS: [&str; 4] = [
    "endpoint-missing",
    "create-500-told-apart",
    "restart-pending",
    "trunk-goes-and-returns",
];

/// Recordings of what the model does not have, each with the reason.
const NOT_MODELLED: [(&str, &str); 20] = [
    ("amd-machine", "no bridge detects answering machines yet"),
    ("dialplan-result", "no bridge reads results yet"),
    ("dtmf-interrupts-playback", "no bridge reads keys yet"),
    ("dtmf-too-fast-doubled", "no bridge reads keys yet"),
    ("list-missing-middle", "the bridge plays no lists"),
    (
        "local-busy",
        "the dialplan plays a tone before it ends the call by itself",
    ),
    ("local-congestion", "as local-busy"),
    (
        "local-no-such-extension",
        "whether a Dial event comes differs from run to run",
    ),
    (
        "local-optimised-away",
        "the bridge dials no Local channel without /n",
    ),
    ("local-unallocated", "the cause is lost in a race"),
    (
        "playback-never-finishes",
        "the model's items vanish with no event at all",
    ),
    ("record-refused-in-dial-bridge", "no bridge records yet"),
    ("record-unwritable", "no bridge records yet"),
    (
        "refer-while-bridged",
        "transfers are closed in the trunk's configuration",
    ),
    (
        "sip-callee-hangs-up",
        "it is in the model as the end of a continued call",
    ),
    ("sip-early-media", "as sip-answered, with a progress event"),
    ("snoop-record", "no bridge records yet"),
    ("talk-detect", "no bridge listens to speech yet"),
    ("tone-detected", "no bridge listens to tones yet"),
    (
        "variable-waits-for-playback",
        "the bridge sets no variable while it plays",
    ),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../infra/simulator/traces")
}

fn recording(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The kinds of events in order, without what differs from run to run: which of the two signals of
/// one fact came first, and the attempt's id.
fn essence(kinds: impl Iterator<Item = ChannelEventKind>) -> Vec<ChannelEventKind> {
    let mut all: Vec<ChannelEventKind> = Vec::new();
    for kind in kinds {
        let kind = match kind {
            ChannelEventKind::StasisStarted { .. } => {
                ChannelEventKind::StasisStarted { attempt: None }
            }
            other => other,
        };
        if !all.contains(&kind) {
            all.push(kind);
        }
    }
    all
}

/// What the bridge reads of one channel in a recording. Channels of the later recordings have short
/// names, which are exchanged for a call's id.
fn recorded(name: &str, channel: &str) -> Vec<ChannelEventKind> {
    let lines = recording(name);
    let events = lines.iter().filter(|line| line["kind"] == "event");
    let of_channel = events.filter_map(|line| {
        let text = line["event"].to_string();
        let text = text.replace(
            &format!("\"id\":\"{channel}\""),
            &format!("\"id\":\"{FIRST}\""),
        );
        match event::read(&text) {
            Incoming::Channel(event) => Some(event.kind),
            _ => None,
        }
    });
    essence(of_channel)
}

/// One Asterisk, and one call that is planned.
struct Bench {
    world: Arc<World>,
    socket: Socket,
    call: CallRequest,
}

impl Bench {
    fn new(case: &Case) -> Self {
        fastrand::seed(1);
        let mut plan = Plan::of_outage(1, Trouble::RefusesAll, Duration::ZERO);
        let planned = PlannedCall {
            id: FIRST.parse::<Uuid>().unwrap().into(),
            callee: case.callee,
            behind_local: case.local,
            plays: Vec::new(),
            target_exists: true,
            asked: Asked::Rightly,
            ..plan.calls.remove(0)
        };
        let world = Arc::new(World::new(&plan, false));
        let call = request(&planned, world.now()).unwrap();
        let truth = Truth::new(&planned, Instant::now());
        let mut state = world.lock();
        state.witness.truths.insert(planned.id, truth);
        if let Some(trouble) = case.trouble {
            state.switches[0].trouble(trouble, Instant::now() + LONG);
        }
        let socket = state.switches[0].connect(&name(0));
        drop(state);
        Self {
            world,
            socket,
            call,
        }
    }

    fn create(&self, ends_after: Duration) -> CreateReply {
        let new = NewChannel {
            call: &self.call,
            attempt: AttemptId::new(Uuid::nil()),
            ends_after,
        };
        switch::create(&self.world, &mut self.world.lock(), 0, new, &name(0))
    }

    async fn next(&mut self) -> ChannelEventKind {
        match self.socket.events.recv().await.unwrap() {
            Incoming::Channel(event) => event.kind,
            other => panic!("{other:?}"),
        }
    }
}

async fn modelled(case: &Case, ring_for: Duration) -> Vec<ChannelEventKind> {
    let mut bench = Bench::new(case);
    let id = bench.call.id;
    assert_eq!(bench.create(case.ends_after), CreateReply::Created);
    let mut kinds = vec![bench.next().await];
    let dialled = switch::dial(&bench.world, &mut bench.world.lock(), 0, id, ring_for);
    assert_eq!(dialled, DialReply::Dialled);
    let mut asked = false;
    while !matches!(kinds.last(), Some(ChannelEventKind::Destroyed(..))) {
        let kind = bench.next().await;
        kinds.push(kind);
        let mut state = bench.world.lock();
        match (kind, case.then) {
            _ if asked => {}
            (ChannelEventKind::Answered, Then::Continue) => {
                asked = true;
                switch::go_on(&bench.world, &mut state, 0, id);
            }
            (ChannelEventKind::Rang, Then::HangUp) => {
                asked = true;
                switch::hang_up(&bench.world, &mut state, 0, id);
            }
            _ => {}
        }
    }
    essence(kinds.into_iter())
}

#[tokio::test(start_paused = true)]
async fn the_model_sends_what_asterisk_was_recorded_sending() {
    for case in cases() {
        let lines = recording(case.recording);
        let is_dial = |line: &&Value| {
            line["path"]
                .as_str()
                .is_some_and(|it| it.ends_with("/dial"))
        };
        let dial = lines.iter().find(is_dial).unwrap();
        let ring_for = Duration::from_secs(dial["params"]["timeout"].as_u64().unwrap());
        assert_eq!(
            modelled(&case, ring_for).await,
            recorded(case.recording, case.channel),
            "{}",
            case.recording
        );
    }
}

/// The status of the first create in a recording whose endpoint has this in it.
fn create_of(lines: &[Value], endpoint: &str) -> u64 {
    let is_it = |line: &&Value| {
        line["path"] == "/channels/create"
            && line["params"]["endpoint"]
                .as_str()
                .is_some_and(|it| it.contains(endpoint))
    };
    lines.iter().find(is_it).unwrap()["status"]
        .as_u64()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_model_refuses_what_asterisk_was_recorded_refusing() {
    let told_apart = recording("create-500-told-apart");
    for (endpoint, trouble, callee, state) in [
        ("@nosuch", None, Callee::NoEndpoint, EndpointState::Missing),
        (
            "@dead",
            Some(Trouble::TrunkOffline),
            ANSWERS,
            EndpointState::Offline,
        ),
    ] {
        let bench = Bench::new(&Case {
            trouble,
            ..case("", callee, Then::Nothing)
        });
        assert_eq!(create_of(&told_apart, endpoint), 500);
        assert_eq!(bench.create(LONG), CreateReply::Refused, "{endpoint}");
        let trunk = bench.call.endpoint.trunk().unwrap();
        let world = bench.world.lock();
        assert_eq!(
            world.switches[0].endpoint_state(&trunk),
            state,
            "{endpoint}"
        );
        // Asterisk itself makes channels: the recording's Local create is answered 200.
        assert_eq!(world.switches[0].try_canary(), Canary::Made);
    }
    assert_eq!(create_of(&told_apart, "Local/"), 200);

    // While a restart is pending every create is refused, and the endpoint is online.
    let pending = recording("restart-pending");
    let refused = pending.iter().any(|line| {
        line["path"] == "/channels/create"
            && line["status"] == 500
            && line["params"]["endpoint"]
                .as_str()
                .is_some_and(|endpoint| endpoint.starts_with("Local/"))
    });
    assert!(refused);
    let bench = Bench::new(&Case {
        trouble: Some(Trouble::RefusesAll),
        ..case("", ANSWERS, Then::Nothing)
    });
    assert_eq!(bench.create(LONG), CreateReply::Refused);
    let trunk = bench.call.endpoint.trunk().unwrap();
    let world = bench.world.lock();
    assert_eq!(
        world.switches[0].endpoint_state(&trunk),
        EndpointState::Online
    );
    assert_eq!(world.switches[0].try_canary(), Canary::Refused);
}

#[test]
fn no_recording_is_forgotten() {
    let compared = cases();
    let listed: BTreeSet<String> = compared
        .iter()
        .map(|case| case.recording)
        .chain(BY_ANSWERS)
        .chain(NOT_MODELLED.iter().map(|(name, _)| *name))
        .map(str::to_owned)
        .collect();
    let files = std::fs::read_dir(folder()).unwrap().filter_map(|file| {
        let path = file.unwrap().path();
        let is_recording = path.extension().is_some_and(|it| it == "jsonl");
        is_recording.then(|| path.file_stem().unwrap().to_string_lossy().into_owned())
    });
    assert_eq!(files.collect::<BTreeSet<_>>(), listed);
}
