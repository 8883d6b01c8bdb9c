//! An ARI stand-in, for trying the system out and for fast tests.
//!
//! It speaks the part of ARI that the bridge uses over real HTTP and a real WebSocket, in the order and with the
//! answers recorded on a real Asterisk 22, and passes the same scenarios. How a callee behaves is chosen by the
//! last three digits of the number ([`callee`]). It is no Asterisk: there is no media and no SIP.

pub mod callee;
mod events;
mod http;
mod over_websocket;
mod switch;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::switch::Switch;

/// A running simulator.
pub struct Simulator {
    address: SocketAddr,
    switch: Arc<Switch>,
    stop: CancellationToken,
}

/// Who may use the simulator.
#[derive(Clone)]
pub struct Credentials {
    /// As in `ARI_USERNAME`.
    pub username: String,
    /// As in `ARI_PASSWORD`.
    pub password: String,
}

impl Simulator {
    /// Starts one on a free loopback port.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start(credentials: Credentials) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let switch = Arc::new(Switch::default());
        let stop = CancellationToken::new();
        let router = http::router(Arc::clone(&switch), credentials);
        let stopped = stop.clone();
        tokio::spawn(async move {
            let serving = axum::serve(listener, router);
            tokio::select! {
                () = stopped.cancelled() => {}
                _ = serving => {}
            }
        });
        Ok(Self {
            address,
            switch,
            stop,
        })
    }

    /// What goes into `ARI_HTTP_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/ari", self.address)
    }

    /// How often `destination` (as in `+15550000200@trunk`) was dialled: the simulator's INVITEs.
    #[must_use]
    pub fn dials_to(&self, destination: &str) -> usize {
        self.switch.dials_to(destination)
    }

    /// Sends `text` to the application's socket as if it were an event.
    pub fn inject(&self, app: &str, text: &str) {
        self.switch.inject(app, text);
    }

    /// Sends `texts` over and over to the application's socket as if they were events, `many` in all and as fast as they are
    /// read. Returns the longest time that nothing was read.
    pub async fn flood(&self, app: &str, texts: &[String], many: usize) -> Duration {
        let Some(socket) = self.switch.socket(app) else {
            return Duration::ZERO;
        };
        let mut longest = Duration::ZERO;
        for text in texts.iter().cycle().take(many) {
            let begun = Instant::now();
            if socket.send(text.clone()).await.is_err() {
                break;
            }
            longest = longest.max(begun.elapsed());
        }
        longest
    }

    /// Cuts all sockets, as a restart of Asterisk's HTTP server does.
    pub fn drop_sockets(&self) {
        self.switch.drop_sockets();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
        self.switch.drop_sockets();
    }
}
