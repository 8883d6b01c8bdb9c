//! The SIP callee: sipp with `tests/asterisk/callee.xml`, and what it has logged.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::HERE;

/// A line of the callee's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// What happened.
    pub what: What,
    /// The Call-ID, which is one for a call however often its INVITE is repeated.
    pub call_id: String,
    /// When, since the callee was started.
    pub at: Duration,
    /// The number in the To header.
    pub to: String,
    /// The port that the caller of an INVITE expects audio at.
    pub audio: Option<u16>,
    /// The status that a REFER was answered with.
    pub status: Option<u16>,
    /// The From header of an INVITE.
    pub from: String,
}

/// What the callee logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It received an INVITE.
    Invite,
    /// It received the ACK of a call that it had answered.
    Answered,
    /// It received a BYE: the caller hung up.
    Bye,
    /// It hung up itself.
    Over,
    /// It asked to be transferred, and was answered.
    Refer,
}

impl Logged {
    /// Reads `WHAT CALL-ID at MILLISECONDS [audio PORT] [status STATUS] to TO [from FROM]`.
    fn read(line: &str) -> Option<Self> {
        let (head, rest) = line.split_once(" to ")?;
        let mut words = head.split(' ');
        let what = match words.next()? {
            "INVITE" => What::Invite,
            "ACK" => What::Answered,
            "BYE" => What::Bye,
            "OVER" => What::Over,
            "REFER" => What::Refer,
            _ => return None,
        };
        let (call_id, mut at, mut audio, mut status) = (words.next()?, None, None, None);
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            match name {
                "at" => at = value.parse().ok().map(Duration::from_millis),
                "audio" => audio = value.parse().ok(),
                "status" => status = value.parse().ok(),
                _ => {}
            }
        }
        let (to, from) = rest.split_once(" from ").unwrap_or((rest, ""));
        Some(Self {
            what,
            call_id: call_id.to_owned(),
            at: at?,
            to: to.split_once("sip:")?.1.split_once('@')?.0.to_owned(),
            audio,
            status,
            from: from.to_owned(),
        })
    }
}

/// A running callee.
pub(super) struct Callee {
    /// Where it listens.
    pub port: u16,
    process: Child,
    dir: tempfile::TempDir,
    /// Where nobody ever answers.
    _silent: Option<UdpSocket>,
}

impl Callee {
    /// Starts one; `silent` is kept open as long as it runs.
    pub fn start(port: u16, silent: Option<UdpSocket>) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "sipp", "-nostdin"])
            .args(["-i", "127.0.0.1", "-p", &port.to_string(), "-sf"])
            .arg(Path::new(HERE).join("asterisk/callee.xml"))
            .args(["-trace_logs", "-log_file"])
            .arg(dir.path().join("callee.log"))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| {
                format!("sipp (apt-get install sip-tester) could not be started: {error}")
            })?;
        Ok(Self {
            port,
            process,
            dir,
            _silent: silent,
        })
    }

    /// All that it has logged.
    pub fn log(&self) -> Vec<Logged> {
        let text = fs::read_to_string(self.dir.path().join("callee.log")).unwrap_or_default();
        // A line that is being written ends in no line feed yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter_map(Logged::read).collect()
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_log_are_read() {
        let line = "INVITE a-b-1 at 1203 audio 20422 to  <sip:+15550000200@127.0.0.1> from \
                    \"Acme\" <sip:+15550000100@127.0.0.1>;tag=7";
        let read = Logged::read(line).unwrap();
        assert_eq!(
            (read.what, read.call_id.as_str(), read.audio),
            (What::Invite, "a-b-1", Some(20_422))
        );
        assert_eq!(read.at, Duration::from_millis(1_203));
        assert_eq!(read.to, "+15550000200");
        assert!(read.from.contains("\"Acme\" <sip:+15550000100@"));
        let read = Logged::read("BYE a at 7 to <sip:1@127.0.0.1>;tag=8").unwrap();
        assert_eq!(
            (read.what, read.to.as_str(), read.audio),
            (What::Bye, "1", None)
        );
        let read = Logged::read("REFER a at 7 status 603 to <sip:1@127.0.0.1>").unwrap();
        assert_eq!((read.what, read.status), (What::Refer, Some(603)));
        for line in [
            "",
            "INVITE",
            "BYE a to <sip:1@h>",
            "Later a at 7 to <sip:1@h>",
        ] {
            assert_eq!(Logged::read(line), None, "{line}");
        }
    }
}
