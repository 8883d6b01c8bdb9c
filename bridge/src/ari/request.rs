//! A request to ARI and its answer, whichever way they go.

use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ari::AriError;

/// The path of what makes a channel.
pub const CREATE: &str = "channels/create";

/// What a request may wait behind: others of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// It ends a call or looks at one, or the events socket waits for it.
    Now,
    /// A call that has begun goes on with it.
    Live,
    /// It begins a call.
    New,
}

/// What is asked.
pub struct Request<'a> {
    /// What it is called in logs and metrics: its method and path, without ids.
    pub name: &'static str,
    /// Its method.
    pub method: Method,
    /// Its path below `/ari/`.
    pub path: &'a str,
    /// Its query, unencoded.
    pub query: &'a [(&'a str, &'a str)],
    /// Its body, which is JSON.
    pub body: Option<String>,
    /// Whether it must not wait behind others, although it is a `POST`.
    at_once: bool,
}

impl<'a> Request<'a> {
    /// One without query and body.
    pub const fn new(name: &'static str, method: Method, path: &'a str) -> Self {
        Self {
            name,
            method,
            path,
            query: &[],
            body: None,
            at_once: false,
        }
    }

    /// The same over a connection of its own: Asterisk may hold the answer back, and would hold back
    /// whatever waits behind it on one socket.
    pub const fn at_once(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// What it may wait behind.
    pub fn urgency(&self) -> Urgency {
        if self.method != Method::POST || self.at_once {
            Urgency::Now
        } else if self.path == CREATE {
            Urgency::New
        } else {
            Urgency::Live
        }
    }

    /// The same with a query.
    pub const fn with_query(mut self, query: &'a [(&'a str, &'a str)]) -> Self {
        self.query = query;
        self
    }

    /// The same with a body.
    pub fn with_body(mut self, body: &impl Serialize) -> Self {
        // What we send has text for keys and nothing else that JSON cannot hold.
        self.body = serde_json::to_string(body).ok();
        self
    }
}

/// Whether Asterisk answers, and which release it is.
pub const SYSTEM_INFO: Request<'static> =
    Request::new("GET /asterisk/info", Method::GET, "asterisk/info")
        .with_query(&[("only", "system")]);

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// What its body says.
    ///
    /// # Errors
    /// [`AriError::Unreadable`] if the body does not say that.
    pub fn json<T: DeserializeOwned>(&self, request: &'static str) -> Result<T, AriError> {
        serde_json::from_slice(&self.body).map_err(|source| AriError::Unreadable {
            request,
            source: source.into(),
        })
    }

    /// Nothing, if it was done.
    ///
    /// # Errors
    /// [`AriError::Status`] if not.
    pub fn expect_success(&self, request: &'static str) -> Result<(), AriError> {
        if self.status.is_success() {
            Ok(())
        } else {
            Err(self.unexpected(request))
        }
    }

    /// Its status as an error.
    pub fn unexpected(&self, request: &'static str) -> AriError {
        AriError::Status {
            request,
            status: self.status.as_u16(),
        }
    }
}
