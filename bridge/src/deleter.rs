//! Deletes the messages that are done with, up to ten at once.

use std::sync::Arc;
use std::time::Duration;

use cloud::error;
use cloud::ports::Queue;
use cloud::queue::{MAX_BATCH, Receipt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// How long the first of a batch waits for others.
const LINGER: Duration = Duration::from_millis(20);
/// How often a batch is tried; after that its messages come back, find their call claimed
/// and are deleted then.
const TRIES: usize = 3;

/// Messages that wait to be deleted.
pub const BACKLOG: usize = 1024;

/// Deletes what comes in until all senders are gone.
pub async fn run(queue: Arc<dyn Queue>, mut done: mpsc::Receiver<Receipt>) {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while let Some(receipt) = done.recv().await {
        batch.push(receipt);
        let until = Instant::now() + LINGER;
        while batch.len() < MAX_BATCH {
            match timeout_at(until, done.recv()).await {
                Ok(Some(receipt)) => batch.push(receipt),
                Ok(None) | Err(_) => break,
            }
        }
        delete(&*queue, std::mem::take(&mut batch)).await;
    }
}

async fn delete(queue: &dyn Queue, mut batch: Vec<Receipt>) {
    for _ in 0..TRIES {
        match queue.delete(&batch).await {
            Ok(failed) if failed.is_empty() => return,
            Ok(failed) => batch = failed,
            Err(error) => {
                tracing::warn!(error = %error::chain(&error), "messages could not be deleted");
            }
        }
    }
}
