//! What a process takes of the machine.

use std::fmt;
use std::fs;

/// What a process takes, as Linux tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Resident memory, in KiB.
    pub memory: u64,
    /// Open file descriptors.
    pub files: u64,
}

impl Footprint {
    /// That of a process; `None` once it is gone.
    #[must_use]
    pub fn of(process: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let files = fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
        Some(Self {
            memory: resident.split_whitespace().next()?.parse().ok()?,
            files: files.try_into().ok()?,
        })
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, tenth) = (self.memory / 1024, self.memory % 1024 * 10 / 1024);
        write!(f, "{whole}.{tenth} MiB, {} files", self.files)
    }
}
