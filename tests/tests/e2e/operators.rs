//! What operators do to an Asterisk that has calls: restarts, reloads, trunks that come and go, and what runs out.
//!
//! Each act has an Asterisk of its own. `E2E_ACTS` calls are up when it begins, and as many are asked for while
//! it goes on. No call may be lost, nobody called twice, and no record wrong, by the callee's own log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::asterisk::Extras;
use e2e::callees::MIX;
use e2e::ports::lasting_udp_range;
use e2e::world::number;
use e2e::{Client, Line, Own, Pbx, World};
use futures_util::stream::{self, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};

use crate::Suite;

/// Calls that are up, and calls that are asked for meanwhile, unless `E2E_ACTS` says otherwise.
const CALLS: usize = 20;
/// How long each of the calls may take to end after the act. A message that was given back may come late.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long things are out of order.
const OUT_OF_ORDER_FOR: Duration = Duration::from_secs(8);
/// How long a trunk is missing from the configuration.
const REMOVED_FOR: Duration = Duration::from_secs(1);
/// How long a restart may take.
const RESTARTS_WITHIN: Duration = Duration::from_mins(3);

pub fn add(suite: &mut Suite) {
    suite.add_own("operators::core_restart_gracefully", restart_gracefully);
    suite.add_own("operators::core_restart_now", restart_now);
    suite.add_own(
        "operators::core_stop_gracefully_and_an_abort",
        stop_and_abort,
    );
    suite.add_own(
        "operators::a_reload_takes_the_trunk_away_for_a_while",
        trunk_removed,
    );
    suite.add_own(
        "operators::the_provider_is_silent_for_a_while",
        provider_silent,
    );
    suite.add_own("operators::the_trunk_flaps", trunk_flaps);
    suite.add_own("operators::descriptors_run_out", descriptors);
    suite.add_own("operators::rtp_ports_run_out", rtp_ports);
    suite.add_asterisk("operators::core_restart_when_convenient", |_| {
        when_convenient()
    });
    suite.add_asterisk("operators::maxcalls_is_reached", |_| maxcalls());
    suite.add_asterisk("operators::asterisk_is_still_booting", |_| booting());
    for (name, command) in [
        ("res_pjsip", "module reload res_pjsip.so"),
        ("res_ari", "module reload res_ari.so"),
        ("http", "module reload http"),
        ("the_dialplan", "dialplan reload"),
        ("all_modules", "module reload"),
    ] {
        suite.add_asterisk(&format!("operators::reload_of_{name}"), move |_| {
            reload(command)
        });
    }
}

fn calls() -> usize {
    let acts = std::env::var("E2E_ACTS").ok();
    acts.and_then(|acts| acts.parse().ok()).unwrap_or(CALLS)
}

/// What may become of a call because of the act.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// Nothing: it ends as its callee does.
    None,
    /// It may be taken for a dial, and not dialled.
    NotDialled,
    /// Its provider may not be heard, so that it ends as if nobody had been there.
    Unheard,
    /// Asterisk was ended under it. A call that was claimed may be over with a reason that says so.
    Ended,
}

/// A call that was asked for.
#[derive(Clone)]
struct Placed {
    id: String,
    to: String,
    /// The status that its callee gives.
    status: &'static str,
    harm: Harm,
}

impl Placed {
    /// The status of a call that stays until it is hung up.
    fn while_it_lasts(&self) -> &'static str {
        if self.status == "canceled" {
            "ringing"
        } else {
            "answered"
        }
    }
}

/// A PBX with calls.
struct Site {
    pbx: Arc<Pbx>,
    world: World,
    api: Client,
    /// Those that stay until they are hung up.
    live: Vec<Placed>,
    /// Those that were asked for while the act went on.
    meanwhile: Vec<Placed>,
}

impl Site {
    async fn start(own: Own, line: Line) -> Self {
        let pbx = own.start().await;
        let world = World::start(&pbx).await;
        let api = world.api(line).await;
        Self {
            pbx,
            world,
            api,
            live: Vec::new(),
            meanwhile: Vec::new(),
        }
    }

    /// The same with calls that ring, and calls that were answered, until they are hung up.
    async fn with_live_calls(own: Own, line: Line) -> Self {
        let mut site = Self::start(own, line).await;
        let kinds = [("000", "canceled"), ("200", "completed")];
        let kinds = kinds.into_iter().cycle().take(calls());
        let context = site.pbx.lasting_context();
        let body = json!({"timeout": 600_000, "context": context});
        for (digits, status) in kinds {
            let placed = place(&site.api, digits, status, body.clone()).await;
            site.live.push(placed);
        }
        for placed in &site.live {
            let wanted = placed.while_it_lasts();
            let reached = |call: &Value| call["status"] == wanted;
            site.api.wait_until(&placed.id, reached).await;
        }
        site
    }

    /// Asks for calls of every kind, one after the other.
    async fn ask(&mut self) {
        let placed = ask(&self.api, calls()).await;
        self.meanwhile.extend(placed);
    }

    /// Hangs up what is live, as clients do.
    async fn hang_up(&self) {
        for placed in &self.live {
            let path = format!("/api/v2/calls/{}/hangup", placed.id);
            let response = self.api.request(Method::POST, &path).send().await;
            let status = response.expect("an answer").status();
            // What the act has ended is over already.
            assert!(
                status == 202 || placed.harm == Harm::Ended && status == 409,
                "{status}"
            );
        }
    }

    /// The calls that were up are as they were.
    async fn are_untouched(&self) {
        for placed in &self.live {
            let call = self.api.status(&placed.id).await;
            assert_eq!(call["status"], placed.while_it_lasts(), "{call}");
        }
        let ids: Vec<_> = self.live.iter().map(|placed| placed.id.clone()).collect();
        let there = self.pbx.channels_among(&ids).await;
        assert_eq!(there.len(), ids.len(), "channels");
    }

    /// Waits for the end of all calls, and holds each record against the callee's log.
    async fn verdict(&self) {
        let all: Vec<_> = self.live.iter().chain(&self.meanwhile).cloned().collect();
        let ended: Vec<_> = stream::iter(all)
            .map(|placed| {
                let api = self.api.clone();
                async move {
                    let call = api.wait_until_over_within(&placed.id, PATIENCE).await;
                    (placed, call)
                }
            })
            .buffered(32)
            .collect()
            .await;
        let invites = self.pbx.invites_by_number();
        let rung = |to: &str| match &*self.pbx {
            Pbx::Asterisk(_) => invites.get(to).copied().unwrap_or(0),
            Pbx::Simulator { .. } => self.pbx.invites_to(to),
        };
        let (mut lost, mut twice, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for (placed, call) in &ended {
            let rung = rung(&placed.to);
            match judge(placed, call, rung, &self.pbx) {
                Judgement::Right => {}
                Judgement::Lost => lost.push(format!("rung {rung} times: {call}")),
                Judgement::Twice => twice.push(format!("rung {rung} times: {call}")),
                Judgement::Wrong(why) => wrong.push(format!("{why}, rung {rung} times: {call}")),
            }
        }
        println!(
            "{} calls: lost {}, called twice {}, wrong records {}",
            ended.len(),
            lost.len(),
            twice.len(),
            wrong.len()
        );
        let all = [
            ("lost", &lost),
            ("called twice", &twice),
            ("wrong records", &wrong),
        ];
        for (what, which) in all {
            let some: Vec<_> = which.iter().take(5).map(String::as_str).collect();
            assert!(
                which.is_empty(),
                "{what}: {}\n{}",
                which.len(),
                some.join("\n")
            );
        }
        let ids: Vec<_> = ended.iter().map(|(placed, _)| placed.id.clone()).collect();
        assert_eq!(self.pbx.channels_among(&ids).await, Vec::<String>::new());
        assert!(self.world.bridge().is_up());
        assert_eq!(self.world.queued().await, 0, "messages");
    }
}

enum Judgement {
    Right,
    Lost,
    Twice,
    Wrong(&'static str),
}

/// Reasons that say that nobody was called, or that it cannot be told; right if Asterisk was ended after the claim.
const ENDED_UNDER: [&str; 3] = ["asterisk_restarted", "outcome_unknown", "not_dialled"];

fn judge(placed: &Placed, call: &Value, rung: usize, pbx: &Pbx) -> Judgement {
    let status = call["status"].as_str().unwrap_or_default();
    let reason = call["failure_reason"].as_str();
    if rung > 1 {
        return Judgement::Twice;
    }
    if placed.harm == Harm::Unheard
        && let Some(heard) = pbx.heard_from(&placed.to)
    {
        let heard: Vec<_> = heard.iter().map(String::as_str).collect();
        match (reason, heard.as_slice()) {
            // The 180 before it was lost.
            (Some("no_response"), []) | (Some("unreachable"), ["480"]) => return Judgement::Right,
            (Some("no_response"), _) => return Judgement::Wrong("its phone was heard"),
            _ => {}
        }
    }
    if placed.harm == Harm::NotDialled && reason == Some("not_dialled") {
        return match rung {
            0 => Judgement::Right,
            _ => Judgement::Wrong("it was dialled"),
        };
    }
    let may_be_ended = placed.harm == Harm::Ended;
    if may_be_ended && status == "failed" && reason.is_some_and(|it| ENDED_UNDER.contains(&it)) {
        if reason == Some("not_dialled") && rung > 0 {
            return Judgement::Wrong("it was dialled");
        }
        return Judgement::Right;
    }
    if rung == 0 {
        return Judgement::Lost;
    }
    let unseen = may_be_ended && status == "completed" && reason == Some("end_not_seen");
    if unseen {
        if !call["duration"].is_null() {
            return Judgement::Wrong("an end that was not seen has no duration");
        }
        return Judgement::Right;
    }
    // A restart sends a BYE to who was talking.
    let as_its_callee = status == placed.status || may_be_ended && status == "completed";
    if !as_its_callee {
        return Judgement::Wrong("it did not end as its callee does");
    }
    if status == "completed" && reason.is_some() {
        return Judgement::Wrong("it has a reason");
    }
    let talked = pbx.talk_with(&placed.to).and_then(|talk| talk.lasting());
    if let (Some(told), Some(talked)) = (call["duration"].as_u64(), talked) {
        let apart = u128::from(told * 1_000).abs_diff(talked.as_millis());
        if apart > 2_000 {
            return Judgement::Wrong("its duration is not the callee's");
        }
    }
    Judgement::Right
}

async fn place(api: &Client, digits: &str, status: &'static str, body: Value) -> Placed {
    let to = number(digits);
    let id = api.place(&to, body).await;
    Placed {
        id,
        to,
        status,
        harm: Harm::None,
    }
}

/// Calls to callees of every kind.
async fn ask(api: &Client, many: usize) -> Vec<Placed> {
    ask_within(api, many, 5_000).await
}

/// The same, whose phones may ring for so many milliseconds.
async fn ask_within(api: &Client, many: usize, timeout: u32) -> Vec<Placed> {
    let mut placed = Vec::new();
    for (digits, status) in MIX.into_iter().cycle().take(many) {
        let body = json!({"timeout": timeout});
        placed.push(place(api, digits, status, body).await);
    }
    placed
}

/// Waits until some call says that it waits for this reason.
async fn some_wait_for(api: &Client, placed: &[Placed], reason: &str) {
    let waiting = async {
        loop {
            for placed in placed {
                let call = api.status(&placed.id).await;
                if call["waiting_reason"] == reason {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), waiting).await;
    if in_time.is_err() {
        let first = api.status(&placed[0].id).await;
        panic!("no call waits for {reason}: {first}");
    }
}

/// Nobody is called, and no call has failed.
async fn all_wait(site: &Site) {
    for placed in &site.meanwhile {
        let call = site.api.status(&placed.id).await;
        assert_eq!(call["status"], "pending", "{call}");
        assert_eq!(site.pbx.invites_to(&placed.to), 0, "{call}");
    }
}

async fn restart_gracefully(own: Own) {
    let mut site = Site::with_live_calls(own, Line::Trunk).await;
    let before = site.pbx.started_at().await.expect("a start");
    site.pbx.begin_to_end("core restart gracefully").await;
    site.ask().await;
    some_wait_for(&site.api, &site.meanwhile, "asterisk_refuses").await;
    all_wait(&site).await;
    site.are_untouched().await;
    site.hang_up().await;
    // More come while it restarts.
    let restarted = tokio::time::timeout(RESTARTS_WITHIN, site.pbx.restarts(&before));
    let (restarted, more) = tokio::join!(restarted, ask(&site.api, calls()));
    assert!(restarted.is_ok(), "no restart: {}", site.pbx.log());
    site.meanwhile.extend(more);
    site.verdict().await;
}

async fn when_convenient() {
    let mut site = Site::with_live_calls(Own::Asterisk(Extras::default()), Line::Trunk).await;
    let before = site.pbx.started_at().await.expect("a start");
    site.pbx.cli("core restart when convenient").await;
    // Calls go on being made until there is none.
    site.ask().await;
    site.are_untouched().await;
    site.hang_up().await;
    let restarted = tokio::time::timeout(RESTARTS_WITHIN, site.pbx.restarts(&before));
    assert!(restarted.await.is_ok(), "no restart: {}", site.pbx.log());
    site.ask().await;
    site.verdict().await;
}

async fn restart_now(own: Own) {
    let mut site = Site::with_live_calls(own, Line::Trunk).await;
    let restarted = tokio::time::timeout(RESTARTS_WITHIN, site.pbx.restart_now());
    let (restarted, more) = tokio::join!(restarted, ask(&site.api, calls()));
    assert!(restarted.is_ok(), "no restart: {}", site.pbx.log());
    site.meanwhile.extend(more);
    for placed in site.live.iter_mut().chain(&mut site.meanwhile) {
        placed.harm = Harm::Ended;
    }
    // What is asked for now is none of the restart's business.
    site.ask().await;
    site.hang_up().await;
    site.verdict().await;
}

async fn stop_and_abort(own: Own) {
    let mut site = Site::with_live_calls(own, Line::Trunk).await;
    site.pbx.begin_to_end("core stop gracefully").await;
    site.ask().await;
    some_wait_for(&site.api, &site.meanwhile, "asterisk_refuses").await;
    all_wait(&site).await;
    site.pbx.abort_end().await;
    site.ask().await;
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

async fn reload(command: &'static str) {
    let mut site = Site::with_live_calls(Own::Asterisk(Extras::default()), Line::Trunk).await;
    for _ in 0..3 {
        site.pbx.cli(command).await;
        site.ask().await;
    }
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

/// What a half-finished edit of the configuration does: the trunk is not there, and a second later it is.
async fn trunk_removed(own: Own) {
    let mut site = Site::with_live_calls(own, Line::Trunk).await;
    site.pbx.remove_trunk(true).await;
    let removed = Instant::now();
    while removed.elapsed() < REMOVED_FOR {
        if site.meanwhile.len() < calls() {
            let asked = ask(&site.api, 1).await;
            site.meanwhile.extend(asked);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    all_wait(&site).await;
    site.pbx.remove_trunk(false).await;
    site.ask().await;
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

async fn provider_silent(own: Own) {
    let mut site = Site::with_live_calls(own, Line::Qualified).await;
    site.pbx.silence_provider(true).await;
    site.ask().await;
    some_wait_for(&site.api, &site.meanwhile, "trunk_unavailable").await;
    tokio::time::sleep(OUT_OF_ORDER_FOR).await;
    all_wait(&site).await;
    site.pbx.silence_provider(false).await;
    site.ask().await;
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

/// How many milliseconds phones may ring while the trunk flaps: what SIP sends while the provider is silent it
/// sends again, up to 4 s later at a time.
const PATIENT: u32 = 20_000;

async fn trunk_flaps(own: Own) {
    let mut site = Site::with_live_calls(own, Line::Qualified).await;
    let some = calls().div_ceil(16);
    for _ in 0..4 {
        // Calls are asked for when the trunk goes, when it is known to be away, when it comes, and when it is there.
        for silent in [true, false] {
            let changed = site.pbx.silence_provider(silent);
            let ((), asked) = tokio::join!(changed, ask_within(&site.api, some, PATIENT));
            site.meanwhile.extend(asked);
            let asked = ask_within(&site.api, some, PATIENT).await;
            site.meanwhile.extend(asked);
        }
    }
    for placed in &mut site.meanwhile {
        placed.harm = Harm::Unheard;
    }
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

async fn descriptors(own: Own) {
    let mut site = Site::with_live_calls(own, Line::Trunk).await;
    site.pbx.exhaust_descriptors(true);
    site.ask().await;
    tokio::time::sleep(OUT_OF_ORDER_FOR).await;
    all_wait(&site).await;
    site.pbx.exhaust_descriptors(false);
    site.ask().await;
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

/// Asterisk takes dials then, and dials nobody.
async fn rtp_ports(own: Own) {
    // Each call takes a port for audio and one for its control.
    let many = u16::try_from(calls() * 8).expect("not too many calls");
    let own = match own {
        Own::Asterisk(extras) => Own::Asterisk(Extras {
            rtp_ports: Some(lasting_udp_range(many)),
            ..extras
        }),
        Own::Simulator => Own::Simulator,
    };
    let mut site = Site::with_live_calls(own, Line::Trunk).await;
    let pbx = Arc::clone(&site.pbx);
    let exhausted = pbx.exhaust_rtp();
    site.ask().await;
    for placed in &mut site.meanwhile {
        placed.harm = Harm::NotDialled;
    }
    tokio::time::sleep(OUT_OF_ORDER_FOR).await;
    let mut not_dialled = 0;
    for placed in &site.meanwhile {
        let call = site.api.status(&placed.id).await;
        not_dialled += usize::from(call["failure_reason"] == "not_dialled");
    }
    assert!(not_dialled > 0, "no call says that it was not dialled");
    drop(exhausted);
    site.ask().await;
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

/// Asterisk then ends calls when they enter the dialplan: they were answered, and are over at once.
async fn maxcalls() {
    let own = Own::Asterisk(Extras {
        added: vec![("asterisk.conf", "maxcalls = 3\n")],
        ..Extras::default()
    });
    let mut site = Site::start(own, Line::Trunk).await;
    for _ in 0..calls() {
        let body = json!({"context": "hold", "max_duration": 10});
        let placed = place(&site.api, "200", "completed", body).await;
        site.meanwhile.push(placed);
    }
    site.verdict().await;
}

async fn booting() {
    let mut site = Site::start(Own::Asterisk(Extras::default()), Line::Trunk).await;
    for _ in 0..3 {
        site.pbx.asterisk().instance().kill();
        site.ask().await;
        site.pbx.asterisk().instance().start_again();
        site.ask().await;
        site.pbx.asterisk().wait_until_ready().await;
        site.world.bridge().wait_until_up().await;
    }
    // A call may have been claimed when Asterisk was killed.
    for placed in &mut site.meanwhile {
        placed.harm = Harm::Ended;
    }
    site.ask().await;
    site.verdict().await;
}
