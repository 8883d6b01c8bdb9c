//! A real Asterisk with a SIP trunk to a real SIP callee.
//!
//! On a Debian machine as root it runs from a root file system that `tests/asterisk/rootfs` makes
//! once. Elsewhere `E2E_ARI_HTTP_URL` names one that is there, such as a container's, with the configuration
//! in `tests/asterisk/etc`; then `E2E_ARI_USERNAME`, `E2E_ARI_PASSWORD` and `E2E_CALLEE_PORT` go with it.

mod callee;
mod instance;
pub mod modules;
mod provider;

use std::net::UdpSocket;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use serde_json::Value;

pub use self::callee::{Logged, What};
pub use self::instance::Instance;
pub use self::provider::Provider;

use self::callee::Callee;
use self::instance::{Configuration, Ports};
use crate::ports::free_udp;
use crate::tls::Secured;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// How long an Asterisk may take to start.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// Where an Asterisk has its end of the calls' audio, unless a test says otherwise.
const RTP_PORTS: RangeInclusive<u16> = 20_000..=30_000;

/// A running Asterisk and its callee.
pub struct Asterisk {
    /// `ARI_HTTP_URL`
    pub url: String,
    /// `ARI_USERNAME`
    pub username: String,
    /// `ARI_PASSWORD`
    pub password: String,
    /// The same over TLS; none where it was given.
    pub secured: Option<Box<Secured>>,
    instance: Option<Instance>,
    callee: Callee,
    provider: Option<Provider>,
    rtp_ports: RangeInclusive<u16>,
}

/// What an Asterisk of a test's own has that the shared one has not.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    /// Where it has its end of the calls' audio.
    pub rtp_ports: Option<RangeInclusive<u16>>,
    /// Lines that are added to files of its configuration, by the file's name.
    pub added: Vec<(&'static str, &'static str)>,
}

/// Another trunk, whose provider is asked every second whether it is there.
const QUALIFIED: &str = "
[qualified]
type = endpoint
transport = transport
context = from-trunk
disallow = all
allow = ulaw
direct_media = no
aors = qualified

[qualified]
type = aor
contact = sip:127.0.0.1:@PROVIDER_PORT@
qualify_frequency = 1
qualify_timeout = 0.5
";

impl Asterisk {
    /// Starts one on free ports, as all tests share it.
    ///
    /// # Errors
    /// What this machine lacks, and what to do about it.
    pub fn start() -> Result<Self, String> {
        if let Ok(url) = std::env::var("E2E_ARI_HTTP_URL") {
            return Self::given(url);
        }
        Self::start_as(None)
    }

    /// Starts one that a test has for itself: it may be restarted, starved and configured anew. It has a trunk
    /// `qualified` to a [`Provider`] that may be silenced.
    ///
    /// # Errors
    /// What this machine lacks, and what to do about it.
    pub fn own(extras: &Extras) -> Result<Self, String> {
        Self::start_as(Some(extras))
    }

    fn start_as(extras: Option<&Extras>) -> Result<Self, String> {
        let silent =
            UdpSocket::bind(("127.0.0.1", 0)).map_err(|error| format!("no UDP port: {error}"))?;
        let silent_port = silent
            .local_addr()
            .map_err(|error| error.to_string())?
            .port();
        let callee = Callee::start(free_udp(), Some(silent))?;
        let (mut added, mut rtp, mut provider) = (Vec::new(), RTP_PORTS, None);
        if let Some(extras) = extras {
            let started = Provider::before(callee.port);
            provider = Some(started.map_err(|error| format!("no UDP port: {error}"))?);
            added.push(("pjsip.conf", QUALIFIED));
            added.extend(&extras.added);
            rtp = extras.rtp_ports.clone().unwrap_or(rtp);
        }
        let ports = Ports {
            callee: callee.port,
            silent: silent_port,
            provider: provider.as_ref().map(|provider| provider.port),
            rtp: rtp.clone(),
        };
        let started = Instance::start(&Configuration { ports, added })?;
        Ok(Self {
            url: started.url,
            username: started.username,
            password: started.password,
            secured: Some(Box::new(started.secured)),
            instance: Some(started.instance),
            callee,
            provider,
            rtp_ports: rtp,
        })
    }

    fn given(url: String) -> Result<Self, String> {
        let get = |name: &str| {
            std::env::var(name).map_err(|_| format!("E2E_ARI_HTTP_URL is set, {name} is not"))
        };
        let port = get("E2E_CALLEE_PORT")?
            .parse()
            .map_err(|_| "E2E_CALLEE_PORT is no port".to_owned())?;
        Ok(Self {
            url,
            username: get("E2E_ARI_USERNAME")?,
            password: get("E2E_ARI_PASSWORD")?,
            secured: None,
            instance: None,
            callee: Callee::start(port, None)?,
            provider: None,
            rtp_ports: RTP_PORTS,
        })
    }

    /// The process, if it is one of our own.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.instance.as_ref().map(Instance::process)
    }

    /// What is done to an Asterisk of our own.
    ///
    /// # Panics
    /// If it is not one of our own.
    #[must_use]
    pub fn instance(&self) -> &Instance {
        self.instance
            .as_ref()
            .expect("an Asterisk of our own: E2E_ARI_HTTP_URL names one that is not")
    }

    /// Who is behind the trunk `qualified`.
    ///
    /// # Panics
    /// If this Asterisk has no such trunk, because it is not a test's own.
    #[must_use]
    pub fn provider(&self) -> &Provider {
        self.provider.as_ref().expect("an Asterisk of a test's own")
    }

    /// Where it has its end of the calls' audio.
    #[must_use]
    pub fn rtp_ports(&self) -> RangeInclusive<u16> {
        self.rtp_ports.clone()
    }

    /// Kills it with everything that it was doing, and starts it again.
    ///
    /// # Panics
    /// If it is not one of our own.
    pub fn restart(&self) {
        self.instance().restart();
    }

    /// Waits until ARI answers: while Asterisk is loading it does not, or with 404 or 503.
    pub async fn wait_until_ready(&self) {
        let begun = Instant::now();
        while self.get("asterisk/info").await.is_none() {
            assert!(
                begun.elapsed() < READY_WITHIN,
                "Asterisk is not ready:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What ARI answers to a `GET`; `None` unless that is a success.
    pub async fn get(&self, path: &str) -> Option<Value> {
        let request = reqwest::Client::new()
            .get(format!("{}/{path}", self.url))
            .basic_auth(&self.username, Some(&self.password))
            .timeout(Duration::from_secs(5));
        request
            .send()
            .await
            .ok()?
            .error_for_status()
            .ok()?
            .json()
            .await
            .ok()
    }

    /// Lets an application receive one more type of event than its filter does now.
    pub async fn allow_event(&self, app: &str, kind: &str) {
        let shown = self.get(&format!("applications/{app}")).await;
        let mut allowed = shown.expect("a connected application")["events_allowed"].take();
        let types = allowed.as_array_mut().expect("a filter");
        types.push(serde_json::json!({"type": kind}));
        let filter = serde_json::json!({"allowed": allowed});
        let response = reqwest::Client::new()
            .put(format!("{}/applications/{app}/eventFilter", self.url))
            .basic_auth(&self.username, Some(&self.password))
            .json(&filter)
            .send()
            .await
            .expect("an answer from ARI");
        assert!(response.status().is_success(), "{}", response.status());
    }

    /// Sends an event of the user's own to an application.
    pub async fn send_user_event(&self, app: &str, name: &str, variables: &Value) {
        let response = reqwest::Client::new()
            .post(format!("{}/events/user/{name}", self.url))
            .query(&[("application", app)])
            .basic_auth(&self.username, Some(&self.password))
            .json(&serde_json::json!({"variables": variables}))
            .send()
            .await
            .expect("an answer from ARI");
        assert!(response.status().is_success(), "{}", response.status());
    }

    /// What the callee has logged, in order.
    #[must_use]
    pub fn callee_log(&self) -> Vec<Logged> {
        self.callee.log()
    }

    /// The INVITEs that the callee received.
    #[must_use]
    pub fn invites(&self) -> Vec<Logged> {
        self.logged(What::Invite)
    }

    /// The BYEs that the callee received.
    #[must_use]
    pub fn byes(&self) -> Vec<Logged> {
        self.logged(What::Bye)
    }

    /// The lines of the callee's log that are about this.
    #[must_use]
    pub fn logged(&self, what: What) -> Vec<Logged> {
        let mut log = self.callee.log();
        log.retain(|line| line.what == what);
        log
    }

    /// What it has logged, if it is one of our own.
    #[must_use]
    pub fn log(&self) -> String {
        self.instance
            .as_ref()
            .map(Instance::log)
            .unwrap_or_default()
    }
}
