//! The sweeper: ends the calls that nobody else will. On a schedule, every minute.
//!
//! A pending call past its `dial_before` has expired; a live one past its deadline whose bridge is gone is
//! over. Each is ended by a conditional write, so that a bridge that is there after all is never overruled.

use std::sync::Arc;
use std::time::Duration;

use cloud::calls::{PendingEnd, Saved};
use cloud::heartbeats::GONE_AFTER;
use cloud::ports::{Calls, SignsOfLife};
use cloud::{StoreError, error, tables};
use domain::rules::{Rule, kept};
use domain::{Call, CallEvent, CallStatus, FailureReason, Timestamp, When};
use tokio::time::Instant;

/// Most calls of one kind that are ended in one run; the next run goes on.
const MOST: usize = 1_000;
/// Clocks differ: a call is left alone for this long after it was due.
const MARGIN: Duration = Duration::from_secs(30);

/// What the sweeper works with.
#[derive(Clone)]
pub struct Sweeper {
    /// The table of calls.
    pub calls: Arc<dyn Calls>,
    /// The bridges' heartbeats.
    pub heartbeats: Arc<dyn SignsOfLife>,
    /// How long one run may take: half of it for calls that wait, so that the others have their turn.
    pub budget: Duration,
}

/// Well below the function's timeout and the schedule's minute.
pub const BUDGET: Duration = Duration::from_secs(40);

/// What a run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Calls that waited for too long.
    pub expired: usize,
    /// Calls whose bridge is gone.
    pub lost: usize,
    /// Calls that could not be read or written this time.
    pub failed: usize,
    /// The time was up before all were ended. The next run goes on.
    pub unfinished: bool,
}

impl Sweeper {
    /// Runs once.
    ///
    /// # Errors
    /// If the calls or the bridges cannot be listed. One call that cannot be ended does not keep the others.
    pub async fn sweep(&self, now: Timestamp) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        let begun = Instant::now();
        let due = now.minus(MARGIN);
        for (_, id) in self.calls.held(tables::PENDING, due, MOST).await? {
            swept.unfinished |= begun.elapsed() >= self.budget / 2;
            if swept.unfinished || !kept(Rule::SweptWhenPending) {
                break;
            }
            let ended = match self.calls.get(id).await {
                Ok(Some(call)) if call.status == CallStatus::Pending => {
                    self.expire(&call, now).await
                }
                Ok(_) => continue,
                Err(error) => Err(error),
            };
            count(id, ended, &mut swept.expired, &mut swept.failed);
        }
        for heartbeat in self.heartbeats.read().await? {
            if now.since(heartbeat.at) <= GONE_AFTER || !kept(Rule::SweptWhenLost) {
                continue;
            }
            let holder = tables::held_by(&heartbeat.bridge_id);
            let due = if kept(Rule::SweptAfterDeadlineOnly) {
                due
            } else {
                Timestamp::from_millis(i64::MAX)
            };
            for (_, id) in self.calls.held(&holder, due, MOST).await? {
                if begun.elapsed() >= self.budget {
                    swept.unfinished = true;
                    break;
                }
                let ended = match self.calls.get(id).await {
                    Ok(Some(call)) => self.end_lost(&call, now).await,
                    Ok(None) => continue,
                    Err(error) => Err(error),
                };
                count(id, ended, &mut swept.lost, &mut swept.failed);
            }
        }
        tracing::info!(
            expired = swept.expired,
            lost = swept.lost,
            failed = swept.failed,
            unfinished = swept.unfinished,
            "the calls were swept"
        );
        Ok(swept)
    }

    async fn expire(&self, call: &Call, now: Timestamp) -> Result<bool, StoreError> {
        let end = self.calls.fail_pending(call, FailureReason::Expired, now);
        Ok(end.await? == PendingEnd::Ended)
    }

    async fn end_lost(&self, call: &Call, now: Timestamp) -> Result<bool, StoreError> {
        let due = call.deadline.is_some_and(|deadline| deadline <= now);
        if !due && kept(Rule::SweptAfterDeadlineOnly) {
            return Ok(false);
        }
        let event = if call.answered_at.is_some() {
            CallEvent::EndUnseen
        } else {
            CallEvent::Failed(FailureReason::BridgeLost)
        };
        let Some((ended, _)) = call.next(&event, When::ours(now)) else {
            return Ok(false);
        };
        Ok(self.calls.save(&ended).await? == Saved::Yes)
    }
}

fn count(
    id: domain::CallId,
    ended: Result<bool, StoreError>,
    done: &mut usize,
    failed: &mut usize,
) {
    match ended {
        Ok(true) => *done += 1,
        Ok(false) => {}
        Err(error) => {
            tracing::warn!(call_id = %id, error = %error::chain(&error), "the call could not be swept");
            *failed += 1;
        }
    }
}
