//! Calls that are played to instead of going on in the dialplan.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use e2e::world::number;
use e2e::{Line, Pbx, World};
use serde_json::{Value, json};

use crate::Suite;

pub fn add(suite: &mut Suite) {
    suite.add_scenario("media::what_is_played_ends_in_our_hangup", played);
    suite.add_scenario("media::a_sound_that_is_not_there_is_told", missing);
    suite.add(
        "media::what_asterisk_drops_without_a_word_is_noticed",
        dropped,
    );
    suite.add_scenario("media::a_callee_who_hangs_up_ends_it_too", callee_hangs_up);
    suite.add_scenario(
        "media::what_never_ends_is_ended_by_max_duration",
        never_ends,
    );
    suite.add_asterisk("media::the_callee_receives_the_sound", heard);
    suite.add("media::what_cannot_be_played_is_refused", refused);
}

async fn place(pbx: Arc<Pbx>, to: &str, body: Value) -> (World, Value, Vec<String>) {
    let world = World::start(&pbx).await;
    let api = world.api(Line::Trunk).await;
    let id = api.place(to, body).await;
    let call = api.wait_until_over(&id).await;
    let events = api.events(&id).await;
    (world, call, events)
}

async fn played(pbx: Arc<Pbx>) {
    let body = json!({"media": ["sound:beep", "digits:42"]});
    let (_world, call, events) = place(pbx, &number("200"), body).await;
    assert_eq!(call["status"], "completed", "{call}");
    assert_eq!(call["failure_reason"], Value::Null, "{call}");
    assert_eq!(call["media"], json!(["sound:beep", "digits:42"]));
    let tail: Vec<_> = events.iter().map(String::as_str).skip(3).collect();
    assert_eq!(
        tail,
        ["answered", "played", "hangup_requested", "ended"],
        "{events:?}"
    );
}

async fn missing(pbx: Arc<Pbx>) {
    // A list that is played at once hides a failure that is not its last item's.
    for media in [
        json!(["sound:no-such-sound"]),
        json!(["sound:no-such-sound", "sound:hello-world"]),
        json!(["sound:beep", "sound:no-such-sound", "sound:beep"]),
    ] {
        let body = json!({"media": media});
        let (_world, call, _) = place(Arc::clone(&pbx), &number("200"), body).await;
        assert_eq!(call["status"], "completed", "{call}");
        assert_eq!(call["failure_reason"], "media_failed", "{call}");
    }
}

/// The simulator drops this tone as Asterisk drops what has no scheme that it knows: it says that it plays the tone, and
/// never that the tone is over.
async fn dropped(pbx: Arc<Pbx>) {
    let body = json!({"media": ["sound:beep", "tone:never"]});
    let (_world, call, events) = place(pbx, &number("200"), body).await;
    assert_eq!(call["status"], "completed", "{call}");
    assert_eq!(call["failure_reason"], "media_failed", "{call}");
    assert!(
        events.contains(&"hangup_requested".to_owned()),
        "{events:?}"
    );
}

async fn callee_hangs_up(pbx: Arc<Pbx>) {
    // Long enough that the callee, who hangs up after a second, is first.
    let body = json!({"media": vec!["digits:0123456789"; 8]});
    let (_world, call, _) = place(pbx, &number("201"), body).await;
    assert_eq!(call["status"], "completed", "{call}");
    assert_eq!(call["failure_reason"], Value::Null, "{call}");
}

async fn never_ends(pbx: Arc<Pbx>) {
    let body = json!({"media": vec!["digits:0123456789"; 16], "max_duration": 1});
    let (_world, call, events) = place(pbx, &number("200"), body).await;
    assert_eq!(call["status"], "completed", "{call}");
    assert!(!events.contains(&"played".to_owned()), "{events:?}");
}

/// The number tells the callee where its end of the call's audio is: here.
async fn heard(pbx: Arc<Pbx>) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let port = socket.local_addr().unwrap().port();
    let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    let counting = tokio::spawn(async move {
        let mut packet = [0; 2048];
        let (mut sources, mut bytes) = (std::collections::HashSet::new(), 0);
        loop {
            // Asterisk sends a packet each 20 ms while it plays; long silence is the end.
            let received =
                tokio::time::timeout(Duration::from_secs(15), socket.recv_from(&mut packet));
            let Ok(Ok((length, _))) = received.await else {
                return (sources.len(), bytes);
            };
            // RTP version 2, payload type 0 (PCMU), behind a header of 12 bytes.
            if length > 12 && matches!(packet[0], 0x80..=0xbf) && matches!(packet[1], 0x00 | 0x80) {
                sources.insert(packet[8..12].to_vec());
                bytes += length - 12;
            }
        }
    });
    let to = format!("+1555{port:05}202");
    let body = json!({"media": ["sound:hello-world", "sound:hello-world"]});
    let (_world, call, _) = place(Arc::clone(&pbx), &to, body).await;
    assert_eq!(call["status"], "completed", "{call}");
    assert_eq!(call["failure_reason"], Value::Null, "{call}");
    assert_eq!(pbx.byes_to(&to), 1, "the BYE is ours");
    let (sources, bytes) = counting.await.unwrap();
    assert_eq!(sources, 1);
    // PCMU has 8 bytes a millisecond; hello-world lasts 1.4 s in some recordings, 1.9 s in others.
    let lasting = bytes / 8;
    assert!((2_500..4_500).contains(&lasting), "RTP for {lasting} ms");
}

async fn refused(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let api = world.api(Line::Trunk).await;
    for body in [
        json!({"media": []}),
        json!({"media": "sound:beep"}),
        json!({"media": [1]}),
        json!({"media": ["sound:../../etc/passwd"]}),
        json!({"media": ["sound:http://evil/x"]}),
        json!({"media": ["sound:beep,digits:1"]}),
        json!({"media": vec!["tone:busy"; 17]}),
        json!({"media": ["sound:beep"], "context": "outbound-ivr"}),
    ] {
        let (status, answer) = api.try_place(&number("200"), body.clone()).await;
        assert_eq!(status, 422, "{body}: {answer}");
        assert_eq!(answer["errors"][0]["field"], "media", "{body}: {answer}");
    }
    assert_eq!(world.queued().await, 0);
}
