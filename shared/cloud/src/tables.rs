//! The tables and the queue: their names, and how to make them where no template does.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};

use crate::StoreError;

/// The table of calls, keyed by `call_id`.
pub const CALLS_KEY: &str = "call_id";
/// The table of users, keyed by `username`.
pub const USERS_KEY: &str = "username";

/// The table of passing state (rate limits), keyed by `state_key`, with a TTL on `expires_at`.
pub const STATE_KEY: &str = "state_key";

/// Makes the table `name` with the string key `key`, unless it is there.
///
/// # Errors
/// If `DynamoDB` refuses.
pub async fn create_if_missing(client: &Client, name: &str, key: &str) -> Result<(), StoreError> {
    let definition = AttributeDefinition::builder()
        .attribute_name(key)
        .attribute_type(ScalarAttributeType::S)
        .build()
        .map_err(StoreError::unavailable("CreateTable"))?;
    let hash = KeySchemaElement::builder()
        .attribute_name(key)
        .key_type(KeyType::Hash)
        .build()
        .map_err(StoreError::unavailable("CreateTable"))?;
    let result = client
        .create_table()
        .table_name(name)
        .attribute_definitions(definition)
        .key_schema(hash)
        .billing_mode(BillingMode::PayPerRequest)
        .send()
        .await;
    match result {
        Ok(_) => Ok(()),
        Err(SdkError::ServiceError(error))
            if matches!(error.err(), CreateTableError::ResourceInUseException(_)) =>
        {
            Ok(())
        }
        Err(error) => Err(StoreError::unavailable("CreateTable")(error)),
    }
}
