//! The lease of a bridge's name (`BRIDGE_ID`): at most one process at a time acts under it.
//!
//! The lease is part of the heartbeat's item. Every heartbeat is a conditional write, so that the
//! table decides between two processes. A process keeps the lease until it gives the lease up or
//! another process takes it. The lease needs no clock: whoever waits counts by its own monotonic
//! clock how long the holder has been silent.

use domain::Timestamp;
use domain::rules::{Rule, kept};

/// Longest name of a process, a place or an Asterisk that is read.
const MAX_NAME: usize = 128;

/// What a process writes into the lease with each heartbeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseClaim {
    /// Names this process, and no other one ever.
    pub process: String,
    /// Names the machine on which the process runs, if that is known.
    pub place: Option<String>,
    /// The entity id of the Asterisk that the process works with. While its own Asterisk does not
    /// answer, a process writes what is stored. `None` if nothing is stored either.
    pub asterisk: Option<String>,
    /// The heartbeat of another process that may be replaced, because that process is gone.
    pub instead_of: Option<LastBeat>,
    /// The lease may change to this Asterisk, because the calls on the old one are over.
    pub moves: bool,
    /// This heartbeat is the last one: it gives the lease up.
    pub gives_up: bool,
}

/// Which heartbeat of which process was the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastBeat {
    /// The process.
    pub process: String,
    /// When the process wrote it, by its own clock.
    pub at: Timestamp,
}

/// A lease as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Who holds the lease, and when the holder was last heard. `None` if nobody holds it.
    pub holder: Option<LastBeat>,
    /// The machine of the holder, if that is known.
    pub place: Option<String>,
    /// The entity id of the Asterisk on which the calls of this name are, if that is known.
    pub asterisk: Option<String>,
}

impl Lease {
    /// Whether this process may write its heartbeat. The condition expression in
    /// [`crate::Heartbeats`] says the same.
    #[must_use]
    pub fn admits(&self, claim: &LeaseClaim) -> bool {
        let free = match &self.holder {
            None => true,
            Some(holder) => {
                holder.process == claim.process || claim.instead_of.as_ref() == Some(holder)
            }
        };
        let same = self.asterisk.is_none() || self.asterisk == claim.asterisk || claim.moves;
        (free || !kept(Rule::NameLeased)) && (same || !kept(Rule::AsteriskLeased))
    }

    /// The lease after the heartbeat `claim`, written at `at`.
    #[must_use]
    pub fn after(&self, claim: &LeaseClaim, at: Timestamp) -> Self {
        Self {
            holder: (!claim.gives_up).then(|| LastBeat {
                process: claim.process.clone(),
                at,
            }),
            place: claim.place.clone().filter(|_| !claim.gives_up),
            asterisk: claim.asterisk.clone(),
        }
    }
}

/// Why a process does not hold the lease of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeaseRefusal {
    /// Another process holds it, and that process lives.
    AnotherProcess,
    /// The calls of this name are on another Asterisk, and their deadlines are not past.
    AnotherAsterisk,
}

impl LeaseRefusal {
    /// Its name in `/health`, logs and the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AnotherProcess => "another_process",
            Self::AnotherAsterisk => "another_asterisk",
        }
    }
}

impl std::str::FromStr for LeaseRefusal {
    type Err = ();

    /// Reads a name; a release that is newer may have written one that is not known.
    fn from_str(name: &str) -> Result<Self, ()> {
        [Self::AnotherProcess, Self::AnotherAsterisk]
            .into_iter()
            .find(|refusal| refusal.as_str() == name)
            .ok_or(())
    }
}

impl std::fmt::Display for LeaseRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that another process wrote, if it has a sensible length.
pub(crate) fn name(text: &str) -> Option<String> {
    (1..=MAX_NAME)
        .contains(&text.len())
        .then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(process: &str, asterisk: &str) -> LeaseClaim {
        LeaseClaim {
            process: process.to_owned(),
            asterisk: Some(asterisk.to_owned()),
            ..LeaseClaim::default()
        }
    }

    const AT: Timestamp = Timestamp::from_millis(1_000);

    #[test]
    fn one_process_holds_a_name_until_it_is_given_up_or_gone() {
        let (one, two) = (claim("one", "a"), claim("two", "a"));
        let free = Lease::default();
        assert!(free.admits(&one));
        let held = free.after(&one, AT);
        assert!(held.admits(&one) && !held.admits(&two));
        let after_one = |at| LeaseClaim {
            instead_of: Some(LastBeat {
                process: "one".to_owned(),
                at,
            }),
            ..two.clone()
        };
        assert!(held.admits(&after_one(AT)));
        // The holder has been heard since.
        assert!(!held.admits(&after_one(Timestamp::from_millis(999))));
        let last = LeaseClaim {
            gives_up: true,
            ..one
        };
        assert!(held.after(&last, AT).admits(&two));
    }

    #[test]
    fn another_asterisk_is_refused_until_the_calls_are_over() {
        let held = Lease::default().after(&claim("one", "a"), AT);
        let elsewhere = claim("one", "b");
        assert!(!held.admits(&elsewhere));
        let moved = LeaseClaim {
            moves: true,
            ..elsewhere
        };
        assert!(held.admits(&moved));
        // A process that cannot ask its Asterisk has to write what is stored.
        let unknown = LeaseClaim {
            asterisk: None,
            ..claim("one", "")
        };
        assert!(!held.admits(&unknown));
        assert_eq!(held.after(&moved, AT).asterisk.as_deref(), Some("b"));
    }
}
