//! Channel variables that a client sets for its call.

use std::collections::BTreeMap;

use crate::text::is_carried;

/// Most variables of one call.
pub const MAX_VARIABLES: usize = 20;
/// Longest name, in bytes.
pub const MAX_VARIABLE_NAME: usize = 64;
/// Longest value, in characters.
pub const MAX_VARIABLE_VALUE: usize = 256;

/// Channel variables: at most [`MAX_VARIABLES`], each a plain name (no dialplan function) with a
/// value of printable text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

/// A variable that is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVariable {
    /// Too many of them.
    #[error("must be at most {MAX_VARIABLES} variables")]
    TooMany,
    /// The name could call a dialplan function, or is too long.
    #[error(
        "must have names of 1 to {MAX_VARIABLE_NAME} letters, digits and '_', not beginning with a digit"
    )]
    Name,
    /// The value is too long, or holds a character that does not reach Asterisk.
    #[error(
        "must have values of at most {MAX_VARIABLE_VALUE} characters without control characters, \
         U+FFFE and U+FFFF"
    )]
    Value,
}

impl Variables {
    /// Takes the variables of a request, if all of them are allowed.
    ///
    /// # Errors
    /// The first rule that one of them breaks.
    pub fn new(variables: BTreeMap<String, String>) -> Result<Self, InvalidVariable> {
        Self::checked(variables, is_carried)
    }

    /// Takes the variables of a record or a message. An earlier release may have recorded
    /// characters that a message cannot carry; such a record still has to be readable.
    ///
    /// # Errors
    /// The first rule that one of them breaks.
    pub fn read_back(variables: BTreeMap<String, String>) -> Result<Self, InvalidVariable> {
        Self::checked(variables, |c| !c.is_control())
    }

    fn checked(
        variables: BTreeMap<String, String>,
        allowed: fn(char) -> bool,
    ) -> Result<Self, InvalidVariable> {
        if variables.len() > MAX_VARIABLES {
            return Err(InvalidVariable::TooMany);
        }
        for (name, value) in &variables {
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !plain
                || !(1..=MAX_VARIABLE_NAME).contains(&name.len())
                || name.starts_with(|c: char| c.is_ascii_digit())
            {
                return Err(InvalidVariable::Name);
            }
            if value.chars().count() > MAX_VARIABLE_VALUE || !value.chars().all(allowed) {
                return Err(InvalidVariable::Value);
            }
        }
        Ok(Self(variables))
    }

    /// The variables by name.
    #[must_use]
    pub const fn get(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Result<Variables, InvalidVariable> {
        Variables::new(BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn plain_names_with_printable_values_are_allowed() {
        assert!(one("PATIENT_NAME", "Zoë").is_ok());
        assert!(one("__inherited", "").is_ok());
    }

    #[test]
    fn what_could_call_a_function_or_break_a_line_is_refused() {
        for name in [
            "",
            "CALLERID(num)",
            "SHELL(ls)",
            "a b",
            "1st",
            "é",
            &"x".repeat(65),
        ] {
            assert_eq!(one(name, "x"), Err(InvalidVariable::Name), "{name}");
        }
        for value in ["a\nb", "\u{0}", "a\u{ffff}", "\u{fffe}", &"x".repeat(257)] {
            assert_eq!(one("a", value), Err(InvalidVariable::Value), "{value:?}");
        }
        let recorded = BTreeMap::from([("a".to_owned(), "\u{ffff}".to_owned())]);
        assert!(Variables::read_back(recorded).is_ok());
        let many = (0..21).map(|n| (format!("v{n}"), String::new())).collect();
        assert_eq!(Variables::new(many), Err(InvalidVariable::TooMany));
    }
}
