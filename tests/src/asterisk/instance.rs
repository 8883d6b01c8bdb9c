//! An Asterisk of our own: its configuration, its process, and what is done to it.

use std::collections::BTreeSet;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use uuid::Uuid;

use super::HERE;
use crate::ports::{lasting_tcp, lasting_udp};
use crate::tls::{Authority, Secured};

/// Its process and its files.
pub struct Instance {
    root: PathBuf,
    /// Its folder as it sees it, and as we do.
    inside: String,
    outside: PathBuf,
    process: Mutex<Child>,
}

/// What one Asterisk is configured with.
pub(super) struct Configuration {
    /// Where it finds the others.
    pub ports: Ports,
    /// Lines that are added to the files of `tests/asterisk/etc`, by the file's name.
    pub added: Vec<(&'static str, &'static str)>,
}

/// The ports of those that it talks to, and its own for audio.
pub(super) struct Ports {
    /// The callee's.
    pub callee: u16,
    /// Where nobody answers.
    pub silent: u16,
    /// The provider's, if there is one.
    pub provider: Option<u16>,
    /// Where its end of the audio is.
    pub rtp: RangeInclusive<u16>,
}

/// A started Asterisk, and how to reach it.
pub(super) struct Started {
    pub instance: Instance,
    pub url: String,
    pub username: String,
    pub password: String,
    pub secured: Secured,
}

impl Instance {
    /// The root file system that it runs in.
    #[must_use]
    pub fn root(&self) -> &Path {
        // `instances/NAME` in it is this instance's own.
        self.outside.ancestors().nth(2).unwrap_or(&self.outside)
    }

    /// Starts one on free ports. It does not answer yet.
    pub(super) fn start(configuration: &Configuration) -> Result<Started, String> {
        let root = root()?;
        let name = Uuid::new_v4().to_string();
        let inside = format!("/instances/{name}");
        let outside = root.join("instances").join(&name);
        let (ari_port, username) = (lasting_tcp(), "e2e".to_owned());
        let password = Uuid::new_v4().simple().to_string();
        let (tls_port, authority) = (lasting_tcp(), Authority::new());
        let ports = &configuration.ports;
        let values = [
            ("@DIR@", inside.clone()),
            ("@ARI_PORT@", ari_port.to_string()),
            ("@ARI_TLS_PORT@", tls_port.to_string()),
            ("@ARI_USERNAME@", username.clone()),
            ("@ARI_PASSWORD@", password.clone()),
            ("@SIP_PORT@", lasting_udp().to_string()),
            ("@CALLEE_PORT@", ports.callee.to_string()),
            ("@SILENT_PORT@", ports.silent.to_string()),
            (
                "@PROVIDER_PORT@",
                ports.provider.unwrap_or(ports.silent).to_string(),
            ),
            ("@RTP_START@", ports.rtp.start().to_string()),
            ("@RTP_END@", ports.rtp.end().to_string()),
        ];
        write_configuration(&outside, &values, &configuration.added)
            .and_then(|()| {
                let (certificate, key) = authority.certify();
                fs::write(outside.join("etc/ari.pem"), certificate.pem())?;
                fs::write(outside.join("etc/ari.key"), key.serialize_pem())
            })
            .map_err(|error| format!("{}: {error}", outside.display()))?;
        let process = Mutex::new(spawn(&root, &inside)?);
        Ok(Started {
            instance: Self {
                root,
                inside,
                outside,
                process,
            },
            url: format!("http://127.0.0.1:{ari_port}/ari"),
            username,
            password,
            secured: Secured {
                url: format!("https://localhost:{tls_port}/ari"),
                authority: authority.certificate,
            },
        })
    }

    /// Its process.
    pub(super) fn process(&self) -> u32 {
        self.process.lock().expect("no panic").id()
    }

    /// What it has logged.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.outside.join("log/messages")).unwrap_or_default()
    }

    /// Ends it with everything that it was doing.
    pub fn kill(&self) {
        let mut process = self.process.lock().expect("no panic");
        let _ = process.kill();
        let _ = process.wait();
    }

    /// Starts it again after [`Instance::kill`], or after its own end.
    pub fn start_again(&self) {
        let mut process = self.process.lock().expect("no panic");
        let _ = process.wait();
        *process = spawn(&self.root, &self.inside).expect("Asterisk starts again");
    }

    /// Kills it, and starts it again.
    pub(super) fn restart(&self) {
        self.kill();
        self.start_again();
    }

    /// Runs a command as `asterisk -rx` does; what it prints.
    pub async fn cli(&self, command: &str) -> String {
        let output = tokio::process::Command::new("chroot")
            .arg(&self.root)
            .args(["asterisk", "-C", &self.configuration(), "-rx", command])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("chroot");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{command}: {text}");
        text
    }

    /// Changes a file of its configuration; Asterisk reads it at its next reload.
    pub fn configure(&self, file: &str, change: impl FnOnce(String) -> String) {
        let path = self.outside.join("etc").join(file);
        let text = fs::read_to_string(&path).expect("a file of the configuration");
        fs::write(&path, change(text)).expect("a writable file");
    }

    /// Leaves it so many file descriptors to open; `None` gives them back.
    pub fn limit_descriptors(&self, left: Option<usize>) {
        let id = self.process();
        let limit = left.map_or_else(
            || "4096".to_owned(),
            |left| {
                let used: BTreeSet<usize> = fs::read_dir(format!("/proc/{id}/fd"))
                    .expect("a running process")
                    .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
                    .collect();
                // The limit is that of the highest number, and the lowest free one is taken next.
                let first_refused = (0..).filter(|number| !used.contains(number)).nth(left);
                first_refused.expect("a free number").to_string()
            },
        );
        let status = Command::new("prlimit")
            .args(["--pid", &id.to_string(), &format!("--nofile={limit}:")])
            .status()
            .expect("prlimit");
        assert!(status.success());
    }

    fn configuration(&self) -> String {
        format!("{}/etc/asterisk.conf", self.inside)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.outside);
    }
}

/// The root file system with Asterisk in it, which is made if it is not there.
fn root() -> Result<PathBuf, String> {
    let script = Path::new(HERE).join("asterisk/rootfs");
    let output = Command::new(&script)
        .output()
        .map_err(|error| format!("{} could not be run: {error}", script.display()))?;
    if output.status.success() {
        Ok(PathBuf::from(
            String::from_utf8_lossy(&output.stdout).trim(),
        ))
    } else {
        Err(format!(
            "rootfs: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

fn spawn(root: &Path, inside: &str) -> Result<Child, String> {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "chroot"])
        .arg(root)
        .args(["asterisk", "-f", "-U", "root", "-G", "root", "-C"])
        .arg(format!("{inside}/etc/asterisk.conf"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("Asterisk could not be started: {error}"))
}

fn write_configuration(
    dir: &Path,
    values: &[(&str, String)],
    added: &[(&str, &str)],
) -> std::io::Result<()> {
    for folder in ["etc", "lib", "cache", "spool", "run", "log"] {
        fs::create_dir_all(dir.join(folder))?;
    }
    for file in fs::read_dir(Path::new(HERE).join("asterisk/etc"))? {
        let file = file?;
        let mut text = fs::read_to_string(file.path())?;
        for (_, lines) in added.iter().filter(|(name, _)| file.file_name() == *name) {
            text.push_str(lines);
        }
        for (name, value) in values {
            text = text.replace(name, value);
        }
        fs::write(dir.join("etc").join(file.file_name()), text)?;
    }
    Ok(())
}
