//! The socket over which ARI's events come: kept connected, read by a task that never waits
//! for anything else.

use std::sync::Arc;
use std::time::Duration;

use domain::CallId;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::sync::CancellationToken;

use crate::ari::event::{self, Incoming};
use crate::ari::{AriClient, ChannelEventKind};
use crate::backoff::Backoff;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::settings::AriSettings;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A quiet socket is pinged this often, and given up after three times as long.
const PING_EVERY: Duration = Duration::from_secs(10);
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// How long a connection must have lasted for the next one to be tried at once.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Largest event that is read; Asterisk's are a few KiB.
const MAX_EVENT: usize = 4 * 1024 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the connection could not be made in time")]
    ConnectTimeout,
    #[error("ARI refused the username or password")]
    Unauthorized,
    #[error("the connection failed")]
    Failed(#[source] Box<tungstenite::Error>),
    #[error("the event filter could not be set")]
    Filter(#[source] crate::ari::client::AriError),
    #[error("Asterisk closed the connection")]
    Closed,
    #[error("nothing was heard for {} s", GIVE_UP_AFTER.as_secs())]
    Silent,
    #[error(
        "another client has taken over the Stasis application: each bridge needs its own ARI_APP"
    )]
    Replaced,
}

/// What the socket's task works with.
pub struct EventSocket {
    /// Where Asterisk is.
    pub settings: Arc<AriSettings>,
    /// For the event filter, which is set over HTTP.
    pub ari: AriClient,
    /// Where events go.
    pub registry: Arc<Registry>,
    /// Counts events.
    pub metrics: Arc<Metrics>,
    /// Channels that started with nobody to dial them.
    pub orphans: mpsc::Sender<CallId>,
    /// Whether events arrive now: nothing may be created while they do not.
    pub up: watch::Sender<bool>,
}

impl EventSocket {
    /// Keeps the socket connected until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        loop {
            let since = Instant::now();
            let lost = tokio::select! {
                () = stop.cancelled() => break,
                lost = self.connect_and_read() => lost,
            };
            self.up.send_replace(false);
            tracing::warn!(error = %cloud::error::chain(&lost), "the ARI events socket is down");
            if since.elapsed() > STABLE_AFTER && !matches!(lost, Lost::Replaced) {
                backoff.reset();
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
        self.up.send_replace(false);
    }

    async fn connect_and_read(&self) -> Lost {
        let mut socket = match self.connect().await {
            Ok(socket) => socket,
            Err(lost) => return lost,
        };
        if let Err(error) = self.ari.filter_events().await {
            return Lost::Filter(error);
        }
        tracing::info!(app = %self.settings.app, "the ARI events socket is up");
        self.up.send_replace(true);
        self.read(&mut socket).await
    }

    async fn connect(&self) -> Result<Socket, Lost> {
        let failed = |error| Lost::Failed(Box::new(error));
        let mut request = self
            .settings
            .events_url()
            .as_str()
            .into_client_request()
            .map_err(failed)?;
        // In a header, not in the URL: URLs are logged.
        let mut authorization = HeaderValue::from_str(&self.settings.basic_authorization())
            .map_err(|error| failed(tungstenite::Error::from(error)))?;
        authorization.set_sensitive(true);
        request.headers_mut().insert("authorization", authorization);
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_EVENT))
            .max_frame_size(Some(MAX_EVENT));
        let connecting = connect_async_with_config(request, Some(config), true);
        match timeout(self.settings.request_timeout, connecting).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(tungstenite::Error::Http(response))) if response.status().as_u16() == 401 => {
                Err(Lost::Unauthorized)
            }
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(Lost::ConnectTimeout),
        }
    }

    async fn read(&self, socket: &mut Socket) -> Lost {
        let mut heard = Instant::now();
        let mut ping = tokio::time::interval_at(heard + PING_EVERY, PING_EVERY);
        loop {
            tokio::select! {
                message = socket.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => {
                            if self.take(&text) {
                                return Lost::Replaced;
                            }
                        }
                        Some(Ok(Message::Binary(_))) => self.metrics.ignored(event::Ignored::Malformed),
                        Some(Ok(Message::Close(_))) | None => return Lost::Closed,
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Lost::Failed(Box::new(error)),
                    }
                }
                _ = ping.tick() => {
                    if heard.elapsed() > GIVE_UP_AFTER {
                        return Lost::Silent;
                    }
                    let sent = timeout(PING_EVERY, socket.send(Message::Ping(Vec::new().into()))).await;
                    match sent {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return Lost::Failed(Box::new(error)),
                        Err(_) => return Lost::Silent,
                    }
                }
            }
        }
    }

    /// Hands one event on, without waiting; whether we have been replaced.
    fn take(&self, text: &str) -> bool {
        match event::read(text) {
            Incoming::Channel(event) => {
                self.metrics.event();
                if !self.registry.deliver(event) {
                    self.metrics.undeliverable();
                    // A channel of ours that started when its call had been given up: nobody has dialled it.
                    if event.kind == ChannelEventKind::StasisStarted
                        && self.orphans.try_send(event.call_id).is_err()
                    {
                        tracing::warn!(call_id = %event.call_id, "too many orphaned channels wait to be hung up");
                    }
                }
                false
            }
            Incoming::ApplicationReplaced => true,
            Incoming::Ignored(reason) => {
                self.metrics.ignored(reason);
                false
            }
        }
    }
}
