//! Channel variables that a client sets for its call.
//!
//! Three rules hold for a name, each in one place. How it is written holds everywhere. The
//! operator's list ([`AllowedVariables`]) holds for requests. What Asterisk itself obeys
//! ([`crate::asterisk_variables`]) is refused in requests, and in the bridge too, because messages
//! of an earlier release may have such names. Neither of the last two holds for records, which
//! have to be readable for as long as they are kept.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::asterisk_variables::is_read_by_asterisk;
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

    /// The first name that Asterisk itself obeys, if there is one.
    #[must_use]
    pub fn forbidden(&self) -> Option<&str> {
        let mut names = self.0.keys().map(String::as_str);
        names.find(|name| is_read_by_asterisk(name))
    }
}

/// Which variables a request may set: `ALLOWED_VARIABLES`, names with commas between them. One that
/// ends with `*` stands for all names that begin with what is before it. The leading `_` of a
/// variable, by which Asterisk hands it on to other channels, is not part of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedVariables(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Name(String),
    Prefix(String),
}

/// What requests may set unless the operator says otherwise. Neither Asterisk nor its modules read
/// a name that begins so.
pub const DEFAULT_VARIABLES: &str = "IVR_*";

/// Most patterns in a list.
pub const MAX_PATTERNS: usize = 100;

/// The text is not a list of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be at most {MAX_PATTERNS} names such as IVR_*,ORDER: letters, digits and '_', with an optional '*' at the end"
)]
pub struct InvalidPatterns;

impl AllowedVariables {
    /// Whether a request may set a variable of this name.
    #[must_use]
    pub fn allow(&self, name: &str) -> bool {
        let name = name.trim_start_matches('_');
        self.0.iter().any(|pattern| match pattern {
            Pattern::Name(allowed) => name == allowed,
            Pattern::Prefix(prefix) => name.starts_with(prefix),
        })
    }
}

impl Default for AllowedVariables {
    fn default() -> Self {
        let prefix = DEFAULT_VARIABLES.trim_end_matches('*').to_owned();
        Self(vec![Pattern::Prefix(prefix)])
    }
}

impl FromStr for AllowedVariables {
    type Err = InvalidPatterns;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let patterns = text.split(',').map(str::trim).map(|pattern| {
            let (name, is_prefix) = match pattern.strip_suffix('*') {
                Some(prefix) => (prefix, true),
                None => (pattern, false),
            };
            let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            let name = name.trim_start_matches('_').to_owned();
            if !plain || name.len() > MAX_VARIABLE_NAME || name.is_empty() && !is_prefix {
                return Err(InvalidPatterns);
            }
            Ok(if is_prefix {
                Pattern::Prefix(name)
            } else {
                Pattern::Name(name)
            })
        });
        let patterns: Vec<_> = patterns.collect::<Result<_, _>>()?;
        if patterns.len() > MAX_PATTERNS {
            return Err(InvalidPatterns);
        }
        Ok(Self(patterns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, value: &str) -> Result<Variables, InvalidVariable> {
        Variables::new(BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    #[test]
    fn a_list_names_variables_or_what_they_begin_with() {
        let allowed: AllowedVariables = "IVR_*, __ORDER".parse().unwrap();
        for (name, expected) in [
            ("IVR_NAME", true),
            ("__IVR_NAME", true),
            ("_ORDER", true),
            ("ORDER", true),
            ("ORDERS", false),
            ("ivr_name", false),
            ("SIPFROMDOMAIN", false),
        ] {
            assert_eq!(allowed.allow(name), expected, "{name}");
        }
        assert_eq!(DEFAULT_VARIABLES.parse(), Ok(AllowedVariables::default()));
        let any: AllowedVariables = "*".parse().unwrap();
        assert!(any.allow("x"));
        for text in ["", "IVR_*,", "A(b)", "a b", "*x", "CALLERID(num)"] {
            assert_eq!(
                text.parse::<AllowedVariables>(),
                Err(InvalidPatterns),
                "{text}"
            );
        }
    }

    #[test]
    fn a_name_that_asterisk_obeys_is_found_and_read_back_all_the_same() {
        let recorded = BTreeMap::from([
            ("IVR_NAME".to_owned(), String::new()),
            ("__SIPFROMDOMAIN".to_owned(), String::new()),
        ]);
        let variables = Variables::read_back(recorded).unwrap();
        assert_eq!(variables.forbidden(), Some("__SIPFROMDOMAIN"));
        assert_eq!(one("IVR_NAME", "").unwrap().forbidden(), None);
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
