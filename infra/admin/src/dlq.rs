//! `admin dlq`: the messages that nobody could do anything with.

use cloud::DeadLetters;
use cloud::aws::{Clients, Patience};
use cloud::dead_letters::DeadLetter;
use cloud::error;
use domain::QueueMessage;

use crate::Outcome;

/// Most letters that are looked at.
const MOST: usize = 1_000;

async fn dead_letters() -> Outcome<DeadLetters> {
    let url = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let (dead, calls) = (url("DEAD_LETTER_QUEUE_URL")?, url("CALLS_QUEUE_URL")?);
    let clients = Clients::load(Patience::FUNCTION).await;
    Ok(DeadLetters::new(clients.sqs, dead, calls))
}

/// Lists them, one a line: id, when it was sent, what it is.
pub async fn list() -> Outcome {
    let dead = dead_letters().await?;
    let letters = take(&dead).await?;
    for letter in &letters {
        let sent_at = letter.sent_at.map(|at| at.to_string());
        let sent_at = sent_at.as_deref().unwrap_or("-");
        println!("{}\t{sent_at}\t{}", letter.id, describe(letter));
    }
    eprintln!("{} in the dead-letter queue", letters.len());
    put_back(&dead, &letters).await
}

/// Prints the text of one.
pub async fn show(id: &str) -> Outcome {
    let dead = dead_letters().await?;
    let letters = take(&dead).await?;
    let found = letters.iter().find(|letter| letter.id == id);
    if let Some(letter) = found {
        println!("{}", letter.body);
    }
    put_back(&dead, &letters).await?;
    found.map(|_| ()).ok_or_else(|| missing(id))
}

/// Sends one, or all of them, to the queue of calls again.
pub async fn redrive(id: Option<&str>) -> Outcome {
    let dead = dead_letters().await?;
    let letters = take(&dead).await?;
    let (chosen, others): (Vec<_>, Vec<_>) = letters
        .into_iter()
        .partition(|letter| id.is_none_or(|id| letter.id == id));
    put_back(&dead, &others).await?;
    if let (Some(id), true) = (id, chosen.is_empty()) {
        return Err(missing(id));
    }
    for letter in &chosen {
        let sent = dead.redrive(letter).await;
        sent.map_err(|problem| format!("{}: {}", letter.id, error::chain(&problem)))?;
        println!("{}\tsent again: {}", letter.id, describe(letter));
    }
    Ok(())
}

fn missing(id: &str) -> String {
    format!("there is no message {id} in the dead-letter queue; `admin dlq list` names them")
}

fn describe(letter: &DeadLetter) -> String {
    match QueueMessage::decode(&letter.body) {
        Ok(message) => format!("call {}", message.request().id),
        Err(problem) => format!("unreadable: {}", error::chain(&problem)),
    }
}

async fn take(dead: &DeadLetters) -> Outcome<Vec<DeadLetter>> {
    dead.take(MOST)
        .await
        .map_err(|problem| error::chain(&problem))
}

async fn put_back(dead: &DeadLetters, letters: &[DeadLetter]) -> Outcome {
    for letter in letters {
        let put_back = dead.put_back(letter).await;
        put_back.map_err(|problem| error::chain(&problem))?;
    }
    Ok(())
}
