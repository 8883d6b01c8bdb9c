//! The table `users`: who may ask for a token. [`crate::Accounts`] writes it.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::scope::{self, Scope};
use crate::{StoreError, tables};

/// A user as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name, unique.
    pub username: String,
    /// The PHC string of the password's hash.
    pub password_hash: String,
    /// A disabled user gets no tokens.
    pub disabled: bool,
    /// What the user's tokens may grant at most.
    pub scopes: Vec<Scope>,
}

/// What the list of users shows of one: not the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSummary {
    /// The name.
    pub username: String,
    /// Whether the user is disabled.
    pub disabled: bool,
    /// What the user's tokens may grant at most.
    pub scopes: Vec<Scope>,
}

/// The text cannot be a username.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a username is 1 to 128 bytes without control characters")]
pub struct InvalidUsername;

/// Whether `name` can be a username.
///
/// # Errors
/// [`InvalidUsername`] if it cannot.
pub fn check_username(name: &str) -> Result<(), InvalidUsername> {
    if (1..=128).contains(&name.len()) && !name.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(InvalidUsername)
    }
}

/// The users.
#[derive(Clone, Debug)]
pub struct UserStore {
    client: Client,
    table: String,
}

impl UserStore {
    /// Over the table named `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads a user, with every write that was answered before: a password that was changed gets no
    /// token afterwards.
    ///
    /// # Errors
    /// If the table cannot be read, or the item is malformed.
    pub async fn get(&self, username: &str) -> Result<Option<User>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key(tables::USERS_KEY, text(username))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::unavailable("GetItem"))?;
        let Some(item) = output.item else {
            return Ok(None);
        };
        let password_hash = item
            .get("password_hash")
            .and_then(|value| value.as_s().ok())
            .ok_or(StoreError::Malformed {
                what: "user",
                field: "password_hash",
            })?;
        Ok(Some(User {
            username: username.to_owned(),
            password_hash: password_hash.clone(),
            disabled: is_disabled(&item),
            scopes: scopes(&item),
        }))
    }

    /// All users by name. Reads the whole table, page by page: for administration.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub async fn list(&self) -> Result<Vec<UserSummary>, StoreError> {
        let mut pages = self
            .client
            .scan()
            .table_name(&self.table)
            .projection_expression("username, disabled, #scope")
            .expression_attribute_names("#scope", "scope")
            .into_paginator()
            .items()
            .send();
        let mut users = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(StoreError::unavailable("Scan"))?;
            let Some(Ok(username)) = item.get("username").map(AttributeValue::as_s) else {
                continue;
            };
            users.push(UserSummary {
                username: username.clone(),
                disabled: is_disabled(&item),
                scopes: scopes(&item),
            });
        }
        users.sort_by(|a, b| a.username.cmp(&b.username));
        Ok(users)
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

/// Those of [`Scope::DEFAULT`] if the record says nothing, as records of earlier releases do.
fn scopes(item: &HashMap<String, AttributeValue>) -> Vec<Scope> {
    let named = item.get("scope").and_then(|value| value.as_s().ok());
    named.map_or_else(|| Scope::DEFAULT.to_vec(), |text| scope::split(text))
}

fn is_disabled(item: &HashMap<String, AttributeValue>) -> bool {
    item.get("disabled")
        .and_then(|value| value.as_bool().ok())
        .copied()
        .unwrap_or(false)
}
