//! ARI's events: reading one never fails, and what is told of a call is about the channel in the text.
#![no_main]
#![allow(clippy::panic)]

use bridge::ari::event::{Incoming, read};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let incoming = read(&text);
    let Incoming::Channel(event) = incoming else {
        return;
    };
    let _ = event.kind.as_progress();
    let Ok(value) = serde_json::from_str::<Value>(&text) else {
        return;
    };
    let id = event.call_id.to_string();
    let named = ["channel", "peer", "playback"]
        .iter()
        .filter_map(|part| value[part]["id"].as_str())
        // A playback's name begins with that of its call.
        .any(|named| named.to_ascii_lowercase().starts_with(&id));
    assert!(named, "an event of a channel that it does not name");
    // How a text is laid out says nothing.
    assert_eq!(read(&value.to_string()), incoming);
});
