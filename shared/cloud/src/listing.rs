//! Lists of calls, newest first: by day or by phone number, over indexes that hold keys only.
//!
//! An index entry is written once, with the call, and never again. The calls themselves are then
//! read by their ids, as they are now.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use domain::{Call, CallId, CallStatus, PhoneNumber, Timestamp};

use crate::call_item::{Item, decode};
use crate::{CallStore, StoreError, tables};

/// Most calls of one page; also the most items that `DynamoDB` reads by id at once.
pub const MAX_PAGE: usize = 100;

/// Queries for one page. Days without calls and calls of other statuses cost some; then the page is
/// short, and the next one goes on.
const MAX_QUERIES: usize = 10;

/// Times that `UnprocessedKeys` are asked for again.
const MAX_REPEATS: usize = 5;

/// Which calls are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Only those to this number.
    pub phone_number: Option<PhoneNumber>,
    /// Only those that have this status now.
    pub status: Option<CallStatus>,
    /// Only those created at this time or later.
    pub from: Timestamp,
    /// Only those created before this.
    pub until: Timestamp,
    /// At most this many; never more than [`MAX_PAGE`].
    pub limit: usize,
}

/// Where a page ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Nothing newer follows.
    pub created_at: Timestamp,
    /// The last call of that very time that was seen; without one, all of them were.
    pub call_id: Option<CallId>,
}

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Newest first.
    pub calls: Vec<Call>,
    /// Where the next page begins, if there may be one.
    pub next: Option<Position>,
}

struct Keys {
    keys: Vec<(Timestamp, CallId)>,
    more: bool,
}

impl CallStore {
    /// A page of calls from `start` on. It can be shorter than asked for, or empty, and yet have a
    /// next one.
    ///
    /// # Errors
    /// If the table cannot be read, or an item is malformed.
    pub async fn list(
        &self,
        listing: &Listing,
        start: Option<Position>,
    ) -> Result<Page, StoreError> {
        let limit = listing.limit.clamp(1, MAX_PAGE);
        let mut calls = Vec::with_capacity(limit);
        let mut position = start.unwrap_or(Position {
            created_at: listing.until,
            call_id: None,
        });
        for _ in 0..MAX_QUERIES {
            // With a filter, most of what is read may be passed over.
            let wanted = if listing.status.is_some() {
                MAX_PAGE
            } else {
                limit - calls.len()
            };
            let Some(day) = day_to_read(listing, position) else {
                return Ok(Page { calls, next: None });
            };
            let Keys { keys, more } = self.query(listing, day, position, wanted).await?;
            let mut found = self.get_all(&keys).await?;
            for (created_at, id) in keys {
                let call = found.remove(&id);
                let matching = call.filter(|call| {
                    listing.status.is_none_or(|status| call.status == status)
                        && call.request.created_at == created_at
                });
                position = Position {
                    created_at,
                    call_id: Some(id),
                };
                if let Some(call) = matching {
                    calls.push(call);
                    if calls.len() == limit {
                        let next = Some(position);
                        return Ok(Page { calls, next });
                    }
                }
            }
            if !more {
                if listing.phone_number.is_some() {
                    return Ok(Page { calls, next: None });
                }
                position = Position {
                    created_at: day,
                    call_id: None,
                };
            }
        }
        let next = day_to_read(listing, position).map(|_| position);
        Ok(Page { calls, next })
    }

    async fn query(
        &self,
        listing: &Listing,
        day: Timestamp,
        position: Position,
        wanted: usize,
    ) -> Result<Keys, StoreError> {
        let (index, name, value) = match &listing.phone_number {
            Some(number) => (tables::BY_NUMBER, tables::NUMBER_KEY, number.to_string()),
            None => (tables::BY_DAY, tables::DAY_KEY, day.day()),
        };
        let partition = AttributeValue::S(value);
        let newest = position.created_at.as_millis();
        // At a call the start key says what has been seen of that time; otherwise all of it has.
        let last = if position.call_id.is_some() {
            newest
        } else {
            newest.saturating_sub(1)
        };
        let number = |millis: i64| AttributeValue::N(millis.to_string());
        if last < listing.from.as_millis() {
            return Ok(Keys {
                keys: Vec::new(),
                more: false,
            });
        }
        let start = position.call_id.map(|id| {
            Item::from([
                (name.to_owned(), partition.clone()),
                (tables::CREATED_AT.to_owned(), number(newest)),
                (
                    tables::CALLS_KEY.to_owned(),
                    AttributeValue::S(id.to_string()),
                ),
            ])
        });
        let output = self
            .client()
            .query()
            .table_name(self.table())
            .index_name(index)
            .key_condition_expression("#partition = :partition AND #at BETWEEN :first AND :last")
            .expression_attribute_names("#partition", name)
            .expression_attribute_names("#at", tables::CREATED_AT)
            .expression_attribute_values(":partition", partition)
            .expression_attribute_values(":first", number(listing.from.as_millis()))
            .expression_attribute_values(":last", number(last))
            .scan_index_forward(false)
            .limit(i32::try_from(wanted).unwrap_or(1))
            .set_exclusive_start_key(start)
            .send()
            .await
            .map_err(StoreError::unavailable("Query"))?;
        let more = output.last_evaluated_key.is_some();
        let keys: Result<Vec<_>, _> = output
            .items()
            .iter()
            .map(|item| read_key(item, tables::CREATED_AT))
            .collect();
        Ok(Keys { keys: keys?, more })
    }

    /// The calls by their ids; those that have been forgotten meanwhile are left out.
    async fn get_all(
        &self,
        keys: &[(Timestamp, CallId)],
    ) -> Result<HashMap<CallId, Call>, StoreError> {
        let mut calls = HashMap::with_capacity(keys.len());
        let mut wanted: Vec<Item> = keys
            .iter()
            .map(|(_, id)| {
                let id = AttributeValue::S(id.to_string());
                Item::from([(tables::CALLS_KEY.to_owned(), id)])
            })
            .collect();
        for _ in 0..MAX_REPEATS {
            if wanted.is_empty() {
                return Ok(calls);
            }
            let request = KeysAndAttributes::builder()
                .set_keys(Some(wanted))
                .build()
                .map_err(StoreError::unavailable("BatchGetItem"))?;
            let mut output = self
                .client()
                .batch_get_item()
                .request_items(self.table(), request)
                .send()
                .await
                .map_err(StoreError::unavailable("BatchGetItem"))?;
            let items = output
                .responses
                .take()
                .and_then(|mut all| all.remove(self.table()));
            for item in items.unwrap_or_default() {
                let call = decode(&item)?;
                calls.insert(call.request.id, call);
            }
            let left = output
                .unprocessed_keys
                .and_then(|mut all| all.remove(self.table()));
            wanted = left.map(|left| left.keys).unwrap_or_default();
        }
        if wanted.is_empty() {
            Ok(calls)
        } else {
            Err(StoreError::unavailable("BatchGetItem")(
                "keys were left unprocessed again and again",
            ))
        }
    }
}

/// The start of the day that the position is in, or comes before; `None` if the list is at its end.
fn day_to_read(listing: &Listing, position: Position) -> Option<Timestamp> {
    let newest = if position.call_id.is_some() {
        position.created_at
    } else {
        Timestamp::from_millis(position.created_at.as_millis().saturating_sub(1))
    };
    (newest >= listing.from).then(|| newest.start_of_day())
}

/// Reads an index entry: the time that it is sorted by, and the call.
pub(crate) fn read_key(item: &Item, sort: &'static str) -> Result<(Timestamp, CallId), StoreError> {
    let malformed = |field| StoreError::Malformed {
        what: "index entry",
        field,
    };
    let at = item
        .get(sort)
        .and_then(|value| value.as_n().ok()?.parse().ok())
        .ok_or(malformed(sort))?;
    let id = item
        .get(tables::CALLS_KEY)
        .and_then(|value| value.as_s().ok()?.parse().ok())
        .ok_or(malformed(tables::CALLS_KEY))?;
    Ok((Timestamp::from_millis(at), id))
}
