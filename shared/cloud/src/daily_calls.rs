//! How many calls a user may ask for in a day: a counter in the table `state` for each user and day.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::Timestamp;

use crate::{StoreError, tables};

/// Seconds of a day. Days are those of UTC.
const DAY: i64 = 24 * 3_600;

/// Counts calls.
#[derive(Clone, Debug)]
pub struct DailyCalls {
    client: Client,
    table: String,
    limit: u32,
}

/// Whether a call is within its user's limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// It is, and has been counted on this day.
    Within(Day),
    /// The user's calls of the day are spent. The next day begins after this time.
    Spent(Duration),
}

/// A day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day(i64);

impl Day {
    const fn of(now: Timestamp) -> Self {
        Self(now.as_secs().div_euclid(DAY))
    }

    /// Its end, in seconds since 1970.
    const fn ends(self) -> i64 {
        self.0.saturating_add(1).saturating_mul(DAY)
    }
}

impl DailyCalls {
    /// In the table named `table`, at most `limit` for each user and day.
    #[must_use]
    pub fn new(client: Client, table: String, limit: u32) -> Self {
        Self {
            client,
            table,
            limit,
        }
    }

    /// Counts a call of `username` if it is within the limit: one write, whatever the answer.
    ///
    /// # Errors
    /// If the table cannot be written; then the call may have been counted.
    pub async fn count(&self, username: &str, now: Timestamp) -> Result<Counted, StoreError> {
        let day = Day::of(now);
        let counted = self
            .client
            .update_item()
            .table_name(&self.table)
            .key(tables::STATE_KEY, key(username, day))
            // DynamoDB's TTL takes it away some time after the day.
            .update_expression("ADD calls :one SET expires_at = :end")
            .condition_expression("attribute_not_exists(calls) OR calls < :limit")
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":end", number(day.ends()))
            .expression_attribute_values(":limit", number(self.limit.into()))
            .send()
            .await;
        match counted {
            Ok(_) => Ok(Counted::Within(day)),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => {
                    let ends = Timestamp::from_millis(day.ends().saturating_mul(1_000));
                    Ok(Counted::Spent(ends.since(now)))
                }
                _ => Err(StoreError::unavailable("UpdateItem")(error)),
            },
        }
    }

    /// Takes back the count of a call that was not made.
    ///
    /// # Errors
    /// If the table cannot be written; then the count may stay one too high.
    pub async fn give_back(&self, username: &str, day: Day) -> Result<(), StoreError> {
        self.client
            .update_item()
            .table_name(&self.table)
            .key(tables::STATE_KEY, key(username, day))
            .update_expression("ADD calls :back")
            // A row that has expired meanwhile does not come back without its end.
            .condition_expression("calls > :none")
            .expression_attribute_values(":back", number(-1))
            .expression_attribute_values(":none", number(0))
            .send()
            .await
            .map_err(StoreError::unavailable("UpdateItem"))?;
        Ok(())
    }
}

fn key(username: &str, Day(day): Day) -> AttributeValue {
    AttributeValue::S(format!("calls#{day}#{username}"))
}

fn number(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_utc() {
        // 2026-11-28T23:59:59.999Z, and a millisecond later.
        let last = Timestamp::from_millis(1_795_910_399_999);
        let next = last.plus(Duration::from_millis(1));
        assert_eq!(Day::of(last).ends(), 1_795_910_400);
        assert_eq!(Day::of(next).ends(), 1_795_910_400 + DAY);
    }
}
