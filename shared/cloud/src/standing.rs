//! What ends tokens before they expire: rows of the table `state` about users and keys.
//!
//! A user's row says `not_before`, the second up to which its tokens are void, and whether the user is
//! `disabled`. A key's row says that the key is revoked. The rows are not in the table `users`, because
//! only the function `token` may read that: it holds the passwords' hashes.
//!
//! The rows have no `expires_at`. A key's row has to be there for as long as anybody may configure the
//! key, because without it a leaked key would live again. A user's row has to be there for as long as
//! the user is disabled. Administrators write them one by one, so there are never many.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;

use crate::call_item::Item;
use crate::{StoreError, batch, tables};

/// What the rows say of a user and a key. Without any row nothing stands against a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Tokens that were issued in this second or before it are void; seconds since 1970.
    pub not_before: Option<i64>,
    /// The user is disabled.
    pub disabled: bool,
    /// The key is revoked: whatever it has signed may be forged, its `iat` too.
    pub key_revoked: bool,
}

/// Why a token that is signed and in time is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Void {
    /// Its key is revoked.
    #[error("the key of the access token is revoked")]
    KeyRevoked,
    /// Its user is disabled.
    #[error("the user of the access token is disabled")]
    UserDisabled,
    /// It was issued before its user's password, scopes or state were changed.
    #[error("the access token was issued before its user was changed")]
    Superseded,
}

impl Standing {
    /// Whether a token that says it was issued in the second `issued_at` is still good.
    ///
    /// # Errors
    /// [`Void`] says why it is not.
    pub fn judge(self, issued_at: i64) -> Result<(), Void> {
        if self.key_revoked {
            Err(Void::KeyRevoked)
        } else if self.disabled {
            Err(Void::UserDisabled)
        } else if self.not_before.is_some_and(|second| issued_at <= second) {
            Err(Void::Superseded)
        } else {
            Ok(())
        }
    }

    /// What these items say of a user and a key.
    ///
    /// # Errors
    /// If a user's row does not say what it has to: then what it ends is not known.
    pub(crate) fn of(items: &[Item], username: &str, key_id: &str) -> Result<Self, StoreError> {
        let find = |key: &str| {
            items.iter().find(|item| {
                let found = item.get(tables::STATE_KEY);
                found
                    .and_then(|found| found.as_s().ok())
                    .map(String::as_str)
                    == Some(key)
            })
        };
        let key_revoked = find(&signing_key(key_id)).is_some();
        let Some(user) = find(&user_key(username)) else {
            return Ok(Self {
                key_revoked,
                ..Self::default()
            });
        };
        let malformed = |field| StoreError::Malformed {
            what: "standing",
            field,
        };
        let second = user.get("not_before").and_then(|value| value.as_n().ok());
        let second = second.and_then(|text| text.parse().ok());
        // A user whose password was changed, and who was never disabled, has none.
        let disabled = match user.get("disabled") {
            Some(value) => *value.as_bool().map_err(|_| malformed("disabled"))?,
            None => false,
        };
        Ok(Self {
            not_before: Some(second.ok_or_else(|| malformed("not_before"))?),
            disabled,
            key_revoked,
        })
    }
}

/// The rows.
#[derive(Clone, Debug)]
pub struct StandingStore {
    client: Client,
    table: String,
}

impl StandingStore {
    /// In the table named `table`.
    #[must_use]
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// What is known of a user and a key: one consistent `BatchGetItem` of two items.
    ///
    /// # Errors
    /// If the table cannot be read. Then nothing is known, and no token may be taken.
    pub async fn read(&self, username: &str, key_id: &str) -> Result<Standing, StoreError> {
        let keys = keys(username, key_id).to_vec();
        let items = batch::read_consistently(&self.client, &self.table, keys, "standing").await?;
        Standing::of(&items, username, key_id)
    }

    /// Revokes the key with this id, for ever. Doing it again changes nothing.
    ///
    /// # Errors
    /// If the table cannot be written; then it may have been.
    pub async fn revoke_key(&self, key_id: &str) -> Result<(), StoreError> {
        self.client
            .put_item()
            .table_name(&self.table)
            .item(tables::STATE_KEY, text(&signing_key(key_id)))
            .send()
            .await
            .map_err(StoreError::unavailable("PutItem"))?;
        Ok(())
    }
}

/// The keys of the rows of a user and a signing key.
pub(crate) fn keys(username: &str, key_id: &str) -> [Item; 2] {
    [user_key(username), signing_key(key_id)]
        .map(|key| Item::from([(tables::STATE_KEY.to_owned(), text(&key))]))
}

/// The key of a user's row.
pub(crate) fn user_key(username: &str) -> String {
    format!("access#user#{username}")
}

fn signing_key(key_id: &str) -> String {
    format!("access#key#{key_id}")
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &str, rest: &[(&str, AttributeValue)]) -> Item {
        let mut item = Item::from([(tables::STATE_KEY.to_owned(), text(key))]);
        item.extend(
            rest.iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone())),
        );
        item
    }

    #[test]
    fn rows_are_those_of_the_user_and_the_key_that_are_asked_about() {
        let number = AttributeValue::N("1700000000".to_owned());
        let items = [
            row("access#key#k1", &[]),
            row(
                "access#user#alice",
                &[
                    ("not_before", number),
                    ("disabled", AttributeValue::Bool(true)),
                ],
            ),
        ];
        let of = |username, key| Standing::of(&items, username, key).unwrap();
        assert_eq!(
            of("alice", "k1"),
            Standing {
                not_before: Some(1_700_000_000),
                disabled: true,
                key_revoked: true
            }
        );
        assert_eq!(of("bob", "k2"), Standing::default());
        // A user may have any name, and is never taken for a key.
        assert!(!of("k1", "alice").key_revoked);
        let nothing = Standing::of(&[], "alice", "k1").unwrap();
        assert_eq!(nothing, Standing::default());
    }

    #[test]
    fn a_row_that_cannot_be_read_is_no_permission() {
        let text = |value: &str| AttributeValue::S(value.to_owned());
        let second = AttributeValue::N("10".to_owned());
        for rest in [
            vec![],
            vec![("not_before", text("10"))],
            vec![("not_before", AttributeValue::N("ten".to_owned()))],
            vec![("not_before", second.clone()), ("disabled", text("true"))],
        ] {
            let items = [row("access#user#alice", &rest)];
            assert!(Standing::of(&items, "alice", "k1").is_err(), "{rest:?}");
        }
        // What a later release adds is passed over.
        let later = [("not_before", second), ("why", text("left"))];
        let items = [row("access#user#alice", &later)];
        let standing = Standing::of(&items, "alice", "k1").unwrap();
        assert_eq!(standing.not_before, Some(10));
    }

    #[test]
    fn a_token_of_the_second_of_the_change_is_void_and_the_next_one_is_good() {
        let standing = |not_before, disabled, key_revoked| Standing {
            not_before,
            disabled,
            key_revoked,
        };
        for (standing, issued_at, verdict) in [
            (Standing::default(), 0, Ok(())),
            (standing(Some(10), false, false), 9, Err(Void::Superseded)),
            (standing(Some(10), false, false), 10, Err(Void::Superseded)),
            (standing(Some(10), false, false), 11, Ok(())),
            (standing(Some(10), true, false), 11, Err(Void::UserDisabled)),
            // Whoever has the key writes what it likes into `iat`.
            (
                standing(Some(10), false, true),
                i64::MAX,
                Err(Void::KeyRevoked),
            ),
            (standing(None, false, true), i64::MAX, Err(Void::KeyRevoked)),
        ] {
            assert_eq!(
                standing.judge(issued_at),
                verdict,
                "{standing:?} {issued_at}"
            );
        }
    }
}
