//! A client of the API.

use std::time::{Duration, Instant};

use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

/// How long any call of these tests may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// A client with a token.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    /// A client of the API at `base` (`http://host:port`).
    #[must_use]
    pub fn new(base: String, token: String) -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build()
            .expect("a client");
        Self { http, base, token }
    }

    /// Where the API is: `http://host:port`.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// A request with the token; `path` begins after the host.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(&self.token)
    }

    /// A request without a token.
    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Asks for a call, and returns its id.
    pub async fn place(&self, number: &str, body: Value) -> String {
        let (status, body) = self.try_place(number, body).await;
        assert_eq!(status, 202, "{body}");
        body["call_id"].as_str().expect("a call_id").to_owned()
    }

    /// Asks for a call that may be refused: the status and the body.
    pub async fn try_place(&self, number: &str, body: Value) -> (u16, Value) {
        let mut body = body;
        body["phone_number"] = json!(number);
        let request = self.request(Method::POST, "/api/v2/calls").json(&body);
        read(request.send().await.expect("an answer")).await
    }

    /// The same over a network that may lose the answer.
    pub async fn place_if_answered(&self, number: &str, body: Value) -> Option<(u16, Value)> {
        let mut body = body;
        body["phone_number"] = json!(number);
        let request = self.request(Method::POST, "/api/v2/calls").json(&body);
        Some(read(request.send().await.ok()?).await)
    }

    /// The same client with another token.
    #[must_use]
    pub fn with_token(&self, token: String) -> Self {
        Self {
            token,
            ..self.clone()
        }
    }

    /// What the call's timeline says happened, in order.
    pub async fn events(&self, id: &str) -> Vec<String> {
        let request = self.request(Method::GET, &format!("/api/v2/calls/{id}/events"));
        let (status, body) = read(request.send().await.expect("an answer")).await;
        assert_eq!(status, 200, "{body}");
        let events = body["events"].as_array().expect("events").iter();
        events
            .filter_map(|event| event["event"].as_str())
            .map(str::to_owned)
            .collect()
    }

    /// The call as it is now.
    pub async fn status(&self, id: &str) -> Value {
        let response = self
            .request(Method::GET, &format!("/api/v2/calls/{id}"))
            .send()
            .await
            .expect("an answer");
        let (status, body) = read(response).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Waits until the call is as `wanted` says, which sees it at every look.
    pub async fn wait_until(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.wait_within(id, PATIENCE, wanted).await
    }

    async fn wait_within(
        &self,
        id: &str,
        patience: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let begun = Instant::now();
        loop {
            let call = self.status(id).await;
            if wanted(&call) {
                return call;
            }
            assert!(begun.elapsed() < patience, "the call is still: {call}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the call is over.
    pub async fn wait_until_over(&self, id: &str) -> Value {
        self.wait_until(id, |call| call["is_completed"] == true)
            .await
    }

    /// Waits until the call is over, for as long.
    pub async fn wait_until_over_within(&self, id: &str, patience: Duration) -> Value {
        self.wait_within(id, patience, |call| call["is_completed"] == true)
            .await
    }
}

/// The status and the JSON body of a response.
pub async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, body)
}
