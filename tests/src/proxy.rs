//! A TCP proxy that does what networks do: it cuts connections, resets them, stalls them, slows them down,
//! passes one way only, and loses answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Both ways are open.
    Open,
    /// Connections are closed, and new ones at once.
    Cut,
    /// Connections are reset (RST), and new ones at once.
    Reset,
    /// Connections stay, and nothing passes.
    Stalled,
    /// Requests pass, answers are lost. A connection that has lost some is closed once the way is open again.
    HalfOpen,
    /// Bytes pass, [`PIECE`] at a time, with this time before each.
    Slow(Duration),
}

/// How many bytes a slow network passes at a time.
pub const PIECE: usize = 1024;

/// What a connection begins with is looked at up to here.
const HEAD: usize = 1024;

/// A mode, and which connections it is for.
#[derive(Clone, Debug)]
struct Rule {
    mode: Mode,
    /// Those that begin with a request that holds this text; all without it.
    only: Option<String>,
}

impl Rule {
    /// What is done with a connection that began with `head`.
    fn mode_for(&self, head: &[u8]) -> Mode {
        match &self.only {
            Some(text) if !holds(head, text) => Mode::Open,
            _ => self.mode,
        }
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

/// A proxy in front of one server.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    rule: watch::Sender<Rule>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Requests that hold this text are passed on, and their answers lost.
    losing: Mutex<Option<(String, usize)>>,
    lost: AtomicUsize,
    connections: AtomicUsize,
}

impl Proxy {
    /// In front of `target`.
    pub async fn start(target: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let open = Rule {
            mode: Mode::Open,
            only: None,
        };
        let (rule, rules) = watch::channel(open);
        let shared = Arc::new(Shared::default());
        let for_task = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                for_task.connections.fetch_add(1, Ordering::SeqCst);
                let (target, rules, shared) =
                    (target.clone(), rules.clone(), Arc::clone(&for_task));
                tokio::spawn(async move { serve(client, &target, rules, &shared).await });
            }
        });
        Self {
            address,
            rule,
            shared,
        }
    }

    /// In front of the server at `url`.
    pub async fn before(url: &str) -> Self {
        let rest = url.split("//").nth(1).expect("a URL with a host");
        Self::start(rest.split('/').next().unwrap_or(rest).to_owned()).await
    }

    /// `url` as it is reached through this proxy.
    #[must_use]
    pub fn instead_of(&self, url: &str) -> String {
        let rest = url.split("//").nth(1).expect("a URL with a host");
        let path = rest.find('/').map_or("", |slash| &rest[slash..]);
        format!("http://{}{path}", self.address)
    }

    /// Changes what it does, for the connections that are there as well.
    pub fn set(&self, mode: Mode) {
        self.rule.send_replace(Rule { mode, only: None });
    }

    /// Changes what it does with the connections that begin with a request that holds `text`.
    pub fn set_for(&self, text: &str, mode: Mode) {
        let only = Some(text.to_owned());
        self.rule.send_replace(Rule { mode, only });
    }

    /// Loses the answers to the next requests that hold `text`: they take effect, and the client is cut off.
    pub fn lose_answers(&self, text: &str, times: usize) {
        *self.shared.losing.lock().expect("no panic") = Some((text.to_owned(), times));
    }

    /// How many connections have been made.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many answers have been lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Whether the answer to these bytes is to be lost.
    fn loses(&self, request: &[u8]) -> bool {
        let mut losing = self.losing.lock().expect("no panic");
        let Some((text, times)) = losing.as_mut() else {
            return false;
        };
        if holds(request, text) && *times > 0 {
            *times -= 1;
            return true;
        }
        false
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Closed,
    Reset,
}

async fn serve(
    mut client: TcpStream,
    target: &str,
    mut rules: watch::Receiver<Rule>,
    shared: &Shared,
) {
    let end = match begin(&client, &mut rules).await {
        Ok(head) => match TcpStream::connect(target).await {
            Ok(mut server) => pass(&mut client, &mut server, &head, rules, shared).await,
            Err(_) => End::Closed,
        },
        Err(end) => end,
    };
    if end == End::Reset {
        let _ = client.set_zero_linger();
    }
}

/// Waits for the first bytes of a connection, without taking them.
async fn begin(client: &TcpStream, rules: &mut watch::Receiver<Rule>) -> Result<Vec<u8>, End> {
    let mut head = vec![0; HEAD];
    loop {
        match rules.borrow_and_update().mode_for(&[]) {
            Mode::Cut => return Err(End::Closed),
            Mode::Reset => return Err(End::Reset),
            _ => {}
        }
        tokio::select! {
            changed = rules.changed() => if changed.is_err() { return Err(End::Closed) },
            peeked = client.peek(&mut head) => {
                let Ok(length @ 1..) = peeked else { return Err(End::Closed) };
                head.truncate(length);
                return Ok(head);
            }
        }
    }
}

async fn pass(
    client: &mut TcpStream,
    server: &mut TcpStream,
    head: &[u8],
    mut rules: watch::Receiver<Rule>,
    shared: &Shared,
) -> End {
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let (mut request, mut answer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    // The answer to come is to be lost, and some of an answer has been.
    let (mut losing, mut maimed) = (false, false);
    loop {
        let mode = rules.borrow_and_update().mode_for(head);
        let (latency, most) = match mode {
            Mode::Cut => return End::Closed,
            Mode::Reset => return End::Reset,
            Mode::Open | Mode::Slow(_) if maimed => return End::Closed,
            Mode::Slow(latency) => (latency, PIECE),
            Mode::Open | Mode::Stalled | Mode::HalfOpen => (Duration::ZERO, request.len()),
        };
        let moves = mode != Mode::Stalled;
        tokio::select! {
            // What comes after a change passes by the new rule.
            biased;
            changed = rules.changed() => if changed.is_err() { return End::Closed },
            read = from_client.read(&mut request[..most]), if moves => {
                let Ok(length @ 1..) = read else {
                    // A client that waits no longer has lost its answer as well.
                    shared.lost.fetch_add(usize::from(losing), Ordering::SeqCst);
                    return End::Closed;
                };
                losing |= shared.loses(&request[..length]);
                pause(latency).await;
                if to_server.write_all(&request[..length]).await.is_err() {
                    return End::Closed;
                }
            }
            read = from_server.read(&mut answer[..most]), if moves => {
                let Ok(length @ 1..) = read else { return End::Closed };
                if losing {
                    shared.lost.fetch_add(1, Ordering::SeqCst);
                    return End::Closed;
                }
                if mode == Mode::HalfOpen {
                    maimed = true;
                    continue;
                }
                pause(latency).await;
                if to_client.write_all(&answer[..length]).await.is_err() {
                    return End::Closed;
                }
            }
        }
    }
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}
