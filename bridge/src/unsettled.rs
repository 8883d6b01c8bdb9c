//! Claims whose answer never came.
//!
//! Such a claim may have been written. Its call was not dialled, and its message comes back: then the
//! same attempt's id is used again, by which the store knows its own. If another bridge takes the message, it finds
//! the call claimed and deletes it; so a claim is left to reconciliation after a while.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::rules::{Rule, kept};
use domain::{CallId, ClaimId};
use tokio::time::Instant;

/// Most claims that are remembered; one that is not ends by reconciliation.
const MOST: usize = 10_000;

/// The ids of those claims.
#[derive(Debug)]
pub struct Unsettled {
    claims: Mutex<BTreeMap<CallId, Entry>>,
    within: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    claim: ClaimId,
    until: Instant,
}

impl Unsettled {
    /// Leaves claims alone whose messages come back `within` this time.
    #[must_use]
    pub const fn new(within: Duration) -> Self {
        Self {
            claims: Mutex::new(BTreeMap::new()),
            within,
        }
    }

    /// Remembers a claim that may have been written.
    pub fn remember(&self, call: CallId, claim: ClaimId) {
        let until = Instant::now() + self.within;
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        if claims.len() < MOST {
            claims.insert(call, Entry { claim, until });
        }
    }

    /// The claim to be tried again for a call, if there is one.
    #[must_use]
    pub fn take(&self, call: CallId) -> Option<ClaimId> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.remove(&call).map(|entry| entry.claim)
    }

    /// Forgets the claims whose messages have not come back in time.
    pub fn forget_old(&self) {
        let now = Instant::now();
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.retain(|_, entry| entry.until > now || !kept(Rule::UnansweredClaimReconciled));
    }

    /// Whether a call has such a claim.
    #[must_use]
    pub fn contains(&self, call: CallId) -> bool {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.contains_key(&call)
    }
}
