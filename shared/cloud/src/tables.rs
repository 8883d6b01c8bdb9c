//! The tables and the queue: their names, and how to make them where no template does.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};

use domain::BridgeId;

use crate::StoreError;

/// The table of calls, keyed by `call_id`.
pub const CALLS_KEY: &str = "call_id";
/// When a call was created, in milliseconds since the epoch: the sort key of [`BY_DAY`] and
/// [`BY_NUMBER`].
pub const CREATED_AT: &str = "created_at";
/// The index of calls by day, and its key: the day in UTC.
pub const BY_DAY: &str = "by_day";
/// See [`BY_DAY`].
pub const DAY_KEY: &str = "day";
/// The index of calls by phone number, and its key.
pub const BY_NUMBER: &str = "by_number";
/// See [`BY_NUMBER`].
pub const NUMBER_KEY: &str = "phone_number";
/// The index of calls that are not over, by who has them and by when something is due. Calls that
/// are over are not in it.
pub const BY_HOLDER: &str = "by_holder";
/// Key of [`BY_HOLDER`]: [`PENDING`], or the bridge as [`held_by`] writes it.
pub const HOLDER_KEY: &str = "holder";
/// What [`BY_HOLDER`] is sorted by: a pending call's `dial_before`, a live one's deadline.
pub const DUE_KEY: &str = "due";
/// The holder of calls that no bridge has claimed.
pub const PENDING: &str = "pending";

/// The holder of the calls that a bridge has claimed.
#[must_use]
pub fn held_by(bridge: &BridgeId) -> String {
    format!("bridge#{bridge}")
}

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
    /// Its indexes.
    pub indexes: &'static [IndexDefinition],
}

/// An index as it is to be. It holds keys only.
#[derive(Clone, Copy, Debug)]
pub struct IndexDefinition {
    /// Its name.
    pub name: &'static str,
    /// Its string key.
    pub key: &'static str,
    /// The number that it is sorted by.
    pub sort: &'static str,
}

/// The indexes of the table of calls.
pub const CALLS_INDEXES: [IndexDefinition; 3] = [
    IndexDefinition {
        name: BY_DAY,
        key: DAY_KEY,
        sort: CREATED_AT,
    },
    IndexDefinition {
        name: BY_NUMBER,
        key: NUMBER_KEY,
        sort: CREATED_AT,
    },
    IndexDefinition {
        name: BY_HOLDER,
        key: HOLDER_KEY,
        sort: DUE_KEY,
    },
];

/// Makes a table, unless it is there.
///
/// # Errors
/// If `DynamoDB` refuses.
pub async fn create_if_missing(client: &Client, table: TableDefinition) -> Result<(), StoreError> {
    let mut request = client
        .create_table()
        .table_name(table.name)
        .key_schema(key(table.key, KeyType::Hash)?)
        .billing_mode(BillingMode::PayPerRequest);
    let mut attributes = BTreeMap::from([(table.key, ScalarAttributeType::S)]);
    let keys_only = Projection::builder()
        .projection_type(ProjectionType::KeysOnly)
        .build();
    for index in table.indexes {
        attributes.insert(index.key, ScalarAttributeType::S);
        attributes.insert(index.sort, ScalarAttributeType::N);
        let index = GlobalSecondaryIndex::builder()
            .index_name(index.name)
            .key_schema(key(index.key, KeyType::Hash)?)
            .key_schema(key(index.sort, KeyType::Range)?)
            .projection(keys_only.clone())
            .build()
            .map_err(StoreError::unavailable("CreateTable"))?;
        request = request.global_secondary_indexes(index);
    }
    for (name, kind) in attributes {
        request = request.attribute_definitions(attribute(name, kind)?);
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
