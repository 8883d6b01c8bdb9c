//! A model of Asterisk with its phones, as far as the bridge can tell it from a real one. It has what
//! Asterisk answers, which events it sends, and what is lost when a socket or all of it goes away.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bridge::ari::event::Incoming;
use bridge::ari::{
    self, Canary, ChannelEvent, ChannelEventKind, ChannelReply, EndpointState, NewChannel, Place,
    PlaybackId,
};
use domain::endpoint::Trunk;
use domain::origination::{ChannelOwner, CreateReply, DialReply};
use domain::reconciliation::ChannelSeen;
use domain::rules::{Rule, kept};
use domain::{CallId, HangupCause, SipCode, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::leg::Leg;
use crate::plan::{Callee, Trouble};
use crate::world::{State, World};

mod leg;
mod playing;

pub use self::playing::{is_playing, play};

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
    /// What is wrong with it, until when.
    troubles: Vec<(Trouble, Instant)>,
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
    playing: VecDeque<PlaybackId>,
    dialled: bool,
    /// Nothing is heard of it.
    unheard: bool,
    /// Which setting of `TIMEOUT(absolute)` counts.
    limit: u64,
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
            troubles: Vec::new(),
        }
    }

    /// Makes something wrong for a while.
    pub fn trouble(&mut self, trouble: Trouble, until: Instant) {
        self.troubles.push((trouble, until));
    }

    fn has(&self, trouble: Trouble) -> bool {
        let now = Instant::now();
        let is_on = |(what, until): &(Trouble, Instant)| *what == trouble && *until > now;
        self.troubles.iter().any(is_on)
    }

    /// `GET /endpoints/{tech}/{resource}`.
    #[must_use]
    pub fn endpoint_state(&self, trunk: &Trunk) -> EndpointState {
        if trunk.resource != TRUNK || self.has(Trouble::TrunkMissing) {
            EndpointState::Missing
        } else if self.has(Trouble::TrunkOffline) {
            EndpointState::Offline
        } else {
            EndpointState::Online
        }
    }

    /// A create that leads nowhere.
    #[must_use]
    pub fn try_canary(&self) -> Canary {
        if self.has(Trouble::RefusesAll) {
            Canary::Refused
        } else {
            Canary::Made
        }
    }

    /// Whether a create of this endpoint is refused.
    fn refuses(&self, endpoint: &domain::Endpoint) -> bool {
        let by_trunk = endpoint
            .trunk()
            .is_some_and(|trunk| self.endpoint_state(&trunk) != EndpointState::Online);
        by_trunk || self.has(Trouble::RefusesAll) || self.has(Trouble::RefusesCalls)
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

    /// `GET /channels`, as an application sees them.
    #[must_use]
    pub fn seen_by(&self, app: &str) -> Vec<ari::Channel> {
        let seen = |(id, channel): (&CallId, &Channel)| {
            let place = if !channel.in_stasis {
                Place::Elsewhere
            } else if channel.app == app {
                Place::OurApp
            } else {
                return None;
            };
            Some(ari::Channel { id: *id, place })
        };
        self.channels.iter().filter_map(seen).collect()
    }

    fn channel(&mut self, id: CallId, made: u64) -> Option<&mut Channel> {
        self.channels
            .get_mut(&id)
            .filter(|channel| channel.made == made)
    }

    fn emit(&self, id: CallId, kind: ChannelEventKind, at: Timestamp) {
        let Some(channel) = self.channels.get(&id).filter(|channel| !channel.unheard) else {
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
    new: NewChannel<'_>,
    app: &str,
) -> CreateReply {
    let created_at = world.now();
    let (id, attempt) = (new.call.id, new.attempt);
    let switch = &mut state.switches[host];
    if switch.refuses(&new.call.endpoint) {
        state.witness.note("create refused", Some(id));
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
        playing: VecDeque::new(),
        dialled: false,
        unheard: false,
        limit: 0,
    };
    switch.channels.insert(id, channel);
    state.witness.note("channel", Some(id));
    if kept(Rule::LimitGivenToAsterisk) {
        limit(world, host, (id, made, 0), new.ends_after);
    }
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

/// Asterisk ends a channel when its `TIMEOUT(absolute)` is over, unless it was set anew.
fn limit(
    world: &Arc<World>,
    host: usize,
    (id, made, setting): (CallId, u64, u64),
    ends_after: Duration,
) {
    let world = Arc::clone(world);
    tokio::spawn(async move {
        tokio::time::sleep(ends_after).await;
        let state = &mut *world.lock();
        let Some(channel) = state.switches[host].channel(id, made) else {
            return;
        };
        if channel.limit != setting {
            return;
        }
        // An undialled channel ends as if somebody had declined.
        let (cause, announced) = if channel.dialled {
            (HangupCause::NormalClearing, None)
        } else {
            (HangupCause::CallRejected, Some(HangupCause::CallRejected))
        };
        destroy(
            &world,
            state,
            host,
            id,
            Some(made),
            Gone::new(cause, announced),
        );
    });
}

/// `POST /channels/{id}/variable` with `TIMEOUT(absolute)`.
pub fn set_limit(
    world: &Arc<World>,
    state: &mut State,
    host: usize,
    id: CallId,
    ends_after: Duration,
) -> ChannelReply {
    let Some(channel) = state.switches[host].channels.get_mut(&id) else {
        return ChannelReply::Gone;
    };
    if !channel.in_stasis {
        return ChannelReply::NotInStasis;
    }
    channel.limit += 1;
    let setting = (id, channel.made, channel.limit);
    limit(world, host, setting, ends_after);
    if let Some(truth) = state.witness.truth(id) {
        truth.limited = true;
    }
    ChannelReply::Done
}

/// `GET /channels/{id}/variable` with `DIALPLAN_EXISTS`.
pub fn target_exists(state: &mut State, id: CallId) -> bool {
    state
        .witness
        .truth(id)
        .is_none_or(|truth| truth.plan.target_exists)
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
        return DialReply::Leaving;
    }
    // Until the far end rings a second dial is accepted, and dials again.
    if channel.phone != Phone::Down {
        return DialReply::Dialled;
    }
    let made = channel.made;
    if switch.has(Trouble::EndsChannels) {
        if let Some(truth) = state.witness.truth(id) {
            truth.undialled = true;
        }
        return DialReply::Leaving;
    }
    let Some(truth) = state.witness.truth(id) else {
        return DialReply::Dialled;
    };
    let is_local = truth.plan.is_local();
    // Without ports for audio the channel is gone at once, and no INVITE leaves.
    if state.switches[host].has(Trouble::NoPorts) && !is_local {
        if let Some(truth) = state.witness.truth(id) {
            truth.undialled = true;
        }
        let world = Arc::clone(world);
        tokio::spawn(async move {
            tokio::time::sleep(millis(1..4)).await;
            let gone = Gone::new(HangupCause::NormalClearing, Some(HangupCause::Unknown));
            destroy(&world, &mut world.lock(), host, id, Some(made), gone);
        });
        return DialReply::Dialled;
    }
    // With hardly a descriptor left nothing more is heard of the channel.
    if state.switches[host].has(Trouble::NoDescriptors) {
        if let Some(truth) = state.witness.truth(id) {
            truth.unheard = Some(Instant::now());
        }
        if let Some(channel) = state.switches[host].channels.get_mut(&id) {
            channel.unheard = true;
        }
        return DialReply::Dialled;
    }
    let switch = &mut state.switches[host];
    if let Some(channel) = switch.channels.get_mut(&id) {
        channel.dialled = true;
    }
    switch.emit(id, ChannelEventKind::DialBegun, at);
    let record = state.table.get(id);
    let late = record.map_or(Duration::ZERO, |call| {
        at.since(call.request.dial_before.plus(LATE))
    });
    let record = record.cloned();
    let paused_for = state.paused.map(|since| since.elapsed());
    state.witness.invite(id, record.as_ref(), late);
    if let Some(truth) = state.witness.truth(id) {
        truth.paused_for = paused_for;
    }
    let Some(callee) = state.witness.truth(id).map(|truth| truth.plan.callee) else {
        return DialReply::Dialled;
    };
    let leg = Leg {
        world: Arc::clone(world),
        host,
        id,
        made,
        given_up_at: Instant::now() + ring_for,
        is_local,
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
    let callee = truth.plan.callee;
    if callee.clears_limit()
        && let Some(channel) = state.switches[host].channels.get_mut(&id)
    {
        channel.limit += 1;
    }
    let world = Arc::clone(world);
    tokio::spawn(async move {
        tokio::time::sleep(callee.lasts()).await;
        let gone = Gone::new(HangupCause::NormalClearing, None);
        destroy(&world, &mut world.lock(), host, id, Some(made), gone);
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
    let gone = Gone::new(HangupCause::NormalClearing, Some(SOFT));
    destroy(world, state, host, id, None, gone);
    ChannelReply::Done
}

/// How a channel goes.
#[derive(Clone, Copy, Debug)]
struct Gone {
    /// The cause in its `ChannelDestroyed`.
    cause: HangupCause,
    /// The SIP code in it.
    code: Option<SipCode>,
    /// The cause in its `ChannelHangupRequest`, if there is one.
    announced: Option<HangupCause>,
}

impl Gone {
    fn new(cause: HangupCause, announced: Option<HangupCause>) -> Self {
        Self {
            cause,
            code: None,
            announced,
        }
    }

    fn with_code(self, code: u16) -> Self {
        Self {
            code: SipCode::new(code),
            ..self
        }
    }
}

/// Ends a channel (the one that was `made` so-many-eth, if given).
fn destroy(
    world: &Arc<World>,
    state: &mut State,
    host: usize,
    id: CallId,
    made: Option<u64>,
    gone: Gone,
) {
    let at = world.now();
    let switch = &mut state.switches[host];
    let Some(channel) = switch.channels.get(&id) else {
        return;
    };
    if made.is_some_and(|made| made != channel.made) {
        return;
    }
    let (playing, dialled) = (channel.playing.clone(), channel.dialled);
    if let Some(announced) = gone.announced {
        switch.emit(id, ChannelEventKind::HangupAnnounced(announced), at);
    }
    for playback in playing {
        let played = ChannelEventKind::Played {
            item: playback.item,
            whole: false,
        };
        switch.emit(id, played, at);
    }
    let destroyed = ChannelEventKind::Destroyed(gone.cause, gone.code);
    switch.emit(id, destroyed, at);
    switch.channels.remove(&id);
    state.witness.note("channel gone", Some(id));
    // One that was not dialled is nothing to the phone.
    if let Some(truth) = state.witness.truth(id).filter(|_| dialled) {
        truth.ended = Some((gone.cause, Instant::now()));
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

/// The trunk that is there.
pub const TRUNK: &str = "trunk";

impl Callee {
    /// Whether the dialplan takes the limit away that Asterisk was given.
    const fn clears_limit(self) -> bool {
        matches!(self, Self::TalksOn { clears: true, .. })
    }

    /// How long the answered call lasts.
    const fn lasts(self) -> Duration {
        match self {
            Self::Answers { lasts, .. }
            | Self::EarlyMedia { lasts, .. }
            | Self::AnswersBriefly { lasts } => lasts,
            Self::TalksOn { .. } => Duration::from_hours(10),
            _ => Duration::ZERO,
        }
    }
}

/// A while.
#[must_use]
pub fn millis(range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(fastrand::u64(range))
}
