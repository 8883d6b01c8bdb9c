//! The system around a PBX: embedded `DynamoDB` and SQS, the API over HTTP, and bridges.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use bridge::{Bridge, BridgeSettings};
use cloud::aws::{Clients, Patience};
use cloud::ports::{Calls, Queue};
use cloud::rate_limit::RateLimit;
use cloud::settings::Reader;
use cloud::{Accounts, CallQueue, CallStore, Heartbeats, UserStore, call_item};
use domain::{Call, CallRequest, DialplanTarget, Priority, Timestamp, Variables};
use functions::cursor::Cursors;
use functions::guard::AllowedOrigins;
use functions::jwt::{Jwt, Scope};
use functions::router;
use functions::settings::{CallDefaults, JwtSettings, Pages};
use functions::sweeper::{BUDGET, Sweeper};
use local::Embedded;
use local::embedded::{CALLS_TABLE, STATE_TABLE, USERS_TABLE};
use local::system::Api;
use tokio::net::TcpListener;
use tower::ServiceExt;
use uuid::Uuid;

use crate::program::{Ended, Program};
use crate::proxy::Proxy;
use crate::runtime_api::RuntimeApi;
use crate::tap::{self, Asked, Tap};
use crate::{Client, Pbx};

/// The key that tokens of the tests are signed with.
pub const SECRET_KEY: &str = "a key of the end-to-end tests, 32 bytes or more";

/// How a number becomes an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A SIP trunk to the callee.
    Trunk,
    /// The dialplan.
    Local,
    /// A trunk where nothing ever answers.
    Down,
    /// A trunk that does not exist.
    Missing,
    /// A trunk whose provider is asked again and again whether it is there; only an Asterisk of a test's own
    /// has it.
    Qualified,
}

impl Line {
    /// `DIAL_ENDPOINT`
    #[must_use]
    pub const fn template(self) -> &'static str {
        match self {
            Self::Trunk => "PJSIP/{number}@trunk",
            Self::Local => "Local/{number}@{context}",
            Self::Down => "PJSIP/{number}@down",
            Self::Missing => "PJSIP/{number}@nosuch",
            Self::Qualified => "PJSIP/{number}@qualified",
        }
    }
}

/// What a bridge reaches through a proxy; the rest it reaches directly.
#[derive(Clone, Copy, Default)]
pub struct Behind<'a> {
    /// ARI, requests and events.
    pub ari: Option<&'a Proxy>,
    /// `DynamoDB`.
    pub store: Option<&'a Proxy>,
    /// SQS.
    pub queue: Option<&'a Proxy>,
}

/// A system of its own on a shared PBX.
pub struct World {
    /// The PBX.
    pub pbx: Arc<Pbx>,
    /// `DynamoDB` and SQS.
    pub embedded: Embedded,
    /// Their clients, as a function uses them.
    pub clients: Clients,
    bridges: Vec<Bridge>,
    /// What reads along, if what is asked is kept.
    _taps: Vec<Tap>,
}

/// Settings from a list of names and values.
#[must_use]
pub fn source(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// What `read` makes of these settings, which are good.
pub fn read_settings<T>(
    source: &BTreeMap<String, String>,
    read: impl FnOnce(&mut Reader<'_>) -> Option<T>,
) -> T {
    let mut reader = Reader::new(source);
    let settings = read(&mut reader);
    reader.finish(settings).expect("good settings")
}

impl World {
    /// A system without a bridge yet.
    pub async fn without_bridge(pbx: &Arc<Pbx>) -> Self {
        let mut embedded = Embedded::start(None).await.expect("embedded servers");
        let mut taps = Vec::new();
        if tap::is_kept() {
            for server in [embedded.dynamodb_url(), embedded.sqs_url()] {
                let tap = Tap::start(|asked: &Asked| tap::keep(&asked.line(&asked.key))).await;
                tap.lead_to(server);
                taps.push(tap);
            }
            embedded = embedded.behind(taps[0].url(), taps[1].url());
        }
        let clients = embedded.clients(Patience::FUNCTION).await;
        Self {
            pbx: Arc::clone(pbx),
            embedded,
            clients,
            bridges: Vec::new(),
            _taps: taps,
        }
    }

    /// A system with one bridge.
    pub async fn start(pbx: &Arc<Pbx>) -> Self {
        let mut world = Self::without_bridge(pbx).await;
        world.add_bridge(&[]).await;
        world
    }

    /// The environment of a bridge of its own id and application.
    #[must_use]
    pub fn bridge_environment(&self) -> BTreeMap<String, String> {
        let (url, username, password) = self.pbx.ari();
        let name = Uuid::new_v4().simple().to_string();
        let id = format!("bridge-{name}");
        source(&[
            ("BRIDGE_ID", &id),
            ("ARI_APP", &format!("app-{name}")),
            ("ARI_HTTP_URL", &url),
            ("ARI_USERNAME", &username),
            ("ARI_PASSWORD", &password),
            ("CALLS_TABLE", CALLS_TABLE),
            ("STATE_TABLE", STATE_TABLE),
            ("METRICS_ADDRESS", "127.0.0.1:0"),
            ("CALLS_QUEUE_URL", &self.embedded.calls_queue_url),
            ("MAX_CALLS_PER_SECOND", "1000"),
            ("MAX_CONCURRENT_CALLS", "1000"),
            // For a bridge that is a program of its own.
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", &id),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.embedded.dynamodb_url()),
            ("AWS_ENDPOINT_URL_SQS", self.embedded.sqs_url()),
        ])
    }

    /// The environment of a function of this system, which gets its work from `api`.
    #[must_use]
    pub fn function_environment(&self, name: &str, api: &RuntimeApi) -> BTreeMap<String, String> {
        let embedded = &self.embedded;
        let mut environment = api.environment(name);
        environment.extend(source(&[
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", name),
            ("AWS_SECRET_ACCESS_KEY", "local"),
            ("AWS_ENDPOINT_URL_DYNAMODB", embedded.dynamodb_url()),
            ("AWS_ENDPOINT_URL_SQS", embedded.sqs_url()),
            ("SECRET_KEY", SECRET_KEY),
            ("USERS_TABLE", USERS_TABLE),
            ("STATE_TABLE", STATE_TABLE),
            ("CALLS_TABLE", CALLS_TABLE),
            ("CALLS_QUEUE_URL", &embedded.calls_queue_url),
            (
                "CONTROL_QUEUE_URL_PREFIX",
                &embedded.control_queue_url_prefix,
            ),
        ]));
        environment
    }

    /// The environment of a bridge with proxies between.
    #[must_use]
    pub fn environment_behind(&self, behind: Behind<'_>) -> BTreeMap<String, String> {
        let mut environment = self.bridge_environment();
        for (name, proxy) in [
            ("ARI_HTTP_URL", behind.ari),
            ("AWS_ENDPOINT_URL_DYNAMODB", behind.store),
            ("AWS_ENDPOINT_URL_SQS", behind.queue),
        ] {
            if let (Some(proxy), Some(url)) = (proxy, environment.get_mut(name)) {
                *url = proxy.instead_of(url);
            }
        }
        environment
    }

    /// A bridge in this process, with proxies between and some settings of its own, once it is up.
    pub async fn bridge_behind(&self, behind: Behind<'_>, settings: &[(&str, &str)]) -> Bridge {
        let mut environment = self.environment_behind(behind);
        environment.extend(source(settings));
        let settings = read_settings(&environment, BridgeSettings::read);
        let clients = Clients::local(
            Patience::BRIDGE,
            &environment["AWS_ENDPOINT_URL_DYNAMODB"],
            &environment["AWS_ENDPOINT_URL_SQS"],
        );
        let clients = clients.await.signed_as(&environment["BRIDGE_ID"]);
        let bridge = Bridge::start(settings, &clients).expect("a bridge");
        bridge.wait_until_up().await;
        bridge
    }

    /// Adds a bridge, with some settings of its own, and waits until it is up. Returns its
    /// Stasis application.
    pub async fn add_bridge(&mut self, settings: &[(&str, &str)]) -> String {
        let mut source_ = self.bridge_environment();
        source_.extend(source(settings));
        let mut settings = read_settings(&source_, BridgeSettings::read);
        let control = self
            .embedded
            .create_control_queue(&settings.bridge_id)
            .await;
        settings.control_queue_url = Some(control.expect("a control queue"));
        let app = settings.ari.app.clone();
        let clients = self.embedded.clients(Patience::BRIDGE).await;
        let clients = clients.signed_as(settings.bridge_id.as_str());
        let bridge = Bridge::start(settings, &clients).expect("a bridge");
        bridge.wait_until_up().await;
        self.bridges.push(bridge);
        app
    }

    /// The bridge that was added first.
    #[must_use]
    pub fn bridge(&self) -> &Bridge {
        &self.bridges[0]
    }

    /// All bridges.
    #[must_use]
    pub fn bridges(&self) -> &[Bridge] {
        &self.bridges
    }

    /// Takes the first bridge out, to stop it.
    pub fn take_bridge(&mut self) -> Bridge {
        self.bridges.remove(0)
    }

    /// Serves the API over HTTP with this line, and returns a client with every scope.
    pub async fn api(&self, line: Line) -> Client {
        self.api_with_limit(line, MANY).await
    }

    /// The same with a limit on tokens.
    pub async fn api_with_limit(&self, line: Line, token_limit: RateLimit) -> Client {
        serve(self.router(line, token_limit, None)).await
    }

    /// The same with a limit on each user's calls of a day.
    pub async fn api_with_daily_calls(&self, line: Line, daily_calls: Option<u32>) -> Client {
        serve(self.router(line, MANY, daily_calls)).await
    }

    /// The same behind a proxy that takes `prefix` away from the path of each request. The paths
    /// that the client asks for begin with it.
    pub async fn api_below(&self, line: Line, prefix: &'static str) -> Client {
        let router = self.router(line, MANY, None);
        let proxied = async move |mut request: Request| {
            let below = request.uri().to_string();
            let below = below.strip_prefix(prefix).map(str::to_owned);
            let Some(below) = below.filter(|below| below.starts_with('/')) else {
                return StatusCode::NOT_FOUND.into_response();
            };
            *request.uri_mut() = below.parse().expect("a URI");
            let Ok(response) = router.oneshot(request).await;
            response
        };
        serve(Router::new().fallback(proxied)).await
    }

    /// The API's routes.
    fn router(&self, line: Line, token_limit: RateLimit, daily_calls: Option<u32>) -> Router {
        let source = source(&[("DIAL_ENDPOINT", line.template())]);
        let calls = read_settings(&source, CallDefaults::read);
        let api = Api {
            users: Some(UserStore::new(
                self.clients.signed_as("token").dynamodb,
                USERS_TABLE.to_owned(),
            )),
            clients: self.clients.clone(),
            calls_table: CALLS_TABLE.to_owned(),
            calls_queue_url: self.embedded.calls_queue_url.clone(),
            control_queue_url_prefix: self.embedded.control_queue_url_prefix.clone(),
            calls,
            daily_calls,
            cursors: Arc::new(Cursors::new(&jwt_settings(SECRET_KEY))),
            jwt: Arc::new(jwt(SECRET_KEY)),
            token_limit,
            pages: Pages {
                docs: true,
                metrics: true,
            },
        };
        router::finish(api.routes(), &AllowedOrigins::default())
    }

    /// What an administrator does to users.
    #[must_use]
    pub fn accounts(&self) -> Accounts {
        let (users, state) = (USERS_TABLE.to_owned(), STATE_TABLE.to_owned());
        Accounts::new(self.clients.dynamodb.clone(), users, state)
    }

    /// The table of users.
    #[must_use]
    pub fn users(&self) -> UserStore {
        UserStore::new(self.clients.dynamodb.clone(), USERS_TABLE.to_owned())
    }

    /// The table of calls.
    #[must_use]
    pub fn calls(&self) -> Arc<dyn Calls> {
        let table = CALLS_TABLE.to_owned();
        Arc::new(CallStore::new(self.clients.dynamodb.clone(), table))
    }

    /// The sweeper.
    #[must_use]
    pub fn sweeper(&self) -> Sweeper {
        let dynamodb = self.clients.signed_as("sweeper").dynamodb;
        Sweeper {
            calls: Arc::new(CallStore::new(dynamodb.clone(), CALLS_TABLE.to_owned())),
            heartbeats: Arc::new(Heartbeats::new(dynamodb, STATE_TABLE.to_owned())),
            budget: BUDGET,
        }
    }

    /// The queue of calls.
    #[must_use]
    pub fn queue(&self) -> Arc<dyn Queue> {
        Arc::new(CallQueue::new(
            self.clients.sqs.clone(),
            self.embedded.calls_queue_url.clone(),
        ))
    }

    /// Runs `admin` as an administrator does, with `input` at its standard input.
    pub async fn admin(&self, arguments: &[&str], input: &str) -> Ended {
        let environment = source(&[
            ("CALLS_TABLE", CALLS_TABLE),
            ("STATE_TABLE", STATE_TABLE),
            ("USERS_TABLE", USERS_TABLE),
            ("CALLS_QUEUE_URL", &self.embedded.calls_queue_url),
            (
                "DEAD_LETTER_QUEUE_URL",
                &self.embedded.dead_letter_queue_url,
            ),
            ("AWS_ENDPOINT_URL_DYNAMODB", self.embedded.dynamodb_url()),
            ("AWS_ENDPOINT_URL_SQS", self.embedded.sqs_url()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "admin"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
        ]);
        let mut program = Program::start("admin", arguments, &environment);
        program.feed(input).await;
        program.wait().await
    }

    /// How many messages are in the queue of calls, delivered ones included.
    pub async fn queued(&self) -> usize {
        self.in_queue(&self.embedded.calls_queue_url).await
    }

    /// How many messages are in a queue, delivered ones included.
    pub async fn in_queue(&self, url: &str) -> usize {
        use aws_sdk_sqs::types::QueueAttributeName as Name;

        let names = [
            Name::ApproximateNumberOfMessages,
            Name::ApproximateNumberOfMessagesNotVisible,
        ];
        let output = self
            .clients
            .sqs
            .get_queue_attributes()
            .queue_url(url)
            .set_attribute_names(Some(names.to_vec()))
            .send()
            .await
            .expect("the queue's attributes");
        let attributes = output.attributes.expect("attributes");
        names
            .iter()
            .map(|name| attributes[name].parse::<usize>().expect("a number"))
            .sum()
    }

    /// Records calls that nobody has queued, 25 at a time, as many as a request of `DynamoDB` takes.
    pub async fn record(&self, calls: &[Call]) {
        use aws_sdk_dynamodb::types::{PutRequest, WriteRequest};

        for some in calls.chunks(25) {
            let writes = some.iter().map(|call| {
                let item = call_item::encode(call, Timestamp::from_millis(i64::MAX));
                let put = PutRequest::builder().set_item(Some(item)).build();
                let put = put.expect("an item");
                WriteRequest::builder().put_request(put).build()
            });
            let dynamodb = &self.clients.dynamodb;
            let batch = dynamodb.batch_write_item();
            let batch = batch.request_items(CALLS_TABLE, writes.collect());
            let written = batch.send().await.expect("records are written");
            assert!(written.unprocessed_items().is_none_or(HashMap::is_empty));
        }
    }

    /// How many calls are recorded.
    pub async fn recorded(&self) -> usize {
        let output = self
            .clients
            .dynamodb
            .scan()
            .table_name(CALLS_TABLE)
            .send()
            .await
            .expect("a scan");
        output.items().len()
    }
}

/// A limit on tokens that no test reaches.
const MANY: RateLimit = RateLimit {
    requests: 1_000,
    window: Duration::from_mins(1),
};

/// Serves these routes over HTTP, and returns a client with every scope.
async fn serve(router: Router) -> Client {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("its address"));
    let token = jwt(SECRET_KEY).issue("e2e", &Scope::ALL, cloud::clock::now());
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    Client::new(base, token.expect("a token"))
}

/// A call that was asked for then.
#[must_use]
pub fn call_of(number: &str, created_at: Timestamp) -> Call {
    Call::new(CallRequest {
        id: Uuid::new_v4().into(),
        phone_number: number.parse().expect("a number"),
        endpoint: "Local/1@ivr".parse().expect("an endpoint"),
        target: DialplanTarget {
            context: "ivr".parse().expect("a context"),
            extension: "s".parse().expect("an extension"),
            priority: Priority::try_from(1).expect("a priority"),
        },
        media: None,
        dial_timeout: Duration::from_secs(30),
        max_duration: None,
        variables: Variables::default(),
        caller_id: None,
        created_at,
        dial_before: created_at,
        request_id: "r".to_owned(),
        fingerprint: None,
    })
}

/// Tokens signed with `key`.
#[must_use]
pub fn jwt(key: &str) -> Jwt {
    Jwt::new(&jwt_settings(key))
}

fn jwt_settings(key: &str) -> JwtSettings {
    read_settings(&source(&[("SECRET_KEY", key)]), JwtSettings::read)
}

static NUMBERS: AtomicU32 = AtomicU32::new(0);

/// A number that no other call of this run has, ending in a `0` and `digits`. The zero keeps the digit
/// before them, which callees read too, from being one that counts.
#[must_use]
pub fn number(digits: &str) -> String {
    number_before(&format!("0{digits}"))
}

/// A number that no other call of this run has, ending in just these digits.
#[must_use]
pub fn number_before(digits: &str) -> String {
    let unique = NUMBERS.fetch_add(1, Ordering::Relaxed);
    let run = std::process::id() % 100_000;
    format!("+1{run:05}{unique:06}{digits}")
}
