//! Reading the query of a URL so that every mistake in it is named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::problem::{FieldError, Problem};
use crate::unknown::{Place, UnknownFields};

/// The parameters of a query, and what is wrong with them. Whatever nobody took until
/// [`Parameters::finish`] is an unknown parameter.
pub struct Parameters {
    values: BTreeMap<String, String>,
    repeated: BTreeSet<String>,
    /// The names that were asked for.
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

/// The names of a query's parameters, each once. A query that is not form-encoded has none.
#[must_use]
pub fn names(query: &str) -> BTreeSet<String> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).unwrap_or_default();
    pairs.into_iter().map(|(name, _)| name).collect()
}

/// A time whose offset begins with a space, because the `+` was not percent-encoded.
#[must_use]
pub fn with_plus(time: String) -> String {
    match time.rsplit_once(' ') {
        // `09:30` alone may be the time of the day.
        Some((before, offset)) if offset.len() == "01:00".len() && before.contains(':') => {
            format!("{before}+{offset}")
        }
        _ => time,
    }
}

impl Parameters {
    /// Reads a query.
    ///
    /// # Errors
    /// 422 if it is not form-encoded.
    pub fn new(query: &str) -> Result<Self, Problem> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)
            .map_err(|_| Problem::invalid_field("query", "is not form-encoded"))?;
        let mut parameters = Self {
            values: BTreeMap::new(),
            repeated: BTreeSet::new(),
            known: Vec::new(),
            errors: Vec::new(),
        };
        for (name, value) in pairs {
            if parameters.values.insert(name.clone(), value).is_some() {
                parameters.repeated.insert(name);
            }
        }
        Ok(parameters)
    }

    fn reject(&mut self, name: &str, detail: impl fmt::Display) {
        self.errors.push(FieldError {
            field: name.to_owned(),
            detail: detail.to_string(),
        });
    }

    /// The text of a parameter.
    pub fn take(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        if self.repeated.contains(name) {
            self.reject(name, "is there more than once");
        }
        self.values.remove(name)
    }

    /// A parameter's text as a `T`.
    pub fn parse<T>(&mut self, name: &str, text: Option<String>) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let parsed = text?.parse();
        self.accept(name, parsed)
    }

    /// What was made of a parameter, unless that failed.
    pub fn accept<T, E: fmt::Display>(&mut self, name: &str, made: Result<T, E>) -> Option<T> {
        match made {
            Ok(value) => Some(value),
            Err(problem) => {
                self.reject(name, problem);
                None
            }
        }
    }

    /// A parameter's text as a whole number between `least` and `most`.
    pub fn number(
        &mut self,
        name: &str,
        text: Option<String>,
        least: usize,
        most: usize,
    ) -> Option<usize> {
        let text = text?;
        // As it is written back: no sign, no leading zeros.
        let number = text
            .parse::<usize>()
            .ok()
            .filter(|number| (least..=most).contains(number) && number.to_string() == text);
        if number.is_none() {
            self.reject(
                name,
                format_args!("must be a whole number from {least} to {most}"),
            );
        }
        number
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// A 422 that names every wrong parameter, and the unknown ones unless they are ignored.
    pub fn finish(mut self, unknown: UnknownFields) -> Result<(), Problem> {
        let names = self.values.keys().map(String::as_str);
        let strange = unknown.judge(names, &self.known, Place::Query);
        self.errors.extend(strange);
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid_request(self.errors))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_that_reads_as_a_space_is_a_plus() {
        for (text, read) in [
            ("2026-11-01T00:00:00 01:00", "2026-11-01T00:00:00+01:00"),
            ("2026-11-01T00:00:00.5 01:00", "2026-11-01T00:00:00.5+01:00"),
            ("2026-11-01T00:00:00+01:00", "2026-11-01T00:00:00+01:00"),
            ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),
            ("2026-11-01 09:30", "2026-11-01 09:30"),
            ("2026-11-01 09:30:00", "2026-11-01 09:30:00"),
            ("", ""),
        ] {
            assert_eq!(with_plus(text.to_owned()), read);
        }
    }

    #[test]
    fn known_parameters_come_once_and_unknown_ones_not_at_all() {
        let read = |query: &str, unknown| {
            let mut parameters = Parameters::new(query).unwrap();
            parameters.take("limit");
            parameters.finish(unknown).is_ok()
        };
        for (query, refusing, ignoring) in [
            ("", true, true),
            ("limit=1", true, true),
            ("limit=1&limit=1", false, false),
            ("limits=1", false, true),
            ("x=1&x=2", false, true),
        ] {
            assert_eq!(read(query, UnknownFields::Refuse), refusing, "{query}");
            assert_eq!(read(query, UnknownFields::Ignore), ignoring, "{query}");
        }
    }
}
