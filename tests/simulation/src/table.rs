//! A model of the table of calls: its conditional writes, and an index that lags. A test holds it against a server
//! that speaks `DynamoDB`'s protocol.

use std::collections::BTreeMap;

use cloud::Heartbeat;
use cloud::calls::{Claim, Creation, PendingEnd, Saved, SenderId, Takeover, Unsent};
use cloud::lease::{Lease, LeaseClaim, LeaseRefusal};
use cloud::ports::{BeatOutcome, Beaten};
use cloud::tables::{PENDING, held_by};
use domain::rules::{Rule, kept};
use domain::{
    BridgeId, Call, CallEvent, CallId, CallStatus, ClaimId, FailureReason, Timestamp,
    WaitingReason, When,
};

/// The table of calls.
#[derive(Debug, Default)]
pub struct Table {
    rows: BTreeMap<CallId, Row>,
}

#[derive(Debug)]
struct Row {
    call: Call,
    /// Who was the last to be about to queue it.
    sender: SenderId,
    /// When it was queued again.
    queued_again_at: Option<Timestamp>,
    /// What the index shows until it has caught up.
    before: Option<(String, Timestamp)>,
    caught_up_at: Timestamp,
}

impl Row {
    fn is_pending(&self) -> bool {
        self.call.status == CallStatus::Pending && self.call.owner.is_none()
    }

    fn entry(&self) -> Option<(String, Timestamp)> {
        let call = &self.call;
        if call.status.is_terminal() {
            return None;
        }
        Some(match (&call.owner, call.deadline) {
            (Some(_), _) if !kept(Rule::HolderIndexed) => return None,
            (Some(owner), Some(deadline)) => (held_by(owner), deadline),
            _ => (PENDING.to_owned(), call.request.dial_before),
        })
    }
}

impl Table {
    /// See [`cloud::ports::Calls::create`].
    pub fn create(&mut self, call: &Call, sender: SenderId) -> Creation {
        match self.rows.get(&call.request.id) {
            Some(row) if kept(Rule::CreateOnce) => {
                Creation::refused(row.call.clone(), Some(row.sender), sender)
            }
            _ => {
                let row = Row {
                    call: call.clone(),
                    sender,
                    queued_again_at: None,
                    before: None,
                    caught_up_at: Timestamp::from_millis(0),
                };
                self.rows.insert(call.request.id, row);
                Creation::Created
            }
        }
    }

    /// See [`cloud::ports::Calls::get`].
    #[must_use]
    pub fn get(&self, id: CallId) -> Option<&Call> {
        self.rows.get(&id).map(|row| &row.call)
    }

    /// All calls.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.rows.values().map(|row| &row.call)
    }

    /// See [`cloud::ports::Calls::claim`].
    pub fn claim(
        &mut self,
        id: CallId,
        owner: &BridgeId,
        claim: ClaimId,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Claim {
        let Some(stored) = self.get(id) else {
            return Claim::Missing;
        };
        let mut stored = stored.clone();
        if !kept(Rule::ClaimPendingOnly) {
            stored.status = CallStatus::Pending;
            stored.owner = None;
        }
        let free = stored.status == CallStatus::Pending
            && stored.owner.is_none()
            && (stored.request.dial_before >= now || !kept(Rule::DialledInTimeOnly));
        let event = CallEvent::Claimed {
            owner: owner.clone(),
            claim,
            deadline,
        };
        let next = free.then(|| stored.next(&event, When::ours(now))).flatten();
        match next {
            Some((call, _)) => {
                self.put(call.clone());
                Claim::Claimed(Box::new(call))
            }
            None => Claim::refused(stored, claim),
        }
    }

    /// See [`cloud::ports::Calls::save`].
    pub fn save(&mut self, call: &Call) -> Saved {
        let Some(stored) = self.get(call.request.id) else {
            return Saved::Lost;
        };
        if call.claim.is_none() {
            return Saved::Lost;
        }
        let mine = stored.claim == call.claim;
        let newer = stored.sequence < call.sequence || !kept(Rule::SaveNewerOnly);
        let live = stored.ended_at.is_none() || !kept(Rule::SaveLiveOnly);
        if mine && newer && live {
            self.put(call.clone());
            return Saved::Yes;
        }
        Saved::refused(stored, call)
    }

    /// See [`cloud::ports::Calls::take_over_sending`].
    pub fn take_over_sending(&mut self, id: CallId, sender: SenderId) -> Takeover {
        match self.rows.get_mut(&id) {
            None => Takeover::Missing,
            Some(row) if row.is_pending() => {
                row.sender = sender;
                Takeover::Taken {
                    queued_again_at: row.queued_again_at,
                }
            }
            Some(row) => Takeover::NotPending(Box::new(row.call.clone())),
        }
    }

    /// See [`cloud::ports::Calls::note_queued_again`].
    pub fn note_queued_again(&mut self, id: CallId, at: Timestamp) {
        if let Some(row) = self.rows.get_mut(&id).filter(|row| row.is_pending()) {
            row.queued_again_at = Some(at);
        }
    }

    /// See [`cloud::ports::Calls::fail_unsent`].
    pub fn fail_unsent(&mut self, pending: &Call, sender: SenderId, now: Timestamp) -> Unsent {
        let event = CallEvent::Failed(FailureReason::NotQueued);
        let Some((failed, _)) = pending.next(&event, When::ours(now)) else {
            return Unsent::NotPending(Box::new(pending.clone()));
        };
        let Some(row) = self.rows.get(&pending.request.id) else {
            return Unsent::Missing;
        };
        let allowed = row.is_pending() && row.sender == sender;
        if allowed || !kept(Rule::EndPendingOnly) {
            self.put(failed);
            return Unsent::Marked;
        }
        Unsent::refused(row.call.clone(), &failed)
    }

    /// See [`cloud::ports::Calls::fail_pending`] and [`cloud::ports::Calls::cancel_pending`].
    pub fn end_pending(&mut self, pending: &Call, event: &CallEvent, now: Timestamp) -> PendingEnd {
        let Some((ended, _)) = pending.next(event, When::ours(now)) else {
            return PendingEnd::NotPending(Box::new(pending.clone()));
        };
        let Some(stored) = self.get(pending.request.id) else {
            return PendingEnd::Missing;
        };
        let pending = stored.status == CallStatus::Pending && stored.owner.is_none();
        if pending || !kept(Rule::EndPendingOnly) {
            self.put(ended);
            return PendingEnd::Ended;
        }
        PendingEnd::refused(stored.clone(), &ended)
    }

    /// See [`cloud::ports::Calls::note_waiting`].
    pub fn note_waiting(&mut self, id: CallId, reason: WaitingReason) {
        let row = self.rows.get_mut(&id).map(|row| &mut row.call);
        if let Some(call) = row.filter(|call| call.status == CallStatus::Pending) {
            call.waiting_reason.get_or_insert(reason);
        }
    }

    /// See [`cloud::ports::Calls::held`].
    #[must_use]
    pub fn held(
        &self,
        holder: &str,
        due_before: Timestamp,
        most: usize,
        now: Timestamp,
    ) -> Vec<(Timestamp, CallId)> {
        let shown = |row: &Row| {
            if row.caught_up_at > now {
                row.before.clone()
            } else {
                row.entry()
            }
        };
        let mut held: Vec<_> = self
            .rows
            .values()
            .filter_map(|row| {
                let (of, due) = shown(row)?;
                (of == holder && due < due_before).then_some((due, row.call.request.id))
            })
            .collect();
        held.sort_unstable();
        held.truncate(most);
        held
    }

    fn put(&mut self, call: Call) {
        if let Some(row) = self.rows.get_mut(&call.request.id) {
            row.before = row.entry();
            // What was asked for is written once.
            row.call = Call {
                request: row.call.request.clone(),
                waiting_reason: row.call.waiting_reason,
                ..call
            };
        }
    }

    /// Lets the index show a call as it was until `until`.
    pub fn lag(&mut self, id: CallId, until: Timestamp) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.caught_up_at = until;
        }
    }
}

/// The bridges' heartbeats.
#[derive(Debug, Default)]
pub struct Signs {
    announced: Vec<BridgeId>,
    last: BTreeMap<String, Heartbeat>,
    leases: BTreeMap<String, Lease>,
}

impl Signs {
    /// See [`cloud::ports::SignsOfLife::announce`].
    pub fn announce(&mut self, bridge: &BridgeId) {
        if !self.announced.contains(bridge) {
            self.announced.push(bridge.clone());
        }
    }

    /// See [`cloud::ports::SignsOfLife::beat`].
    pub fn beat(&mut self, heartbeat: Heartbeat, claim: &LeaseClaim, now: Timestamp) -> Beaten {
        let name = heartbeat.bridge_id.to_string();
        let lease = self.leases.entry(name.clone()).or_default();
        let date = Some(Timestamp::from_millis(now.as_secs() * 1_000));
        if !lease.admits(claim) {
            let outcome = BeatOutcome::Refused(lease.clone());
            return Beaten { outcome, date };
        }
        *lease = lease.after(claim, heartbeat.at);
        let before = self.last.insert(name, heartbeat);
        let outcome = BeatOutcome::Written {
            is_first: before.is_none(),
            refused: before.and_then(|before| before.refused),
        };
        Beaten { outcome, date }
    }

    /// See [`cloud::ports::SignsOfLife::note_refusal`].
    pub fn note_refusal(&mut self, bridge: &BridgeId, refusal: LeaseRefusal, at: Timestamp) {
        if let Some(heartbeat) = self.last.get_mut(bridge.as_str()) {
            heartbeat.refused = Some((refusal, at));
        }
    }

    /// See [`cloud::ports::SignsOfLife::read`].
    #[must_use]
    pub fn read(&self) -> Vec<Heartbeat> {
        let known = |heartbeat: &&Heartbeat| self.announced.contains(&heartbeat.bridge_id);
        self.last.values().filter(known).cloned().collect()
    }
}
