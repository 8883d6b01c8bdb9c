//! The queues' messages: reading one never fails otherwise than by an error, and what was read is written so that it
//! reads back the same.
#![no_main]
#![allow(clippy::unwrap_used)]

use domain::{ControlMessage, QueueMessage};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    match QueueMessage::decode(&text) {
        Ok(message) => {
            let encoded = message.encode().unwrap();
            assert_eq!(QueueMessage::decode(&encoded).unwrap(), message);
        }
        // The text itself may be anything, and is logged nowhere.
        Err(error) => assert!(error.to_string().len() < 500, "an error that is too long"),
    }
    if let Ok(message) = ControlMessage::decode(&text) {
        let encoded = message.encode().unwrap();
        assert_eq!(ControlMessage::decode(&encoded).unwrap(), message);
        assert!(QueueMessage::decode(&text).is_err(), "it is of both kinds");
    }
});
