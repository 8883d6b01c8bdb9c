//! What is remembered of logins, in the table `state`: from which addresses a user has logged in, and
//! how often somebody has failed to.

use std::collections::HashMap;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::Timestamp;

use crate::call_item::Item;
use crate::standing::{self, Standing};
use crate::{StoreError, batch, tables};

/// How long an address is remembered from which a user has logged in.
const KNOWN_FOR: Duration = Duration::from_hours(30 * 24);
/// Failures are counted in windows of this length.
const WINDOW: Duration = Duration::from_mins(15);

/// What is known of a login before its password is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The user has logged in from this address before.
    pub known: bool,
    /// How often somebody has failed to log in as this user lately.
    pub failures: u32,
}

/// The logins.
#[derive(Clone, Debug)]
pub struct Logins {
    client: Client,
    table: String,
}

impl Logins {
    /// In the table named `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// What is known of a login as `username` from `address`, and how the user and the key `key_id`
    /// stand: one request.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub async fn history(
        &self,
        username: &str,
        address: &str,
        key_id: &str,
        now: Timestamp,
    ) -> Result<(History, Standing), StoreError> {
        let (from, failed) = (from(username, address), failed(username, now));
        let logins =
            [&from, &failed].map(|key| Item::from([(tables::STATE_KEY.to_owned(), text(key))]));
        let mut keys = logins.to_vec();
        keys.extend(standing::keys(username, key_id));
        let items = batch::read_consistently(&self.client, &self.table, keys, "logins").await?;
        let standing = Standing::of(&items, username, key_id)?;
        let items: HashMap<_, _> = items
            .into_iter()
            .filter_map(|item| Some((item.get(tables::STATE_KEY)?.as_s().ok()?.clone(), item)))
            .collect();
        let number = |key: &str, name: &str| -> Option<i64> {
            items.get(key)?.get(name)?.as_n().ok()?.parse().ok()
        };
        // DynamoDB's TTL takes an item away some time after its end.
        let known = number(&from, "expires_at").is_some_and(|ends| ends > now.as_secs());
        let failures = number(&failed, "failures").unwrap_or_default();
        let failures = u32::try_from(failures).unwrap_or_default();
        Ok((History { known, failures }, standing))
    }

    /// Notes that a login as `username` has failed.
    ///
    /// # Errors
    /// If the table cannot be written.
    pub async fn note_failure(&self, username: &str, now: Timestamp) -> Result<(), StoreError> {
        let ends = now.plus(WINDOW).as_secs();
        self.client
            .update_item()
            .table_name(&self.table)
            .key(tables::STATE_KEY, text(&failed(username, now)))
            .update_expression("ADD failures :one SET expires_at = :end")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .expression_attribute_values(":end", AttributeValue::N(ends.to_string()))
            .send()
            .await
            .map_err(StoreError::unavailable("UpdateItem"))?;
        Ok(())
    }

    /// Remembers that `username` has logged in from `address`.
    ///
    /// # Errors
    /// If the table cannot be written.
    pub async fn remember(
        &self,
        username: &str,
        address: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let ends = now.plus(KNOWN_FOR).as_secs();
        self.client
            .update_item()
            .table_name(&self.table)
            .key(tables::STATE_KEY, text(&from(username, address)))
            .update_expression("SET expires_at = :end")
            .expression_attribute_values(":end", AttributeValue::N(ends.to_string()))
            .send()
            .await
            .map_err(StoreError::unavailable("UpdateItem"))?;
        Ok(())
    }
}

/// The address comes first, because it has no `#`, and a username may have one.
fn from(username: &str, address: &str) -> String {
    format!("login#from#{address}#{username}")
}

fn failed(username: &str, now: Timestamp) -> String {
    let window = i64::try_from(WINDOW.as_secs()).unwrap_or(i64::MAX);
    format!(
        "login#failed#{}#{username}",
        now.as_secs().div_euclid(window)
    )
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}
