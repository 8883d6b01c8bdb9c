//! Cursors: reading one never fails otherwise than by an error, only our own are read, and only for their list.
//!
//! The first byte of an input says what the rest is: a cursor; changes to a good one; or a position and the names of a list.
#![no_main]
#![allow(clippy::expect_used, clippy::panic)]

use std::sync::LazyLock;
use std::time::Duration;

use cloud::Secret;
use cloud::kept_keys::KeyPair;
use cloud::listing::Position;
use domain::Timestamp;
use functions::cursor::{Cursors, InvalidCursor};
use functions::settings::JwtSettings;
use fuzz::change;
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

const LIST: [&str; 2] = ["alice", "status=busy"];

/// Ways in which the names of a list are divided otherwise.
const MOST_CUTS: usize = 16;

static CURSORS: LazyLock<Cursors> = LazyLock::new(|| {
    Cursors::new(&JwtSettings {
        keys: KeyPair {
            current: Secret::new("the key of the fuzz targets, which is no secret".to_owned()),
            previous: None,
        },
        issuer: None,
        audience: None,
        token_lifetime: Duration::from_secs(1),
    })
});

static GOOD: LazyLock<String> = LazyLock::new(|| {
    let position = Position {
        created_at: Timestamp::from_millis(1_700_000_000_123),
        call_id: Some(Uuid::from_u128(7).into()),
    };
    CURSORS.write(&LIST, position)
});

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind % 3 {
        0 => is_ours(&String::from_utf8_lossy(rest)),
        1 => {
            let changed = change(&GOOD, rest);
            let read = CURSORS.read(&LIST, &changed);
            assert_eq!(read.is_ok(), changed == *GOOD, "{changed}");
        }
        _ => reads_back(rest),
    }
});

/// What is read is what we would write: there is one spelling.
fn is_ours(text: &str) {
    if let Ok(position) = CURSORS.read(&LIST, text) {
        assert_eq!(CURSORS.write(&LIST, position), text);
    }
}

fn reads_back(bytes: &[u8]) {
    let Some((millis, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let (id, names) = rest.split_at(rest.len().min(16));
    let position = Position {
        created_at: Timestamp::from_millis(i64::from_be_bytes(*millis)),
        call_id: Uuid::from_slice(id).ok().map(Into::into),
    };
    let names = String::from_utf8_lossy(names);
    let list: Vec<&str> = names.split('\n').collect();
    let cursor = CURSORS.write(&list, position);
    assert_eq!(CURSORS.read(&list, &cursor), Ok(position));
    // The same letters, divided otherwise, name another list.
    let joined = names.replace('\n', "");
    let cuts = (0..=joined.len()).filter(|cut| joined.is_char_boundary(*cut));
    for cut in cuts.take(MOST_CUTS) {
        let other = [&joined[..cut], &joined[cut..]];
        if list != other {
            assert_eq!(
                CURSORS.read(&other, &cursor),
                Err(InvalidCursor),
                "{list:?}"
            );
        }
    }
}
