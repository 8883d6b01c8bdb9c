//! Where a request comes from, as the one who took the connection saw it.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;

/// The address that the API Gateway saw, as an extension of the request.
#[derive(Clone, Debug)]
pub struct GatewayAddress(pub String);

/// The client's address: API Gateway's `sourceIp`, or the peer of the connection. Never a header:
/// `X-Forwarded-For` is the client's to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub String);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let gateway = parts.extensions.get::<GatewayAddress>();
        let gateway = gateway.map(|address| address.0.clone());
        let peer = || {
            let info = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
            Some(info.0.ip().to_string())
        };
        // Whoever cannot be told apart shares one limit.
        let address = gateway.or_else(peer);
        Ok(Self(address.map_or_else(
            || "unknown".to_owned(),
            |address| network_of(&address),
        )))
    }
}

/// What stands for one client: an IPv4 address, or the /64 of an IPv6 address, because whoever has one
/// such address has 2^64 of them (RFC 6177).
fn network_of(address: &str) -> String {
    let Ok(parsed) = address.parse::<IpAddr>() else {
        return address.to_owned();
    };
    match parsed.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let network = Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX));
            format!("{network}/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_one_network_are_one_client() {
        for (address, expected) in [
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
            ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
            ("unknown", "unknown"),
        ] {
            assert_eq!(network_of(address), expected, "{address}");
        }
    }
}
