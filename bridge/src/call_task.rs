//! One call: the shell that does what the origination protocol and the call's state machine say.
//!
//! A call's task owns everything about it, so its writes are in order and nothing is locked. At
//! any moment it waits for several things at once: an answer, a timer, an event, a write.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cloud::calls::{Claim, PendingEnd, Saved};
use cloud::queue::Receipt;
use cloud::{CallQueue, CallStore, StoreError, clock, error};
use domain::origination::{
    Action, ChannelOwner, ClaimReply, CreateReply, DialReply, Input, Inspection, Origination,
    RecordReply,
};
use domain::reconciliation::{ChannelSeen, Knowledge, Verdict, reconcile};
use domain::{
    Call, CallEvent, CallId, CallRequest, CallStatus, ClaimId, Effect, FailureReason, HangupCause,
    HangupOrigin, When,
};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use uuid::Uuid;

use crate::ari::client::ChannelReply;
use crate::ari::{AriClient, ChannelEvent, ChannelEventKind};
use crate::backoff::{Backoff, jittered};
use crate::breaker::Breaker;
use crate::crash;
use crate::metrics::Metrics;
use crate::registry::{Mail, Registration, Registry};
use crate::settings::{BridgeSettings, DEADLINE_GRACE, DIAL_CONFIRMATION_TIMEOUT};
use crate::unsettled::Unsettled;

/// What all calls of a bridge share.
pub struct Shared {
    /// The configuration.
    pub settings: BridgeSettings,
    /// Asterisk.
    pub ari: AriClient,
    /// The table of calls.
    pub calls: CallStore,
    /// The queue, to give messages back.
    pub queue: CallQueue,
    /// Messages that are done with.
    pub done: mpsc::Sender<Receipt>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The calls under way.
    pub registry: Arc<Registry>,
    /// Claims whose answer never came.
    pub unsettled: Unsettled,
    /// The circuit to ARI.
    pub ari_breaker: Arc<Breaker>,
    /// The circuit to the table of calls.
    pub store_breaker: Arc<Breaker>,
    /// Short tasks that outlive their call's task.
    pub errands: TaskTracker,
    /// The bridge stops: finish what is under way, leave live calls running.
    pub stopping: CancellationToken,
}

type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An answer for the protocol; a claimed call comes along.
type Answer = (Input, Option<Box<Call>>);

/// What Asterisk says of a channel.
struct Look {
    channel: ChannelSeen,
    playing: bool,
    known: Knowledge,
}

/// What became of an effect.
#[derive(Clone, Copy)]
enum EffectDone {
    Continued,
    Played,
    NotPlayed,
    HungUp(Option<ChannelReply>),
}

/// Most time between two tries to write a call back.
const MAX_WRITE_DELAY: Duration = Duration::from_secs(5);
/// How often a hangup is asked for once a call is past its deadline.
const HANGUP_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long the event of a channel's end may take that is gone already.
const LAST_EVENT_WITHIN: Duration = Duration::from_secs(1);
/// How often a hangup is tried on an errand.
const HANGUP_TRIES: u32 = 5;

/// Longest that a message stays away that could not be worked on.
const MAX_RETURN_AFTER: Duration = Duration::from_mins(1);
/// How often a claim is tried.
pub const CLAIM_TRIES: u32 = 2;
/// How often playing is tried.
const PLAY_TRIES: u32 = 5;

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
    claimed: Option<Box<Call>>,
    live: Option<Live>,
    received_at: Instant,
    /// The cause of the last `ChannelHangupRequest`.
    announced: Option<HangupCause>,
    look: Option<Later<Look>>,
    /// What is to be played has been begun.
    playing: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

/// A call that is ours, from the claim on.
struct Live {
    call: Call,
    saved: u32,
    /// When the first change came that is not written yet.
    changed_at: Instant,
    write: Option<Later<(u32, Result<Saved, StoreError>)>>,
    write_backoff: Backoff,
    effect: Option<Later<EffectDone>>,
    deadline: Pin<Box<Sleep>>,
    /// When its end was asked for, it had [`HANGUP_AGAIN_AFTER`] to come.
    hangup_asked: bool,
    overdue: bool,
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
        let (protocol, actions) = Origination::start(&request, shared.settings.retry, clock::now());
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
                return;
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
                look = maybe(look.as_mut()) => {
                    self.look = None;
                    self.seen(&look);
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
                let left_alone = stopping && live.effect.is_none() && self.look.is_none();
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
        if let ChannelEventKind::Destroyed(cause, sip_code) = event.kind {
            let announced = self.announced.filter(|_| !self.is_answered());
            event.kind = ChannelEventKind::Destroyed(cause.or_announced(announced), sip_code);
        }
        let input = match event.kind {
            ChannelEventKind::HangupAnnounced(cause) => {
                self.announced = Some(cause);
                return;
            }
            ChannelEventKind::StasisStarted => Input::StasisStarted,
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
                now: clock::now(),
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
            now: clock::now(),
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
                let (ari, request) = (self.shared.ari.clone(), self.request.clone());
                self.answer = Some(Box::pin(async move {
                    (Input::Created(ari.create_channel(&request).await), None)
                }));
            }
            Action::RetryCreate(delay) => self.start_timer(jittered(delay), Input::RetryDue),
            Action::AwaitStasisStart => {
                self.start_timer(
                    self.shared.settings.stasis_start_timeout,
                    Input::StasisStartTimedOut,
                );
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
                    self.shared.ari.clone(),
                    self.id(),
                    self.request.dial_timeout,
                );
                self.answer = Some(Box::pin(async move {
                    if !delay.is_zero() {
                        tokio::time::sleep(jittered(delay)).await;
                    }
                    (Input::DialReplied(ari.dial(id, timeout).await), None)
                }));
                let waited = clock::now().since(self.request.created_at);
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
                    When::ours(clock::now()),
                );
            }
            Action::RecordDialFailure(reason) => {
                self.apply(&CallEvent::Failed(reason), When::ours(clock::now()));
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
                let (queue, id) = (self.shared.queue.clone(), self.id());
                // What keeps failing comes back more and more slowly, long before it counts as poison.
                let doublings = self.receive_count.saturating_sub(1).min(6);
                let after = (after * (1 << doublings)).min(MAX_RETURN_AFTER);
                let errand = async move {
                    if let Err(error) = queue.give_back(&receipt, jittered(after)).await {
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

    fn follow(&mut self) {
        let Some(call) = self.claimed.take() else {
            return;
        };
        self.registration.mark_claimed();
        // Unanswered it may last as long as it may ring; the record's deadline is for those who come after us.
        let left = if call.answered_at.is_some() {
            self.longest()
        } else {
            self.request.dial_timeout + DEADLINE_GRACE
        };
        tracing::info!(call_id = %self.id(), request_id = %call.request.request_id, "the call is followed");
        self.live = Some(Live {
            saved: call.sequence,
            changed_at: Instant::now(),
            call: *call,
            write: None,
            write_backoff: Backoff::new(Duration::from_millis(50), MAX_WRITE_DELAY),
            effect: None,
            deadline: Box::pin(tokio::time::sleep(left)),
            hangup_asked: false,
            overdue: false,
        });
    }

    /// Applies an event to the call, and does what follows from it.
    fn apply(&mut self, event: &CallEvent, at: When) {
        let Some(live) = &mut self.live else {
            return;
        };
        let Some((call, effect)) = live.call.next(event, at) else {
            return;
        };
        match event {
            CallEvent::Rang => crash::point("on_ringing"),
            CallEvent::Answered => crash::point("on_answered"),
            CallEvent::Ended { .. } => crash::point("on_ended"),
            _ => {}
        }
        if live.saved == live.call.sequence {
            live.changed_at = Instant::now();
        }
        live.call = call;
        self.write_back(Duration::ZERO);
        match effect {
            Effect::None => {}
            Effect::Continue => {
                self.limit_answered_call();
                self.continue_channel();
            }
            Effect::Play => {
                self.limit_answered_call();
                self.play();
            }
            Effect::HangUp => self.request_hang_up(HangupOrigin::MediaOver),
            Effect::Forget => self.log_end(),
        }
    }

    /// From the answer on it is the conversation that must not last too long.
    fn limit_answered_call(&mut self) {
        let longest = self.longest();
        if let Some(live) = &mut self.live {
            live.deadline = Box::pin(tokio::time::sleep(longest));
        }
    }

    fn log_end(&self) {
        let Some(live) = &self.live else {
            return;
        };
        self.shared.metrics.ended(live.call.status);
        tracing::info!(
            call_id = %self.id(),
            request_id = %live.call.request.request_id,
            status = live.call.status.as_str(),
            reason = live.call.failure_reason.map(FailureReason::as_str),
            cause = live.call.hangup_cause.map(HangupCause::code),
            "the call is over"
        );
    }

    /// Writes the newest state, unless a write is under way: then it is written after that, and
    /// what changed in between is one write.
    fn write_back(&mut self, delay: Duration) {
        let Some(live) = &mut self.live else {
            return;
        };
        if live.write.is_some() || live.saved >= live.call.sequence {
            return;
        }
        let (shared, call) = (Arc::clone(&self.shared), live.call.clone());
        live.write = Some(Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
                // Repeated when there is a point in it.
                shared.store_breaker.closed().await;
            }
            (call.sequence, shared.calls.save(&call).await)
        }));
    }

    fn written(&mut self, sequence: u32, result: Result<Saved, StoreError>) {
        let id = self.id();
        let Some(live) = &mut self.live else {
            return;
        };
        live.write = None;
        match result {
            Ok(Saved::Yes) => {
                self.shared.store_breaker.succeeded();
                live.write_backoff.reset();
                if live.call.status.is_terminal() && sequence == live.call.sequence {
                    crash::point("after_end_written");
                }
                live.saved = sequence;
                self.shared.metrics.stored(live.changed_at.elapsed());
                // What came in meanwhile came after the write began.
                live.changed_at = Instant::now();
                self.write_back(Duration::ZERO);
            }
            Ok(Saved::Lost) => {
                tracing::warn!(call_id = %id, "somebody else ended the call: it is hung up");
                live.saved = u32::MAX;
                let ended = CallEvent::Failed(FailureReason::OutcomeUnknown);
                if let Some((call, _)) = live.call.next(&ended, When::ours(clock::now())) {
                    live.call = call;
                }
                self.hang_up_on_an_errand();
            }
            Err(error) => {
                self.shared.store_breaker.failed();
                self.shared.metrics.store_error();
                tracing::warn!(call_id = %id, error = %error::chain(&error), "the call was not written");
                let delay = live.write_backoff.next_delay();
                self.write_back(delay);
            }
        }
    }

    /// Sends the answered call on, as often as it takes while the call is there.
    fn continue_channel(&mut self) {
        crash::point("before_continue");
        let (ari, id, target) = (
            self.shared.ari.clone(),
            self.id(),
            self.request.target.clone(),
        );
        let Some(live) = &mut self.live else {
            return;
        };
        live.effect = Some(Box::pin(async move {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
            loop {
                match ari.continue_channel(id, &target).await {
                    Ok(reply) => {
                        tracing::debug!(call_id = %id, ?reply, "the call was continued");
                        return EffectDone::Continued;
                    }
                    Err(error) => {
                        tracing::warn!(call_id = %id, error = %error::chain(&error), "the call was not continued");
                    }
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }));
    }

    /// Plays to the answered call; what cannot be played after a few tries is over.
    fn play(&mut self) {
        let (ari, id, media) = (
            self.shared.ari.clone(),
            self.id(),
            self.request.media.clone(),
        );
        let (Some(live), Some(media)) = (&mut self.live, media) else {
            return;
        };
        live.effect = Some(Box::pin(async move {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
            for _ in 0..PLAY_TRIES {
                match ari.play(id, &media).await {
                    Ok(reply) => {
                        tracing::debug!(call_id = %id, ?reply, "the call is played to");
                        return EffectDone::Played;
                    }
                    Err(error) => {
                        tracing::warn!(call_id = %id, error = %error::chain(&error), "the call is not played to");
                    }
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
            EffectDone::NotPlayed
        }));
    }

    fn hang_up(&mut self) {
        let (ari, id) = (self.shared.ari.clone(), self.id());
        let Some(live) = &mut self.live else {
            return;
        };
        live.effect = Some(Box::pin(async move {
            match ari.hang_up(id).await {
                Ok(reply) => EffectDone::HungUp(Some(reply)),
                Err(error) => {
                    tracing::warn!(call_id = %id, error = %error::chain(&error), "the call was not hung up");
                    EffectDone::HungUp(None)
                }
            }
        }));
    }

    fn effect_done(&mut self, done: EffectDone) {
        let Some(live) = &mut self.live else {
            return;
        };
        live.effect = None;
        match done {
            // Asterisk confirms the end of a channel whose own event never came.
            EffectDone::HungUp(Some(ChannelReply::Gone)) if live.overdue => {
                let ended = CallEvent::Ended {
                    cause: HangupCause::Unknown,
                    sip_code: None,
                };
                self.apply(&ended, When::ours(clock::now()));
            }
            // Its `ChannelDestroyed` is on the way; if not, the deadline asks again. And one that is not in Stasis
            // was continued by an earlier request, whose answer was lost.
            EffectDone::Played => self.playing = true,
            EffectDone::Continued => crash::point("after_continue"),
            EffectDone::HungUp(_) => {}
            EffectDone::NotPlayed => {
                let at = When::ours(clock::now());
                self.apply(&CallEvent::Played { whole: false }, at);
            }
        }
    }

    /// Asks Asterisk what has become of a call that is ours. `dialled` says that its dial is known to have
    /// been made.
    fn look_at_channel(&mut self, dialled: bool) {
        // One that is still being started has timers of its own for what it may have missed.
        if !self.protocol.is_done() || self.live.is_none() || self.look.is_some() {
            return;
        }
        let (shared, id) = (Arc::clone(&self.shared), self.id());
        self.look = Some(Box::pin(look(shared, id, dialled)));
    }

    fn seen(&mut self, look: &Look) {
        let Some(live) = &self.live else {
            return;
        };
        let verdict = reconcile(&live.call, look.channel, look.known);
        tracing::info!(call_id = %self.id(), channel = ?look.channel, ?verdict, "the call was looked at again");
        let at = When::ours(clock::now());
        match verdict {
            Verdict::Leave | Verdict::Follow(None) => {}
            Verdict::Follow(Some(event)) | Verdict::End(event) => self.apply(&event, at),
            Verdict::HangUpAndEnd(event) => {
                self.apply(&event, at);
                self.hang_up_on_an_errand();
            }
            Verdict::SendOn => self.send_on(look.playing),
        }
    }

    /// Sends an answered call on that waits, unless that is under way.
    fn send_on(&mut self, playing: bool) {
        let Some(live) = &self.live else {
            return;
        };
        if live.effect.is_some() || live.call.hangup.is_some() || playing {
            return;
        }
        if self.request.media.is_none() {
            self.continue_channel();
        } else if self.playing {
            // It was played to, and the end of that was missed.
            let at = When::ours(clock::now());
            self.apply(&CallEvent::Played { whole: true }, at);
        } else {
            self.play();
        }
    }

    fn past_deadline(&mut self) {
        let id = self.id();
        let Some(live) = &mut self.live else {
            return;
        };
        tracing::warn!(call_id = %id, asked_before = live.hangup_asked, "the call is past its deadline");
        if !live.hangup_asked {
            self.request_hang_up(HangupOrigin::Deadline);
            return;
        }
        live.overdue = true;
        live.deadline = Box::pin(tokio::time::sleep(HANGUP_AGAIN_AFTER));
        // One that is still under way is not cut short for another.
        if live.effect.is_none() {
            self.hang_up();
        }
    }

    /// Asks for the end of the call, which has to come within [`HANGUP_AGAIN_AFTER`]. Asked for again, nothing
    /// changes.
    fn request_hang_up(&mut self, origin: HangupOrigin) {
        self.apply(
            &CallEvent::HangupRequested(origin),
            When::ours(clock::now()),
        );
        if let Some(live) = &mut self.live
            && !live.hangup_asked
        {
            live.hangup_asked = true;
            live.deadline = Box::pin(tokio::time::sleep(HANGUP_AGAIN_AFTER));
            self.hang_up();
        }
    }

    /// Hangs up before the message can come back: the next attempt's channel will have the same id.
    async fn hang_up_undialled(&mut self) {
        let patience = self.shared.settings.ari.request_timeout;
        let hung_up = tokio::time::timeout(patience, self.shared.ari.hang_up(self.id())).await;
        if !matches!(hung_up, Ok(Ok(_))) {
            self.hang_up_later();
        }
    }

    /// Hangs the channel up that somebody else has ended the call of.
    fn hang_up_on_an_errand(&self) {
        let (ari, registry, id) = (
            self.shared.ari.clone(),
            Arc::clone(&self.shared.registry),
            self.id(),
        );
        let errand = async move {
            if ari.hang_up(id).await.is_err() {
                hang_up_surely(ari, registry, id).await;
            }
        };
        self.shared.errands.spawn(errand.in_current_span());
    }

    fn hang_up_later(&self) {
        let (ari, registry, id) = (
            self.shared.ari.clone(),
            Arc::clone(&self.shared.registry),
            self.id(),
        );
        let errand = async move {
            tokio::time::sleep(HANGUP_AGAIN_AFTER).await;
            hang_up_surely(ari, registry, id).await;
        };
        self.shared.errands.spawn(errand.in_current_span());
    }
}

/// Hangs a channel up that nobody follows, with a few tries, unless a task has come to take care of its
/// call: then the channel may be a newer one.
pub async fn hang_up_surely(ari: AriClient, registry: Arc<Registry>, id: CallId) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
    for _ in 0..HANGUP_TRIES {
        if registry.contains(id) {
            return;
        }
        match ari.hang_up(id).await {
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(call_id = %id, error = %error::chain(&error), "a channel was not hung up");
            }
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

/// Claims the call, again and again with the same attempt's id if no answer comes: a claim that was written
/// is known by it.
async fn claim(shared: Arc<Shared>, request: CallRequest, patience: Duration) -> Answer {
    let id = request.id;
    let attempt = shared
        .unsettled
        .take(id)
        .unwrap_or_else(|| ClaimId::from(Uuid::new_v4()));
    let owner = &shared.settings.bridge_id;
    for attempts_left in (0..CLAIM_TRIES).rev() {
        // A bridge whose clock is behind does not dial before the call was asked for.
        let now = clock::now().max(request.created_at);
        let claimed = shared
            .calls
            .claim(id, owner, attempt, now.plus(patience), now)
            .await;
        match claimed {
            Ok(Claim::Claimed(call)) => {
                return (Input::ClaimReplied(ClaimReply::Claimed), Some(call));
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
async fn look(shared: Arc<Shared>, id: CallId, dialled: bool) -> Look {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        let (channel, started, playing) = tokio::join!(
            shared.ari.channel_seen(id),
            shared.ari.started_at(),
            shared.ari.is_playing(id)
        );
        match (channel, started) {
            (Ok(channel), Ok(asterisk_started_at)) => {
                if channel == ChannelSeen::Gone {
                    // Its last event may be on the way, and says more.
                    tokio::time::sleep(LAST_EVENT_WITHIN).await;
                }
                return Look {
                    channel,
                    playing: playing.unwrap_or(true),
                    known: Knowledge {
                        dialled,
                        asterisk_started_at,
                    },
                };
            }
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(call_id = %id, error = %error::chain(&error), "the channel was not read");
            }
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

async fn inspect(shared: Arc<Shared>, id: CallId) -> Answer {
    let (channel, call) = tokio::join!(shared.ari.channel_owner(id), shared.calls.get(id));
    let inspection = match (channel, call) {
        (Ok(channel), Ok(Some(call))) => found(&shared, channel, &call),
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

fn found(shared: &Shared, channel: ChannelOwner, call: &Call) -> Inspection {
    if call.status == CallStatus::Pending && call.owner.is_none() {
        Inspection::Pending(channel)
    } else if call.owner.as_ref() == Some(&shared.settings.bridge_id) {
        Inspection::Ours
    } else {
        Inspection::NotPending(channel)
    }
}

async fn record_failure(shared: Arc<Shared>, pending: Call, reason: FailureReason) -> Answer {
    let id = pending.request.id;
    let reply = match shared
        .calls
        .fail_pending(&pending, reason, clock::now())
        .await
    {
        Ok(PendingEnd::Ended) => {
            tracing::info!(call_id = %id, reason = reason.as_str(), "the call failed before it was dialled");
            RecordReply::Settled
        }
        Ok(PendingEnd::NotPending(_) | PendingEnd::Missing) => RecordReply::Settled,
        Err(error) => {
            tracing::warn!(call_id = %id, error = %error::chain(&error), "the call's failure was not written");
            RecordReply::Unavailable
        }
    };
    (Input::FailureRecorded(reply), None)
}

/// Waits for what is there; for ever for what is not.
async fn maybe<F: Future + Unpin>(future: Option<&mut F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}
