//! A real Asterisk with a SIP trunk to a real SIP callee.
//!
//! On a Debian machine as root it runs from a root file system that `tests/asterisk/rootfs` makes
//! once. Elsewhere `E2E_ARI_HTTP_URL` names one that is there, such as a container's, with the configuration
//! in `tests/asterisk/etc`; then `E2E_ARI_USERNAME`, `E2E_ARI_PASSWORD` and `E2E_CALLEE_PORT` go with it.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use uuid::Uuid;

use crate::ports::{free_tcp, free_udp};
use crate::tls::{Authority, Secured};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// How long an Asterisk may take to start.
const READY_WITHIN: Duration = Duration::from_mins(1);

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
}

/// An Asterisk of our own.
struct Instance {
    root: PathBuf,
    /// Its folder as it sees it, and as we do.
    inside: String,
    outside: PathBuf,
    process: Mutex<Child>,
}

impl Asterisk {
    /// Starts one on free ports.
    ///
    /// # Errors
    /// What this machine lacks, and what to do about it.
    pub fn start() -> Result<Self, String> {
        if let Ok(url) = std::env::var("E2E_ARI_HTTP_URL") {
            return Self::given(url);
        }
        let root = run(
            "rootfs",
            &mut Command::new(Path::new(HERE).join("asterisk/rootfs")),
        )?;
        let root = PathBuf::from(root.trim());
        let silent =
            UdpSocket::bind(("127.0.0.1", 0)).map_err(|error| format!("no UDP port: {error}"))?;
        let silent_port = silent
            .local_addr()
            .map_err(|error| error.to_string())?
            .port();
        let callee = Callee::start(free_udp(), Some(silent))?;

        let name = Uuid::new_v4().to_string();
        let inside = format!("/instances/{name}");
        let outside = root.join("instances").join(&name);
        let (ari_port, password) = (free_tcp(), Uuid::new_v4().simple().to_string());
        let (tls_port, authority) = (free_tcp(), Authority::new());
        let values = [
            ("@DIR@", inside.clone()),
            ("@ARI_PORT@", ari_port.to_string()),
            ("@ARI_TLS_PORT@", tls_port.to_string()),
            ("@ARI_USERNAME@", "e2e".to_owned()),
            ("@ARI_PASSWORD@", password.clone()),
            ("@SIP_PORT@", free_udp().to_string()),
            ("@CALLEE_PORT@", callee.port.to_string()),
            ("@SILENT_PORT@", silent_port.to_string()),
        ];
        write_configuration(&outside, &values)
            .and_then(|()| {
                let (certificate, key) = authority.certify();
                fs::write(outside.join("etc/ari.pem"), certificate.pem())?;
                fs::write(outside.join("etc/ari.key"), key.serialize_pem())
            })
            .map_err(|error| format!("{}: {error}", outside.display()))?;
        let process = Mutex::new(spawn(&root, &inside)?);
        Ok(Self {
            url: format!("http://127.0.0.1:{ari_port}/ari"),
            username: "e2e".to_owned(),
            password,
            secured: Some(Box::new(Secured {
                url: format!("https://localhost:{tls_port}/ari"),
                authority: authority.certificate,
            })),
            instance: Some(Instance {
                root,
                inside,
                outside,
                process,
            }),
            callee,
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
        })
    }

    /// The process, if it is one of our own.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        let process = self.instance.as_ref()?.process.lock().ok()?;
        Some(process.id())
    }

    /// Kills it with everything that it was doing, and starts it again.
    ///
    /// # Panics
    /// If it is not one of our own.
    pub fn restart(&self) {
        let instance = self
            .instance
            .as_ref()
            .expect("an Asterisk of our own: E2E_ARI_HTTP_URL names one that cannot be restarted");
        let mut process = instance.process.lock().expect("no panic");
        let _ = process.kill();
        let _ = process.wait();
        *process = spawn(&instance.root, &instance.inside).expect("Asterisk starts again");
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

    /// The INVITEs that the callee received.
    #[must_use]
    pub fn invites(&self) -> Vec<Received> {
        self.callee.received("INVITE ")
    }

    /// The BYEs that the callee received.
    #[must_use]
    pub fn byes(&self) -> Vec<Received> {
        self.callee.received("BYE ")
    }

    fn log(&self) -> String {
        let Some(instance) = &self.instance else {
            return String::new();
        };
        fs::read_to_string(instance.outside.join("log/messages")).unwrap_or_default()
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

impl Drop for Asterisk {
    fn drop(&mut self) {
        if let Some(instance) = self.instance.take() {
            let mut process = instance.process.lock().expect("no panic");
            let _ = process.kill();
            let _ = process.wait();
            let _ = fs::remove_dir_all(&instance.outside);
        }
    }
}

fn write_configuration(dir: &Path, values: &[(&str, String)]) -> std::io::Result<()> {
    for folder in ["etc", "lib", "cache", "spool", "run", "log"] {
        fs::create_dir_all(dir.join(folder))?;
    }
    for file in fs::read_dir(Path::new(HERE).join("asterisk/etc"))? {
        let file = file?;
        let mut text = fs::read_to_string(file.path())?;
        for (name, value) in values {
            text = text.replace(name, value);
        }
        fs::write(dir.join("etc").join(file.file_name()), text)?;
    }
    Ok(())
}

/// A request that the SIP callee received and logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The Call-ID, which is one for a call however often its INVITE is repeated.
    pub call_id: String,
    /// The number in the To header.
    pub to: String,
    /// The From header; empty for a BYE.
    pub from: String,
}

impl Received {
    /// Reads `CALL-ID to TO from FROM`; the last two words are missing for a BYE.
    fn read(line: &str) -> Option<Self> {
        let (call_id, rest) = line.split_once(" to ")?;
        let (to, from) = rest.split_once(" from ").unwrap_or((rest, ""));
        let to = to.split_once("sip:")?.1.split_once('@')?.0;
        Some(Self {
            call_id: call_id.to_owned(),
            to: to.to_owned(),
            from: from.to_owned(),
        })
    }
}

/// A SIP callee: sipp with `callee.xml`.
struct Callee {
    port: u16,
    process: Child,
    dir: tempfile::TempDir,
    /// Where nobody ever answers.
    _silent: Option<UdpSocket>,
}

impl Callee {
    fn start(port: u16, silent: Option<UdpSocket>) -> Result<Self, String> {
        let dir = tempfile::tempdir().map_err(|error| format!("no temporary folder: {error}"))?;
        let process = Command::new("setpriv")
            .args([
                "--pdeathsig",
                "KILL",
                "sipp",
                "-nostdin",
                "-i",
                "127.0.0.1",
                "-p",
            ])
            .arg(port.to_string())
            .arg("-sf")
            .arg(Path::new(HERE).join("asterisk/callee.xml"))
            .args(["-trace_logs", "-log_file"])
            .arg(dir.path().join("invites.log"))
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

    fn received(&self, what: &str) -> Vec<Received> {
        let text = fs::read_to_string(self.dir.path().join("invites.log")).unwrap_or_default();
        // A line that is being written ends in no line feed yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole
            .lines()
            .filter_map(|line| Received::read(line.strip_prefix(what)?))
            .collect()
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn run(name: &str, command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{name} could not be run: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "{name}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}
