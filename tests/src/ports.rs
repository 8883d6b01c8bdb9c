//! Free ports on loopback.

use std::net::{TcpListener, UdpSocket};

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
