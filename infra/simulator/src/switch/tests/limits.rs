use super::*;
use crate::switch::Refusal;
use crate::switch::variables::ABSOLUTE_TIMEOUT;

/// The last thing that is said of a channel, and when.
async fn end(desk: &mut Desk) -> (u128, String) {
    desk.until("Destroyed").await.pop().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_limit_counts_from_the_create_whatever_the_channel_does() {
    for (endpoint, answers, goes_to) in [
        (RINGING, false, None),
        ("Local/15550000000@carrier/n", false, None),
        (TRUNK, true, None),
        (LOCAL_N, true, None),
        (TRUNK, true, Some("ivr-that-takes-longer")),
        (LOCAL_N, true, Some("bridged")),
    ] {
        let mut desk = Desk::new();
        let limit = [(ABSOLUTE_TIMEOUT, "1.5")];
        if answers {
            desk.answered("c", endpoint, &limit).await;
        } else {
            desk.call("c", endpoint, &limit).await;
        }
        if let Some(context) = goes_to {
            desk.go_on("c", context, "s");
            desk.until("StasisEnd").await;
        }
        let seen = desk.until("Destroyed").await;
        assert_eq!(
            seen.last().unwrap(),
            &(1500, "Destroyed 16 null".to_owned())
        );
        assert!(
            seen.iter()
                .all(|(_, what)| !what.starts_with("HangupRequest")),
            "{seen:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_undialled_channel_reaches_its_limit_with_another_cause() {
    let mut desk = Desk::new();
    desk.create("c", TRUNK, &[(ABSOLUTE_TIMEOUT, "3")]);
    let seen = desk.said_until("Destroyed").await;
    let expected = [
        "StasisStart",
        "StasisEnd",
        "HangupRequest 21 603",
        "Destroyed 21 603",
    ];
    assert_eq!(seen, expected);
    desk.create("l", LOCAL_N, &[(ABSOLUTE_TIMEOUT, "3")]);
    let seen = desk.said_until("Destroyed").await;
    assert_eq!(seen, ["StasisStart", "StasisEnd", "Destroyed 0 null"]);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_set_again_counts_anew_and_zero_clears_it() {
    let mut desk = Desk::new();
    desk.call("c", RINGING, &[(ABSOLUTE_TIMEOUT, "3")]).await;
    sleep(Duration::from_millis(1798)).await;
    let now = desk.milliseconds();
    desk.switch
        .set_variable("c", ABSOLUTE_TIMEOUT, "6")
        .await
        .unwrap();
    for rubbish in ["rubbish", "", "-1", "NaN", "1e300"] {
        desk.switch
            .set_variable("c", ABSOLUTE_TIMEOUT, rubbish)
            .await
            .unwrap();
    }
    assert_eq!(end(&mut desk).await.0, now + 6000);

    let begun = desk.milliseconds();
    desk.call("d", RINGING, &[(ABSOLUTE_TIMEOUT, "3")]).await;
    desk.switch
        .set_variable("d", ABSOLUTE_TIMEOUT, "0")
        .await
        .unwrap();
    let shown = desk.switch.show_variable("d", ABSOLUTE_TIMEOUT).unwrap();
    assert_eq!(shown["value"], "0");
    // What ends it is the dial's own timeout.
    let (at, what) = end(&mut desk).await;
    assert_eq!((at, what.as_str()), (begun + 60_002, "Destroyed 19 480"));
}

#[tokio::test(start_paused = true)]
async fn a_limit_set_while_something_plays_counts_from_the_end_of_it() {
    let mut desk = Desk::new();
    desk.answered("c", TRUNK, &[]).await;
    let now = desk.milliseconds();
    for playback in ["p", "q"] {
        desk.switch
            .start_playback("c", playback, "sound:beep")
            .unwrap();
    }
    desk.switch
        .set_variable("c", ABSOLUTE_TIMEOUT, "2")
        .await
        .unwrap();
    assert_eq!(desk.milliseconds(), now + 600);
    assert_eq!(end(&mut desk).await.0, now + 2600);
}

#[tokio::test(start_paused = true)]
async fn a_limit_breaks_off_what_plays_and_says_nothing_of_what_waits() {
    let mut desk = Desk::new();
    desk.answered("c", TRUNK, &[(ABSOLUTE_TIMEOUT, "0.5")])
        .await;
    for playback in ["p", "q"] {
        desk.switch
            .start_playback("c", playback, "sound:beep")
            .unwrap();
    }
    let seen = desk.said_until("Destroyed").await;
    let expected = [
        "Started p sound:beep playing",
        "Finished p sound:beep failed",
        "StasisEnd",
        "Destroyed 16 null",
    ];
    assert_eq!(seen, expected);
    assert_eq!(desk.switch.show_playback("q"), None);
}

#[tokio::test(start_paused = true)]
async fn no_limit_can_be_set_in_the_dialplan() {
    let mut desk = Desk::new();
    desk.answered("c", TRUNK, &[]).await;
    desk.go_on("c", "outbound-ivr", "s");
    desk.until("StasisEnd").await;
    let set = desk.switch.set_variable("c", ABSOLUTE_TIMEOUT, "1").await;
    assert_eq!(set, Err(Refusal::NotInStasis));
}
