//! Whose certificates a function trusts.

use std::fs;
use std::sync::Arc;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use cloud::roots::{self, TrustStore};
use e2e::tls::TlsRelay;
use e2e::world::{SECRET_KEY, jwt, source};
use e2e::{Pbx, World};
use functions::jwt::Scope;
use serde_json::json;

use crate::Suite;
use crate::lambda::start_with;

pub fn add(suite: &mut Suite) {
    suite.add(
        "trust::who_is_not_known_at_first_is_looked_up_once",
        in_turn,
    );
    suite.add(
        "trust::a_function_trusts_whom_the_system_trusts",
        the_systems,
    );
}

/// The error of two requests, one after the other, through a relay whose authority is among `first` or `then`.
async fn ask(relay: &TlsRelay, first: TrustStore, then: TrustStore) -> Result<(), String> {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .retry_config(RetryConfig::disabled())
        .http_client(roots::in_turn(first, then))
        .endpoint_url(&relay.secured.url);
    let client = aws_sdk_dynamodb::Client::from_conf(config.build());
    for _ in 0..2 {
        let asked = client.list_tables().send().await;
        asked.map_err(|error| cloud::error::chain(&error))?;
    }
    Ok(())
}

async fn in_turn(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let url = world.embedded.dynamodb_url();
    let other = TlsRelay::before(url).await;
    let trusts =
        |relay: &TlsRelay| TrustStore::empty().with_pem_certificate(&*relay.secured.authority);
    let known = TlsRelay::before(url).await;
    let asked = ask(&known, trusts(&known), trusts(&other)).await;
    assert_eq!((asked, known.refused()), (Ok(()), 0));
    // Looked up at the first request, and known at the second.
    let unknown = TlsRelay::before(url).await;
    let asked = ask(&unknown, trusts(&other), trusts(&unknown)).await;
    assert_eq!((asked, unknown.refused()), (Ok(()), 1));
    let nobodys = TlsRelay::before(url).await;
    let refused = ask(&nobodys, trusts(&known), trusts(&other)).await;
    assert!(
        refused
            .as_ref()
            .is_err_and(|error| error.contains("invalid peer certificate")),
        "{refused:?}"
    );
}

async fn the_systems(pbx: Arc<Pbx>) {
    let world = World::without_bridge(&pbx).await;
    let relay = TlsRelay::before(world.embedded.dynamodb_url()).await;
    let token = jwt(SECRET_KEY)
        .issue("alice", &Scope::ALL, cloud::clock::now())
        .unwrap();
    let headers = json!({"authorization": format!("Bearer {token}")});
    let folder = tempfile::tempdir().unwrap();
    let other = TlsRelay::before(world.embedded.dynamodb_url()).await;
    let file = folder.path().join("authority.pem");
    for (trusted, expected) in [(&relay, 200), (&other, 503)] {
        fs::write(&file, &trusted.secured.authority).unwrap();
        let settings = source(&[
            ("AWS_ENDPOINT_URL_DYNAMODB", &relay.secured.url),
            ("SSL_CERT_FILE", file.to_str().unwrap()),
            ("SSL_CERT_DIR", "/nonexistent"),
        ]);
        let (_program, mut status) = start_with("status", &world, &settings).await;
        let answer = status
            .invoke("GET", "/api/v2/calls", headers.clone(), "")
            .await;
        assert_eq!(answer["statusCode"], expected, "{answer}");
    }
}
