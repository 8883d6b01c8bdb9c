//! An ARI stand-in, for trying the system out and for fast tests.
//!
//! It speaks the part of ARI that the bridge uses over real HTTP and a real WebSocket. Order and answers
//! are those recorded on a real Asterisk 22, and it passes the same scenarios. The last three digits of
//! the number choose how a callee behaves ([`callee`]). It is no Asterisk: there is no media and no SIP.

pub mod callee;
mod causes;
pub mod dialplan;
mod endpoint;
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

pub use crate::causes::cause_of;
pub use crate::switch::TrunkState;

use crate::switch::{Dials, Switch};

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

    /// Makes this another Asterisk than any other simulator, which have all the same entity id.
    pub fn set_entity_id(&self, entity_id: &str) {
        self.switch.set_entity_id(entity_id);
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

    /// Makes Asterisk refuse every create from now on, or no longer. It does so while a graceful restart
    /// is pending, and when its file descriptors are exhausted. Calls that there are go on.
    pub fn refuse_creates(&self, refuses: bool) {
        self.switch
            .set_fault(|faults| faults.refuses_creates = refuses);
    }

    /// Makes a trunk be like this from now on; at first `trunk` is online and `down` is silent. Calls over
    /// it go on.
    pub fn set_trunk(&self, name: &str, state: TrunkState) {
        self.switch.set_trunk(name, state);
    }

    /// Makes RTP ports run out, or be free again. Creates and dials over a trunk are then taken, and the
    /// channel ends 3 ms later: without a `Dial` event, because no INVITE is sent.
    pub fn exhaust_rtp(&self, is_exhausted: bool) {
        self.switch
            .set_fault(|faults| faults.dials = Dials::WithoutRtp.while_it_is(is_exhausted));
    }

    /// Makes Asterisk refuse every dial from now on, or no longer, as it does while it shuts down and ends
    /// the channels that it has.
    pub fn refuse_dials(&self, refuses: bool) {
        self.switch
            .set_fault(|faults| faults.dials = Dials::Refused.while_it_is(refuses));
    }

    /// Makes a dial lead to nothing, or no longer, as when two file descriptors are left. Creates and dials
    /// are then taken, no event comes after the dial, not even that of the dial's timeout, and hanging up
    /// works.
    pub fn swallow_events(&self, swallows: bool) {
        self.switch
            .set_fault(|faults| faults.dials = Dials::LeadNowhere.while_it_is(swallows));
    }

    /// Restarts Asterisk, and returns when it answers again. Every call and every socket is gone without an
    /// event; requests get 404 and then 503 meanwhile, and `startup_time` is another one. A graceful restart
    /// that was pending ([`Simulator::refuse_creates`]) is so no longer; the other faults stay.
    pub async fn restart(&self) {
        self.switch.restart().await;
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
