//! The caller id that the callee is shown.

use std::fmt;
use std::str::FromStr;

use crate::text::is_carried;

/// A caller id: a name, a number, or both, in Asterisk's form `"Name" <number>`.
///
/// A request may also write `Name <number>`, `<number>`, a bare number or a bare name. A number
/// is an optional `+` and 1 to 20 digits, `*` or `#`; spaces, dashes, dots and brackets between
/// them are left out. A name has at most 40 characters and at least one letter.
///
/// A call whose number was taken for a name goes out anonymous. So a text without a letter is a
/// number or nothing, and a name holds fewer than [`DIGITS_OF_A_NUMBER`] digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerId {
    name: Option<String>,
    number: Option<String>,
}

/// Longest name, in characters.
pub const MAX_CALLER_NAME: usize = 40;
/// Longest number, in characters after the `+`.
pub const MAX_CALLER_NUMBER: usize = 20;
/// So many digits outside `<>` are taken for a number that was put in the wrong place.
pub const DIGITS_OF_A_NUMBER: usize = 7;

/// A number, bare or in `<>`, as a regular expression (ECMA-262) for documents.
pub const CALLER_NUMBER_PATTERN: &str = r"^ *(?:\+?[0-9*#]{1,20}|<\+?[0-9*#]{1,20}>) *$";
/// A name with or without a number in `<>`, as a regular expression. It says which characters
/// a name may hold, not how many of them are letters and digits.
pub const CALLER_NAME_PATTERN: &str = concat!(
    r#"^ *(?:"[^\x00-\x1f\x7f-\x9f\ufffe\uffff"<>\\&,${};]{1,40}""#,
    r#"|[^\x00- \x7f-\x9f\ufffe\uffff"<>\\&,${};]"#,
    r#"(?:[^\x00-\x1f\x7f-\x9f\ufffe\uffff"<>\\&,${};]{0,38}"#,
    r#"[^\x00- \x7f-\x9f\ufffe\uffff"<>\\&,${};])?)"#,
    r#"(?: *<\+?[0-9*#]{1,20}>)? *$"#
);
/// A letter of the Latin, Greek or Cyrillic alphabets before any `<`, as a regular expression.
/// Letters of other scripts are taken, too; no regular expression that all readers of
/// documents understand names them all.
pub const CALLER_LETTER_PATTERN: &str =
    r"^[^<]*[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u0391-\u03a1\u03a3-\u03ff\u0400-\u0481]";
/// Too many digits for a name before any `<`, as a regular expression.
pub const CALLER_DIGITS_PATTERN: &str = r"^(?:[^<]*[0-9]){7}";

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
pub enum InvalidCallerId {
    /// It is of no form that is known, or holds a character that is not allowed.
    #[error(
        "must be a number such as +15550000100, or \"Name\" <+15550000100>; the name has at most 40 \
         characters, none of them a control character, U+FFFE, U+FFFF or one of \" < > \\ & , $ {{ }} ;"
    )]
    Form,
    /// It has no letter, so that it is no name, and it is not a number either.
    #[error(
        "has no letter, so it must be a number such as +15550000100: an optional + and 1 to 20 \
         digits, * or #; spaces, dashes, dots and brackets are left out, but (0) after a country code \
         is not"
    )]
    NotANumber,
    /// Its name holds a number.
    #[error(
        "has a number where its name belongs: send the number alone, or as in \"Acme\" <+15550000100>"
    )]
    NumberInName,
}

impl FromStr for CallerId {
    type Err = InvalidCallerId;

    /// Reads what a request or a setting says.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (before, number) = split(text)?;
        let Some(number) = number else {
            if !has_letter(before) {
                let number = read_number(before).ok_or(InvalidCallerId::NotANumber)?;
                return Ok(Self {
                    name: None,
                    number: Some(number),
                });
            }
            return Self::of(unquote(before)?, None);
        };
        let number = read_number(number).ok_or(InvalidCallerId::Form)?;
        let name = unquote(before)?;
        if name.is_empty() || has_letter(name) {
            return Self::of(name, Some(number));
        }
        // Some programs send the number as the name, too.
        match read_number(name) {
            Some(repeated) if repeated == number => Self::of("", Some(number)),
            _ => Err(InvalidCallerId::NotANumber),
        }
    }
}

impl CallerId {
    /// Reads what [`Display`](fmt::Display) has written into a record or a message, of this or
    /// an earlier release. Earlier releases also took names that are not taken from requests now.
    ///
    /// # Errors
    /// [`InvalidCallerId`] if the text could break out of a header or a variable.
    pub fn read_back(text: &str) -> Result<Self, InvalidCallerId> {
        let (before, number) = split(text)?;
        let (name, number) = match number {
            None if is_number(before) => ("", Some(before)),
            number => (unquote(before)?, number),
        };
        let allowed = name.chars().count() <= MAX_CALLER_NAME
            && name.chars().all(|c| !c.is_control() && !is_special(c))
            && number.is_none_or(is_number)
            && !(name.is_empty() && number.is_none());
        allowed
            .then(|| Self {
                name: (!name.is_empty()).then(|| name.to_owned()),
                number: number.map(str::to_owned),
            })
            .ok_or(InvalidCallerId::Form)
    }

    /// With a name that is empty or has a letter.
    fn of(name: &str, number: Option<String>) -> Result<Self, InvalidCallerId> {
        if name.chars().filter(|c| c.is_numeric()).count() >= DIGITS_OF_A_NUMBER {
            return Err(InvalidCallerId::NumberInName);
        }
        let allowed = name.chars().all(|c| is_carried(c) && !is_special(c));
        if !allowed || name.chars().count() > MAX_CALLER_NAME {
            return Err(InvalidCallerId::Form);
        }
        Ok(Self {
            name: (!name.is_empty()).then(|| name.to_owned()),
            number,
        })
    }
}

/// What stands before `<`, without spaces around it, and what stands in `<>`, if there is one.
fn split(text: &str) -> Result<(&str, Option<&str>), InvalidCallerId> {
    let text = text.trim_matches(' ');
    let Some((before, rest)) = text.split_once('<') else {
        return Ok((text, None));
    };
    let number = rest.strip_suffix('>').ok_or(InvalidCallerId::Form)?;
    Ok((before.trim_matches(' '), Some(number)))
}

fn unquote(name: &str) -> Result<&str, InvalidCallerId> {
    match name.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or(InvalidCallerId::Form),
        None => Ok(name),
    }
}

fn has_letter(text: &str) -> bool {
    text.contains(char::is_alphabetic)
}

/// Whether the character could break out of a header, a variable or a list.
fn is_special(c: char) -> bool {
    "\"<>\\&,${};".contains(c)
}

/// The number that a person may have written with separators, which Asterisk leaves out as
/// well. `+44 (0)20…` is refused, because its 0 is not dialled after a country code.
fn read_number(text: &str) -> Option<String> {
    const SEPARATORS: [char; 5] = [' ', '-', '.', '(', ')'];
    if text.starts_with([' ', '-', '.', ')'])
        || text.ends_with([' ', '-', '.', '('])
        || (text.contains('+') && text.contains("(0)"))
    {
        return None;
    }
    let number = text.replace(SEPARATORS, "");
    is_number(&number).then_some(number)
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

    /// Name and number, without the one or the other empty.
    fn parts(text: &str) -> (String, String) {
        let id: CallerId = text
            .parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(CallerId::read_back(&id.to_string()), Ok(id.clone()));
        assert!(id.name() != Some("") && id.number() != Some(""));
        let text = |part: Option<String>| part.unwrap_or_default();
        (text(id.name), text(id.number))
    }

    fn pair(name: &str, number: &str) -> (String, String) {
        (name.to_owned(), number.to_owned())
    }

    #[test]
    fn every_usual_spelling_is_understood() {
        assert_eq!(parts("<100>"), pair("", "100"));
        assert_eq!(parts("\"Acme Ltd\" <100>"), pair("Acme Ltd", "100"));
        assert_eq!(parts("Acme Ltd <100>"), pair("Acme Ltd", "100"));
        assert_eq!(parts("Clínica"), pair("Clínica", ""));
        assert_eq!(parts("医院"), pair("医院", ""));
        assert_eq!(parts("Route 123456"), pair("Route 123456", ""));
        assert_eq!(parts("*31#"), pair("", "*31#"));
    }

    #[test]
    fn a_text_without_a_letter_is_the_number() {
        for text in [
            "+15550000100",
            "+1 555 000 0100",
            "+1-555-000-0100",
            "+1 (555) 000.0100",
            "(+1) 555 000 0100",
            "  +15550000100 ",
            "<+1 555 000 0100>",
            "+15550000100 <+15550000100>",
            "\"+1 555 000 0100\" <+15550000100>",
        ] {
            assert_eq!(parts(text), pair("", "+15550000100"), "{text}");
        }
        for text in [
            "+44 (0)20 7946 0000",
            "+1 555 000 0100 / 200",
            "-100",
            "100-",
            "++1555",
            "\"15550000100\"",
            "15550000200 <+15550000100>",
            "24/7 <+15550000100>",
            "+1\u{a0}555\u{a0}000\u{a0}0100",
            "١٥٥٥٠٠٠٠١٠٠",
            "☎",
        ] {
            let read = text.parse::<CallerId>();
            assert_eq!(read, Err(InvalidCallerId::NotANumber), "{text}");
        }
    }

    #[test]
    fn a_number_is_not_taken_for_a_name() {
        for text in [
            "tel:+15550000100",
            "sip:5550000100",
            "Acme +1 555 000 0100",
            "Acme 5550000",
            "+1 555 000 0100 ext",
            "Acme 15550000100 <100>",
            "Klinik ١٥٥٥٠٠٠٠١٠٠",
        ] {
            let read = text.parse::<CallerId>();
            assert_eq!(read, Err(InvalidCallerId::NumberInName), "{text}");
        }
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
            assert!(text.parse::<CallerId>().is_err(), "{text:?}");
            assert!(CallerId::read_back(text).is_err(), "{text:?}");
        }
        // SQS does not carry it; a record of an earlier release may hold it.
        assert!("a\u{ffff}".parse::<CallerId>().is_err());
        assert!(CallerId::read_back("\"a\u{ffff}\"").is_ok());
    }

    #[test]
    fn what_an_earlier_release_took_is_read_back() {
        let id = CallerId::read_back("\"+1 555 000 0100\"").unwrap();
        assert_eq!((id.name(), id.number()), (Some("+1 555 000 0100"), None));
        assert_eq!(id.to_string(), "\"+1 555 000 0100\"");
    }
}
