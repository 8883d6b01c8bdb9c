//! The least that makes a call over ARI: create, `StasisStart`, dial, and for one that is answered continue, `ChannelDestroyed`. No
//! queue, no table, no care.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use e2e::Pbx;
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

/// How requests reach Asterisk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// HTTP with kept-alive connections.
    Http,
    /// Over the events socket (Asterisk ≥ 22.4).
    Socket,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
/// Who waits for something, by the kind of it and an id.
type Waiting = Arc<Mutex<HashMap<(&'static str, String), oneshot::Sender<u64>>>>;

/// What is waited for.
const EVENTS: [&str; 4] = [
    "StasisStart",
    "ChannelStateChange",
    "ChannelDestroyed",
    "RESTResponse",
];
/// How long a step of a call may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of one application.
struct Bare {
    way: Way,
    http: reqwest::Client,
    url: String,
    username: String,
    password: String,
    app: String,
    waiting: Waiting,
    socket: tokio::sync::Mutex<SplitSink<Socket, Message>>,
}

/// What is called.
#[derive(Clone, Debug)]
pub struct Callee {
    /// Its endpoint.
    pub endpoint: String,
    /// Where in the dialplan it goes on, if it answers.
    pub context: Option<String>,
}

/// Makes so many calls, so many at once, and returns how long that took. Calls that did not end properly are
/// left out of the count that comes with it.
pub async fn calls(
    pbx: &Pbx,
    way: Way,
    callee: &Callee,
    many: usize,
    at_once: usize,
) -> (Duration, usize) {
    let bare = Arc::new(Bare::connect(pbx, way).await);
    let places = Arc::new(Semaphore::new(at_once));
    let begun = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..many {
        let place = Arc::clone(&places).acquire_owned().await.expect("open");
        let (bare, callee) = (Arc::clone(&bare), callee.clone());
        tasks.push(tokio::spawn(async move {
            let done = bare.call(&callee).await;
            drop(place);
            done.is_some()
        }));
    }
    let mut done = 0;
    for task in tasks {
        done += usize::from(task.await.expect("no panic"));
    }
    (begun.elapsed(), done)
}

impl Bare {
    async fn connect(pbx: &Pbx, way: Way) -> Self {
        let (url, username, password) = pbx.ari();
        let app = format!("bare-{}", Uuid::new_v4().simple());
        let socket_url = format!("{}/events?app={app}", url.replacen("http", "ws", 1));
        let mut request = socket_url.into_client_request().expect("a URL");
        let pair = format!("{username}:{password}");
        let pair = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pair);
        let header = format!("Basic {pair}").parse().expect("a header");
        request.headers_mut().insert("authorization", header);
        let (socket, _) = connect_async(request).await.expect("the events socket");
        let (sink, mut stream) = socket.split();
        let waiting: Waiting = Arc::default();
        let told = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some(Ok(message)) = stream.next().await {
                if let Message::Text(text) = message
                    && let Some((what, result)) = read(&text)
                    && let Some(waits) = told.lock().expect("no panic").remove(&what)
                {
                    let _ = waits.send(result);
                }
            }
        });
        let bare = Self {
            way,
            http: reqwest::Client::builder()
                .pool_max_idle_per_host(64)
                .tcp_nodelay(true)
                .no_proxy()
                .build()
                .expect("a client"),
            url,
            username,
            password,
            app,
            waiting,
            socket: tokio::sync::Mutex::new(sink),
        };
        // Answers over the socket are events, too.
        let wanted = EVENTS.map(|name| json!({"type": name}));
        let filter = json!({"allowed": wanted});
        let path = format!("{}/applications/{}/eventFilter", bare.url, bare.app);
        let answer = bare
            .http
            .put(path)
            .basic_auth(&bare.username, Some(&bare.password));
        let answer = answer.json(&filter).send().await.expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
        bare
    }

    async fn call(&self, callee: &Callee) -> Option<()> {
        let id = Uuid::new_v4().to_string();
        let started = self.wait_for("StasisStart", &id);
        let answered = callee
            .context
            .as_ref()
            .map(|context| (context, self.wait_for("ChannelStateChange", &id)));
        let destroyed = self.wait_for("ChannelDestroyed", &id);
        let create =
            json!({"endpoint": callee.endpoint, "app": self.app, "appArgs": id, "channelId": id});
        self.post("channels/create", &[], Some(create)).await?;
        timeout(PATIENCE, started).await.ok()?.ok()?;
        self.post(&format!("channels/{id}/dial"), &[("timeout", "30")], None)
            .await?;
        if let Some((context, answered)) = answered {
            timeout(PATIENCE, answered).await.ok()?.ok()?;
            let target = [
                ("context", context.as_str()),
                ("extension", "s"),
                ("priority", "1"),
            ];
            self.post(&format!("channels/{id}/continue"), &target, None)
                .await?;
        }
        timeout(PATIENCE, destroyed).await.ok()?.ok()?;
        Some(())
    }

    fn wait_for(&self, kind: &'static str, id: &str) -> oneshot::Receiver<u64> {
        let (tell, told) = oneshot::channel();
        let key = (kind, id.to_owned());
        self.waiting.lock().expect("no panic").insert(key, tell);
        told
    }

    async fn post(&self, path: &str, query: &[(&str, &str)], body: Option<Value>) -> Option<()> {
        let status = match self.way {
            Way::Http => {
                let request = self.http.post(format!("{}/{path}", self.url));
                let mut request = request
                    .basic_auth(&self.username, Some(&self.password))
                    .query(query);
                if let Some(body) = &body {
                    request = request.json(body);
                }
                let answer = request.send().await.ok()?;
                u64::from(answer.status().as_u16())
            }
            Way::Socket => {
                let id = Uuid::new_v4().to_string();
                let answer = self.wait_for("RESTResponse", &id);
                let query: Vec<_> = query
                    .iter()
                    .map(|(name, value)| json!({"name": name, "value": value}))
                    .collect();
                let mut request = json!({"type": "RESTRequest", "transaction_id": id, "request_id": id,
                    "method": "POST", "uri": path, "query_strings": query});
                if let Some(body) = body {
                    request["content_type"] = json!("application/json");
                    request["message_body"] = json!(body.to_string());
                }
                let message = Message::text(request.to_string());
                self.socket.lock().await.send(message).await.ok()?;
                timeout(PATIENCE, answer).await.ok()?.ok()?
            }
        };
        (200..300).contains(&status).then_some(())
    }
}

/// What an event or an answer is about, and an answer's status.
fn read(text: &str) -> Option<((&'static str, String), u64)> {
    #[derive(serde::Deserialize)]
    struct Event {
        r#type: String,
        channel: Option<Channel>,
        request_id: Option<String>,
        status_code: Option<u64>,
    }
    #[derive(serde::Deserialize)]
    struct Channel {
        id: String,
        state: String,
    }
    let event: Event = serde_json::from_str(text).ok()?;
    let kind = EVENTS.into_iter().find(|kind| *kind == event.r#type)?;
    let is_up = |channel: &Channel| channel.state == "Up";
    if kind == "ChannelStateChange" && !event.channel.as_ref().is_some_and(is_up) {
        return None;
    }
    let id = event
        .request_id
        .or(event.channel.map(|channel| channel.id))?;
    Some(((kind, id), event.status_code.unwrap_or_default()))
}
