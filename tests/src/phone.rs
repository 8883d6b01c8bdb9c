//! A phone behind the trunk that talks and listens: RTP in both directions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::Pbx;
use crate::world::number_before;

/// The bytes of speech in a packet: 20 ms of PCMU.
const SPEECH: usize = 160;
/// The bytes before them.
const HEADER: usize = 12;

/// What a phone says: the same sample over and over. Transcoding on the way may change how loud it is, and leaves
/// its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Samples above zero.
    Positive,
    /// Samples below zero.
    Negative,
}

impl Speech {
    /// As a byte of PCMU, whose first bit is set for a sample that is not negative.
    const fn byte(self) -> u8 {
        match self {
            Self::Positive => 0xaa,
            Self::Negative => 0x2a,
        }
    }

    /// What a packet of PCMU says, if it says one thing that is no silence.
    fn in_packet(speech: &[u8]) -> Option<Self> {
        let first = *speech.first()?;
        let is_one_thing = speech.iter().all(|byte| *byte == first);
        match first {
            // Both are zero.
            0xff | 0x7f => None,
            _ if !is_one_thing => None,
            0x80.. => Some(Self::Positive),
            _ => Some(Self::Negative),
        }
    }
}

/// Packets of each kind of speech, [`Speech::Positive`] first.
type Heard = Arc<[AtomicUsize; 2]>;

/// A phone of the callee's whose end of the audio is here. It answers after 0.3 s, says one thing from then on,
/// and counts what it hears of others.
pub struct Phone {
    /// Its number.
    pub number: String,
    said: Speech,
    heard: Heard,
    sent: Arc<AtomicUsize>,
    tasks: [JoinHandle<()>; 2],
}

impl Phone {
    /// A phone that says this.
    pub async fn saying(said: Speech, pbx: &Arc<Pbx>) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.expect("a UDP port");
        let port = socket.local_addr().expect("its address").port();
        let socket = Arc::new(socket);
        // The callee reads its port of the audio from the number.
        let number = number_before(&format!("{port:05}202"));
        let (heard, sent) = (Heard::default(), Arc::default());
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
        self.heard[other.said as usize].load(Ordering::SeqCst)
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

/// Counts RTP packets of PCMU by what is said in them.
async fn listen(socket: Arc<UdpSocket>, heard: Heard) {
    let mut packet = [0; 2048];
    loop {
        let Ok((length, _)) = socket.recv_from(&mut packet).await else {
            continue;
        };
        // RTP version 2, payload type 0 (PCMU) with or without the marker.
        let is_pcmu = matches!(packet[0], 0x80..=0xbf) && matches!(packet[1], 0x00 | 0x80);
        let speech = packet.get(HEADER..length).unwrap_or_default();
        if let Some(said) = Speech::in_packet(speech).filter(|_| is_pcmu) {
            heard[said as usize].fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Says `said`, in a packet each 20 ms, to who has called `number`, from when the call is answered.
async fn talk(
    socket: Arc<UdpSocket>,
    pbx: Arc<Pbx>,
    number: String,
    said: Speech,
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
        packet.extend_from_slice(&u32::from(said.byte()).to_be_bytes());
        packet.resize(HEADER + SPEECH, said.byte());
        if socket.send_to(&packet, peer).await.is_ok() {
            sent.fetch_add(1, Ordering::SeqCst);
        }
    }
}
