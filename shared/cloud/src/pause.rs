//! The switch by which an administrator stops all bridges from taking new calls: an item of the table `state`.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::Timestamp;

use crate::ports::Pause;
use crate::{StoreError, tables};

/// The item that is there while calls are paused.
pub const PAUSE: &str = "pause";

/// The switch.
#[derive(Clone, Debug)]
pub struct PauseSwitch {
    client: Client,
    table: String,
}

impl PauseSwitch {
    /// In the table named `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Stops the bridges from taking new calls. It stays so until [`PauseSwitch::resume`].
    ///
    /// # Errors
    /// If the table cannot be written; then it may have been.
    pub async fn pause(&self, now: Timestamp) -> Result<(), StoreError> {
        self.client
            .put_item()
            .table_name(&self.table)
            .item(tables::STATE_KEY, key())
            .item("at", AttributeValue::N(now.as_millis().to_string()))
            .send()
            .await
            .map_err(StoreError::unavailable("PutItem"))?;
        Ok(())
    }

    /// Lets them take calls again.
    ///
    /// # Errors
    /// If the table cannot be written; then it may have been.
    pub async fn resume(&self) -> Result<(), StoreError> {
        self.client
            .delete_item()
            .table_name(&self.table)
            .key(tables::STATE_KEY, key())
            .send()
            .await
            .map_err(StoreError::unavailable("DeleteItem"))?;
        Ok(())
    }
}

fn key() -> AttributeValue {
    AttributeValue::S(PAUSE.to_owned())
}

#[async_trait]
impl Pause for PauseSwitch {
    async fn is_on(&self) -> Result<bool, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(tables::STATE_KEY, key())
            .send()
            .await
            .map_err(StoreError::unavailable("GetItem"))?;
        Ok(output.item.is_some())
    }
}
