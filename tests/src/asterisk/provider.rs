//! A SIP provider that can be silenced: it answers OPTIONS, and passes everything else on to the callee.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Longest SIP message that is passed on, in bytes.
const LONGEST: usize = 64 * 1024;

/// A running provider.
pub struct Provider {
    /// Where it listens.
    pub port: u16,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

/// What it is told, and what it has passed on.
#[derive(Default)]
struct Seen {
    silent: AtomicBool,
    /// The codes with which the phone at a number took INVITEs, and which Asterisk was told.
    heard: Mutex<BTreeMap<String, BTreeSet<String>>>,
}

impl Provider {
    /// In front of the callee at this port.
    pub(super) fn before(callee: u16) -> std::io::Result<Self> {
        let bind = || {
            let socket = std::net::UdpSocket::bind(("127.0.0.1", 0))?;
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket)
        };
        let (outer, inner) = (bind()?, bind()?);
        let port = outer.local_addr()?.port();
        let seen = Arc::new(Seen::default());
        let task = tokio::spawn(pass_on(outer, inner, callee, Arc::clone(&seen)));
        Ok(Self { port, seen, task })
    }

    /// Answers nothing and passes nothing on from now on, as a provider that is down; or no longer.
    pub fn set_silent(&self, silent: bool) {
        self.seen.silent.store(silent, Ordering::SeqCst);
    }

    /// The codes with which the phone at this number took INVITEs, and which Asterisk was told. 100 is
    /// left out, because the phone need not have sent it, and so is 487, which answers a CANCEL.
    pub fn heard_from(&self, number: &str) -> BTreeSet<String> {
        let heard = self.seen.heard.lock();
        let heard = heard.unwrap_or_else(PoisonError::into_inner);
        heard.get(number).cloned().unwrap_or_default()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass_on(outer: UdpSocket, inner: UdpSocket, callee: u16, seen: Arc<Seen>) {
    let callee = SocketAddr::from(([127, 0, 0, 1], callee));
    let (mut from_outside, mut from_inside) = (vec![0; LONGEST], vec![0; LONGEST]);
    // Nobody else sends anything here.
    let mut asterisk = None;
    loop {
        tokio::select! {
            received = outer.recv_from(&mut from_outside) => {
                let Ok((length, from)) = received else { continue };
                asterisk = Some(from);
                let message = &from_outside[..length];
                if seen.silent.load(Ordering::SeqCst) {
                    continue;
                }
                // A lost datagram is sent again by SIP itself.
                let _ = match answer_to_options(message) {
                    Some(answer) => outer.send_to(answer.as_bytes(), from).await,
                    None => inner.send_to(message, callee).await,
                };
            }
            received = inner.recv_from(&mut from_inside) => {
                let (Ok((length, _)), Some(asterisk)) = (received, asterisk) else { continue };
                let message = &from_inside[..length];
                if !seen.silent.load(Ordering::SeqCst) {
                    if let Some((number, code)) = told(message) {
                        let mut heard = seen.heard.lock().unwrap_or_else(PoisonError::into_inner);
                        heard.entry(number).or_default().insert(code);
                    }
                    let _ = outer.send_to(message, asterisk).await;
                }
            }
        }
    }
}

/// The answer to a request that asks whether somebody is there.
fn answer_to_options(message: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(message).ok()?;
    if !text.starts_with("OPTIONS ") {
        return None;
    }
    let repeated = ["Via", "From", "To", "Call-ID", "CSeq"];
    let headers = text.lines().filter(|line| {
        let name = line.split_once(':').map(|(name, _)| name.trim());
        name.is_some_and(|name| {
            repeated
                .iter()
                .any(|wanted| wanted.eq_ignore_ascii_case(name))
        })
    });
    let headers: Vec<_> = headers.collect();
    Some(format!(
        "SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n",
        headers.join("\r\n")
    ))
}

/// The number and the code, if a phone takes an INVITE with this.
fn told(message: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(message).ok()?;
    let code = text.strip_prefix("SIP/2.0 ")?.get(..3)?;
    let header = |name: &str| {
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    if ["100", "487"].contains(&code) || !header("CSeq")?.ends_with("INVITE") {
        return None;
    }
    let (_, address) = header("To")?.split_once("sip:")?;
    let (number, _) = address.split_once('@')?;
    Some((number.to_owned(), code.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_heard_of_when_it_rings_answers_or_refuses() {
        let answer = |code: &str, method: &str| {
            let text = format!(
                "SIP/2.0 {code} X\r\nTo: <sip:+15550000200@h:5>;tag=1\r\nCSeq: 7 {method}\r\n\r\n"
            );
            told(text.as_bytes())
        };
        for code in ["180", "183", "200", "486"] {
            let expected = ("+15550000200".to_owned(), code.to_owned());
            assert_eq!(answer(code, "INVITE"), Some(expected));
        }
        assert_eq!(answer("100", "INVITE"), None);
        assert_eq!(answer("487", "INVITE"), None);
        assert_eq!(answer("200", "CANCEL"), None);
    }

    #[test]
    fn options_are_answered_and_nothing_else() {
        let request = "OPTIONS sip:1@h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z\r\nFrom: <sip:a@h>;tag=1\r\n\
                       To: <sip:b@h>\r\nCall-ID: c\r\nCSeq: 7 OPTIONS\r\nMax-Forwards: 70\r\n\r\n";
        let answer = answer_to_options(request.as_bytes()).unwrap();
        assert!(answer.starts_with("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h;branch=z\r\n"));
        assert!(answer.contains("CSeq: 7 OPTIONS\r\n") && !answer.contains("Max-Forwards"));
        assert_eq!(answer_to_options(b"INVITE sip:1@h SIP/2.0\r\n\r\n"), None);
        assert_eq!(answer_to_options(&[0xff]), None);
    }
}
