//! The table `calls`: one item a call, and the conditional writes that decide who has it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use domain::rules::{Rule, kept};
use domain::{
    BridgeId, Call, CallEvent, CallId, CallStatus, ClaimId, FailureReason, HangupOrigin, Timestamp,
    WaitingReason, When,
};
use uuid::Uuid;

use crate::call_item::{Item, PASSING, decode, encode, encode_progress};
use crate::listing::read_key;
use crate::ports::Calls;
use crate::{StoreError, tables};

/// The attribute with the [`SenderId`].
const SENDER: &str = "sender";
/// The attribute that says when a call was queued again for a repeated request.
const QUEUED_AGAIN_AT: &str = "queued_again_at";

/// The calls.
#[derive(Clone, Debug)]
pub struct CallStore {
    client: Client,
    table: String,
}

/// Identifies one attempt to queue a call. A record names the last attempt, because only that
/// attempt may mark the call as not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderId(Uuid);

impl From<Uuid> for SenderId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

/// Whether a new call was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Creation {
    /// It was, now or by an earlier write of the same sender.
    Created,
    /// A call with this id was there already.
    Exists(Box<Call>),
}

/// Who has a call after an attempt to claim it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// This attempt.
    Claimed(Box<Call>),
    /// Another bridge or attempt; or the call is over.
    Taken(Box<Call>),
    /// Nobody: it is past its `dial_before`.
    Expired,
    /// There is no such call.
    Missing,
}

/// Whether a change of a live call was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// The record is as new as the call, or newer by this owner's own hand.
    Yes,
    /// The record is no longer this owner's: somebody ended it.
    Lost,
}

/// Whether a pending call was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PendingEnd {
    /// It was.
    Ended,
    /// It is no longer pending.
    NotPending(Box<Call>),
    /// There is no such call.
    Missing,
}

/// Whether a sender became the last one of a pending call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// It did. Nobody who sent before can mark the call as not queued any more.
    Taken {
        /// When the call was last queued again, if it ever was. A message of it was sent for certain.
        queued_again_at: Option<Timestamp>,
    },
    /// The call is no longer pending.
    NotPending(Box<Call>),
    /// There is no such call.
    Missing,
}

/// Whether a call that could not be queued was marked so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// It was, and nobody is called.
    Marked,
    /// The call is still pending, and another sender has taken it over.
    TakenOver,
    /// The call is no longer pending.
    NotPending(Box<Call>),
    /// There is no such call.
    Missing,
}

impl Creation {
    /// What it means that `sender` could not record a call because of what is stored.
    #[must_use]
    pub fn refused(stored: Call, last_sender: Option<SenderId>, sender: SenderId) -> Self {
        if last_sender == Some(sender) {
            // Written before, and its answer lost.
            Self::Created
        } else {
            Self::Exists(Box::new(stored))
        }
    }
}

impl Unsent {
    /// What it means that a call could not be marked as `failed` over what is stored.
    #[must_use]
    pub fn refused(stored: Call, failed: &Call) -> Self {
        match PendingEnd::refused(stored, failed) {
            PendingEnd::Ended => Self::Marked,
            PendingEnd::Missing => Self::Missing,
            PendingEnd::NotPending(stored) => {
                if stored.status == CallStatus::Pending && stored.owner.is_none() {
                    Self::TakenOver
                } else {
                    Self::NotPending(stored)
                }
            }
        }
    }
}

impl Claim {
    /// What it means that `attempt` was refused because of what is stored.
    #[must_use]
    pub fn refused(stored: Call, attempt: ClaimId) -> Self {
        let ours = stored.claim == Some(attempt)
            && stored.status == CallStatus::Dialing
            && kept(Rule::OwnClaimKnown);
        let pending = stored.status == CallStatus::Pending && stored.owner.is_none();
        if ours {
            // Written before, and its answer lost.
            Self::Claimed(Box::new(stored))
        } else if pending {
            Self::Expired
        } else {
            Self::Taken(Box::new(stored))
        }
    }
}

impl Saved {
    /// What it means that `call` could not be written over what is stored. An end over a call that
    /// goes on is somebody else's write, whatever its sequence.
    #[must_use]
    pub fn refused(stored: &Call, call: &Call) -> Self {
        let same = stored.claim == call.claim
            && stored.sequence >= call.sequence
            && (stored.status.is_terminal() == call.status.is_terminal())
            && (!call.status.is_terminal() || stored.status == call.status);
        if same && kept(Rule::OwnSaveKnown) {
            Self::Yes
        } else {
            Self::Lost
        }
    }
}

impl PendingEnd {
    /// What it means that a pending call could not be written as `ended` over what is stored.
    #[must_use]
    pub fn refused(stored: Call, ended: &Call) -> Self {
        // Our own write, repeated after its answer was lost.
        if (stored.status, stored.ended_at) == (ended.status, ended.ended_at) {
            Self::Ended
        } else {
            Self::NotPending(Box::new(stored))
        }
    }
}

impl CallStore {
    /// Over the table named `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    pub(crate) const fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    async fn end_pending(
        &self,
        pending: &Call,
        event: &CallEvent,
        now: Timestamp,
    ) -> Result<PendingEnd, StoreError> {
        let Some((ended, _)) = pending.next(event, When::ours(now)) else {
            return Ok(PendingEnd::NotPending(Box::new(pending.clone())));
        };
        let update = self.update_pending(pending.request.id, "");
        let result = set_progress(update, &ended).send().await;
        match settle(result.map(|output| output.attributes))? {
            Settled::Written(_) => Ok(PendingEnd::Ended),
            Settled::Refused(None) => Ok(PendingEnd::Missing),
            Settled::Refused(Some(item)) => Ok(PendingEnd::refused(decode(&item)?, &ended)),
        }
    }

    /// An update of a call on the condition that it is pending and nobody's.
    fn update_pending(&self, id: CallId, and: &str) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&self.table)
            .key(tables::CALLS_KEY, AttributeValue::S(id.to_string()))
            .condition_expression(format!(
                "#status = :pending AND attribute_not_exists(#owner){and}"
            ))
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":pending", text(CallStatus::Pending.as_str()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

impl CallStore {
    /// Opens a connection, with a write whose condition is never true: whoever records calls may not read them.
    ///
    /// # Errors
    /// If the table cannot be reached.
    pub async fn touch(&self) -> Result<(), StoreError> {
        let nobody = AttributeValue::S(Uuid::nil().to_string());
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(tables::CALLS_KEY, nobody)
            .update_expression("REMOVE never")
            .condition_expression("attribute_exists(never)")
            .send()
            .await;
        settle(result.map(|output| output.attributes)).map(|_| ())
    }
}

#[async_trait]
impl Calls for CallStore {
    async fn create(
        &self,
        call: &Call,
        sender: SenderId,
        expires_at: Timestamp,
    ) -> Result<Creation, StoreError> {
        let mut item = encode(call, expires_at);
        item.insert(SENDER.to_owned(), text(&sender.0.to_string()));
        let result = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(call_id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match result {
            Ok(_) => Ok(Creation::Created),
            Err(SdkError::ServiceError(context)) => match context.into_err() {
                PutItemError::ConditionalCheckFailedException(failed) => match failed.item() {
                    Some(item) => Ok(Creation::refused(decode(item)?, last_sender(item), sender)),
                    None => Err(StoreError::Malformed {
                        what: "call",
                        field: "call_id",
                    }),
                },
                error => Err(StoreError::unavailable("PutItem")(error)),
            },
            Err(error) => Err(StoreError::unavailable("PutItem")(error)),
        }
    }

    async fn get(&self, id: CallId) -> Result<Option<Call>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(tables::CALLS_KEY, AttributeValue::S(id.to_string()))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::unavailable("GetItem"))?;
        output.item.as_ref().map(decode).transpose()
    }

    async fn claim(
        &self,
        id: CallId,
        owner: &BridgeId,
        claim: ClaimId,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let entry = domain::TimelineEntry {
            kind: domain::TimelineKind::Dialing,
            asterisk_at: None,
            recorded_at: now,
        };
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(tables::CALLS_KEY, AttributeValue::S(id.to_string()))
            .update_expression(
                "SET #status = :dialing, #owner = :owner, claim = :claim, deadline = :deadline, \
                 holder = :holder, due = :deadline, dialed_at = :now, #sequence = #sequence + :one, timeline = list_append(timeline, :entries)",
            )
            .condition_expression("#status = :pending AND attribute_not_exists(#owner) AND dial_before >= :now")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_names("#sequence", "sequence")
            .expression_attribute_values(":dialing", text(CallStatus::Dialing.as_str()))
            .expression_attribute_values(":pending", text(CallStatus::Pending.as_str()))
            .expression_attribute_values(":owner", text(owner.as_str()))
            .expression_attribute_values(":holder", text(&tables::held_by(owner)))
            .expression_attribute_values(":claim", text(&claim.to_string()))
            .expression_attribute_values(":deadline", number(deadline.as_millis()))
            .expression_attribute_values(":now", number(now.as_millis()))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(
                ":entries",
                AttributeValue::L(vec![crate::call_item::encode_entry(&entry)]),
            )
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match settle(result.map(|output| output.attributes))? {
            Settled::Written(Some(item)) => Ok(Claim::Claimed(Box::new(decode(&item)?))),
            Settled::Written(None) | Settled::Refused(None) => Ok(Claim::Missing),
            Settled::Refused(Some(item)) => Ok(Claim::refused(decode(&item)?, claim)),
        }
    }

    async fn save(&self, call: &Call) -> Result<Saved, StoreError> {
        let Some(claim) = call.claim else {
            return Ok(Saved::Lost);
        };
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(
                tables::CALLS_KEY,
                AttributeValue::S(call.request.id.to_string()),
            )
            .condition_expression(
                "claim = :mine AND #sequence < :sequence AND attribute_not_exists(ended_at)",
            )
            .expression_attribute_values(":mine", text(&claim.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let result = set_progress(update, call).send().await;
        match settle(result.map(|output| output.attributes))? {
            Settled::Written(_) => Ok(Saved::Yes),
            Settled::Refused(None) => Ok(Saved::Lost),
            Settled::Refused(Some(item)) => Ok(Saved::refused(&decode(&item)?, call)),
        }
    }

    async fn take_over_sending(
        &self,
        id: CallId,
        sender: SenderId,
    ) -> Result<Takeover, StoreError> {
        let result = self
            .update_pending(id, "")
            .update_expression("SET #sender = :sender")
            .expression_attribute_names("#sender", SENDER)
            .expression_attribute_values(":sender", text(&sender.0.to_string()))
            .return_values(ReturnValue::AllOld)
            .send()
            .await;
        match settle(result.map(|output| output.attributes))? {
            Settled::Written(before) => Ok(Takeover::Taken {
                queued_again_at: before.as_ref().and_then(queued_again_at),
            }),
            Settled::Refused(None) => Ok(Takeover::Missing),
            Settled::Refused(Some(item)) => Ok(Takeover::NotPending(Box::new(decode(&item)?))),
        }
    }

    async fn note_queued_again(&self, id: CallId, at: Timestamp) -> Result<(), StoreError> {
        let result = self
            .update_pending(id, "")
            .update_expression("SET #queued_again_at = :at")
            .expression_attribute_names("#queued_again_at", QUEUED_AGAIN_AT)
            .expression_attribute_values(":at", number(at.as_millis()))
            .send()
            .await;
        // One that is no longer pending needs no note.
        settle(result.map(|output| output.attributes)).map(|_| ())
    }

    async fn fail_unsent(
        &self,
        pending: &Call,
        sender: SenderId,
        now: Timestamp,
    ) -> Result<Unsent, StoreError> {
        let event = CallEvent::Failed(FailureReason::NotQueued);
        let Some((failed, _)) = pending.next(&event, When::ours(now)) else {
            return Ok(Unsent::NotPending(Box::new(pending.clone())));
        };
        let update = self
            .update_pending(pending.request.id, " AND #sender = :sender")
            .expression_attribute_names("#sender", SENDER)
            .expression_attribute_values(":sender", text(&sender.0.to_string()));
        let result = set_progress(update, &failed).send().await;
        match settle(result.map(|output| output.attributes))? {
            Settled::Written(_) => Ok(Unsent::Marked),
            Settled::Refused(None) => Ok(Unsent::Missing),
            Settled::Refused(Some(item)) => Ok(Unsent::refused(decode(&item)?, &failed)),
        }
    }

    async fn fail_pending(
        &self,
        pending: &Call,
        reason: FailureReason,
        now: Timestamp,
    ) -> Result<PendingEnd, StoreError> {
        self.end_pending(pending, &CallEvent::Failed(reason), now)
            .await
    }

    async fn cancel_pending(
        &self,
        pending: &Call,
        now: Timestamp,
    ) -> Result<PendingEnd, StoreError> {
        let hangup = CallEvent::HangupRequested(HangupOrigin::Client);
        self.end_pending(pending, &hangup, now).await
    }

    async fn note_waiting(&self, id: CallId, reason: WaitingReason) -> Result<(), StoreError> {
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(tables::CALLS_KEY, AttributeValue::S(id.to_string()))
            .update_expression("SET waiting_reason = :reason")
            .condition_expression(
                "#status = :pending AND attribute_not_exists(#owner) \
                 AND attribute_not_exists(waiting_reason)",
            )
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":pending", text(CallStatus::Pending.as_str()))
            .expression_attribute_values(":reason", text(reason.as_str()))
            .send()
            .await;
        settle(result.map(|output| output.attributes)).map(|_| ())
    }

    async fn held(
        &self,
        holder: &str,
        due_before: Timestamp,
        most: usize,
    ) -> Result<Vec<(Timestamp, CallId)>, StoreError> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(tables::BY_HOLDER)
            .key_condition_expression("holder = :holder AND due < :due")
            .expression_attribute_values(":holder", text(holder))
            .expression_attribute_values(":due", number(due_before.as_millis()))
            .limit(i32::try_from(most).unwrap_or(i32::MAX))
            .into_paginator()
            .items()
            .send();
        let mut held = Vec::new();
        while held.len() < most
            && let Some(item) = pages.next().await
        {
            let item = item.map_err(StoreError::unavailable("Query"))?;
            held.push(read_key(&item, tables::DUE_KEY)?);
        }
        Ok(held)
    }
}

fn set_progress(mut update: UpdateItemFluentBuilder, call: &Call) -> UpdateItemFluentBuilder {
    let progress = encode_progress(call);
    let mut assignments = Vec::with_capacity(progress.len());
    let present: BTreeSet<_> = progress.keys().cloned().collect();
    for (name, value) in progress {
        assignments.push(format!("#{name} = :{name}"));
        update = update
            .expression_attribute_names(format!("#{name}"), &name)
            .expression_attribute_values(format!(":{name}"), value);
    }
    let mut removed: Vec<_> = PASSING
        .into_iter()
        .filter(|name| !present.contains(*name))
        .collect();
    if call.status.is_terminal() {
        // A call that is over is nobody's to follow or to expire.
        removed.extend(["holder", "due"]);
    }
    let mut expression = format!("SET {}", assignments.join(", "));
    if !removed.is_empty() {
        expression.push_str(" REMOVE ");
        expression.push_str(&removed.join(", "));
    }
    update.update_expression(expression)
}

/// When a pending call was queued again.
fn queued_again_at(item: &Item) -> Option<Timestamp> {
    let at = item.get(QUEUED_AGAIN_AT)?.as_n().ok()?;
    at.parse().ok().map(Timestamp::from_millis)
}

/// The sender that a record names last. A record of an earlier release names none.
fn last_sender(item: &Item) -> Option<SenderId> {
    let text = item.get(SENDER)?.as_s().ok()?;
    text.parse().ok().map(SenderId)
}

enum Settled {
    Written(Option<Item>),
    Refused(Option<Item>),
}

fn settle<R>(
    result: Result<Option<Item>, SdkError<UpdateItemError, R>>,
) -> Result<Settled, StoreError>
where
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match result {
        Ok(item) => Ok(Settled::Written(item)),
        Err(SdkError::ServiceError(context)) => match context.into_err() {
            UpdateItemError::ConditionalCheckFailedException(failed) => {
                Ok(Settled::Refused(failed.item))
            }
            error => Err(StoreError::unavailable("UpdateItem")(error)),
        },
        Err(error) => Err(StoreError::unavailable("UpdateItem")(error)),
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

#[cfg(test)]
mod tests {
    use domain::QueueMessage;

    use super::*;

    const MESSAGE: &str = r#"{"type":"dial.v1","call_id":"3f2b8c1e-0000-4000-8000-000000000001",
        "phone_number":"+15550000200","endpoint":"PJSIP/15550000200@trunk","context":"outbound-ivr",
        "extension":"s","priority":1,"dial_timeout_ms":30000,"created_at_ms":1,"dial_before_ms":2}"#;

    fn call(status: CallStatus, sequence: u32) -> Call {
        let request = QueueMessage::decode(MESSAGE)
            .expect("a message")
            .into_request();
        Call {
            status,
            sequence,
            ..Call::new(request)
        }
    }

    #[test]
    fn an_end_by_somebody_else_is_never_ones_own_write() {
        use CallStatus::{Completed, Failed, Ringing};

        for (stored, ours, expected) in [
            // The sweeper has ended it, and its sequence happens to be that of our news.
            (call(Failed, 5), call(Ringing, 5), Saved::Lost),
            (call(Failed, 6), call(Ringing, 5), Saved::Lost),
            (call(Failed, 5), call(Completed, 5), Saved::Lost),
            (call(Ringing, 5), call(Ringing, 5), Saved::Yes),
            (call(Completed, 5), call(Completed, 5), Saved::Yes),
            (call(Ringing, 4), call(Ringing, 5), Saved::Lost),
        ] {
            let saved = Saved::refused(&stored, &ours);
            assert_eq!(
                saved, expected,
                "{:?} over {:?}",
                ours.status, stored.status
            );
        }
    }
}
