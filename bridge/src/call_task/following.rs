//! Following a call that is ours: what it does to the record, and what has to be done for it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cloud::calls::Saved;
use cloud::{StoreError, error};
use domain::reconciliation::{Verdict, reconcile};
use domain::rules::{Rule, kept};
use domain::{Call, CallEvent, Effect, FailureReason, HangupCause, HangupOrigin, When};
use tokio::time::{Instant, Sleep};
use tracing::Instrument;

use super::questions::{Look, Question, look};
use super::{CallTask, Later};
use crate::ari::ChannelReply;
use crate::backoff::Backoff;
use crate::crash;
use crate::hangup::{hang_up_if_ours, hang_up_surely};
use crate::settings::DEADLINE_GRACE;

/// Most time between two tries to write a call back.
const MAX_WRITE_DELAY: Duration = Duration::from_secs(5);
/// How often a hangup is asked for once a call is past its deadline.
const HANGUP_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How often playing is tried.
const PLAY_TRIES: u32 = 5;

/// What became of an effect.
#[derive(Clone, Copy)]
pub enum EffectDone {
    Continued,
    Played,
    NotPlayed,
    HungUp(Option<ChannelReply>),
}

/// A call that is ours, from the claim on.
pub struct Live {
    pub(super) call: Call,
    pub(super) saved: u32,
    /// When the first change came that is not written yet.
    pub(super) changed_at: Instant,
    pub(super) write: Option<Later<(u32, Result<Saved, StoreError>)>>,
    pub(super) write_backoff: Backoff,
    pub(super) effect: Option<Later<EffectDone>>,
    pub(super) deadline: Pin<Box<Sleep>>,
    /// When its end was asked for, it had [`HANGUP_AGAIN_AFTER`] to come.
    pub(super) hangup_asked: bool,
    pub(super) overdue: bool,
}

impl CallTask {
    pub(super) fn follow(&mut self) {
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
    pub(super) fn apply(&mut self, event: &CallEvent, at: When) {
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
            Effect::HangUp if !kept(Rule::HungUpAfterMedia) => {}
            Effect::HangUp => self.request_hang_up(HangupOrigin::MediaOver),
            Effect::Forget => self.log_end(),
        }
        // Last: what the effect has changed besides goes with it.
        self.write_back(Duration::ZERO);
    }

    /// From the answer on it is the conversation that must not last too long.
    pub(super) fn limit_answered_call(&mut self) {
        let longest = self.longest();
        if let Some(live) = &mut self.live {
            live.deadline = Box::pin(tokio::time::sleep(longest));
        }
    }

    pub(super) fn log_end(&self) {
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
    pub(super) fn write_back(&mut self, delay: Duration) {
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
            (call.sequence, shared.outside.calls.save(&call).await)
        }));
    }

    pub(super) fn written(&mut self, sequence: u32, result: Result<Saved, StoreError>) {
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
                if let Some((call, _)) = live.call.next(&ended, When::ours(self.shared.now())) {
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
    pub(super) fn continue_channel(&mut self) {
        crash::point("before_continue");
        let (ari, id, target) = (
            Arc::clone(&self.shared.outside.ari),
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
                if !kept(Rule::SentOnSurely) {
                    return EffectDone::Continued;
                }
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }));
    }

    /// Plays to the answered call; what cannot be played after a few tries is over.
    pub(super) fn play(&mut self) {
        let (ari, id, media) = (
            Arc::clone(&self.shared.outside.ari),
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

    pub(super) fn hang_up(&mut self) {
        let (ari, id) = (Arc::clone(&self.shared.outside.ari), self.id());
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

    pub(super) fn effect_done(&mut self, done: EffectDone) {
        let Some(live) = &mut self.live else {
            return;
        };
        live.effect = None;
        match done {
            // Asterisk confirms the end of a channel whose own event never came.
            EffectDone::HungUp(Some(ChannelReply::Gone)) if live.overdue => {
                self.apply(&CallEvent::ENDED_UNSEEN, When::ours(self.shared.now()));
            }
            // Its `ChannelDestroyed` is on the way; if not, the deadline asks again.
            EffectDone::HungUp(_) => {}
            // One that is not in Stasis was continued by an earlier request, whose answer was lost.
            EffectDone::Continued => crash::point("after_continue"),
            EffectDone::Played => self.playing = true,
            EffectDone::NotPlayed => {
                let at = When::ours(self.shared.now());
                self.apply(&CallEvent::Played { whole: false }, at);
            }
        }
    }

    /// Asks Asterisk what has become of a call that is ours. `dialled` says that its dial is known to have
    /// been made.
    pub(super) fn look_at_channel(&mut self, dialled: bool) {
        // One that is still being started has timers of its own for what it may have missed.
        let Some(live) = &self.live else {
            return;
        };
        if !self.protocol.is_done() || self.look.is_some() {
            return;
        }
        let (shared, sequence) = (Arc::clone(&self.shared), live.call.sequence);
        let question = Question {
            id: self.request.id,
            dialled,
            plays: self.request.media.is_some(),
        };
        self.look = Some(Box::pin(async move {
            let look = look(shared, question).await;
            (sequence, look)
        }));
    }

    /// Decides by what was seen, unless the call has moved on since the look began.
    pub(super) fn seen(&mut self, sequence: u32, look: &Look) {
        let Some(live) = &self.live else {
            return;
        };
        if live.call.sequence != sequence && kept(Rule::LookNotStale) {
            self.look_at_channel(look.known.dialled);
            return;
        }
        let verdict = reconcile(&live.call, look.channel, look.known);
        tracing::info!(call_id = %self.id(), channel = ?look.channel, ?verdict, "the call was looked at again");
        let at = When::ours(self.shared.now());
        match verdict {
            Verdict::Leave | Verdict::Follow(None) => {}
            Verdict::Follow(Some(event)) | Verdict::End(event) => self.apply(&event, at),
            Verdict::HangUpAndEnd(event) => {
                self.apply(&event, at);
                self.hang_up_on_an_errand();
            }
            Verdict::SendOn => self.send_on(look.playing),
            Verdict::HangUp(event) => {
                if let Some(event) = event {
                    self.apply(&event, at);
                }
                self.hang_up_soon();
            }
        }
    }

    /// Sends an answered call on that waits, unless that is under way.
    pub(super) fn send_on(&mut self, playing: bool) {
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
            let at = When::ours(self.shared.now());
            self.apply(&CallEvent::Played { whole: true }, at);
        } else {
            self.play();
        }
    }

    pub(super) fn past_deadline(&mut self) {
        let id = self.id();
        let Some(live) = &mut self.live else {
            return;
        };
        tracing::warn!(call_id = %id, asked_before = live.hangup_asked, "the call is past its deadline");
        if !kept(Rule::EndsByItsDeadline) {
            live.deadline = Box::pin(tokio::time::sleep(Duration::MAX));
            return;
        }
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
    pub(super) fn request_hang_up(&mut self, origin: HangupOrigin) {
        self.apply(
            &CallEvent::HangupRequested(origin),
            When::ours(self.shared.now()),
        );
        self.hang_up_soon();
    }

    /// Hangs up, unless that has been asked for already.
    fn hang_up_soon(&mut self) {
        if let Some(live) = &mut self.live
            && !live.hangup_asked
        {
            live.hangup_asked = true;
            live.deadline = Box::pin(tokio::time::sleep(HANGUP_AGAIN_AFTER));
            self.hang_up();
        }
    }

    /// Hangs up before the message can come back: the next attempt's channel will have the same id.
    pub(super) async fn hang_up_undialled(&mut self) {
        let patience = self.shared.settings.ari.request_timeout;
        let hung_up =
            tokio::time::timeout(patience, self.shared.outside.ari.hang_up(self.id())).await;
        if !matches!(hung_up, Ok(Ok(_))) {
            self.hang_up_later();
        }
    }

    /// Hangs the channel up that somebody else has ended the call of.
    pub(super) fn hang_up_on_an_errand(&self) {
        let (ari, registry, id) = (
            Arc::clone(&self.shared.outside.ari),
            Arc::clone(&self.shared.registry),
            self.id(),
        );
        let errand = async move {
            if ari.hang_up(id).await.is_err()
                && let Ok(registration) = registry.register(id)
            {
                hang_up_surely(ari, registration).await;
            }
        };
        self.shared.errands.spawn(errand.in_current_span());
    }

    pub(super) fn hang_up_later(&self) {
        let (ari, registry, id) = (
            Arc::clone(&self.shared.outside.ari),
            Arc::clone(&self.shared.registry),
            self.id(),
        );
        let errand = async move {
            tokio::time::sleep(HANGUP_AGAIN_AFTER).await;
            // If a task has come to take care of the call, the channel may be a newer one.
            if let Ok(registration) = registry.register(id) {
                hang_up_if_ours(ari, registration).await;
            }
        };
        self.shared.errands.spawn(errand.in_current_span());
    }
}
