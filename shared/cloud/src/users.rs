//! The table `users`: who may ask for a token.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::StoreError;
use crate::clock;

/// A user as stored.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name, unique.
    pub username: String,
    /// The PHC string of the password's hash.
    pub password_hash: String,
    /// A disabled user gets no tokens.
    pub disabled: bool,
}

/// What the list of users shows of one: not the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSummary {
    /// The name.
    pub username: String,
    /// Whether the user is disabled.
    pub disabled: bool,
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

/// Whether a write found what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was done.
    Yes,
    /// The user exists already, or does not exist.
    No,
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

    /// Reads a user.
    ///
    /// # Errors
    /// If the table cannot be read, or the item is malformed.
    pub async fn get(&self, username: &str) -> Result<Option<User>, StoreError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("username", text(username))
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
        }))
    }

    /// Adds a user.
    ///
    /// # Errors
    /// If the table cannot be written.
    pub async fn add(&self, username: &str, password_hash: &str) -> Result<Changed, StoreError> {
        let result = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("username", text(username))
            .item("password_hash", text(password_hash))
            .item("disabled", AttributeValue::Bool(false))
            .item(
                "created_at",
                AttributeValue::N(clock::now().as_millis().to_string()),
            )
            .condition_expression("attribute_not_exists(username)")
            .send()
            .await;
        match result {
            Ok(_) => Ok(Changed::Yes),
            Err(SdkError::ServiceError(error))
                if matches!(
                    error.err(),
                    PutItemError::ConditionalCheckFailedException(_)
                ) =>
            {
                Ok(Changed::No)
            }
            Err(error) => Err(StoreError::unavailable("PutItem")(error)),
        }
    }

    /// Gives a user another password.
    ///
    /// # Errors
    /// If the table cannot be written.
    pub async fn set_password(
        &self,
        username: &str,
        password_hash: &str,
    ) -> Result<Changed, StoreError> {
        self.set(username, "password_hash", text(password_hash))
            .await
    }

    /// Disables a user, or enables one again. Tokens that are out stay valid until they expire.
    ///
    /// # Errors
    /// If the table cannot be written.
    pub async fn set_disabled(
        &self,
        username: &str,
        disabled: bool,
    ) -> Result<Changed, StoreError> {
        self.set(username, "disabled", AttributeValue::Bool(disabled))
            .await
    }

    async fn set(
        &self,
        username: &str,
        name: &str,
        value: AttributeValue,
    ) -> Result<Changed, StoreError> {
        let result = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("username", text(username))
            .update_expression("SET #name = :value")
            .condition_expression("attribute_exists(username)")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", value)
            .send()
            .await;
        match result {
            Ok(_) => Ok(Changed::Yes),
            Err(SdkError::ServiceError(error))
                if matches!(
                    error.err(),
                    UpdateItemError::ConditionalCheckFailedException(_)
                ) =>
            {
                Ok(Changed::No)
            }
            Err(error) => Err(StoreError::unavailable("UpdateItem")(error)),
        }
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
            .projection_expression("username, disabled")
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
            });
        }
        users.sort_by(|a, b| a.username.cmp(&b.username));
        Ok(users)
    }
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn is_disabled(item: &std::collections::HashMap<String, AttributeValue>) -> bool {
    item.get("disabled")
        .and_then(|value| value.as_bool().ok())
        .copied()
        .unwrap_or(false)
}
