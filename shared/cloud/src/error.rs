//! What can go wrong with the tables and the queue.

use std::error::Error;

/// `DynamoDB` or SQS could not do what was asked.
///
/// The display says which operation, never what the service said: that is in
/// [`Error::source`], for the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer, throttled, or refused. It may have taken effect.
    #[error("{operation} failed")]
    Unavailable {
        /// The SDK's operation.
        operation: &'static str,
        /// What the SDK said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// An item or message is not of a form that this release reads.
    #[error("the stored {what} cannot be read: {field} is missing or malformed")]
    Malformed {
        /// What kind of item.
        what: &'static str,
        /// The attribute at fault.
        field: &'static str,
    },
}

impl StoreError {
    pub(crate) fn unavailable<E>(operation: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        move |source| Self::Unavailable {
            operation,
            source: source.into(),
        }
    }
}

/// An error with all its sources in one line, for the log.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
