//! Reads several items of a table at once.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use aws_sdk_dynamodb::types::builders::KeysAndAttributesBuilder;

use crate::StoreError;
use crate::call_item::Item;

/// Requests in which all items have to be read.
const READS: usize = 4;

/// The items with these keys, at most 100, in no order; those that are not there are left out.
///
/// # Errors
/// If the table cannot be read. `DynamoDB` may leave some items for the next request; if some are
/// left after four requests, that is an error too, because a part would look like all. `what` names them.
pub async fn read(
    client: &Client,
    table: &str,
    keys: Vec<Item>,
    what: &'static str,
) -> Result<Vec<Item>, StoreError> {
    read_as(KeysAndAttributes::builder(), client, table, keys, what).await
}

/// The same with every write that was answered before the request. An item costs twice as much.
///
/// # Errors
/// See [`read`].
pub async fn read_consistently(
    client: &Client,
    table: &str,
    keys: Vec<Item>,
    what: &'static str,
) -> Result<Vec<Item>, StoreError> {
    let consistent = KeysAndAttributes::builder().consistent_read(true);
    read_as(consistent, client, table, keys, what).await
}

async fn read_as(
    form: KeysAndAttributesBuilder,
    client: &Client,
    table: &str,
    keys: Vec<Item>,
    what: &'static str,
) -> Result<Vec<Item>, StoreError> {
    let (mut keys, mut items) = (keys, Vec::new());
    for _ in 0..READS {
        let request = form
            .clone()
            .set_keys(Some(keys))
            .build()
            .map_err(StoreError::unavailable("BatchGetItem"))?;
        let output = client
            .batch_get_item()
            .request_items(table, request)
            .send()
            .await
            .map_err(StoreError::unavailable("BatchGetItem"))?;
        let read = output.responses.and_then(|mut all| all.remove(table));
        items.extend(read.into_iter().flatten());
        let left = output
            .unprocessed_keys
            .and_then(|mut all| all.remove(table));
        keys = left.map(|left| left.keys).unwrap_or_default();
        if keys.is_empty() {
            return Ok(items);
        }
    }
    Err(StoreError::Malformed {
        what,
        field: "UnprocessedKeys",
    })
}
