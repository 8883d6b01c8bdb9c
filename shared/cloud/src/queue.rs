//! The queue: from the functions, which send, to the bridges, which receive.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, MessageSystemAttributeName, QueueAttributeName,
};
use domain::QueueMessage;

use crate::StoreError;
use crate::ports::Queue;

/// Most messages that SQS gives or deletes at once.
pub const MAX_BATCH: usize = 10;
/// Longest that SQS waits for a message.
pub const MAX_WAIT: Duration = Duration::from_secs(20);

/// Longest delay of a message.
const MAX_DELAY: Duration = Duration::from_mins(15);

/// What names a delivery when it is deleted or given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt(pub String);

/// How full the queue is, about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that are being worked on.
    pub in_flight: u64,
}

/// A message as it was delivered.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Names this delivery.
    pub receipt: Receipt,
    /// The message's text, not yet read.
    pub body: String,
    /// How many times the message has been delivered, this one included.
    pub receive_count: u32,
}

/// The queue of calls.
#[derive(Clone, Debug)]
pub struct CallQueue {
    client: Client,
    url: String,
}

impl CallQueue {
    /// Over the queue at `url`.
    #[must_use]
    pub fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// About how many messages wait, and how many are being worked on.
    ///
    /// # Errors
    /// If SQS does not answer.
    pub async fn depth(&self) -> Result<Depth, StoreError> {
        let output = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .send()
            .await
            .map_err(StoreError::unavailable("GetQueueAttributes"))?;
        let number = |name| {
            let text = output.attributes.as_ref()?.get(&name)?;
            text.parse().ok()
        };
        Ok(Depth {
            waiting: number(QueueAttributeName::ApproximateNumberOfMessages).unwrap_or(0),
            in_flight: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
                .unwrap_or(0),
        })
    }
}

#[async_trait]
impl Queue for CallQueue {
    async fn send(&self, message: &QueueMessage) -> Result<(), StoreError> {
        let body = message
            .encode()
            .map_err(StoreError::unavailable("SendMessage"))?;
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .send()
            .await
            .map_err(StoreError::unavailable("SendMessage"))?;
        Ok(())
    }

    async fn send_again(&self, body: &str, delay: Duration) -> Result<(), StoreError> {
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .delay_seconds(seconds(delay.min(MAX_DELAY)))
            .send()
            .await
            .map_err(StoreError::unavailable("SendMessage"))?;
        Ok(())
    }

    async fn receive(
        &self,
        most: usize,
        wait: Duration,
        invisible: Duration,
    ) -> Result<Vec<Delivery>, StoreError> {
        // The answer may take as long as the wait.
        let patience = wait + Duration::from_secs(5);
        let timeouts = TimeoutConfig::builder()
            .operation_attempt_timeout(patience)
            .operation_timeout(patience)
            .build();
        let output = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(whole(most.clamp(1, MAX_BATCH)))
            .wait_time_seconds(seconds(wait))
            .visibility_timeout(seconds(invisible))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .customize()
            .config_override(aws_sdk_sqs::Config::builder().timeout_config(timeouts))
            .send()
            .await
            .map_err(StoreError::unavailable("ReceiveMessage"))?;
        let deliveries = output.messages.unwrap_or_default().into_iter();
        Ok(deliveries
            .filter_map(|message| {
                let receive_count = message
                    .attributes
                    .as_ref()
                    .and_then(|all| all.get(&MessageSystemAttributeName::ApproximateReceiveCount))
                    .and_then(|count| count.parse().ok())
                    .unwrap_or(1);
                Some(Delivery {
                    receipt: Receipt(message.receipt_handle?),
                    body: message.body.unwrap_or_default(),
                    receive_count,
                })
            })
            .collect())
    }

    async fn delete(&self, receipts: &[Receipt]) -> Result<Vec<Receipt>, StoreError> {
        let entries = receipts
            .iter()
            .enumerate()
            .map(|(index, receipt)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(index.to_string())
                    .receipt_handle(&receipt.0)
                    .build()
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(StoreError::unavailable("DeleteMessageBatch"))?;
        let output = self
            .client
            .delete_message_batch()
            .queue_url(&self.url)
            .set_entries(Some(entries))
            .send()
            .await
            .map_err(StoreError::unavailable("DeleteMessageBatch"))?;
        let failed = output.failed.iter().filter(|entry| !entry.sender_fault);
        Ok(failed
            .filter_map(|entry| receipts.get(entry.id.parse::<usize>().ok()?).cloned())
            .collect())
    }

    async fn give_back(&self, receipt: &Receipt, delay: Duration) -> Result<(), StoreError> {
        self.client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(&receipt.0)
            .visibility_timeout(seconds(delay))
            .send()
            .await
            .map_err(StoreError::unavailable("ChangeMessageVisibility"))?;
        Ok(())
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}

fn whole(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
