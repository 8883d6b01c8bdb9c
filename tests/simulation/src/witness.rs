//! Sees what really happens: what each phone does, what each client is told, what each record says. Notes
//! what must never be.

use std::collections::BTreeMap;
use std::time::Duration;

use domain::endings::{self, Alert};
use domain::{Call, CallId, CallStatus, Ending, FailureReason, HangupCause, SipCode};
use tokio::time::Instant;

use crate::plan::{self, Asked, Callee, Item, MAX_CALL_DURATION, PlannedCall};

/// What really happened with a call.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that happened or not"
)]
pub struct Truth {
    /// What was planned.
    pub plan: PlannedCall,
    /// How often its phone was made to ring: its INVITEs.
    pub invites: u32,
    /// How long calls had been paused when the phone was made to ring.
    pub paused_for: Option<Duration>,
    /// The phone rang, or early media came.
    pub alerted: bool,
    /// The callee answered.
    pub answered: bool,
    /// It was over for the phone, with this cause, then.
    pub ended: Option<(HangupCause, Instant)>,
    /// We hung the phone's channel up.
    pub hung_up: bool,
    /// It was answered, and nothing happened (any more) until the callee hung up.
    pub waited_in_vain: bool,
    /// When the callee answered.
    pub answered_at: Option<Instant>,
    /// How often it was continued in the dialplan.
    pub sent_on: u32,
    /// The items that were asked to be played, each with the number of the request.
    pub plays: Vec<(usize, u64)>,
    /// When the first of them was.
    pub first_played: Option<Instant>,
    /// Asterisk was given its limit after the answer.
    pub limited: bool,
    /// Asterisk took its dial, and dialled nobody.
    pub undialled: bool,
    /// Asterisk took its dial then, and nothing more was heard.
    pub unheard: Option<Instant>,
    /// Its client asked for its end then.
    pub end_asked: Option<Instant>,
    /// And was told that it would come.
    pub end_promised: bool,
    /// What its client was told.
    pub told: Told,
    /// A request about it was lost, or its answer.
    pub touched: bool,
    /// A request about it arrived when nobody waited for the answer any more.
    pub late_request: bool,
    /// When it was asked for.
    pub begun: Instant,
}

impl Truth {
    /// Of a call of which nothing is known yet but how it was planned.
    #[must_use]
    pub fn new(plan: &PlannedCall, begun: Instant) -> Self {
        Self {
            plan: plan.clone(),
            invites: 0,
            paused_for: None,
            alerted: false,
            answered: false,
            ended: None,
            answered_at: None,
            sent_on: 0,
            plays: Vec::new(),
            first_played: None,
            limited: false,
            undialled: false,
            unheard: None,
            hung_up: false,
            waited_in_vain: false,
            end_asked: None,
            end_promised: false,
            told: Told::Nothing,
            touched: false,
            late_request: false,
            begun,
        }
    }
}

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing yet.
    Nothing,
    /// 202.
    Accepted,
    /// 503: nobody was or will be called.
    NobodyCalled,
    /// No answer, or 503 without that promise.
    Unknown,
}

/// The witness.
#[derive(Debug, Default)]
pub struct Witness {
    /// By call.
    pub truths: BTreeMap<CallId, Truth>,
    /// What must never be, and was.
    pub violations: Vec<String>,
    /// From when to when something was wrong that concerns all calls: a crash, a restart, a cut, an outage.
    pub upheavals: Vec<(Instant, Instant)>,
    /// A number made of everything that happened, in order: two runs of one seed have the same.
    pub trace: u64,
    /// So much is lost that nothing can be said about how long things take.
    pub heavy_loss: bool,
    /// What is seen of channels is out of date, and nothing else is wrong but that bridges are killed.
    pub stale_looks: bool,
    /// Writes each step to the standard error.
    pub verbose: bool,
    /// When the first thing happened.
    pub began: Option<Instant>,
}

impl Witness {
    /// Who has seen nothing yet.
    #[must_use]
    pub fn new(verbose: bool) -> Self {
        Self {
            verbose,
            ..Self::default()
        }
    }

    /// Notes that something happened.
    pub fn note(&mut self, what: &str, id: Option<CallId>) {
        let now = Instant::now();
        let began = *self.began.get_or_insert(now);
        let at = now.duration_since(began);
        // FNV-1a.
        let mut mix = |byte: u8| {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        };
        what.bytes().for_each(&mut mix);
        at.as_nanos().to_le_bytes().into_iter().for_each(&mut mix);
        if let Some(id) = id {
            uuid::Uuid::from(id)
                .as_bytes()
                .iter()
                .copied()
                .for_each(&mut mix);
        }
        if self.verbose {
            let id = id.map(|id| id.to_string()).unwrap_or_default();
            eprintln!("{:>10.3}  {id:36}  {what}", at.as_secs_f64());
        }
    }

    /// Notes what must never be.
    pub fn violation(&mut self, id: CallId, what: impl Into<String>) {
        let what = what.into();
        self.note(&format!("VIOLATION: {what}"), Some(id));
        self.violations.push(format!("call {id}: {what}"));
    }

    /// What really happened with a call.
    pub fn truth(&mut self, id: CallId) -> Option<&mut Truth> {
        self.truths.get_mut(&id)
    }

    /// A client is told something about a call. A promise that was given stays: the answers to a
    /// request and to its repetitions come in any order.
    pub fn tell(&mut self, id: CallId, told: Told) {
        let Some(truth) = self.truth(id) else { return };
        match (truth.told, told) {
            (Told::Accepted, Told::NobodyCalled) | (Told::NobodyCalled, Told::Accepted) => {
                self.violation(id, "accepted, and refused as well");
            }
            (Told::Accepted | Told::NobodyCalled, _) => {}
            _ => truth.told = told,
        }
    }

    /// How often the phone was made to ring for each request, over the calls that were made for it
    /// one in the place of the other.
    #[must_use]
    pub fn invites_by_request(&self) -> BTreeMap<CallId, u32> {
        let mut invites = BTreeMap::new();
        for truth in self.truths.values() {
            *invites.entry(truth.plan.id).or_default() += truth.invites;
        }
        invites
    }

    /// A record changed.
    pub fn record_changed(&mut self, before: Option<&Call>, after: &Call) {
        let id = after.request.id;
        self.note(
            &format!("record {} {}", after.status, after.sequence),
            Some(id),
        );
        let Some(before) = before else { return };
        if before.status.is_terminal() {
            self.violation(
                id,
                format!("over as {} and changed to {}", before.status, after.status),
            );
        }
        if after.status.progress() < before.status.progress() {
            self.violation(
                id,
                format!("{} went back to {}", before.status, after.status),
            );
        }
        if after.sequence <= before.sequence {
            self.violation(id, "its sequence did not grow");
        }
        if before.claim.is_some() && before.claim != after.claim {
            self.violation(id, "claimed twice");
        }
        // Its bridge has heard it ring, and nothing after that. Where more goes wrong than looks, this may be right.
        let rings = self.stale_looks
            && before.status == CallStatus::Ringing
            && self.truth(id).is_some_and(|truth| truth.ended.is_none());
        if rings && after.failure_reason == Some(FailureReason::OutcomeUnknown) {
            self.violation(id, "given up as unknown while its phone rings");
        }
    }

    /// A phone is about to ring.
    pub fn invite(&mut self, id: CallId, record: Option<&Call>, late: Duration) {
        self.note("INVITE", Some(id));
        let Some(truth) = self.truth(id) else {
            self.violation(id, "dialled, and nobody asked for it");
            return;
        };
        truth.invites += 1;
        let (invites, told) = (truth.invites, truth.told);
        if invites > 1 {
            self.violation(id, "its phone rings twice");
        }
        if told == Told::NobodyCalled {
            self.violation(
                id,
                "dialled though its client was told that nobody is called",
            );
        }
        match record {
            Some(call) if call.owner.is_some() => {}
            Some(call) => self.violation(id, format!("dialled while {}, unclaimed", call.status)),
            None => self.violation(id, "dialled without a record"),
        }
        if !late.is_zero() {
            self.violation(id, format!("dialled {late:?} after its dial_before"));
        }
    }

    /// Holds what the record says at the end against what really happened.
    pub fn judge(&mut self, call: &Call, over_at: Instant) {
        let id = call.request.id;
        let Some(truth) = self.truths.get(&id).cloned() else {
            return;
        };
        let upheaval = |from: Instant| {
            let during = |(began, until): &&(Instant, Instant)| *began <= over_at && *until >= from;
            self.upheavals
                .iter()
                .filter(during)
                .map(|(_, until)| *until)
                .max()
        };
        let before = truth.begun.checked_sub(AFTERMATH).unwrap_or(truth.begun);
        let disturbed = truth.touched || self.heavy_loss || upheaval(before).is_some();
        let wanted = call.hangup.is_some()
            || (truth.end_asked.is_some() && truth.touched)
            || truth.late_request
            || matches!(
                call.failure_reason,
                // The sweeper ended the call, and its bridge has come back to find the channel.
                Some(
                    FailureReason::OutcomeUnknown
                        | FailureReason::EndNotSeen
                        | FailureReason::BridgeLost
                )
            );
        let judged = agrees(call, &truth, disturbed, over_at).and_then(|()| {
            let Some((_, ended_at)) = truth.ended else {
                return Ok(());
            };
            // What was wanted may have been forgotten by a bridge that was killed before it could write it.
            fair(
                !truth.hung_up || wanted || upheaval(ended_at).is_some(),
                "it was hung up, and nobody wanted that",
            )?;
            if self.heavy_loss {
                return Ok(());
            }
            // An answer that cannot be recorded in a second is not waited for any longer.
            let begun = truth.first_played.zip(truth.answered_at);
            let unrecorded = begun.is_some_and(|(played, answered)| {
                played.duration_since(answered) >= Duration::from_millis(900)
            });
            let mut items: Vec<_> = truth.plays.iter().map(|(item, _)| *item).collect();
            items.sort_unstable();
            items.dedup();
            fair(
                unrecorded || items.len() == truth.plays.len(),
                "something was played twice",
            )?;
            let known_within = if truth.touched {
                KNOWN_WITHIN_TOUCHED
            } else {
                KNOWN_WITHIN
            };
            let healed_at = upheaval(ended_at).map_or(ended_at, |until| until.max(ended_at));
            let known_by = healed_at + known_within;
            let late = over_at.saturating_duration_since(known_by);
            fair(
                late.is_zero(),
                &format!("its end was recorded {late:?} too late"),
            )?;
            if let Some(asked) = truth.end_asked.filter(|_| truth.end_promised) {
                let healed_at = upheaval(asked).map_or(asked, |until| until.max(asked));
                let late = ended_at.saturating_duration_since(healed_at + known_within);
                fair(
                    late.is_zero(),
                    &format!("its client's hangup came {late:?} too late"),
                )?;
            }
            let just_before = upheaval(ended_at.checked_sub(SOON).unwrap_or(ended_at));
            fair(
                !truth.waited_in_vain || just_before.is_some(),
                "its callee waited in vain",
            )
        });
        self.judge_limit(call, &truth, disturbed);
        if let Err(what) = judged {
            let reason = call.failure_reason.map_or("", FailureReason::as_str);
            let status = call.status;
            self.violation(
                id,
                format!("{what}: the record says {status} {reason}; {truth:?}"),
            );
        }
    }
}

/// How long a bridge may take to hang up once nothing is wrong any more.
const GRACE: Duration = Duration::from_secs(30);

impl Witness {
    /// Nobody is on the line beyond a call's limit, whoever is gone.
    fn judge_limit(&mut self, call: &Call, truth: &Truth, disturbed: bool) {
        let (Some(answered), Some((_, ended))) = (truth.answered_at, truth.ended) else {
            return;
        };
        // The bridge cannot count from before it hears of the answer.
        let mut heard_by = answered;
        while let Some(until) = self.upheavals.iter().find_map(|(began, until)| {
            (*began <= heard_by + SOON && *until > heard_by).then_some(*until)
        }) {
            heard_by = until;
        }
        let limit = heard_by + MAX_CALL_DURATION;
        let clears = matches!(truth.plan.callee, Callee::TalksOn { clears: true, .. });
        let allowed = if clears {
            // Only a bridge keeps the limit, when there is one.
            if self.heavy_loss || truth.touched {
                return;
            }
            let mut kept_from = limit;
            while let Some(until) = self.upheavals.iter().find_map(|(began, until)| {
                (*began <= kept_from + GRACE && *until > kept_from).then_some(*until)
            }) {
                kept_from = until;
            }
            kept_from + GRACE
        } else if truth.limited && !truth.touched && !truth.late_request {
            // Five seconds by the promise, and four for clocks: one that is set right by an answer that took
            // long is known to two seconds, and so is the other.
            limit + Duration::from_secs(9)
        } else if disturbed {
            // What Asterisk was given with the channel counts from the create.
            limit + truth.plan.dial_timeout + Duration::from_mins(1)
        } else {
            limit + SOON
        };
        let late = ended.saturating_duration_since(allowed);
        if !late.is_zero() {
            self.violation(
                call.request.id,
                format!("it outlived its limit by {late:?}; {truth:?}"),
            );
        }
    }
}

/// How long after the end of a call (or of what was wrong then) its record may still not say so.
const KNOWN_WITHIN: Duration = Duration::from_secs(30);
/// The same for a call about which a request was lost. An unconfirmed claim is not touched for a while,
/// and a channel that was made late is taken for its call's until the deadline.
const KNOWN_WITHIN_TOUCHED: Duration = Duration::from_mins(2);
/// How long what was wrong may still show.
const AFTERMATH: Duration = Duration::from_mins(1);
/// How long something may take while nothing is wrong.
const SOON: Duration = Duration::from_secs(15);

fn fair(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}

/// Whether a record agrees with the truth. A disturbed call may end unknown, but never wrong.
fn agrees(call: &Call, truth: &Truth, disturbed: bool, over_at: Instant) -> Result<(), String> {
    use CallStatus::{Canceled, Completed, Failed};
    use FailureReason as Why;

    match truth.told {
        Told::NobodyCalled => {
            fair(
                truth.invites == 0,
                "its client was told that nobody is called",
            )?;
            fair(
                matches!(call.status, Failed | Canceled),
                "its client was told that nobody is called",
            )?;
        }
        Told::Accepted => fair(
            call.failure_reason != Some(Why::NotQueued),
            "its client was told that it is queued",
        )?,
        Told::Nothing | Told::Unknown => {}
    }
    ending_fits(call, truth, disturbed)?;
    fair(
        truth.plan.asked == Asked::Rightly || truth.invites == 0,
        "nobody may be called for it",
    )?;
    // Nothing is given up without a reason.
    match call.failure_reason {
        Some(Why::Expired) => fair(
            call.ended_at
                .is_some_and(|at| at > call.request.dial_before),
            "it was given up before its time",
        )?,
        Some(why @ (Why::OutcomeUnknown | Why::AsteriskRestarted | Why::BridgeLost)) => {
            fair(
                disturbed || truth.unheard.is_some(),
                "nothing kept its outcome from being known",
            )?;
            fair(
                why != Why::BridgeLost || call.ended_at >= call.deadline,
                "it was given up before its deadline",
            )?;
        }
        _ => {}
    }
    fair(
        call.answered_at.is_none() || call.status == Completed,
        "it was answered and not completed",
    )?;
    fair(
        call.failure_reason != Some(Why::EndNotSeen) || call.ended_at <= call.latest_end(),
        "an end that nobody saw is dated after its limit",
    )?;
    // Some bridge always comes back in time.
    fair(
        truth.told != Told::Accepted
            || call.failure_reason != Some(Why::Expired)
            || !truth.plan.is_patient(),
        "it was accepted and never dialled",
    )?;
    if disturbed {
        return Ok(());
    }
    undisturbed(call, truth, over_at)
}

/// Whether its callee, or what happened, can have ended a call so.
fn ending_fits(call: &Call, truth: &Truth, disturbed: bool) -> Result<(), String> {
    use CallStatus::{Busy, Canceled, Completed, Failed, NoAnswer};
    use FailureReason as Why;

    let cause = truth.ended.map(|(cause, _)| cause);
    match (call.status, call.failure_reason) {
        (Completed, _) => fair(truth.answered, "nobody answered")?,
        (Busy, _) => fair(
            cause == Some(HangupCause::UserBusy)
                || matches!(truth.plan.callee, Callee::BusyBehindLocal { .. }),
            "it was not busy",
        )?,
        (NoAnswer, _) => fair(truth.alerted && !truth.answered, "it did not ring in vain")?,
        (Canceled, _) => fair(
            truth.end_asked.is_some() && (!truth.answered || disturbed),
            "its client did not end it unanswered",
        )?,
        (Failed, Some(Why::Expired | Why::NotQueued)) => fair(truth.invites == 0, "it rang")?,
        (Failed, Some(Why::EndpointUnavailable)) => fair(
            truth.invites == 0 && truth.plan.callee == Callee::NoEndpoint,
            "its endpoint is there",
        )?,
        (Failed, Some(Why::ContextMissing)) => fair(
            truth.invites == 0 && !truth.plan.target_exists && truth.plan.plays.is_empty(),
            "its target is there, or it rang",
        )?,
        (Failed, Some(Why::VariableForbidden)) => fair(
            truth.plan.asked == Asked::WithForbiddenVariable,
            "its variables are allowed",
        )?,
        (Failed, Some(Why::MessageMismatch)) => fair(
            truth.plan.asked == Asked::ByForgedMessage,
            "its message says what its record says",
        )?,
        (Failed, Some(Why::NotDialled)) => fair(
            truth.invites == 0 && (truth.undialled || disturbed),
            "it was dialled",
        )?,
        (Failed, Some(Why::DialRefused)) => {
            fair(false, "no Asterisk here refuses a channel that is there")?;
        }
        (
            Failed,
            Some(
                Why::OutcomeUnknown
                | Why::AsteriskRestarted
                | Why::BridgeLost
                | Why::DeadlineExceeded
                | Why::EndedUnanswered,
            ),
        ) => fair(disturbed || !truth.answered, "it was answered")?,
        (Failed, _) => fair(!truth.answered, "it was answered")?,
        (status, _) => return Err(format!("it is not over: {status}")),
    }
    Ok(())
}

/// Whether a call to which nothing happened ended as its callee stands for.
fn undisturbed(call: &Call, truth: &Truth, over_at: Instant) -> Result<(), String> {
    use CallStatus::{Busy, Completed, Failed, NoAnswer};
    use FailureReason as Why;

    fair(
        truth.paused_for.is_none_or(|paused| paused < SOON),
        "it was dialled while calls were paused",
    )?;

    let expected = match truth.plan.callee {
        _ if let Some(asked) = truth.end_asked => {
            let late = over_at.saturating_duration_since(asked + SOON);
            return fair(
                !truth.end_promised || late.is_zero(),
                &format!("its client's hangup came {late:?} too late"),
            );
        }
        _ if call.failure_reason == Some(Why::Expired) => return Ok(()),
        _ if truth.plan.asked == Asked::WithForbiddenVariable => {
            (Failed, Some(Why::VariableForbidden))
        }
        Callee::NoEndpoint => (Failed, Some(Why::EndpointUnavailable)),
        _ if !truth.plan.target_exists && truth.plan.plays.is_empty() => {
            (Failed, Some(Why::ContextMissing))
        }
        _ if truth.plan.asked == Asked::ByForgedMessage => (Failed, Some(Why::MessageMismatch)),
        _ if truth.undialled => (Failed, Some(Why::NotDialled)),
        _ if let Some(dialled) = truth.unheard => {
            let late = over_at.saturating_duration_since(dialled + 2 * SOON);
            fair(
                late.is_zero(),
                &format!("an unheard dial was ended {late:?} too late"),
            )?;
            (Failed, Some(Why::OutcomeUnknown))
        }
        // The callee may hang up before everything is heard.
        Callee::AnswersBriefly { .. } if !truth.plan.plays.is_empty() => {
            return fair(call.status == Completed, "it was to be completed");
        }
        Callee::TalksOn { .. }
        | Callee::Answers { .. }
        | Callee::AnswersBriefly { .. }
        | Callee::EarlyMedia { .. } => {
            let plays = |item: &Item| matches!(item, Item::Plays(_));
            let all = truth.plan.plays.iter().all(plays);
            (Completed, (!all).then_some(Why::MediaFailed))
        }
        Callee::Refuses {
            alert, code, cause, ..
        } => {
            let ending = Ending {
                cause: cause.into(),
                sip_code: SipCode::new(code).filter(|_| !truth.plan.is_local()),
            };
            let alert = Alert {
                alerted: alert != plan::Alert::None,
                rang: alert == plan::Alert::Rings,
            };
            endings::read(ending, alert)
        }
        Callee::BusyBehindLocal { .. } => (Busy, None),
        Callee::NeverAnswers | Callee::EarlyMediaOnly => (NoAnswer, None),
        Callee::Silent => (Failed, Some(Why::NoResponse)),
    };
    fair(
        (call.status, call.failure_reason) == expected,
        &format!("it was to be {expected:?}"),
    )?;
    if matches!(
        truth.plan.callee,
        Callee::Answers { .. } | Callee::EarlyMedia { .. } | Callee::TalksOn { .. }
    ) {
        let begun = if truth.plan.plays.is_empty() {
            truth.sent_on == 1
        } else {
            truth.plays.len() == truth.plan.plays.len()
        };
        fair(
            begun || truth.answered_at.is_none(),
            "an answered call did not go on once",
        )?;
    }
    Ok(())
}
