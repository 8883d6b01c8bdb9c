//! Everything that a soak runs on: an Asterisk of its own, the system around it, proxies everywhere between, and two
//! bridges that are programs of their own.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cloud::aws::{Clients, Patience};
use cloud::ports::{Calls, Queue};
use cloud::{CallQueue, CallStore};
use domain::{BridgeId, QueueMessage};
use e2e::asterisk::Asterisk;
use e2e::footprint::Footprint;
use e2e::program::Program;
use e2e::proxy::{Mode, Proxy};
use e2e::world::{Behind, source};
use e2e::{Client, Line, Pbx, World};
use local::embedded::CALLS_TABLE;

/// How many bridges share the load.
pub const BRIDGES: usize = 2;

/// What the calls go through.
pub struct Site {
    pub pbx: Arc<Pbx>,
    /// Its clients, those of the functions, go through the proxies.
    pub world: World,
    /// `DynamoDB` and SQS without proxies.
    pub direct: Clients,
    pub api: Client,
    pub store: Proxy,
    pub queue: Proxy,
    /// ARI, for each bridge.
    pub ari: Vec<Proxy>,
    /// Where the bridges' logs are.
    pub logs: PathBuf,
    /// The process of each bridge that runs now, and how often it has been started.
    running: Mutex<[Option<(u32, usize)>; BRIDGES]>,
}

/// A bridge, started again whenever it has ended.
pub struct BridgePost {
    index: usize,
    environment: BTreeMap<String, String>,
    program: Option<Program>,
    starts: usize,
}

impl Site {
    pub async fn start(logs: PathBuf) -> (Arc<Self>, Vec<BridgePost>) {
        let asterisk = Asterisk::start().expect("an Asterisk");
        asterisk.wait_until_ready().await;
        let pbx = Arc::new(Pbx::Asterisk(Box::new(asterisk)));
        let mut world = World::without_bridge(&pbx).await;
        let (dynamodb, sqs) = (world.embedded.dynamodb_url(), world.embedded.sqs_url());
        let (store, queue) = (Proxy::before(dynamodb).await, Proxy::before(sqs).await);
        let (to_store, to_queue) = (store.instead_of(dynamodb), queue.instead_of(sqs));
        let through = Clients::local(Patience::FUNCTION, &to_store, &to_queue).await;
        let direct = std::mem::replace(&mut world.clients, through);
        let mut site = Self {
            api: world.api(Line::Trunk).await,
            ari: Vec::new(),
            logs,
            running: Mutex::default(),
            pbx,
            world,
            direct,
            store,
            queue,
        };
        let mut posts = Vec::new();
        for index in 0..BRIDGES {
            let ari = Proxy::before(&site.pbx.ari().0).await;
            posts.push(BridgePost {
                index,
                environment: site.environment(&ari).await,
                program: None,
                starts: 0,
            });
            site.ari.push(ari);
        }
        for post in &mut posts {
            post.start(&site);
        }
        (Arc::new(site), posts)
    }

    /// That of a bridge that gives up soon, so that its messages come back soon.
    async fn environment(&self, ari: &Proxy) -> BTreeMap<String, String> {
        let mut environment = self.world.environment_behind(Behind {
            ari: Some(ari),
            store: Some(&self.store),
            queue: Some(&self.queue),
        });
        let id: BridgeId = environment["BRIDGE_ID"].parse().expect("a bridge's id");
        let control = self.world.embedded.create_control_queue(&id).await;
        environment.extend(source(&[
            ("CONTROL_QUEUE_URL", &control.expect("a control queue")),
            ("ARI_TIMEOUT", "2000"),
            ("ARI_RETRIES", "1"),
            ("STASIS_START_TIMEOUT", "2000"),
            ("QUEUE_VISIBILITY_TIMEOUT", "15"),
        ]));
        environment
    }

    /// The real Asterisk.
    pub fn asterisk(&self) -> &Asterisk {
        match &*self.pbx {
            Pbx::Asterisk(asterisk) => asterisk,
            Pbx::Simulator { .. } => unreachable!("a soak runs on a real Asterisk"),
        }
    }

    /// Sends the message of a call once more.
    pub async fn send_again(&self, id: &str) {
        let Clients { dynamodb, sqs } = self.direct.clone();
        let calls = CallStore::new(dynamodb, CALLS_TABLE.to_owned());
        let queue = CallQueue::new(sqs, self.world.embedded.calls_queue_url.clone());
        let id = id.parse().expect("a call's id");
        let call = calls.get(id).await.expect("an answer").expect("a record");
        let message = QueueMessage::Dial(call.request);
        queue.send(&message).await.expect("the queue takes it");
    }

    /// Opens every way again.
    pub fn heal(&self) {
        for proxy in self.ari.iter().chain([&self.store, &self.queue]) {
            proxy.set(Mode::Open);
        }
    }

    /// What each bridge that runs takes now, with the number of its start.
    pub fn footprints(&self) -> Vec<(usize, usize, Footprint)> {
        let running = *self.running.lock().expect("no panic");
        running
            .iter()
            .enumerate()
            .filter_map(|(index, running)| {
                let (process, start) = (*running)?;
                Some((index, start, Footprint::of(process)?))
            })
            .collect()
    }
}

impl BridgePost {
    pub fn start(&mut self, site: &Site) {
        self.starts += 1;
        let name = format!("bridge-{}.{}.log", self.index, self.starts);
        let log = File::create(site.logs.join(name)).expect("a log");
        let program = Program::start_logging("bridge", &[], &self.environment, log);
        site.running.lock().expect("no panic")[self.index] = Some((program.id(), self.starts));
        self.program = Some(program);
    }

    /// Ends it with a signal and starts it again after `pause`.
    pub async fn restart(&mut self, site: &Site, signal: &str, pause: Duration) {
        site.running.lock().expect("no panic")[self.index] = None;
        if let Some(program) = self.program.take() {
            program.signal(signal).await;
            program.wait().await;
        }
        tokio::time::sleep(pause).await;
        self.start(site);
    }

    /// Ends it for good, cleanly.
    ///
    /// # Errors
    /// What was not clean.
    pub async fn stop(mut self, site: &Site) -> Result<(), String> {
        site.running.lock().expect("no panic")[self.index] = None;
        let program = self.program.take().expect("a running bridge");
        program.signal("TERM").await;
        let code = program.wait().await.code;
        if code == Some(0) {
            return Ok(());
        }
        Err(format!("bridge {} ended with {code:?}", self.index))
    }
}
