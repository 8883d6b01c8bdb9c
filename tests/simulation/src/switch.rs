//! A model of Asterisk with its phones, as far as the bridge can tell it from a real one: what it answers, which
//! events it sends, and what is lost when its socket or the whole of it goes away.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge::ari::event::Incoming;
use bridge::ari::{ChannelEvent, ChannelEventKind, ChannelReply};
use domain::origination::{ChannelOwner, CreateReply, DialReply};
use domain::reconciliation::ChannelSeen;
use domain::{AttemptId, CallId, HangupCause, SipCode, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::plan::Callee;
use crate::world::{State, World};

/// An Asterisk.
#[derive(Debug)]
pub struct Switch {
    running: bool,
    /// When it started, by its own clock.
    pub started_at: Timestamp,
    apps: BTreeMap<String, App>,
    channels: BTreeMap<CallId, Channel>,
    /// Channels made so far: tells one from another with the same id.
    made: u64,
}

#[derive(Debug)]
struct App {
    socket: mpsc::UnboundedSender<Incoming>,
    silent: Arc<AtomicBool>,
    stall: Arc<Stall>,
}

#[derive(Debug)]
struct Channel {
    made: u64,
    created_at: Timestamp,
    app: String,
    in_stasis: bool,
    phone: Phone,
    playing: bool,
    dialled: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phone {
    Down,
    Ringing,
    Up,
}

/// The end of a socket that the bridge reads.
#[derive(Debug)]
pub struct Socket {
    /// What comes over it.
    pub events: mpsc::UnboundedReceiver<Incoming>,
    /// When it ends, nothing says so.
    pub silent: Arc<AtomicBool>,
    /// Holds its events back.
    pub stall: Arc<Stall>,
}

/// Until when a socket holds its events back.
#[derive(Debug, Default)]
pub struct Stall(Mutex<Option<Instant>>);

impl Stall {
    /// Until when, if it does.
    #[must_use]
    pub fn until(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, until: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

/// Q.850 of a hangup that we or the dial's timeout asked for, as `ChannelHangupRequest` has it.
const SOFT: HangupCause = HangupCause::Other(32);

impl Switch {
    /// One that has just started.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            running: true,
            started_at: now,
            apps: BTreeMap::new(),
            channels: BTreeMap::new(),
            made: 0,
        }
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// The channels that are there; of an Asterisk whose bridge never comes back, those that ring.
    pub fn channels(&self, deserted: bool) -> impl Iterator<Item = CallId> {
        let counts =
            move |(id, channel): (&CallId, &Channel)| (channel.dialled || !deserted).then_some(*id);
        self.channels.iter().filter_map(counts)
    }

    /// Connects a socket; the one before is told and cut.
    pub fn connect(&mut self, app: &str) -> Socket {
        let (socket, events) = mpsc::unbounded_channel();
        let silent = Arc::new(AtomicBool::new(false));
        let stall = Arc::new(Stall::default());
        let entry = App {
            socket,
            silent: Arc::clone(&silent),
            stall: Arc::clone(&stall),
        };
        if let Some(before) = self.apps.insert(app.to_owned(), entry) {
            let _ = before.socket.send(Incoming::ApplicationReplaced);
        }
        Socket {
            events,
            silent,
            stall,
        }
    }

    /// Holds the events of an application's socket back.
    pub fn stall(&self, app: &str, until: Instant) {
        if let Some(app) = self.apps.get(app) {
            app.stall.set(until);
        }
    }

    /// Cuts an application's socket; `silently` so that nothing tells the bridge.
    pub fn cut(&mut self, app: &str, silently: bool) {
        if let Some(app) = self.apps.remove(app) {
            app.silent.store(silently, Ordering::Relaxed);
        }
    }

    /// `GET /channels/{id}`.
    #[must_use]
    pub fn seen(&self, id: CallId) -> ChannelSeen {
        match self.channels.get(&id) {
            None => ChannelSeen::Gone,
            Some(channel) => match channel.phone {
                Phone::Down => ChannelSeen::Down,
                Phone::Ringing => ChannelSeen::Ringing,
                Phone::Up => ChannelSeen::Up {
                    in_stasis: channel.in_stasis,
                },
            },
        }
    }

    /// The same, for whose it is.
    #[must_use]
    pub fn owner(&self, id: CallId, app: &str) -> ChannelOwner {
        match self.channels.get(&id) {
            None => ChannelOwner::Nobody,
            Some(channel) if channel.in_stasis && channel.app == app => ChannelOwner::ThisBridge,
            Some(_) => ChannelOwner::AnotherBridge,
        }
    }

    /// `GET /channels`, of an application.
    #[must_use]
    pub fn of(&self, app: &str) -> Vec<CallId> {
        let ours = |(id, channel): (&CallId, &Channel)| {
            (channel.in_stasis && channel.app == app).then_some(*id)
        };
        self.channels.iter().filter_map(ours).collect()
    }

    /// `GET /playbacks/{id}`.
    #[must_use]
    pub fn is_playing(&self, id: CallId) -> bool {
        self.channels
            .get(&id)
            .is_some_and(|channel| channel.playing)
    }

    fn channel(&mut self, id: CallId, made: u64) -> Option<&mut Channel> {
        self.channels
            .get_mut(&id)
            .filter(|channel| channel.made == made)
    }

    fn emit(&self, id: CallId, kind: ChannelEventKind, at: Timestamp) {
        let Some(channel) = self.channels.get(&id) else {
            return;
        };
        if let Some(app) = self.apps.get(&channel.app) {
            let _ = app.socket.send(Incoming::Channel(ChannelEvent {
                call_id: id,
                at: Some(at),
                // A playback does not tell its channel's.
                channel_created_at: (!matches!(kind, ChannelEventKind::Played { .. }))
                    .then_some(channel.created_at),
                kind,
            }));
        }
    }
}

/// `POST /channels/create`.
pub fn create(
    world: &Arc<World>,
    state: &mut State,
    host: usize,
    (id, attempt): (CallId, AttemptId),
    app: &str,
) -> CreateReply {
    let created_at = world.now();
    let endpoint = state
        .witness
        .truth(id)
        .is_some_and(|truth| truth.plan.callee != Callee::NoEndpoint);
    let switch = &mut state.switches[host];
    if !endpoint {
        return CreateReply::Refused;
    }
    if switch.channels.contains_key(&id) {
        return CreateReply::Exists;
    }
    // With nobody listening the channel is gone at once.
    if !switch.apps.contains_key(app) {
        return CreateReply::Created;
    }
    switch.made += 1;
    let made = switch.made;
    let channel = Channel {
        made,
        created_at,
        app: app.to_owned(),
        in_stasis: false,
        phone: Phone::Down,
        playing: false,
        dialled: false,
    };
    switch.channels.insert(id, channel);
    state.witness.note("channel", Some(id));
    let world = Arc::clone(world);
    tokio::spawn(async move {
        tokio::time::sleep(millis(2..30)).await;
        let at = world.now();
        let state = &mut *world.lock();
        let switch = &mut state.switches[host];
        if let Some(channel) = switch.channel(id, made) {
            channel.in_stasis = true;
            let attempt = Some(attempt);
            switch.emit(id, ChannelEventKind::StasisStarted { attempt }, at);
        }
    });
    CreateReply::Created
}

/// `POST /channels/{id}/dial`.
pub fn dial(
    world: &Arc<World>,
    state: &mut State,
    host: usize,
    id: CallId,
    ring_for: Duration,
) -> DialReply {
    let at = world.now();
    let switch = &mut state.switches[host];
    let Some(channel) = switch.channels.get_mut(&id) else {
        return DialReply::Gone;
    };
    if !channel.in_stasis {
        return DialReply::Refused;
    }
    // Until the far end rings a second dial is accepted, and dials again.
    if channel.phone != Phone::Down {
        return DialReply::Dialled;
    }
    channel.dialled = true;
    let made = channel.made;
    switch.emit(id, ChannelEventKind::DialBegun, at);
    let record = state.table.get(id);
    let late = record.map_or(Duration::ZERO, |call| {
        at.since(call.request.dial_before.plus(LATE))
    });
    let record = record.cloned();
    state.witness.invite(id, record.as_ref(), late);
    let Some(callee) = state.witness.truth(id).map(|truth| truth.plan.callee) else {
        return DialReply::Dialled;
    };
    let leg = Leg {
        world: Arc::clone(world),
        host,
        id,
        made,
        given_up_at: Instant::now() + ring_for,
    };
    tokio::spawn(leg.run(callee));
    DialReply::Dialled
}

/// How late a dial may be: clocks differ, and the claim comes first.
const LATE: Duration = Duration::from_secs(20);

/// `POST /channels/{id}/continue`.
pub fn go_on(world: &Arc<World>, state: &mut State, host: usize, id: CallId) -> ChannelReply {
    let Some(channel) = state.switches[host].channels.get_mut(&id) else {
        return ChannelReply::Gone;
    };
    if !channel.in_stasis {
        return ChannelReply::NotInStasis;
    }
    channel.in_stasis = false;
    let made = channel.made;
    state.witness.note("continued", Some(id));
    let Some(truth) = state.witness.truth(id) else {
        return ChannelReply::Done;
    };
    truth.sent_on += 1;
    let lasts = truth.plan.callee.lasts();
    let world = Arc::clone(world);
    tokio::spawn(async move {
        tokio::time::sleep(lasts).await;
        let cause = HangupCause::NormalClearing;
        destroy(&world, &mut world.lock(), host, id, Some(made), cause, None);
    });
    ChannelReply::Done
}

/// `POST /channels/{id}/play/{playback}`.
pub fn play(world: &Arc<World>, state: &mut State, host: usize, id: CallId) -> ChannelReply {
    let Some(channel) = state.switches[host].channels.get_mut(&id) else {
        return ChannelReply::Gone;
    };
    if !channel.in_stasis {
        return ChannelReply::NotInStasis;
    }
    // A second playback with the same id would be queued behind the first.
    if channel.playing {
        return ChannelReply::Done;
    }
    channel.playing = true;
    let made = channel.made;
    state.witness.note("played to", Some(id));
    let Some(truth) = state.witness.truth(id) else {
        return ChannelReply::Done;
    };
    truth.sent_on += 1;
    let lasts = truth.plan.callee.lasts();
    let world = Arc::clone(world);
    tokio::spawn(async move {
        tokio::time::sleep(lasts).await;
        let at = world.now();
        let switch = &mut world.lock().switches[host];
        if let Some(channel) = switch.channel(id, made) {
            channel.playing = false;
            switch.emit(id, ChannelEventKind::Played { whole: true }, at);
        }
    });
    ChannelReply::Done
}

/// `DELETE /channels/{id}`.
pub fn hang_up(world: &Arc<World>, state: &mut State, host: usize, id: CallId) -> ChannelReply {
    if state.switches[host].seen(id) == ChannelSeen::Gone {
        return ChannelReply::Gone;
    }
    state.witness.note("DELETE", Some(id));
    let dialled = state.switches[host]
        .channels
        .get(&id)
        .is_some_and(|c| c.dialled);
    if let Some(truth) = state.witness.truth(id) {
        truth.hung_up |= dialled;
    }
    let cause = HangupCause::NormalClearing;
    destroy(world, state, host, id, None, cause, Some(SOFT));
    ChannelReply::Done
}

/// Ends a channel (the one that was `made` so-many-eth, if given); `announced` is the cause in its
/// `ChannelHangupRequest`.
fn destroy(
    world: &Arc<World>,
    state: &mut State,
    host: usize,
    id: CallId,
    made: Option<u64>,
    cause: HangupCause,
    announced: Option<HangupCause>,
) {
    let at = world.now();
    let switch = &mut state.switches[host];
    let Some(channel) = switch.channels.get(&id) else {
        return;
    };
    if made.is_some_and(|made| made != channel.made) {
        return;
    }
    let (playing, dialled) = (channel.playing, channel.dialled);
    if let Some(announced) = announced {
        switch.emit(id, ChannelEventKind::HangupAnnounced(announced), at);
    }
    if playing {
        switch.emit(id, ChannelEventKind::Played { whole: false }, at);
    }
    let sip_code = SipCode::new(486).filter(|_| cause == HangupCause::UserBusy);
    switch.emit(id, ChannelEventKind::Destroyed(cause, sip_code), at);
    switch.channels.remove(&id);
    state.witness.note("channel gone", Some(id));
    // One that was not dialled is nothing to the phone.
    if let Some(truth) = state.witness.truth(id).filter(|_| dialled) {
        truth.ended = Some((cause, Instant::now()));
    }
}

/// Ends an Asterisk with all its channels, without a word, until `back`.
pub fn stop(state: &mut State, host: usize) {
    let switch = &mut state.switches[host];
    switch.running = false;
    switch.apps.clear();
    switch.channels.clear();
}

/// Starts an Asterisk again.
pub fn start(world: &World, state: &mut State, host: usize) {
    let switch = &mut state.switches[host];
    switch.running = true;
    switch.started_at = world.now();
}

/// A channel's way to its callee.
struct Leg {
    world: Arc<World>,
    host: usize,
    id: CallId,
    made: u64,
    given_up_at: Instant,
}

impl Leg {
    async fn run(self, callee: Callee) {
        // Until the far end is heard of.
        if self.pass(millis(5..400)).await.is_none() {
            return;
        }
        let ended = match callee {
            Callee::Answers { after, .. } | Callee::TalksOn { after } => {
                self.rings(after, None).await;
                self.waits().await
            }
            Callee::AnswersBriefly { lasts } => {
                self.answers();
                tokio::time::sleep(lasts).await;
                Some((HangupCause::NormalClearing, HangupCause::NormalClearing))
            }
            Callee::EarlyMedia { after, .. } => {
                self.hears(&[ChannelEventKind::Progressed], Phone::Down);
                if self.pass(after).await.is_some() {
                    self.answers();
                }
                self.waits().await
            }
            Callee::Busy { after } => self.rings(after, Some(HangupCause::UserBusy)).await,
            Callee::Declines { after } => self.rings(after, Some(HangupCause::CallRejected)).await,
            Callee::NeverAnswers => self.rings(Duration::MAX, None).await,
            Callee::Unallocated => {
                let cause = HangupCause::UnallocatedNumber;
                Some((cause, cause))
            }
            Callee::Silent => {
                self.pass(Duration::MAX).await;
                None
            }
            Callee::NoEndpoint => None,
        };
        if let Some((cause, announced)) = ended {
            self.ends(cause, announced);
        }
    }

    /// Rings, then refuses with a cause or answers.
    async fn rings(
        &self,
        after: Duration,
        refuses: Option<HangupCause>,
    ) -> Option<(HangupCause, HangupCause)> {
        self.hears(
            &[ChannelEventKind::Rang, ChannelEventKind::Rang],
            Phone::Ringing,
        );
        self.pass(after).await?;
        if refuses.is_none() {
            self.answers();
        }
        refuses.map(|cause| (cause, cause))
    }

    /// Nobody stays on the line for ever when nothing happens.
    async fn waits(&self) -> Option<(HangupCause, HangupCause)> {
        const PATIENCE: Duration = Duration::from_secs(45);
        loop {
            tokio::time::sleep(PATIENCE).await;
            let state = &mut *self.world.lock();
            let channel = state.switches[self.host].channel(self.id, self.made)?;
            if channel.phone != Phone::Up || !channel.in_stasis {
                return None;
            }
            if channel.playing {
                continue;
            }
            if let Some(truth) = state.witness.truth(self.id) {
                truth.waited_in_vain = true;
            }
            let cause = HangupCause::NormalClearing;
            return Some((cause, cause));
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
            self.ends(HangupCause::NoAnswer, SOFT);
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
            truth.answered |= phone == Phone::Up;
        }
    }

    fn ends(&self, cause: HangupCause, announced: HangupCause) {
        let state = &mut *self.world.lock();
        destroy(
            &self.world,
            state,
            self.host,
            self.id,
            Some(self.made),
            cause,
            Some(announced),
        );
    }
}

impl Callee {
    /// How long the answered call lasts.
    const fn lasts(self) -> Duration {
        match self {
            Self::Answers { lasts, .. }
            | Self::EarlyMedia { lasts, .. }
            | Self::AnswersBriefly { lasts } => lasts,
            Self::TalksOn { .. } => Duration::from_mins(10),
            _ => Duration::ZERO,
        }
    }
}

/// A while.
#[must_use]
pub fn millis(range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(fastrand::u64(range))
}
