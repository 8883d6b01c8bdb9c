//! Filter patterns of `CloudWatch` Logs, as far as `template.yaml` uses them.
//!
//! A pattern is `{ ($.field = 429) && ($.other = "a * b") }`. A number matches a number of the same value. A
//! text matches a text, in which `*` stands for any characters. A field that is not there matches nothing.
//! Whatever else the syntax has is an error: a pattern that is not understood must not count as one that
//! matches nothing.

use std::str::FromStr;

use serde_json::Value;

/// All of its comparisons have to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct FilterPattern(Vec<Comparison>);

#[derive(Clone, Debug, PartialEq)]
struct Comparison {
    field: String,
    wanted: Wanted,
}

#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    Number(f64),
    Text(String),
}

impl FromStr for FilterPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = text
            .trim()
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .ok_or_else(|| format!("no pattern over JSON: {text}"))?;
        let comparisons: Result<_, _> = inner.split("&&").map(Comparison::read).collect();
        comparisons.map(Self)
    }
}

impl Comparison {
    fn read(text: &str) -> Result<Self, String> {
        let unknown = || format!("not understood: {text}");
        let inner = text.trim();
        let inner = inner
            .strip_prefix('(')
            .and_then(|rest| rest.strip_suffix(')'))
            .unwrap_or(inner);
        let (selector, wanted) = inner.split_once('=').ok_or_else(unknown)?;
        let field = selector
            .trim()
            .strip_prefix("$.")
            .filter(|name| !name.is_empty() && name.chars().all(char::is_alphanumeric))
            .ok_or_else(unknown)?;
        let wanted = wanted.trim();
        let text = wanted
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
            .filter(|text| !text.contains(['"', '\\', '%']));
        let wanted = match (text, wanted.parse()) {
            (Some(text), _) => Wanted::Text(text.to_owned()),
            (None, Ok(number)) => Wanted::Number(number),
            (None, Err(_)) => return Err(unknown()),
        };
        Ok(Self {
            field: field.to_owned(),
            wanted,
        })
    }
}

impl FilterPattern {
    /// Whether a line of a log matches. One that is not JSON matches nothing.
    #[must_use]
    pub fn matches(&self, line: &str) -> bool {
        serde_json::from_str(line).is_ok_and(|line: Value| {
            let mut comparisons = self.0.iter();
            comparisons.all(|comparison| match &comparison.wanted {
                Wanted::Number(wanted) => line[&comparison.field]
                    .as_f64()
                    .is_some_and(|number| (number - wanted).abs() < f64::EPSILON),
                Wanted::Text(wanted) => line[&comparison.field]
                    .as_str()
                    .is_some_and(|text| matches_text(wanted, text)),
            })
        })
    }
}

/// Whether a text is as wanted, where `*` stands for any characters.
fn matches_text(wanted: &str, text: &str) -> bool {
    let Some((before, after)) = wanted.split_once('*') else {
        return wanted == text;
    };
    let Some(rest) = text.strip_prefix(before) else {
        return false;
    };
    let mut ends = rest.char_indices().map(|(index, _)| index);
    ends.any(|index| matches_text(after, &rest[index..])) || matches_text(after, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_comparisons_have_to_hold() {
        let pattern: FilterPattern = r#"{ ($.status = 401) && ($.route = "POST /api/*/token") }"#
            .parse()
            .unwrap();
        for (line, expected) in [
            (r#"{"status":401,"route":"POST /api/v2/token"}"#, true),
            (r#"{"status":401,"route":"POST /api/v2/token/x"}"#, false),
            (r#"{"status":401,"route":"POST /api/v2/calls"}"#, false),
            (r#"{"status":200,"route":"POST /api/v2/token"}"#, false),
            (r#"{"status":"401","route":"POST /api/v2/token"}"#, false),
            (r#"{"status":401}"#, false),
            ("no JSON", false),
        ] {
            assert_eq!(pattern.matches(line), expected, "{line}");
        }
    }

    #[test]
    fn a_text_is_whole_and_a_star_is_anything() {
        for (wanted, text, expected) in [
            ("-", "-", true),
            ("-", "401", false),
            ("a*", "a", true),
            ("*b*", "abc", true),
            ("a*c", "abd", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches_text(wanted, text), expected, "{wanted} {text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_no_pattern() {
        for text in [
            "ERROR",
            "[a, b]",
            "{ $.a > 1 }",
            "{ $.a != 1 }",
            "{ ($.a = 1) || ($.b = 2) }",
            "{ $.a.b = 1 }",
            "{ $.a = %x% }",
            "{ $.a IS NULL }",
        ] {
            assert!(text.parse::<FilterPattern>().is_err(), "{text}");
        }
    }
}
