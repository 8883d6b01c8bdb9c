//! What a channel is told to do after something else.
//!
//! Asterisk takes playbacks, variables and `continue` one after the other: each waits until the one
//! before it is done.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::ending::End;
use super::{Refusal, Stage, Switch};
use crate::dialplan::{Route, route};

/// Commands that may wait for one channel.
pub const MAX_COMMANDS: usize = 4096;

/// One thing that a channel does.
pub enum Command {
    /// It plays.
    Play {
        /// The id of the playback.
        playback: String,
        /// What is played, one after the other.
        uris: Vec<String>,
    },
    /// It gets a variable.
    Set {
        name: String,
        value: String,
        /// Told when it is done.
        done: oneshot::Sender<()>,
    },
    /// It goes on in the dialplan.
    Continue(Place),
}

/// A place in the dialplan.
pub struct Place {
    pub context: String,
    pub extension: String,
    pub priority: u32,
}

impl Switch {
    /// Leaves a command with a channel.
    ///
    /// # Errors
    /// [`Refusal`] unless its application has it.
    pub(super) fn command(&self, id: &str, command: Command) -> Result<(), Refusal> {
        let inner = self.lock();
        let entry = inner.in_stasis(id)?;
        let accepted = entry.commands.try_send(command);
        accepted.map_err(|_| Refusal::AllocationFailed)
    }

    /// Does what a channel is told, until it leaves Stasis. That is when it was told to continue and nothing
    /// else is left to do, so what comes behind a `continue` still comes before it.
    pub(super) async fn obey(self: &Arc<Self>, id: &str, mut commands: mpsc::Receiver<Command>) {
        let mut goal = None;
        loop {
            let command = match &goal {
                None => commands.recv().await,
                Some(_) => commands.try_recv().ok(),
            };
            match command {
                Some(Command::Play { playback, uris }) => self.play(id, &playback, &uris).await,
                Some(Command::Set { name, value, done }) => {
                    self.set_now(id, &name, &value);
                    // Who asked may have gone.
                    let _ = done.send(());
                }
                Some(Command::Continue(to)) => goal = Some(to),
                None => break,
            }
        }
        if let Some(goal) = goal {
            self.run_dialplan(id, goal).await;
        }
    }

    /// Sends a channel into the dialplan.
    ///
    /// # Errors
    /// [`Refusal`] unless its application has it.
    pub fn go_on(&self, id: &str, to: Place) -> Result<(), Refusal> {
        self.command(id, Command::Continue(to))
    }

    async fn run_dialplan(self: &Arc<Self>, id: &str, to: Place) {
        let route = route(&to.context, &to.extension, to.priority);
        {
            let mut inner = self.lock();
            let Some(entry) = inner.channels.get_mut(id) else {
                return;
            };
            entry.stage = Stage::Dialplan;
            entry.channel.context = to.context;
            entry.channel.extension = to.extension;
            (entry.channel.app_name, entry.channel.app_data) = match &route {
                Route::Missing => ("", String::new()),
                Route::Ivr(lasting) => ("Wait", lasting.as_secs().to_string()),
                Route::SecondLeg { number } => ("Dial", format!("PJSIP/{number}@trunk")),
            };
            inner.emit(id, "StasisEnd", serde_json::json!({}));
        }
        match route {
            Route::Missing => self.end(id, End::by_dialplan(16)),
            Route::Ivr(lasting) => {
                tokio::time::sleep(lasting).await;
                self.end(id, End::by_dialplan(16));
            }
            Route::SecondLeg { number } => self.bridge(id, &number).await,
        }
    }
}
