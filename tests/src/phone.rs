//! A phone behind the trunk that talks and listens: RTP in both directions.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::Pbx;
use crate::world::number_before;

/// The bytes of speech in a packet: 20 ms of PCMU.
const SPEECH: usize = 160;
/// The bytes before them.
const HEADER: usize = 12;

/// A phone of the callee's whose end of the audio is here. It answers after 0.3 s, says one byte over and over
/// from then on, and counts what it hears of others.
pub struct Phone {
    /// Its number.
    pub number: String,
    said: u8,
    heard: Arc<Mutex<[usize; 256]>>,
    sent: Arc<AtomicUsize>,
    tasks: [JoinHandle<()>; 2],
}

impl Phone {
    /// A phone that says this byte.
    pub async fn saying(said: u8, pbx: &Arc<Pbx>) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a UDP port");
        let port = socket.local_addr().expect("its address").port();
        let socket = Arc::new(socket);
        // The callee reads its port of the audio from the number.
        let number = number_before(&format!("{port:05}202"));
        let (heard, sent) = (Arc::new(Mutex::new([0; 256])), Arc::default());
        let tasks = [
            tokio::spawn(listen(Arc::clone(&socket), Arc::clone(&heard))),
            tokio::spawn(talk(
                socket,
                Arc::clone(pbx),
                number.clone(),
                said,
                Arc::clone(&sent),
            )),
        ];
        Self {
            number,
            said,
            heard,
            sent,
            tasks,
        }
    }

    /// How many packets it has sent.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent.load(Ordering::SeqCst)
    }

    /// How many packets it has received of what `other` says.
    #[must_use]
    pub fn heard(&self, other: &Self) -> usize {
        self.heard.lock().expect("no panic")[usize::from(other.said)]
    }

    /// Waits until it has received so many more packets of what `other` says.
    pub async fn hears(&self, other: &Self, packets: usize) {
        let wanted = self.heard(other) + packets;
        let hearing = async {
            while self.heard(other) < wanted {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let patience = Duration::from_secs(30);
        assert!(
            tokio::time::timeout(patience, hearing).await.is_ok(),
            "{} has heard {} packets of {}, which sent {}",
            self.number,
            self.heard(other),
            other.number,
            other.sent()
        );
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Counts RTP packets of PCMU by what is said in them, if that is one byte.
async fn listen(socket: Arc<UdpSocket>, heard: Arc<Mutex<[usize; 256]>>) {
    let mut packet = [0; 2048];
    loop {
        let Ok((length, _)) = socket.recv_from(&mut packet).await else {
            continue;
        };
        // RTP version 2, payload type 0 (PCMU) with or without the marker.
        let is_speech =
            length > HEADER && matches!(packet[0], 0x80..=0xbf) && matches!(packet[1], 0x00 | 0x80);
        let said = packet[HEADER];
        if is_speech && packet[HEADER..length].iter().all(|byte| *byte == said) {
            heard.lock().expect("no panic")[usize::from(said)] += 1;
        }
    }
}

/// Says `said`, in a packet each 20 ms, to who has called `number`, from when the call is answered.
async fn talk(
    socket: Arc<UdpSocket>,
    pbx: Arc<Pbx>,
    number: String,
    said: u8,
    sent: Arc<AtomicUsize>,
) {
    let Pbx::Asterisk(asterisk) = &*pbx else {
        // The simulator has no media.
        return;
    };
    let peer = loop {
        let invites = asterisk.invites();
        let invite = invites.iter().find(|invite| invite.to == number);
        if let Some(port) = invite.and_then(|invite| invite.audio) {
            break SocketAddr::from(([127, 0, 0, 1], port));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut every = tokio::time::interval(Duration::from_millis(20));
    for sequence in 0_u32.. {
        every.tick().await;
        let mut packet = vec![0x80, 0x00];
        packet.extend_from_slice(&sequence.to_be_bytes()[2..]);
        let samples = u32::try_from(SPEECH).unwrap_or(u32::MAX);
        packet.extend_from_slice(&sequence.wrapping_mul(samples).to_be_bytes());
        packet.extend_from_slice(&u32::from(said).to_be_bytes());
        packet.resize(HEADER + SPEECH, said);
        if socket.send_to(&packet, peer).await.is_ok() {
            sent.fetch_add(1, Ordering::SeqCst);
        }
    }
}
