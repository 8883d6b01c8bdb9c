//! Filter patterns of `CloudWatch` Logs, as far as `template.yaml` uses them.
//!
//! A pattern is `{ ($.field = 429) && (($.other = "a * b") || ($.other != "-")) }`. A number matches a
//! number of the same value. A text matches a text, in which `*` stands for any characters. A field
//! that is not there matches nothing. Whatever else the syntax has is an error: a pattern that is not
//! understood must not count as one that matches nothing.

use std::str::FromStr;

use serde_json::Value;

/// A condition on a line of a log.
#[derive(Clone, Debug, PartialEq)]
pub enum FilterPattern {
    /// All of these hold.
    All(Vec<Self>),
    /// One of these holds.
    Any(Vec<Self>),
    /// A field is so, or is there and not so.
    Field {
        /// Its name.
        name: String,
        /// Whether it has to be so.
        is: bool,
        /// How.
        wanted: Wanted,
    },
}

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted {
    /// A number of this value.
    Number(f64),
    /// A text like this one.
    Text(String),
}

impl FromStr for FilterPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || format!("not understood: {text}");
        let inner = text
            .trim()
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .ok_or_else(unknown)?;
        let mut reader = Reader { rest: inner.trim() };
        let pattern = reader.any().ok_or_else(unknown)?;
        if reader.rest.is_empty() {
            Ok(pattern)
        } else {
            Err(unknown())
        }
    }
}

/// What is left of a pattern. Each method takes what it reads away, or is `None`.
struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn take(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else {
            return false;
        };
        self.rest = rest.trim_start();
        true
    }

    fn any(&mut self) -> Option<FilterPattern> {
        let mut parts = vec![self.all()?];
        while self.take("||") {
            parts.push(self.all()?);
        }
        one_or(parts, FilterPattern::Any)
    }

    fn all(&mut self) -> Option<FilterPattern> {
        let mut parts = vec![self.part()?];
        while self.take("&&") {
            parts.push(self.part()?);
        }
        one_or(parts, FilterPattern::All)
    }

    fn part(&mut self) -> Option<FilterPattern> {
        if self.take("(") {
            let inner = self.any()?;
            return self.take(")").then_some(inner);
        }
        self.rest = self.rest.strip_prefix("$.")?;
        let end = self.rest.find(|c: char| !c.is_alphanumeric())?;
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        let is = !self.take("!=");
        if is && !self.take("=") {
            return None;
        }
        Some(FilterPattern::Field {
            name: (!name.is_empty()).then(|| name.to_owned())?,
            is,
            wanted: self.wanted()?,
        })
    }

    fn wanted(&mut self) -> Option<Wanted> {
        if let Some(rest) = self.rest.strip_prefix('"') {
            let (text, rest) = rest.split_once('"')?;
            self.rest = rest.trim_start();
            let known = !text.contains(['\\', '%']);
            return known.then(|| Wanted::Text(text.to_owned()));
        }
        let end = self.rest.find([' ', ')']).unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        number.parse().ok().map(Wanted::Number)
    }
}

fn one_or(
    mut parts: Vec<FilterPattern>,
    many: fn(Vec<FilterPattern>) -> FilterPattern,
) -> Option<FilterPattern> {
    if parts.len() > 1 {
        return Some(many(parts));
    }
    parts.pop()
}

impl FilterPattern {
    /// Whether a line of a log matches. One that is not JSON matches nothing.
    #[must_use]
    pub fn matches(&self, line: &str) -> bool {
        serde_json::from_str(line).is_ok_and(|line: Value| self.holds(&line))
    }

    fn holds(&self, line: &Value) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.holds(line)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(line)),
            Self::Field { name, is, wanted } => line
                .get(name)
                .is_some_and(|value| wanted.matches(value) == *is),
        }
    }
}

impl Wanted {
    fn matches(&self, value: &Value) -> bool {
        match self {
            Self::Number(wanted) => value
                .as_f64()
                .is_some_and(|number| (number - wanted).abs() < f64::EPSILON),
            Self::Text(wanted) => value
                .as_str()
                .is_some_and(|text| matches_text(wanted, text)),
        }
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
    fn conditions_are_nested_and_turned_round() {
        let pattern: FilterPattern =
            r#"{ ($.a != "-") && (($.b = 1) || ($.b = 2)) }"#.parse().unwrap();
        for (line, expected) in [
            (r#"{"a":"200","b":1}"#, true),
            (r#"{"a":"200","b":2}"#, true),
            (r#"{"a":"-","b":1}"#, false),
            (r#"{"a":"200","b":3}"#, false),
            (r#"{"b":1}"#, false),
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
            "{ ($.a = 1 }",
            "{ $.a = 1 && }",
            "{ $.a = 1 $.b = 2 }",
            "{ $.a.b = 1 }",
            "{ $.a = %x% }",
            "{ $.a IS NULL }",
        ] {
            assert!(text.parse::<FilterPattern>().is_err(), "{text}");
        }
    }
}
