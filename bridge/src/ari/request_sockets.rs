//! Which WebSocket a request goes over. Asterisk takes what comes over one of them one after the other.

use std::sync::Arc;

use crate::ari::request::{Answer, Request, Urgency};
use crate::ari::request_socket::{RequestSocket, Unanswered, Waiting};
use crate::settings::AriSettings;

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

    /// Hands a request over to one of them; nothing if it cannot be sent this way now. What ends a call or looks at one
    /// never is: it waits behind nothing.
    pub fn hand_over(&self, request: &Request<'_>) -> Option<Waiting> {
        let socket = match request.urgency() {
            Urgency::Now => return None,
            Urgency::New => &self.new,
            Urgency::Live => &self.live,
        };
        socket.hand_over(request)
    }

    /// The answer to a request that was handed over.
    ///
    /// # Errors
    /// [`Unanswered`] if there is none.
    pub async fn answer(&self, waiting: Waiting) -> Result<Answer, Unanswered> {
        let answer = waiting.answer().await;
        if matches!(answer, Err(Unanswered::TimedOut)) {
            // They go the same way: a dial that is lost over the other one cannot be repeated.
            self.new.give_up();
            self.live.give_up();
        }
        answer
    }
}
