//! Requests over a WebSocket, which Asterisk takes from 22.4 on: it spares both sides a good part of the work of HTTP.
//!
//! Such a socket has an application of its own, so that no event waits behind an answer. It is connected when it is first
//! wanted, and is never waited for: while it is not there, requests go over HTTP.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::ari::SocketLost;
use crate::ari::event::APPLICATION_REPLACED;
use crate::ari::request::{Answer, Request};
use crate::ari::socket::Socket;
use crate::settings::AriSettings;

/// Asterisk reads frames of up to 64 KiB; what is longer goes over HTTP.
const MAX_REQUEST: usize = 32 * 1024;
/// Requests that wait to be written. When there are more, they go over HTTP.
const BACKLOG: usize = 256;
/// A socket that failed is connected again after this time.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// The same, when Asterisk did not take the first request: it may have been upgraded.
const NOT_TAKEN_AGAIN_AFTER: Duration = Duration::from_hours(1);

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
    state: Mutex<State>,
}

enum State {
    Down { until: Instant },
    Connecting,
    Up(mpsc::Sender<Asked>),
}

/// A request on its way to the socket.
struct Asked {
    id: String,
    text: String,
    answer: oneshot::Sender<Answer>,
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
        Self {
            settings,
            app,
            state: Mutex::new(State::Down { until }),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// [`Unanswered`] if there is none.
    pub async fn ask(self: &Arc<Self>, request: &Request<'_>) -> Result<Answer, Unanswered> {
        let sender = self.sender().ok_or(Unanswered::NotAsked)?;
        let (asked, answer) = Asked::new(request);
        if asked.text.len() > MAX_REQUEST {
            return Err(Unanswered::NotAsked);
        }
        sender.try_send(asked).map_err(|_| Unanswered::NotAsked)?;
        match timeout(self.settings.request_timeout, answer).await {
            Ok(answered) => answered.map_err(|_| Unanswered::Lost),
            Err(_) => Err(Unanswered::TimedOut),
        }
    }

    /// The way to the socket. Connects it if it is time for that.
    fn sender(self: &Arc<Self>) -> Option<mpsc::Sender<Asked>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Up(sender) if !sender.is_closed() => return Some(sender.clone()),
            State::Up(_) => *state = down_for(AGAIN_AFTER),
            State::Down { until } if Instant::now() >= *until => {
                *state = State::Connecting;
                tokio::spawn(Arc::clone(self).connect());
            }
            State::Down { .. } | State::Connecting => {}
        }
        None
    }

    /// Gives no more requests to it for a while. Whoever waits for an answer goes on waiting.
    pub fn give_up(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*state, State::Up(_)) {
            tracing::warn!(
                app = self.app,
                "ARI does not answer requests over a WebSocket in time: they go over HTTP"
            );
            *state = down_for(AGAIN_AFTER);
        }
    }

    async fn connect(self: Arc<Self>) {
        let (sender, asked) = mpsc::channel(BACKLOG);
        let next = match self.try_connect().await {
            Ok(Some(socket)) => {
                tracing::info!(app = self.app, "requests go to ARI over a WebSocket");
                tokio::spawn(serve(socket, asked));
                State::Up(sender)
            }
            Ok(None) => {
                tracing::info!(
                    "this Asterisk takes no requests over a WebSocket: they go over HTTP"
                );
                down_for(NOT_TAKEN_AGAIN_AFTER)
            }
            Err(lost) => {
                tracing::info!(error = %cloud::error::chain(&lost), "the ARI socket for requests cannot be connected: they go over HTTP");
                down_for(AGAIN_AFTER)
            }
        };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }

    /// A socket over which a request has been answered; `None` if it was not.
    async fn try_connect(&self) -> Result<Option<Socket>, SocketLost> {
        let mut socket = Socket::connect(&self.settings, &self.app).await?;
        let ping = Request::new("GET /asterisk/info", reqwest::Method::GET, "asterisk/info")
            .with_query(&[("only", "system")]);
        let (asked, _) = Asked::new(&ping);
        let answered = async {
            socket.send([Message::text(asked.text)]).await?;
            loop {
                let text = socket.text().await?;
                if let Heard::Answer(id, answer) = read(text.as_deref().unwrap_or_default()) {
                    return Ok((id == asked.id && answer.status.is_success()).then_some(socket));
                }
            }
        };
        timeout(self.settings.request_timeout, answered)
            .await
            .unwrap_or(Ok(None))
    }
}

fn down_for(time: Duration) -> State {
    State::Down {
        until: Instant::now() + time,
    }
}

impl Asked {
    fn new(request: &Request<'_>) -> (Self, oneshot::Receiver<Answer>) {
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

/// Passes requests and answers on until the socket is down, or given up. Whoever still waits then is told so by the end of
/// what it waits for.
async fn serve(mut socket: Socket, mut asked: mpsc::Receiver<Asked>) {
    let mut waiting = HashMap::new();
    let mut batch = Vec::new();
    let lost = loop {
        tokio::select! {
            received = asked.recv_many(&mut batch, BACKLOG) => {
                if received == 0 {
                    return;
                }
                let texts = batch.drain(..).map(|asked: Asked| {
                    waiting.insert(asked.id, asked.answer);
                    Message::text(asked.text)
                });
                if let Err(lost) = socket.send(texts).await {
                    break lost;
                }
            }
            text = socket.text() => match text {
                Ok(text) => match read(text.as_deref().unwrap_or_default()) {
                    Heard::Answer(id, answer) => {
                        if let Some(asker) = waiting.remove(&*id) {
                            // It may have given up.
                            let _ = asker.send(answer);
                        }
                    }
                    Heard::Replaced => break SocketLost::Replaced,
                    Heard::Other => {}
                },
                Err(lost) => break lost,
            },
        }
    };
    tracing::warn!(error = %cloud::error::chain(&lost), "the ARI socket for requests is down");
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use reqwest::Method;
    use serde_json::{Value, json};
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::{WebSocketStream, accept_async};

    use super::*;

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

    impl RequestSocket {
        fn is_connecting(&self) -> bool {
            matches!(*self.state.lock().unwrap(), State::Connecting)
        }
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
    async fn an_asterisk_that_takes_no_requests_is_not_asked_for_long() {
        let (socket, listener) = pair(Duration::from_millis(100)).await;
        let first = socket.ask(REQUEST).await;
        assert!(matches!(first, Err(Unanswered::NotAsked)), "{first:?}");
        let mut server = accept(&listener).await;
        asked(&mut server).await;
        // It is closed when it has been waited for long enough.
        while let Some(Ok(_)) = server.next().await {}
        while socket.is_connecting() {
            tokio::task::yield_now().await;
        }
        let state = socket.state.lock().unwrap();
        let later = Instant::now() + AGAIN_AFTER;
        assert!(matches!(*state, State::Down { until } if until > later));
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
