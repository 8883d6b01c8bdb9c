//! What a call's task asks of the store and of Asterisk, and waits for.

use std::sync::Arc;
use std::time::Duration;

use cloud::calls::{Claim, PendingEnd};
use cloud::error;
use domain::origination::{ChannelOwner, ClaimReply, Input, Inspection, RecordReply};
use domain::reconciliation::{ChannelSeen, Knowledge};
use domain::rules::{Rule, kept};
use domain::{Call, CallId, CallRequest, CallStatus, ClaimId, FailureReason};
use uuid::Uuid;

use crate::ari::{AriError, Asterisk, PlaybackId};
use crate::backoff::Backoff;
use crate::shared::Shared;

/// An answer for the protocol; a claimed call comes along.
pub type Answer = (Input, Option<Box<Call>>);

/// What Asterisk says of a channel.
pub struct Look {
    /// What the channel is doing.
    pub channel: ChannelSeen,
    /// The first of the call's playbacks that goes on or waits for its turn.
    pub playing: Option<PlaybackId>,
    /// What is known besides.
    pub known: Knowledge,
}

/// What is asked about a call's channel.
pub struct Question {
    /// The call.
    pub id: CallId,
    /// Whether its dial is known to have been made.
    pub dialled: bool,
    /// The playbacks that may go on, in order.
    pub playbacks: Vec<PlaybackId>,
}

/// How often a claim is tried.
pub const CLAIM_TRIES: u32 = 2;
/// How long the event may take of the end of a channel, or of a playback, that is over already.
const LAST_EVENT_WITHIN: Duration = Duration::from_secs(1);

/// Claims the call, again and again with the same attempt's id if no answer comes: a claim that was written
/// is known by it.
pub async fn claim(shared: Arc<Shared>, request: CallRequest, patience: Duration) -> Answer {
    let id = request.id;
    let attempt = shared
        .unsettled
        .take(id)
        .unwrap_or_else(|| ClaimId::from(Uuid::new_v4()));
    let owner = &shared.settings.bridge_id;
    for attempts_left in (0..CLAIM_TRIES).rev() {
        // A bridge whose clock is behind does not dial before the call was asked for.
        let now = shared.now().max(request.created_at);
        let claimed = shared
            .outside
            .calls
            .claim(id, owner, attempt, now.plus(patience), now)
            .await;
        match claimed {
            Ok(Claim::Claimed(call)) => {
                let agrees = call.request.agrees_with(&request) || !kept(Rule::RecordDecides);
                if !agrees {
                    tracing::error!(call_id = %id, "the message does not say what the record says: nobody is called");
                }
                let reply = if agrees {
                    ClaimReply::Claimed
                } else {
                    ClaimReply::Mismatched
                };
                return (Input::ClaimReplied(reply), Some(call));
            }
            Ok(Claim::Taken(_) | Claim::Missing) => {
                return (Input::ClaimReplied(ClaimReply::Refused), None);
            }
            Ok(Claim::Expired) => return (Input::ClaimReplied(ClaimReply::Expired), None),
            Err(error) => {
                tracing::warn!(call_id = %id, attempts_left, error = %error::chain(&error), "the call was not claimed");
            }
        }
    }
    shared.unsettled.remember(id, attempt);
    (Input::ClaimReplied(ClaimReply::Unavailable), None)
}

/// Looks at a channel until Asterisk says what it is doing.
pub async fn look(shared: Arc<Shared>, question: Question) -> Look {
    let id = question.id;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        match look_once(&*shared.outside.ari, &question).await {
            Ok(look) => return look,
            Err(error) => {
                tracing::warn!(call_id = %id, error = %error::chain(&error), "the channel was not read");
            }
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Asks for no more than the decision needs: there may be hundreds of calls to look at.
async fn look_once(ari: &dyn Asterisk, question: &Question) -> Result<Look, AriError> {
    let channel = ari.channel_seen(question.id).await?;
    let mut playing = None;
    if channel == (ChannelSeen::Up { in_stasis: true }) {
        for playback in &question.playbacks {
            if ari.is_playing(*playback).await? {
                playing = Some(*playback);
                break;
            }
        }
    }
    let is_silent = playing.is_none() && !question.playbacks.is_empty();
    let mut asterisk_started_at = None;
    if channel == ChannelSeen::Gone {
        asterisk_started_at = ari.started_at().await?;
    }
    if channel == ChannelSeen::Gone || is_silent {
        // The last event may be on the way, and says more.
        tokio::time::sleep(LAST_EVENT_WITHIN).await;
    }
    Ok(Look {
        channel,
        playing,
        known: Knowledge {
            dialled: question.dialled,
            asterisk_started_at,
        },
    })
}

pub async fn inspect(shared: Arc<Shared>, id: CallId) -> Answer {
    let (channel, call) = tokio::join!(
        shared.outside.ari.channel_owner(id),
        shared.outside.calls.get(id)
    );
    let inspection = match (channel, call) {
        (Ok(channel), Ok(Some(call))) => {
            let inspection = found(&shared, channel, &call);
            return (Input::Inspected(inspection), ours(&shared, call));
        }
        (Ok(channel), Ok(None)) => Inspection::NotPending(channel),
        (channel, call) => {
            if let Err(error) = channel {
                tracing::warn!(call_id = %id, error = %error::chain(&error), "the channel was not read");
            }
            if let Err(error) = call {
                tracing::warn!(call_id = %id, error = %error::chain(&error), "the call was not read");
            }
            Inspection::Unavailable
        }
    };
    (Input::Inspected(inspection), None)
}

/// The call if it is this bridge's and not over.
fn ours(shared: &Shared, call: Call) -> Option<Box<Call>> {
    let is_ours = call.owner.as_ref() == Some(&shared.settings.bridge_id);
    (is_ours && !call.status.is_terminal()).then(|| Box::new(call))
}

fn found(shared: &Shared, channel: ChannelOwner, call: &Call) -> Inspection {
    if call.status == CallStatus::Pending && call.owner.is_none() {
        Inspection::Pending(channel)
    } else if call.owner.as_ref() == Some(&shared.settings.bridge_id) {
        Inspection::Ours
    } else {
        Inspection::NotPending(channel)
    }
}

pub async fn record_failure(shared: Arc<Shared>, pending: Call, reason: FailureReason) -> Answer {
    let id = pending.request.id;
    let reply = match shared
        .outside
        .calls
        .fail_pending(&pending, reason, shared.now())
        .await
    {
        Ok(PendingEnd::Ended) => {
            tracing::info!(call_id = %id, reason = reason.as_str(), "the call failed before it was dialled");
            RecordReply::Settled
        }
        Ok(PendingEnd::NotPending(call)) => {
            let input = Input::FailureRecorded(RecordReply::Settled);
            return (input, ours(&shared, *call));
        }
        Ok(PendingEnd::Missing) => RecordReply::Settled,
        Err(error) => {
            tracing::warn!(call_id = %id, error = %error::chain(&error), "the call's failure was not written");
            RecordReply::Unavailable
        }
    };
    (Input::FailureRecorded(reply), None)
}
