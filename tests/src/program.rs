//! Programs of this workspace, run as their users run them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::footprint::Footprint;

/// How long a program may take to do what is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// Where cargo has put `name`: beside this test.
#[must_use]
pub fn path(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("this program's path");
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join(name)
}

/// A running program.
pub struct Program {
    child: Child,
    /// What it has complained about and has been read.
    complaints: String,
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status.
    pub code: Option<i32>,
    /// What it wrote.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Program {
    /// Runs `name` with nothing but this environment.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str], environment: &BTreeMap<String, String>) -> Self {
        Self::spawn(name, arguments, environment, Stdio::piped(), Stdio::piped())
    }

    /// The same with its complaints in a file and its output nowhere: a pipe that nobody reads stops what writes to it.
    #[must_use]
    pub fn start_logging(
        name: &str,
        arguments: &[&str],
        environment: &BTreeMap<String, String>,
        log: File,
    ) -> Self {
        Self::spawn(name, arguments, environment, Stdio::null(), log.into())
    }

    fn spawn(
        name: &str,
        arguments: &[&str],
        environment: &BTreeMap<String, String>,
        stdout: Stdio,
        stderr: Stdio,
    ) -> Self {
        let child = Command::new(path(name))
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", path(name).display()));
        Self {
            child,
            complaints: String::new(),
        }
    }

    /// Its process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("a running program")
    }

    /// What it takes of the machine now.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        Footprint::of(self.id()).expect("a running program")
    }

    /// Gives the program its standard input, whole.
    pub async fn feed(&mut self, text: &str) {
        use tokio::io::AsyncWriteExt;

        let mut stdin = self.child.stdin.take().expect("its input");
        stdin
            .write_all(text.as_bytes())
            .await
            .expect("the program reads");
    }

    /// Reads what it complains about until a line holds `wanted`.
    pub async fn wait_for_error(&mut self, wanted: &str) -> String {
        let stderr = self.child.stderr.take().expect("its complaints");
        let mut lines = BufReader::new(stderr);
        let reading = async {
            loop {
                let mut line = String::new();
                let read = lines.read_line(&mut line).await.expect("its complaints");
                self.complaints.push_str(&line);
                if read == 0 || line.contains(wanted) {
                    return;
                }
            }
        };
        let in_time = timeout(PATIENCE, reading).await.is_ok();
        assert!(
            in_time && self.complaints.contains(wanted),
            "it never complained about {wanted:?}:\n{}",
            self.complaints
        );
        self.child.stderr = Some(lines.into_inner());
        self.complaints.clone()
    }

    /// Reads what it writes until a line holds `wanted`; returns all that was read.
    pub async fn wait_for_line(&mut self, wanted: &str) -> String {
        let stdout = self.child.stdout.take().expect("its output");
        let mut lines = BufReader::new(stdout);
        let mut text = String::new();
        let reading = async {
            loop {
                let mut line = String::new();
                let read = lines.read_line(&mut line).await.expect("its output");
                text.push_str(&line);
                if read == 0 || line.contains(wanted) {
                    return;
                }
            }
        };
        if timeout(PATIENCE, reading).await.is_err() || !text.contains(wanted) {
            let mut errors = String::new();
            let _ = self.child.start_kill();
            if let Some(mut stderr) = self.child.stderr.take() {
                let _ = stderr.read_to_string(&mut errors).await;
            }
            panic!("the program never wrote {wanted:?}:\n{text}\n{errors}");
        }
        self.child.stdout = Some(lines.into_inner());
        text
    }

    /// Sends a signal, by its name.
    pub async fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &id])
            .status()
            .await
            .expect("kill");
        assert!(status.success());
    }

    /// Kills it, and waits until it is gone with its ports.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a running program");
    }

    /// Waits for its end.
    pub async fn wait(self) -> Ended {
        let output = timeout(PATIENCE, self.child.wait_with_output());
        let output = output
            .await
            .expect("the program ends in time")
            .expect("its output");
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: self.complaints + &String::from_utf8_lossy(&output.stderr),
        }
    }
}
