//! Secrets Manager, as far as a function needs it: one secret with its two versions.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The name of the secret.
pub const SECRET_ARN: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:key-AbCdEf";

/// A running Secrets Manager.
pub struct SecretsManager {
    /// `AWS_ENDPOINT_URL_SECRETS_MANAGER`
    pub url: String,
    versions: Arc<Mutex<Vec<String>>>,
}

impl SecretsManager {
    /// Starts one on a free port, with the secret's first value.
    pub async fn start(value: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let versions = Arc::new(Mutex::new(vec![value.to_owned()]));
        let router = Router::new()
            .fallback(get_secret_value)
            .with_state(Arc::clone(&versions));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url: format!("http://{address}"),
            versions,
        }
    }

    /// Puts a new value: the one before becomes `AWSPREVIOUS`.
    pub fn put(&self, value: &str) {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        versions.push(value.to_owned());
    }
}

async fn get_secret_value(
    State(versions): State<Arc<Mutex<Vec<String>>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let target = headers.get("x-amz-target").and_then(|v| v.to_str().ok());
    assert_eq!(target, Some("secretsmanager.GetSecretValue"));
    assert_eq!(request["SecretId"], SECRET_ARN);
    let versions = versions.lock().unwrap_or_else(PoisonError::into_inner);
    let back = usize::from(request["VersionStage"] == "AWSPREVIOUS");
    let index = versions.len().checked_sub(1 + back);
    if let Some(value) = index.and_then(|index| versions.get(index)) {
        let answer = json!({"ARN": SECRET_ARN, "Name": "key", "SecretString": value});
        answer.to_string().into_response()
    } else {
        let answer = json!({"__type": "ResourceNotFoundException", "Message": "no such version"});
        (StatusCode::BAD_REQUEST, answer.to_string()).into_response()
    }
}
