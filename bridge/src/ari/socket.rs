//! A WebSocket to ARI, which is pinged while it is quiet.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, Interval, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::ari::event::{self, Ignored, Incoming};
use crate::ari::{EventStream, SocketLost};
use crate::settings::AriSettings;

/// A quiet socket is pinged this often, and given up after three times as long.
const PING_EVERY: Duration = Duration::from_secs(10);
const GIVE_UP_AFTER: Duration = Duration::from_secs(30);
/// Largest text that is read; Asterisk's are a few KiB.
const MAX_TEXT: usize = 4 * 1024 * 1024;

/// A connected socket.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    heard: Instant,
    ping: Interval,
}

impl Socket {
    /// Connects one for an application, which it takes from whoever has it.
    ///
    /// # Errors
    /// [`SocketLost`] if that fails, or takes longer than `ARI_TIMEOUT`.
    pub async fn connect(settings: &AriSettings, app: &str) -> Result<Self, SocketLost> {
        let mut request = settings
            .socket_url(app)
            .as_str()
            .into_client_request()
            .map_err(failed)?;
        // In a header, not in the URL: URLs are logged.
        let mut authorization = HeaderValue::from_str(&settings.basic_authorization())
            .map_err(|error| SocketLost::Failed(error.into()))?;
        authorization.set_sensitive(true);
        request.headers_mut().insert("authorization", authorization);
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_TEXT))
            .max_frame_size(Some(MAX_TEXT));
        let connecting = connect_async_with_config(request, Some(config), true);
        match timeout(settings.request_timeout, connecting).await {
            Ok(Ok((stream, _))) => {
                let heard = Instant::now();
                let ping = tokio::time::interval_at(heard + PING_EVERY, PING_EVERY);
                Ok(Self {
                    stream,
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

    /// The next text; `None` for something else. May be cancelled.
    ///
    /// # Errors
    /// [`SocketLost`] when it is down for good.
    pub async fn text(&mut self) -> Result<Option<Utf8Bytes>, SocketLost> {
        loop {
            tokio::select! {
                message = self.stream.next() => {
                    self.heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => return Ok(Some(text)),
                        Some(Ok(Message::Binary(_))) => return Ok(None),
                        Some(Ok(Message::Close(_))) | None => return Err(SocketLost::Closed),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return Err(failed(error)),
                    }
                }
                _ = self.ping.tick() => {
                    if self.heard.elapsed() > GIVE_UP_AFTER {
                        return Err(SocketLost::Silent(GIVE_UP_AFTER));
                    }
                    self.send(Message::Ping(Vec::new().into())).await?;
                }
            }
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`SocketLost`] when it is down for good.
    pub async fn send(&mut self, message: Message) -> Result<(), SocketLost> {
        match timeout(PING_EVERY, self.stream.send(message)).await {
            Ok(sent) => sent.map_err(failed),
            Err(_) => Err(SocketLost::Silent(PING_EVERY)),
        }
    }
}

fn failed(error: tungstenite::Error) -> SocketLost {
    SocketLost::Failed(error.into())
}

#[async_trait]
impl EventStream for Socket {
    async fn next(&mut self) -> Result<Incoming, SocketLost> {
        let text = self.text().await?;
        Ok(text.map_or(Incoming::Ignored(Ignored::Malformed), |text| {
            event::read(&text)
        }))
    }
}
