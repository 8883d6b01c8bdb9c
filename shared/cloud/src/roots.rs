//! Whom a function trusts: Amazon's own roots first, which are in the program, and whom the system trusts after that.
//!
//! Five roots (<https://www.amazontrust.com/repository/>) vouch for AWS's endpoints. Reading all
//! certificates of the system takes longer than all else that a function does before it asks for work.
//! A server that the five do not vouch for, such as a proxy with certificates of its own, is asked once
//! more with the system's certificates. From then on only those are used.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_dynamodb::config::SharedHttpClient;
use aws_smithy_http_client::Builder;
pub use aws_smithy_http_client::tls::TrustStore;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::{
    RuntimeComponents, RuntimeComponentsBuilder,
};
use aws_smithy_types::config_bag::ConfigBag;

/// Amazon Root CA 1 to 4 and the Starfield root that they are cross-signed by.
const AMAZON: &[u8] = include_bytes!("amazon_roots.pem");

/// A client that trusts Amazon's roots and, where they do not do, the system's, too.
#[must_use]
pub fn amazon_then_system() -> SharedHttpClient {
    let amazon = TrustStore::empty().with_pem_certificate(AMAZON);
    in_turn(amazon, TrustStore::default().with_pem_certificate(AMAZON))
}

/// A client that trusts the one, and the other from when the one does not do for a server's certificate.
#[must_use]
pub fn in_turn(first: TrustStore, then: TrustStore) -> SharedHttpClient {
    SharedHttpClient::new(InTurn {
        first: trusting(first),
        then: trusting(then),
        first_is_not_enough: Arc::default(),
    })
}

/// A client that trusts the system's certificates.
#[must_use]
pub fn system() -> SharedHttpClient {
    trusting(TrustStore::default())
}

fn trusting(roots: TrustStore) -> SharedHttpClient {
    let mut client = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring));
    if let Ok(context) = TlsContext::builder().with_trust_store(roots).build() {
        client = client.tls_context(context);
    }
    client.build_https()
}

/// Two clients. The certificates that the second trusts are not read before it is needed.
#[derive(Clone, Debug)]
struct InTurn {
    first: SharedHttpClient,
    then: SharedHttpClient,
    first_is_not_enough: Arc<AtomicBool>,
}

impl HttpClient for InTurn {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        if self.first_is_not_enough.load(Ordering::Relaxed) {
            return self.then.http_connector(settings, components);
        }
        SharedHttpConnector::new(Connector {
            clients: self.clone(),
            settings: settings.clone(),
            components: components.clone(),
        })
    }

    fn validate_base_client_config(
        &self,
        components: &RuntimeComponentsBuilder,
        config: &ConfigBag,
    ) -> Result<(), BoxError> {
        self.first.validate_base_client_config(components, config)
    }
}

/// What one request is sent by.
#[derive(Debug)]
struct Connector {
    clients: InTurn,
    settings: HttpConnectorSettings,
    components: RuntimeComponents,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let by =
            |client: &SharedHttpClient| client.http_connector(&self.settings, &self.components);
        // Bodies that cannot be sent twice, which streams are, are none of ours.
        let Some(again) = request.try_clone() else {
            return by(&self.clients.then).call(request);
        };
        let sent = by(&self.clients.first).call(request);
        let (clients, settings) = (self.clients.clone(), self.settings.clone());
        let components = self.components.clone();
        HttpConnectorFuture::new(async move {
            match sent.await {
                // Nothing of the request was sent.
                Err(error) if is_about_certificate(&error) => {
                    clients.first_is_not_enough.store(true, Ordering::Relaxed);
                    let connector = clients.then.http_connector(&settings, &components);
                    connector.call(again).await
                }
                answered => answered,
            }
        })
    }
}

/// Whatever is wrong with the certificate: which of its problems is told depends on who is trusted.
fn is_about_certificate(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    // An I/O error passes over what is in it when it is asked for its source.
    let inner = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref);
    match inner {
        Some(inner) => is_about_certificate(inner),
        None => error.source().is_some_and(is_about_certificate),
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    #[test]
    fn a_certificates_problem_is_found_however_deep_it_is() {
        let problem = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        assert!(is_about_certificate(&problem()));
        assert!(is_about_certificate(&io::Error::other(io::Error::new(
            io::ErrorKind::InvalidData,
            problem()
        ))));
        let refused = io::Error::other(rustls::Error::HandshakeNotComplete);
        assert!(!is_about_certificate(&refused));
        assert!(!is_about_certificate(&io::Error::other("no connection")));
    }
}
