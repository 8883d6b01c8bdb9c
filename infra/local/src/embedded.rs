//! `DynamoDB` and SQS on loopback, with our tables and our queue.

use std::path::Path;
use std::sync::Arc;

use aws_sdk_sqs::types::QueueAttributeName;
use cloud::aws::{Clients, Patience};
use cloud::tables::TableDefinition;
use cloud::{StoreError, tables};
use domain::BridgeId;
use dynoxide::Database;
use hyper_util::rt::TokioIo;
use rustack_sqs_core::config::SqsConfig;
use rustack_sqs_core::handler::RustackSqsHandler;
use rustack_sqs_core::provider::RustackSqs;
use rustack_sqs_http::service::{SqsHttpConfig, SqsHttpService};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The tables' and queues' names on one machine.
pub const CALLS_TABLE: &str = "calls";
/// See [`CALLS_TABLE`].
pub const USERS_TABLE: &str = "users";
/// See [`CALLS_TABLE`].
pub const STATE_TABLE: &str = "state";
const CALLS_QUEUE: &str = "calls";
const CONTROL_QUEUE_PREFIX: &str = "control-";
const DEAD_LETTER_QUEUE: &str = "calls-dead";

/// Deliveries of a message before it goes to the dead-letter queue.
pub const MAX_RECEIVE_COUNT: u32 = 10;

/// The servers could not be started.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// No loopback port was to be had.
    #[error("no port on 127.0.0.1 could be opened")]
    Bind(#[from] std::io::Error),
    /// The database's file could not be opened.
    #[error("the database {path} could not be opened: {problem}")]
    Database {
        /// The file.
        path: String,
        /// What the database says.
        problem: String,
    },
    /// A table or a queue could not be made.
    #[error("the tables and queues could not be made")]
    SetUp(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Running servers.
pub struct Embedded {
    dynamodb_url: String,
    sqs_url: String,
    /// The queue of calls.
    pub calls_queue_url: String,
    /// What the URLs of the bridges' control queues begin with.
    pub control_queue_url_prefix: String,
    /// Where messages go that cannot be read.
    pub dead_letter_queue_url: String,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Embedded {
    /// Starts the servers with the tables in `file`, or in memory.
    ///
    /// # Errors
    /// [`EmbeddedError`] if something is missing.
    pub async fn start(file: Option<&Path>) -> Result<Self, EmbeddedError> {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let dynamodb_url = start_dynamodb(file, &stop, &tasks).await?;
        let sqs_url = start_sqs(&stop, &tasks).await?;
        let mut embedded = Self {
            dynamodb_url,
            sqs_url,
            calls_queue_url: String::new(),
            control_queue_url_prefix: String::new(),
            dead_letter_queue_url: String::new(),
            stop,
            tasks,
        };
        embedded.set_up().await.map_err(EmbeddedError::SetUp)?;
        Ok(embedded)
    }

    /// Clients of these servers.
    pub async fn clients(&self, patience: Patience) -> Clients {
        Clients::local(patience, &self.dynamodb_url, &self.sqs_url).await
    }

    /// The same servers, reached through others in front of them from now on.
    #[must_use]
    pub fn behind(mut self, dynamodb_url: String, sqs_url: String) -> Self {
        self.dynamodb_url = dynamodb_url;
        self.sqs_url = sqs_url;
        self
    }

    /// Where `DynamoDB` is served.
    #[must_use]
    pub fn dynamodb_url(&self) -> &str {
        &self.dynamodb_url
    }

    /// Where SQS is served.
    #[must_use]
    pub fn sqs_url(&self) -> &str {
        &self.sqs_url
    }

    async fn set_up(&mut self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let clients = self.clients(Patience::FUNCTION).await;
        for (name, key, indexes) in [
            (CALLS_TABLE, tables::CALLS_KEY, &tables::CALLS_INDEXES[..]),
            (USERS_TABLE, tables::USERS_KEY, &[]),
            (STATE_TABLE, tables::STATE_KEY, &[]),
        ] {
            let table = TableDefinition { name, key, indexes };
            tables::create_if_missing(&clients.dynamodb, table).await?;
        }
        let missing = || StoreError::Malformed {
            what: "queue",
            field: "QueueUrl",
        };
        let dead = clients
            .sqs
            .create_queue()
            .queue_name(DEAD_LETTER_QUEUE)
            .send()
            .await?;
        self.dead_letter_queue_url = dead.queue_url.ok_or_else(missing)?;
        let attributes = clients
            .sqs
            .get_queue_attributes()
            .queue_url(&self.dead_letter_queue_url)
            .attribute_names(QueueAttributeName::QueueArn)
            .send()
            .await?;
        let arn = attributes
            .attributes
            .and_then(|mut all| all.remove(&QueueAttributeName::QueueArn))
            .ok_or_else(missing)?;
        let redrive = serde_json::json!({
            "deadLetterTargetArn": arn,
            "maxReceiveCount": MAX_RECEIVE_COUNT,
        });
        let calls = clients
            .sqs
            .create_queue()
            .queue_name(CALLS_QUEUE)
            .attributes(QueueAttributeName::RedrivePolicy, redrive.to_string())
            .send()
            .await?;
        self.calls_queue_url = calls.queue_url.ok_or_else(missing)?;
        let base = self
            .calls_queue_url
            .strip_suffix(CALLS_QUEUE)
            .ok_or_else(missing)?;
        self.control_queue_url_prefix = format!("{base}{CONTROL_QUEUE_PREFIX}");
        Ok(())
    }

    /// Makes the control queue of a bridge, and returns its URL.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn create_control_queue(&self, bridge: &BridgeId) -> Result<String, EmbeddedError> {
        let clients = self.clients(Patience::FUNCTION).await;
        let name = format!("{CONTROL_QUEUE_PREFIX}{bridge}");
        let created = clients.sqs.create_queue().queue_name(name).send().await;
        let created = created.map_err(|error| EmbeddedError::SetUp(error.into()))?;
        created.queue_url.ok_or_else(|| {
            let missing = StoreError::Malformed {
                what: "queue",
                field: "QueueUrl",
            };
            EmbeddedError::SetUp(missing.into())
        })
    }

    /// Stops the servers; what was written is on the disk.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn start_dynamodb(
    file: Option<&Path>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) -> Result<String, EmbeddedError> {
    let database = match file {
        Some(file) => {
            let path = file.display().to_string();
            Database::new(&path).map_err(|error| EmbeddedError::Database {
                path,
                problem: error.to_string(),
            })?
        }
        None => Database::memory().map_err(|error| EmbeddedError::Database {
            path: "in memory".to_owned(),
            problem: error.to_string(),
        })?,
    };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("http://{}", listener.local_addr()?);
    let stopped = stop.clone();
    tasks.spawn(async move {
        // Clients keep their connections open, so a graceful end would wait for ever; a write
        // that was answered is on the disk.
        tokio::select! {
            () = stopped.cancelled() => {}
            () = dynoxide::server::serve_on(listener, database) => {}
        }
    });
    Ok(url)
}

async fn start_sqs(stop: &CancellationToken, tasks: &TaskTracker) -> Result<String, EmbeddedError> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let config = SqsConfig {
        host: address.ip().to_string(),
        port: address.port(),
        ..SqsConfig::default()
    };
    let provider = Arc::new(RustackSqs::new(config));
    let handler = Arc::new(RustackSqsHandler::new(provider));
    let service = SqsHttpService::new(handler, SqsHttpConfig::default());
    let stopped = stop.clone();
    tasks.spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = stopped.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else { continue };
            // Small answers to small requests: waiting to fill packets costs 40 ms each.
            let _ = stream.set_nodelay(true);
            let (service, stopped) = (service.clone(), stopped.clone());
            tokio::spawn(async move {
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    () = stopped.cancelled() => {}
                    _ = connection => {}
                }
            });
        }
    });
    Ok(format!("http://{address}"))
}
