//! Following a call that is ours: what it does to the record, and what has to be done for it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cloud::calls::Saved;
use cloud::{StoreError, error};
use domain::call::DEADLINE_GRACE;
use domain::origination::Input;
use domain::reconciliation::{ChannelSeen, Verdict, reconcile};
use domain::rules::{Rule, kept};
use domain::{
    Call, CallEvent, CallId, CallStatus, Effect, FailureReason, HangupCause, HangupOrigin, When,
};
use tokio::time::{Instant, Sleep, timeout};
use tracing::Instrument;

use super::questions::{Look, Question, look};
use super::{CallTask, Dialling, Later, Since, Stamp};
use crate::ari::{AriError, Asterisk, ChannelReply, PlaybackId};
use crate::backoff::Backoff;
use crate::crash;
use crate::flag::{Flag, Moment};
use crate::hangup::{hang_up_if_ours, hang_up_surely};

/// Most time between two tries to write a call back.
const MAX_WRITE_DELAY: Duration = Duration::from_secs(5);
/// How often a hangup is asked for once a call is past its deadline.
const HANGUP_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How often playing one item is tried.
const PLAY_TRIES: u32 = 5;
/// How long an answered call waits at most before it goes on: until Asterisk has its limit, and the
/// answer is recorded.
const BEFORE_GOING_ON: Duration = Duration::from_secs(1);
/// Added to the limit that Asterisk is given, so that the bridge, while it runs, is first.
const LIMIT_GRACE: Duration = Duration::from_secs(5);
/// How often a call that is played to is looked at. A playback may never finish, with no event.
const CHECK_PLAYBACK_EVERY: Duration = Duration::from_secs(10);
/// How long the end of a channel may take after the dialplan behind it has said that the callee is
/// busy or that the call failed. An end that comes by itself says more.
const REFUSAL_GRACE: Duration = Duration::from_millis(300);

/// What became of an effect.
#[derive(Clone, Copy)]
pub enum EffectDone {
    Continued,
    /// The first so many items are queued, and no more will be.
    Queued(usize),
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
    /// Set once a hangup has been requested. `deadline` is then the time to request it again.
    pub(super) hangup_asked: bool,
    pub(super) overdue: bool,
    /// The dialplan behind the channel has refused the call. `deadline` is then the time to hang up.
    pub(super) refused: Option<HangupOrigin>,
    /// Up once the record says that the call was answered.
    pub(super) answer_recorded: Arc<Flag>,
    /// When what is played is to be looked at.
    pub(super) playback_check: Option<Pin<Box<Sleep>>>,
    /// Since when all events of what is played would have been seen.
    pub(super) played_since: Option<Moment>,
}

impl CallTask {
    pub(super) fn follow(&mut self, since: Since) {
        let Some(call) = self.claimed.take() else {
            return;
        };
        self.registration.mark_claimed();
        let left = self.time_left(&call, since);
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
            refused: None,
            answer_recorded: Arc::default(),
            playback_check: None,
            played_since: None,
        });
    }

    /// How long the call may still take. Unanswered it may last as long as it may ring; the record's
    /// deadline is for those who come after us. A restart of the bridge grants nothing.
    fn time_left(&self, call: &Call, since: Since) -> Duration {
        let (whole, from) = match call.answered_at {
            Some(answered_at) => (self.limit(), Some(answered_at)),
            None => (self.request.dial_timeout + DEADLINE_GRACE, call.dialed_at),
        };
        match from {
            Some(from) if since == Since::Record && kept(Rule::LimitCountsFromAnswer) => {
                whole.saturating_sub(self.shared.now().since(from))
            }
            _ => whole,
        }
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
        let limit = self.limit();
        if let Some(live) = &mut self.live {
            live.refused = None;
            live.deadline = Box::pin(tokio::time::sleep(limit));
        }
    }

    pub(super) fn log_end(&self) {
        let Some(live) = &self.live else {
            return;
        };
        self.shared.metrics.ended(live.call.status);
        // Asterisk took the dial, and dialled nobody.
        if live.call.failure_reason == Some(FailureReason::NotDialled) && self.dial_watch.was_sent()
        {
            self.shared.circuits.not_dialled();
        }
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
                if live.call.answered_at.is_some() && sequence == live.call.sequence {
                    live.answer_recorded.set(true);
                }
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

    /// Continues the answered call in the dialplan, as often as it takes while the call is there.
    pub(super) fn continue_channel(&mut self) {
        crash::point("before_continue");
        let (ari, id, target) = (
            Arc::clone(&self.shared.outside.ari),
            self.id(),
            self.request.target.clone(),
        );
        let ends_after = self.limit() + LIMIT_GRACE;
        let Some(live) = &mut self.live else {
            return;
        };
        // A restart sets no limit: it would count anew.
        let sets_limit = live.fresh_answer();
        live.effect = Some(Box::pin(async move {
            if sets_limit {
                let _ = timeout(BEFORE_GOING_ON, set_limit(&*ari, id, ends_after)).await;
            }
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

    /// Queues everything that is to be played to the answered call, one request an item and in order.
    /// Only one request an item tells which of them could not be played.
    pub(super) fn play(&mut self) {
        let (ari, id, media) = (
            Arc::clone(&self.shared.outside.ari),
            self.id(),
            self.request.media.clone(),
        );
        let ends_after = self.limit() + LIMIT_GRACE;
        let moment = self.shared.up.moment();
        let (Some(live), Some(media)) = (&mut self.live, media) else {
            return;
        };
        live.played_since = Some(moment);
        let sets_limit = live.fresh_answer();
        let recorded = Arc::clone(&live.answer_recorded);
        live.effect = Some(Box::pin(async move {
            let limited = async {
                if sets_limit {
                    set_limit(&*ari, id, ends_after).await;
                }
            };
            // A bridge that finds an answer recorded plays nothing, so the answer is recorded first.
            let recorded = async {
                if kept(Rule::AnswerRecordedFirst) {
                    recorded.wait_for(true).await;
                }
            };
            let both = async { tokio::join!(limited, recorded) };
            let _ = timeout(BEFORE_GOING_ON, both).await;
            let mut queued = 0;
            for (item, uri) in media.uris().enumerate() {
                let playback = PlaybackId {
                    call: id,
                    item: Some(item),
                };
                if !play_item(&*ari, playback, uri).await {
                    break;
                }
                queued += 1;
            }
            EffectDone::Queued(queued)
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
                self.apply(&CallEvent::EndUnseen, When::ours(self.shared.now()));
            }
            // Its `ChannelDestroyed` is on the way; if not, the deadline asks again.
            EffectDone::HungUp(_) => {}
            // One that is not in Stasis was continued by an earlier request, whose answer was lost.
            EffectDone::Continued => crash::point("after_continue"),
            EffectDone::Queued(queued) => {
                live.playback_check = Some(Box::pin(tokio::time::sleep(CHECK_PLAYBACK_EVERY)));
                self.playlist.set_queued(queued);
                self.settle_playlist(When::ours(self.shared.now()));
            }
        }
    }

    /// One item of what is played is over.
    pub(super) fn played(&mut self, item: Option<usize>, whole: bool, at: When) {
        if self.announced.is_some() {
            // A callee who hangs up while something plays has not been failed. What was queued behind
            // it ends, too, in no particular order.
            self.playlist.finish(None, true, false);
        } else {
            let missed = self.may_have_missed_playback();
            self.playlist.finish(item, whole, missed);
        }
        self.settle_playlist(at);
    }

    /// Whether the event of a playback's end may have been missed.
    fn may_have_missed_playback(&self) -> bool {
        let since = self.live.as_ref().and_then(|live| live.played_since);
        since != Some(self.shared.up.moment())
    }

    /// Ends the call once everything that was to be played is over.
    fn settle_playlist(&mut self, at: When) {
        if let Some(heard) = self.playlist.heard() {
            self.apply(&CallEvent::Played(heard), at);
        }
    }

    /// It is time to look at what is played.
    pub(super) fn check_playback(&mut self) {
        if let Some(live) = &mut self.live {
            live.playback_check = None;
        }
        self.look_at_channel(Dialling::Done);
    }

    /// The dialplan behind our Local channel says that the callee is busy, or that the call failed.
    pub(super) fn refused_behind_local(&mut self, origin: HangupOrigin) {
        if !self.request.endpoint.is_local() || !kept(Rule::RefusalEndsLocal) {
            return;
        }
        if let Some(live) = &mut self.live
            && live.call.answered_at.is_none()
            && !live.hangup_asked
            && live.refused.is_none()
        {
            live.refused = Some(origin);
            live.deadline = Box::pin(tokio::time::sleep(REFUSAL_GRACE));
        }
    }

    /// Asks Asterisk what has become of a call that is ours.
    pub(super) fn look_at_channel(&mut self, dialling: Dialling) {
        // One that is still being started has timers of its own for what it may have missed.
        let is_started = self.protocol.is_done() || self.protocol.awaits_confirmation_only();
        if self.live.is_none() || !is_started || self.look.is_some() {
            return;
        }
        let (shared, stamp) = (Arc::clone(&self.shared), self.stamp());
        let question = Question {
            id: self.request.id,
            dialled: dialling == Dialling::Done,
            playbacks: self.open_playbacks(dialling),
        };
        self.look = Some(Box::pin(async move {
            let look = look(shared, question).await;
            (stamp, look)
        }));
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            sequence: self.live.as_ref().map_or(0, |live| live.call.sequence),
            played: self.playlist.progress(),
        }
    }

    /// The playbacks that may go on.
    fn open_playbacks(&self, dialling: Dialling) -> Vec<PlaybackId> {
        let call = self.id();
        let playback = |item| PlaybackId { call, item };
        // An earlier release played the whole list at once.
        let of_old = (dialling == Dialling::MayHaveFailed && self.request.media.is_some())
            .then(|| playback(None));
        let items = self.playlist.open().map(|item| playback(Some(item)));
        of_old.into_iter().chain(items).collect()
    }

    /// Decides by what was seen, unless the call has moved on since the look began.
    pub(super) fn seen(&mut self, stamp: Stamp, look: &Look) {
        let Some(live) = &self.live else {
            return;
        };
        let dialling = if look.known.dialled {
            Dialling::Done
        } else {
            Dialling::MayHaveFailed
        };
        if stamp != self.stamp() && kept(Rule::LookNotStale) {
            self.look_at_channel(dialling);
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
            Verdict::SendOn => self.go_on(look.playing, at),
            Verdict::HangUp(event) => {
                if let Some(event) = event {
                    self.apply(&event, at);
                }
                self.hang_up_soon();
            }
        }
        // The event that would have confirmed the dial may have been missed.
        if look.channel != ChannelSeen::Gone {
            let actions = if self.protocol.awaits_confirmation_only() {
                self.protocol.step(Input::DialConfirmed)
            } else {
                Vec::new()
            };
            self.actions.extend(actions);
        }
    }

    /// Continues an answered call that waits, or sees to it that it is played to, unless that is
    /// under way. `playing` is what plays now.
    fn go_on(&mut self, playing: Option<PlaybackId>, at: When) {
        let missed = self.may_have_missed_playback();
        let Some(live) = &mut self.live else {
            return;
        };
        if live.effect.is_some() || live.call.hangup.is_some() {
            return;
        }
        if self.request.media.is_none() {
            self.continue_channel();
            return;
        }
        if !self.playlist.is_begun() {
            self.play();
            return;
        }
        match playing {
            Some(playing) => {
                live.playback_check = Some(Box::pin(tokio::time::sleep(CHECK_PLAYBACK_EVERY)));
                self.playlist.pass_over(playing.item.unwrap_or(0), missed);
            }
            None => self.playlist.pass_over_all(missed),
        }
        self.settle_playlist(at);
    }

    pub(super) fn past_deadline(&mut self) {
        let id = self.id();
        let Some(live) = &mut self.live else {
            return;
        };
        if let Some(origin) = live.refused.take() {
            self.request_hang_up(origin);
            return;
        }
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
            live.refused = None;
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

impl Live {
    /// Whether the call was answered in this life of the bridge: then its limit is set.
    fn fresh_answer(&self) -> bool {
        self.call.status == CallStatus::Answered && self.saved < self.call.sequence
    }
}

/// Has Asterisk itself end the call, should the bridge not be there to do so.
async fn set_limit(ari: &dyn Asterisk, id: CallId, ends_after: Duration) {
    if !kept(Rule::LimitGivenToAsterisk) {
        return;
    }
    if let Err(error) = ari.set_limit(id, ends_after).await {
        tracing::warn!(call_id = %id, error = %error::chain(&error), "Asterisk was not given the call's limit");
    }
}

/// Queues one item, with a few tries. Whether it is queued.
async fn play_item(ari: &dyn Asterisk, playback: PlaybackId, uri: &str) -> bool {
    let id = playback.call;
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
    for tried in 1..=PLAY_TRIES {
        match ari.play(playback, uri).await {
            Ok(reply) => {
                tracing::debug!(call_id = %id, ?reply, "the call is played to");
                return reply == ChannelReply::Done;
            }
            Err(error) => {
                tracing::warn!(call_id = %id, error = %error::chain(&error), "the call is not played to");
                // Asked twice, Asterisk plays it twice.
                if matches!(error, AriError::NoAnswer { sent: true, .. }) {
                    return matches!(ari.is_playing(playback).await, Ok(true));
                }
            }
        }
        if tried < PLAY_TRIES {
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }
    false
}
