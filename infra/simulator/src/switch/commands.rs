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
    Continue {
        context: String,
        extension: String,
        priority: u32,
    },
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

    /// Does what a channel is told, until it leaves Stasis.
    pub(super) async fn obey(self: &Arc<Self>, id: &str, mut commands: mpsc::Receiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Play { playback, uris } => self.play(id, &playback, &uris).await,
                Command::Set { name, value, done } => {
                    self.set_now(id, &name, &value);
                    // Who asked may have gone.
                    let _ = done.send(());
                }
                Command::Continue {
                    context,
                    extension,
                    priority,
                } => {
                    drop(commands);
                    return self.run_dialplan(id, context, extension, priority).await;
                }
            }
        }
    }

    /// Sends a channel into the dialplan.
    ///
    /// # Errors
    /// [`Refusal`] unless its application has it.
    pub fn go_on(
        &self,
        id: &str,
        context: &str,
        extension: &str,
        priority: u32,
    ) -> Result<(), Refusal> {
        let command = Command::Continue {
            context: context.to_owned(),
            extension: extension.to_owned(),
            priority,
        };
        self.command(id, command)
    }

    async fn run_dialplan(
        self: &Arc<Self>,
        id: &str,
        context: String,
        extension: String,
        priority: u32,
    ) {
        let route = route(&context, &extension, priority);
        {
            let mut inner = self.lock();
            let Some(entry) = inner.channels.get_mut(id) else {
                return;
            };
            entry.stage = Stage::Dialplan;
            entry.channel.context = context;
            entry.channel.extension = extension;
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
