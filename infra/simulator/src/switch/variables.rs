//! A channel's variables, and the functions among them that do something.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::commands::Command;
use super::ending::End;
use super::{Refusal, Switch};
use crate::dialplan;

/// The limit of a call in seconds, counted from the moment at which it is set.
pub const ABSOLUTE_TIMEOUT: &str = "TIMEOUT(absolute)";

/// Variables that are kept of one channel.
const MAX_VARIABLES: usize = 256;

/// When a channel ends, whatever it does then.
pub struct Limit {
    ends_at: Instant,
    /// Cancelled when another limit takes its place.
    replaced: CancellationToken,
}

/// Whether a name is that of a function of the dialplan.
pub fn is_function(name: &str) -> bool {
    name.ends_with(')')
}

impl Switch {
    /// Sets a variable when it is its turn, and returns then.
    ///
    /// # Errors
    /// [`Refusal`] unless the channel's application has it.
    pub async fn set_variable(&self, id: &str, name: &str, value: &str) -> Result<(), Refusal> {
        let (done, told) = oneshot::channel();
        let command = Command::Set {
            name: name.to_owned(),
            value: value.to_owned(),
            done,
        };
        self.command(id, command)?;
        // If the channel ends before its turn comes, Asterisk says the same.
        let _ = told.await;
        Ok(())
    }

    /// Sets a variable now.
    pub(super) fn set_now(self: &Arc<Self>, id: &str, name: &str, value: &str) {
        if name == ABSOLUTE_TIMEOUT {
            return self.set_limit(id, value);
        }
        let mut inner = self.lock();
        let Some(entry) = inner.channels.get_mut(id) else {
            return;
        };
        // A leading `_` or `__` hands the variable on to channels that come of this one.
        let name = name.strip_prefix('_').unwrap_or(name);
        let name = name.strip_prefix('_').unwrap_or(name);
        if value.is_empty() {
            entry.variables.remove(name);
        } else if entry.variables.len() < MAX_VARIABLES {
            entry.variables.insert(name.to_owned(), value.to_owned());
        }
    }

    /// The value of a variable as ARI shows it.
    ///
    /// # Errors
    /// [`Unreadable`] if there is none.
    pub fn show_variable(&self, id: &str, name: &str) -> Result<Value, Unreadable> {
        let inner = self.lock();
        let entry = inner.channels.get(id).ok_or(Unreadable::Channel)?;
        let value = if name == ABSOLUTE_TIMEOUT {
            entry.limit.as_ref().map_or_else(
                || "0".to_owned(),
                |limit| {
                    let left = limit.ends_at.saturating_duration_since(Instant::now());
                    format!("{:.3}", left.as_secs_f64())
                },
            )
        } else if let Some(place) = arguments(name, "DIALPLAN_EXISTS") {
            exists(place).ok_or(Unreadable::Function)?.to_owned()
        } else {
            let none = if is_function(name) {
                Unreadable::Function
            } else {
                Unreadable::Variable
            };
            entry.variables.get(name).ok_or(none)?.clone()
        };
        Ok(json!({"value": value}))
    }

    /// Ends a channel after so many seconds; with `0` it is not ended, and rubbish changes nothing.
    fn set_limit(self: &Arc<Self>, id: &str, seconds: &str) {
        let Ok(seconds) = seconds.parse::<f64>() else {
            return;
        };
        let lasting = Duration::try_from_secs_f64(seconds).ok();
        let Some(ends_at) = lasting.and_then(|lasting| Instant::now().checked_add(lasting)) else {
            return;
        };
        let mut inner = self.lock();
        let Some(entry) = inner.channels.get_mut(id) else {
            return;
        };
        if let Some(limit) = entry.limit.take() {
            limit.replaced.cancel();
        }
        if seconds == 0.0 {
            return;
        }
        let replaced = CancellationToken::new();
        entry.limit = Some(Limit {
            ends_at,
            replaced: replaced.clone(),
        });
        let over = entry.over.clone();
        drop(inner);
        let (switch, id) = (Arc::clone(self), id.to_owned());
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = replaced.cancelled() => {}
                () = tokio::time::sleep_until(ends_at) => switch.end(&id, End::timed_out()),
            }
        });
    }
}

/// Why a variable has no value to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The channel does not exist.
    Channel,
    /// The channel has no such variable.
    Variable,
    /// There is no such function, or not with these arguments.
    Function,
}

/// What stands between the brackets behind the name of a function.
fn arguments<'a>(text: &'a str, function: &str) -> Option<&'a str> {
    text.strip_prefix(function)?
        .strip_prefix('(')?
        .strip_suffix(')')
}

/// What `DIALPLAN_EXISTS` tells of `context,extension,priority`, of which the context alone is needed.
fn exists(place: &str) -> Option<&'static str> {
    let mut parts = place.split(',');
    let context = parts.next().filter(|context| !context.is_empty())?;
    let extension = parts.next().unwrap_or("s");
    let priority = parts.next().map_or(Ok(1), str::parse);
    let is_there = dialplan::exists(context, extension, priority.unwrap_or_default());
    Some(if is_there { "1" } else { "0" })
}
