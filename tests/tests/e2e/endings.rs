//! Every way in which a call ends, from the HTTP API down to the phone and back.

use std::sync::Arc;

use e2e::world::number;
use e2e::{Line, Pbx, World};
use serde_json::{Value, json};

use crate::Suite;

#[derive(Clone, Copy)]
struct Ending {
    name: &'static str,
    line: Line,
    digits: &'static str,
    context: &'static str,
    /// How long it may ring, in milliseconds.
    timeout: u32,
    /// The client hangs up while it rings.
    hangs_up: bool,
    rang: bool,
    answered: bool,
    status: &'static str,
    reason: Option<&'static str>,
    cause: Option<u16>,
    sip_code: Option<u16>,
}

/// A SIP call that rings and is refused; the others differ from it.
const SIP: Ending = Ending {
    name: "",
    line: Line::Trunk,
    digits: "",
    context: "outbound-ivr",
    timeout: 20_000,
    hangs_up: false,
    rang: true,
    answered: false,
    status: "failed",
    reason: None,
    cause: None,
    sip_code: None,
};

const LOCAL: Ending = Ending {
    line: Line::Local,
    ..SIP
};

#[rustfmt::skip]
const ENDINGS: [Ending; 23] = [
    Ending { name: "sip-answered", digits: "200", answered: true, status: "completed", cause: Some(16), ..SIP },
    Ending { name: "sip-callee-hangs-up", digits: "201", rang: false, answered: true, status: "completed", cause: Some(16), ..SIP },
    Ending { name: "sip-early-media", digits: "183", rang: false, answered: true, status: "completed", cause: Some(16), ..SIP },
    Ending { name: "sip-busy", digits: "486", status: "busy", cause: Some(17), sip_code: Some(486), ..SIP },
    Ending { name: "sip-no-answer", digits: "000", timeout: 2_000, status: "no_answer", cause: Some(19), ..SIP },
    Ending { name: "sip-unavailable", digits: "480", status: "no_answer", cause: Some(19), sip_code: Some(480), ..SIP },
    Ending { name: "sip-timeout", digits: "408", status: "no_answer", cause: Some(18), sip_code: Some(408), ..SIP },
    Ending { name: "sip-declined", digits: "603", reason: Some("rejected"), cause: Some(21), sip_code: Some(603), ..SIP },
    Ending { name: "sip-unknown-number", digits: "404", reason: Some("unallocated_number"), cause: Some(1), sip_code: Some(404), ..SIP },
    Ending { name: "sip-server-error", digits: "500", reason: Some("network_error"), cause: Some(38), sip_code: Some(500), ..SIP },
    Ending { name: "sip-service-unavailable", digits: "503", reason: Some("congestion"), cause: Some(34), sip_code: Some(503), ..SIP },
    Ending { name: "sip-trunk-down", line: Line::Down, digits: "200", timeout: 3_000, rang: false, reason: Some("no_response"), cause: Some(19), ..SIP },
    Ending { name: "sip-cancelled-while-ringing", digits: "000", hangs_up: true, status: "canceled", cause: Some(16), ..SIP },
    Ending { name: "endpoint-missing", line: Line::Missing, digits: "200", rang: false, reason: Some("endpoint_unavailable"), ..SIP },
    Ending { name: "local-answered", digits: "200", answered: true, status: "completed", cause: Some(16), ..LOCAL },
    Ending { name: "local-early-media", digits: "183", rang: false, answered: true, status: "completed", cause: Some(16), ..LOCAL },
    Ending { name: "local-busy", digits: "486", status: "busy", cause: Some(17), ..LOCAL },
    Ending { name: "local-no-answer", digits: "000", timeout: 2_000, status: "no_answer", cause: Some(19), ..LOCAL },
    Ending { name: "local-declined", digits: "603", reason: Some("rejected"), cause: Some(21), ..LOCAL },
    Ending { name: "local-congestion", digits: "503", rang: false, reason: Some("congestion"), cause: Some(34), ..LOCAL },
    Ending { name: "local-unallocated", digits: "404", rang: false, reason: Some("unallocated_number"), cause: Some(1), ..LOCAL },
    Ending { name: "local-no-such-extension", digits: "200", context: "nowhere", rang: false, reason: Some("context_missing"), ..LOCAL },
    Ending { name: "local-cancelled-while-ringing", digits: "000", hangs_up: true, status: "canceled", cause: Some(16), ..LOCAL },
];

pub fn add(suite: &mut Suite) {
    for ending in ENDINGS {
        suite.add_scenario(&format!("ending::{}", ending.name), move |pbx| {
            ends(pbx, ending)
        });
    }
    suite.add_scenario("the_callee_sees_the_caller_id", caller_id_is_shown);
}

async fn ends(pbx: Arc<Pbx>, ending: Ending) {
    let world = World::start(&pbx).await;
    let api = world.api(ending.line).await;
    let to = number(ending.digits);
    let id = api
        .place(
            &to,
            json!({"timeout": ending.timeout, "context": ending.context}),
        )
        .await;
    if ending.hangs_up {
        api.wait_until(&id, |call| call["status"] == "ringing")
            .await;
        assert!(world.bridge().hang_up(id.parse().unwrap()));
    }
    let call = api.wait_until_over(&id).await;

    let seen = json!({
        "status": call["status"], "failure_reason": call["failure_reason"],
        "hangup_cause": call["hangup_cause"], "sip_code": call["sip_code"],
        "rang": !call["ringing_at"].is_null(), "answered": !call["answered_at"].is_null(),
        "has_duration": !call["duration"].is_null(), "is_active": call["is_active"],
    });
    let expected = json!({
        "status": ending.status, "failure_reason": ending.reason,
        "hangup_cause": ending.cause, "sip_code": ending.sip_code,
        "rang": ending.rang, "answered": ending.answered,
        "has_duration": ending.answered, "is_active": false,
    });
    assert_eq!(seen, expected, "{call}");
    let times = [
        "created_at",
        "dialed_at",
        "ringing_at",
        "answered_at",
        "ended_at",
    ];
    let times: Vec<_> = times
        .iter()
        .filter_map(|name| call[name].as_str())
        .collect();
    assert!(times.is_sorted(), "{call}");
    let undialled = matches!(
        ending.reason,
        Some("endpoint_unavailable" | "context_missing")
    );
    assert_eq!(call["dialed_at"].is_null(), undialled, "{call}");

    let invites = usize::from(ending.line == Line::Trunk);
    assert_eq!(pbx.invites_to(&to), invites, "phones that rang");
    assert_eq!(pbx.channels_among(&[id]).await, Vec::<String>::new());
}

async fn caller_id_is_shown(pbx: Arc<Pbx>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    for (asked, recorded, shown) in [
        (
            "\"Acme Ltd\" <+15559876543>",
            "\"Acme Ltd\" <+15559876543>",
            "\"Acme Ltd\" <sip:+15559876543@",
        ),
        // Taken for a name, it would make an anonymous call.
        ("+1 (555) 987-6543", "+15559876543", "<sip:+15559876543@"),
    ] {
        let to = number("486");
        let id = api.place(&to, json!({"caller_id": asked})).await;
        let call = api.wait_until_over(&id).await;
        assert_eq!(call["caller_id"], Value::from(recorded));
        if let Pbx::Asterisk(asterisk) = &*pbx {
            let invites = asterisk.invites();
            let mut of_call = invites.iter().filter(|invite| invite.to == to);
            let invite = of_call.next().expect("an INVITE");
            assert!(invite.from.contains(shown), "{invite:?}");
        }
    }
}
