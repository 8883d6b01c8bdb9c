//! The caller id that the callee is shown.

use std::fmt;
use std::str::FromStr;

/// A caller id: a name, a number, or both, in Asterisk's form `"Name" <number>`.
///
/// Also taken: `Name <number>`, `<number>`, and a bare number. The name is at most 40
/// characters of printable text without `"`, `<`, `>`, `\`, `&`, `,`, `$`, `{`, `}` and `;`; the number
/// an optional `+` and 1 to 20 digits, `*` or `#`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerId {
    name: Option<String>,
    number: Option<String>,
}

/// Longest name, in characters.
pub const MAX_CALLER_NAME: usize = 40;
/// The same as a regular expression (ECMA-262), for documents.
pub const CALLER_ID_PATTERN: &str = concat!(
    r#"^ *(?:\+?[0-9*#]{1,20}|"[^\x00-\x1f\x7f-\x9f"<>\\&,${};]{1,40}""#,
    r#"|(?:[^\x00- \x7f-\x9f"<>\\&,${};](?:[^\x00-\x1f\x7f-\x9f"<>\\&,${};]{0,38}[^\x00- \x7f-\x9f"<>\\&,${};])?)"#,
    r#"|(?:"[^\x00-\x1f\x7f-\x9f"<>\\&,${};]{0,40}""#,
    r#"|[^\x00- \x7f-\x9f"<>\\&,${};](?:[^\x00-\x1f\x7f-\x9f"<>\\&,${};]{0,38}[^\x00- \x7f-\x9f"<>\\&,${};])?)?"#,
    r#" *<\+?[0-9*#]{1,20}>) *$"#
);
/// Longest number, in characters after the `+`.
pub const MAX_CALLER_NUMBER: usize = 20;

impl CallerId {
    /// What goes into `CALLERID(name)`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// What goes into `CALLERID(num)`.
    #[must_use]
    pub fn number(&self) -> Option<&str> {
        self.number.as_deref()
    }
}

impl fmt::Display for CallerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.number) {
            (Some(name), Some(number)) => write!(f, "\"{name}\" <{number}>"),
            (Some(name), None) => write!(f, "\"{name}\""),
            (None, Some(number)) => f.write_str(number),
            (None, None) => Ok(()),
        }
    }
}

/// The text is not a caller id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a number such as +15550000100 or \"Name\" <+15550000100>, the name at most 40 characters without any of \" < > \\ & , $ {{ }} ;"
)]
pub struct InvalidCallerId;

impl FromStr for CallerId {
    type Err = InvalidCallerId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim_matches(' ');
        let (name, number) = match text.split_once('<') {
            Some((name, rest)) => (name, Some(rest.strip_suffix('>').ok_or(InvalidCallerId)?)),
            None if is_number(text) => ("", Some(text)),
            None => (text, None),
        };
        let name = unquote(name.trim_matches(' '))?;
        if number.is_some_and(|number| !is_number(number))
            || !is_name(name)
            || (name.is_empty() && number.is_none())
        {
            return Err(InvalidCallerId);
        }
        Ok(Self {
            name: (!name.is_empty()).then(|| name.to_owned()),
            number: number.map(str::to_owned),
        })
    }
}

fn unquote(name: &str) -> Result<&str, InvalidCallerId> {
    match name.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or(InvalidCallerId),
        None => Ok(name),
    }
}

fn is_name(name: &str) -> bool {
    name.chars().count() <= MAX_CALLER_NAME
        && name
            .chars()
            .all(|c| !c.is_control() && !"\"<>\\&,${};".contains(c))
}

fn is_number(number: &str) -> bool {
    let digits = number.strip_prefix('+').unwrap_or(number);
    (1..=MAX_CALLER_NUMBER).contains(&digits.len())
        && digits
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'*' | b'#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Option<String>, Option<String>) {
        let id: CallerId = text.parse().unwrap();
        assert_eq!(id.to_string().parse::<CallerId>().unwrap(), id, "{text}");
        (id.name, id.number)
    }

    #[test]
    fn every_usual_spelling_is_understood() {
        let own = |text: &str| Some(text.to_owned());
        assert_eq!(parts("+15550000100"), (None, own("+15550000100")));
        assert_eq!(parts("<100>"), (None, own("100")));
        assert_eq!(parts("\"Acme Ltd\" <100>"), (own("Acme Ltd"), own("100")));
        assert_eq!(parts("Acme Ltd <100>"), (own("Acme Ltd"), own("100")));
        assert_eq!(parts("Clínica"), (own("Clínica"), None));
    }

    #[test]
    fn what_could_break_out_of_a_header_or_a_variable_is_refused() {
        for text in [
            "",
            " ",
            "\"\"",
            "<>",
            "\"a\"b\" <1>",
            "a <1",
            "a\r\nVia: x <1>",
            "${SHELL} <1>",
            "a,b <1>",
            "a <1@x>",
            "a;b",
            "\"a <1>",
            &"x".repeat(41),
        ] {
            assert_eq!(text.parse::<CallerId>(), Err(InvalidCallerId), "{text:?}");
        }
    }
}
