//! What the bridge counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ari::event::Ignored;

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    events: AtomicU64,
    malformed: AtomicU64,
    other_type: AtomicU64,
    other_channel: AtomicU64,
    nothing_new: AtomicU64,
    undeliverable: AtomicU64,
    bad_messages: AtomicU64,
    dialled: AtomicU64,
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events about calls.
    pub events: u64,
    /// Events that were not JSON or not of their type's form.
    pub malformed: u64,
    /// Events of types we do not need.
    pub other_type: u64,
    /// Events without a channel, or about others' channels.
    pub other_channel: u64,
    /// Events about calls that change nothing.
    pub nothing_new: u64,
    /// Events about calls that this bridge does not follow (any more).
    pub undeliverable: u64,
    /// Queue messages that could not be read.
    pub bad_messages: u64,
    /// Calls claimed and dialled.
    pub dialled: u64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn event(&self) {
        add(&self.events);
    }

    pub(crate) fn undeliverable(&self) {
        add(&self.undeliverable);
    }

    pub(crate) fn bad_message(&self) {
        add(&self.bad_messages);
    }

    pub(crate) fn dialled(&self) {
        add(&self.dialled);
    }

    pub(crate) fn ignored(&self, reason: Ignored) {
        add(match reason {
            Ignored::Malformed => &self.malformed,
            Ignored::OtherType => &self.other_type,
            Ignored::OtherChannel => &self.other_channel,
            Ignored::NothingNew => &self.nothing_new,
        });
    }

    /// The counts now.
    #[must_use]
    pub fn read(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            events: get(&self.events),
            malformed: get(&self.malformed),
            other_type: get(&self.other_type),
            other_channel: get(&self.other_channel),
            nothing_new: get(&self.nothing_new),
            undeliverable: get(&self.undeliverable),
            bad_messages: get(&self.bad_messages),
            dialled: get(&self.dialled),
        }
    }
}
