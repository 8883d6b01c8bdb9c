//! Claims whose answer never came.
//!
//! Such a claim may have been written. Its call was not dialled, and its message comes back: then the
//! same attempt's id is used again, by which the store knows its own.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use domain::{CallId, ClaimId};

/// Most claims that are remembered; one that is not ends by reconciliation.
const MOST: usize = 10_000;

/// The ids of those claims.
#[derive(Debug, Default)]
pub struct Unsettled(Mutex<BTreeMap<CallId, ClaimId>>);

impl Unsettled {
    /// Remembers a claim that may have been written.
    pub fn remember(&self, call: CallId, claim: ClaimId) {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if claims.len() < MOST {
            claims.insert(call, claim);
        }
    }

    /// The claim to be tried again for a call, if there is one.
    #[must_use]
    pub fn take(&self, call: CallId) -> Option<ClaimId> {
        let mut claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.remove(&call)
    }

    /// Whether a call has such a claim.
    #[must_use]
    pub fn contains(&self, call: CallId) -> bool {
        let claims = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claims.contains_key(&call)
    }
}
