//! The name of a playback: its call's id, and which item of the call's `media` it plays.

use std::fmt;
use std::str::FromStr;

use domain::CallId;

/// A playback, named so that its events tell which call and which item they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaybackId {
    /// The call.
    pub call: CallId,
    /// The item, from 0; `None` for the whole list, as earlier releases played it.
    pub item: Option<usize>,
}

impl fmt::Display for PlaybackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.item {
            Some(item) => write!(f, "{}-{item}", self.call),
            None => self.call.fmt(f),
        }
    }
}

/// The text is not the name of a playback of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a playback of a call")]
pub struct InvalidPlaybackId;

/// Characters of a call's id.
const CALL_ID_LENGTH: usize = 36;

impl FromStr for PlaybackId {
    type Err = InvalidPlaybackId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (call, rest) = text
            .split_at_checked(CALL_ID_LENGTH)
            .ok_or(InvalidPlaybackId)?;
        let item = match rest.strip_prefix('-') {
            None if rest.is_empty() => None,
            None => return Err(InvalidPlaybackId),
            Some(item) => Some(item.parse().map_err(|_| InvalidPlaybackId)?),
        };
        let call = call.parse().map_err(|_| InvalidPlaybackId)?;
        Ok(Self { call, item })
    }
}
