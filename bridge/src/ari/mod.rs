//! Asterisk's REST Interface: its requests, its events, and the socket they come over.

pub mod asterisk;
pub mod client;
pub mod event;
pub mod listener;
pub mod socket;
pub mod trial;

pub use asterisk::{AriError, Asterisk, ChannelReply, EventStream, SocketLost};
pub use client::AriClient;
pub use event::{ChannelEvent, ChannelEventKind};
