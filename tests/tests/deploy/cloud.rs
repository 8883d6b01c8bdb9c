//! The template in a cloud of this machine: what `infra/deploy/local-cloud` deploys, and a way to ask and change it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use e2e::program::Program;
use e2e::tap::{self, NOBODY, Tap};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// The name of the stack, as samconfig.toml has it.
const STACK: &str = "outbound-calls";

/// How long a deployment may take, and an answer of the cloud.
const DEPLOYED_WITHIN: Duration = Duration::from_mins(5);
const ANSWERED_WITHIN: Duration = Duration::from_mins(1);

/// The deployed template.
pub struct Cloud {
    /// The stack's name.
    pub stack: &'static str,
    /// Its files.
    pub work: tempfile::TempDir,
    /// The stack's outputs.
    pub outputs: BTreeMap<String, String>,
    /// What AWS's tools and `admin` need.
    pub environment: BTreeMap<String, String>,
    /// The physical id of each of its resources, and what it is.
    pub resources: BTreeMap<String, (String, String)>,
    /// What functions and bridges ask goes through this. A stack beside another uses the other's.
    tap: Option<Tap>,
    /// What its alarms would be, by their names in the template. The cloud of this machine makes none.
    pub alarms: BTreeMap<String, Value>,
    /// Whose each access key is.
    keys: BTreeMap<String, String>,
    script: Child,
    aws: Aws,
}

impl Cloud {
    /// Deploys what `sam build` has put into the folder `DEPLOY_BUILT`.
    pub async fn deploy(parameters: &[&str]) -> Self {
        let tap = Tap::start(|_| ()).await;
        let through = tap.url();
        Self::start(STACK, Some(tap), &["--through", &through], parameters).await
    }

    /// Deploys the same as another stack into the cloud of a stack that is there.
    pub async fn deploy_beside(
        other: Neighbour,
        stack: &'static str,
        parameters: Vec<String>,
    ) -> Self {
        let beside = ["--beside", &other.work, "--through", &other.through];
        let parameters: Vec<_> = parameters.iter().map(String::as_str).collect();
        Self::start(stack, None, &beside, &parameters).await
    }

    /// What a stack beside this one needs to know of it.
    pub fn as_neighbour(&self) -> Neighbour {
        Neighbour {
            work: self.work.path().display().to_string(),
            through: self.tap.as_ref().map(Tap::url).unwrap_or_default(),
        }
    }

    async fn start(
        stack: &'static str,
        tap: Option<Tap>,
        options: &[&str],
        parameters: &[&str],
    ) -> Self {
        let work = tempfile::tempdir().expect("a temporary folder");
        let built = std::env::var_os("DEPLOY_BUILT").expect("DEPLOY_BUILT: tests/deploy sets it");
        // It ends with this test, however that ends.
        let mut script = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(repository().join("infra/deploy/local-cloud"))
            .args(["--stack", stack])
            .args(options)
            .arg("--built")
            .arg(built)
            .arg("--work")
            .arg(work.path())
            .args(parameters)
            .stdout(Stdio::piped())
            .spawn()
            .expect("infra/deploy/local-cloud");
        let mut lines = BufReader::new(script.stdout.take().expect("its output")).lines();
        let ready = async {
            loop {
                match lines.next_line().await.expect("its output") {
                    Some(line) if line.starts_with("ready") => return,
                    Some(_) => {}
                    None => panic!("the template could not be deployed; see above"),
                }
            }
        };
        timeout(DEPLOYED_WITHIN, ready)
            .await
            .expect("the template is deployed in time");
        let environment = read_variables(&work.path().join("environment"));
        if let Some(tap) = &tap {
            tap.lead_to(&environment["AWS_ENDPOINT_URL"]);
        }
        let alarms = fs::read(work.path().join("alarms")).expect("the alarms");
        let mut cloud = Self {
            stack,
            outputs: read_variables(&work.path().join("outputs")),
            keys: read_variables(&work.path().join("keys")),
            alarms: serde_json::from_slice(&alarms).expect("JSON"),
            resources: BTreeMap::new(),
            aws: Aws::start(&environment).await,
            work,
            environment,
            tap,
            script,
        };
        let parameters = json!({"StackName": stack});
        let described = cloud
            .ask("cloudformation", "describe_stack_resources", parameters)
            .await;
        for resource in described["StackResources"]
            .as_array()
            .expect("its resources")
        {
            let text = |name: &str| resource[name].as_str().unwrap_or_default().to_owned();
            let (logical, physical) = (text("LogicalResourceId"), text("PhysicalResourceId"));
            cloud
                .resources
                .insert(logical, (physical, text("ResourceType")));
        }
        cloud
    }

    /// Where the API is. By this address `/health` is the API's, too, and not the cloud's own.
    pub fn api(&self) -> String {
        let endpoint = &self.environment["AWS_ENDPOINT_URL"];
        format!(
            "{endpoint}/_aws/execute-api/{}/$default",
            self.id("HttpApi")
        )
    }

    /// The physical id of a resource.
    pub fn id(&self, logical: &str) -> &str {
        &self.resources[logical].0
    }

    /// The resources of a type.
    pub fn of_type(&self, wanted: &str) -> Vec<String> {
        let all = self.resources.iter();
        all.filter(|(_, (_, kind))| kind == wanted)
            .map(|(logical, _)| logical.clone())
            .collect()
    }

    /// The environment of the bridge `bridge1`, with its role and nothing else.
    pub fn bridge_environment(&self) -> BTreeMap<String, String> {
        read_variables(&self.work.path().join("bridge-bridge1"))
    }

    /// Asks the cloud as boto3 does.
    pub async fn try_ask(
        &mut self,
        service: &str,
        operation: &str,
        parameters: Value,
    ) -> Result<Value, String> {
        let request = json!({"service": service, "operation": operation, "parameters": parameters});
        let answer = self.aws.ask(&request).await;
        match answer["error"].as_str() {
            Some(error) => Err(format!("{service} {operation}: {error}")),
            None => Ok(answer["answer"].clone()),
        }
    }

    /// The same of what is not refused.
    pub async fn ask(&mut self, service: &str, operation: &str, parameters: Value) -> Value {
        let answer = self.try_ask(service, operation, parameters).await;
        answer.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Keeps what functions and bridges of this stack and of the one beside it have asked, and says how many kinds of
    /// requests that were.
    pub fn keep_asked(&self) -> usize {
        let asked = self.tap.as_ref().map(Tap::asked).unwrap_or_default();
        let lines: Vec<_> = asked
            .iter()
            .map(|asked| {
                let who = self.keys.get(&asked.key).map_or(NOBODY, String::as_str);
                asked.line(who)
            })
            .collect();
        tap::keep(&lines.concat());
        lines.len()
    }

    /// Also recognises the access keys of a stack beside this one, whose programs ask through the same proxy.
    pub fn know_keys_of(&mut self, other: &Self) {
        self.keys.extend(other.keys.clone());
    }

    /// Takes it down.
    pub async fn stop(mut self) {
        if let Some(id) = self.script.id() {
            let told = Command::new("kill").arg(id.to_string()).status().await;
            if told.is_ok_and(|status| status.success()) {
                let ended = timeout(ANSWERED_WITHIN, self.script.wait()).await;
                ended.expect("the cloud ends").expect("its status");
            }
        }
    }

    /// Runs `admin` as an administrator does, and returns what it writes.
    pub async fn admin(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut admin = Program::start("admin", arguments, &self.environment);
        admin.feed(input).await;
        let ended = admin.wait().await;
        match ended.code {
            Some(0) => Ok(ended.stdout),
            code => Err(format!("admin ended with {code:?}: {}", ended.stderr)),
        }
    }
}

/// A stack beside which another can be deployed.
pub struct Neighbour {
    work: String,
    through: String,
}

/// boto3, in a process of its own.
struct Aws {
    _process: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Aws {
    async fn start(environment: &BTreeMap<String, String>) -> Self {
        let found = Command::new(repository().join("infra/deploy/tool"))
            .arg("sam")
            .output()
            .await
            .expect("infra/deploy/tool");
        let programs = PathBuf::from(String::from_utf8_lossy(&found.stdout).trim());
        let mut process = Command::new(programs.join("python"))
            .arg(repository().join("tests/tests/deploy/aws.py"))
            .env_clear()
            .env("HOME", "/nonexistent")
            .envs(environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python");
        Self {
            requests: process.stdin.take().expect("its input"),
            answers: BufReader::new(process.stdout.take().expect("its output")).lines(),
            _process: process,
        }
    }

    async fn ask(&mut self, request: &Value) -> Value {
        let line = format!("{request}\n");
        self.requests
            .write_all(line.as_bytes())
            .await
            .expect("it reads");
        let answer = timeout(ANSWERED_WITHIN, self.answers.next_line()).await;
        let answer = answer.expect("an answer in time").expect("an answer");
        serde_json::from_str(&answer.expect("an answer")).expect("JSON")
    }
}

/// The root of the repository.
fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A file of variables.
fn read_variables(path: &Path) -> BTreeMap<String, String> {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
