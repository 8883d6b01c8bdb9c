//! Points in time, as numbers.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const RFC_3339: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Asterisk writes `2026-11-21T02:16:51.056+0000`.
const ASTERISK: &[BorrowedFormatItem<'_>] = format_description!(
    "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3][offset_hour sign:mandatory][offset_minute]"
);

const MILLIS_PER_DAY: i64 = 24 * 3600 * 1000;

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, as JWT and `DynamoDB`'s TTL count them.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Reads the time of an ARI event; `None` if it is not in Asterisk's format.
    #[must_use]
    pub fn from_asterisk(text: &str) -> Option<Self> {
        let at = OffsetDateTime::parse(text, ASTERISK).ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1_000_000)
            .ok()
            .map(Self)
    }

    /// This long after, at most the end of time.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// This long before, at least the beginning of time.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// The first moment of its day in UTC.
    #[must_use]
    pub const fn start_of_day(self) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(MILLIS_PER_DAY)))
    }

    /// Its day in UTC, as in `2026-11-21`.
    #[must_use]
    pub fn day(self) -> String {
        let text = self.to_string();
        text.split('T').next().unwrap_or_default().to_owned()
    }

    /// How long after `earlier` this is; zero if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The text is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a time as in RFC 3339, such as 2026-11-21T09:30:00Z")]
pub struct InvalidTimestamp;

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Reads RFC 3339, with any offset; what is finer than a millisecond is cut off.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp)?;
        i64::try_from(at.unix_timestamp_nanos().div_euclid(1_000_000))
            .map(Self)
            .map_err(|_| InvalidTimestamp)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds; the bare number for years past 9999.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let formatted = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|at| at.format(RFC_3339).ok());
        match formatted {
            Some(text) => f.write_str(&text),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_asterisks_times_and_writes_rfc_3339() {
        let at = Timestamp::from_asterisk("2026-11-21T02:16:51.056+0000").unwrap();
        assert_eq!(at.to_string(), "2026-11-21T02:16:51.056Z");
        let there = Timestamp::from_asterisk("2026-11-21T03:46:51.056+0130").unwrap();
        assert_eq!(at, there);
        assert_eq!(Timestamp::from_asterisk("yesterday"), None);
    }

    #[test]
    fn it_reads_rfc_3339_and_knows_its_day() {
        let at: Timestamp = "2026-11-21T00:30:00.123456+01:00".parse().unwrap();
        assert_eq!(at.to_string(), "2026-11-20T23:30:00.123Z");
        assert_eq!(at.day(), "2026-11-20");
        let start = "2026-11-20T00:00:00Z".parse().unwrap();
        assert_eq!(at.start_of_day(), start);
        assert_eq!(start.start_of_day(), start);
        for bad in ["", "2026-11-21", "now", "2026-11-21T09:30:00"] {
            assert_eq!(bad.parse::<Timestamp>(), Err(InvalidTimestamp));
        }
    }

    #[test]
    fn arithmetic_never_overflows() {
        let end = Timestamp::from_millis(i64::MAX);
        assert_eq!(end.plus(Duration::MAX), end);
        assert_eq!(Timestamp::from_millis(5).since(end), Duration::ZERO);
        assert_eq!(end.to_string(), i64::MAX.to_string());
    }
}
