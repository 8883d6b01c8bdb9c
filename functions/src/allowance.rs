//! A user's calls of a day, if they are limited: each call is counted before it is recorded.
//!
//! A request that is repeated with its `Idempotency-Key` makes no other call, and is not counted
//! again: what was counted for it is given back. When the calls of the day are spent, a repeat is
//! still answered as before if its call is recorded.

use cloud::calls::{SenderId, Takeover};
use cloud::daily_calls::{Counted, DailyCalls, Day};
use cloud::ports::Calls;
use cloud::{clock, error};
use domain::{CallRequest, FailureReason};
use uuid::Uuid;

use crate::originate::OriginateState;
use crate::placing::{NotPlaced, Placed, Refusal};
use crate::problem::Problem;

/// What was counted for a call.
pub struct Allowance<'a>(Option<(&'a DailyCalls, &'a str, Day)>);

impl<'a> Allowance<'a> {
    /// Counts a call of `client`. Asks for nothing if calls are not limited.
    ///
    /// # Errors
    /// 429 if the client's calls of the day are spent, 503 if they cannot be counted. Nobody is called.
    pub async fn take(
        state: &'a OriginateState,
        client: &'a str,
        request: &CallRequest,
    ) -> Result<Self, Problem> {
        let Some(daily_calls) = &state.daily_calls else {
            return Ok(Self(None));
        };
        match daily_calls.count(client, clock::now()).await {
            Ok(Counted::Within(day)) => Ok(Self(Some((daily_calls, client, day)))),
            Ok(Counted::Spent(_)) if is_repeat(&state.calls, request).await => Ok(Self(None)),
            Ok(Counted::Spent(until)) => {
                // The alarm `daily-calls-spent` counts the answer; this says whose it was.
                tracing::warn!(user = client, "a user's calls of the day are spent");
                Err(Problem::daily_calls_spent(until))
            }
            Err(error) => {
                tracing::error!(error = %error::chain(&error), "the user's calls could not be counted");
                Err(Problem::unavailable(
                    "calls cannot be counted now; nobody was called",
                ))
            }
        }
    }

    /// Gives back what was counted if the request has made no call. If it may have, that stays.
    pub async fn settle(self, placed: &Result<Placed, NotPlaced>) {
        let Self(Some((daily_calls, client, day))) = self else {
            return;
        };
        if is_called(placed) {
            return;
        }
        if let Err(error) = daily_calls.give_back(client, day).await {
            tracing::warn!(error = %error::chain(&error), "the count of a user's calls stays one too high");
        }
    }
}

/// Whether the request has made a call, or may have.
fn is_called(placed: &Result<Placed, NotPlaced>) -> bool {
    match placed {
        Ok(Placed::Now(_)) => true,
        Ok(Placed::Before(_)) => false,
        Err(not_placed) => not_placed.reason == Refusal::Unknown,
    }
}

/// Whether an earlier request with the same key has made this call. The function may not read calls,
/// so it takes over the sending of the call, as a repeat does anyway. It does so under a name of its
/// own: the record of one that has the request's sender would be taken for the request's own.
async fn is_repeat(calls: &impl Calls, request: &CallRequest) -> bool {
    if request.fingerprint.is_none() {
        return false;
    }
    let sender = SenderId::from(Uuid::new_v4());
    match calls.take_over_sending(request.id, sender).await {
        Ok(Takeover::Taken { .. }) => true,
        // The repeat of a call that could not be queued would make another one.
        Ok(Takeover::NotPending(call)) => call.failure_reason != Some(FailureReason::NotQueued),
        Ok(Takeover::Missing) => false,
        Err(error) => {
            tracing::error!(error = %error::chain(&error), "an earlier request could not be looked for");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_made_a_call_stays_counted() {
        let refused = |reason| {
            let id = Uuid::nil().into();
            is_called(&Err(NotPlaced { id, reason }))
        };
        assert!(refused(Refusal::Unknown));
        for reason in [
            Refusal::OtherRequest,
            Refusal::NotRecorded,
            Refusal::NotQueued,
            Refusal::TriesUsedUp,
        ] {
            assert!(!refused(reason), "{reason:?}");
        }
    }
}
