//! The world as the production code asks it: each trait of the tables, the queues and Asterisk, over a process.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bridge::Outside;
use bridge::ari::event::Incoming;
use bridge::ari::{
    AriError, Asterisk, Canary, Channel, ChannelReply, EndpointState, EventStream, NewChannel,
    PlaybackId, SocketLost,
};
use bridge::processes::Processes;
use cloud::calls::{Claim, Creation, PendingEnd, Saved, SenderId, Takeover, Unsent};
use cloud::lease::{LeaseClaim, LeaseRefusal};
use cloud::ports::{Beaten, Calls, Control, Pause, Queue, SignsOfLife};
use cloud::queue::{Delivery, Receipt};
use cloud::{Heartbeat, StoreError};
use domain::endpoint::Trunk;
use domain::origination::{ChannelOwner, CreateReply, DialReply};
use domain::reconciliation::ChannelSeen;
use domain::{
    BridgeId, Call, CallEvent, CallId, ClaimId, ControlMessage, DialplanTarget, FailureReason,
    HangupOrigin, QueueMessage, Timestamp, WaitingReason,
};
use tokio::time::Instant;

use crate::plan::{Asked, Service};
use crate::process::{NoAnswer, Process};
use crate::switch::{self, Socket, millis};
use crate::world::{State, World, name};

/// The tables, over a process.
pub struct Store(pub Arc<Process>);

/// The queue of calls, or a control queue, over a process.
pub struct Messages {
    /// Who asks.
    pub process: Arc<Process>,
    /// Whose control queue it is, if it is one.
    pub control: Option<String>,
}

/// An Asterisk, over a process.
pub struct Ari {
    /// Who asks.
    pub process: Arc<Process>,
    /// Which bridge.
    pub bridge: usize,
}

/// What a bridge works with.
#[must_use]
pub fn of_bridge(process: &Arc<Process>, bridge: usize) -> Outside {
    let store = Arc::new(Store(Arc::clone(process)));
    let messages = |control| {
        let process = Arc::clone(process);
        Arc::new(Messages { process, control })
    };
    Outside {
        ari: Arc::new(Ari {
            process: Arc::clone(process),
            bridge,
        }),
        calls: Arc::clone(&store) as Arc<dyn Calls>,
        heartbeats: Arc::clone(&store) as Arc<dyn SignsOfLife>,
        pause: store,
        processes: Arc::clone(process) as Arc<dyn Processes>,
        queue: messages(None),
        control: Some(messages(Some(name(bridge)))),
        clock: process.clock(),
    }
}

fn store_error(operation: &'static str) -> impl FnOnce(NoAnswer) -> StoreError {
    move |_| StoreError::Unavailable {
        operation,
        source: "no answer".into(),
    }
}

impl Store {
    async fn ask<T: Send + 'static>(
        &self,
        about: Option<CallId>,
        request: impl Fn(&Arc<World>, &mut State) -> T + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let answer = self.0.ask(Service::Store, about, request).await;
        answer.map_err(store_error("a request"))
    }

    /// A write: what it changes is noted, and seen in the index a little later.
    async fn write<T: Send + 'static>(
        &self,
        id: CallId,
        request: impl Fn(&mut State) -> T + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let write = move |world: &Arc<World>, state: &mut State| {
            let before = state.table.get(id).cloned();
            let answer = request(state);
            if let Some(after) = state.table.get(id)
                && before.as_ref() != Some(after)
            {
                state.witness.record_changed(before.as_ref(), after);
                state.table.lag(id, world.now().plus(millis(0..1_500)));
            }
            answer
        };
        self.ask(Some(id), write).await
    }
}

#[async_trait]
impl Calls for Store {
    async fn create(
        &self,
        call: &Call,
        sender: SenderId,
        _: Timestamp,
    ) -> Result<Creation, StoreError> {
        let (id, call) = (call.request.id, call.clone());
        let request = move |state: &mut State| state.table.create(&call, sender);
        self.write(id, request).await
    }

    async fn take_over_sending(
        &self,
        id: CallId,
        sender: SenderId,
    ) -> Result<Takeover, StoreError> {
        let request = move |state: &mut State| {
            state.witness.note("sending taken over", Some(id));
            state.table.take_over_sending(id, sender)
        };
        self.write(id, request).await
    }

    async fn note_queued_again(&self, id: CallId, at: Timestamp) -> Result<(), StoreError> {
        let request = move |state: &mut State| state.table.note_queued_again(id, at);
        self.write(id, request).await
    }

    async fn fail_unsent(
        &self,
        pending: &Call,
        sender: SenderId,
        now: Timestamp,
    ) -> Result<Unsent, StoreError> {
        let (id, pending) = (pending.request.id, pending.clone());
        let request = move |state: &mut State| state.table.fail_unsent(&pending, sender, now);
        self.write(id, request).await
    }

    async fn get(&self, id: CallId) -> Result<Option<Call>, StoreError> {
        self.ask(Some(id), move |_, state| state.table.get(id).cloned())
            .await
    }

    async fn claim(
        &self,
        id: CallId,
        owner: &BridgeId,
        claim: ClaimId,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        let owner = owner.clone();
        let request = move |state: &mut State| state.table.claim(id, &owner, claim, deadline, now);
        self.write(id, request).await
    }

    async fn save(&self, call: &Call) -> Result<Saved, StoreError> {
        let call = call.clone();
        self.write(call.request.id, move |state| state.table.save(&call))
            .await
    }

    async fn fail_pending(
        &self,
        pending: &Call,
        reason: FailureReason,
        now: Timestamp,
    ) -> Result<PendingEnd, StoreError> {
        let (id, pending) = (pending.request.id, pending.clone());
        let event = CallEvent::Failed(reason);
        let request = move |state: &mut State| state.table.end_pending(&pending, &event, now);
        self.write(id, request).await
    }

    async fn cancel_pending(
        &self,
        pending: &Call,
        now: Timestamp,
    ) -> Result<PendingEnd, StoreError> {
        let id = pending.request.id;
        let pending = pending.clone();
        let event = CallEvent::HangupRequested(HangupOrigin::Client);
        let request = move |state: &mut State| state.table.end_pending(&pending, &event, now);
        self.write(id, request).await
    }

    async fn note_waiting(&self, id: CallId, reason: WaitingReason) -> Result<(), StoreError> {
        self.ask(Some(id), move |_, state| {
            state.table.note_waiting(id, reason);
        })
        .await
    }

    async fn held(
        &self,
        holder: &str,
        due_before: Timestamp,
        most: usize,
    ) -> Result<Vec<(Timestamp, CallId)>, StoreError> {
        let holder = holder.to_owned();
        let request = move |world: &Arc<World>, state: &mut State| {
            state.table.held(&holder, due_before, most, world.now())
        };
        self.ask(None, request).await
    }
}

#[async_trait]
impl SignsOfLife for Store {
    async fn announce(&self, bridge: &BridgeId) -> Result<(), StoreError> {
        let bridge = bridge.clone();
        self.ask(None, move |_, state| state.signs.announce(&bridge))
            .await
    }

    async fn beat(&self, heartbeat: &Heartbeat, claim: &LeaseClaim) -> Result<Beaten, StoreError> {
        let (heartbeat, claim) = (heartbeat.clone(), claim.clone());
        let request = move |world: &Arc<World>, state: &mut State| {
            state.signs.beat(heartbeat.clone(), &claim, world.now())
        };
        self.ask(None, request).await
    }

    async fn note_refusal(
        &self,
        bridge: &BridgeId,
        refusal: LeaseRefusal,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let bridge = bridge.clone();
        self.ask(None, move |_, state| {
            state.signs.note_refusal(&bridge, refusal, at);
        })
        .await
    }

    async fn read(&self) -> Result<Vec<Heartbeat>, StoreError> {
        self.ask(None, |_, state| state.signs.read()).await
    }
}

#[async_trait]
impl Pause for Store {
    async fn is_on(&self) -> Result<bool, StoreError> {
        self.ask(None, |_, state| state.paused.is_some()).await
    }
}

impl Messages {
    async fn ask<T: Send + 'static>(
        &self,
        about: Option<CallId>,
        request: impl Fn(&Arc<World>, &mut State) -> T + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let answer = self.process.ask(Service::Queue, about, request).await;
        answer.map_err(store_error("a request"))
    }
}

/// The queue of calls, or a bridge's control queue.
fn queue<'a>(state: &'a mut State, control: Option<&String>) -> &'a mut crate::queue::Queue {
    match control {
        Some(bridge) => state.control.entry(bridge.clone()).or_default(),
        None => &mut state.queue,
    }
}

#[async_trait]
impl Queue for Messages {
    async fn send(&self, message: &QueueMessage) -> Result<(), StoreError> {
        let id = message.request().id;
        let body = message.encode().unwrap_or_default();
        let request = move |world: &Arc<World>, state: &mut State| {
            state.witness.note("queued", Some(id));
            let truth = state.witness.truth(id);
            let forged = truth.is_some_and(|truth| truth.plan.asked == Asked::ByForgedMessage);
            let body = if forged {
                body.replace("15550000200", "19005550000")
            } else {
                body.clone()
            };
            state.queue.send(body, Instant::now());
            world.queued.notify_waiters();
        };
        self.ask(Some(id), request).await
    }

    async fn send_again(&self, body: &str, delay: Duration) -> Result<(), StoreError> {
        let (body, control) = (body.to_owned(), self.control.clone());
        let request = move |world: &Arc<World>, state: &mut State| {
            // SQS counts in whole seconds.
            let delay = Duration::from_secs(delay.as_secs());
            queue(state, control.as_ref()).send(body.clone(), Instant::now() + delay);
            world.queued.notify_waiters();
        };
        self.ask(None, request).await
    }

    async fn receive(
        &self,
        most: usize,
        wait: Duration,
        invisible: Duration,
    ) -> Result<Vec<Delivery>, StoreError> {
        let until = Instant::now() + wait;
        loop {
            let control = self.control.clone();
            let request = move |_: &Arc<World>, state: &mut State| {
                let taken = queue(state, control.as_ref()).receive(most, invisible, Instant::now());
                if state.witness.verbose {
                    note_received(state, &taken);
                }
                taken
            };
            // A long poll is one request; until there is something it costs nothing.
            let world = Arc::clone(&self.process.world);
            let queued = world.queued.notified();
            let next_at = queue(&mut world.lock(), self.control.as_ref()).next_at();
            if next_at.is_some_and(|at| at <= Instant::now()) {
                return self.ask(None, request).await;
            }
            if Instant::now() >= until {
                return self.ask(None, |_, _| Vec::new()).await;
            }
            let next_at = next_at.map_or(until, |at| at.min(until));
            tokio::select! {
                biased;
                () = queued => {}
                () = tokio::time::sleep_until(next_at) => {}
            }
        }
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<Vec<Receipt>, StoreError> {
        let (receipts, control) = (receipts.to_vec(), self.control.clone());
        let request = move |_: &Arc<World>, state: &mut State| {
            for receipt in &receipts {
                let deleted = queue(state, control.as_ref()).delete(receipt);
                if control.is_none()
                    && let Some(body) = deleted
                {
                    deleted_rightly(state, &body);
                }
            }
            Vec::new()
        };
        self.ask(None, request).await
    }

    async fn give_back(&self, receipt: &Receipt, delay: Duration) -> Result<(), StoreError> {
        let (receipt, control) = (receipt.clone(), self.control.clone());
        let request = move |world: &Arc<World>, state: &mut State| {
            // SQS counts in whole seconds.
            let delay = Duration::from_secs(delay.as_secs());
            queue(state, control.as_ref()).give_back(&receipt, Instant::now() + delay);
            world.queued.notify_waiters();
        };
        self.ask(None, request).await
    }
}

fn note_received(state: &mut State, taken: &[Delivery]) {
    for delivery in taken {
        let id = match QueueMessage::decode(&delivery.body) {
            Ok(message) => Some(message.request().id),
            Err(_) => match ControlMessage::decode(&delivery.body) {
                Ok(ControlMessage::HangUp(id)) => Some(id),
                Err(_) => None,
            },
        };
        let what = format!("received, time {}", delivery.receive_count);
        state.witness.note(&what, id);
    }
}

/// A message may go when its call is claimed, or over, or when it has been sent anew.
fn deleted_rightly(state: &mut State, body: &str) {
    let Ok(message) = QueueMessage::decode(body) else {
        return;
    };
    let id = message.request().id;
    state.witness.note("message deleted", Some(id));
    let done = state
        .table
        .get(id)
        .is_none_or(|call| call.owner.is_some() || call.status.is_terminal());
    if !done && !state.queue.holds(body) {
        state
            .witness
            .violation(id, "its message was deleted while it was pending");
    }
}

#[async_trait]
impl Control for Messages {
    async fn send(&self, bridge: &BridgeId, message: ControlMessage) -> Result<(), StoreError> {
        let body = message.encode().unwrap_or_default();
        let ControlMessage::HangUp(id) = message;
        let bridge = bridge.to_string();
        let request = move |world: &Arc<World>, state: &mut State| {
            state.witness.note("hangup queued", Some(id));
            queue(state, Some(&bridge)).send(body.clone(), Instant::now());
            world.queued.notify_waiters();
        };
        self.ask(Some(id), request).await
    }
}

impl Ari {
    async fn ask<T: Send + 'static>(
        &self,
        request_name: &'static str,
        about: Option<CallId>,
        request: impl Fn(&Arc<World>, &mut State, usize) -> T + Send + Sync + 'static,
    ) -> Result<T, AriError> {
        let host = self.process.host;
        let request = move |world: &Arc<World>, state: &mut State| request(world, state, host);
        let answer = self.process.ask(Service::Ari, about, request).await;
        answer.map_err(|NoAnswer { sent }| AriError::NoAnswer {
            request: request_name,
            sent,
            source: "no answer".into(),
        })
    }

    fn app(&self) -> String {
        name(self.bridge)
    }
}

#[async_trait]
impl Asterisk for Ari {
    async fn connect(&self) -> Result<Box<dyn EventStream>, SocketLost> {
        let app = self.app();
        let request = move |_: &Arc<World>, state: &mut State, host: usize| {
            state.switches[host].connect(&app)
        };
        // Whether a socket whose handshake was not answered is open cannot be told: it is not read.
        match self.ask("connect", None, request).await {
            Ok(socket) => Ok(Box::new(Stream {
                process: Arc::clone(&self.process),
                socket,
            })),
            Err(error) => {
                // It may still take the place of the next.
                self.process.world.upheaval(Duration::from_secs(25));
                Err(SocketLost::Failed(error.into()))
            }
        }
    }

    async fn filter_events(&self) -> Result<(), AriError> {
        self.ask("filter", None, |_, _, _| ()).await
    }

    async fn create_channel(&self, new: NewChannel<'_>) -> CreateReply {
        let (call, app) = (new.call.clone(), self.app());
        let (id, attempt, ends_after) = (call.id, new.attempt, new.ends_after);
        let request = move |world: &Arc<World>, state: &mut State, host| {
            let new = NewChannel {
                call: &call,
                attempt,
                ends_after,
            };
            switch::create(world, state, host, new, &app)
        };
        let reply = self.ask("create", Some(id), request).await;
        reply.unwrap_or(CreateReply::Unavailable)
    }

    async fn try_canary(&self) -> Result<Canary, AriError> {
        self.ask("canary", None, |_, state, host| {
            state.switches[host].try_canary()
        })
        .await
    }

    async fn delete_canary(&self) -> Result<(), AriError> {
        self.ask("canary", None, |_, _, _| ()).await
    }

    async fn endpoint_state(&self, trunk: &Trunk) -> Result<EndpointState, AriError> {
        let trunk = trunk.clone();
        self.ask("endpoint", None, move |_, state, host| {
            state.switches[host].endpoint_state(&trunk)
        })
        .await
    }

    async fn target_exists(&self, id: CallId, _: &DialplanTarget) -> Result<bool, AriError> {
        self.ask("target", Some(id), move |_, state, _| {
            switch::target_exists(state, id)
        })
        .await
    }

    async fn set_limit(&self, id: CallId, ends_after: Duration) -> Result<ChannelReply, AriError> {
        self.ask("limit", Some(id), move |world, state, host| {
            switch::set_limit(world, state, host, id, ends_after)
        })
        .await
    }

    async fn dial(&self, id: CallId, ring_for: Duration) -> DialReply {
        let request = move |world: &Arc<World>, state: &mut State, host| {
            switch::dial(world, state, host, id, ring_for)
        };
        match self.ask("dial", Some(id), request).await {
            Ok(reply) => reply,
            Err(AriError::NoAnswer { sent: false, .. }) => DialReply::NotSent,
            Err(_) => DialReply::Lost,
        }
    }

    async fn continue_channel(
        &self,
        id: CallId,
        _: &DialplanTarget,
    ) -> Result<ChannelReply, AriError> {
        self.ask("continue", Some(id), move |world, state, host| {
            switch::go_on(world, state, host, id)
        })
        .await
    }

    async fn play(&self, playback: PlaybackId, _: &str) -> Result<ChannelReply, AriError> {
        // Tells one request, however often it arrives, from another.
        let request = fastrand::u64(..);
        let request = move |world: &Arc<World>, state: &mut State, host| {
            switch::play(world, state, host, playback, request)
        };
        self.ask("play", Some(playback.call), request).await
    }

    async fn is_playing(&self, playback: PlaybackId) -> Result<bool, AriError> {
        self.ask("playback", Some(playback.call), move |_, state, host| {
            switch::is_playing(state, host, playback)
        })
        .await
    }

    async fn hang_up(&self, id: CallId) -> Result<ChannelReply, AriError> {
        self.ask("hangup", Some(id), move |world, state, host| {
            switch::hang_up(world, state, host, id)
        })
        .await
    }

    async fn channel_owner(&self, id: CallId) -> Result<ChannelOwner, AriError> {
        let app = self.app();
        self.ask("channel", Some(id), move |_, state, host| {
            state.switches[host].owner(id, &app)
        })
        .await
    }

    async fn channel_seen(&self, id: CallId) -> Result<ChannelSeen, AriError> {
        let seen = self
            .ask("channel", Some(id), move |_, state, host| {
                state.switches[host].seen(id)
            })
            .await;
        if self.process.world.lock().draws_stale() {
            tokio::time::sleep(millis(100..1_000)).await;
        }
        seen
    }

    async fn channels(&self) -> Result<Vec<Channel>, AriError> {
        let app = self.app();
        self.ask("channels", None, move |_, state, host| {
            state.switches[host].seen_by(&app)
        })
        .await
    }

    async fn entity_id(&self) -> Result<Option<String>, AriError> {
        self.ask("info", None, |_, _, host| Some(format!("asterisk-{host}")))
            .await
    }

    async fn started_at(&self) -> Result<Option<Timestamp>, AriError> {
        self.ask("info", None, |_, state, host| {
            Some(state.switches[host].started_at)
        })
        .await
    }

    async fn ping(&self) -> Result<(), AriError> {
        self.ask("ping", None, |_, _, _| ()).await
    }
}

struct Stream {
    process: Arc<Process>,
    socket: Socket,
}

#[async_trait]
impl EventStream for Stream {
    async fn next(&mut self) -> Result<Incoming, SocketLost> {
        let incoming = self.socket.events.recv().await;
        if let Some(until) = self.socket.stall.until() {
            tokio::time::sleep_until(until).await;
        }
        // Events take a while too; the order of one socket stays.
        tokio::time::sleep(millis(0..4)).await;
        if let Some(incoming) = incoming {
            // The dead do not read; nor do they answer.
            self.process.step().await;
            return Ok(incoming);
        }
        if self.socket.silent.load(Ordering::Relaxed) {
            let noticed_after = Duration::from_secs(30);
            tokio::time::sleep(noticed_after).await;
            return Err(SocketLost::Silent(noticed_after));
        }
        Err(SocketLost::Closed)
    }
}
