use super::*;

/// The channels of other phones than ours.
fn others(desk: &Desk) -> Vec<String> {
    let shown = desk.switch.show_all().into_iter();
    let ids = shown.map(|channel| channel["id"].as_str().unwrap().to_owned());
    ids.filter(|id| id != "c").collect()
}

#[tokio::test(start_paused = true)]
async fn two_phones_talk_until_the_second_hangs_up() {
    for endpoint in [TRUNK, LOCAL_N] {
        let mut desk = Desk::new();
        desk.answered("c", endpoint, &[]).await;
        let now = desk.milliseconds();
        desk.go_on("c", "bridged", "15550000201");
        let seen = desk.until("Destroyed").await;
        let expected = [
            (0, "StasisEnd"),
            (0, "Second "),
            (0, "Second ANSWER"),
            (1000, "Destroyed 16 null"),
        ];
        assert_eq!(seen, expected.map(|(at, what)| (now + at, what.to_owned())));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(others(&desk), [""; 0]);
        assert_eq!(desk.switch.dials_to("15550000201@trunk"), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_second_dial_names_our_channel_as_its_caller() {
    let mut desk = Desk::new();
    desk.answered("c", TRUNK, &[]).await;
    desk.go_on("c", "bridged", "s");
    desk.until("StasisEnd").await;
    for status in ["", "RINGING", "ANSWER"] {
        let event = desk.events.recv().await.unwrap();
        let event: Value = serde_json::from_str(&event).unwrap();
        assert_eq!(event["dialstatus"], status);
        assert_eq!(event["caller"]["id"], "c");
        assert_eq!(event["peer"]["id"], others(&desk)[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn two_phones_talk_until_we_or_the_first_or_the_dialplan_end_it() {
    let mut desk = Desk::new();
    desk.answered("c", LOCAL_N, &[]).await;
    desk.go_on("c", "bridged", "s");
    desk.until("Second ANSWER").await;
    desk.hears_nothing_for(Duration::from_mins(50)).await;
    desk.switch.hang_up("c", None).unwrap();
    let seen = desk.said_until("Destroyed").await;
    assert_eq!(seen, ["HangupRequest 32 null", "Destroyed 16 null"]);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(others(&desk), [""; 0]);

    // The first phone hangs up 1 s after its answer.
    desk.call("c", "PJSIP/15550000201@trunk", &[]).await;
    desk.until("State Up").await;
    desk.go_on("c", "bridged", "s");
    desk.until("Second ANSWER").await;
    let seen = desk.said_until("Destroyed").await;
    assert_eq!(seen, ["HangupRequest 16 null", "Destroyed 16 null"]);

    desk.answered("c", TRUNK, &[]).await;
    desk.go_on("c", "bridged", "s");
    desk.until("Second ANSWER").await;
    desk.switch.hang_up(&others(&desk)[0], None).unwrap();
    assert_eq!(desk.said_until("Destroyed").await, ["Destroyed 16 null"]);
}

#[tokio::test(start_paused = true)]
async fn a_local_channel_without_n_is_gone_while_the_phones_talk_on() {
    let mut desk = Desk::new();
    desk.answered("c", LOCAL, &[]).await;
    desk.go_on("c", "bridged", "s");
    let (answered_at, _) = desk.until("Second ANSWER").await.pop().unwrap();
    let seen = desk.until("Destroyed").await;
    let expected = ["HangupRequest 16 null", "Destroyed 16 null"];
    let expected = expected.map(|what| (answered_at + 20, what.to_owned()));
    assert_eq!(seen, expected);
    assert_eq!(others(&desk).len(), 2);
    desk.switch.hang_up(&others(&desk)[0], None).unwrap();
    sleep(Duration::from_millis(1)).await;
    assert_eq!(others(&desk), [""; 0]);
    desk.hears_nothing_for(Duration::from_secs(100)).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_phone_that_refuses_ends_the_call_with_its_cause() {
    for (number, status, over_trunk, over_local) in [
        ("15550000486", "BUSY", "17 486", "17 null"),
        ("15550009403", "NOANSWER", "21 403", "21 null"),
        ("15550008503", "CONGESTION", "34 503", "34 null"),
        ("15550000302", "CONGESTION", "16 null", "16 null"),
        ("15550000420", "CHANUNAVAIL", "3 404", "3 null"),
        ("15550000607", "NOANSWER", "127 500", "127 null"),
    ] {
        for (endpoint, cause) in [(TRUNK, over_trunk), (LOCAL_N, over_local)] {
            let mut desk = Desk::new();
            desk.answered("c", endpoint, &[]).await;
            desk.go_on("c", "bridged", number);
            let seen = desk.said_until("Destroyed").await;
            let tail = [format!("Second {status}"), format!("Destroyed {cause}")];
            assert!(seen.ends_with(&tail), "{number}: {seen:?}");
        }
    }
}
