//! What operators do to an Asterisk that has calls: restarts, reloads, trunks that come and go, and what runs out.
//!
//! Each act has an Asterisk of its own. `E2E_ACTS` calls are up when it begins, and as many are asked for while
//! it goes on. No call may be lost, nobody called twice, and no record wrong, by the callee's own log.

use std::sync::Arc;
use std::time::Duration;

use e2e::asterisk::Own;
use e2e::callees::MIX;
use e2e::ports::{free_udp_range, hold_udp};
use e2e::world::number;
use e2e::{Client, Line, Pbx, World};
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

pub fn add(suite: &mut Suite) {
    suite.add_own("operators::core_restart_gracefully", restart_gracefully);
    suite.add_own(
        "operators::core_restart_when_convenient",
        restart_when_convenient,
    );
    suite.add_own("operators::core_restart_now", restart_now);
    suite.add_own(
        "operators::core_stop_gracefully_and_an_abort",
        stop_and_abort,
    );
    for (name, command) in [
        ("res_pjsip", "module reload res_pjsip.so"),
        ("res_ari", "module reload res_ari.so"),
        ("http", "module reload http"),
        ("the_dialplan", "dialplan reload"),
        ("all_modules", "module reload"),
    ] {
        suite.add_own(&format!("operators::reload_of_{name}"), move |_| {
            reload(command)
        });
    }
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
    suite.add_own("operators::maxcalls_is_reached", maxcalls);
    suite.add_own("operators::asterisk_is_still_booting", booting);
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

/// An Asterisk with calls.
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
    async fn start(line: Line, own: &Own) -> Self {
        let pbx = Pbx::own_asterisk(own).await;
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
    async fn with_live_calls(line: Line) -> Self {
        Self::with_live_calls_on(line, &Own::default()).await
    }

    async fn with_live_calls_on(line: Line, own: &Own) -> Self {
        let mut site = Self::start(line, own).await;
        let kinds = [
            ("000", "canceled", "ringing_at"),
            ("200", "completed", "answered_at"),
        ];
        let kinds = kinds.into_iter().cycle().take(calls());
        let body = json!({"timeout": 600_000, "context": "hold"});
        for (digits, status, at) in kinds {
            let placed = place(&site.api, digits, status, body.clone()).await;
            site.live.push(placed.clone());
            // The last of the kind, so that placing waits for no phone.
            if site.live.len() + 2 > calls() {
                let reached = |call: &Value| !call[at].is_null();
                site.api.wait_until(&placed.id, reached).await;
            }
        }
        for placed in &site.live {
            let wanted = if placed.status == "canceled" {
                "ringing"
            } else {
                "answered"
            };
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

    async fn cli(&self, command: &str) -> String {
        self.pbx.asterisk().instance().cli(command).await
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
            let wanted = if placed.status == "canceled" {
                "ringing"
            } else {
                "answered"
            };
            assert_eq!(call["status"], wanted, "{call}");
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
        let (mut lost, mut twice, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
        for (placed, call) in &ended {
            let rung = invites.get(&placed.to).copied().unwrap_or(0);
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
    // Asterisk hangs up as it ends, and says no more.
    if may_be_ended && status == "failed" && reason == Some("ended_unanswered") {
        return Judgement::Right;
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
    assert!(in_time.is_ok(), "no call waits for {reason}");
}

/// Nobody is called, and no call has failed.
async fn all_wait(site: &Site) {
    for placed in &site.meanwhile {
        let call = site.api.status(&placed.id).await;
        assert_eq!(call["status"], "pending", "{call}");
        assert_eq!(site.pbx.invites_to(&placed.to), 0, "{call}");
    }
}

/// Waits until Asterisk was started anew.
async fn has_restarted(pbx: &Pbx, before: &Value) {
    let restarted = async {
        loop {
            let now = started_at(pbx).await;
            if now.is_some_and(|now| now != *before) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_mins(1), restarted).await;
    assert!(in_time.is_ok(), "Asterisk did not restart");
}

async fn started_at(pbx: &Pbx) -> Option<Value> {
    let info = pbx.get("asterisk/info").await?;
    Some(info["status"]["startup_time"].clone())
}

async fn restart_gracefully(_: Arc<Pbx>) {
    let mut site = Site::with_live_calls(Line::Trunk).await;
    let before = started_at(&site.pbx).await.expect("a start");
    site.cli("core restart gracefully").await;
    site.ask().await;
    some_wait_for(&site.api, &site.meanwhile, "asterisk_refuses").await;
    all_wait(&site).await;
    site.are_untouched().await;
    site.hang_up().await;
    // More come while it restarts.
    let ((), more) = tokio::join!(has_restarted(&site.pbx, &before), ask(&site.api, calls()));
    site.meanwhile.extend(more);
    site.verdict().await;
}

async fn restart_when_convenient(_: Arc<Pbx>) {
    let mut site = Site::with_live_calls(Line::Trunk).await;
    let before = started_at(&site.pbx).await.expect("a start");
    site.cli("core restart when convenient").await;
    // Calls go on being made until there is none.
    site.ask().await;
    site.are_untouched().await;
    site.hang_up().await;
    has_restarted(&site.pbx, &before).await;
    site.ask().await;
    site.verdict().await;
}

async fn restart_now(_: Arc<Pbx>) {
    let mut site = Site::with_live_calls(Line::Trunk).await;
    let before = started_at(&site.pbx).await.expect("a start");
    let (api, many) = (site.api.clone(), calls());
    let (more, ()) = tokio::join!(ask(&api, many), async {
        site.cli("core restart now").await;
        has_restarted(&site.pbx, &before).await;
    });
    site.meanwhile.extend(more);
    for placed in site.live.iter_mut().chain(&mut site.meanwhile) {
        placed.harm = Harm::Ended;
    }
    // What is asked for now is none of the restart's business.
    site.ask().await;
    site.hang_up().await;
    site.verdict().await;
}

async fn stop_and_abort(_: Arc<Pbx>) {
    let mut site = Site::with_live_calls(Line::Trunk).await;
    site.cli("core stop gracefully").await;
    site.ask().await;
    some_wait_for(&site.api, &site.meanwhile, "asterisk_refuses").await;
    all_wait(&site).await;
    site.cli("core abort shutdown").await;
    site.ask().await;
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

async fn reload(command: &'static str) {
    let mut site = Site::with_live_calls(Line::Trunk).await;
    for _ in 0..3 {
        site.cli(command).await;
        site.ask().await;
    }
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

/// What a half-finished edit of the configuration does: the trunk is not there, and then it is.
async fn trunk_removed(_: Arc<Pbx>) {
    let mut site = Site::with_live_calls(Line::Trunk).await;
    let instance = site.pbx.asterisk().instance();
    let mut whole = String::new();
    instance.configure("pjsip.conf", |text| {
        whole.clone_from(&text);
        text.replace("[trunk]", "[elsewhere]")
            .replace("aors = trunk", "aors = elsewhere")
    });
    instance.cli("module reload res_pjsip.so").await;
    let placed = ask(&site.api, calls()).await;
    some_wait_for(&site.api, &placed, "trunk_unavailable").await;
    instance.configure("pjsip.conf", |_| whole);
    instance.cli("module reload res_pjsip.so").await;
    site.meanwhile.extend(placed);
    site.ask().await;
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

async fn provider_silent(_: Arc<Pbx>) {
    let mut site = Site::with_live_calls(Line::Qualified).await;
    let provider = site.pbx.asterisk().provider();
    provider.set_silent(true);
    trunk_is(&site.pbx, "offline").await;
    let placed = ask(&site.api, calls()).await;
    some_wait_for(&site.api, &placed, "trunk_unavailable").await;
    tokio::time::sleep(OUT_OF_ORDER_FOR).await;
    provider.set_silent(false);
    site.meanwhile.extend(placed);
    site.ask().await;
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

/// Waits until Asterisk takes the qualified trunk to be so.
async fn trunk_is(pbx: &Pbx, state: &str) {
    let reached = async {
        loop {
            let trunk = pbx.get("endpoints/PJSIP/qualified").await;
            if trunk.is_some_and(|trunk| trunk["state"] == state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(30), reached).await;
    assert!(in_time.is_ok(), "the trunk is not {state}");
}

/// What SIP sends while the provider is silent it sends again later: up to 4 s later at a time.
const PATIENT: u32 = 20_000;

async fn trunk_flaps(_: Arc<Pbx>) {
    let mut site = Site::with_live_calls(Line::Qualified).await;
    let provider = site.pbx.asterisk().provider();
    let mut placed = Vec::new();
    for _ in 0..4 {
        // Calls are asked for when the trunk is known to be away, when it is there, and when it goes.
        for (silent, state) in [(true, "offline"), (false, "online")] {
            provider.set_silent(silent);
            placed.extend(ask_within(&site.api, calls().div_ceil(16), PATIENT).await);
            trunk_is(&site.pbx, state).await;
            placed.extend(ask_within(&site.api, calls().div_ceil(16), PATIENT).await);
        }
    }
    site.meanwhile.extend(placed);
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

async fn descriptors(_: Arc<Pbx>) {
    let mut site = Site::with_live_calls(Line::Trunk).await;
    let instance = site.pbx.asterisk().instance();
    instance.limit_descriptors(Some(0));
    let placed = ask(&site.api, calls()).await;
    tokio::time::sleep(OUT_OF_ORDER_FOR).await;
    instance.limit_descriptors(None);
    site.meanwhile.extend(placed);
    site.ask().await;
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

/// Asterisk takes dials then, and dials nobody.
async fn rtp_ports(_: Arc<Pbx>) {
    // Each call takes a port for audio and one for its control.
    let many = u16::try_from(calls() * 8).expect("not too many calls");
    let ports = free_udp_range(many);
    let own = Own {
        rtp_ports: Some(ports.clone()),
        ..Own::default()
    };
    let mut site = Site::with_live_calls_on(Line::Trunk, &own).await;
    let held = hold_udp(ports);
    assert!(!held.is_empty());
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
    drop(held);
    site.ask().await;
    site.are_untouched().await;
    site.hang_up().await;
    site.verdict().await;
}

/// Asterisk then ends calls when they enter the dialplan: they were answered, and are over at once.
async fn maxcalls(_: Arc<Pbx>) {
    let own = Own {
        added: vec![("asterisk.conf", "maxcalls = 3\n")],
        ..Own::default()
    };
    let mut site = Site::start(Line::Trunk, &own).await;
    for _ in 0..calls() {
        let body = json!({"context": "hold", "max_duration": 10});
        site.meanwhile
            .push(place(&site.api, "200", "completed", body).await);
    }
    site.verdict().await;
}

async fn booting(_: Arc<Pbx>) {
    let mut site = Site::start(Line::Trunk, &Own::default()).await;
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
