//! Every SIP code with which a call can be refused, at once, after ringing and after an announcement.

use std::sync::Arc;

use domain::endings::{self, Alert, SIP_CODES};
use domain::{Ending, HangupCause, SipCode};
use e2e::world::number;
use e2e::{Line, Pbx, World};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add_scenario("codes::each_ends_as_the_table_says", each);
    suite.add_scenario("codes::what_a_person_has_to_read", read_rightly);
}

/// Codes that no RFC has defined, one of each class.
const UNKNOWN: [u16; 4] = [399, 499, 599, 699];

/// The digit before a code chooses what the callee does first.
const BEFORE: [(&str, Alert); 3] = [
    (
        "9",
        Alert {
            alerted: false,
            rang: false,
        },
    ),
    (
        "",
        Alert {
            alerted: true,
            rang: true,
        },
    ),
    (
        "8",
        Alert {
            alerted: true,
            rang: false,
        },
    ),
];

async fn each(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let codes = SIP_CODES.iter().map(|row| row.code).chain(UNKNOWN);
    let cases = codes.flat_map(|code| BEFORE.map(|(digit, alert)| (code, digit, alert)));
    let calls = cases.map(|(code, digit, alert)| {
        let (api, pbx) = (api.clone(), Arc::clone(&pbx));
        async move {
            let to = number(&format!("{digit}{code}"));
            let id = api.place(&to, json!({"timeout": 30_000})).await;
            let call = api.wait_until_over(&id).await;
            let ending = Ending {
                cause: HangupCause::Unknown,
                sip_code: SipCode::new(code),
            };
            let (status, reason) = endings::read(ending, alert);
            let seen = json!({
                "status": call["status"], "reason": call["failure_reason"], "code": call["sip_code"],
                "alerted": !call["alerted_at"].is_null(), "rang": !call["ringing_at"].is_null(),
            });
            let expected = json!({
                "status": status.as_str(), "reason": reason.map(domain::FailureReason::as_str), "code": code,
                "alerted": alert.alerted, "rang": alert.rang,
            });
            assert_eq!(seen, expected, "{to}: {call}");
            assert_eq!(pbx.invites_to(&to), 1, "{to}");
        }
    });
    let calls: Vec<_> = calls.collect();
    stream::iter(calls)
        .buffer_unordered(32)
        .collect::<()>()
        .await;
}

/// The same for the few that matter most, spelt out.
async fn read_rightly(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    for (digits, status, reason) in [
        ("9403", "failed", Some("refused_by_provider")),
        ("9480", "failed", Some("unreachable")),
        ("480", "no_answer", None),
        ("8480", "failed", Some("unreachable")),
        ("8408", "no_answer", None),
        ("607", "failed", Some("unwanted")),
        ("603", "failed", Some("rejected")),
        ("9302", "failed", Some("redirected")),
        ("9488", "failed", Some("incompatible_media")),
        ("9600", "busy", None),
    ] {
        let id = api.place(&number(digits), json!({})).await;
        let call: Value = api.wait_until_over(&id).await;
        assert_eq!(call["status"], status, "{digits}: {call}");
        assert_eq!(call["failure_reason"].as_str(), reason, "{digits}: {call}");
    }
}
