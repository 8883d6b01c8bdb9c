//! Where in the dialplan an answered call goes on: context, extension, priority.

use std::fmt;
use std::str::FromStr;

/// Longest name of a context or an extension, in bytes: `AST_MAX_CONTEXT` and
/// `AST_MAX_EXTENSION` are 80 with the terminating zero.
pub const MAX_NAME_LENGTH: usize = 79;

/// A dialplan context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context(String);

/// A dialplan extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension(String);

/// A dialplan priority, 1 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Priority(u32);

/// The name cannot be a dialplan context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 79 letters, digits, '-' or '_'")]
pub struct InvalidContext;

/// The name cannot be a dialplan extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 79 letters, digits, '+', '*', '#', '-' or '_'")]
pub struct InvalidExtension;

/// The number cannot be a dialplan priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from 1 to 2147483647")]
pub struct InvalidPriority;

fn is_name(text: &str, also: &[u8]) -> bool {
    (1..=MAX_NAME_LENGTH).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || also.contains(&b))
}

impl FromStr for Context {
    type Err = InvalidContext;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        is_name(text, b"-_")
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidContext)
    }
}

impl FromStr for Extension {
    type Err = InvalidExtension;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        is_name(text, b"+*#-_")
            .then(|| Self(text.to_owned()))
            .ok_or(InvalidExtension)
    }
}

impl FromStr for Priority {
    type Err = InvalidPriority;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number: i64 = text.parse().map_err(|_| InvalidPriority)?;
        Self::try_from(number)
    }
}

impl TryFrom<i64> for Priority {
    type Error = InvalidPriority;

    fn try_from(number: i64) -> Result<Self, Self::Error> {
        // Asterisk keeps a priority in a C int.
        i32::try_from(number)
            .ok()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number >= 1)
            .map(Self)
            .ok_or(InvalidPriority)
    }
}

impl Context {
    /// The context's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Extension {
    /// The extension's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Priority {
    /// The priority as a number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The place in the dialplan where an answered call goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialplanTarget {
    /// The context, `DEFAULT_CONTEXT` unless the client chose one.
    pub context: Context,
    /// The extension, `DEFAULT_EXTENSION` unless the client chose one.
    pub extension: Extension,
    /// The priority, `DEFAULT_PRIORITY` unless the client chose one.
    pub priority: Priority,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_dialplan_knows_are_taken() {
        assert!("outbound-ivr".parse::<Context>().is_ok());
        for text in ["s", "100", "*98", "+15550000200", "h_x"] {
            assert!(text.parse::<Extension>().is_ok(), "{text}");
        }
    }

    #[test]
    fn names_that_could_leave_their_place_in_a_dial_string_are_refused() {
        for text in [
            "",
            "a,b",
            "a&b",
            "a/b",
            "a@b",
            "a b",
            "a\n",
            "${X}",
            "é",
            &"x".repeat(80),
        ] {
            assert_eq!(text.parse::<Context>(), Err(InvalidContext), "{text:?}");
            assert_eq!(text.parse::<Extension>(), Err(InvalidExtension), "{text:?}");
        }
    }

    #[test]
    fn a_priority_is_a_positive_c_int() {
        assert_eq!(Priority::try_from(1).unwrap().get(), 1);
        assert_eq!(
            Priority::try_from(i64::from(i32::MAX)).unwrap().get(),
            2_147_483_647
        );
        for number in [0, -1, i64::from(i32::MAX) + 1, i64::MIN] {
            assert_eq!(Priority::try_from(number), Err(InvalidPriority), "{number}");
        }
    }
}
