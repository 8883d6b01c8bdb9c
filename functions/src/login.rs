//! Who may have a password looked at, and when.
//!
//! A hash takes tens of milliseconds of a core. A stranger is a login as a user from an address from
//! which that user has not logged in before. All strangers share one bound, over all instances.
//! Therefore a client whose address is known is served, whatever strangers do. Failures of one user make strangers wait a little
//! longer each time, and never a client whose address is known. Nobody is ever locked out.

use std::time::Duration;

use cloud::logins::{History, Logins};
use cloud::rate_limit::{RateLimit, RateLimiter};
use cloud::{Standing, StoreError, clock};

/// Hashes for strangers, all together: so many in a second.
pub const STRANGERS: RateLimit = RateLimit {
    requests: 10,
    window: Duration::from_secs(1),
};
/// Failures of a user in a quarter of an hour that delay nobody.
const FREE_FAILURES: u32 = 5;
/// The delay after these. It doubles with every further five failures.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Longest delay. With [`STRANGERS`] it bounds how many instances wait at once.
const LONGEST_DELAY: Duration = Duration::from_millis(500);

/// Decides about logins.
#[derive(Clone)]
pub struct LoginGuard {
    logins: Logins,
    strangers: RateLimiter,
}

/// Whether a password may be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// At once, whatever strangers do.
    Known,
    /// After this delay.
    Stranger(Duration),
    /// Not now: too many strangers.
    Refused,
}

impl LoginGuard {
    /// With what is remembered, and the count of strangers' hashes, in the table `state`.
    #[must_use]
    pub fn new(dynamodb: aws_sdk_dynamodb::Client, table: String) -> Self {
        Self {
            logins: Logins::new(dynamodb.clone(), table.clone()),
            strangers: RateLimiter::new(dynamodb, table, "hash", STRANGERS),
        }
    }

    /// Whether the password of a login as `username` from `address` may be looked at, and how the
    /// user and the key `key_id`, which is to sign the token, stand.
    ///
    /// # Errors
    /// If the table cannot be read or written.
    pub async fn admit(
        &self,
        username: &str,
        address: &str,
        key_id: &str,
    ) -> Result<(Admission, Standing), StoreError> {
        let now = clock::now();
        let history = self.logins.history(username, address, key_id, now).await?;
        let (History { known, failures }, standing) = history;
        if known {
            return Ok((Admission::Known, standing));
        }
        let counted = self.strangers.count("strangers", now).await?;
        let admission = if counted.allowed {
            Admission::Stranger(delay(failures))
        } else {
            Admission::Refused
        };
        Ok((admission, standing))
    }

    /// Notes how a login went.
    ///
    /// # Errors
    /// If the table cannot be written.
    pub async fn note(
        &self,
        username: &str,
        address: &str,
        admission: Admission,
        succeeded: bool,
    ) -> Result<(), StoreError> {
        let now = clock::now();
        if !succeeded {
            self.logins.note_failure(username, now).await
        } else if admission == Admission::Known {
            Ok(())
        } else {
            self.logins.remember(username, address, now).await
        }
    }
}

/// How long a stranger waits after so many failures of the user.
fn delay(failures: u32) -> Duration {
    let Some(doublings) = (failures / FREE_FAILURES).checked_sub(1) else {
        return Duration::ZERO;
    };
    let factor = 1u32.checked_shl(doublings).unwrap_or(u32::MAX);
    FIRST_DELAY.saturating_mul(factor).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_slowly_and_has_an_end() {
        let millis = |failures| delay(failures).as_millis();
        for (failures, expected) in [
            (0, 0),
            (4, 0),
            (5, 100),
            (9, 100),
            (10, 200),
            (15, 400),
            (20, 500),
            (10_000, 500),
            (u32::MAX, 500),
        ] {
            assert_eq!(millis(failures), expected, "{failures}");
        }
    }
}
