//! The calls that this bridge works on, and where their events go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::CallId;
use tokio::sync::mpsc;

use crate::ari::ChannelEvent;

/// Events that wait for one call's task. A call has about eight that matter in its whole life.
const MAILBOX: usize = 64;

/// The calls of this bridge: `MAX_CONCURRENT_CALLS` at most, besides those of an earlier life and what is being hung up.
#[derive(Debug, Default)]
pub struct Registry {
    calls: Mutex<BTreeMap<CallId, Entry>>,
}

/// What a call's task is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mail {
    /// Something happened to its channel.
    Event(ChannelEvent),
    /// The client wants it to end.
    HangUp,
    /// Events may have been missed: look at the channel.
    Resync,
}

#[derive(Debug)]
struct Entry {
    mailbox: mpsc::Sender<Mail>,
    claimed: Arc<AtomicBool>,
}

/// A call's place in the registry; dropping it takes the call out.
#[derive(Debug)]
pub struct Registration {
    registry: Arc<Registry>,
    id: CallId,
    claimed: Arc<AtomicBool>,
    /// What the call's task is told.
    pub mailbox: mpsc::Receiver<Mail>,
}

/// The call is being worked on already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// Whether it has been claimed: then its message is done with.
    pub claimed: bool,
}

impl Registry {
    /// Takes the call on, unless this bridge works on it already.
    ///
    /// # Errors
    /// [`Busy`] if it does.
    pub fn register(self: &Arc<Self>, id: CallId) -> Result<Registration, Busy> {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = calls.get(&id) {
            return Err(Busy {
                claimed: entry.claimed.load(Ordering::Acquire),
            });
        }
        let (sender, mailbox) = mpsc::channel(MAILBOX);
        let claimed = Arc::new(AtomicBool::new(false));
        let entry = Entry {
            mailbox: sender,
            claimed: Arc::clone(&claimed),
        };
        calls.insert(id, entry);
        Ok(Registration {
            registry: Arc::clone(self),
            id,
            claimed,
            mailbox,
        })
    }

    /// Hands an event to its call without waiting; `false` if nobody takes it.
    pub fn deliver(&self, event: ChannelEvent) -> bool {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls
            .get(&event.call_id)
            .is_some_and(|entry| entry.mailbox.try_send(Mail::Event(event)).is_ok())
    }

    /// Asks for the end of a call that this bridge has claimed; `false` if it has none such. Asked again, nothing
    /// changes.
    pub fn hang_up(&self, id: CallId) -> bool {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(&id).is_some_and(|entry| {
            entry.claimed.load(Ordering::Acquire) && entry.mailbox.try_send(Mail::HangUp).is_ok()
        })
    }

    /// Tells every call that has been claimed that events may have been missed.
    pub fn resync(&self) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in calls.values() {
            if entry.claimed.load(Ordering::Acquire) {
                // A full mailbox means that events do arrive.
                let _ = entry.mailbox.try_send(Mail::Resync);
            }
        }
    }

    /// Whether the call is worked on.
    #[must_use]
    pub fn contains(&self, id: CallId) -> bool {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.contains_key(&id)
    }

    /// How many calls are worked on.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Whether no call is worked on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Registration {
    /// The call.
    #[must_use]
    pub fn id(&self) -> CallId {
        self.id
    }

    /// Notes that the call is ours.
    pub fn mark_claimed(&self) {
        self.claimed.store(true, Ordering::Release);
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut calls = self
            .registry
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        calls.remove(&self.id);
    }
}
