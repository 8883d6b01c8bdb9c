//! The protocol that turns one queue message into at most one ringing phone.
//!
//! SQS delivers at least once and a bridge can die at any instruction. So the channel is
//! *created* first, which rings nobody; then one conditional write *claims* the call; then the channel is
//! *dialled*; then the message is *deleted*. Whoever loses the claim hangs its channel up undialled.
//!
//! [`Origination`] is that protocol as a machine: inputs are what the queue, the store and
//! Asterisk answered, outputs are what to do next. The bridge's shell does it; a test can play any
//! order of answers, losses and duplicates against the same code.

use std::time::Duration;

use crate::rules::{Rule, kept};
use crate::{CallRequest, FailureReason, Timestamp, WaitingReason};

/// Something the shell tells the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// ARI's answer to [`Action::CreateChannel`].
    Created(CreateReply),
    /// The delay of [`Action::RetryCreate`] is over.
    RetryDue,
    /// `StasisStart` of this attempt's channel: it can be dialled.
    StasisStarted,
    /// `StasisStart` did not come in time.
    StasisStartTimedOut,
    /// ARI's answer to [`Action::ExplainRefusal`].
    RefusalExplained(Refusal),
    /// ARI's answer to [`Action::CheckTarget`].
    TargetChecked(TargetReply),
    /// `ChannelDestroyed` of the channel that was started. One that ends before it starts is found
    /// missing when the wait for its start is over.
    ChannelDestroyed,
    /// What [`Action::Inspect`] found.
    Inspected(Inspection),
    /// The store's answer to [`Action::Claim`].
    ClaimReplied(ClaimReply),
    /// ARI's answer to [`Action::Dial`].
    DialReplied(DialReply),
    /// An event showed that the dial has begun, or more.
    DialConfirmed,
    /// No event confirmed the dial in time.
    DialConfirmationTimedOut,
    /// The store's answer to [`Action::RecordFailure`].
    FailureRecorded(RecordReply),
}

/// ARI's answer to a create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateReply {
    /// 200.
    Created,
    /// 409: a channel with this id lives.
    Exists,
    /// 500 `Allocation failed`, which does not say why: nobody was called.
    Refused,
    /// 400: ARI does not understand the endpoint.
    Invalid,
    /// No answer, or another that says nothing about this call. It may have taken effect.
    Unavailable,
}

/// Why Asterisk refused to make a channel, as far as it can be found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Asterisk says that it has no such endpoint or technology. It says so for a moment, too, while
    /// a reload takes an endpoint away and brings it back.
    Missing,
    /// The endpoint is one callee's own phone, and it is offline.
    Unreachable,
    /// Nobody can be called through this trunk, or through this Asterisk, at present.
    Temporary(WaitingReason),
    /// Asterisk could not be asked.
    Unknown,
}

/// Whether the dialplan has the place where the answered call is to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetReply {
    /// It has.
    Exists,
    /// It lacks the context, the extension or the priority.
    Missing,
    /// Asterisk could not be asked.
    Unknown,
}

/// The store's answer to a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimReply {
    /// The call is ours.
    Claimed,
    /// It is somebody else's, over, or not there.
    Refused,
    /// The call is ours, and its record is not what the message says.
    Mismatched,
    /// It is still pending and nobody's, but too late to be dialled.
    Expired,
    /// No answer. It may have taken effect.
    Unavailable,
}

/// ARI's answer to a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialReply {
    /// 204, or 409 because it is no longer `Down`: it has been dialled.
    Dialled,
    /// 404: the channel is gone.
    Gone,
    /// 409 or 500, because the channel is leaving our application: Asterisk is ending it.
    Leaving,
    /// Asterisk answered that it will not.
    Refused,
    /// The request never left: it can be repeated.
    NotSent,
    /// The request left and no answer came. It may have taken effect, and a second
    /// dial of a channel that is still `Down` dials again, so it is never repeated.
    Lost,
}

/// The store's answer to the record of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordReply {
    /// It is recorded, or the call was not pending any more.
    Settled,
    /// No answer.
    Unavailable,
}

/// What the store and Asterisk say of a call whose channel already exists, or never started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inspection {
    /// The record is pending and nobody's.
    Pending(ChannelOwner),
    /// The record belongs to this bridge: reconciliation decides about it.
    Ours,
    /// The record is another bridge's, over, or not there.
    NotPending(ChannelOwner),
    /// The store or Asterisk could not be asked.
    Unavailable,
}

/// Whose Stasis application a channel is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOwner {
    /// There is no such channel.
    Nobody,
    /// This bridge's.
    ThisBridge,
    /// Another's.
    AnotherBridge,
}

/// Something the machine asks of the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// `POST /channels/create`, answered by [`Input::Created`].
    CreateChannel,
    /// Wait this long (plus jitter), then [`Input::RetryDue`].
    RetryCreate(Duration),
    /// Start the timer for `StasisStart`.
    AwaitStasisStart,
    /// Read the record and the channel, answered by [`Input::Inspected`].
    Inspect,
    /// Find out why the create was refused, answered by [`Input::RefusalExplained`].
    ExplainRefusal,
    /// Ask whether the dialplan has the call's target, answered by [`Input::TargetChecked`].
    CheckTarget,
    /// Claim the call in the store, answered by [`Input::ClaimReplied`].
    Claim,
    /// From now on the call is ours: apply events to it and write it back.
    Follow,
    /// `POST /channels/{id}/dial`, answered by [`Input::DialReplied`]; after this delay.
    Dial(Duration),
    /// Start the timer for an event that confirms the dial, of this length.
    AwaitDialConfirmation(Duration),
    /// `DELETE /channels/{id}` of a channel that was not dialled.
    HangUpUndialled,
    /// `DELETE /channels/{id}` of a followed call whose dial nothing confirmed.
    HangUpUnconfirmed,
    /// The followed call cannot be dialled.
    RecordDialFailure(FailureReason),
    /// Mark the still pending call failed, answered by [`Input::FailureRecorded`].
    RecordFailure(FailureReason),
    /// The message is done with.
    DeleteMessage,
    /// The message becomes visible again.
    ReturnMessage {
        /// After this long.
        after: Duration,
        /// Why nobody could be called, if that is known.
        reason: Option<WaitingReason>,
    },
}

/// How often and how long the machine tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How many times a create or an unsent dial is repeated.
    pub retries: u8,
    /// The first delay; each further one is twice as long.
    pub first_delay: Duration,
    /// How soon a message comes back whose call could not be started.
    pub return_after: Duration,
}

impl Default for RetryPolicy {
    /// 0.3, 0.6 and 1.2 seconds, then back to the queue for 5.
    fn default() -> Self {
        Self {
            retries: 3,
            first_delay: Duration::from_millis(300),
            return_after: Duration::from_secs(5),
        }
    }
}

impl RetryPolicy {
    fn delay(&self, failed_attempts: u8) -> Option<Duration> {
        (failed_attempts <= self.retries).then(|| {
            let doublings = u32::from(failed_attempts.saturating_sub(1));
            self.first_delay
                .saturating_mul(1u32.checked_shl(doublings).unwrap_or(u32::MAX))
        })
    }
}

/// How soon a message comes back that another bridge seems to be working on.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How long after a missing endpoint the create is tried once more. A reload of Asterisk's
/// configuration may take an endpoint away for a moment.
pub const MISSING_AGAIN_AFTER: Duration = Duration::from_secs(4);
/// How long a `Dial` event may take after Asterisk has taken the dial. It comes within milliseconds;
/// an Asterisk without descriptors sends none at all.
pub const DIAL_EVENT_WITHIN: Duration = Duration::from_secs(10);
/// How long an event may take to confirm a dial whose answer was lost.
pub const LOST_DIAL_EVENT_WITHIN: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Creating,
    WaitingToCreate,
    AwaitingStasisStart,
    Explaining,
    CheckingTarget,
    Inspecting,
    Claiming { gone: bool },
    Dialling { confirmed: bool },
    AwaitingDialConfirmation { message_deleted: bool },
    RecordingFailure,
    Done,
}

/// One message on its way to one dialled channel.
#[derive(Clone, Debug)]
pub struct Origination {
    state: State,
    policy: RetryPolicy,
    failed_attempts: u8,
    /// Asterisk has said once that the endpoint is missing.
    missing: bool,
    /// The answered call goes on in the dialplan, so that its target has to exist.
    has_target: bool,
}

impl Origination {
    /// Begins with a message just received, and says what to do first. A call that is `forbidden`
    /// here fails for that reason.
    #[must_use]
    pub fn start(
        request: &CallRequest,
        forbidden: Option<FailureReason>,
        policy: RetryPolicy,
        now: Timestamp,
    ) -> (Self, Vec<Action>) {
        let expired = now > request.dial_before && kept(Rule::DialledInTimeOnly);
        let expired = expired.then_some(FailureReason::Expired);
        let forbidden = forbidden.filter(|_| kept(Rule::ForbiddenNotDialled));
        let (state, action) = match expired.or(forbidden) {
            Some(reason) => (State::RecordingFailure, Action::RecordFailure(reason)),
            None => (State::Creating, Action::CreateChannel),
        };
        let origination = Self {
            state,
            policy,
            failed_attempts: 0,
            missing: false,
            has_target: request.media.is_none(),
        };
        (origination, vec![action])
    }

    /// The machine of a call whose message is done with: there is nothing more to say.
    #[must_use]
    pub fn over(policy: RetryPolicy) -> Self {
        Self {
            state: State::Done,
            policy,
            failed_attempts: 0,
            missing: false,
            has_target: false,
        }
    }

    /// Whether all that is missing is an event that confirms the dial. The call is followed then.
    #[must_use]
    pub fn awaits_confirmation_only(&self) -> bool {
        matches!(self.state, State::AwaitingDialConfirmation { .. })
    }

    /// Whether the machine has nothing more to say about the message.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes an input and says what to do, in this order. Inputs that do not fit the
    /// state (late answers, duplicates) do nothing.
    pub fn step(&mut self, input: Input) -> Vec<Action> {
        match (self.state, input) {
            (
                State::Creating | State::WaitingToCreate | State::AwaitingStasisStart,
                Input::StasisStarted,
            ) => {
                if !kept(Rule::ClaimThenDial) {
                    let dial = Action::Dial(Duration::ZERO);
                    return self.go(State::Dialling { confirmed: false }, [dial]);
                }
                // Also when the create's answer is late or was lost: the channel is there and ours.
                if self.has_target && kept(Rule::TargetAskedFirst) {
                    self.go(State::CheckingTarget, [Action::CheckTarget])
                } else {
                    self.go(State::Claiming { gone: false }, [Action::Claim])
                }
            }
            (State::Explaining, Input::RefusalExplained(refusal)) => self.explained(refusal),
            (State::CheckingTarget, Input::TargetChecked(TargetReply::Missing)) => self.go(
                State::RecordingFailure,
                [
                    Action::HangUpUndialled,
                    Action::RecordFailure(FailureReason::ContextMissing),
                ],
            ),
            (State::CheckingTarget, Input::TargetChecked(_)) => {
                self.go(State::Claiming { gone: false }, [Action::Claim])
            }
            // Nobody has claimed the call yet, so it can wait for another channel.
            (State::CheckingTarget, Input::ChannelDestroyed) => {
                self.give_back(LOOK_AGAIN_AFTER, Some(WaitingReason::AsteriskRefuses))
            }
            (State::Creating, Input::Created(reply)) => self.created(reply),
            (State::WaitingToCreate, Input::RetryDue) => {
                self.go(State::Creating, [Action::CreateChannel])
            }
            (State::AwaitingStasisStart, Input::StasisStartTimedOut) => {
                self.go(State::Inspecting, [Action::Inspect])
            }
            (State::Inspecting, Input::Inspected(inspection)) => self.inspected(inspection),
            (State::Claiming { .. }, Input::ChannelDestroyed) => {
                self.go(State::Claiming { gone: true }, [])
            }
            (State::Claiming { gone }, Input::ClaimReplied(reply)) => {
                self.claim_replied(reply, gone)
            }
            (State::Dialling { confirmed }, Input::DialReplied(reply)) => {
                self.dial_replied(reply, confirmed)
            }
            // The end of a followed call is recorded by the call itself; the answer to the dial still comes.
            (State::Dialling { .. }, Input::DialConfirmed | Input::ChannelDestroyed) => {
                self.go(State::Dialling { confirmed: true }, [])
            }
            (
                State::AwaitingDialConfirmation { message_deleted },
                Input::DialConfirmed | Input::ChannelDestroyed,
            ) => self.finish(message_deleted, None),
            (
                State::AwaitingDialConfirmation { message_deleted },
                Input::DialConfirmationTimedOut,
            ) => self.finish(message_deleted, Some(Action::HangUpUnconfirmed)),
            (State::RecordingFailure, Input::FailureRecorded(RecordReply::Settled)) => {
                self.go(State::Done, [Action::DeleteMessage])
            }
            (State::RecordingFailure, Input::FailureRecorded(RecordReply::Unavailable))
                if !kept(Rule::FailureThenDelete) =>
            {
                self.go(State::Done, [Action::DeleteMessage])
            }
            (State::RecordingFailure, Input::FailureRecorded(RecordReply::Unavailable)) => {
                self.give_back(self.policy.return_after, None)
            }
            _ => Vec::new(),
        }
    }

    fn created(&mut self, reply: CreateReply) -> Vec<Action> {
        match reply {
            CreateReply::Created if !kept(Rule::ClaimThenDelete) => {
                let actions = [Action::AwaitStasisStart, Action::DeleteMessage];
                self.go(State::AwaitingStasisStart, actions)
            }
            CreateReply::Created => self.go(State::AwaitingStasisStart, [Action::AwaitStasisStart]),
            // Our own create whose answer was lost: its StasisStart is on the way or has its timer.
            CreateReply::Exists if self.failed_attempts > 0 => {
                self.go(State::AwaitingStasisStart, [Action::AwaitStasisStart])
            }
            CreateReply::Exists if !kept(Rule::ExistingNotDone) => {
                self.go(State::Done, [Action::DeleteMessage])
            }
            CreateReply::Exists => self.go(State::Inspecting, [Action::Inspect]),
            CreateReply::Refused if kept(Rule::RefusedCreateWaits) => {
                self.go(State::Explaining, [Action::ExplainRefusal])
            }
            CreateReply::Refused | CreateReply::Invalid => {
                self.fail_pending(FailureReason::EndpointUnavailable)
            }
            CreateReply::Unavailable => {
                self.failed_attempts = self.failed_attempts.saturating_add(1);
                match self.policy.delay(self.failed_attempts) {
                    Some(delay) => self.go(State::WaitingToCreate, [Action::RetryCreate(delay)]),
                    None => self.give_back(
                        self.policy.return_after,
                        Some(WaitingReason::AsteriskUnreachable),
                    ),
                }
            }
        }
    }

    fn explained(&mut self, refusal: Refusal) -> Vec<Action> {
        let return_after = self.policy.return_after;
        match refusal {
            Refusal::Missing if self.missing || !kept(Rule::MissingProvenTwice) => {
                self.fail_pending(FailureReason::EndpointUnavailable)
            }
            Refusal::Missing => {
                self.missing = true;
                self.go(
                    State::WaitingToCreate,
                    [Action::RetryCreate(MISSING_AGAIN_AFTER)],
                )
            }
            Refusal::Unreachable => self.fail_pending(FailureReason::Unreachable),
            Refusal::Temporary(reason) => self.give_back(return_after, Some(reason)),
            Refusal::Unknown => {
                self.give_back(return_after, Some(WaitingReason::AsteriskUnreachable))
            }
        }
    }

    fn fail_pending(&mut self, reason: FailureReason) -> Vec<Action> {
        self.go(State::RecordingFailure, [Action::RecordFailure(reason)])
    }

    fn inspected(&mut self, inspection: Inspection) -> Vec<Action> {
        match inspection {
            // Left by an earlier life of this bridge that died before the claim: nobody rang.
            Inspection::Pending(ChannelOwner::ThisBridge) => self.go(
                State::Done,
                [
                    Action::HangUpUndialled,
                    Action::ReturnMessage {
                        after: LOOK_AGAIN_AFTER,
                        reason: None,
                    },
                ],
            ),
            Inspection::Pending(ChannelOwner::AnotherBridge | ChannelOwner::Nobody) => {
                self.give_back(LOOK_AGAIN_AFTER, None)
            }
            Inspection::NotPending(ChannelOwner::ThisBridge) => self.go(
                State::Done,
                [Action::HangUpUndialled, Action::DeleteMessage],
            ),
            Inspection::Ours
            | Inspection::NotPending(ChannelOwner::AnotherBridge | ChannelOwner::Nobody) => {
                self.go(State::Done, [Action::DeleteMessage])
            }
            Inspection::Unavailable => self.give_back(self.policy.return_after, None),
        }
    }

    fn claim_replied(&mut self, reply: ClaimReply, gone: bool) -> Vec<Action> {
        self.failed_attempts = 0;
        let reply = match reply {
            ClaimReply::Unavailable if !kept(Rule::UnansweredClaimNotDialled) => {
                ClaimReply::Claimed
            }
            reply => reply,
        };
        match (reply, gone) {
            (ClaimReply::Claimed, false) => self.go(
                State::Dialling { confirmed: false },
                [Action::Follow, Action::Dial(Duration::ZERO)],
            ),
            // The channel has gone undialled meanwhile.
            (ClaimReply::Claimed, true) => self.go(
                State::Done,
                [
                    Action::Follow,
                    Action::RecordDialFailure(FailureReason::NotDialled),
                    Action::DeleteMessage,
                ],
            ),
            (ClaimReply::Mismatched, gone) => {
                let hang_up = (!gone).then_some(Action::HangUpUndialled);
                let reason = FailureReason::MessageMismatch;
                self.state = State::Done;
                let end = [
                    Action::Follow,
                    Action::RecordDialFailure(reason),
                    Action::DeleteMessage,
                ];
                hang_up.into_iter().chain(end).collect()
            }
            (ClaimReply::Refused, _) => self.go(
                State::Done,
                [Action::HangUpUndialled, Action::DeleteMessage],
            ),
            (ClaimReply::Expired, _) => self.go(
                State::RecordingFailure,
                [
                    Action::HangUpUndialled,
                    Action::RecordFailure(FailureReason::Expired),
                ],
            ),
            (ClaimReply::Unavailable, _) if !kept(Rule::UnansweredClaimReturned) => self.go(
                State::Done,
                [Action::HangUpUndialled, Action::DeleteMessage],
            ),
            (ClaimReply::Unavailable, _) => self.go(
                State::Done,
                [
                    Action::HangUpUndialled,
                    Action::ReturnMessage {
                        after: self.policy.return_after,
                        reason: None,
                    },
                ],
            ),
        }
    }

    fn dial_replied(&mut self, reply: DialReply, confirmed: bool) -> Vec<Action> {
        match reply {
            _ if confirmed => self.go(State::Done, [Action::DeleteMessage]),
            DialReply::Dialled if !kept(Rule::DialSeenInTime) => {
                self.go(State::Done, [Action::DeleteMessage])
            }
            DialReply::Dialled => self.go(
                State::AwaitingDialConfirmation {
                    message_deleted: true,
                },
                [
                    Action::DeleteMessage,
                    Action::AwaitDialConfirmation(DIAL_EVENT_WITHIN),
                ],
            ),
            DialReply::Gone => self.end_undialled(FailureReason::NotDialled, false),
            DialReply::Leaving => self.end_undialled(FailureReason::NotDialled, true),
            DialReply::Refused => self.end_undialled(FailureReason::DialRefused, true),
            DialReply::NotSent | DialReply::Lost
                if reply == DialReply::NotSent || !kept(Rule::DialOnce) =>
            {
                self.failed_attempts = self.failed_attempts.saturating_add(1);
                match self.policy.delay(self.failed_attempts) {
                    Some(delay) => self.go(State::Dialling { confirmed }, [Action::Dial(delay)]),
                    None => self.end_undialled(FailureReason::NotDialled, true),
                }
            }
            DialReply::NotSent | DialReply::Lost => self.go(
                State::AwaitingDialConfirmation {
                    message_deleted: false,
                },
                [Action::AwaitDialConfirmation(LOST_DIAL_EVENT_WITHIN)],
            ),
        }
    }

    fn end_undialled(&mut self, reason: FailureReason, hang_up: bool) -> Vec<Action> {
        self.state = State::Done;
        let mut actions = Vec::with_capacity(3);
        if hang_up {
            actions.push(Action::HangUpUndialled);
        }
        actions.extend([Action::RecordDialFailure(reason), Action::DeleteMessage]);
        actions
    }

    fn finish(&mut self, message_deleted: bool, action: Option<Action>) -> Vec<Action> {
        self.state = State::Done;
        let delete = (!message_deleted).then_some(Action::DeleteMessage);
        action.into_iter().chain(delete).collect()
    }

    fn give_back(&mut self, after: Duration, reason: Option<WaitingReason>) -> Vec<Action> {
        self.go(State::Done, [Action::ReturnMessage { after, reason }])
    }

    fn go<const N: usize>(&mut self, state: State, actions: [Action; N]) -> Vec<Action> {
        self.state = state;
        actions.to_vec()
    }
}

#[cfg(test)]
mod tests;
