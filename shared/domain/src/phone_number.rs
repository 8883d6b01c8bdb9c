//! The number to dial.

use std::fmt;
use std::str::FromStr;

/// A dialable number: an optional `+` and 7 to 20 digits.
///
/// That is E.164 (15 digits at most) with room for carrier prefixes. Nothing else
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

#[cfg(test)]
mod tests {
    use super::*;

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
