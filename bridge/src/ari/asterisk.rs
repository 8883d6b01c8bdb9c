//! What the bridge asks of Asterisk, and what it is answered. In production that goes over HTTP and a WebSocket
//! ([`crate::ari::AriClient`]); the simulation has a model in its place.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use domain::origination::{ChannelOwner, CreateReply, DialReply};
use domain::reconciliation::ChannelSeen;
use domain::{AttemptId, CallId, CallRequest, DialplanTarget, Media, Timestamp};

use crate::ari::event::Incoming;

/// ARI gave no answer, or none that says anything about the channel.
#[derive(Debug, thiserror::Error)]
pub enum AriError {
    /// No answer in time, or no connection.
    #[error("ARI did not answer {request}")]
    NoAnswer {
        /// What was asked.
        request: &'static str,
        /// Whether the request may have arrived all the same.
        sent: bool,
        /// What went wrong.
        source: Box<dyn Error + Send + Sync>,
    },
    /// Too many requests wait for an answer already; this one was not sent.
    #[error("ARI was not asked {request}: too many requests wait")]
    Busy {
        /// What was to be asked.
        request: &'static str,
    },
    /// The credentials are wrong.
    #[error("ARI refused the username or password ({request})")]
    Unauthorized {
        /// What was asked.
        request: &'static str,
    },
    /// Another status.
    #[error("ARI answered {request} with {status}")]
    Status {
        /// What was asked.
        request: &'static str,
        /// The answer's status.
        status: u16,
    },
    /// The client could not be set up.
    #[error("the HTTP client could not be set up")]
    Setup(#[source] Box<dyn Error + Send + Sync>),
}

/// Whether a request about a channel found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelReply {
    /// It was done.
    Done,
    /// There is no such channel (any more).
    Gone,
    /// The channel is there but not in our application any more.
    NotInStasis,
}

/// Why a socket is down.
#[derive(Debug, thiserror::Error)]
pub enum SocketLost {
    /// It takes too long.
    #[error("the connection could not be made in time")]
    ConnectTimeout,
    /// The credentials are wrong.
    #[error("ARI refused the username or password")]
    Unauthorized,
    /// Another failure.
    #[error("the connection failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// Without its filter Asterisk would send everything.
    #[error("the event filter could not be set")]
    Filter(#[source] AriError),
    /// By Asterisk.
    #[error("Asterisk closed the connection")]
    Closed,
    /// Not even pings are answered.
    #[error("nothing was heard for {} s", .0.as_secs())]
    Silent(Duration),
    /// Two bridges have the same `ARI_APP`.
    #[error(
        "another client has taken over the Stasis application: each bridge needs its own ARI_APP"
    )]
    Replaced,
}

/// Asterisk, as the bridge needs it. Every request is bounded in time.
#[async_trait]
pub trait Asterisk: Send + Sync {
    /// Connects the socket over which the application's events come.
    ///
    /// # Errors
    /// [`SocketLost`] if that fails.
    async fn connect(&self) -> Result<Box<dyn EventStream>, SocketLost>;

    /// Cuts the events that the bridge does not need at their source. Works only while
    /// the application's socket is connected.
    ///
    /// # Errors
    /// [`AriError`] if it may be tried again.
    async fn filter_events(&self) -> Result<(), AriError>;

    /// Makes the call's channel, which rings nobody yet. Its `StasisStart` brings the attempt's id.
    async fn create_channel(&self, call: &CallRequest, attempt: AttemptId) -> CreateReply;

    /// Dials a channel that is in our application.
    async fn dial(&self, id: CallId, ring_for: Duration) -> DialReply;

    /// Sends an answered channel on into the dialplan.
    ///
    /// # Errors
    /// [`AriError`] if it may be tried again.
    async fn continue_channel(
        &self,
        id: CallId,
        target: &DialplanTarget,
    ) -> Result<ChannelReply, AriError>;

    /// Plays to an answered channel; the playback bears the call's id.
    ///
    /// # Errors
    /// [`AriError`] if it may be tried again.
    async fn play(&self, id: CallId, media: &Media) -> Result<ChannelReply, AriError>;

    /// Whether the call is being played to.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not say.
    async fn is_playing(&self, id: CallId) -> Result<bool, AriError>;

    /// Hangs a channel up.
    ///
    /// # Errors
    /// [`AriError`] if it may be tried again.
    async fn hang_up(&self, id: CallId) -> Result<ChannelReply, AriError>;

    /// In whose application the call's channel is.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not say.
    async fn channel_owner(&self, id: CallId) -> Result<ChannelOwner, AriError>;

    /// What the call's channel is doing.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not say.
    async fn channel_seen(&self, id: CallId) -> Result<ChannelSeen, AriError>;

    /// The channels in our application that bear a call's id.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not say.
    async fn our_channels(&self) -> Result<Vec<CallId>, AriError>;

    /// When Asterisk started, if it says so.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not answer.
    async fn started_at(&self) -> Result<Option<Timestamp>, AriError>;

    /// Whether Asterisk answers and takes our credentials.
    ///
    /// # Errors
    /// [`AriError`] if not.
    async fn ping(&self) -> Result<(), AriError>;
}

/// A connected events socket.
#[async_trait]
pub trait EventStream: Send {
    /// The next of what comes over it, read.
    ///
    /// # Errors
    /// [`SocketLost`] when it is down for good.
    async fn next(&mut self) -> Result<Incoming, SocketLost>;
}
