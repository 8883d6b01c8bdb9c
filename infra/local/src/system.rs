//! Everything together: embedded servers, functions, bridge, and the simulator if need be.

use std::fs::{File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bridge::Bridge;
use bridge::ari::{AriClient, AriError, Asterisk};
use cloud::aws::{Clients, Patience};
use cloud::daily_calls::DailyCalls;
use cloud::ports::{Calls, Queue};
use cloud::rate_limit::{RateLimit, RateLimiter};
use cloud::{
    Accounts, CallQueue, CallStore, ControlQueues, Heartbeats, Secret, StandingStore, StoreError,
    UserStore, clock, password, tables,
};
use domain::{CallStatus, QueueMessage, Timestamp};
use functions::access::Access;
use functions::control::ControlState;
use functions::cursor::Cursors;
use functions::health::{Condition, Health};
use functions::jwt::{Jwt, Scope};
use functions::login::LoginGuard;
use functions::originate::OriginateState;
use functions::router;
use functions::settings::{CallDefaults, Pages};
use functions::status::StatusState;
use functions::sweeper::{BUDGET, Sweeper};
use functions::system::SystemState;
use functions::token::TokenState;
use simulator::{Credentials, Simulator};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::embedded::{Embedded, EmbeddedError, STATE_TABLE, USERS_TABLE};
use crate::environment;
use crate::random::{self, NoRandomness};
use crate::secret_file;
use crate::settings::LocalSettings;

/// Most calls of an earlier run that are queued again.
const MAX_REQUEUED: usize = 10_000;

/// How often a starting system looks whether it is healthy.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How often the sweeper runs.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// The user that a local run makes.
pub const DEMO_USER: &str = "demo";

/// The system could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// The API's port is taken, or not ours to open.
    #[error("port {port} on 127.0.0.1 cannot be opened: {problem}; set PORT to another")]
    Port {
        /// The port.
        port: u16,
        /// What the system says.
        problem: io::Error,
    },
    /// The bridge cannot be started.
    #[error("the bridge cannot be started: {problem}")]
    Bridge {
        /// What the bridge says.
        problem: String,
    },
    /// The data folder cannot be used.
    #[error("{path} cannot be written: {problem}")]
    Data {
        /// The file or folder.
        path: String,
        /// What the system says.
        problem: io::Error,
    },
    /// Another system works on the data folder.
    #[error(
        "{path} is the data of another `cargo run` that is running; stop that one, or set LOCAL_DATA to another folder"
    )]
    InUse {
        /// The folder.
        path: String,
    },
    /// No Asterisk.
    #[error("no Asterisk at ARI_HTTP_URL {url}: {problem}")]
    Asterisk {
        /// Where it should be.
        url: String,
        /// What was found.
        problem: String,
    },
    /// The embedded servers did not start.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The embedded tables cannot be used.
    #[error("the tables cannot be used")]
    Store(#[from] StoreError),
    /// Something a sound system has is missing.
    #[error("the system gave no random bytes")]
    Random(#[from] NoRandomness),
    /// The demo password could not be hashed.
    #[error(transparent)]
    Hash(#[from] password::HashFailed),
    /// The demo token could not be signed.
    #[error(transparent)]
    Token(#[from] functions::jwt::SigningFailed),
}

/// How one gets in.
pub enum Entry {
    /// With the demo user and this password, which is shown this once.
    NewPassword(String),
    /// With the demo user and the password of `DEMO_PASSWORD`.
    GivenPassword,
    /// With the demo user and the password that an earlier start has shown.
    EarlierPassword,
    /// With this token: there are no users.
    Token(String),
}

/// The running system.
pub struct System {
    /// Where the API is.
    pub address: SocketAddr,
    /// How one gets in.
    pub entry: Entry,
    bridge: Bridge,
    simulator: Option<Simulator>,
    embedded: Embedded,
    health: Health,
    api: JoinHandle<io::Result<()>>,
    stop: CancellationToken,
    /// Keeps other systems from the data folder for as long as this one is there.
    _lock: Option<File>,
}

impl System {
    /// Starts everything.
    ///
    /// # Errors
    /// [`SystemError`], in one line.
    pub async fn start(settings: LocalSettings) -> Result<Self, SystemError> {
        let LocalSettings {
            port,
            data,
            disable_db,
            demo_password,
            simulate,
            make_key,
            mut jwt,
            token_limit,
            calls,
            daily_calls,
            pages,
            origins,
            mut bridge,
            ..
        } = settings;
        let data = (!disable_db).then_some(data);
        // Before the port: whoever sets another port still has to set another folder.
        let lock = data.as_deref().map(lock).transpose()?;
        let listener = TcpListener::bind(("127.0.0.1", port))
            .await
            .map_err(|problem| SystemError::Port { port, problem })?;
        let address = listener
            .local_addr()
            .map_err(|problem| SystemError::Port { port, problem })?;
        if make_key {
            jwt.keys.current = Secret::new(keep_key(data.as_deref())?);
        }

        let simulator = if simulate {
            Some(start_simulator(&mut bridge).await?)
        } else {
            check_asterisk(&bridge).await?;
            None
        };
        let file = data.as_ref().map(|data| data.join("calls.sqlite"));
        let embedded = Embedded::start(file.as_deref()).await?;
        bridge.calls_queue_url.clone_from(&embedded.calls_queue_url);
        bridge.control_queue_url = Some(embedded.create_control_queue(&bridge.bridge_id).await?);
        if let Some(path) = data.map(|data| data.join("environment")) {
            let key = make_key.then_some(&jwt.keys.current);
            environment::keep(&path, &embedded, &bridge.calls_table, key)
                .map_err(unwritable(&path))?;
        }
        let clients = embedded.clients(Patience::FUNCTION).await;
        let users =
            (!disable_db).then(|| UserStore::new(clients.dynamodb.clone(), USERS_TABLE.to_owned()));
        let cursors = Arc::new(Cursors::new(&jwt));
        let jwt = Arc::new(Jwt::new(&jwt));
        let entry = match &users {
            Some(users) => make_demo_user(users, &clients, demo_password).await?,
            None => Entry::Token(jwt.issue(DEMO_USER, &Scope::ALL, clock::now())?),
        };
        requeue_pending(&clients, &bridge.calls_table, &bridge.calls_queue_url).await?;

        let calls_table = bridge.calls_table.clone();
        let for_bridge = embedded.clients(Patience::BRIDGE).await;
        let bridge = Bridge::start(bridge, &for_bridge).map_err(|error| SystemError::Bridge {
            problem: cloud::error::chain(&error),
        })?;
        let sweeper = sweeper_of(&clients, &calls_table);
        let health = health_of(&clients, &calls_table, &embedded.calls_queue_url);
        let api = Api {
            users,
            clients,
            calls_table,
            calls_queue_url: embedded.calls_queue_url.clone(),
            control_queue_url_prefix: embedded.control_queue_url_prefix.clone(),
            calls,
            daily_calls,
            cursors,
            jwt,
            token_limit,
            pages,
        };
        let router = router::finish(api.routes(), &origins);
        let stop = CancellationToken::new();
        tokio::spawn(sweep(sweeper, stop.clone()));
        let serving = axum::serve(
            listener,
            router.into_make_service_with_connect_info::<SocketAddr>(),
        )
        .with_graceful_shutdown(stop.clone().cancelled_owned());
        Ok(Self {
            address,
            entry,
            bridge,
            simulator,
            embedded,
            health,
            api: tokio::spawn(async move { serving.await }),
            stop,
            _lock: lock,
        })
    }

    /// Waits until calls can be placed, and `/health` says so.
    pub async fn wait_until_up(&self) {
        self.bridge.wait_until_up().await;
        // The heartbeat that tells of the bridge's socket comes a moment after the socket.
        while self.health.check().await.status == Condition::Unhealthy {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Whether the simulator stands in for Asterisk.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.simulator.is_some()
    }

    /// Where the embedded servers are: `DynamoDB` and SQS.
    #[must_use]
    pub fn endpoints(&self) -> (&str, &str) {
        (self.embedded.dynamodb_url(), self.embedded.sqs_url())
    }

    /// Stops everything in order; whether nothing was cut short.
    pub async fn stop(self) -> bool {
        self.stop.cancel();
        let clean = self.bridge.stop().await;
        self.api.abort();
        drop(self.simulator);
        self.embedded.stop().await;
        clean
    }
}

/// What health is told from.
fn health_of(clients: &Clients, calls_table: &str, calls_queue_url: &str) -> Health {
    Health {
        calls: CallStore::new(clients.dynamodb.clone(), calls_table.to_owned()),
        queue: CallQueue::new(clients.sqs.clone(), calls_queue_url.to_owned()),
        heartbeats: Heartbeats::new(clients.dynamodb.clone(), STATE_TABLE.to_owned()),
    }
}

fn sweeper_of(clients: &Clients, calls_table: &str) -> Sweeper {
    let calls = CallStore::new(clients.dynamodb.clone(), calls_table.to_owned());
    let heartbeats = Heartbeats::new(clients.dynamodb.clone(), STATE_TABLE.to_owned());
    Sweeper {
        calls: Arc::new(calls),
        heartbeats: Arc::new(heartbeats),
        budget: BUDGET,
    }
}

/// What the API's routes need.
pub struct Api {
    /// The users, unless there are none.
    pub users: Option<UserStore>,
    /// `DynamoDB` and SQS.
    pub clients: Clients,
    /// The table of calls.
    pub calls_table: String,
    /// The queue of calls.
    pub calls_queue_url: String,
    /// What the URLs of the control queues begin with.
    pub control_queue_url_prefix: String,
    /// What a request may leave out.
    pub calls: CallDefaults,
    /// How many calls a user may ask for in a day, if that is limited.
    pub daily_calls: Option<u32>,
    /// Cursors.
    pub cursors: Arc<Cursors>,
    /// Tokens.
    pub jwt: Arc<Jwt>,
    /// How many of them a client may ask for.
    pub token_limit: RateLimit,
    /// Which of the optional pages are there.
    pub pages: Pages,
}

impl Api {
    /// The routes of all functions in one router. Each function asks under its own name.
    pub fn routes(self) -> Router {
        let [token, originate, status, control, system] =
            ["token", "originate", "status", "control", "system"]
                .map(|name| self.clients.signed_as(name));
        let guard = LoginGuard::new(token.dynamodb.clone(), STATE_TABLE.to_owned());
        let standings = |clients: &Clients| {
            StandingStore::new(clients.dynamodb.clone(), STATE_TABLE.to_owned())
        };
        let access = |clients: &Clients| Access::new(Arc::clone(&self.jwt), standings(clients));
        let daily_calls = self.daily_calls.map(|limit| {
            DailyCalls::new(originate.dynamodb.clone(), STATE_TABLE.to_owned(), limit)
        });
        let of_token = standings(&token);
        let limiter = RateLimiter::new(
            token.dynamodb,
            STATE_TABLE.to_owned(),
            "token",
            self.token_limit,
        );
        let calls =
            |clients: &Clients| CallStore::new(clients.dynamodb.clone(), self.calls_table.clone());
        let queue =
            |clients: &Clients| CallQueue::new(clients.sqs.clone(), self.calls_queue_url.clone());
        let (retention, unknown) = (self.calls.retention, self.calls.unknown);
        let of_system = SystemState {
            health: health_of(&system, &self.calls_table, &self.calls_queue_url),
            pages: self.pages,
        };
        let of_status = StatusState {
            calls: calls(&status),
            retention,
            unknown,
            cursors: self.cursors,
            access: access(&status),
        };
        let of_control = ControlState {
            calls: calls(&control),
            access: access(&control),
            bridges: ControlQueues::new(control.sqs, self.control_queue_url_prefix),
        };
        let of_originate = OriginateState {
            calls: calls(&originate),
            queue: queue(&originate),
            defaults: Arc::new(self.calls),
            daily_calls,
            access: access(&originate),
        };
        let of_token = TokenState::new(self.users, limiter, guard, of_token, self.jwt);
        router::token(of_token)
            .merge(router::originate(of_originate))
            .merge(router::control(of_control))
            .merge(router::system(of_system))
            .merge(router::docs(self.pages))
            .merge(router::status(of_status))
    }
}

/// What runs on a schedule elsewhere.
async fn sweep(sweeper: Sweeper, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(SWEEP_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = sweeper.sweep(clock::now()).await {
            tracing::warn!(error = %cloud::error::chain(&error), "the calls could not be swept");
        }
    }
}

async fn start_simulator(bridge: &mut bridge::BridgeSettings) -> Result<Simulator, SystemError> {
    let credentials = Credentials {
        username: random::text::<16>()?,
        password: random::text::<16>()?,
    };
    bridge.ari.username.clone_from(&credentials.username);
    bridge.ari.password = Secret::new(credentials.password.clone());
    let failed = |problem: String| SystemError::Asterisk {
        url: "127.0.0.1".to_owned(),
        problem,
    };
    let simulator = Simulator::start(credentials)
        .await
        .map_err(|error| failed(error.to_string()))?;
    bridge.ari.url = simulator
        .url()
        .parse()
        .map_err(|_| failed("not a URL".to_owned()))?;
    Ok(simulator)
}

async fn check_asterisk(bridge: &bridge::BridgeSettings) -> Result<(), SystemError> {
    let failed = |error: AriError| SystemError::Asterisk {
        url: bridge.ari.url.to_string(),
        problem: cloud::error::chain(&error),
    };
    let ari = AriClient::without_metrics(Arc::new(bridge.ari.clone())).map_err(failed)?;
    ari.ping().await.map_err(failed)
}

/// Makes the data folder if need be, and locks it. Two systems on one folder would take over each
/// other's calls. The lock ends with the file that is returned, or with the process.
fn lock(data: &Path) -> Result<File, SystemError> {
    std::fs::create_dir_all(data).map_err(unwritable(data))?;
    let path = data.join("lock");
    let file = File::create(&path).map_err(unwritable(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SystemError::InUse {
            path: data.display().to_string(),
        }),
        Err(TryLockError::Error(problem)) => Err(unwritable(&path)(problem)),
    }
}

/// The key of the data folder, made at the first start, so that tokens outlive a restart.
fn keep_key(data: Option<&Path>) -> Result<String, SystemError> {
    let Some(data) = data else {
        return Ok(random::text::<32>()?);
    };
    let path = data.join("secret_key");
    if let Ok(key) = std::fs::read_to_string(&path)
        && key.len() >= 32
    {
        return Ok(key);
    }
    let key = random::text::<32>()?;
    secret_file::write(&path, &key).map_err(unwritable(&path))?;
    Ok(key)
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> SystemError {
    let path = path.display().to_string();
    move |problem| SystemError::Data { path, problem }
}

async fn make_demo_user(
    users: &UserStore,
    clients: &Clients,
    given: Option<Secret>,
) -> Result<Entry, SystemError> {
    let (of_users, of_state) = (USERS_TABLE.to_owned(), STATE_TABLE.to_owned());
    let accounts = Accounts::new(clients.dynamodb.clone(), of_users, of_state);
    let known = users.get(DEMO_USER).await?;
    match (given, known) {
        // Another password would end the tokens of the runs before.
        (Some(password), Some(user)) => {
            if !password::verify(password.expose(), &user.password_hash) {
                let hash = password::hash(password.expose())?;
                accounts.set_password(DEMO_USER, &hash).await?;
            }
            Ok(Entry::GivenPassword)
        }
        (Some(password), None) => {
            let hash = password::hash(password.expose())?;
            accounts.add(DEMO_USER, &hash, None).await?;
            Ok(Entry::GivenPassword)
        }
        (None, Some(_)) => Ok(Entry::EarlierPassword),
        (None, None) => {
            let password = random::text::<15>()?;
            let hash = password::hash(&password)?;
            accounts.add(DEMO_USER, &hash, None).await?;
            Ok(Entry::NewPassword(password))
        }
    }
}

/// The embedded queue is in memory, so an earlier run's messages went with it. Sending one
/// again is harmless: whoever claims the call first has it.
async fn requeue_pending(clients: &Clients, table: &str, queue: &str) -> Result<(), SystemError> {
    let calls = CallStore::new(clients.dynamodb.clone(), table.to_owned());
    let queue = CallQueue::new(clients.sqs.clone(), queue.to_owned());
    let end_of_time = Timestamp::from_millis(i64::MAX);
    let pending = calls
        .held(tables::PENDING, end_of_time, MAX_REQUEUED)
        .await?;
    for (_, id) in pending {
        let Some(call) = calls.get(id).await? else {
            continue;
        };
        if call.status == CallStatus::Pending {
            queue.send(&QueueMessage::Dial(call.request)).await?;
        }
    }
    Ok(())
}
