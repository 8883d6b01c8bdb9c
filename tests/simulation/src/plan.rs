//! What a seed decides: who is called and how each callee behaves, and what goes wrong.

use std::time::Duration;

use domain::CallId;
use uuid::Uuid;

/// How a run is laid out.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The calls.
    pub calls: Vec<PlannedCall>,
    /// Bridges, each on an Asterisk of its own.
    pub bridges: usize,
    /// How likely a request or its answer is lost, in a thousand.
    pub lossy: u32,
    /// How likely it is that what is seen of a channel is up to a second old when the answer comes, in a thousand.
    pub stale: u32,
    /// How likely a message is delivered twice: once in so many; never if 0.
    pub duplicates: u32,
    /// What goes wrong, and when.
    pub faults: Vec<(Duration, Fault)>,
    /// From here on nothing goes wrong any more.
    pub healed_after: Duration,
}

/// A call to be placed.
#[derive(Clone, Debug)]
pub struct PlannedCall {
    /// Its id.
    pub id: CallId,
    /// When its client asks for it.
    pub at: Duration,
    /// How its callee behaves.
    pub callee: Callee,
    /// How long it may ring.
    pub dial_timeout: Duration,
    /// How long it may wait in the queue.
    pub queue_timeout: Duration,
    /// Whether its client repeats its request when it is not answered.
    pub repeats: bool,
    /// How long its client waits for an answer before it repeats a request that may still be under way.
    pub patience: Duration,
    /// After how long its client asks for its end.
    pub ends_after: Option<Duration>,
    /// What is played to it instead of going on in the dialplan, if anything is.
    pub plays: Vec<Item>,
    /// Whether the dialplan has the place where it is to go on.
    pub target_exists: bool,
    /// Whether it is answered behind a Local channel.
    pub behind_local: bool,
    /// Whether it may be called at all.
    pub asked: Asked,
}

/// How a call is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// As the API does.
    Rightly,
    /// With a variable that Asterisk obeys: an API of an earlier release took the request.
    WithForbiddenVariable,
    /// By a message to another number than the record has.
    ByForgedMessage,
}

/// Something that is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// It is heard for so long.
    Plays(Duration),
    /// There is no such sound.
    Fails,
    /// It never finishes, and no event says so.
    Vanishes,
}

/// What a callee is heard to do before it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// Nothing.
    None,
    /// It rings.
    Rings,
    /// An announcement plays.
    EarlyMedia,
}

/// How a callee behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callee {
    /// It rings, is answered, and goes on for a while.
    Answers {
        /// How long it rings.
        after: Duration,
        /// How long the IVR takes.
        lasts: Duration,
    },
    /// It is answered at once, and the callee hangs up.
    AnswersBriefly {
        /// How long it lasts.
        lasts: Duration,
    },
    /// It rings, is answered, and goes on for longer than a call may.
    TalksOn {
        /// How long it rings.
        after: Duration,
        /// The dialplan takes the limit away that Asterisk was given.
        clears: bool,
    },
    /// Early media, then it is answered.
    EarlyMedia {
        /// How long the early media last.
        after: Duration,
        /// How long the IVR takes.
        lasts: Duration,
    },
    /// It is refused over SIP, with a code that Asterisk makes a cause of.
    Refuses {
        /// What is heard before.
        alert: Alert,
        /// For how long.
        after: Duration,
        /// The SIP code.
        code: u16,
        /// Asterisk's cause for it.
        cause: u16,
    },
    /// It rings, and is busy, behind a Local channel whose dialplan ends without a `Hangup`.
    BusyBehindLocal {
        /// How long it rings.
        after: Duration,
    },
    /// An announcement plays until the call is given up.
    EarlyMediaOnly,
    /// It rings until it is given up.
    NeverAnswers,
    /// Nothing is ever heard.
    Silent,
    /// There is no such endpoint.
    NoEndpoint,
}

/// Something that is wrong with an Asterisk for a while. Calls that are not claimed wait meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It makes no channels: a graceful restart is pending, say.
    RefusesAll,
    /// It makes no channels for calls, and says of nothing why.
    RefusesCalls,
    /// The trunk is offline.
    TrunkOffline,
    /// A reload has taken the trunk away.
    TrunkMissing,
    /// It has no ports for audio: it takes dials, and dials nobody.
    NoPorts,
    /// It has hardly a descriptor left: it takes dials, and nothing more is heard.
    NoDescriptors,
    /// It is shutting down: it takes no dial for the channels that it has.
    EndsChannels,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Something is wrong with an Asterisk for a while.
    Trouble {
        /// Whose.
        bridge: usize,
        /// What.
        trouble: Trouble,
        /// For how long.
        lasts: Duration,
    },
    /// A bridge is killed after so many more steps, and started again after a while, if at all.
    Kill {
        /// Which.
        bridge: usize,
        /// After how many steps.
        after_steps: u32,
        /// When it is started again.
        back_after: Option<Duration>,
    },
    /// A bridge is told to stop, and started again.
    Stop {
        /// Which.
        bridge: usize,
        /// When it is started again.
        back_after: Duration,
    },
    /// A second process with a bridge's id runs for a while.
    Twin {
        /// Of which.
        bridge: usize,
        /// On a machine with an Asterisk of its own, or beside the first process.
        elsewhere: bool,
        /// For how long.
        lasts: Duration,
    },
    /// A bridge is replaced: the new process starts before the old one is told to stop.
    Replace {
        /// Which.
        bridge: usize,
        /// How long both run.
        lasts: Duration,
    },
    /// An events socket is cut, or falls silent.
    CutSocket {
        /// Of which bridge.
        bridge: usize,
        /// Nothing tells the bridge.
        silently: bool,
    },
    /// An events socket holds its events back for a while, and then lets all go.
    StallSocket {
        /// Of which bridge.
        bridge: usize,
        /// For how long: shorter than the bridge waits before it takes the socket for dead.
        lasts: Duration,
    },
    /// An Asterisk is restarted.
    RestartAsterisk {
        /// Whose.
        bridge: usize,
        /// How long it is gone.
        lasts: Duration,
    },
    /// An administrator pauses all calls, and resumes them.
    Pause {
        /// After so long.
        lasts: Duration,
    },
    /// A service does not answer anybody.
    Outage {
        /// Which.
        service: Service,
        /// For how long.
        lasts: Duration,
    },
    /// A service does not answer one bridge.
    Partition {
        /// Which bridge.
        bridge: usize,
        /// Which service.
        service: Service,
        /// For how long.
        lasts: Duration,
    },
}

/// Something that answers requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Asterisk.
    Ari,
    /// The tables.
    Store,
    /// The queues.
    Queue,
}

/// How long an answered call may last.
pub const MAX_CALL_DURATION: Duration = Duration::from_mins(1);
/// How long a patient call may wait.
const PATIENT: Duration = Duration::from_mins(10);
/// When the last call is asked for.
const CALLS_WITHIN: Duration = Duration::from_mins(1);
/// When the last fault begins.
const FAULTS_WITHIN: Duration = Duration::from_secs(90);

impl Plan {
    /// The plan of a seed, for so many calls. Draws from the thread's generator, which is to be seeded.
    #[must_use]
    pub fn draw(calls: usize) -> Self {
        if fastrand::u32(..40) == 0 {
            return Self::draw_long_outage(calls.min(30));
        }
        let bridges = fastrand::usize(1..=3);
        let calm = fastrand::u32(..10) == 0;
        let stormy = fastrand::u32(..5) == 0;
        let troubled = fastrand::u32(..4) == 0;
        let mut faults: Vec<_> = if calm {
            Vec::new()
        } else if stormy {
            let many = fastrand::usize(10..=40);
            let kill = || (up_to(FAULTS_WITHIN), Fault::draw_kill(bridges));
            std::iter::repeat_with(kill).take(many).collect()
        } else {
            let many = fastrand::usize(1..=6);
            let fault = || (up_to(FAULTS_WITHIN), Fault::draw(bridges));
            std::iter::repeat_with(fault).take(many).collect()
        };
        if troubled {
            let many = fastrand::usize(1..=4);
            let trouble = || (up_to(FAULTS_WITHIN), Fault::draw_trouble(bridges));
            faults.extend(std::iter::repeat_with(trouble).take(many));
        }
        faults.sort_by_key(|(at, _)| *at);
        Self {
            calls: (0..calls)
                .map(|_| PlannedCall::draw(calm, stormy))
                .collect(),
            bridges,
            lossy: match fastrand::u32(..6) {
                _ if calm => 0,
                0..3 => 0,
                3..5 => fastrand::u32(1..=40),
                _ => fastrand::u32(40..=200),
            },
            stale: 0,
            duplicates: if calm || fastrand::bool() {
                0
            } else {
                fastrand::u32(3..=50)
            },
            faults,
            healed_after: FAULTS_WITHIN + Duration::from_mins(1),
        }
    }

    /// One Asterisk that calls nobody for up to half an hour, while calls may wait for an hour.
    fn draw_long_outage(calls: usize) -> Self {
        let lasts = Duration::from_mins(fastrand::u64(10..=30));
        let trouble = match fastrand::u32(..4) {
            0 => Trouble::RefusesAll,
            1 => Trouble::TrunkOffline,
            _ => Trouble::RefusesCalls,
        };
        Self::of_outage(calls, trouble, lasts)
    }

    /// One Asterisk with one trouble from the beginning on, while calls may wait for an hour.
    #[must_use]
    pub fn of_outage(calls: usize, trouble: Trouble, lasts: Duration) -> Self {
        let call = || PlannedCall {
            queue_timeout: Duration::from_hours(1),
            // Behind a Local channel no circuit opens: each call tries again and again.
            behind_local: trouble == Trouble::RefusesCalls,
            asked: Asked::Rightly,
            ..PlannedCall::draw(true, false)
        };
        let fault = Fault::Trouble {
            bridge: 0,
            trouble,
            lasts,
        };
        let calls = std::iter::repeat_with(call).take(calls).collect();
        Self::of_one_bridge(calls, vec![(Duration::ZERO, fault)], lasts)
    }

    /// One bridge that is killed again and again and is back at once, so that it looks at channels
    /// that are being dialled. What it sees of them is mostly out of date when the answer comes.
    #[must_use]
    pub fn of_stale_looks(calls: usize) -> Self {
        let kill = || {
            let kill = Fault::Kill {
                bridge: 0,
                after_steps: fastrand::u32(..60),
                back_after: Some(up_to(Duration::from_millis(50))),
            };
            (up_to(FAULTS_WITHIN), kill)
        };
        let mut faults: Vec<_> = std::iter::repeat_with(kill).take(15).collect();
        faults.sort_by_key(|(at, _)| *at);
        let call = || PlannedCall {
            ends_after: None,
            plays: Vec::new(),
            ..PlannedCall::draw(true, false)
        };
        let calls = std::iter::repeat_with(call).take(calls).collect();
        Self {
            stale: 900,
            ..Self::of_one_bridge(calls, faults, FAULTS_WITHIN + Duration::from_mins(1))
        }
    }

    /// One bridge that does not reach the tables until its calls were ended for it, while it follows them.
    #[must_use]
    pub fn of_foreign_ends(calls: usize) -> Self {
        let partition = Fault::Partition {
            bridge: 0,
            service: Service::Store,
            lasts: Duration::from_mins(4),
        };
        let call = || PlannedCall {
            ends_after: None,
            callee: Callee::draw(),
            ..PlannedCall::draw(true, false)
        };
        let calls = std::iter::repeat_with(call).take(calls).collect();
        let faults = vec![(up_to(CALLS_WITHIN), partition)];
        Self::of_one_bridge(calls, faults, Duration::from_mins(6))
    }

    /// One bridge from and to which nothing is lost, late or repeated.
    fn of_one_bridge(
        calls: Vec<PlannedCall>,
        faults: Vec<(Duration, Fault)>,
        healed_after: Duration,
    ) -> Self {
        Self {
            calls,
            bridges: 1,
            lossy: 0,
            stale: 0,
            duplicates: 0,
            faults,
            healed_after,
        }
    }
}

impl PlannedCall {
    /// Whether it may wait in the queue for longer than anything goes wrong.
    #[must_use]
    pub fn is_patient(&self) -> bool {
        self.queue_timeout >= PATIENT
    }

    /// Whether it goes through the dialplan.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self.callee, Callee::BusyBehindLocal { .. }) || self.behind_local
    }

    /// What is played, at this place of the list.
    #[must_use]
    pub fn item(&self, item: usize) -> Item {
        self.plays.get(item).copied().unwrap_or(Item::Fails)
    }

    fn draw(calm: bool, stormy: bool) -> Self {
        let seconds = |range| Duration::from_secs(fastrand::u64(range));
        let once_in = |many: u32| fastrand::u32(..many) == 0;
        Self {
            id: CallId::from(Uuid::from_u128(fastrand::u128(..))),
            at: up_to(CALLS_WITHIN),
            callee: Callee::draw(),
            dial_timeout: seconds(8..=20),
            queue_timeout: if !calm && once_in(8) {
                seconds(1..=20)
            } else {
                PATIENT
            },
            repeats: fastrand::bool(),
            patience: if !calm && fastrand::bool() {
                Duration::from_millis(fastrand::u64(300..4_000))
            } else {
                Duration::from_mins(1)
            },
            ends_after: match fastrand::u32(..if stormy { 4 } else { 12 }) {
                0 => Some(up_to(Duration::from_secs(15))),
                1 => Some(up_to(Duration::from_millis(400))),
                _ => None,
            },
            plays: if once_in(5) { Item::draw() } else { Vec::new() },
            target_exists: !once_in(40),
            behind_local: once_in(8),
            asked: match fastrand::u32(..60) {
                0 => Asked::WithForbiddenVariable,
                1 => Asked::ByForgedMessage,
                _ => Asked::Rightly,
            },
        }
    }
}

impl Item {
    /// A list of up to three.
    fn draw() -> Vec<Self> {
        let item = || match fastrand::u32(..16) {
            0 => Self::Fails,
            1 => Self::Vanishes,
            _ => Self::Plays(Duration::from_millis(300) + up_to(Duration::from_secs(5))),
        };
        let many = fastrand::usize(1..=3);
        std::iter::repeat_with(item).take(many).collect()
    }
}

impl Callee {
    fn draw() -> Self {
        let after = up_to(Duration::from_secs(6));
        let lasts = Duration::from_millis(500) + up_to(Duration::from_secs(10));
        match fastrand::u32(..20) {
            0..=7 => Self::Answers { after, lasts },
            8 => Self::TalksOn {
                after,
                clears: fastrand::bool(),
            },
            9 => Self::AnswersBriefly { lasts },
            10 | 11 => Self::EarlyMedia { after, lasts },
            12..=14 => Self::draw_refusal(after),
            15 => Self::BusyBehindLocal { after },
            16 => Self::NeverAnswers,
            17 => Self::EarlyMediaOnly,
            18 => Self::Silent,
            _ => Self::NoEndpoint,
        }
    }
}

impl Callee {
    /// Codes and causes as a real Asterisk pairs them.
    const REFUSALS: [(u16, u16); 12] = [
        (302, 23),
        (403, 21),
        (404, 1),
        (408, 18),
        (480, 19),
        (483, 19),
        (486, 17),
        (488, 58),
        (503, 34),
        (600, 17),
        (603, 21),
        (607, 127),
    ];

    fn draw_refusal(after: Duration) -> Self {
        let (code, cause) = Self::REFUSALS[fastrand::usize(..Self::REFUSALS.len())];
        let alert = match fastrand::u32(..3) {
            0 => Alert::None,
            1 => Alert::Rings,
            _ => Alert::EarlyMedia,
        };
        Self::Refuses {
            alert,
            after,
            code,
            cause,
        }
    }
}

impl Fault {
    /// Something wrong with one Asterisk.
    fn draw_trouble(bridges: usize) -> Self {
        let (trouble, most) = match fastrand::u32(..9) {
            0 | 1 => (Trouble::RefusesAll, 60),
            2 => (Trouble::RefusesCalls, 60),
            3 | 4 => (Trouble::TrunkOffline, 60),
            5 => (Trouble::TrunkMissing, 1),
            6 => (Trouble::NoPorts, 40),
            7 => (Trouble::EndsChannels, 2),
            _ => (Trouble::NoDescriptors, 40),
        };
        Self::Trouble {
            bridge: fastrand::usize(..bridges),
            trouble,
            lasts: up_to(Duration::from_secs(most)),
        }
    }

    /// A kill with a quick restart.
    fn draw_kill(bridges: usize) -> Self {
        Self::Kill {
            bridge: fastrand::usize(..bridges),
            after_steps: fastrand::u32(..60),
            back_after: Some(up_to(Duration::from_secs(3))),
        }
    }

    fn draw(bridges: usize) -> Self {
        let bridge = fastrand::usize(..bridges);
        let service = match fastrand::u32(..3) {
            0 => Service::Ari,
            1 => Service::Store,
            _ => Service::Queue,
        };
        let lasts = up_to(Duration::from_secs(40));
        match fastrand::u32(..15) {
            0..=4 => Self::Kill {
                bridge,
                after_steps: fastrand::u32(..200),
                // The first bridge always comes back: somebody has to.
                back_after: match fastrand::u32(..8) {
                    // Past the deadlines of its calls.
                    0 => Some(up_to(Duration::from_mins(6))),
                    1 | 2 if bridge != 0 => None,
                    _ => Some(lasts),
                },
            },
            5 => Self::Stop {
                bridge,
                back_after: lasts,
            },
            6 => Self::Twin {
                bridge,
                elsewhere: fastrand::u32(..3) != 0,
                // Long enough to take over, should the first one be gone.
                lasts: lasts * fastrand::u32(1..=10),
            },
            14 => Self::Replace { bridge, lasts },
            7 => Self::CutSocket {
                bridge,
                silently: fastrand::bool(),
            },
            8 => Self::RestartAsterisk { bridge, lasts },
            9 => Self::Outage { service, lasts },
            13 => Self::Pause { lasts },
            10 => Self::StallSocket {
                bridge,
                lasts: up_to(Duration::from_secs(28)),
            },
            _ => Self::Partition {
                bridge,
                service,
                lasts,
            },
        }
    }
}

fn up_to(most: Duration) -> Duration {
    most.mul_f64(fastrand::f64())
}
