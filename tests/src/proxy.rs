//! A TCP proxy that does what networks do: it cuts connections, refuses them, stalls them, and loses answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Both ways are open.
    Open,
    /// Connections are cut, and new ones closed at once.
    Cut,
    /// Connections stay, and nothing passes.
    Stalled,
}

/// A proxy in front of one server.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
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
        let (mode, modes) = watch::channel(Mode::Open);
        let shared = Arc::new(Shared::default());
        let for_task = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                for_task.connections.fetch_add(1, Ordering::SeqCst);
                if *modes.borrow() == Mode::Cut {
                    continue;
                }
                let (target, modes, shared) =
                    (target.clone(), modes.clone(), Arc::clone(&for_task));
                tokio::spawn(async move {
                    if let Ok(server) = TcpStream::connect(&target).await {
                        pass(client, server, modes, &shared).await;
                    }
                });
            }
        });
        Self {
            address,
            mode,
            shared,
        }
    }

    /// Changes what it does, for the connections that are there as well.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
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
        let holds = request
            .windows(text.len())
            .any(|part| part == text.as_bytes());
        if holds && *times > 0 {
            *times -= 1;
            return true;
        }
        false
    }
}

async fn pass(
    client: TcpStream,
    server: TcpStream,
    mut modes: watch::Receiver<Mode>,
    shared: &Shared,
) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let (mut request, mut answer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut losing = false;
    loop {
        let mode = *modes.borrow_and_update();
        if mode == Mode::Cut {
            return;
        }
        let open = mode == Mode::Open;
        tokio::select! {
            changed = modes.changed() => if changed.is_err() { return },
            read = from_client.read(&mut request), if open => {
                let Ok(length @ 1..) = read else { return };
                losing |= shared.loses(&request[..length]);
                if to_server.write_all(&request[..length]).await.is_err() {
                    return;
                }
            }
            read = from_server.read(&mut answer), if open => {
                let Ok(length @ 1..) = read else { return };
                if losing {
                    shared.lost.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                if to_client.write_all(&answer[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
