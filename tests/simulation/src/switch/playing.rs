//! What is played to a channel: one item after the other, each with an end of its own or none.

use std::sync::Arc;

use bridge::ari::{ChannelEventKind, ChannelReply, PlaybackId};
use tokio::time::Instant;

use crate::plan::Item;
use crate::world::{State, World};

/// `POST /channels/{id}/play/{playback}`.
pub fn play(
    world: &Arc<World>,
    state: &mut State,
    host: usize,
    playback: PlaybackId,
    request: u64,
) -> ChannelReply {
    let id = playback.call;
    let Some(channel) = state.switches[host].channels.get_mut(&id) else {
        return ChannelReply::Gone;
    };
    if !channel.in_stasis {
        return ChannelReply::NotInStasis;
    }
    let made = channel.made;
    let is_first = channel.playing.is_empty();
    channel.playing.push_back(playback);
    state.witness.note("played to", Some(id));
    if let Some(truth) = state.witness.truth(id) {
        let play = (playback.item.unwrap_or_default(), request);
        if !truth.plays.contains(&play) {
            truth.plays.push(play);
            truth.first_played.get_or_insert(Instant::now());
        }
    }
    if is_first {
        tokio::spawn(play_all(Arc::clone(world), host, playback, made));
    }
    ChannelReply::Done
}

/// `GET /playbacks/{id}`.
#[must_use]
pub fn is_playing(state: &State, host: usize, playback: PlaybackId) -> bool {
    state.switches[host]
        .channels
        .get(&playback.call)
        .is_some_and(|channel| channel.playing.contains(&playback))
}

/// Plays whatever is queued, until nothing is.
async fn play_all(world: Arc<World>, host: usize, first: PlaybackId, made: u64) {
    let id = first.call;
    let mut playback = first;
    loop {
        let item = {
            let state = &mut *world.lock();
            let Some(truth) = state.witness.truth(id) else {
                return;
            };
            truth.plan.item(playback.item.unwrap_or_default())
        };
        let (lasts, whole) = match item {
            Item::Plays(lasts) => (lasts, Some(true)),
            Item::Fails => (std::time::Duration::ZERO, Some(false)),
            // It is gone at once, with no event.
            Item::Vanishes => (std::time::Duration::ZERO, None),
        };
        tokio::time::sleep(lasts).await;
        let at = world.now();
        let state = &mut *world.lock();
        let switch = &mut state.switches[host];
        let Some(channel) = switch.channel(id, made) else {
            return;
        };
        channel.playing.pop_front();
        let next = channel.playing.front().copied();
        if let Some(whole) = whole {
            let item = playback.item;
            switch.emit(id, ChannelEventKind::Played { item, whole }, at);
        }
        match next {
            Some(next) => playback = next,
            None => return,
        }
    }
}
