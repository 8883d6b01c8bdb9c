use super::*;
use crate::switch::Refusal;

#[tokio::test(start_paused = true)]
async fn playbacks_are_queued_and_follow_each_other_without_a_gap() {
    let mut desk = Desk::new();
    desk.answered("c", TRUNK, &[]).await;
    let now = desk.milliseconds();
    for (playback, uri) in [("p", "sound:a"), ("q", "sound:no-such"), ("r", "digits:1")] {
        let queued = desk.switch.start_playback("c", playback, uri).unwrap();
        assert_eq!(queued["state"], "queued");
    }
    let seen = desk.until("Finished r").await;
    let expected = [
        (0, "Started p sound:a playing"),
        (300, "Finished p sound:a done"),
        (300, "Started q sound:no-such playing"),
        (300, "Finished q sound:no-such failed"),
        (300, "Started r digits:1 playing"),
        (600, "Finished r digits:1 done"),
    ];
    let expected = expected.map(|(at, what)| (now + at, what.to_owned()));
    assert_eq!(seen, expected);
}

#[tokio::test(start_paused = true)]
async fn a_list_fails_only_if_its_last_item_does() {
    for (media, state) in [
        ("sound:no-such,sound:a", "done"),
        ("sound:a,tone:no-such", "failed"),
        ("sound:no-such,sound:no-such", "failed"),
    ] {
        let mut desk = Desk::new();
        desk.answered("c", TRUNK, &[]).await;
        desk.switch.start_playback("c", "p", media).unwrap();
        let seen = desk.said_until("Finished").await;
        assert!(seen.last().unwrap().ends_with(state), "{media}: {seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_asterisk_drops_never_finishes_and_holds_nothing_up() {
    for dropped in ["tone:never", "foo:bar", "recording:nope", "no-scheme"] {
        let mut desk = Desk::new();
        desk.answered("c", TRUNK, &[]).await;
        desk.switch.start_playback("c", "p", dropped).unwrap();
        desk.switch.start_playback("c", "q", "sound:a").unwrap();
        let seen = desk.said_until("Finished").await;
        let expected = [
            format!("Started p {dropped} playing"),
            "Started q sound:a playing".to_owned(),
            "Finished q sound:a done".to_owned(),
        ];
        assert_eq!(seen, expected);
        assert_eq!(desk.switch.show_playback("p"), None);
    }
    // In a list it is left out, unless it is the last.
    let mut desk = Desk::new();
    desk.answered("c", TRUNK, &[]).await;
    desk.switch
        .start_playback("c", "p", "sound:a,foo:bar,sound:b")
        .unwrap();
    desk.switch
        .start_playback("c", "q", "sound:a,foo:bar")
        .unwrap();
    desk.switch.start_playback("c", "r", "sound:a").unwrap();
    let expected = [
        "Started p sound:a playing",
        "Continuing p sound:a continuing",
        "Started p foo:bar playing",
        "Started p sound:b playing",
        "Finished p sound:b done",
        "Started q sound:a playing",
        "Continuing q sound:a continuing",
        "Started q foo:bar playing",
        "Started r sound:a playing",
        "Finished r sound:a done",
    ];
    assert_eq!(desk.said_until("Finished r").await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_playback_that_is_stopped_is_done() {
    let mut desk = Desk::new();
    desk.answered("c", TRUNK, &[]).await;
    desk.switch
        .start_playback("c", "p", "sound:a,sound:b")
        .unwrap();
    desk.switch.start_playback("c", "q", "sound:c").unwrap();
    desk.until("Started").await;
    assert_eq!(desk.switch.stop_playback("q"), Some(()));
    assert_eq!(desk.switch.stop_playback("p"), Some(()));
    let expected = ["Finished p sound:a done", "Finished q sound:c done"];
    assert_eq!(desk.said_until("Finished q").await, expected);
    assert_eq!(desk.switch.stop_playback("p"), None);
}

#[tokio::test(start_paused = true)]
async fn a_hangup_fails_what_plays_and_what_waits() {
    let mut desk = Desk::new();
    desk.answered("c", TRUNK, &[]).await;
    for playback in ["p", "q"] {
        desk.switch
            .start_playback("c", playback, "sound:a")
            .unwrap();
    }
    desk.until("Started").await;
    desk.switch.hang_up("c", None).unwrap();
    let expected = [
        "HangupRequest 32 null",
        "Finished p sound:a failed",
        "Started q sound:a playing",
        "Finished q sound:a failed",
        "StasisEnd",
        "Destroyed 16 null",
    ];
    assert_eq!(desk.said_until("Destroyed").await, expected);
    assert_eq!(desk.switch.show_playback("p"), None);
}

#[tokio::test(start_paused = true)]
async fn what_comes_behind_a_continue_is_played_before_it() {
    let mut desk = Desk::new();
    desk.answered("c", TRUNK, &[]).await;
    desk.switch.start_playback("c", "p", "sound:a").unwrap();
    desk.go_on("c", "nowhere", "s");
    desk.switch.start_playback("c", "q", "sound:a").unwrap();
    let seen = desk.said_until("Destroyed").await;
    let tail = ["Finished q sound:a done", "StasisEnd", "Destroyed 16 null"];
    assert!(seen.ends_with(&tail.map(str::to_owned)), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_played_to_before_the_answer() {
    let mut desk = Desk::new();
    desk.call("c", RINGING, &[]).await;
    let refused = desk.switch.start_playback("c", "p", "sound:a");
    assert_eq!(refused, Err(Refusal::NotUp));
}
