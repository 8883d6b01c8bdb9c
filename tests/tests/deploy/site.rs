//! What the test stands on: the deployed template, a real Asterisk, a client of the API, and a bridge now and then.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use e2e::program::Program;
use e2e::world::source;
use e2e::{Client, Pbx, client};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cloud::Cloud;

/// The user of the test.
pub const USER: &str = "alice";
/// The user's password.
pub const PASSWORD: &str = "correct horse battery";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(40);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// All of it.
pub struct Site {
    /// The deployed template.
    pub cloud: Cloud,
    /// The real Asterisk.
    pub pbx: Arc<Pbx>,
    /// The client, with a token once there is one.
    pub api: Client,
    /// How many bridges there were.
    bridges: usize,
}

/// A running bridge.
pub struct Bridge {
    _program: Program,
    log: PathBuf,
}

impl Bridge {
    /// What was refused to it, as its log has it.
    fn refused(&self) -> Result<(), String> {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let refused = log.lines().find(|line| line.contains("AccessDenied"));
        refused.map_or(Ok(()), |line| Err(line.to_owned()))
    }

    /// How many lines of its log hold this.
    pub fn said(&self, wanted: &str) -> usize {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter(|line| line.contains(wanted)).count()
    }
}

impl Site {
    /// Around a deployed template.
    pub fn new(cloud: Cloud, pbx: Arc<Pbx>) -> Self {
        Self {
            api: Client::new(cloud.api(), String::new()),
            cloud,
            pbx,
            bridges: 0,
        }
    }

    /// Sends a request: the answer's status and body.
    pub async fn send(&self, request: RequestBuilder) -> Result<(u16, Value), String> {
        let response = request.send().await.map_err(|error| error.to_string())?;
        Ok(client::read(response).await)
    }

    /// The same of a request that has to be answered with this status.
    pub async fn expect(&self, status: u16, request: RequestBuilder) -> Result<Value, String> {
        let (given, body) = self.send(request).await?;
        if given == status {
            Ok(body)
        } else {
            Err(format!("{given} instead of {status}: {body}"))
        }
    }

    /// Asks for a call, and returns its id.
    pub async fn place(&self, number: &str, body: Value) -> Result<String, String> {
        let mut body = body;
        body["phone_number"] = json!(number);
        let request = self.api.request(Method::POST, "/api/v2/calls").json(&body);
        let placed = self.expect(202, request).await?;
        Ok(placed["call_id"].as_str().unwrap_or_default().to_owned())
    }

    /// The call as it is now.
    pub async fn call(&self, id: &str) -> Result<Value, String> {
        let path = format!("/api/v2/calls/{id}");
        self.expect(200, self.api.request(Method::GET, &path)).await
    }

    /// Asks to hang up.
    pub async fn hang_up(&self, id: &str) -> Result<Value, String> {
        let path = format!("/api/v2/calls/{id}/hangup");
        self.expect(202, self.api.request(Method::POST, &path))
            .await
    }

    /// Waits until the call has this status; a bridge to which something is refused ends that at once.
    pub async fn wait_for_status(
        &self,
        bridge: Option<&Bridge>,
        id: &str,
        wanted: &str,
    ) -> Result<Value, String> {
        let begun = Instant::now();
        loop {
            let call = self.call(id).await?;
            if call["status"] == wanted {
                return Ok(call);
            }
            if call["is_completed"] == true || begun.elapsed() > PATIENCE {
                return Err(format!("the call is not {wanted}: {call}"));
            }
            if let Some(bridge) = bridge {
                bridge.refused()?;
            }
            sleep(LOOK).await;
        }
    }

    /// Waits until `done` says so.
    pub async fn wait_until(
        &mut self,
        bridge: &Bridge,
        what: &str,
        mut done: impl AsyncFnMut(&mut Self) -> Result<bool, String>,
    ) -> Result<(), String> {
        let begun = Instant::now();
        while !done(self).await? {
            bridge.refused()?;
            if begun.elapsed() > PATIENCE {
                return Err(format!("never: {what}"));
            }
            sleep(LOOK).await;
        }
        bridge.refused()
    }

    /// The messages that are in a queue: those that wait, and those that were delivered.
    pub async fn messages(&mut self, queue: &str) -> (usize, usize) {
        let names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
        ];
        let which = json!({"QueueUrl": self.cloud.outputs[queue], "AttributeNames": names});
        let answer = self.cloud.ask("sqs", "get_queue_attributes", which).await;
        let number = |name: &str| {
            let text = answer["Attributes"][name].as_str();
            text.and_then(|text| text.parse().ok()).expect("a number")
        };
        (number(names[0]), number(names[1]))
    }

    /// Puts a message that says nothing into a queue.
    pub async fn send_nonsense(&mut self, queue: &str) {
        let message = json!({"QueueUrl": self.cloud.outputs[queue], "MessageBody": "?"});
        self.cloud.ask("sqs", "send_message", message).await;
    }

    /// Empties the bridge's queues. The cloud of this machine does not notice that whoever waits for
    /// messages is gone, and would give it those of the next bridge. Such waits are therefore given
    /// something first.
    pub async fn empty_queues(&mut self) {
        for queue in ["CallsQueueUrl", "ControlQueueUrlbridge1"] {
            let mut left = 0;
            while left == 0 {
                self.send_nonsense(queue).await;
                // Who waits looks every 100 ms.
                for _ in 0..5 {
                    sleep(LOOK).await;
                    left = self.messages(queue).await.0;
                    if left == 0 {
                        break;
                    }
                }
            }
            self.purge(queue).await;
        }
    }

    /// Empties a queue.
    pub async fn purge(&mut self, queue: &str) {
        let which = json!({"QueueUrl": self.cloud.outputs[queue]});
        self.cloud.ask("sqs", "purge_queue", which).await;
    }

    /// Forgets every bridge that there was.
    pub async fn forget_bridges(&mut self) {
        for key in ["bridges", "bridge#bridge1"] {
            let item = json!({
                "TableName": self.cloud.outputs["StateTable"],
                "Key": {"state_key": {"S": key}},
            });
            self.cloud.ask("dynamodb", "delete_item", item).await;
        }
    }

    /// Starts the real bridge with the role that the template gives it, and empty queues.
    pub async fn start_bridge(&mut self) -> Bridge {
        self.empty_queues().await;
        self.start_bridge_on_waiting_messages()
    }

    /// The same with what is in its queues.
    pub fn start_bridge_on_waiting_messages(&mut self) -> Bridge {
        let (url, username, password) = self.pbx.ari();
        let mut environment: BTreeMap<_, _> = self.cloud.bridge_environment();
        environment.extend(source(&[
            ("ARI_HTTP_URL", &url),
            ("ARI_USERNAME", &username),
            ("ARI_PASSWORD", &password),
            // Bridges of several stacks share one Asterisk.
            ("ARI_APP", self.cloud.stack),
            ("METRICS_ADDRESS", "127.0.0.1:0"),
        ]));
        self.bridges += 1;
        let log = self
            .cloud
            .work
            .path()
            .join(format!("bridge.{}.log", self.bridges));
        let file = File::create(&log).expect("a log");
        Bridge {
            _program: Program::start_logging("bridge", &[], &environment, file),
            log,
        }
    }
}
