//! The simulator against a real Asterisk: the same requests get the same answers, and the same events come
//! in the same order.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod ari;
mod asterisk;
mod faults;
mod refusals;
mod replay;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use replay::{Act, Recording};

/// A recording that needs nothing but its own words.
const fn plain(name: &'static str) -> Recording {
    with_words(name, &[])
}

/// A recording in which these words are exchanged for those of the simulator, which has numbers, contexts and
/// sounds of its own.
const fn with_words(
    name: &'static str,
    words: &'static [(&'static str, &'static str)],
) -> Recording {
    Recording {
        name,
        words,
        acts: &[],
    }
}

#[rustfmt::skip]
const RECORDINGS: [Recording; 30] = [
    plain("sip-answered"),
    plain("sip-busy"),
    plain("sip-callee-hangs-up"),
    plain("sip-cancelled-while-ringing"),
    plain("sip-declined"),
    plain("sip-early-media"),
    plain("sip-no-answer"),
    plain("sip-server-error"),
    plain("sip-service-unavailable"),
    plain("sip-timeout"),
    with_words("sip-trunk-down", &[("15550000200@trunk", "15550000200@down")]),
    plain("sip-unavailable"),
    plain("sip-unknown-number"),
    with_words("local-answered", &[("100@carrier", "15550000200@carrier")]),
    with_words("local-busy", &[("101@carrier", "15550000486@carrier")]),
    with_words("local-busy-without-hangup", &[("1486@ldp", "15550000486@nohangup")]),
    with_words("local-congestion", &[("103@carrier", "15550000503@carrier")]),
    with_words("local-no-answer", &[("102@carrier", "15550000000@carrier")]),
    with_words("local-no-such-extension", &[("99@carrier", "15550000200@nowhere")]),
    with_words("local-optimised-away", &[("bridge2", "bridged"), ("1500", "15550000200")]),
    with_words("local-unallocated", &[("104@carrier", "15550000404@carrier")]),
    plain("endpoint-missing"),
    plain("create-500-told-apart"),
    with_words("list-missing-middle", &[("sound:nope", "sound:no-such")]),
    with_words("playback-never-finishes", &[("tone:nosuchtone", "tone:no-such-tone")]),
    Recording {
        name: "restart-pending",
        words: &[],
        acts: &[("x0", Act::RefuseCreates(true)), ("after", Act::RefuseCreates(false))],
    },
    Recording {
        name: "rtp-ports-exhausted",
        words: &[],
        acts: &[("r2", Act::ExhaustRtp(true))],
    },
    with_words("timeout-absolute-while-ringing", &[("1010", "15550000000")]),
    plain("trunk-goes-and-returns"),
    plain("variable-waits-for-playback"),
];

/// Recordings of what the simulator does not speak, and what that is.
const NOT_SPOKEN: [(&str, &str); 10] = [
    (
        "amd-machine",
        "the AMD application, and Stasis as an application of the dialplan",
    ),
    ("dialplan-result", "Set and UserEvent in the dialplan"),
    ("dtmf-interrupts-playback", "digits"),
    ("dtmf-too-fast-doubled", "digits"),
    ("record-refused-in-dial-bridge", "recording"),
    ("record-unwritable", "recording"),
    ("refer-while-bridged", "transfers"),
    ("snoop-record", "snooping and recording"),
    ("talk-detect", "talk detection"),
    ("tone-detected", "tone detection"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("traces")
}

#[tokio::test]
async fn every_recording_is_reproduced() {
    let replays = RECORDINGS.map(|recording| {
        let name = recording.name;
        (name, tokio::spawn(replay::replay(recording)))
    });
    for (name, replay) in replays {
        assert!(replay.await.is_ok(), "{name} is not reproduced");
    }
}

#[test]
fn no_recording_is_forgotten() {
    let files: BTreeSet<_> = std::fs::read_dir(folder())
        .expect("the recordings")
        .map(|file| file.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"))
        .map(|path| path.file_stem().expect("a name").to_owned())
        .collect();
    let replayed = RECORDINGS.iter().map(|recording| recording.name);
    let listed = replayed.chain(NOT_SPOKEN.map(|(name, _)| name));
    let listed: Vec<_> = listed.map(Into::into).collect();
    assert_eq!(listed.len(), files.len());
    assert_eq!(BTreeSet::from_iter(listed), files);
}
