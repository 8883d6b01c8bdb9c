//! What the calls go through: the scenarios are the same on both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use simulator::{Credentials, Simulator, TrunkState};

use crate::acts::QUALIFIED;
use crate::asterisk::{Asterisk, Extras, Logged, What};
use crate::tls::{Secured, TlsRelay};

/// A PBX with ARI, and with callees that behave by the last three digits of their number.
pub enum Pbx {
    /// The simulator.
    Simulator {
        /// It.
        simulator: Simulator,
        /// Its password.
        password: String,
    },
    /// A real Asterisk with real SIP.
    Asterisk(Box<Asterisk>),
}

impl Pbx {
    /// A simulator.
    pub async fn simulator() -> Self {
        let password = "simulated".to_owned();
        let credentials = Credentials {
            username: "e2e".to_owned(),
            password: password.clone(),
        };
        let simulator = Simulator::start(credentials).await.expect("a simulator");
        // As in `tests/asterisk/etc/pjsip.conf`.
        simulator.set_trunk("transfers", TrunkState::Online);
        Self::Simulator {
            simulator,
            password,
        }
    }

    /// The real Asterisk.
    ///
    /// # Panics
    /// If it is the simulator.
    #[must_use]
    pub fn asterisk(&self) -> &Asterisk {
        match self {
            Self::Asterisk(asterisk) => asterisk,
            Self::Simulator { .. } => panic!("this is the simulator"),
        }
    }

    /// `ARI_HTTP_URL`, `ARI_USERNAME` and `ARI_PASSWORD`.
    #[must_use]
    pub fn ari(&self) -> (String, String, String) {
        match self {
            Self::Simulator {
                simulator,
                password,
            } => (simulator.url(), "e2e".to_owned(), password.clone()),
            Self::Asterisk(asterisk) => (
                asterisk.url.clone(),
                asterisk.username.clone(),
                asterisk.password.clone(),
            ),
        }
    }

    /// `ARI_HTTP_URL` over TLS, and whom to trust for it.
    pub async fn ari_over_tls(&self) -> Secured {
        if let Self::Asterisk(asterisk) = self
            && let Some(secured) = &asterisk.secured
        {
            return (**secured).clone();
        }
        TlsRelay::before(&self.ari().0).await.secured
    }

    /// How often the phone at `number` behind the trunk was called, by the callee's own count. An INVITE
    /// that is repeated in one call, as after a challenge, counts once.
    #[must_use]
    pub fn invites_to(&self, number: &str) -> usize {
        match self {
            Self::Simulator { simulator, .. } => {
                let trunks = ["trunk", QUALIFIED].into_iter();
                trunks
                    .map(|trunk| simulator.dials_to(&format!("{number}@{trunk}")))
                    .sum()
            }
            Self::Asterisk(asterisk) => call_ids(asterisk.invites(), number).len(),
        }
    }

    /// How often the phone at each number was called, by the callee's own count; a simulator counts single numbers only.
    #[must_use]
    pub fn invites_by_number(&self) -> BTreeMap<String, usize> {
        let Self::Asterisk(asterisk) = self else {
            return BTreeMap::new();
        };
        let calls = asterisk.invites().into_iter();
        let calls: BTreeSet<_> = calls.map(|invite| (invite.to, invite.call_id)).collect();
        let mut counts = BTreeMap::new();
        for (number, _) in calls {
            *counts.entry(number).or_default() += 1;
        }
        counts
    }

    /// How often we hung the phone at `number` up that had answered, by the callee's own count; none on the simulator.
    #[must_use]
    pub fn byes_to(&self, number: &str) -> usize {
        match self {
            Self::Simulator { .. } => 0,
            Self::Asterisk(asterisk) => call_ids(asterisk.byes(), number).len(),
        }
    }

    /// What ARI answers to a `GET`; `None` unless that is a success.
    pub async fn get(&self, path: &str) -> Option<serde_json::Value> {
        let (url, username, password) = self.ari();
        let request = reqwest::Client::new()
            .get(format!("{url}/{path}"))
            .basic_auth(username, Some(password))
            .timeout(Duration::from_secs(5));
        let answer = request.send().await.ok()?.error_for_status().ok()?;
        answer.json().await.ok()
    }

    /// When the phone at `number` was talked to, by the callee's own log, if it was answered once; none on the
    /// simulator.
    #[must_use]
    pub fn talk_with(&self, number: &str) -> Option<Talk> {
        let Self::Asterisk(asterisk) = self else {
            return None;
        };
        let mut talk = None;
        for line in asterisk.callee_log() {
            match (line.what, &mut talk) {
                _ if line.to != number => {}
                (What::Answered, _) => {
                    talk = Some(Talk {
                        from: line.at,
                        until: None,
                    });
                }
                (What::Bye | What::Over, Some(talk)) => talk.until = Some(line.at),
                _ => {}
            }
        }
        talk
    }

    /// The channels whose ids are among `ids`.
    pub async fn channels_among(&self, ids: &[String]) -> Vec<String> {
        let all = self.channels().await.into_iter();
        all.filter(|id| ids.contains(id)).collect()
    }

    /// All channels, each once: Asterisk may list a channel twice while others come and go.
    pub async fn channels(&self) -> BTreeSet<String> {
        let channels = self.get("channels").await.expect("a list of channels");
        let all = channels.as_array().expect("a list").iter();
        all.filter_map(|channel| channel["id"].as_str())
            .map(str::to_owned)
            .collect()
    }

    /// A context in which an answered call stays until somebody hangs up.
    #[must_use]
    pub const fn lasting_context(&self) -> &'static str {
        match self {
            Self::Asterisk(_) => "hold",
            // Its other contexts are an IVR that hangs up; this one has a second phone.
            Self::Simulator { .. } => "bridged",
        }
    }

    /// Ends a channel as ARI does, whosever it is.
    pub async fn end_channel(&self, id: &str) {
        let (url, username, password) = self.ari();
        let request = reqwest::Client::new().delete(format!("{url}/channels/{id}"));
        let request = request.basic_auth(username, Some(password));
        let response = request.send().await.expect("an answer from ARI");
        assert!(response.status().is_success(), "{}", response.status());
    }
}

/// Which PBX a test has for itself: it may be restarted, starved and configured anew.
#[derive(Clone, Debug)]
pub enum Own {
    /// A simulator.
    Simulator,
    /// A real Asterisk.
    Asterisk(Extras),
}

impl Own {
    /// Starts it. It has a trunk whose provider can be silenced.
    ///
    /// # Panics
    /// If this machine cannot have one.
    pub async fn start(self) -> Arc<Pbx> {
        let pbx = match self {
            Self::Simulator => {
                let pbx = Pbx::simulator().await;
                if let Pbx::Simulator { simulator, .. } = &pbx {
                    simulator.set_trunk(QUALIFIED, TrunkState::Online);
                }
                pbx
            }
            Self::Asterisk(extras) => {
                let asterisk = Asterisk::own(&extras).unwrap_or_else(|error| panic!("{error}"));
                asterisk.wait_until_ready().await;
                let pbx = Pbx::Asterisk(Box::new(asterisk));
                // Until it has asked the provider once, Asterisk takes the trunk for offline and calls over it all
                // the same.
                pbx.silence_provider(false).await;
                pbx
            }
        };
        Arc::new(pbx)
    }
}

/// A conversation, by the callee's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Talk {
    /// When the callee answered.
    pub from: Duration,
    /// When one of the two hung up, if that was heard.
    pub until: Option<Duration>,
}

impl Talk {
    /// How long it lasted, if its end was heard.
    #[must_use]
    pub fn lasting(&self) -> Option<Duration> {
        Some(self.until?.saturating_sub(self.from))
    }
}

/// The calls to `number` among these.
fn call_ids(log: Vec<Logged>, number: &str) -> BTreeSet<String> {
    let of_number = log.into_iter().filter(|line| line.to == number);
    of_number.map(|line| line.call_id).collect()
}
