//! The dead-letter queue: messages that were delivered again and again and never done with.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::MessageSystemAttributeName;
use domain::Timestamp;

use crate::StoreError;

/// How long a message stays with whoever looks at it.
const LOOK_FOR: Duration = Duration::from_mins(1);
/// Looks that find nothing before the queue counts as seen through: a look asks only some of SQS's servers.
const EMPTY_LOOKS: usize = 3;

/// A message that nobody could do anything with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// SQS's id of the message.
    pub id: String,
    /// Its text, as it was sent.
    pub body: String,
    /// When it was sent first.
    pub sent_at: Option<Timestamp>,
    receipt: String,
}

/// The dead letters of the queue of calls.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    client: Client,
    url: String,
    calls_url: String,
}

impl DeadLetters {
    /// In the queue at `url`, which come from the queue at `calls_url`.
    #[must_use]
    pub fn new(client: Client, url: String, calls_url: String) -> Self {
        Self {
            client,
            url,
            calls_url,
        }
    }

    /// Looks at up to `most` of them. They are with the caller for a minute, unless [`Self::put_back`] is called.
    ///
    /// # Errors
    /// If SQS does not answer.
    pub async fn take(&self, most: usize) -> Result<Vec<DeadLetter>, StoreError> {
        let mut letters: Vec<DeadLetter> = Vec::new();
        let mut empty = 0;
        while letters.len() < most && empty < EMPTY_LOOKS {
            let output = self
                .client
                .receive_message()
                .queue_url(&self.url)
                .max_number_of_messages(10)
                .visibility_timeout(seconds(LOOK_FOR))
                .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
                .send()
                .await
                .map_err(StoreError::unavailable("ReceiveMessage"))?;
            let received = output.messages.unwrap_or_default();
            empty = if received.is_empty() { empty + 1 } else { 0 };
            letters.extend(received.into_iter().filter_map(|message| {
                let sent_at = message
                    .attributes
                    .as_ref()
                    .and_then(|all| all.get(&MessageSystemAttributeName::SentTimestamp))
                    .and_then(|millis| millis.parse().ok())
                    .map(Timestamp::from_millis);
                Some(DeadLetter {
                    id: message.message_id?,
                    body: message.body.unwrap_or_default(),
                    sent_at,
                    receipt: message.receipt_handle?,
                })
            }));
        }
        Ok(letters)
    }

    /// Leaves a letter where it was, for the next one to look at.
    ///
    /// # Errors
    /// If SQS does not answer; then it is there again after a minute.
    pub async fn put_back(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        self.client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(&letter.receipt)
            .visibility_timeout(0)
            .send()
            .await
            .map_err(StoreError::unavailable("ChangeMessageVisibility"))?;
        Ok(())
    }

    /// Sends a letter to the queue of calls again, and then takes it out here. Done twice it is delivered
    /// twice, which rings nobody twice.
    ///
    /// # Errors
    /// If SQS does not answer; the letter may be in both queues then.
    pub async fn redrive(&self, letter: &DeadLetter) -> Result<(), StoreError> {
        self.client
            .send_message()
            .queue_url(&self.calls_url)
            .message_body(&letter.body)
            .send()
            .await
            .map_err(StoreError::unavailable("SendMessage"))?;
        self.client
            .delete_message()
            .queue_url(&self.url)
            .receipt_handle(&letter.receipt)
            .send()
            .await
            .map_err(StoreError::unavailable("DeleteMessage"))?;
        Ok(())
    }
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}
