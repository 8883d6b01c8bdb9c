//! A simulator, and a client of its ARI.

use std::time::Duration;

use futures_util::StreamExt;
use reqwest::{Client, Method};
use serde_json::Value;
use simulator::{Credentials, Simulator};
use tokio::sync::mpsc;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// The application that listens.
pub const APP: &str = "contactcenter";
/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Ari {
    http: Client,
    pub simulator: Simulator,
    events: mpsc::UnboundedReceiver<Value>,
}

impl Ari {
    /// A simulator of its own, with a socket for `app`.
    pub async fn start(app: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let credentials = Credentials {
            username: "u".to_owned(),
            password: "p".to_owned(),
        };
        let simulator = Simulator::start(credentials).await.expect("a simulator");
        let mut ari = Self {
            http: Client::new(),
            simulator,
            events: mpsc::unbounded_channel().1,
        };
        ari.connect(app).await;
        ari
    }

    /// Connects a socket in the place of the one before.
    pub async fn connect(&mut self, app: &str) {
        let url = self.simulator.url().replace("http:", "ws:");
        let mut request = format!("{url}/events?app={app}")
            .into_client_request()
            .expect("a request");
        request
            .headers_mut()
            .insert("authorization", "Basic dTpw".parse().expect("a header"));
        let (mut socket, _) = connect_async(request).await.expect("a socket");
        let (sender, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = socket.next().await {
                if let Ok(text) = message.to_text()
                    && let Ok(event) = serde_json::from_str(text)
                {
                    let _ = sender.send(event);
                }
            }
        });
        self.events = events;
    }

    /// What a request is answered, with its parameters in the query.
    pub async fn send(&self, method: &str, path: &str, query: &[(&str, &str)]) -> (u16, Value) {
        self.send_json(method, path, query, &Value::Null).await
    }

    /// The same with a JSON body, unless that is null.
    pub async fn send_json(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: &Value,
    ) -> (u16, Value) {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.simulator.url()))
            .basic_auth("u", Some("p"))
            .query(query);
        if !body.is_null() {
            request = request.json(body);
        }
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let text = response.text().await.expect("a body");
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        (status, body)
    }

    /// Creates a channel with this id.
    pub async fn create(&self, id: &str, endpoint: &str) -> (u16, Value) {
        let query = [("endpoint", endpoint), ("app", APP), ("channelId", id)];
        self.send("POST", "/channels/create", &query).await
    }

    /// The next event; `None` if the socket is gone.
    pub async fn next(&mut self) -> Option<Value> {
        tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event")
    }

    /// Waits for an event of this type, and returns it with those before it.
    pub async fn wait_for(&mut self, kind: &str) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let event = self.next().await.expect("a socket");
            let is_it = event["type"] == kind;
            seen.push(event);
            if is_it {
                return seen;
            }
        }
    }

    /// Creates a channel, waits until the application has it, and dials it.
    pub async fn call(&mut self, id: &str, endpoint: &str) {
        assert_eq!(self.create(id, endpoint).await.0, 200);
        while self.wait_for("StasisStart").await.last().unwrap()["channel"]["id"] != id {}
        let dial = format!("/channels/{id}/dial");
        assert_eq!(self.send("POST", &dial, &[("timeout", "10")]).await.0, 204);
    }
}
