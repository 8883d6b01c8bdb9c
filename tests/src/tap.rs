//! Who asks what of AWS: a proxy that reads along, and keeps each kind of request once.
//!
//! Requests are told apart by the access key that they are signed with, so each program of a test has one of its own.
//! `infra/deploy/rights --asked` compares what is kept with what the roles of `template.yaml` allow.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Names the file in which a run of tests keeps what was asked; without it nothing is.
pub const KEPT_IN: &str = "E2E_ASKED";

/// The key of tests themselves, which have no role.
pub const NOBODY: &str = "local";

/// One kind of request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// The access key.
    pub key: String,
    /// The action, as IAM calls it.
    pub action: String,
    /// The table, index, queue or secret, as the template calls it.
    pub resource: String,
    /// The partition key in the table of state.
    pub item: String,
}

impl Asked {
    /// A line of the file: who, the action, the resource, the item.
    #[must_use]
    pub fn line(&self, who: &str) -> String {
        let own = format!("bridge#{who}");
        let item = match self.item.as_str() {
            item if item == own => "bridge#own",
            item if item.starts_with("bridge#") => "bridge#another",
            item => item,
        };
        let who = if who.starts_with("bridge") {
            "bridge"
        } else {
            who
        };
        format!("{who}\t{}\t{}\t{item}\n", self.action, self.resource)
    }
}

/// Whether what is asked is kept.
#[must_use]
pub fn is_kept() -> bool {
    std::env::var_os(KEPT_IN).is_some()
}

/// Adds lines to the file that [`KEPT_IN`] names.
pub fn keep(lines: &str) {
    let Some(path) = std::env::var_os(KEPT_IN).map(PathBuf::from) else {
        return;
    };
    // One write of a line or more to a file that is appended to: other programs of the run write there, too.
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file.write_all(lines.as_bytes()).expect("a writable file");
}

/// A proxy that reads along.
pub struct Tap {
    /// Where it listens.
    pub address: SocketAddr,
    target: watch::Sender<Option<String>>,
    asked: Arc<Mutex<BTreeSet<Asked>>>,
}

impl Tap {
    /// In front of a server that is named later; until then whoever connects waits. `each` is told of each kind of request
    /// the first time.
    pub async fn start(each: fn(&Asked)) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (target, targets) = watch::channel(None::<String>);
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let shared = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (mut targets, shared) = (targets.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let target = targets.wait_for(Option::is_some).await;
                    let Some(target) = target.ok().and_then(|target| target.clone()) else {
                        return;
                    };
                    let note = |asked: Asked| {
                        let mut all = shared.lock().unwrap_or_else(PoisonError::into_inner);
                        if all.insert(asked.clone()) {
                            each(&asked);
                        }
                    };
                    // A connection that breaks is its client's to notice.
                    let _ = serve(client, &target, note).await;
                });
            }
        });
        Self {
            address,
            target,
            asked,
        }
    }

    /// Says which server it is in front of (`http://host:port`).
    pub fn lead_to(&self, url: &str) {
        let host = url.split("//").nth(1).expect("a URL with a host");
        self.target.send_replace(Some(host.to_owned()));
    }

    /// Where clients reach the server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked so far.
    #[must_use]
    pub fn asked(&self) -> BTreeSet<Asked> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

async fn serve(
    mut client: TcpStream,
    target: &str,
    note: impl Fn(Asked) + Send,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let mut requests = Requests::default();
        let mut piece = vec![0; 16 * 1024];
        loop {
            let read = from_client.read(&mut piece).await?;
            if read == 0 {
                return to_server.shutdown().await;
            }
            // Noted before the server has it: whoever has an answer finds its request.
            requests.take(&piece[..read], &note);
            to_server.write_all(&piece[..read]).await?;
        }
    };
    let down = tokio::io::copy(&mut from_server, &mut to_client);
    // What comes back ends the connection: a request that is cut short gets no answer either way.
    tokio::select! {
        ended = up => ended,
        ended = down => ended.map(|_| ()),
    }
}

/// Requests of one connection, as far as they have come.
#[derive(Default)]
struct Requests {
    bytes: Vec<u8>,
}

impl Requests {
    fn take(&mut self, piece: &[u8], note: &impl Fn(Asked)) {
        self.bytes.extend_from_slice(piece);
        while let Some((requests, length)) = first(&self.bytes) {
            for asked in requests {
                note(asked);
            }
            self.bytes.drain(..length);
        }
    }
}

/// What the first request asks for, if it is whole, and how long it is.
fn first(bytes: &[u8]) -> Option<(Vec<Asked>, usize)> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let field = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let length = field("content-length").map_or(0, |length| length.parse().expect("a length"));
    let body = bytes.get(end..end + length)?;
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let asked = field("x-amz-target").and_then(|target| {
        let key = field("authorization")?.split_once("Credential=")?.1;
        read(key.split('/').next()?, target, &body)
    });
    Some((asked.unwrap_or_default(), end + length))
}

/// What a request asks for: one thing, or one for each kind of item in the table of state.
fn read(key: &str, target: &str, body: &Value) -> Option<Vec<Asked>> {
    let (service, operation) = target.split_once('.')?;
    let text = |field: &str| body[field].as_str().unwrap_or_default();
    let (service, resource) = match service {
        "DynamoDB_20120810" => ("dynamodb", table(body)),
        "AmazonSQS" => ("sqs", queue(text("QueueUrl"))),
        "secretsmanager" => ("secretsmanager", "SecretKey".to_owned()),
        _ => return None,
    };
    // SQS knows no permission for batches: the one for single messages is theirs.
    let operation = operation.strip_suffix("MessageBatch");
    let operation = operation.map_or_else(
        || target.rsplit('.').next().unwrap_or_default().to_owned(),
        |verb| format!("{verb}Message"),
    );
    let items = if resource == "StateTable" {
        state_keys(body)
    } else {
        BTreeSet::from([String::new()])
    };
    let asked = items.into_iter().map(|item| Asked {
        key: key.to_owned(),
        action: format!("{service}:{operation}"),
        resource: resource.clone(),
        item,
    });
    Some(asked.collect())
}

/// The table or index as the template calls it.
fn table(body: &Value) -> String {
    let items = body["RequestItems"].as_object();
    let name = body["TableName"]
        .as_str()
        .or_else(|| items.and_then(|tables| tables.keys().next().map(String::as_str)))
        .unwrap_or_default();
    let tables = [
        ("calls", "CallsTable"),
        ("users", "UsersTable"),
        ("state", "StateTable"),
    ];
    let known = tables.iter().find(|(local, logical)| {
        // Deployed it is STACK-CallsTable-…
        name == *local || name.split('-').any(|part| part == *logical)
    });
    let name = known.map_or(name, |(_, logical)| logical);
    match body["IndexName"].as_str() {
        Some(index) => format!("{name}/index/{index}"),
        None => name.to_owned(),
    }
}

/// The queue as the template calls it, all control queues as one.
fn queue(url: &str) -> String {
    let name = url.rsplit('/').next().unwrap_or_default();
    let known = if name.starts_with("control-") || name.contains("-control-") {
        "ControlQueue"
    } else if name == "calls-dead" || name.ends_with("-dead-letters") {
        "DeadLetterQueue"
    } else if name == "calls" || name.ends_with("-calls") {
        "CallsQueue"
    } else {
        name
    };
    known.to_owned()
}

/// The partition keys in the table of state, without whom and when they are about where there are many.
fn state_keys(body: &Value) -> BTreeSet<String> {
    let items = body["RequestItems"].as_object();
    let in_batch = items.and_then(|tables| tables.values().next()?["Keys"].as_array());
    let in_batch = in_batch.into_iter().flatten();
    let keys = [&body["Key"], &body["Item"]].into_iter().chain(in_batch);
    let keys: BTreeSet<_> = keys
        .filter_map(|item| item["state_key"]["S"].as_str())
        .map(kind_of_key)
        .collect();
    if keys.is_empty() {
        BTreeSet::from([String::new()])
    } else {
        keys
    }
}

fn kind_of_key(key: &str) -> String {
    let parts: Vec<_> = key.split('#').collect();
    match parts[..] {
        [kind @ ("rate" | "access"), which, ..] => format!("{kind}#{which}#*"),
        ["calls", ..] => "calls#*".to_owned(),
        _ => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, body: &str) -> String {
        format!(
            "POST / HTTP/1.1\r\nhost: h\r\nAuthorization: AWS4-HMAC-SHA256 Credential=who/20261121/us-east-1/s/aws4_request\r\n\
             x-amz-target: {target}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    fn read_in_pieces(text: &str, size: usize) -> Vec<String> {
        let all = Mutex::new(Vec::new());
        let mut requests = Requests::default();
        for piece in text.as_bytes().chunks(size) {
            requests.take(piece, &|asked| {
                all.lock().unwrap().push(asked.line(&asked.key));
            });
        }
        all.into_inner().unwrap()
    }

    #[test]
    fn requests_are_read_in_pieces_of_any_size() {
        let text = [
            request(
                "DynamoDB_20120810.Query",
                r#"{"TableName":"s-CallsTable-1A","IndexName":"by_day"}"#,
            ),
            "GET /health HTTP/1.1\r\nhost: h\r\n\r\n".to_owned(),
            request(
                "AmazonSQS.DeleteMessageBatch",
                r#"{"QueueUrl":"http://h/0/s-control-bridge1"}"#,
            ),
            request(
                "DynamoDB_20120810.UpdateItem",
                r#"{"TableName":"state","Key":{"state_key":{"S":"rate#token#192.0.2.1#60"}}}"#,
            ),
            request(
                "DynamoDB_20120810.BatchGetItem",
                r#"{"RequestItems":{"state":{"Keys":[{"state_key":{"S":"bridge#who"}}]}}}"#,
            ),
            request(
                "DynamoDB_20120810.BatchGetItem",
                r#"{"RequestItems":{"state":{"Keys":[{"state_key":{"S":"access#user#a"}},{"state_key":{"S":"access#key#k"}}]}}}"#,
            ),
            request("secretsmanager.GetSecretValue", r#"{"SecretId":"arn"}"#),
        ]
        .concat();
        let expected = [
            "who\tdynamodb:Query\tCallsTable/index/by_day\t\n",
            "who\tsqs:DeleteMessage\tControlQueue\t\n",
            "who\tdynamodb:UpdateItem\tStateTable\trate#token#*\n",
            "who\tdynamodb:BatchGetItem\tStateTable\tbridge#own\n",
            "who\tdynamodb:BatchGetItem\tStateTable\taccess#key#*\n",
            "who\tdynamodb:BatchGetItem\tStateTable\taccess#user#*\n",
            "who\tsecretsmanager:GetSecretValue\tSecretKey\t\n",
        ];
        for size in [1, 7, 100, text.len()] {
            assert_eq!(read_in_pieces(&text, size), expected, "{size}");
        }
    }
}
