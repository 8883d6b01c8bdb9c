//! Why a call waits in the queue although a bridge has received it.

use std::fmt;
use std::str::FromStr;

/// Why nobody could be called when a bridge last tried. The wire names are part of the API; new
/// ones may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitingReason {
    /// The trunk is offline, or Asterisk makes no channel for it.
    TrunkUnavailable,
    /// Asterisk makes no channels at all: a restart is pending, or it has no descriptors left.
    AsteriskRefuses,
    /// ARI does not answer.
    AsteriskUnreachable,
    /// An administrator has paused all calls.
    Paused,
    /// The bridge's clock is too far from AWS's.
    ClockWrong,
}

impl WaitingReason {
    /// All reasons.
    pub const ALL: [Self; 5] = [
        Self::TrunkUnavailable,
        Self::AsteriskRefuses,
        Self::AsteriskUnreachable,
        Self::Paused,
        Self::ClockWrong,
    ];

    /// The name in the API and in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TrunkUnavailable => "trunk_unavailable",
            Self::AsteriskRefuses => "asterisk_refuses",
            Self::AsteriskUnreachable => "asterisk_unreachable",
            Self::Paused => "paused",
            Self::ClockWrong => "clock_wrong",
        }
    }
}

impl fmt::Display for WaitingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a reason to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a reason to wait")]
pub struct UnknownWaitingReason;

impl FromStr for WaitingReason {
    type Err = UnknownWaitingReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or(UnknownWaitingReason)
    }
}
