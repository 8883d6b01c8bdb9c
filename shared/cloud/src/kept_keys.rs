//! The key that signs tokens, where it is kept for the functions: in Secrets Manager.
//!
//! The secret's newest version (`AWSCURRENT`) is the key, the one before (`AWSPREVIOUS`) is the key before. So putting
//! a new value is all that it takes to change the key.

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{Secret, StoreError};

/// The key, and the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    /// Signs and verifies.
    pub current: Secret,
    /// Still verifies.
    pub previous: Option<Secret>,
}

/// Length of a key's id, in characters of base64url.
const ID_LENGTH: usize = 12;

/// Names a key without telling it: the first bytes of its SHA-256, in base64url. It is the `kid` of
/// tokens.
#[must_use]
pub fn key_id(key: &Secret) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, key.expose().as_bytes());
    let mut id = URL_SAFE_NO_PAD.encode(digest);
    id.truncate(ID_LENGTH);
    id
}

/// Whether `text` can be a key's id.
#[must_use]
pub fn is_key_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.len() == ID_LENGTH && text.bytes().all(allowed)
}

/// A secret that is kept in Secrets Manager.
#[derive(Clone, Debug)]
pub struct KeptKeys {
    client: Client,
    arn: String,
}

impl KeptKeys {
    /// The secret named `arn`.
    #[must_use]
    pub fn new(config: &SdkConfig, arn: String) -> Self {
        Self {
            client: Client::new(config),
            arn,
        }
    }

    /// Reads both keys.
    ///
    /// # Errors
    /// If Secrets Manager does not answer, refuses, or has no current version that is text.
    pub async fn read(&self) -> Result<KeyPair, StoreError> {
        let (current, previous) =
            tokio::join!(self.version("AWSCURRENT"), self.version("AWSPREVIOUS"));
        let current = current?.ok_or(StoreError::Malformed {
            what: "secret",
            field: "AWSCURRENT",
        })?;
        Ok(KeyPair {
            current,
            previous: previous?,
        })
    }

    async fn version(&self, stage: &str) -> Result<Option<Secret>, StoreError> {
        let output = self
            .client
            .get_secret_value()
            .secret_id(&self.arn)
            .version_stage(stage)
            .send()
            .await;
        match output {
            // Written by hand it may have ended in a newline.
            Ok(output) => Ok(output
                .secret_string
                .map(|text| Secret::new(text.trim_end().to_owned()))),
            Err(error) => match error.as_service_error() {
                Some(GetSecretValueError::ResourceNotFoundException(_)) => Ok(None),
                _ => Err(StoreError::unavailable("GetSecretValue")(error)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_digest() {
        // printf k1 | openssl dgst -sha256 -binary | base64 | tr '+/' '-_' | cut -c1-12
        let id = key_id(&Secret::new("k1".to_owned()));
        assert_eq!(id, "arnx6499M4j0");
        assert!(is_key_id(&id));
        for wrong in ["", "k1", "0123456789abc", "0123456789a#"] {
            assert!(!is_key_id(wrong), "{wrong}");
        }
    }
}
