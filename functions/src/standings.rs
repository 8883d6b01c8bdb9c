//! Remembers for seconds what is recorded of users and keys, so that a busy client costs one request
//! in ten seconds and not one more for each of its own.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use cloud::{Standing, StandingStore, StoreError};
use domain::Timestamp;

/// How long what was read is used. The documentation promises that what an administrator ends is
/// taken nowhere after 15 s.
pub const FRESH_FOR: Duration = Duration::from_secs(10);

/// Most pairs of a user and a key that are remembered.
const MOST: usize = 1_000;

/// What is recorded, read when it is not remembered.
pub struct Standings {
    store: StandingStore,
    remembered: Mutex<Remembered>,
}

impl Standings {
    /// Of what is in `store`.
    #[must_use]
    pub fn new(store: StandingStore) -> Self {
        Self {
            store,
            remembered: Mutex::default(),
        }
    }

    /// How a user and a key stand, as it was at most [`FRESH_FOR`] before `now`. Requests that come
    /// at once and find nothing each read by themselves.
    ///
    /// # Errors
    /// If nothing fresh is remembered and the table cannot be read.
    pub async fn of(
        &self,
        username: &str,
        key_id: &str,
        now: Timestamp,
    ) -> Result<Standing, StoreError> {
        let pair = (username.to_owned(), key_id.to_owned());
        let remembered = self.remembered().get(&pair, now);
        if let Some(standing) = remembered {
            return Ok(standing);
        }
        let standing = self.store.read(username, key_id).await?;
        self.remembered().put(pair, now, standing);
        Ok(standing)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Remembered> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A user's name and a key's id.
type Pair = (String, String);

/// What was read, and when the request for it was sent.
#[derive(Default)]
struct Remembered(HashMap<Pair, (Timestamp, Standing)>);

impl Remembered {
    fn get(&self, pair: &Pair, now: Timestamp) -> Option<Standing> {
        let (read_at, standing) = self.0.get(pair)?;
        is_fresh(*read_at, now).then_some(*standing)
    }

    fn put(&mut self, pair: Pair, read_at: Timestamp, standing: Standing) {
        if self.0.len() >= MOST {
            self.0.retain(|_, (at, _)| is_fresh(*at, read_at));
        }
        // Each is read at most once more for it.
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(pair, (read_at, standing));
    }
}

/// Whether what was read then may still be used. The clock of an instance that was frozen may have
/// been set back; then nothing may.
fn is_fresh(read_at: Timestamp, now: Timestamp) -> bool {
    read_at <= now && now.since(read_at) < FRESH_FOR
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(user: &str) -> Pair {
        (user.to_owned(), "k1".to_owned())
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    #[test]
    fn what_was_read_is_used_for_ten_seconds_at_most() {
        assert!(FRESH_FOR <= Duration::from_secs(10));
        let mut remembered = Remembered::default();
        let disabled = Standing {
            disabled: true,
            ..Standing::default()
        };
        remembered.put(pair("alice"), at(0), disabled);
        for (asked_at, known) in [
            (0, Some(disabled)),
            (9_999, Some(disabled)),
            (10_000, None),
            (-1, None),
        ] {
            let got = remembered.get(&pair("alice"), at(asked_at));
            assert_eq!(got, known, "{asked_at}");
        }
        assert_eq!(remembered.get(&pair("bob"), at(0)), None);
        let other_key = ("alice".to_owned(), "k2".to_owned());
        assert_eq!(remembered.get(&other_key, at(0)), None);
    }

    #[test]
    fn no_more_is_remembered_than_has_room() {
        let mut remembered = Remembered::default();
        for number in 0..3 * MOST {
            remembered.put(pair(&number.to_string()), at(0), Standing::default());
            assert!(remembered.0.len() <= MOST);
        }
        assert!(
            remembered
                .get(&pair(&(3 * MOST - 1).to_string()), at(0))
                .is_some()
        );
    }
}
