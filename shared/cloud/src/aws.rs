//! The AWS SDK's configuration: rustls on ring, bounded in time.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, Region};

pub use aws_config::SdkConfig;
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use aws_types::service_config::{LoadServiceConfig, ServiceConfigKey};

use crate::roots;

/// How long and how often a request to AWS is tried.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Attempts in all.
    pub attempts: u32,
    /// For one attempt.
    pub attempt_timeout: Duration,
    /// For all attempts together.
    pub operation_timeout: Duration,
}

impl Patience {
    /// For a function: a client is waiting, and nothing else repeats the request.
    pub const FUNCTION: Self = Self {
        attempts: 3,
        attempt_timeout: Duration::from_millis(1_500),
        operation_timeout: Duration::from_secs(4),
    };
    /// For the bridge, which repeats what has to be repeated itself.
    pub const BRIDGE: Self = Self {
        attempts: 1,
        attempt_timeout: Duration::from_secs(3),
        operation_timeout: Duration::from_secs(3),
    };
}

/// The clients of the two services.
#[derive(Clone, Debug)]
pub struct Clients {
    /// `DynamoDB`
    pub dynamodb: aws_sdk_dynamodb::Client,
    /// SQS
    pub sqs: aws_sdk_sqs::Client,
}

impl Clients {
    /// As [`load`] configures them.
    pub async fn load(patience: Patience) -> Self {
        let config = load(patience).await;
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
        }
    }

    /// For servers on this machine that speak their protocols and check no signature.
    pub async fn local(patience: Patience, dynamodb_url: &str, sqs_url: &str) -> Self {
        let config = |url: &str| {
            defaults(patience)
                .region(Region::from_static("us-east-1"))
                .credentials_provider(Credentials::new("local", "local", None, None, "local"))
                .endpoint_url(url)
                .load()
        };
        Self {
            dynamodb: aws_sdk_dynamodb::Client::new(&config(dynamodb_url).await),
            sqs: aws_sdk_sqs::Client::new(&config(sqs_url).await),
        }
    }

    /// The same for another program, of servers on this machine: there the access key is a name, which says who asks.
    #[must_use]
    pub fn signed_as(&self, who: &str) -> Self {
        let key = Credentials::new(who, who, None, None, "local");
        let dynamodb = self.dynamodb.config().to_builder();
        let sqs = self.sqs.config().to_builder();
        Self {
            dynamodb: aws_sdk_dynamodb::Client::from_conf(
                dynamodb.credentials_provider(key.clone()).build(),
            ),
            sqs: aws_sdk_sqs::Client::from_conf(sqs.credentials_provider(key).build()),
        }
    }
}

/// Reads region, credentials and endpoints as every AWS SDK does: the environment
/// (`AWS_REGION`, `AWS_ENDPOINT_URL`, …), the profile, the container, the instance.
pub async fn load(patience: Patience) -> SdkConfig {
    defaults(patience).load().await
}

/// The same for a function: Lambda gives it region and credentials in its environment, and what looks for them elsewhere would
/// be a third of its program.
#[must_use]
pub fn of_function(patience: Patience) -> SdkConfig {
    let environment = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let region = environment("AWS_REGION").or_else(|| environment("AWS_DEFAULT_REGION"));
    let credentials = EnvironmentVariableCredentialsProvider::new();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(region.map(Region::new))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .service_config(FromEnvironment)
        .http_client(roots::amazon_then_system())
        .timeout_config(timeouts(patience))
        .retry_config(retries(patience))
        .build()
}

/// What the SDK asks for by service: the endpoints, `AWS_ENDPOINT_URL_DYNAMODB` before `AWS_ENDPOINT_URL`.
#[derive(Debug)]
struct FromEnvironment;

impl LoadServiceConfig for FromEnvironment {
    fn load_config(&self, key: ServiceConfigKey<'_>) -> Option<String> {
        let service = key.service_id().to_uppercase().replace(' ', "_");
        let own = std::env::var(format!("{}_{service}", key.env()));
        let value = own.or_else(|_| std::env::var(key.env()));
        value.ok().filter(|value| !value.is_empty())
    }
}

fn defaults(patience: Patience) -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(roots::system())
        .timeout_config(timeouts(patience))
        .retry_config(retries(patience))
}

fn timeouts(patience: Patience) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(1))
        .operation_attempt_timeout(patience.attempt_timeout)
        .operation_timeout(patience.operation_timeout)
        .build()
}

fn retries(patience: Patience) -> RetryConfig {
    RetryConfig::standard().with_max_attempts(patience.attempts)
}
