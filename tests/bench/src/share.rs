//! A share of the processors for a program: a control group. It takes root.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the share is dealt out; in microseconds.
const PERIOD: u32 = 20_000;

/// A control group with a share of the processors. It is removed with this.
pub struct Share {
    folder: PathBuf,
}

impl Share {
    /// With so much of one processor.
    pub fn of(name: &str, processors: f64) -> Self {
        let quota = format!("{:.0}", f64::from(PERIOD) * processors);
        let root = Path::new("/sys/fs/cgroup");
        // The older kind, and the newer one.
        let older = root.join("cpu/cpu.cfs_quota_us").exists();
        let folder = if older { root.join("cpu") } else { root.into() }.join(name);
        let write = |file: &str, text: String| {
            let path = folder.join(file);
            let written = fs::write(&path, text);
            written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        };
        fs::create_dir_all(&folder).expect("a control group: this takes root, and cgroups");
        if older {
            write("cpu.cfs_period_us", PERIOD.to_string());
            write("cpu.cfs_quota_us", quota);
        } else {
            write("cpu.max", format!("{quota} {PERIOD}"));
        }
        Self { folder }
    }

    /// A program has no more than this from now on.
    pub fn limit(&self, process: u32) {
        fs::write(self.folder.join("cgroup.procs"), process.to_string()).expect("its group");
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // It can be removed once its processes are gone, which may take a moment.
        let begun = Instant::now();
        while fs::remove_dir(&self.folder).is_err() && begun.elapsed() < Duration::from_secs(5) {
            std::thread::yield_now();
        }
    }
}
