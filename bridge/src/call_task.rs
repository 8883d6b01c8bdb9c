//! One call: the shell that does what the origination protocol and the call's state machine say.
//!
//! A call's task owns everything about it, so its writes are in order and nothing is locked. At
//! any moment it waits for several things at once: an answer, a timer, an event, a write.

mod dial_watch;
mod following;
mod own_channel;
mod playlist;
mod questions;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cloud::error;
use domain::origination::{
    Action, ClaimReply, CreateReply, DialReply, Input, Origination, TargetReply,
};
use domain::rules::{Rule, kept};
use domain::{
    AttemptId, Call, CallEvent, CallId, CallRequest, Dialled, DialplanTarget, Ending,
    FailureReason, HangupCause, HangupOrigin, When,
};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tracing::Instrument;
use uuid::Uuid;

use self::dial_watch::DialWatch;
use self::following::Live;
use self::own_channel::OwnChannel;
use self::playlist::Playlist;
pub use self::questions::CLAIM_TRIES;
use self::questions::{Answer, Look, claim, inspect, record_failure};
use crate::ari::{ChannelEvent, ChannelEventKind, NewChannel};
use crate::backoff::jittered;
use crate::circuits::Pass;
use crate::crash;
use crate::registry::{Mail, Registration};
use crate::returning::{Message, give_back};
use crate::shared::Shared;

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The task of one call.
pub struct CallTask {
    shared: Arc<Shared>,
    request: CallRequest,
    /// Unless the call is one of an earlier life.
    message: Option<Message>,
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
    /// Asterisk is shutting down, and the channel with it.
    asterisk_ends: bool,
    look: Option<Later<(Stamp, Look)>>,
    dial_watch: DialWatch,
    playlist: Playlist,
    /// Of the one call that tries an open circuit.
    pass: Option<Pass>,
    _permit: Option<OwnedSemaphorePermit>,
}

/// How far a call had come when a look at its channel began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    /// Of the call.
    sequence: u32,
    /// Of what is played to it.
    played: usize,
}

/// Added to the time that a call may take, when Asterisk itself is told to end it: for the time
/// between the create and the dial.
const CREATE_GRACE: Duration = Duration::from_mins(1);

impl CallTask {
    /// Takes a message on.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        request: CallRequest,
        message: Message,
        registration: Registration,
        (permit, pass): (OwnedSemaphorePermit, Option<Pass>),
    ) -> Self {
        let forbidden = request.forbidden(&shared.settings.allowed_numbers);
        if let Some(reason) = forbidden {
            tracing::error!(call_id = %request.id, reason = reason.as_str(), "the call is not allowed here");
        }
        let (protocol, actions) =
            Origination::start(&request, forbidden, shared.settings.retry, shared.now());
        let attempt = AttemptId::new(Uuid::new_v4());
        let events = Arc::clone(&shared.up);
        Self {
            dial_watch: DialWatch::new(events, request.endpoint.is_pjsip()),
            playlist: playlist_of(&request),
            shared,
            request,
            message: Some(message),
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
            asterisk_ends: false,
            look: None,
            pass,
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
            dial_watch: DialWatch::missed(Arc::clone(&shared.up)),
            playlist: playlist_of(&call.request),
            request: call.request.clone(),
            message: None,
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
            asterisk_ends: false,
            look: None,
            pass: None,
            _permit: permit,
            shared,
        };
        // What may have been played is not played again.
        if task
            .claimed
            .as_ref()
            .is_some_and(|call| call.answered_at.is_some())
            && kept(Rule::NeverPlayedAgain)
        {
            task.playlist.set_begun_before();
        }
        task.follow(Since::Record);
        task.look_at_channel(Dialling::MayHaveFailed);
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
            let (write, effect, deadline, playback_check) = match live {
                Some(live) if live.call.status.is_terminal() => {
                    (live.write.as_mut(), live.effect.as_mut(), None, None)
                }
                Some(live) => (
                    live.write.as_mut(),
                    live.effect.as_mut(),
                    Some(&mut live.deadline),
                    live.playback_check.as_mut(),
                ),
                None => (None, None, None, None),
            };
            tokio::select! {
                biased;
                Some(mail) = registration.mailbox.recv() => match mail {
                    Mail::Event(event) => self.take_event(event),
                    Mail::HangUp => self.request_hang_up(HangupOrigin::Client),
                    Mail::Resync => self.look_at_channel(Dialling::Done),
                },
                (stamp, look) = maybe(look.as_mut()) => {
                    self.look = None;
                    self.seen(stamp, &look);
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
                () = maybe(playback_check) => self.check_playback(),
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
        match input {
            Input::DialReplied(DialReply::Dialled) => {
                self.shared.metrics.dialled(self.received_at.elapsed());
            }
            Input::DialReplied(DialReply::Lost) => {}
            Input::DialReplied(_) => self.dial_watch.not_taken(),
            _ => {}
        }
        self.actions.extend(self.protocol.step(input));
    }

    fn take_event(&mut self, event: ChannelEvent) {
        if !self.channel.is_about(&event) {
            tracing::debug!(call_id = %self.id(), ?event, "an event of an earlier attempt was ignored");
            return;
        }
        let at = When {
            now: self.shared.now(),
            asterisk: event.at,
        };
        if event.kind.shows_a_dial() && self.dial_watch.see() {
            self.shared.circuits.dial_seen();
            self.pass = None;
        }
        match event.kind {
            ChannelEventKind::HangupAnnounced(cause) => self.announced = Some(cause),
            ChannelEventKind::ShutdownAnnounced => {
                self.announced = Some(HangupCause::Unknown);
                self.asterisk_ends = true;
            }
            ChannelEventKind::StasisStarted { .. } => self.feed(Input::StasisStarted),
            ChannelEventKind::Played { item, whole } => self.played(item, whole, at),
            ChannelEventKind::CalleeBusy => {
                self.feed(Input::DialConfirmed);
                self.refused_behind_local(HangupOrigin::CalleeBusy);
            }
            ChannelEventKind::CalleeCongested => {
                self.feed(Input::DialConfirmed);
                self.refused_behind_local(HangupOrigin::CalleeCongested);
            }
            ChannelEventKind::Destroyed(cause, tech_cause) => {
                self.feed(Input::ChannelDestroyed);
                let announced = self.announced.filter(|_| !self.is_answered());
                let dialled = self.dial_watch.dialled();
                let ended = if self.asterisk_ends && !self.is_answered() && dialled == Dialled::Yes
                {
                    CallEvent::Failed(FailureReason::AsteriskRestarted)
                } else {
                    let ending = Ending::read(cause, tech_cause, announced);
                    CallEvent::Ended { ending, dialled }
                };
                self.apply(&ended, at);
            }
            ChannelEventKind::DialBegun
            | ChannelEventKind::Progressed
            | ChannelEventKind::Rang
            | ChannelEventKind::Answered => {
                self.feed(Input::DialConfirmed);
                if let Some(progress) = event.kind.as_progress() {
                    self.apply(&progress, at);
                }
            }
        }
    }

    /// How long the call may last once it is answered.
    fn limit(&self) -> Duration {
        self.request.limit(self.shared.settings.max_call_duration)
    }

    fn is_answered(&self) -> bool {
        self.live
            .as_ref()
            .is_some_and(|live| live.call.answered_at.is_some())
    }

    /// Does what the protocol asks for.
    async fn perform(&mut self, action: Action) {
        match action {
            Action::CreateChannel => self.create_channel(),
            Action::RetryCreate(delay) => self.start_timer(jittered(delay), Input::RetryDue),
            Action::AwaitStasisStart => {
                if kept(Rule::StartAwaitedForAWhile) {
                    let patience = self.shared.settings.stasis_start_timeout;
                    self.start_timer(patience, Input::StasisStartTimedOut);
                }
            }
            Action::ExplainRefusal => {
                let (shared, request) = (Arc::clone(&self.shared), self.request.clone());
                self.answer = Some(Box::pin(async move {
                    let refusal = shared
                        .circuits
                        .explain(&*shared.outside.ari, &request)
                        .await;
                    (Input::RefusalExplained(refusal), None)
                }));
            }
            Action::CheckTarget => {
                self.timer = None;
                if self.shared.targets.are_known(&self.request.target) {
                    self.feed(Input::TargetChecked(TargetReply::Exists));
                } else {
                    let target = self.request.target.clone();
                    let asked = check_target(Arc::clone(&self.shared), self.id(), target);
                    self.answer = Some(Box::pin(asked));
                }
            }
            Action::Inspect => {
                self.answer = Some(Box::pin(inspect(Arc::clone(&self.shared), self.id())));
            }
            Action::Claim => {
                crash::point("before_claim");
                self.timer = None;
                let patience = self.request.deadline_after(self.limit());
                self.answer = Some(Box::pin(claim(
                    Arc::clone(&self.shared),
                    self.request.clone(),
                    patience,
                )));
            }
            Action::Follow => self.follow(Since::Now),
            Action::Dial(delay) => self.dial(delay),
            Action::AwaitDialConfirmation(patience) => {
                self.start_timer(patience, Input::DialConfirmationTimedOut);
            }
            Action::HangUpUndialled => self.hang_up_undialled().await,
            Action::HangUpUnconfirmed => self.request_hang_up(HangupOrigin::UnconfirmedDial),
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
                if let Some(message) = &self.message {
                    let _ = self.shared.done.try_send(message.receipt.clone());
                }
            }
            Action::ReturnMessage { after, reason } => {
                self.timer = None;
                if let Some(message) = self.message.clone() {
                    let shared = Arc::clone(&self.shared);
                    let errand = give_back(shared, self.id(), message, after, reason);
                    self.shared.errands.spawn(errand.in_current_span());
                }
            }
        }
    }

    fn create_channel(&mut self) {
        crash::point("before_create");
        let (ari, request) = (Arc::clone(&self.shared.outside.ari), self.request.clone());
        let attempt = self.attempt;
        let ends_after = request.dial_timeout + self.limit() + CREATE_GRACE;
        self.answer = Some(Box::pin(async move {
            let new = NewChannel {
                call: &request,
                attempt,
                ends_after,
            };
            (Input::Created(ari.create_channel(new).await), None)
        }));
    }

    fn dial(&mut self, delay: Duration) {
        crash::point("before_dial");
        self.dial_watch.sent();
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

    fn start_timer(&mut self, delay: Duration, input: Input) {
        self.timer = Some((Box::pin(tokio::time::sleep(delay)), input));
    }
}

/// From when the time counts that a call may still take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    /// From now: the call has just been claimed.
    Now,
    /// From the times in its record: it was claimed in an earlier life of this bridge.
    Record,
}

/// What is known of a call's dial when its channel is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialling {
    /// It was made.
    Done,
    /// The bridge may have died before it made it.
    MayHaveFailed,
}

fn playlist_of(request: &CallRequest) -> Playlist {
    let items = request.media.as_ref();
    Playlist::new(items.map_or(0, |media| media.uris().count()))
}

/// Asks whether the dialplan has the place where the call is to go on.
async fn check_target(shared: Arc<Shared>, id: CallId, target: DialplanTarget) -> Answer {
    let reply = match shared.outside.ari.target_exists(id, &target).await {
        Ok(true) => {
            shared.targets.remember(&target);
            TargetReply::Exists
        }
        Ok(false) => {
            tracing::warn!(
                call_id = %id,
                context = target.context.as_str(),
                extension = target.extension.as_str(),
                priority = target.priority.get(),
                "context, extension or priority not found in the dialplan"
            );
            TargetReply::Missing
        }
        Err(error) => {
            tracing::warn!(call_id = %id, error = %error::chain(&error), "the dialplan was not asked");
            TargetReply::Unknown
        }
    };
    (Input::TargetChecked(reply), None)
}

/// Waits for what is there; for ever for what is not.
async fn maybe<F: Future + Unpin>(future: Option<&mut F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
