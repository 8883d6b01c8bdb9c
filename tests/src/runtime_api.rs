//! The Lambda Runtime API, as far as a `bootstrap` needs it: one event, one answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, mpsc};

use crate::gateway::{self, Mapping};
use crate::wire::WireRequest;
use crate::world::source;

/// A Runtime API for one function.
pub struct RuntimeApi {
    /// `AWS_LAMBDA_RUNTIME_API`
    pub address: String,
    events: mpsc::Sender<Value>,
    answers: mpsc::Receiver<Value>,
    asked: Arc<Notify>,
}

struct Shared {
    events: Mutex<mpsc::Receiver<Value>>,
    answers: mpsc::Sender<Value>,
    asked: Arc<Notify>,
}

impl RuntimeApi {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address").to_string();
        let (events, events_rx) = mpsc::channel(1);
        let (answers_tx, answers) = mpsc::channel(1);
        let asked = Arc::new(Notify::new());
        let shared = Arc::new(Shared {
            events: Mutex::new(events_rx),
            answers: answers_tx,
            asked: Arc::clone(&asked),
        });
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(answer))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(answer))
            .with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            events,
            answers,
            asked,
        }
    }

    /// What a function that gets its work here finds in its environment, settings not included.
    #[must_use]
    pub fn environment(&self, name: &str) -> BTreeMap<String, String> {
        source(&[
            ("AWS_LAMBDA_RUNTIME_API", &self.address),
            ("AWS_LAMBDA_FUNCTION_NAME", name),
            ("AWS_LAMBDA_FUNCTION_VERSION", "1"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128"),
            ("AWS_LAMBDA_LOG_GROUP_NAME", "g"),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "s"),
        ])
    }

    /// Waits until the function asks for work.
    pub async fn wait_until_asked(&self) {
        self.asked.notified().await;
    }

    /// Invokes the function as an HTTP API does, and returns what it answers. `path` may have a
    /// query behind it; `headers` are an object of texts.
    pub async fn invoke(&mut self, method: &str, path: &str, headers: Value, body: &str) -> Value {
        let mut request = WireRequest::new(method, path).body(body);
        for (name, value) in headers.as_object().into_iter().flatten() {
            request = request.header(name, value.as_str().expect("a text"));
        }
        self.send(gateway::event(&request, "$default", Mapping::None))
            .await
    }

    /// The same for a `GET` with a query string.
    pub async fn get(&mut self, path: &str, query: &str, headers: Value) -> Value {
        self.invoke("GET", &format!("{path}?{query}"), headers, "")
            .await
    }

    /// Invokes the function with an event of any kind, and returns what it answers.
    pub async fn send(&mut self, event: Value) -> Value {
        self.events.send(event).await.expect("a running function");
        self.answers.recv().await.expect("an answer")
    }
}

async fn next(State(shared): State<Arc<Shared>>) -> Response {
    shared.asked.notify_one();
    let Some(event) = shared.events.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let deadline = cloud::clock::now().as_millis() + 10_000;
    let headers = [
        ("lambda-runtime-aws-request-id", "invocation".to_owned()),
        ("lambda-runtime-deadline-ms", deadline.to_string()),
        (
            "lambda-runtime-invoked-function-arn",
            "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned(),
        ),
    ];
    let headers = headers.map(|(name, value)| (HeaderName::from_static(name), value));
    (headers, event.to_string()).into_response()
}

async fn answer(State(shared): State<Arc<Shared>>, body: Bytes) -> StatusCode {
    let answer = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let _ = shared.answers.send(answer).await;
    StatusCode::ACCEPTED
}
