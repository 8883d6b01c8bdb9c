use super::*;
use crate::switch::{Dials, Refusal};

/// What is said of a call until its end, without the two signals of a ringing.
async fn ending(endpoint: &str) -> Vec<(u128, String)> {
    let mut desk = Desk::new();
    desk.call("c", endpoint, &[]).await;
    let dialled_at = desk.milliseconds();
    let seen = desk.until("Destroyed").await.into_iter();
    seen.filter(|(_, what)| what != "State Ringing")
        .map(|(at, what)| (at - dialled_at, what))
        .collect()
}

async fn assert_ends(endpoint: &str, expected: &[(u128, &str)]) {
    let expected: Vec<_> = expected
        .iter()
        .map(|(at, what)| (*at, (*what).to_owned()))
        .collect();
    assert_eq!(ending(endpoint).await, expected, "{endpoint}");
}

#[tokio::test(start_paused = true)]
async fn a_number_says_when_and_how_its_phone_refuses() {
    let rings = [
        (0, "Dial "),
        (0, "Dial RINGING"),
        (300, "HangupRequest 21 403"),
        (300, "StasisEnd"),
        (300, "Destroyed 21 403"),
    ];
    assert_ends("PJSIP/15550000403@trunk", &rings).await;
    let at_once = [
        (0, "Dial "),
        (0, "HangupRequest 127 607"),
        (0, "StasisEnd"),
        (0, "Destroyed 127 607"),
    ];
    assert_ends("PJSIP/15550009607@trunk", &at_once).await;
    let early_media = [
        (0, "Dial "),
        (0, "Dial PROGRESS"),
        (300, "HangupRequest 19 480"),
        (300, "StasisEnd"),
        (300, "Destroyed 19 480"),
    ];
    assert_ends("PJSIP/15550008480@trunk", &early_media).await;
    let redirects = [
        (0, "Dial "),
        (0, "Dial CANCEL"),
        (0, "Dial CANCEL"),
        (0, "Dial CANCEL"),
        (0, "HangupRequest 23 302"),
        (0, "StasisEnd"),
        (0, "Destroyed 23 302"),
    ];
    assert_ends("PJSIP/15550009302@trunk", &redirects).await;
    let moved = [
        (0, "Dial "),
        (0, "Dial RINGING"),
        (300, "Dial CANCEL"),
        (300, "Dial CANCEL"),
        (300, "HangupRequest 16 301"),
        (300, "StasisEnd"),
        (300, "Destroyed 16 301"),
    ];
    assert_ends("PJSIP/15550000301@trunk", &moved).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_trunk_is_given_up_after_32_seconds() {
    let expected = [
        (0, "Dial "),
        (32_000, "HangupRequest 18 408"),
        (32_000, "StasisEnd"),
        (32_000, "Destroyed 18 408"),
    ];
    assert_ends("PJSIP/15550000200@down", &expected).await;
}

#[tokio::test(start_paused = true)]
async fn a_context_without_hangup_ends_ten_seconds_after_its_callee() {
    let busy = [
        (0, "Dial "),
        (0, "Dial RINGING"),
        (300, "Dial BUSY"),
        (10_300, "HangupRequest 17 null"),
        (10_300, "StasisEnd"),
        (10_300, "Destroyed 17 null"),
    ];
    assert_ends("Local/15550000600@nohangup/n", &busy).await;
    let congestion = [
        (0, "Dial "),
        (0, "Dial CONGESTION"),
        (10_000, "HangupRequest 34 null"),
        (10_000, "StasisEnd"),
        (10_000, "Destroyed 34 null"),
    ];
    assert_ends("Local/15550009403@nohangup", &congestion).await;
    let unavailable = [
        (0, "Dial "),
        (0, "HangupRequest 19 null"),
        (0, "StasisEnd"),
        (0, "Destroyed 19 null"),
    ];
    assert_ends("Local/15550009480@nohangup", &unavailable).await;
}

#[tokio::test(start_paused = true)]
async fn reasons_of_a_hangup_become_causes() {
    for (reason, ringing, undialled) in [
        ("normal", "16 null", "16 603"),
        ("busy", "17 486", "17 486"),
        ("no_answer", "19 480", "19 480"),
        ("congestion", "34 503", "34 503"),
        ("answered_elsewhere", "26 null", "26 603"),
    ] {
        let mut desk = Desk::new();
        desk.call("c", RINGING, &[]).await;
        desk.until("State Ringing").await;
        desk.switch.hang_up("c", Some(reason)).unwrap();
        let seen = desk.said_until("Destroyed").await;
        assert_eq!(seen.last().unwrap(), &format!("Destroyed {ringing}"));
        desk.create("u", RINGING, &[]);
        desk.switch.hang_up("u", Some(reason)).unwrap();
        let seen = desk.said_until("Destroyed").await;
        let expected = [
            "StasisStart".to_owned(),
            "HangupRequest 32 null".to_owned(),
            "StasisEnd".to_owned(),
            format!("HangupRequest {undialled}"),
            format!("Destroyed {undialled}"),
        ];
        assert_eq!(seen, expected, "{reason}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_channel_has_nothing_of_one_that_had_its_id() {
    let mut desk = Desk::new();
    desk.create("c", TRUNK, &[]);
    desk.switch.hang_up("c", None).unwrap();
    desk.said_until("Destroyed").await;
    sleep(Duration::from_millis(1)).await;
    desk.create("c", TRUNK, &[]);
    // The first one's `StasisStart` would have come by now.
    sleep(Duration::from_millis(1)).await;
    let refused = desk.switch.dial("c", Duration::from_secs(1));
    assert_eq!(refused, Err(Refusal::NotInStasis));
    desk.until("StasisStart").await;
    assert_eq!(desk.milliseconds(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_restart_leaves_nothing_behind_that_ends_later_calls() {
    let mut desk = Desk::new();
    let limit = [("TIMEOUT(absolute)", "1")];
    desk.call("c", RINGING, &limit).await;
    desk.switch.restart().await;
    assert_eq!(desk.switch.show("c"), None);
    (desk.events, _) = desk.switch.connect(APP);
    desk.answered("c", TRUNK, &[]).await;
    desk.hears_nothing_for(Duration::from_mins(50)).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_goes_where_nothing_is_ends_at_once() {
    for (context, extension) in [
        ("nowhere", "s"),
        ("outbound-ivr", "missing"),
        ("missing", "s"),
    ] {
        let mut desk = Desk::new();
        desk.answered("c", TRUNK, &[]).await;
        let now = desk.milliseconds();
        desk.go_on("c", context, extension);
        let expected = ["StasisEnd", "Destroyed 16 null"];
        let expected = expected.map(|what| (now, what.to_owned()));
        assert_eq!(desk.until("Destroyed").await, expected, "{context}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dial_that_is_swallowed_leads_to_nothing() {
    for endpoint in [TRUNK, LOCAL_N] {
        let mut desk = Desk::new();
        desk.switch
            .set_fault(|faults| faults.dials = Dials::LeadNowhere);
        desk.call("c", endpoint, &[]).await;
        desk.hears_nothing_for(Duration::from_mins(50)).await;
        desk.switch.hang_up("c", None).unwrap();
        let seen = desk.said_until("Destroyed").await;
        let expected = ["HangupRequest 32 null", "StasisEnd", "Destroyed 16 null"];
        assert_eq!(seen, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_callee_who_hangs_up_gives_a_cause_only_in_the_dialplan() {
    let briefly = "PJSIP/15550000201@trunk";
    let mut desk = Desk::new();
    desk.call("c", briefly, &[]).await;
    let seen = desk.said_until("Destroyed").await;
    let tail = ["HangupRequest null null", "StasisEnd", "Destroyed 16 null"];
    assert!(seen.ends_with(&tail.map(str::to_owned)), "{seen:?}");
}
