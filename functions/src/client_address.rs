//! Where a request comes from, as the one who took the connection saw it.

use std::convert::Infallible;
use std::net::SocketAddr;

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
        Ok(Self(
            gateway
                .or_else(peer)
                .unwrap_or_else(|| "unknown".to_owned()),
        ))
    }
}
