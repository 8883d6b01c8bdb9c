//! Asterisk's REST Interface: its requests, its events, and the sockets they go over.

pub mod asterisk;
pub mod client;
pub mod event;
pub mod listener;
mod request;
mod request_socket;
mod request_sockets;
pub mod socket;
pub mod trial;

pub use asterisk::{AriError, Asterisk, ChannelReply, EventStream, SocketLost};
pub use client::AriClient;
pub use event::{ChannelEvent, ChannelEventKind};
