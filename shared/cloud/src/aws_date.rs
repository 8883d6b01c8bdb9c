//! What time AWS says it is: the `Date` header of its answers, in whole seconds.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_dynamodb::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use domain::Timestamp;

/// Reads the date of the answer to one request.
#[derive(Clone, Debug, Default)]
pub struct DateReader(Arc<Mutex<Option<Timestamp>>>);

impl DateReader {
    /// The date of the last answer, if it had one.
    #[must_use]
    pub fn date(&self) -> Option<Timestamp> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Intercept for DateReader {
    fn name(&self) -> &'static str {
        "DateReader"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").and_then(read);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

fn read(text: &str) -> Option<Timestamp> {
    let date = DateTime::from_str(text, DateTimeFormat::HttpDate).ok()?;
    date.to_millis().ok().map(Timestamp::from_millis)
}

/// How far a clock is ahead of AWS's, in milliseconds: negative if it is behind. The clock said
/// `before` when the request was sent and `after` when the answer came with this `date`, which has been
/// cut to whole seconds.
#[must_use]
pub fn ahead(before: Timestamp, after: Timestamp, date: Timestamp) -> i64 {
    let ours = before.as_millis().midpoint(after.as_millis());
    ours - (date.as_millis() + 500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_read_and_compared() {
        let date = read("Sat, 28 Nov 2026 12:00:00 GMT").unwrap();
        assert_eq!(date.as_millis(), 1_795_867_200_000);
        assert_eq!(read("soon"), None);
        let at = |millis: i64| Timestamp::from_millis(date.as_millis() + millis);
        assert_eq!(ahead(at(400), at(600), date), 0);
        assert_eq!(ahead(at(300_000), at(301_000), date), 300_000);
        assert_eq!(ahead(at(-300_000), at(-299_000), date), -300_000);
    }
}
