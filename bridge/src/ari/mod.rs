//! Asterisk's REST Interface: its requests, its events, and the socket they come over.

pub mod client;
pub mod event;
pub mod socket;

pub use client::AriClient;
pub use event::{ChannelEvent, ChannelEventKind};
