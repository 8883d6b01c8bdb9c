//! Applications and their sockets.

use std::collections::HashSet;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Switch;
use crate::events::timestamp;

/// Events that wait for a slow reader before it is cut off.
const BACKLOG: usize = 10_000;

/// An application whose socket is connected.
pub struct App {
    socket: mpsc::Sender<String>,
    allowed: Option<HashSet<String>>,
    cut: CancellationToken,
}

impl App {
    /// Whether the application's filter lets this type through.
    pub fn allows(&self, kind: &str) -> bool {
        self.allowed
            .as_ref()
            .is_none_or(|allowed| allowed.contains(kind))
    }

    /// Sends an event. A slow reader is cut off.
    pub fn send(&self, event: String) {
        if self.socket.try_send(event).is_err() {
            self.cut.cancel();
        }
    }

    /// Cuts the socket.
    pub fn cut(&self) {
        self.cut.cancel();
    }
}

impl Switch {
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

    /// Cuts all sockets.
    pub fn drop_sockets(&self) {
        for app in self.lock().apps.values() {
            app.cut();
        }
    }

    /// Sends a text to an application's socket as if it were an event.
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
}
