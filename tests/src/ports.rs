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

/// So many UDP ports side by side that were free just now, from an even one on. They are below those that systems
/// give to sockets that ask for none, so that they stay free.
#[must_use]
pub fn free_udp_range(many: u16) -> RangeInclusive<u16> {
    const BELOW: u16 = 20_000;
    loop {
        let start = fastrand::u16(5_000..(BELOW - many) / 2) * 2;
        let range = start..=start + many - 1;
        if hold_udp(range.clone()).len() == usize::from(many) {
            return range;
        }
    }
}

/// Takes all of these UDP ports that are free, so that nobody else can have them.
#[must_use]
pub fn hold_udp(ports: RangeInclusive<u16>) -> Vec<UdpSocket> {
    ports
        .filter_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok())
        .collect()
}
