//! The tables and the queue: their names, and how to make them where no template does.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};

use crate::StoreError;

/// The table of calls, keyed by `call_id`.
pub const CALLS_KEY: &str = "call_id";
/// When a call was created, in milliseconds since the epoch; what both indexes are sorted by.
pub const CREATED_AT: &str = "created_at";
/// The index of calls by day, and its key: the day in UTC.
pub const BY_DAY: &str = "by_day";
/// See [`BY_DAY`].
pub const DAY_KEY: &str = "day";
/// The index of calls by phone number, and its key.
pub const BY_NUMBER: &str = "by_number";
/// See [`BY_NUMBER`].
pub const NUMBER_KEY: &str = "phone_number";
/// The table of users, keyed by `username`.
pub const USERS_KEY: &str = "username";

/// The table of passing state (rate limits), keyed by `state_key`, with a TTL on `expires_at`.
pub const STATE_KEY: &str = "state_key";

/// A table as it is to be.
#[derive(Clone, Copy, Debug)]
pub struct TableDefinition {
    /// Its name.
    pub name: &'static str,
    /// Its string key.
    pub key: &'static str,
    /// Its indexes, each with its string key; they hold keys only and are sorted by [`CREATED_AT`].
    pub indexes: &'static [(&'static str, &'static str)],
}

/// The indexes of the table of calls.
pub const CALLS_INDEXES: [(&str, &str); 2] = [(BY_DAY, DAY_KEY), (BY_NUMBER, NUMBER_KEY)];

/// Makes a table, unless it is there.
///
/// # Errors
/// If `DynamoDB` refuses.
pub async fn create_if_missing(client: &Client, table: TableDefinition) -> Result<(), StoreError> {
    let mut request = client
        .create_table()
        .table_name(table.name)
        .attribute_definitions(attribute(table.key, ScalarAttributeType::S)?)
        .key_schema(key(table.key, KeyType::Hash)?)
        .billing_mode(BillingMode::PayPerRequest);
    if !table.indexes.is_empty() {
        request = request.attribute_definitions(attribute(CREATED_AT, ScalarAttributeType::N)?);
    }
    let keys_only = Projection::builder()
        .projection_type(ProjectionType::KeysOnly)
        .build();
    for (name, partition) in table.indexes {
        let index = GlobalSecondaryIndex::builder()
            .index_name(*name)
            .key_schema(key(partition, KeyType::Hash)?)
            .key_schema(key(CREATED_AT, KeyType::Range)?)
            .projection(keys_only.clone())
            .build()
            .map_err(StoreError::unavailable("CreateTable"))?;
        request = request
            .attribute_definitions(attribute(partition, ScalarAttributeType::S)?)
            .global_secondary_indexes(index);
    }
    match request.send().await {
        Ok(_) => Ok(()),
        Err(SdkError::ServiceError(error))
            if matches!(error.err(), CreateTableError::ResourceInUseException(_)) =>
        {
            Ok(())
        }
        Err(error) => Err(StoreError::unavailable("CreateTable")(error)),
    }
}

fn attribute(name: &str, kind: ScalarAttributeType) -> Result<AttributeDefinition, StoreError> {
    AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(kind)
        .build()
        .map_err(StoreError::unavailable("CreateTable"))
}

fn key(name: &str, kind: KeyType) -> Result<KeySchemaElement, StoreError> {
    KeySchemaElement::builder()
        .attribute_name(name)
        .key_type(kind)
        .build()
        .map_err(StoreError::unavailable("CreateTable"))
}
