//! Free ports on loopback.

use std::net::{TcpListener, UdpSocket};
use std::ops::RangeInclusive;

/// A TCP port that was free just now.
#[must_use]
pub fn free_tcp() -> u16 {
    let socket = TcpListener::bind(("127.0.0.1", 0)).expect("a free TCP port");
    socket.local_addr().expect("its address").port()
}

/// A UDP port that was free just now.
#[must_use]
pub fn free_udp() -> u16 {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a free UDP port");
    socket.local_addr().expect("its address").port()
}

/// A TCP port that was free just now and stays so while its owner restarts: systems give none of these to sockets
/// that ask for none.
#[must_use]
pub fn lasting_tcp() -> u16 {
    lasting(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
}

/// A UDP port of that kind.
#[must_use]
pub fn lasting_udp() -> u16 {
    lasting(|port| UdpSocket::bind(("127.0.0.1", port)).is_ok())
}

/// So many UDP ports of that kind side by side, from an even one on.
#[must_use]
pub fn lasting_udp_range(many: u16) -> RangeInclusive<u16> {
    let range = |start: u16| (start & !1)..=(start & !1) + many - 1;
    let is_free = |start| hold_udp(range(start)).len() == usize::from(many);
    range(lasting(is_free))
}

/// Takes all of these UDP ports that are free, so that nobody else can have them.
#[must_use]
pub fn hold_udp(ports: RangeInclusive<u16>) -> Vec<UdpSocket> {
    ports
        .filter_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok())
        .collect()
}

fn lasting(is_free: impl Fn(u16) -> bool) -> u16 {
    // Above those of well-known services, below those for audio and those that Linux gives away.
    std::iter::repeat_with(|| fastrand::u16(10_000..16_000))
        .find(|port| is_free(*port))
        .expect("a free port")
}
