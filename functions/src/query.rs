//! Reading the query of a URL so that every mistake in it is named.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::problem::{FieldError, Problem};

/// The parameters of a query, and what is wrong with them. Unknown ones are ignored.
pub struct Parameters {
    values: BTreeMap<String, String>,
    errors: Vec<FieldError>,
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
            errors: Vec::new(),
        };
        for (name, value) in pairs {
            if parameters.values.contains_key(&name) {
                parameters.reject(&name, "is there more than once");
            }
            parameters.values.insert(name, value);
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
    pub fn take(&mut self, name: &str) -> Option<String> {
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
    /// A 422 that names every wrong parameter.
    pub fn finish(self) -> Result<(), Problem> {
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid_request(self.errors))
        }
    }
}
