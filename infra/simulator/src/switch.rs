//! The switch itself: channels, applications, and what happens to them.

use std::collections::VecDeque;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::callee::{self, Alert, Behaviour, Line, Outcome};
use crate::events::{Channel, event, timestamp};

/// Events that wait for a slow reader before it is cut off.
const BACKLOG: usize = 10_000;
/// Dials that are remembered, for [`Switch::dials_to`].
const REMEMBERED_DIALS: usize = 100_000;
/// How long the answered call stays in the IVR.
const IVR_FOR: Duration = Duration::from_secs(2);
/// How long each thing that is played lasts.
const SOUND_FOR: Duration = Duration::from_millis(300);
/// Between a create and its `StasisStart`.
const STASIS_START_AFTER: Duration = Duration::from_millis(2);

pub struct Switch {
    inner: Mutex<Inner>,
    names: AtomicUsize,
    started_at: String,
}

impl Default for Switch {
    fn default() -> Self {
        Self {
            inner: Mutex::default(),
            names: AtomicUsize::default(),
            started_at: timestamp(),
        }
    }
}

#[derive(Default)]
struct Inner {
    channels: HashMap<String, Entry>,
    apps: HashMap<String, App>,
    dialled: VecDeque<String>,
    playbacks: HashMap<String, Value>,
}

struct Entry {
    channel: Channel,
    app: String,
    in_stasis: bool,
    line: Line,
    behaviour: Behaviour,
    destination: String,
    over: CancellationToken,
}

struct App {
    socket: mpsc::Sender<String>,
    allowed: Option<HashSet<String>>,
    cut: CancellationToken,
}

impl App {
    fn allows(&self, kind: &str) -> bool {
        self.allowed
            .as_ref()
            .is_none_or(|allowed| allowed.contains(kind))
    }
}

/// What a request to create a channel says.
pub struct Create {
    pub id: String,
    pub endpoint: String,
    pub app: String,
    pub app_args: String,
    pub caller_number: String,
    pub caller_name: String,
}

/// Why a request about a channel is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotFound,
    Exists,
    NotInStasis,
    NotDown,
    AllocationFailed,
}

impl Switch {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn started_at(&self) -> &str {
        &self.started_at
    }

    pub fn show_playback(&self, id: &str) -> Option<Value> {
        self.lock().playbacks.get(id).cloned()
    }

    pub fn dials_to(&self, destination: &str) -> usize {
        self.lock()
            .dialled
            .iter()
            .filter(|dialled| *dialled == destination)
            .count()
    }

    /// Connects a socket to `app`; the one before is told and cut.
    pub fn connect(&self, app: &str) -> (mpsc::Receiver<String>, CancellationToken) {
        let (socket, events) = mpsc::channel(BACKLOG);
        let cut = CancellationToken::new();
        let mut inner = self.lock();
        let before = inner.apps.remove(app);
        let allowed = before.as_ref().and_then(|app| app.allowed.clone());
        if let Some(before) = before {
            let replaced = json!({"type": "ApplicationReplaced", "timestamp": timestamp(), "application": app});
            // The filter holds for this one too.
            if before.allows("ApplicationReplaced") {
                let _ = before.socket.try_send(replaced.to_string());
            }
        }
        let entry = App {
            socket,
            allowed,
            cut: cut.clone(),
        };
        inner.apps.insert(app.to_owned(), entry);
        (events, cut)
    }

    /// Forgets a socket that has gone, unless another has taken its place.
    pub fn disconnect(&self, app: &str, cut: &CancellationToken) {
        cut.cancel();
        let mut inner = self.lock();
        if inner
            .apps
            .get(app)
            .is_some_and(|app| app.cut.is_cancelled())
        {
            inner.apps.remove(app);
        }
    }

    pub fn drop_sockets(&self) {
        for app in self.lock().apps.values() {
            app.cut.cancel();
        }
    }

    pub fn inject(&self, app: &str, text: &str) {
        if let Some(app) = self.lock().apps.get(app) {
            let _ = app.socket.try_send(text.to_owned());
        }
    }

    /// Where the events of an application go.
    pub fn socket(&self, app: &str) -> Option<mpsc::Sender<String>> {
        let inner = self.lock();
        inner.apps.get(app).map(|app| app.socket.clone())
    }

    /// Lets only these types of event through; `None` if the application is not connected.
    pub fn filter(&self, app: &str, allowed: HashSet<String>) -> Option<()> {
        self.lock().apps.get_mut(app)?.allowed = Some(allowed);
        Some(())
    }

    /// Whether an application's filter lets this type through.
    pub fn allows(&self, app: &str, kind: &str) -> bool {
        self.lock()
            .apps
            .get(app)
            .is_some_and(|app| app.allows(kind))
    }

    /// `None` if nobody is connected with it.
    pub fn show_application(&self, name: &str) -> Option<Value> {
        let inner = self.lock();
        inner.apps.get(name)?;
        let in_it = inner.channels.iter().filter(|(_, entry)| entry.app == name);
        let channel_ids: Vec<_> = in_it.map(|(id, _)| id).collect();
        Some(json!({"name": name, "channel_ids": channel_ids}))
    }

    pub fn show(&self, id: &str) -> Option<Value> {
        self.lock()
            .channels
            .get(id)
            .map(|entry| entry.channel.json())
    }

    pub fn show_all(&self) -> Vec<Value> {
        self.lock()
            .channels
            .values()
            .map(|entry| entry.channel.json())
            .collect()
    }

    pub fn create(self: &Arc<Self>, create: Create) -> Result<Value, Refusal> {
        let Some((line, behaviour)) = callee::behind(&create.endpoint) else {
            return Err(Refusal::AllocationFailed);
        };
        let mut inner = self.lock();
        if inner.channels.contains_key(&create.id) {
            return Err(Refusal::Exists);
        }
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let (context, extension, name) = match line {
            Line::Trunk => (
                "from-trunk".to_owned(),
                "s".to_owned(),
                format!("PJSIP/trunk-{number:08x}"),
            ),
            Line::Local => {
                let resource = create.endpoint.trim_start_matches("Local/");
                let (extension, context) =
                    resource.split_once('@').unwrap_or((resource, "default"));
                (
                    context.to_owned(),
                    extension.to_owned(),
                    format!("Local/{resource}-{number:08x};1"),
                )
            }
        };
        let channel = Channel {
            id: create.id.clone(),
            name,
            state: "Down",
            caller_number: create.caller_number,
            caller_name: create.caller_name,
            context,
            extension,
            app_name: "",
            app_data: String::new(),
            created: timestamp(),
        };
        let shown = channel.json();
        // With nobody listening the channel is gone at once.
        if !inner.apps.contains_key(&create.app) {
            return Ok(shown);
        }
        let destination = create
            .endpoint
            .split_once('/')
            .map_or("", |(_, rest)| rest)
            .to_owned();
        let entry = Entry {
            channel,
            app: create.app,
            in_stasis: false,
            line,
            behaviour,
            destination,
            over: CancellationToken::new(),
        };
        inner.channels.insert(create.id.clone(), entry);
        drop(inner);
        let switch = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(STASIS_START_AFTER).await;
            switch.start_stasis(&create.id, &create.app_args);
        });
        Ok(shown)
    }

    fn start_stasis(&self, id: &str, args: &str) {
        let mut inner = self.lock();
        let Some(entry) = inner.channels.get_mut(id) else {
            return;
        };
        entry.in_stasis = true;
        entry.channel.app_name = "Stasis";
        entry.channel.app_data = format!("{},{args}", entry.app);
        let args: Vec<_> = args.split(',').collect();
        let args = json!({"args": args});
        inner.emit(id, "ChannelDialplan", json!({"dialplan_app": "Stasis"}));
        inner.emit(
            id,
            "ChannelVarset",
            json!({"variable": "STASISSTATUS", "value": ""}),
        );
        inner.emit(id, "StasisStart", args);
    }

    pub fn dial(self: &Arc<Self>, id: &str, timeout: Duration) -> Result<(), Refusal> {
        let mut inner = self.lock();
        let entry = inner.channels.get(id).ok_or(Refusal::NotFound)?;
        if !entry.in_stasis {
            return Err(Refusal::NotInStasis);
        }
        if entry.channel.state != "Down" {
            return Err(Refusal::NotDown);
        }
        let (behaviour, line, over) = (entry.behaviour, entry.line, entry.over.clone());
        let destination = entry.destination.clone();
        inner.emit(
            id,
            "Dial",
            json!({"dialstatus": "", "forward": "", "dialstring": &destination}),
        );
        if inner.dialled.len() == REMEMBERED_DIALS {
            inner.dialled.pop_front();
        }
        inner.dialled.push_back(destination);
        drop(inner);
        let (switch, id) = (Arc::clone(self), id.to_owned());
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = switch.play(&id, line, behaviour, timeout) => {}
            }
        });
        Ok(())
    }

    /// What the callee does, until it has answered or the call is over.
    async fn play(&self, id: &str, line: Line, behaviour: Behaviour, timeout: Duration) {
        match behaviour.alert {
            Alert::Nothing => {}
            Alert::Ringing => self.ring(id),
            Alert::Progress => self
                .lock()
                .emit(id, "Dial", json!({"dialstatus": "PROGRESS"})),
        }
        let given_up = tokio::time::sleep(timeout);
        let sip = |code| (line == Line::Trunk).then_some(code).flatten();
        match behaviour.outcome {
            Outcome::Waits => {
                given_up.await;
                self.destroy(id, 19, sip(Some(480)), json!({"cause": 32, "soft": true}));
            }
            Outcome::Answers(after) => {
                tokio::select! {
                    () = tokio::time::sleep(after) => self.answer(id),
                    () = given_up => self.destroy(id, 19, sip(Some(480)), json!({"cause": 32, "soft": true})),
                }
            }
            Outcome::AnswersBriefly(lasting) => {
                self.answer(id);
                tokio::time::sleep(lasting).await;
                self.destroy(id, 16, None, json!({"cause": 16}));
            }
            Outcome::Refuses {
                after,
                tone,
                cause,
                sip_code,
            } => {
                let refusing = async {
                    tokio::time::sleep(after).await;
                    if let Some((status, lasting)) = tone {
                        self.lock().emit(id, "Dial", json!({"dialstatus": status}));
                        tokio::time::sleep(lasting).await;
                    }
                };
                tokio::select! {
                    () = refusing => self.destroy(id, cause, sip(sip_code), refusal(cause, sip(sip_code))),
                    () = given_up => self.destroy(id, 19, sip(Some(480)), json!({"cause": 32, "soft": true})),
                }
            }
        }
    }

    fn ring(&self, id: &str) {
        // Both signals of one fact come in either order.
        self.change(id, "Ringing", "RINGING");
    }

    fn answer(&self, id: &str) {
        self.change(id, "Up", "ANSWER");
    }

    fn change(&self, id: &str, state: &'static str, dial_status: &str) {
        let mut inner = self.lock();
        let Some(entry) = inner.channels.get_mut(id) else {
            return;
        };
        entry.channel.state = state;
        let dial_first = self.names.load(Ordering::Relaxed).is_multiple_of(2);
        let dial = json!({"dialstatus": dial_status, "forward": "", "dialstring": ""});
        if dial_first {
            inner.emit(id, "Dial", dial);
            inner.emit(id, "ChannelStateChange", json!({}));
        } else {
            inner.emit(id, "ChannelStateChange", json!({}));
            inner.emit(id, "Dial", dial);
        }
    }

    /// Sends a channel into the dialplan, which is a short IVR.
    pub fn go_on(
        self: &Arc<Self>,
        id: &str,
        context: &str,
        extension: &str,
    ) -> Result<(), Refusal> {
        let mut inner = self.lock();
        let entry = inner.channels.get_mut(id).ok_or(Refusal::NotFound)?;
        if !entry.in_stasis {
            return Err(Refusal::NotInStasis);
        }
        entry.in_stasis = false;
        context.clone_into(&mut entry.channel.context);
        extension.clone_into(&mut entry.channel.extension);
        entry.channel.app_name = "Wait";
        entry.channel.app_data = IVR_FOR.as_secs().to_string();
        let over = entry.over.clone();
        let ivr_for = if context == "nowhere" {
            Duration::ZERO
        } else {
            IVR_FOR
        };
        inner.emit(id, "StasisEnd", json!({}));
        drop(inner);
        let (switch, id) = (Arc::clone(self), id.to_owned());
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = tokio::time::sleep(ivr_for) => switch.destroy(&id, 16, None, Value::Null),
            }
        });
        Ok(())
    }

    /// Plays to a channel. Sounds whose name begins with `no-such` do not exist, and end a playback.
    pub fn start_playback(
        self: &Arc<Self>,
        id: &str,
        playback: &str,
        media: &str,
    ) -> Result<Value, Refusal> {
        let mut inner = self.lock();
        let entry = inner.channels.get(id).ok_or(Refusal::NotFound)?;
        if !entry.in_stasis {
            return Err(Refusal::NotInStasis);
        }
        let shown = |state: &str, uri: &str| json!({"id": playback, "media_uri": uri, "target_uri": format!("channel:{id}"), "language": "en", "state": state});
        let uris: Vec<_> = media.split(',').collect();
        let played = uris
            .iter()
            .take_while(|uri| !uri.starts_with("sound:no-such"))
            .count();
        let (state, last) = match uris.get(played) {
            Some(uri) => ("failed", *uri),
            None => ("done", uris[played - 1]),
        };
        let (queued, finished) = (shown("queued", uris[0]), shown(state, last));
        let started = json!({"playback": shown("playing", uris[0])});
        let over = entry.over.clone();
        inner.emit(id, "PlaybackStarted", started);
        inner.playbacks.insert(playback.to_owned(), queued.clone());
        drop(inner);
        let lasting = SOUND_FOR.saturating_mul(u32::try_from(played).unwrap_or(u32::MAX));
        let (switch, id, playback) = (Arc::clone(self), id.to_owned(), playback.to_owned());
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {
                    switch.lock().playbacks.remove(&playback);
                }
                () = tokio::time::sleep(lasting) => {
                    switch.lock().playbacks.remove(&playback);
                    switch.lock().emit(&id, "PlaybackFinished", json!({"playback": finished}));
                }
            }
        });
        Ok(queued)
    }

    pub fn hang_up(&self, id: &str) -> Result<(), Refusal> {
        if !self.lock().channels.contains_key(id) {
            return Err(Refusal::NotFound);
        }
        self.destroy(id, 16, None, json!({"cause": 32, "soft": true}));
        Ok(())
    }

    fn destroy(&self, id: &str, cause: u16, tech_cause: Option<u16>, request: Value) {
        let mut inner = self.lock();
        let Some(entry) = inner.channels.get(id) else {
            return;
        };
        entry.over.cancel();
        let in_stasis = entry.in_stasis;
        // A Local channel that is refused at once loses the cause about every third time.
        let lost = entry.line == Line::Local
            && cause == 1
            && id.bytes().last().is_some_and(|b| b % 3 == 0);
        let cause = if lost { 16 } else { cause };
        if !request.is_null() {
            inner.emit(id, "ChannelHangupRequest", request);
        }
        if in_stasis {
            inner.emit(id, "StasisEnd", json!({}));
        }
        let mut end = json!({"cause": cause, "cause_txt": ""});
        if let (Some(code), Value::Object(end)) = (tech_cause, &mut end) {
            end.insert("tech_cause".to_owned(), code.into());
        }
        inner.emit(id, "ChannelDestroyed", end);
        inner.channels.remove(id);
    }
}

/// The `ChannelHangupRequest` of a callee that refuses.
fn refusal(cause: u16, tech_cause: Option<u16>) -> Value {
    // Without a cause of its own the request has none, and the end has 16.
    let cause = if cause == 16 { 0 } else { cause };
    match tech_cause {
        Some(code) => json!({"cause": cause, "tech_cause": code}),
        None => json!({"cause": cause}),
    }
}

impl Inner {
    fn emit(&self, id: &str, kind: &str, more: Value) {
        let Some(entry) = self.channels.get(id) else {
            return;
        };
        let Some(app) = self.apps.get(&entry.app) else {
            return;
        };
        if !app.allows(kind) {
            return;
        }
        let event = event(kind, &entry.app, &entry.channel, more);
        if app.socket.try_send(event.to_string()).is_err() {
            // A slow reader is cut off.
            app.cut.cancel();
        }
    }
}
