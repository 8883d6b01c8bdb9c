//! The WebSocket over which ARI's events come.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::ari::event::{self, Incoming};
use crate::ari::{EventStream, SocketLost};
use crate::settings::AriSettings;

/// A quiet socket is pinged this often, and given up after three times as long.
const PING_EVERY: Duration = Duration::from_secs(10);
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// Largest event that is read; Asterisk's are a few KiB.
const MAX_EVENT: usize = 4 * 1024 * 1024;

/// A connected socket.
pub struct EventSocket {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    heard: Instant,
    ping: Interval,
}

impl EventSocket {
    /// Connects one.
    ///
    /// # Errors
    /// [`SocketLost`] if that fails, or takes longer than `ARI_TIMEOUT`.
    pub async fn connect(settings: &AriSettings) -> Result<Self, SocketLost> {
        let mut request = settings
            .events_url()
            .as_str()
            .into_client_request()
            .map_err(failed)?;
        // In a header, not in the URL: URLs are logged.
        let mut authorization = HeaderValue::from_str(&settings.basic_authorization())
            .map_err(|error| SocketLost::Failed(error.into()))?;
        authorization.set_sensitive(true);
        request.headers_mut().insert("authorization", authorization);
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_EVENT))
            .max_frame_size(Some(MAX_EVENT));
        let connecting = connect_async_with_config(request, Some(config), true);
        match timeout(settings.request_timeout, connecting).await {
            Ok(Ok((socket, _))) => {
                let heard = Instant::now();
                let ping = tokio::time::interval_at(heard + PING_EVERY, PING_EVERY);
                Ok(Self {
                    socket,
                    heard,
                    ping,
                })
            }
            Ok(Err(tungstenite::Error::Http(response))) if response.status().as_u16() == 401 => {
                Err(SocketLost::Unauthorized)
            }
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(SocketLost::ConnectTimeout),
        }
    }
}

fn failed(error: tungstenite::Error) -> SocketLost {
    SocketLost::Failed(error.into())
}

#[async_trait]
impl EventStream for EventSocket {
    async fn next(&mut self) -> Result<Incoming, SocketLost> {
        loop {
            tokio::select! {
                message = self.socket.next() => {
                    self.heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => return Ok(event::read(&text)),
                        Some(Ok(Message::Binary(_))) => {
                            return Ok(Incoming::Ignored(event::Ignored::Malformed));
                        }
                        Some(Ok(Message::Close(_))) | None => return Err(SocketLost::Closed),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Err(failed(error)),
                    }
                }
                _ = self.ping.tick() => {
                    if self.heard.elapsed() > GIVE_UP_AFTER {
                        return Err(SocketLost::Silent(GIVE_UP_AFTER));
                    }
                    let ping = Message::Ping(Vec::new().into());
                    match timeout(PING_EVERY, self.socket.send(ping)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return Err(failed(error)),
                        Err(_) => return Err(SocketLost::Silent(PING_EVERY)),
                    }
                }
            }
        }
    }
}
