//! One call: the shell that does what the origination protocol and the call's state machine say.
//!
//! A call's task owns everything about it, so its writes are in order and nothing is locked. At
//! any moment it waits for several things at once: an answer, a timer, an event, a write.

mod following;
mod own_channel;
mod questions;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cloud::error;
use cloud::queue::Receipt;
use domain::origination::{Action, ClaimReply, CreateReply, DialReply, Input, Origination};
use domain::rules::{Rule, kept};
use domain::{AttemptId, Call, CallEvent, CallId, CallRequest, HangupCause, HangupOrigin, When};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tracing::Instrument;
use uuid::Uuid;

use self::following::Live;
use self::own_channel::OwnChannel;
pub use self::questions::CLAIM_TRIES;
use self::questions::{Answer, Look, claim, inspect, record_failure};
use crate::ari::{ChannelEvent, ChannelEventKind};
use crate::backoff::{jittered, return_after};
use crate::crash;
use crate::registry::{Mail, Registration};
use crate::settings::{DEADLINE_GRACE, DIAL_CONFIRMATION_TIMEOUT};
use crate::shared::Shared;

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The task of one call.
pub struct CallTask {
    shared: Arc<Shared>,
    request: CallRequest,
    /// Of its message, unless that is done with.
    receipt: Option<Receipt>,
    receive_count: u32,
    registration: Registration,
    protocol: Origination,
    actions: VecDeque<Action>,
    answer: Option<Later<Answer>>,
    timer: Option<(Pin<Box<Sleep>>, Input)>,
    attempt: AttemptId,
    channel: OwnChannel,
    /// Ours, and not followed yet.
    claimed: Option<Box<Call>>,
    live: Option<Live>,
    received_at: Instant,
    /// The cause of the last `ChannelHangupRequest`.
    announced: Option<HangupCause>,
    look: Option<Later<(u32, Look)>>,
    /// What is to be played has been begun.
    playing: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl CallTask {
    /// Takes a message on.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        request: CallRequest,
        (receipt, receive_count): (Receipt, u32),
        registration: Registration,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let (protocol, actions) = Origination::start(&request, shared.settings.retry, shared.now());
        let attempt = AttemptId::new(Uuid::new_v4());
        Self {
            shared,
            request,
            receipt: Some(receipt),
            receive_count,
            registration,
            protocol,
            actions: actions.into(),
            answer: None,
            timer: None,
            attempt,
            channel: OwnChannel::OfAttempt(attempt),
            claimed: None,
            live: None,
            received_at: Instant::now(),
            announced: None,
            look: None,
            playing: false,
            _permit: Some(permit),
        }
    }

    /// Takes a call on that this bridge owns and nobody follows: after a restart.
    #[must_use]
    pub fn adopt(
        shared: Arc<Shared>,
        call: Call,
        registration: Registration,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let protocol = Origination::over(shared.settings.retry);
        let mut task = Self {
            request: call.request.clone(),
            receipt: None,
            receive_count: 0,
            registration,
            protocol,
            actions: VecDeque::new(),
            answer: None,
            timer: None,
            attempt: AttemptId::new(Uuid::nil()),
            channel: OwnChannel::Any,
            claimed: Some(Box::new(call)),
            live: None,
            received_at: Instant::now(),
            announced: None,
            look: None,
            playing: false,
            _permit: permit,
            shared,
        };
        task.follow();
        task.look_at_channel(false);
        task
    }

    /// Works until the call is over and recorded, its message given back, or the bridge stops.
    pub async fn run(mut self) {
        let stopping = self.shared.stopping.clone();
        loop {
            while let Some(action) = self.actions.pop_front() {
                self.perform(action).await;
            }
            if self.is_finished(stopping.is_cancelled()) {
                break;
            }
            let Self {
                answer,
                timer,
                live,
                look,
                registration,
                ..
            } = &mut self;
            let (write, effect, deadline) = match live {
                Some(live) if live.call.status.is_terminal() => {
                    (live.write.as_mut(), live.effect.as_mut(), None)
                }
                Some(live) => (
                    live.write.as_mut(),
                    live.effect.as_mut(),
                    Some(&mut live.deadline),
                ),
                None => (None, None, None),
            };
            tokio::select! {
                biased;
                Some(mail) = registration.mailbox.recv() => match mail {
                    Mail::Event(event) => self.take_event(event),
                    Mail::HangUp => self.request_hang_up(HangupOrigin::Client),
                    Mail::Resync => self.look_at_channel(true),
                },
                (sequence, look) = maybe(look.as_mut()) => {
                    self.look = None;
                    self.seen(sequence, &look);
                }
                (input, call) = maybe(answer.as_mut()) => {
                    self.answer = None;
                    self.claimed = call.or(self.claimed.take());
                    self.feed(input);
                }
                (sequence, result) = maybe(write) => self.written(sequence, result),
                done = maybe(effect) => self.effect_done(done),
                () = maybe(timer.as_mut().map(|(sleep, _)| sleep)) => {
                    if let Some((_, input)) = self.timer.take() {
                        self.feed(input);
                    }
                }
                () = maybe(deadline) => self.past_deadline(),
                () = stopping.cancelled(), if !stopping.is_cancelled() => {}
            }
        }
        // Of an earlier life: while this task had its message, reconciliation passed it over.
        let is_unfollowed = self.live.is_none() && self.claimed.is_some();
        let shared = Arc::clone(&self.shared);
        drop(self);
        if is_unfollowed {
            shared.unfollowed.notify_one();
        }
    }

    fn id(&self) -> CallId {
        self.request.id
    }

    fn is_finished(&self, stopping: bool) -> bool {
        if !self.protocol.is_done() || !self.actions.is_empty() {
            return false;
        }
        match &self.live {
            None => true,
            Some(live) => {
                // A look that is under way is taken again by the next start.
                let left_alone = stopping && live.effect.is_none();
                live.write.is_none() && (left_alone || live.call.status.is_terminal())
            }
        }
    }

    fn feed(&mut self, input: Input) {
        match input {
            Input::Created(CreateReply::Created) => crash::point("after_create"),
            Input::StasisStarted => {
                // Its event may be faster than the answer to the create.
                crash::point("after_create");
                crash::point("after_stasis_start");
            }
            Input::ClaimReplied(ClaimReply::Claimed) => crash::point("after_claim"),
            Input::DialReplied(DialReply::Dialled) => crash::point("after_dial"),
            _ => {}
        }
        match input {
            Input::Created(CreateReply::Unavailable) => self.shared.ari_breaker.failed(),
            Input::Created(_) => self.shared.ari_breaker.succeeded(),
            Input::ClaimReplied(ClaimReply::Unavailable) => self.shared.store_breaker.failed(),
            Input::ClaimReplied(_) => self.shared.store_breaker.succeeded(),
            _ => {}
        }
        if input == Input::DialReplied(DialReply::Dialled) {
            self.shared.metrics.dialled(self.received_at.elapsed());
        }
        self.actions.extend(self.protocol.step(input));
    }

    fn take_event(&mut self, mut event: ChannelEvent) {
        if !self.channel.is_about(&event) {
            tracing::debug!(call_id = %self.id(), ?event, "an event of an earlier attempt was ignored");
            return;
        }
        if let ChannelEventKind::Destroyed(cause, sip_code) = event.kind {
            let announced = self.announced.filter(|_| !self.is_answered());
            event.kind = ChannelEventKind::Destroyed(cause.or_announced(announced), sip_code);
        }
        let input = match event.kind {
            ChannelEventKind::HangupAnnounced(cause) => {
                self.announced = Some(cause);
                return;
            }
            ChannelEventKind::StasisStarted { .. } => Input::StasisStarted,
            ChannelEventKind::Played { .. } => {
                self.played(event);
                return;
            }
            ChannelEventKind::DialBegun
            | ChannelEventKind::Progressed
            | ChannelEventKind::Rang
            | ChannelEventKind::Answered => Input::DialConfirmed,
            ChannelEventKind::Destroyed(cause, sip_code) => {
                Input::ChannelDestroyed(cause, sip_code)
            }
        };
        self.feed(input);
        if let Some(change) = event.kind.as_call_event() {
            let at = When {
                now: self.shared.now(),
                asterisk: event.at,
            };
            self.apply(&change, at);
        }
    }

    /// A callee who hangs up while something plays has not been failed.
    fn played(&mut self, event: ChannelEvent) {
        let ChannelEventKind::Played { whole } = event.kind else {
            return;
        };
        let at = When {
            now: self.shared.now(),
            asterisk: event.at,
        };
        let whole = whole || self.announced.is_some();
        self.apply(&CallEvent::Played { whole }, at);
    }

    /// How long the call may last once it is answered.
    fn longest(&self) -> Duration {
        let most = self.shared.settings.max_call_duration;
        self.request
            .max_duration
            .map_or(most, |asked| asked.min(most))
    }

    fn is_answered(&self) -> bool {
        self.live
            .as_ref()
            .is_some_and(|live| live.call.answered_at.is_some())
    }

    /// Does what the protocol asks for.
    async fn perform(&mut self, action: Action) {
        match action {
            Action::CreateChannel => {
                crash::point("before_create");
                let (ari, request) = (Arc::clone(&self.shared.outside.ari), self.request.clone());
                let attempt = self.attempt;
                self.answer = Some(Box::pin(async move {
                    let reply = ari.create_channel(&request, attempt).await;
                    (Input::Created(reply), None)
                }));
            }
            Action::RetryCreate(delay) => self.start_timer(jittered(delay), Input::RetryDue),
            Action::AwaitStasisStart => {
                if kept(Rule::StartAwaitedForAWhile) {
                    let patience = self.shared.settings.stasis_start_timeout;
                    self.start_timer(patience, Input::StasisStartTimedOut);
                }
            }
            Action::Inspect => {
                self.answer = Some(Box::pin(inspect(Arc::clone(&self.shared), self.id())));
            }
            Action::Claim => {
                crash::point("before_claim");
                self.timer = None;
                let patience = self.request.dial_timeout + self.longest() + DEADLINE_GRACE;
                self.answer = Some(Box::pin(claim(
                    Arc::clone(&self.shared),
                    self.request.clone(),
                    patience,
                )));
            }
            Action::Follow => self.follow(),
            Action::Dial(delay) => {
                crash::point("before_dial");
                let (ari, id, timeout) = (
                    Arc::clone(&self.shared.outside.ari),
                    self.id(),
                    self.request.dial_timeout,
                );
                self.answer = Some(Box::pin(async move {
                    if !delay.is_zero() {
                        tokio::time::sleep(jittered(delay)).await;
                    }
                    (Input::DialReplied(ari.dial(id, timeout).await), None)
                }));
                let waited = self
                    .shared
                    .outside
                    .clock
                    .now()
                    .since(self.request.created_at);
                self.shared.metrics.dialling(waited);
            }
            Action::AwaitDialConfirmation => {
                self.start_timer(DIAL_CONFIRMATION_TIMEOUT, Input::DialConfirmationTimedOut);
            }
            Action::HangUpUndialled => self.hang_up_undialled().await,
            Action::HangUpUnconfirmed => self.request_hang_up(HangupOrigin::UnconfirmedDial),
            Action::RecordEnd(cause, sip_code) => {
                self.apply(
                    &CallEvent::Ended { cause, sip_code },
                    When::ours(self.shared.now()),
                );
            }
            Action::RecordDialFailure(reason) => {
                self.apply(&CallEvent::Failed(reason), When::ours(self.shared.now()));
            }
            Action::RecordFailure(reason) => {
                let pending = Call::new(self.request.clone());
                self.answer = Some(Box::pin(record_failure(
                    Arc::clone(&self.shared),
                    pending,
                    reason,
                )));
            }
            Action::DeleteMessage => {
                crash::point("before_delete");
                self.timer = None;
                // With a full backlog the message comes back, finds its call claimed, and is deleted then.
                if let Some(receipt) = self.receipt.clone() {
                    let _ = self.shared.done.try_send(receipt);
                }
            }
            Action::ReturnMessage(after) => {
                self.timer = None;
                let Some(receipt) = self.receipt.clone() else {
                    return;
                };
                let (queue, id) = (Arc::clone(&self.shared.outside.queue), self.id());
                let after = return_after(after, self.receive_count);
                let errand = async move {
                    if let Err(error) = queue.give_back(&receipt, after).await {
                        tracing::warn!(call_id = %id, error = %error::chain(&error), "a message was not given back");
                    }
                };
                self.shared.errands.spawn(errand.in_current_span());
            }
        }
    }

    fn start_timer(&mut self, delay: Duration, input: Input) {
        self.timer = Some((Box::pin(tokio::time::sleep(delay)), input));
    }
}

/// Waits for what is there; for ever for what is not.
async fn maybe<F: Future + Unpin>(future: Option<&mut F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
