//! Which WebSocket a request goes over. Asterisk takes what comes over one of them one after the other.

use std::sync::Arc;

use reqwest::Method;

use crate::ari::request::{Answer, Request};
use crate::ari::request_socket::{RequestSocket, Unanswered};
use crate::settings::AriSettings;

/// The path of what makes a channel.
pub const CREATE: &str = "channels/create";

/// The sockets for requests.
#[derive(Clone)]
pub struct RequestSockets {
    /// For creates, which may take long.
    new: Arc<RequestSocket>,
    /// For what goes on with calls.
    live: Arc<RequestSocket>,
}

impl RequestSockets {
    /// Sockets that are not connected yet.
    #[must_use]
    pub fn new(settings: &Arc<AriSettings>) -> Self {
        // `ARI_APP` cannot hold a colon.
        let socket = |suffix| {
            let app = format!("{}:{suffix}", settings.app);
            Arc::new(RequestSocket::new(Arc::clone(settings), app))
        };
        Self {
            new: socket("requests-new"),
            live: socket("requests-live"),
        }
    }

    /// Asks over one of them. What ends a call or looks at one is not asked: that waits behind nothing.
    ///
    /// # Errors
    /// [`Unanswered`] if there is no answer.
    pub async fn ask(&self, request: &Request<'_>) -> Result<Answer, Unanswered> {
        if request.method != Method::POST {
            return Err(Unanswered::NotAsked);
        }
        let socket = if request.path == CREATE {
            &self.new
        } else {
            &self.live
        };
        let answer = socket.ask(request).await;
        if matches!(answer, Err(Unanswered::TimedOut)) {
            // They go the same way: a dial that is lost over the other one cannot be repeated.
            self.new.give_up();
            self.live.give_up();
        }
        answer
    }
}
