//! Rate limits that all instances of a function share, in the table `state`.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use domain::Timestamp;

use crate::{StoreError, tables};

/// So many requests in so long a window, for each client. Windows are fixed, so at a
/// window's edge a client may use up two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests in a window.
    pub requests: u32,
    /// The window's length, whole seconds.
    pub window: Duration,
}

/// Where a client stands in its window, this request included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the request is within the limit.
    pub allowed: bool,
    /// How many more requests the window has.
    pub remaining: u32,
    /// When the next window begins, from now.
    pub reset: Duration,
}

/// Counts requests.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    client: Client,
    table: String,
    name: &'static str,
    limit: RateLimit,
}

impl RateLimiter {
    /// Over the table named `table`; `name` keeps the counts of different limits apart.
    #[must_use]
    pub fn new(client: Client, table: String, name: &'static str, limit: RateLimit) -> Self {
        Self {
            client,
            table,
            name,
            limit,
        }
    }

    /// The limit.
    #[must_use]
    pub const fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Counts a request of `who`: one write, whatever the answer.
    ///
    /// # Errors
    /// If the table cannot be written.
    pub async fn count(&self, who: &str, now: Timestamp) -> Result<Standing, StoreError> {
        let window = i64::try_from(self.limit.window.as_secs().max(1)).unwrap_or(i64::MAX);
        let begins = now.as_secs() - now.as_secs().rem_euclid(window);
        let ends = begins.saturating_add(window);
        let output = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(
                tables::STATE_KEY,
                AttributeValue::S(format!("rate#{}#{who}#{begins}", self.name)),
            )
            // DynamoDB's TTL takes it away some time after the window's end.
            .update_expression("ADD hits :one SET expires_at = :end")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .expression_attribute_values(":end", AttributeValue::N(ends.to_string()))
            .return_values(ReturnValue::UpdatedNew)
            .send()
            .await
            .map_err(StoreError::unavailable("UpdateItem"))?;
        let hits: u32 = output
            .attributes
            .as_ref()
            .and_then(|attributes| attributes.get("hits")?.as_n().ok()?.parse().ok())
            .ok_or(StoreError::Malformed {
                what: "rate limit",
                field: "hits",
            })?;
        Ok(Standing {
            allowed: hits <= self.limit.requests,
            remaining: self.limit.requests.saturating_sub(hits),
            reset: Timestamp::from_millis(ends.saturating_mul(1000)).since(now),
        })
    }
}
