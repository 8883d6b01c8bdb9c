//! Counts what is asked of `DynamoDB` and SQS, as AWS bills it: a relay before each of the servers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri, header};
use cloud::aws::{Clients, Patience};
use local::Embedded;
use local::embedded::{CALLS_TABLE, STATE_TABLE};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bill {
    /// Writes of calls.
    pub writes: u32,
    /// Write request units, those of indexes included.
    pub write_units: f64,
    /// Reads of calls.
    pub reads: u32,
    /// Read request units.
    pub read_units: f64,
    /// Reads of what has ended tokens, each of a user and a key.
    pub standings: u32,
    /// Read request units of these.
    pub standing_units: f64,
    /// Writes that count a user's calls of a day, a unit each.
    pub counts: u32,
    /// Requests to SQS: sends, receives that found something, deletes, and visibility changes.
    pub queue_requests: u32,
}

impl fmt::Display for Bill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} writes ({} units), {} reads ({} units), {} requests to SQS; {} reads of what has ended tokens ({} \
             units), {} calls counted",
            self.writes,
            self.write_units,
            self.reads,
            self.read_units,
            self.queue_requests,
            self.standings,
            self.standing_units,
            self.counts
        )
    }
}

/// Relays before both servers.
pub struct Ledger {
    /// Clients that go through them.
    pub clients: Clients,
    /// Where `DynamoDB` is now.
    pub dynamodb_url: String,
    /// Where SQS is now.
    pub sqs_url: String,
    entries: Entries,
}

/// By operation, table and index.
type Entries = Arc<Mutex<BTreeMap<String, Bill>>>;

struct Relay {
    target: String,
    http: reqwest::Client,
    entries: Entries,
}

impl Ledger {
    /// Before these servers.
    pub async fn before(embedded: &Embedded) -> Self {
        let entries = Entries::default();
        let dynamodb_url = relay(embedded.dynamodb_url(), &entries).await;
        let sqs_url = relay(embedded.sqs_url(), &entries).await;
        Self {
            clients: Clients::local(Patience::FUNCTION, &dynamodb_url, &sqs_url).await,
            dynamodb_url,
            sqs_url,
            entries,
        }
    }

    /// Forgets what has been asked for so far.
    pub fn forget(&self) {
        self.entries.lock().expect("no panic").clear();
    }

    /// What has been asked for since this was asked last, by what it was. What a bridge does by the clock, and not for a call, is
    /// left out: its heartbeat, its looks for calls that it owns, and receives that find nothing.
    #[must_use]
    pub fn take(&self) -> (Bill, Vec<String>) {
        let entries = std::mem::take(&mut *self.entries.lock().expect("no panic"));
        let mut total = Bill::default();
        for bill in entries.values() {
            total.writes += bill.writes;
            total.write_units += bill.write_units;
            total.reads += bill.reads;
            total.read_units += bill.read_units;
            total.standings += bill.standings;
            total.standing_units += bill.standing_units;
            total.counts += bill.counts;
            total.queue_requests += bill.queue_requests;
        }
        let lines = entries.iter().map(|(what, bill)| format!("{what}: {bill}"));
        (total, lines.collect())
    }
}

async fn relay(target: &str, entries: &Entries) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    let relay = Arc::new(Relay {
        target: target.trim_end_matches('/').to_owned(),
        http: reqwest::Client::new(),
        entries: Arc::clone(entries),
    });
    let router = Router::new().fallback(pass_on).with_state(relay);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

async fn pass_on(
    State(relay): State<Arc<Relay>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let target = headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    let target = target.unwrap_or_default().to_owned();
    let (service, operation) = target.split_once('.').unwrap_or_default();
    let mut asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let tables = service.starts_with("DynamoDB");
    if tables {
        asked["ReturnConsumedCapacity"] = json!("TOTAL");
    }
    let mut request = relay.http.post(format!("{}{}", relay.target, uri.path()));
    for (name, value) in &headers {
        if name != header::HOST && name != header::CONTENT_LENGTH {
            request = request.header(name, value);
        }
    }
    let answer = request
        .body(asked.to_string())
        .send()
        .await
        .expect("an answer");
    let (status, answer_headers) = (answer.status(), answer.headers().clone());
    let text = answer.bytes().await.expect("a body");
    let answered: Value = serde_json::from_slice(&text).unwrap_or_default();
    if tables {
        relay.note_table(operation, &asked, &answered, status.is_success());
    } else {
        relay.note_queue(operation, &answered);
    }
    let mut response = Response::builder().status(status);
    for (name, value) in &answer_headers {
        // Checksums of the server's own are left: the body is as it was.
        if name != header::TRANSFER_ENCODING && name != header::CONTENT_LENGTH {
            response = response.header(name, value);
        }
    }
    response.body(Body::from(text)).expect("a response")
}

/// The units of an answer, of one table or of each.
fn consumed(answered: &Value) -> f64 {
    let consumed = &answered["ConsumedCapacity"];
    let each = consumed
        .as_array()
        .map_or(std::slice::from_ref(consumed), Vec::as_slice);
    each.iter()
        .filter_map(|table| table["CapacityUnits"].as_f64())
        .sum()
}

impl Relay {
    fn note_table(&self, operation: &str, asked: &Value, answered: &Value, done: bool) {
        let index = asked["IndexName"].as_str().unwrap_or("table");
        let batch = asked["RequestItems"].as_object();
        let of_calls = asked["TableName"] == CALLS_TABLE
            || batch.is_some_and(|tables| tables.contains_key(CALLS_TABLE));
        if !of_calls {
            self.note_state(operation, asked, answered);
        }
        if !of_calls || index == cloud::tables::BY_HOLDER {
            return;
        }
        let mut units = consumed(answered);
        let writes = matches!(operation, "PutItem" | "UpdateItem" | "DeleteItem");
        // A write whose condition fails is billed by the item's size.
        if writes && !done {
            units = 1.0;
        }
        self.note(format!("{operation} {index}"), |bill| {
            if writes {
                bill.writes += 1;
                bill.write_units += units;
            } else {
                bill.reads += 1;
                bill.read_units += units;
            }
        });
    }

    /// What a request of a client adds in the table of state. What is left out there is of bridges and
    /// of requests for tokens.
    fn note_state(&self, operation: &str, asked: &Value, answered: &Value) {
        let first = &asked["RequestItems"][STATE_TABLE]["Keys"][0];
        let of_batch = first["state_key"]["S"].as_str().unwrap_or_default();
        if of_batch.starts_with("access#") {
            let units = consumed(answered);
            self.note(format!("{operation} {of_batch}"), |bill| {
                bill.standings += 1;
                bill.standing_units += units;
            });
        }
        let key = asked["Key"]["state_key"]["S"].as_str().unwrap_or_default();
        if key.starts_with("calls#") {
            self.note(format!("{operation} {key}"), |bill| bill.counts += 1);
        }
    }

    fn note_queue(&self, operation: &str, answered: &Value) {
        let found = answered["Messages"]
            .as_array()
            .is_some_and(|found| !found.is_empty());
        // The attributes are read by the tests.
        if found || !matches!(operation, "ReceiveMessage" | "GetQueueAttributes") {
            self.note(operation.to_owned(), |bill| bill.queue_requests += 1);
        }
    }

    fn note(&self, what: String, change: impl FnOnce(&mut Bill)) {
        change(
            self.entries
                .lock()
                .expect("no panic")
                .entry(what)
                .or_default(),
        );
    }
}
