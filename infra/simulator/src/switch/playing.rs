//! Playing to a channel.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::commands::Command;
use super::{Inner, Refusal, Switch};

/// How long each thing that is played lasts.
const SOUND_FOR: Duration = Duration::from_millis(300);

/// A playback that has not finished.
pub struct Playback {
    /// Whom it is played to.
    channel: String,
    /// Playbacks of a channel are played in this order.
    order: usize,
    has_begun: bool,
    shown: Value,
    stopped: CancellationToken,
}

/// What becomes of one thing that is to be played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sound {
    /// It is heard.
    Heard,
    /// It does not exist.
    Fails,
    /// Asterisk drops it without a word.
    Dropped,
}

impl Sound {
    fn of(uri: &str) -> Self {
        match uri.split_once(':') {
            Some(("tone", "never")) => Self::Dropped,
            Some(("sound" | "tone", name)) if name.starts_with("no-such") => Self::Fails,
            Some(("sound" | "tone" | "digits" | "characters" | "number", _)) => Self::Heard,
            // An unknown scheme; a recording, of which there are none.
            _ => Self::Dropped,
        }
    }
}

impl Switch {
    /// Queues a playback of `media`, a list with commas between its items. Returns it as ARI shows it.
    ///
    /// # Errors
    /// [`Refusal`] unless the channel's application has it and it is answered.
    pub fn start_playback(&self, id: &str, playback: &str, media: &str) -> Result<Value, Refusal> {
        let uris: Vec<_> = media.split(',').map(str::to_owned).collect();
        let mut inner = self.lock();
        if inner.in_stasis(id)?.channel.state != "Up" {
            return Err(Refusal::NotUp);
        }
        let queued = shown(id, playback, "queued", &uris);
        let entry = Playback {
            channel: id.to_owned(),
            order: self.next_name(),
            has_begun: false,
            shown: queued.clone(),
            stopped: CancellationToken::new(),
        };
        inner.playbacks.insert(playback.to_owned(), entry);
        drop(inner);
        let playback = playback.to_owned();
        self.command(id, Command::Play { playback, uris })?;
        Ok(queued)
    }

    /// A playback that has not finished.
    pub fn show_playback(&self, id: &str) -> Option<Value> {
        let inner = self.lock();
        inner
            .playbacks
            .get(id)
            .map(|playback| playback.shown.clone())
    }

    /// Stops a playback, whether it has begun or not; `None` if it does not exist.
    pub fn stop_playback(&self, id: &str) -> Option<()> {
        let inner = self.lock();
        inner.playbacks.get(id)?.stopped.cancel();
        Some(())
    }

    /// Plays to a channel until the list is over or was stopped.
    pub(super) async fn play(&self, id: &str, playback: &str, uris: &[String]) {
        let Some(stopped) = self.stopped(playback) else {
            return;
        };
        if stopped.is_cancelled() {
            return self.tell(id, playback, "PlaybackFinished", "done", uris);
        }
        for rest in (0..uris.len()).map(|first| &uris[first..]) {
            self.tell(id, playback, "PlaybackStarted", "playing", rest);
            let state = match Sound::of(&rest[0]) {
                Sound::Heard => {
                    tokio::select! {
                        () = stopped.cancelled() => {}
                        () = tokio::time::sleep(SOUND_FOR) => {}
                    }
                    "done"
                }
                Sound::Fails => "failed",
                Sound::Dropped => continue,
            };
            if stopped.is_cancelled() {
                return self.tell(id, playback, "PlaybackFinished", "done", rest);
            }
            if rest.len() == 1 {
                return self.tell(id, playback, "PlaybackFinished", state, rest);
            }
            self.tell(id, playback, "PlaybackContinuing", "continuing", rest);
        }
        // The last item was dropped, and the end of the list with it.
        self.lock().playbacks.remove(playback);
    }

    fn stopped(&self, playback: &str) -> Option<CancellationToken> {
        let inner = self.lock();
        let playback = inner.playbacks.get(playback)?;
        Some(playback.stopped.clone())
    }

    /// Says how a playback is, and remembers it.
    fn tell(&self, id: &str, playback: &str, event: &str, state: &str, uris: &[String]) {
        let mut inner = self.lock();
        let now = shown(id, playback, state, uris);
        if event == "PlaybackFinished" {
            inner.playbacks.remove(playback);
        } else if let Some(playback) = inner.playbacks.get_mut(playback) {
            playback.has_begun = true;
            playback.shown = now.clone();
        }
        inner.emit(id, event, json!({"playback": now}));
    }
}

impl Inner {
    /// Ends the playback of a channel that has ended, and those that wait behind it. Each of these begins
    /// and fails at once. If they are not told (`are_told`), they vanish without an event.
    pub fn break_off_playbacks(&mut self, id: &str, are_told: bool) {
        let of_channel = self
            .playbacks
            .extract_if(|_, playback| playback.channel == id);
        let mut playbacks: Vec<_> = of_channel.map(|(_, playback)| playback).collect();
        playbacks.sort_by_key(|playback| playback.order);
        for Playback {
            has_begun,
            mut shown,
            ..
        } in playbacks
        {
            if !has_begun && !are_told {
                continue;
            }
            if !has_begun {
                shown["state"] = "playing".into();
                self.emit(id, "PlaybackStarted", json!({"playback": shown}));
            }
            shown["state"] = "failed".into();
            self.emit(id, "PlaybackFinished", json!({"playback": shown}));
        }
    }
}

/// A playback as ARI shows it while it is at the first of these.
fn shown(id: &str, playback: &str, state: &str, uris: &[String]) -> Value {
    let mut shown = json!({
        "id": playback, "media_uri": uris.first(), "target_uri": format!("channel:{id}"),
        "language": "en", "state": state
    });
    if let Some(next) = uris.get(1) {
        shown["next_media_uri"] = next.as_str().into();
    }
    shown
}
