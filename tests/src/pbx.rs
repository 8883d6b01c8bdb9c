//! What the calls go through: the scenarios are the same on both.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use simulator::{Credentials, Simulator};

use crate::asterisk::{Asterisk, Received};
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
    Asterisk(Asterisk),
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
        Self::Simulator {
            simulator,
            password,
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
        if let Self::Asterisk(Asterisk {
            secured: Some(secured),
            ..
        }) = self
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
            Self::Simulator { simulator, .. } => simulator.dials_to(&format!("{number}@trunk")),
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

    /// The channels whose ids are among `ids`.
    pub async fn channels_among(&self, ids: &[String]) -> Vec<String> {
        let all = self.channels().await.into_iter();
        all.filter(|id| ids.contains(id)).collect()
    }

    /// All channels.
    pub async fn channels(&self) -> Vec<String> {
        let channels = self.get("channels").await.expect("a list of channels");
        let all = channels.as_array().expect("a list").iter();
        all.filter_map(|channel| channel["id"].as_str())
            .map(str::to_owned)
            .collect()
    }
}

/// The calls to `number` among these requests.
fn call_ids(requests: Vec<Received>, number: &str) -> BTreeSet<String> {
    let of_number = requests.into_iter().filter(|request| request.to == number);
    of_number.map(|request| request.call_id).collect()
}
