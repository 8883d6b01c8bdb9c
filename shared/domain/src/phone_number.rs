//! The number to dial.

use std::fmt;
use std::str::FromStr;

/// A dialable number: an optional `+` and 7 to 20 digits.
///
/// That is E.164 (15 digits at most) with room for a provider's prefixes. Nothing else
/// is allowed in, because the number becomes part of a dial string, where `&`, `/`,
/// `@` and `,` would choose another endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PhoneNumber(String);

/// Fewest digits in a number.
pub const MIN_DIGITS: usize = 7;
/// Most digits in a number.
pub const MAX_DIGITS: usize = 20;

impl PhoneNumber {
    /// The number as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a number that may be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 7 to 20 digits, with an optional leading '+'")]
pub struct InvalidPhoneNumber;

impl FromStr for PhoneNumber {
    type Err = InvalidPhoneNumber;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        if (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
        {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPhoneNumber)
        }
    }
}

/// Which numbers may be called: `ALLOWED_NUMBERS`, prefixes with commas between them.
///
/// Without any, every number may be called. A number has to begin with a prefix as it stands, so
/// that `+49` admits `+4930123456`, and neither `4930123456` nor `004930123456`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedNumbers(Vec<String>);

/// Most prefixes in a list.
pub const MAX_PREFIXES: usize = 100;

/// The text is not a list of prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be at most {MAX_PREFIXES} prefixes such as +1415,+49: 1 to {MAX_DIGITS} digits each, with an optional leading '+'"
)]
pub struct InvalidPrefixes;

impl AllowedNumbers {
    /// Whether this number may be called.
    #[must_use]
    pub fn allow(&self, number: &PhoneNumber) -> bool {
        self.0.is_empty() || self.0.iter().any(|prefix| number.0.starts_with(prefix))
    }

    /// Whether every number may be called.
    #[must_use]
    pub const fn are_all(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for AllowedNumbers {
    type Err = InvalidPrefixes;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let prefixes: Vec<_> = text.split(',').map(str::trim).map(str::to_owned).collect();
        let is_prefix = |prefix: &String| {
            let digits = prefix.strip_prefix('+').unwrap_or(prefix);
            (1..=MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        };
        if prefixes.len() <= MAX_PREFIXES && prefixes.iter().all(is_prefix) {
            Ok(Self(prefixes))
        } else {
            Err(InvalidPrefixes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_allowed_by_its_first_digits_as_they_stand() {
        let allowed: AllowedNumbers = "+1415, +49".parse().unwrap();
        for (number, expected) in [
            ("+14155550200", true),
            ("+4930123456", true),
            ("+18765550200", false),
            ("14155550200", false),
            ("004930123456", false),
        ] {
            assert_eq!(
                allowed.allow(&number.parse().unwrap()),
                expected,
                "{number}"
            );
        }
        assert!(AllowedNumbers::default().allow(&"+18765550200".parse().unwrap()));
        for text in ["", "+", "+49,", "+49;+1", "DE", "+49 30"] {
            assert_eq!(
                text.parse::<AllowedNumbers>(),
                Err(InvalidPrefixes),
                "{text}"
            );
        }
    }

    #[test]
    fn digits_with_an_optional_plus_are_a_number() {
        for text in ["+15550000200", "15550000200", "1234567", &"9".repeat(20)] {
            assert_eq!(text.parse::<PhoneNumber>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn nothing_that_could_change_the_endpoint_is_a_number() {
        let long = "9".repeat(21);
        for text in [
            "",
            "+",
            "123456",
            &long,
            "++15550000200",
            "1555 0000200",
            "+1555/evil@x",
            "1555&PJSIP/other",
            "15550000200,5",
            "١٢٣٤٥٦٧٨",
            "15550000200\n",
            "1555000020x",
        ] {
            assert_eq!(
                text.parse::<PhoneNumber>(),
                Err(InvalidPhoneNumber),
                "{text:?}"
            );
        }
    }
}
