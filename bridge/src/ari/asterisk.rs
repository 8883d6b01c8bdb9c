//! What the bridge asks of Asterisk, and what it is answered. In production that goes over HTTP and a WebSocket
//! ([`crate::ari::AriClient`]); the simulation has a model in its place.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use domain::endpoint::Trunk;
use domain::origination::{ChannelOwner, CreateReply, DialReply};
use domain::reconciliation::ChannelSeen;
use domain::{AttemptId, CallId, CallRequest, DialplanTarget, Timestamp};

use crate::ari::event::Incoming;
use crate::ari::playback::PlaybackId;

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
    /// An answer came, and its body is not what was asked for. What was asked for has been done.
    #[error("ARI's answer to {request} cannot be read")]
    Unreadable {
        /// What was asked.
        request: &'static str,
        /// What is wrong with the body.
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

/// What Asterisk says of an endpoint of its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// It can be called, as far as Asterisk knows.
    Online,
    /// It answers no `OPTIONS`, is not registered, or has no address of record.
    Offline,
    /// Asterisk, fully booted, says that it has no such endpoint or technology.
    Missing,
    /// Asterisk knows the technology and cannot say more.
    Unknown,
}

/// What became of a create that leads nowhere: it tells whether Asterisk makes channels at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canary {
    /// Asterisk made the channel. It was deleted, undialled.
    Made,
    /// Asterisk refused it.
    Refused,
}

/// A channel to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewChannel<'a> {
    /// The call. The channel gets the call's id.
    pub call: &'a CallRequest,
    /// Told in the channel's `StasisStart`.
    pub attempt: AttemptId,
    /// When Asterisk itself ends the channel, counted from now.
    pub ends_after: Duration,
}

/// Where a channel is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In our application.
    OurApp,
    /// In the dialplan.
    Elsewhere,
}

/// A channel that bears a UUID, as ours do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its id.
    pub id: CallId,
    /// Where it is.
    pub place: Place,
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
    /// The lease of the bridge's name is for another Asterisk.
    #[error("this Asterisk is another one than the one that this bridge worked with")]
    OtherAsterisk,
    /// Asterisk did not say which one it is.
    #[error("Asterisk did not tell its entity id")]
    Unnamed(#[source] AriError),
    /// This process may not use the application (any more).
    #[error("another process holds the lease of this BRIDGE_ID")]
    NotLeased,
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

    /// Makes the call's channel, which rings nobody yet.
    async fn create_channel(&self, new: NewChannel<'_>) -> CreateReply;

    /// Makes a channel that leads nowhere, and deletes it.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not say.
    async fn try_canary(&self) -> Result<Canary, AriError>;

    /// Deletes the channel that [`Asterisk::try_canary`] may have left.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not answer.
    async fn delete_canary(&self) -> Result<(), AriError>;

    /// What Asterisk says of an endpoint.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not say.
    async fn endpoint_state(&self, trunk: &Trunk) -> Result<EndpointState, AriError>;

    /// Whether the dialplan has this place, as seen from the call's undialled channel.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not say.
    async fn target_exists(&self, id: CallId, target: &DialplanTarget) -> Result<bool, AriError>;

    /// Has Asterisk itself end an answered channel after this time, counted from now. Waits while
    /// something is played to the channel.
    ///
    /// # Errors
    /// [`AriError`] if it may be tried again.
    async fn set_limit(&self, id: CallId, ends_after: Duration) -> Result<ChannelReply, AriError>;

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

    /// Plays one media URI to an answered channel, behind whatever is played to it already.
    ///
    /// # Errors
    /// [`AriError`] if it may be tried again.
    async fn play(&self, playback: PlaybackId, uri: &str) -> Result<ChannelReply, AriError>;

    /// Whether a playback goes on or waits for its turn.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not say.
    async fn is_playing(&self, playback: PlaybackId) -> Result<bool, AriError>;

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

    /// The channels that bear a UUID, in our application and in the dialplan.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not say.
    async fn channels(&self) -> Result<Vec<Channel>, AriError>;

    /// When Asterisk started, if it says so.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not answer.
    async fn started_at(&self) -> Result<Option<Timestamp>, AriError>;

    /// The entity id of this Asterisk, which is its own among all Asterisks; `None` if Asterisk has
    /// no id of its own. Asterisk takes the id from a network card unless `entityid` in
    /// `asterisk.conf` sets it.
    ///
    /// # Errors
    /// [`AriError`] if Asterisk does not answer.
    async fn entity_id(&self) -> Result<Option<String>, AriError>;

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
