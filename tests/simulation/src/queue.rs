//! A model of an SQS queue: at least once, in no order.

use std::time::Duration;

use cloud::queue::{Delivery, Receipt};
use tokio::time::Instant;

/// How often a message is delivered before it is put aside.
const MAX_RECEIVES: u32 = 10;

/// A queue.
#[derive(Debug, Default)]
pub struct Queue {
    messages: Vec<Message>,
    sent: u64,
    /// Messages that were put aside.
    pub dead: usize,
    /// Once in so many deliveries a message stays to be delivered again at once. It is not delivered a
    /// third time, because a server that has missed the first receive has seen the second. Never if 0.
    pub duplicates: u32,
}

#[derive(Debug)]
struct Message {
    name: u64,
    body: String,
    visible_at: Instant,
    receives: u32,
    /// It was delivered, and stays for a second time.
    twice: bool,
}

impl Queue {
    /// An empty one that delivers a message again once in so many deliveries; never if 0.
    #[must_use]
    pub fn new(duplicates: u32) -> Self {
        Self {
            duplicates,
            ..Self::default()
        }
    }

    /// Puts a message in.
    pub fn send(&mut self, body: String, now: Instant) {
        self.sent += 1;
        self.messages.push(Message {
            name: self.sent,
            body,
            visible_at: now,
            receives: 0,
            twice: false,
        });
    }

    /// Takes up to `most` messages that can be seen.
    pub fn receive(&mut self, most: usize, invisible: Duration, now: Instant) -> Vec<Delivery> {
        let mut taken = Vec::new();
        fastrand::shuffle(&mut self.messages);
        let before = self.messages.len();
        self.messages
            .retain(|message| message.visible_at > now || message.receives < MAX_RECEIVES);
        self.dead += before - self.messages.len();
        for message in &mut self.messages {
            if taken.len() == most {
                break;
            }
            if message.visible_at > now {
                continue;
            }
            message.receives += 1;
            let drawn = self.duplicates > 0 && fastrand::u32(..self.duplicates) == 0;
            let again = drawn && !message.twice;
            message.twice = again;
            message.visible_at = if again { now } else { now + invisible };
            taken.push(Delivery {
                receipt: Receipt(format!("{}/{}", message.name, message.receives)),
                body: message.body.clone(),
                receive_count: message.receives,
            });
        }
        taken
    }

    /// When the next message can be seen.
    #[must_use]
    pub fn next_at(&self) -> Option<Instant> {
        self.messages.iter().map(|message| message.visible_at).min()
    }

    /// Deletes a message, by any of its receipts; its text, if it was there.
    pub fn delete(&mut self, receipt: &Receipt) -> Option<String> {
        let name = name(receipt)?;
        let index = self.messages.iter().position(|m| m.name == name)?;
        // The copy of a message on another server may outlive it for a while.
        if self.duplicates > 0 && fastrand::u32(..self.duplicates) == 0 {
            return None;
        }
        Some(self.messages.swap_remove(index).body)
    }

    /// Whether a message with this text is in it.
    #[must_use]
    pub fn holds(&self, body: &str) -> bool {
        self.messages.iter().any(|message| message.body == body)
    }

    /// Gives a message back, by its latest receipt.
    pub fn give_back(&mut self, receipt: &Receipt, at: Instant) {
        let Some(name) = name(receipt) else { return };
        let latest =
            |m: &&mut Message| m.name == name && receipt.0 == format!("{}/{}", m.name, m.receives);
        if let Some(message) = self.messages.iter_mut().find(latest) {
            message.visible_at = at;
        }
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

fn name(receipt: &Receipt) -> Option<u64> {
    receipt.0.split('/').next()?.parse().ok()
}
