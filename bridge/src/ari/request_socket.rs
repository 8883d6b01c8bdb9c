//! Requests over a WebSocket, which Asterisk takes from 22.4 on: it spares both sides a good part of the work of HTTP.
//!
//! Such a socket has an application of its own, so that no event waits behind an answer. It is connected when it is first
//! wanted, and is never waited for: while it is not there, requests go over HTTP.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::ari::SocketLost;
use crate::ari::event::APPLICATION_REPLACED;
use crate::ari::request::{Answer, Request, SYSTEM_INFO};
use crate::ari::socket::Socket;
use crate::backoff::Backoff;
use crate::settings::AriSettings;

/// Longer requests, in bytes, go over HTTP. Asterisk reads a frame of up to 64 KiB, but closes the
/// socket when that takes it more than ten reads. A slow network may make a read as short as a packet.
const MAX_REQUEST: usize = 8 * 1024;
/// Requests that wait to be written. When there are more, they go over HTTP.
const BACKLOG: usize = 256;
/// A socket that failed is connected again after this time, or four times `ARI_TIMEOUT`; then more and more rarely. An
/// Asterisk that takes no requests this way may be upgraded some day.
const AGAIN_AFTER: Duration = Duration::from_secs(20);
const AGAIN_AFTER_AT_MOST: Duration = Duration::from_hours(1);
/// Unless it had lasted so long.
const STABLE_AFTER: Duration = Duration::from_mins(10);
/// When so many requests wait for their answers, those are forgotten whose askers have gone.
const MANY_WAITING: usize = 1024;

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It was not sent.
    #[error("there is no socket for requests")]
    NotAsked,
    /// The socket went down. Whether the request has arrived is not known.
    #[error("the socket for requests went down")]
    Lost,
    /// It took longer than `ARI_TIMEOUT`; the socket should be given up. Whether the request has arrived is not known.
    #[error("no answer in time over the socket for requests")]
    TimedOut,
}

/// The socket, while it is there.
pub struct RequestSocket {
    settings: Arc<AriSettings>,
    app: String,
    link: Mutex<Link>,
}

struct Link {
    state: State,
    backoff: Backoff,
}

enum State {
    Down {
        until: Instant,
    },
    Connecting,
    Up {
        sender: mpsc::Sender<Asked>,
        since: Instant,
    },
}

/// What a request that was handed over is answered, some time.
pub struct Waiting {
    answer: oneshot::Receiver<Result<Answer, Unanswered>>,
    patience: Duration,
}

/// A request on its way to the socket.
struct Asked {
    id: String,
    text: String,
    answer: oneshot::Sender<Result<Answer, Unanswered>>,
}

#[derive(Serialize)]
struct RestRequest<'a> {
    r#type: &'static str,
    request_id: &'a str,
    method: &'a str,
    uri: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    query_strings: Vec<Parameter<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_body: Option<&'a str>,
}

#[derive(Serialize)]
struct Parameter<'a> {
    name: &'a str,
    value: &'a str,
}

#[derive(Deserialize)]
struct RestResponse<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    request_id: Cow<'a, str>,
    #[serde(default)]
    status_code: u16,
    message_body: Option<String>,
}

impl RequestSocket {
    /// One that is not connected yet, and will have this application.
    #[must_use]
    pub fn new(settings: Arc<AriSettings>, app: String) -> Self {
        let until = Instant::now();
        let first = AGAIN_AFTER.max(settings.request_timeout * 4);
        let link = Link {
            state: State::Down { until },
            backoff: Backoff::new(first, AGAIN_AFTER_AT_MOST.max(first)),
        };
        Self {
            settings,
            app,
            link: Mutex::new(link),
        }
    }

    /// Hands a request over; nothing if it cannot be sent this way now.
    pub fn hand_over(self: &Arc<Self>, request: &Request<'_>) -> Option<Waiting> {
        let sender = self.sender()?;
        let (asked, answer) = Asked::new(request);
        if asked.text.len() > MAX_REQUEST {
            return None;
        }
        sender.try_send(asked).ok()?;
        Some(Waiting {
            answer,
            patience: self.settings.request_timeout,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the socket. Connects it if it is time for that.
    fn sender(self: &Arc<Self>) -> Option<mpsc::Sender<Asked>> {
        let mut link = self.lock();
        match &link.state {
            State::Up { sender, .. } if !sender.is_closed() => return Some(sender.clone()),
            State::Up { .. } => link.down(),
            State::Down { until } if Instant::now() >= *until => {
                link.state = State::Connecting;
                tokio::spawn(Arc::clone(self).connect());
            }
            State::Down { .. } | State::Connecting => {}
        }
        None
    }

    /// Gives no more requests to it for a while. Whoever waits for an answer goes on waiting.
    pub fn give_up(&self) {
        let mut link = self.lock();
        if matches!(link.state, State::Up { .. }) {
            tracing::warn!(
                app = self.app,
                "ARI does not answer requests over WebSockets in time: they go over HTTP"
            );
            link.down();
        }
    }

    async fn connect(self: Arc<Self>) {
        let connected = self.try_connect().await;
        let mut link = self.lock();
        match connected {
            Ok(socket) => {
                tracing::info!(app = self.app, "requests go to ARI over a WebSocket");
                let (sender, asked) = mpsc::channel(BACKLOG);
                tokio::spawn(serve(socket, asked));
                let since = Instant::now();
                link.state = State::Up { sender, since };
            }
            Err(lost) => {
                tracing::info!(app = self.app, error = %cloud::error::chain(&lost), "ARI takes no requests over a WebSocket: they go over HTTP");
                link.down();
            }
        }
    }

    /// A socket over which a request has been answered.
    async fn try_connect(&self) -> Result<Socket, SocketLost> {
        let mut socket = Socket::connect(&self.settings, &self.app).await?;
        let (asked, _) = Asked::new(&SYSTEM_INFO);
        let answered = async {
            socket.send(Message::text(asked.text)).await?;
            loop {
                let text = socket.text().await?;
                match read(text.as_deref().unwrap_or_default()) {
                    Heard::Answer(id, answer) if id == asked.id && answer.status.is_success() => {
                        return Ok(socket);
                    }
                    Heard::Answer(..) | Heard::Other => {}
                    Heard::Replaced => return Err(SocketLost::Replaced),
                }
            }
        };
        timeout(self.settings.request_timeout, answered)
            .await
            .unwrap_or(Err(SocketLost::Silent(self.settings.request_timeout)))
    }
}

impl Link {
    fn down(&mut self) {
        if matches!(self.state, State::Up { since, .. } if since.elapsed() > STABLE_AFTER) {
            self.backoff.reset();
        }
        self.state = State::Down {
            until: Instant::now() + self.backoff.next_delay(),
        };
    }
}

impl Waiting {
    /// Waits for the answer.
    ///
    /// # Errors
    /// [`Unanswered`] if there is none.
    pub async fn answer(self) -> Result<Answer, Unanswered> {
        match timeout(self.patience, self.answer).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Err(Unanswered::Lost),
            Err(_) => Err(Unanswered::TimedOut),
        }
    }
}

impl Asked {
    fn new(request: &Request<'_>) -> (Self, oneshot::Receiver<Result<Answer, Unanswered>>) {
        let id = uuid::Uuid::new_v4().simple().to_string();
        let body = request.body.as_deref();
        let text = serde_json::to_string(&RestRequest {
            r#type: "RESTRequest",
            request_id: &id,
            method: request.method.as_str(),
            uri: request.path,
            query_strings: request
                .query
                .iter()
                .map(|(name, value)| Parameter { name, value })
                .collect(),
            content_type: body.map(|_| "application/json"),
            message_body: body,
        })
        .unwrap_or_default();
        let (answer, answered) = oneshot::channel();
        (Self { id, text, answer }, answered)
    }
}

/// What a text from the socket is.
#[derive(Debug, PartialEq, Eq)]
enum Heard<'a> {
    /// An answer, and the id of its request.
    Answer(Cow<'a, str>, Answer),
    /// Another client has taken our application over.
    Replaced,
    /// Nothing for us.
    Other,
}

fn read(text: &str) -> Heard<'_> {
    let Ok(response) = serde_json::from_str::<RestResponse<'_>>(text) else {
        return Heard::Other;
    };
    if response.r#type == APPLICATION_REPLACED {
        return Heard::Replaced;
    }
    match StatusCode::from_u16(response.status_code) {
        Ok(status) if response.r#type == "RESTResponse" => {
            let body = response.message_body.unwrap_or_default().into_bytes();
            Heard::Answer(response.request_id, Answer { status, body })
        }
        _ => Heard::Other,
    }
}

/// Passes requests and answers on until the socket is down, or given up. Who still waits then is told whether its request
/// was sent.
async fn serve(mut socket: Socket, mut asked: mpsc::Receiver<Asked>) {
    let mut waiting: HashMap<String, oneshot::Sender<_>> = HashMap::new();
    let lost = loop {
        tokio::select! {
            next = asked.recv() => {
                let Some(next) = next else { return };
                // What nobody waits for any more must not take effect.
                if next.answer.is_closed() {
                    continue;
                }
                if waiting.len() >= MANY_WAITING {
                    waiting.retain(|_, asker| !asker.is_closed());
                }
                waiting.insert(next.id, next.answer);
                // Each by itself: over TLS, Asterisk does not see what comes in one piece with another.
                if let Err(lost) = socket.send(Message::text(next.text)).await {
                    break lost;
                }
            }
            text = socket.text() => match text {
                Ok(text) => match read(text.as_deref().unwrap_or_default()) {
                    Heard::Answer(id, answer) => {
                        if let Some(asker) = waiting.remove(&*id) {
                            // It may have given up.
                            let _ = asker.send(Ok(answer));
                        }
                    }
                    Heard::Replaced => break SocketLost::Replaced,
                    Heard::Other => {}
                },
                Err(lost) => break lost,
            },
        }
    };
    tracing::warn!(error = %cloud::error::chain(&lost), "an ARI socket for requests is down");
    asked.close();
    while let Ok(unsent) = asked.try_recv() {
        let _ = unsent.answer.send(Err(Unanswered::NotAsked));
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use reqwest::Method;
    use serde_json::{Value, json};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::{WebSocketStream, accept_async};

    use super::*;

    impl RequestSocket {
        async fn ask(self: &Arc<Self>, request: &Request<'_>) -> Result<Answer, Unanswered> {
            let waiting = self.hand_over(request).ok_or(Unanswered::NotAsked)?;
            waiting.answer().await
        }

        fn is_connecting(&self) -> bool {
            matches!(self.lock().state, State::Connecting)
        }
    }

    const REQUEST: &Request<'_> = &Request::new("POST /x", Method::POST, "x");

    async fn pair(request_timeout: Duration) -> (Arc<RequestSocket>, TcpListener) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let settings = AriSettings {
            url: format!("http://{}", listener.local_addr().unwrap())
                .parse()
                .unwrap(),
            username: "u".to_owned(),
            password: "p".parse().unwrap(),
            app: "a".to_owned(),
            request_timeout,
            max_in_flight: 1,
            rest_over_websocket: true,
        };
        let socket = RequestSocket::new(settings.into(), "a:requests".to_owned());
        (Arc::new(socket), listener)
    }

    async fn accept(listener: &TcpListener) -> WebSocketStream<TcpStream> {
        let (connection, _) = listener.accept().await.unwrap();
        accept_async(connection).await.unwrap()
    }

    /// The id of the next request.
    async fn asked(server: &mut WebSocketStream<TcpStream>) -> String {
        let text = server.next().await.unwrap().unwrap().into_text().unwrap();
        let request: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(request["type"], "RESTRequest");
        request["request_id"].as_str().unwrap().to_owned()
    }

    async fn answer(server: &mut WebSocketStream<TcpStream>, id: &str, status: u16, body: &str) {
        let answer = json!({"type": "RESTResponse", "request_id": id, "status_code": status,
            "message_body": body});
        let message = Message::text(answer.to_string());
        server.send(message).await.unwrap();
    }

    /// A socket that is up, and its other end.
    async fn connected() -> (Arc<RequestSocket>, WebSocketStream<TcpStream>) {
        let (socket, listener) = pair(Duration::from_secs(30)).await;
        let first = socket.ask(REQUEST).await;
        assert!(matches!(first, Err(Unanswered::NotAsked)), "{first:?}");
        let mut server = accept(&listener).await;
        let ping = asked(&mut server).await;
        answer(&mut server, &ping, 200, "{}").await;
        while socket.is_connecting() {
            tokio::task::yield_now().await;
        }
        (socket, server)
    }

    #[tokio::test]
    async fn answers_find_their_askers_in_any_order() {
        let (socket, mut server) = connected().await;
        let answering = async {
            let (one, two) = (asked(&mut server).await, asked(&mut server).await);
            server.send(Message::text("strange")).await.unwrap();
            answer(&mut server, "nobody's", 500, "").await;
            answer(&mut server, &two, 409, "two").await;
            answer(&mut server, &one, 404, "one").await;
        };
        let (one, two, ()) = tokio::join!(socket.ask(REQUEST), socket.ask(REQUEST), answering);
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!((one.status.as_u16(), &*one.body), (404, &b"one"[..]));
        assert_eq!((two.status.as_u16(), &*two.body), (409, &b"two"[..]));
    }

    #[tokio::test]
    async fn a_lost_socket_is_told_to_all_who_wait() {
        let (socket, mut server) = connected().await;
        let losing = async {
            asked(&mut server).await;
            drop(server);
        };
        let (asked, ()) = tokio::join!(socket.ask(REQUEST), losing);
        assert!(matches!(asked, Err(Unanswered::Lost)), "{asked:?}");
        let next = socket.ask(REQUEST).await;
        assert!(matches!(next, Err(Unanswered::NotAsked)), "{next:?}");
    }

    #[tokio::test]
    async fn what_is_too_large_is_not_asked() {
        let (socket, _server) = connected().await;
        let body = "x".repeat(MAX_REQUEST);
        let large = Request::new("POST /x", Method::POST, "x").with_body(&body);
        let large = socket.ask(&large).await;
        assert!(matches!(large, Err(Unanswered::NotAsked)), "{large:?}");
    }

    /// As before 22.4, where what a client says on its events socket is read and ignored.
    #[tokio::test]
    async fn an_asterisk_that_takes_no_requests_is_left_alone_for_a_while() {
        let (socket, listener) = pair(Duration::from_secs(1)).await;
        let first = socket.ask(REQUEST).await;
        assert!(matches!(first, Err(Unanswered::NotAsked)), "{first:?}");
        let mut server = accept(&listener).await;
        asked(&mut server).await;
        // It is closed when it has been waited for long enough.
        while let Some(Ok(_)) = server.next().await {}
        while socket.is_connecting() {
            tokio::task::yield_now().await;
        }
        let again = socket.ask(REQUEST).await;
        assert!(matches!(again, Err(Unanswered::NotAsked)), "{again:?}");
        assert!(matches!(socket.lock().state, State::Down { until } if until > Instant::now()));
    }

    #[test]
    fn strange_texts_are_nothing_for_us() {
        for text in [
            "",
            "[]",
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"RESTResponse"}"#,
            r#"{"type":"RESTResponse","request_id":"1","status_code":70000}"#,
            r#"{"type":"RESTResponse","request_id":"1","status_code":99}"#,
            r#"{"type":"RESTResponse","request_id":null,"status_code":200}"#,
            r#"{"type":"StasisStart","request_id":"1","status_code":200}"#,
        ] {
            assert_eq!(read(text), Heard::Other, "{text}");
        }
        let replaced = r#"{"type":"ApplicationReplaced","application":"a"}"#;
        assert_eq!(read(replaced), Heard::Replaced);
        let empty = r#"{"type":"RESTResponse","request_id":"1","status_code":204,"message_body":null,"new":[]}"#;
        let answer = Answer {
            status: StatusCode::NO_CONTENT,
            body: Vec::new(),
        };
        assert_eq!(read(empty), Heard::Answer("1".into(), answer));
    }
}
