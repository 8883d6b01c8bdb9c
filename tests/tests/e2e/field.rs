//! How calls end behind real providers: every SIP code, media that is missing, places that do not exist.

use std::collections::BTreeMap;
use std::sync::Arc;

use e2e::world::number;
use e2e::{Line, Pbx, World};
use futures_util::stream::{self, StreamExt};
use serde_json::{Value, json};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add_scenario("field::every_sip_code_ends_a_call_as_the_table_says", codes);
    suite.add_scenario(
        "field::a_sound_that_is_missing_in_the_middle_is_told",
        missing_sound,
    );
    for (name, line) in [("a_trunk", Line::Trunk), ("a_local_channel", Line::Local)] {
        suite.add_scenario(
            &format!("field::over_{name}_nobody_is_rung_for_a_place_that_does_not_exist"),
            move |pbx| missing_place(pbx, line),
        );
    }
    suite.add_scenario(
        "field::a_busy_callee_behind_a_context_without_hangup_ends_the_call",
        without_hangup,
    );
    suite.add_scenario("field::a_silent_trunk_is_given_up_by_sip", silent_trunk);
    suite.add_scenario(
        "field::a_context_with_hangup_hands_the_cause_on",
        with_hangup,
    );
}

/// What was measured on a real Asterisk.
const MEASURED: &str = include_str!("../../asterisk/endings.tsv");

/// A row of what was measured.
struct Measured {
    /// How the callee refuses: `at_once`, `after_180`, `after_183` or `with_headers`.
    when: &'static str,
    code: u16,
    cause: u16,
}

impl Measured {
    /// The last digits of a number whose callee does this.
    fn digits(&self) -> String {
        let before = match self.when {
            "at_once" => "9",
            "after_183" => "8",
            "with_headers" => "7",
            _ => "",
        };
        format!("{before}{}", self.code)
    }
}

fn measured() -> Vec<Measured> {
    let mut lines = MEASURED.lines().filter(|line| !line.starts_with('#'));
    let names: Vec<_> = lines.next().expect("names").split('\t').collect();
    let rows = lines.map(|line| {
        let row: BTreeMap<_, _> = names.iter().copied().zip(line.split('\t')).collect();
        Measured {
            when: row["when"],
            code: row["sip_code"].parse().expect("a code"),
            cause: row["cause"].parse().expect("a cause"),
        }
    });
    rows.collect()
}

/// The status and the reason that a client is told.
fn expected(code: u16, rang: bool, alerted: bool) -> (&'static str, Option<&'static str>) {
    let reason = match code {
        486 | 600 => return ("busy", None),
        // After ringing or an announcement nobody answered in time.
        408 if alerted => return ("no_answer", None),
        480 if rang => return ("no_answer", None),
        408 => "no_response",
        480 | 430 => "unreachable",
        300..=399 => "redirected",
        404 | 410 | 484 | 485 | 604 => "unallocated_number",
        415 | 488 | 493 | 606 => "incompatible_media",
        433 | 470 | 603 => "rejected",
        607 => "unwanted",
        608 => "blocked",
        440 | 481 | 482 | 483 | 491 => "network_error",
        487 => "ended_unanswered",
        503 => "congestion",
        400..=499 => "refused_by_provider",
        500..=599 => "network_error",
        _ => "rejected",
    };
    ("failed", Some(reason))
}

async fn codes(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let rows = measured().into_iter();
    // The simulator's callees have no headers to try again with.
    let is_asterisk = matches!(&*pbx, Pbx::Asterisk(_));
    let rows: Vec<_> = rows
        .filter(|row| is_asterisk || row.when != "with_headers")
        .collect();
    assert!(rows.len() > 200, "{} rows", rows.len());
    let seen = stream::iter(rows)
        .map(|row| {
            let (api, pbx) = (api.clone(), Arc::clone(&pbx));
            async move {
                let to = number(&row.digits());
                let id = api.place(&to, json!({"timeout": 20_000})).await;
                let call = api.wait_until_over(&id).await;
                (row, call, pbx.invites_to(&to))
            }
        })
        .buffer_unordered(32)
        .collect::<Vec<_>>()
        .await;
    let mut wrong = Vec::new();
    for (row, call, invites) in seen {
        let rang = row.when == "after_180";
        let alerted = rang || row.when == "after_183";
        let (status, reason) = expected(row.code, rang, alerted);
        let should_be = json!({
            "status": status, "failure_reason": reason, "sip_code": row.code, "hangup_cause": row.cause,
            "rang": rang, "alerted": alerted, "answered": false, "invites": 1,
        });
        let is = json!({
            "status": call["status"], "failure_reason": call["failure_reason"],
            "sip_code": call["sip_code"], "hangup_cause": call["hangup_cause"],
            "rang": !call["ringing_at"].is_null(), "alerted": !call["alerted_at"].is_null(),
            "answered": !call["answered_at"].is_null(), "invites": invites,
        });
        if is != should_be {
            wrong.push(format!("{} {}: {is}, not {should_be}", row.code, row.when));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}

/// Whether the whole list was heard is what counts, not its last item.
async fn missing_sound(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    for media in [
        ["sound:no-such-sound", "sound:hello-world"],
        ["sound:hello-world", "sound:no-such-sound"],
    ] {
        let id = api.place(&number("200"), json!({"media": media})).await;
        let call = api.wait_until_over(&id).await;
        assert_eq!(
            (call["status"].as_str(), call["failure_reason"].as_str()),
            (Some("completed"), Some("media_failed")),
            "{media:?}: {call}"
        );
    }
    let whole = json!({"media": ["sound:hello-world", "sound:beep"]});
    let id = api.place(&number("200"), whole).await;
    let call = api.wait_until_over(&id).await;
    assert_eq!(call["failure_reason"], Value::Null, "{call}");
}

async fn missing_place(pbx: Arc<Pbx>, line: Line) {
    let world = World::start(&pbx).await;
    let api = world.api(line).await;
    for place in [
        json!({"context": "nowhere"}),
        json!({"extension": "missing"}),
        json!({"priority": 17}),
    ] {
        let to = number("200");
        let id = api.place(&to, place.clone()).await;
        let call = api.wait_until_over(&id).await;
        assert_eq!(
            (call["status"].as_str(), call["failure_reason"].as_str()),
            (Some("failed"), Some("context_missing")),
            "{place}: {call}"
        );
        for at in ["ringing_at", "answered_at"] {
            assert!(call[at].is_null(), "{place}: {call}");
        }
        assert_eq!(pbx.invites_to(&to), 0, "{place}");
        assert_eq!(pbx.channels_among(&[id]).await, Vec::<String>::new());
    }
}

/// SIP gives an INVITE up after 32 s that nothing answers (timer B of RFC 3261), before the call's own time is up.
/// That looks like a callee's 408.
async fn silent_trunk(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Down).await;
    let body = json!({"timeout": 60_000});
    let id = api.place(&number("200"), body).await;
    let call = api.wait_until_over(&id).await;
    assert_eq!(
        (call["status"].as_str(), call["failure_reason"].as_str()),
        (Some("failed"), Some("no_response")),
        "{call}"
    );
    let ending = (call["hangup_cause"].as_u64(), call["sip_code"].as_u64());
    assert_eq!(ending, (Some(18), Some(408)), "{call}");
    assert!(call["alerted_at"].is_null(), "{call}");
    assert_eq!(pbx.channels_among(&[id]).await, Vec::<String>::new());
}

/// A `Local` line whose context plays a part: how calls to these callees end.
async fn behind_local(pbx: &Arc<Pbx>, context: &str, cases: &[(&str, &str, Option<&str>)]) {
    let world = World::start(pbx).await;
    let api = world.api(Line::Local).await;
    for (digits, status, reason) in cases {
        let to = number(digits);
        // Asterisk would play a tone of its own for ten seconds, so the timeout would be first.
        let body = json!({"context": context, "timeout": 4_000});
        let id = api.place(&to, body).await;
        let call = api.wait_until_over(&id).await;
        assert_eq!(
            (call["status"].as_str(), call["failure_reason"].as_str()),
            (Some(*status), *reason),
            "{digits}: {call}"
        );
        if let Pbx::Asterisk(_) = &**pbx {
            assert_eq!(pbx.invites_to(&to), 1, "{digits}");
        }
        assert_eq!(pbx.channels_among(&[id]).await, Vec::<String>::new());
    }
}

async fn without_hangup(pbx: Arc<Pbx>) {
    let cases = [
        ("9486", "busy", None),
        ("486", "busy", None),
        ("9403", "failed", Some("congestion")),
        ("9607", "failed", Some("congestion")),
        ("200", "completed", None),
    ];
    behind_local(&pbx, "nohangup", &cases).await;
}

async fn with_hangup(pbx: Arc<Pbx>) {
    let cases = [
        ("9486", "busy", None),
        ("486", "busy", None),
        ("9603", "failed", Some("rejected")),
        ("9404", "failed", Some("unallocated_number")),
        ("9503", "failed", Some("congestion")),
        ("480", "no_answer", None),
        ("200", "completed", None),
    ];
    behind_local(&pbx, "hangup", &cases).await;
}
