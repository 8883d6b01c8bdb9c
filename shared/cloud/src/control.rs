//! The control queues: from the function that hangs up to the bridge that owns the call.

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use domain::{BridgeId, ControlMessage};

use crate::StoreError;
use crate::ports::Control;

/// The control queues of all bridges.
#[derive(Clone, Debug)]
pub struct ControlQueues {
    client: Client,
    url_prefix: String,
}

impl ControlQueues {
    /// Over the queues whose URLs are `url_prefix` and the bridge's id.
    #[must_use]
    pub fn new(client: Client, url_prefix: String) -> Self {
        Self { client, url_prefix }
    }
}

#[async_trait]
impl Control for ControlQueues {
    async fn send(&self, bridge: &BridgeId, message: ControlMessage) -> Result<(), StoreError> {
        let body = message
            .encode()
            .map_err(StoreError::unavailable("SendMessage"))?;
        self.client
            .send_message()
            .queue_url(format!("{}{bridge}", self.url_prefix))
            .message_body(body)
            .send()
            .await
            .map_err(StoreError::unavailable("SendMessage"))?;
        Ok(())
    }
}
