//! A channel's way to its callee, and what the callee does.

use std::sync::Arc;
use std::time::Duration;

use bridge::ari::ChannelEventKind;
use domain::{CallId, HangupCause};
use tokio::time::Instant;

use super::{Gone, Phone, SOFT, destroy, millis};
use crate::plan::{Alert, Callee};
use crate::world::World;

/// A channel's way to its callee.
pub struct Leg {
    pub world: Arc<World>,
    pub host: usize,
    pub id: CallId,
    pub made: u64,
    pub given_up_at: Instant,
    pub is_local: bool,
}

/// Both signals of one fact.
const RANG: [ChannelEventKind; 2] = [ChannelEventKind::Rang, ChannelEventKind::Rang];

impl Leg {
    /// Goes the whole way.
    pub async fn run(self, callee: Callee) {
        // Until the far end is heard of.
        if self.pass(millis(5..400)).await.is_none() {
            return;
        }
        let ended = match callee {
            Callee::Refuses {
                code,
                cause,
                alert,
                after,
            } => {
                match alert {
                    Alert::Rings => self.hears(&RANG, Phone::Ringing),
                    Alert::EarlyMedia => self.hears(&[ChannelEventKind::Progressed], Phone::Down),
                    Alert::None => {}
                }
                if self.pass(after).await.is_none() {
                    return;
                }
                let cause = HangupCause::from(cause);
                let gone = Gone::new(cause, Some(cause));
                Some(if self.is_local {
                    gone
                } else {
                    gone.with_code(code)
                })
            }
            Callee::BusyBehindLocal { after } => {
                self.hears(&RANG, Phone::Ringing);
                if self.pass(after).await.is_none() {
                    return;
                }
                // The dialplan ends without a `Hangup`, and the channel stays.
                self.hears(&[ChannelEventKind::CalleeBusy], Phone::Ringing);
                self.pass(Duration::MAX).await;
                None
            }
            Callee::Answers { after, .. } | Callee::TalksOn { after, .. } => {
                self.rings(after).await;
                self.waits().await
            }
            Callee::AnswersBriefly { lasts } => {
                self.answers();
                tokio::time::sleep(lasts).await;
                let cause = HangupCause::NormalClearing;
                Some(Gone::new(cause, Some(cause)))
            }
            Callee::EarlyMediaOnly => {
                self.hears(&[ChannelEventKind::Progressed], Phone::Down);
                self.pass(Duration::MAX).await;
                None
            }
            Callee::EarlyMedia { after, .. } => {
                self.hears(&[ChannelEventKind::Progressed], Phone::Down);
                if self.pass(after).await.is_some() {
                    self.answers();
                }
                self.waits().await
            }
            Callee::NeverAnswers => self.rings(Duration::MAX).await,
            Callee::Silent => {
                self.pass(Duration::MAX).await;
                None
            }
            Callee::NoEndpoint => None,
        };
        if let Some(gone) = ended {
            self.ends(gone);
        }
    }

    /// Rings, then answers.
    async fn rings(&self, after: Duration) -> Option<Gone> {
        self.hears(&RANG, Phone::Ringing);
        self.pass(after).await?;
        self.answers();
        None
    }

    /// Nobody stays on the line for ever when nothing happens.
    async fn waits(&self) -> Option<Gone> {
        const PATIENCE: Duration = Duration::from_secs(45);
        loop {
            tokio::time::sleep(PATIENCE).await;
            let state = &mut *self.world.lock();
            let channel = state.switches[self.host].channel(self.id, self.made)?;
            if channel.phone != Phone::Up || !channel.in_stasis {
                return None;
            }
            if !channel.playing.is_empty() {
                continue;
            }
            if let Some(truth) = state.witness.truth(self.id) {
                truth.waited_in_vain = true;
            }
            let cause = HangupCause::NormalClearing;
            return Some(Gone::new(cause, Some(cause)));
        }
    }

    fn answers(&self) {
        // Both signals of one fact.
        let signals = [ChannelEventKind::Answered, ChannelEventKind::Answered];
        self.hears(&signals, Phone::Up);
    }

    /// Lets time pass, unless the dial's comes first: then the call is given up. `None` if it is over.
    async fn pass(&self, time: Duration) -> Option<()> {
        let until = Instant::now().checked_add(time.min(Duration::from_hours(1)))?;
        tokio::time::sleep_until(until.min(self.given_up_at)).await;
        if until > self.given_up_at {
            // Asterisk derives the code from its own hangup; a Local channel has none.
            let gone = Gone::new(HangupCause::NoAnswer, Some(SOFT));
            self.ends(if self.is_local {
                gone
            } else {
                gone.with_code(480)
            });
            return None;
        }
        let state = &mut *self.world.lock();
        state.switches[self.host]
            .channel(self.id, self.made)
            .map(|_| ())
    }

    fn hears(&self, signals: &[ChannelEventKind], phone: Phone) {
        let at = self.world.now();
        let state = &mut *self.world.lock();
        let switch = &mut state.switches[self.host];
        let Some(channel) = switch.channel(self.id, self.made) else {
            return;
        };
        channel.phone = phone;
        for signal in signals {
            switch.emit(self.id, *signal, at);
        }
        // The two signals of one fact come apart at times.
        if fastrand::u8(..8) == 0
            && let Some(last) = signals.last().copied()
        {
            let (world, host, id, made) = (Arc::clone(&self.world), self.host, self.id, self.made);
            tokio::spawn(async move {
                tokio::time::sleep(millis(0..800)).await;
                let at = world.now();
                let switch = &mut world.lock().switches[host];
                if switch.channel(id, made).is_some() {
                    switch.emit(id, last, at);
                }
            });
        }
        state
            .witness
            .note(&format!("phone {phone:?}"), Some(self.id));
        if let Some(truth) = state.witness.truth(self.id) {
            truth.alerted |= phone != Phone::Up;
            if phone == Phone::Up {
                truth.answered = true;
                truth.answered_at.get_or_insert(Instant::now());
            }
        }
    }

    fn ends(&self, gone: Gone) {
        let state = &mut *self.world.lock();
        destroy(
            &self.world,
            state,
            self.host,
            self.id,
            Some(self.made),
            gone,
        );
    }
}
