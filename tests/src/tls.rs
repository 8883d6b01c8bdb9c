//! Certificates of an authority that nobody knows, and a relay that speaks TLS with them before a server that does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// An authority of its own.
pub struct Authority {
    /// Its certificate, in PEM.
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    /// A certificate for `localhost`, and its key.
    #[must_use]
    pub fn certify(&self) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer);
        (certificate.expect("a certificate"), key)
    }
}

/// A server that speaks TLS, and whom to trust for it.
#[derive(Clone, Debug)]
pub struct Secured {
    /// Where it is: `https://localhost:…`.
    pub url: String,
    /// The certificate of its authority, in PEM.
    pub authority: String,
}

/// The relay.
pub struct TlsRelay {
    /// Where it is.
    pub secured: Secured,
    refused: Arc<AtomicUsize>,
}

impl TlsRelay {
    /// Before the server at this URL.
    pub async fn before(url: &str) -> Self {
        let url = url.trim_start_matches("http://").trim_end_matches('/');
        let (target, path) = url.find('/').map_or((url, ""), |slash| url.split_at(slash));
        let target = target.to_owned();
        let authority = Authority::new();
        let (certificate, key) = authority.certify();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            );
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("a key for the certificate")));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let refused = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&refused);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // One handshake after the other: whoever was answered finds those before it counted.
                let Ok(mut from) = acceptor.accept(socket).await else {
                    counted.fetch_add(1, Ordering::Relaxed);
                    continue;
                };
                let target = target.clone();
                tokio::spawn(async move {
                    let mut to = TcpStream::connect(target).await.ok()?;
                    copy_bidirectional(&mut from, &mut to).await.ok()
                });
            }
        });
        Self {
            secured: Secured {
                url: format!("https://localhost:{port}{path}"),
                authority: authority.certificate,
            },
            refused,
        }
    }

    /// How many went away because they did not trust the certificate.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}
