//! What an administrator does to users: each change is one transaction of both tables.
//!
//! A change that has to end tokens writes `not_before` into the user's row of the table `state` with
//! it ([`crate::standing`]). Both are written or neither, so that a crash never leaves a user with a
//! new password and good old tokens.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem, Update};
use domain::Timestamp;

use crate::aws_date::{self, DateReader};
use crate::scope::{self, Scope};
use crate::standing::user_key;
use crate::{StoreError, clock, tables};

/// How many seconds after the time of a change `not_before` is. It covers what the transaction may
/// take, and AWS's date, which is in whole seconds. The function `token` dates its tokens after
/// `not_before`, so that a token that is asked for in these seconds is good.
const MARGIN_SECONDS: i64 = 5;

/// Whether a change found what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was done.
    Yes,
    /// The user exists already, or does not exist. Nothing was written.
    No,
}

/// Both tables, to be changed together.
#[derive(Clone, Debug)]
pub struct Accounts {
    client: Client,
    users: String,
    state: String,
}

impl Accounts {
    /// Over the tables named `users` and `state`.
    #[must_use]
    pub fn new(client: Client, users: String, state: String) -> Self {
        Self {
            client,
            users,
            state,
        }
    }

    /// Adds a user with these scopes; with [`Scope::DEFAULT`] unless some are given. If there was a
    /// user of this name before, the tokens of that one stay void.
    ///
    /// # Errors
    /// If a table cannot be read or written.
    pub async fn add(
        &self,
        username: &str,
        password_hash: &str,
        scopes: Option<&[Scope]>,
    ) -> Result<Changed, StoreError> {
        let earlier = self.earlier(username).await?;
        let created_at = earlier.now.as_millis().to_string();
        let mut put = Put::builder()
            .table_name(&self.users)
            .item(tables::USERS_KEY, text(username))
            .item("password_hash", text(password_hash))
            .item("disabled", AttributeValue::Bool(false))
            .item("created_at", AttributeValue::N(created_at))
            .condition_expression("attribute_not_exists(username)");
        if let Some(scopes) = scopes {
            put = put.item("scope", text(&scope::join(scopes)));
        }
        let put = put
            .build()
            .map_err(StoreError::unavailable("TransactWriteItems"))?;
        let user = TransactWriteItem::builder().put(put).build();
        let row = if earlier.exists {
            Some(self.row(username, &earlier, Some(false))?)
        } else {
            None
        };
        self.write(user, row).await
    }

    /// Gives a user another password, and ends the user's tokens.
    ///
    /// # Errors
    /// If a table cannot be read or written.
    pub async fn set_password(
        &self,
        username: &str,
        password_hash: &str,
    ) -> Result<Changed, StoreError> {
        self.change(username, "password_hash", text(password_hash), None)
            .await
    }

    /// Gives a user other scopes, and ends the user's tokens.
    ///
    /// # Errors
    /// If a table cannot be read or written.
    pub async fn set_scopes(
        &self,
        username: &str,
        scopes: &[Scope],
    ) -> Result<Changed, StoreError> {
        self.change(username, "scope", text(&scope::join(scopes)), None)
            .await
    }

    /// Disables a user, and ends the user's tokens.
    ///
    /// # Errors
    /// If a table cannot be read or written.
    pub async fn disable(&self, username: &str) -> Result<Changed, StoreError> {
        self.change(username, "disabled", AttributeValue::Bool(true), Some(true))
            .await
    }

    /// Enables a user again. Tokens of before stay void.
    ///
    /// # Errors
    /// If a table cannot be read or written.
    pub async fn enable(&self, username: &str) -> Result<Changed, StoreError> {
        self.change(
            username,
            "disabled",
            AttributeValue::Bool(false),
            Some(false),
        )
        .await
    }

    async fn change(
        &self,
        username: &str,
        name: &str,
        value: AttributeValue,
        disabled: Option<bool>,
    ) -> Result<Changed, StoreError> {
        let earlier = self.earlier(username).await?;
        let update = Update::builder()
            .table_name(&self.users)
            .key(tables::USERS_KEY, text(username))
            .update_expression("SET #name = :value")
            .condition_expression("attribute_exists(username)")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", value)
            .build()
            .map_err(StoreError::unavailable("TransactWriteItems"))?;
        let user = TransactWriteItem::builder().update(update).build();
        let row = self.row(username, &earlier, disabled)?;
        self.write(user, Some(row)).await
    }

    /// The change of a user's row; `disabled` stays as it is unless it is given.
    fn row(
        &self,
        username: &str,
        earlier: &Earlier,
        disabled: Option<bool>,
    ) -> Result<TransactWriteItem, StoreError> {
        let mut update = Update::builder()
            .table_name(&self.state)
            .key(tables::STATE_KEY, text(&user_key(username)))
            .expression_attribute_values(
                ":second",
                AttributeValue::N(earlier.not_before().to_string()),
            );
        update = match disabled {
            Some(disabled) => update
                .update_expression("SET not_before = :second, disabled = :disabled")
                .expression_attribute_values(":disabled", AttributeValue::Bool(disabled)),
            None => update.update_expression("SET not_before = :second"),
        };
        let update = update
            .build()
            .map_err(StoreError::unavailable("TransactWriteItems"))?;
        Ok(TransactWriteItem::builder().update(update).build())
    }

    async fn write(
        &self,
        user: TransactWriteItem,
        row: Option<TransactWriteItem>,
    ) -> Result<Changed, StoreError> {
        let written = self
            .client
            .transact_write_items()
            .set_transact_items(Some(std::iter::once(user).chain(row).collect()))
            .send()
            .await;
        match written {
            Ok(_) => Ok(Changed::Yes),
            Err(error) if error.as_service_error().is_some_and(is_refused) => Ok(Changed::No),
            Err(error) => Err(StoreError::unavailable("TransactWriteItems")(error)),
        }
    }

    /// What the user's row says so far, and the time by AWS's clock. An administrator's own clock may
    /// be minutes away, and tokens are dated by that of Lambda.
    async fn earlier(&self, username: &str) -> Result<Earlier, StoreError> {
        let date = DateReader::default();
        let before = clock::now();
        let output = self
            .client
            .get_item()
            .table_name(&self.state)
            .key(tables::STATE_KEY, text(&user_key(username)))
            .consistent_read(true)
            .customize()
            .interceptor(date.clone())
            .send()
            .await
            .map_err(StoreError::unavailable("GetItem"))?;
        let after = clock::now();
        let ahead = date
            .date()
            .map_or(0, |date| aws_date::ahead(before, after, date));
        let number = output
            .item
            .as_ref()
            .and_then(|item| item.get("not_before")?.as_n().ok()?.parse().ok());
        Ok(Earlier {
            exists: output.item.is_some(),
            not_before: number,
            now: Timestamp::from_millis(after.as_millis().saturating_sub(ahead)),
        })
    }
}

/// A user's row before a change.
struct Earlier {
    exists: bool,
    not_before: Option<i64>,
    now: Timestamp,
}

impl Earlier {
    /// The row's next `not_before`. It never goes back, so that no token comes to life again.
    fn not_before(&self) -> i64 {
        let second = self.now.as_secs().saturating_add(MARGIN_SECONDS);
        self.not_before.map_or(second, |before| before.max(second))
    }
}

/// Whether a transaction was not done because of its condition, and for no other reason.
fn is_refused(error: &TransactWriteItemsError) -> bool {
    let TransactWriteItemsError::TransactionCanceledException(canceled) = error else {
        return false;
    };
    canceled
        .cancellation_reasons()
        .iter()
        .any(|reason| reason.code() == Some("ConditionalCheckFailed"))
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn not_before_covers_the_transaction_and_never_goes_back() {
        let next = |not_before| {
            let now = Timestamp::from_millis(1_000_900);
            let earlier = Earlier {
                exists: true,
                not_before,
                now,
            };
            earlier.not_before()
        };
        assert_eq!(next(None), 1_005);
        assert_eq!(next(Some(900)), 1_005);
        assert_eq!(next(Some(2_000)), 2_000);
    }
}
