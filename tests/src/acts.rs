//! What operators do to a PBX of a test's own, and what it runs out of: the same on a real Asterisk and on the
//! simulator.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use simulator::TrunkState;

use crate::Pbx;
use crate::ports::hold_udp;

/// The trunk whose provider can be silenced.
pub const QUALIFIED: &str = "qualified";
/// How long an Asterisk takes to restart at most, by itself: it waits for a minute for its websockets.
const HANGS_AFTER: Duration = Duration::from_secs(100);
/// Loads the trunks anew.
const RELOAD_TRUNKS: &str = "module reload res_pjsip.so";

/// RTP ports that nobody else can have until this is dropped.
pub struct Exhausted<'a> {
    pbx: &'a Pbx,
    _held: Vec<UdpSocket>,
}

impl Drop for Exhausted<'_> {
    fn drop(&mut self) {
        if let Pbx::Simulator { simulator, .. } = self.pbx {
            simulator.exhaust_rtp(false);
        }
    }
}

impl Pbx {
    /// Runs a command of Asterisk's; the simulator has none.
    pub async fn cli(&self, command: &str) {
        if let Self::Asterisk(asterisk) = self {
            asterisk.instance().cli(command).await;
        }
    }

    /// `core restart gracefully` or `core stop gracefully`: no channel is made from now on.
    pub async fn begin_to_end(&self, command: &str) {
        match self {
            Self::Asterisk(_) => self.cli(command).await,
            Self::Simulator { simulator, .. } => simulator.refuse_creates(true),
        }
    }

    /// `core abort shutdown`: channels are made again.
    pub async fn abort_end(&self) {
        match self {
            Self::Asterisk(_) => self.cli("core abort shutdown").await,
            Self::Simulator { simulator, .. } => simulator.refuse_creates(false),
        }
    }

    /// Waits until a restart that [`Pbx::begin_to_end`] began is over. It waits for the last call.
    pub async fn restarts(&self, before: &str) {
        if let Self::Simulator { simulator, .. } = self {
            while !self.channels().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            simulator.restart().await;
        }
        let restarts = async {
            while self
                .started_at()
                .await
                .is_none_or(|started| started == before)
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(HANGS_AFTER, restarts).await.is_ok() {
            return;
        }
        // Seen once: it closed its websockets and went no further.
        println!(
            "Asterisk hangs in its shutdown, and is killed:\n{}",
            self.log()
        );
        let asterisk = self.asterisk();
        asterisk.restart();
        asterisk.wait_until_ready().await;
    }

    /// `core restart now`: ends it with all its calls. Returns when it answers again.
    pub async fn restart_now(&self) {
        let before = self.started_at().await.expect("it answers");
        match self {
            Self::Asterisk(_) => {
                self.cli("core restart now").await;
                self.restarts(&before).await;
            }
            Self::Simulator { simulator, .. } => simulator.restart().await,
        }
    }

    /// When it was started, as it says itself.
    pub async fn started_at(&self) -> Option<String> {
        let info = self.get("asterisk/info").await?;
        Some(info["status"]["startup_time"].as_str()?.to_owned())
    }

    /// The last lines of what Asterisk has logged; the simulator logs nothing.
    #[must_use]
    pub fn log(&self) -> String {
        let Self::Asterisk(asterisk) = self else {
            return String::new();
        };
        let log = asterisk.log();
        let mut lines: Vec<_> = log.lines().rev().take(20).collect();
        lines.reverse();
        lines.join("\n")
    }

    /// Silences the provider behind the trunk [`QUALIFIED`], or lets it answer again. Returns when that is known
    /// here.
    pub async fn silence_provider(&self, silent: bool) {
        match self {
            Self::Asterisk(asterisk) => asterisk.provider().set_silent(silent),
            Self::Simulator { simulator, .. } => {
                let state = if silent {
                    TrunkState::Offline
                } else {
                    TrunkState::Online
                };
                simulator.set_trunk(QUALIFIED, state);
            }
        }
        let wanted = if silent { "offline" } else { "online" };
        let known = async {
            loop {
                let trunk = self.get(&format!("endpoints/PJSIP/{QUALIFIED}")).await;
                if trunk.is_some_and(|trunk| trunk["state"] == wanted) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(30), known).await;
        assert!(in_time.is_ok(), "the trunk is not {wanted}");
    }

    /// The codes with which the phone at this number took a call over the trunk [`QUALIFIED`], as far as Asterisk
    /// heard of them. The simulator dials nobody whom it does not hear, so that it has none to tell apart.
    #[must_use]
    pub fn heard_from(&self, number: &str) -> Option<BTreeSet<String>> {
        match self {
            Self::Asterisk(asterisk) => Some(asterisk.provider().heard_from(number)),
            Self::Simulator { .. } => None,
        }
    }

    /// Takes the trunk out of the configuration with a reload, or puts it back.
    pub async fn remove_trunk(&self, removed: bool) {
        match self {
            Self::Asterisk(asterisk) => {
                let (there, gone) = ("trunk", "no-trunk");
                let (from, to) = if removed {
                    (there, gone)
                } else {
                    (gone, there)
                };
                let section = |name: &str| format!("[{name}]");
                let aors = |name: &str| format!("aors = {name}\n");
                asterisk.instance().configure("pjsip.conf", |text| {
                    text.replace(&section(from), &section(to))
                        .replace(&aors(from), &aors(to))
                });
                self.cli(RELOAD_TRUNKS).await;
            }
            Self::Simulator { simulator, .. } => {
                let state = if removed {
                    TrunkState::Missing
                } else {
                    TrunkState::Online
                };
                simulator.set_trunk("trunk", state);
            }
        }
    }

    /// Leaves no file descriptor to open, or gives them back.
    pub fn exhaust_descriptors(&self, exhausted: bool) {
        match self {
            Self::Asterisk(asterisk) => {
                let left = exhausted.then_some(0);
                asterisk.instance().limit_descriptors(left);
            }
            Self::Simulator { simulator, .. } => simulator.refuse_creates(exhausted),
        }
    }

    /// Takes all RTP ports of this Asterisk that are free.
    #[must_use]
    pub fn exhaust_rtp(&self) -> Exhausted<'_> {
        let held = match self {
            Self::Asterisk(asterisk) => hold_udp(asterisk.rtp_ports()),
            Self::Simulator { simulator, .. } => {
                simulator.exhaust_rtp(true);
                Vec::new()
            }
        };
        Exhausted {
            pbx: self,
            _held: held,
        }
    }
}
