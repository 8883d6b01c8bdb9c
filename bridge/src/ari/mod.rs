//! Asterisk's REST Interface: its requests, its events, and the sockets they go over.

pub mod asterisk;
pub mod client;
pub mod event;
pub mod listener;
pub mod playback;
pub mod releases;
mod request;
mod request_socket;
mod request_sockets;
pub mod socket;
pub mod trial;

pub use asterisk::{
    AriError, Asterisk, Canary, Channel, ChannelReply, EndpointState, EventStream, NewChannel,
    Place, SocketLost,
};
pub use client::AriClient;
pub use event::{ChannelEvent, ChannelEventKind};
pub use playback::PlaybackId;
