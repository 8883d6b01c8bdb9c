//! Reading JSON bodies so that every mistake in them is named.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};

use crate::problem::{FieldError, Problem};

/// Largest body that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// A JSON object, or nothing at all.
pub struct JsonObject(pub Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = has_json_type(request.headers());
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| unread(&rejection))?;
        if body.is_empty() {
            return Ok(Self(Map::new()));
        }
        if !is_json {
            return Err(Problem::unsupported_media_type("application/json"));
        }
        match serde_json::from_slice(&body) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(Problem::invalid_field("body", "must be a JSON object")),
            Err(error) => Err(Problem::invalid_field(
                "body",
                format_args!(
                    "is not JSON: line {}, column {}",
                    error.line(),
                    error.column()
                ),
            )),
        }
    }
}

/// What a body that could not be read becomes.
#[must_use]
pub fn unread(rejection: &BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        Problem::body_too_large(MAX_BODY)
    } else {
        Problem::invalid_field("body", "could not be read to its end")
    }
}

/// A body without a declared type is taken for what it has to be.
fn has_json_type(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_none_or(|value| {
        let essence = value
            .to_str()
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .trim();
        let essence = essence.to_ascii_lowercase();
        essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

/// The whole number that a JSON number such as `1.0` is.
#[expect(
    clippy::cast_possible_truncation,
    reason = "within the range where every whole number is exact"
)]
fn whole(number: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

/// Takes fields out of an object and collects what is wrong with them. Unknown fields
/// are ignored; `null` counts as absent.
pub struct Fields {
    object: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Begins with no errors.
    #[must_use]
    pub const fn new(object: Map<String, Value>) -> Self {
        Self {
            object,
            errors: Vec::new(),
        }
    }

    /// Notes that `field` is wrong.
    pub fn reject(&mut self, field: &str, detail: impl fmt::Display) {
        self.errors.push(FieldError {
            field: field.to_owned(),
            detail: detail.to_string(),
        });
    }

    fn value(&mut self, field: &str) -> Option<Value> {
        self.object.remove(field).filter(|value| !value.is_null())
    }

    /// A string that parses as `T`.
    pub fn text<T>(&mut self, field: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let Value::String(text) = self.value(field)? else {
            self.reject(field, "must be a string");
            return None;
        };
        self.parse(field, &text)
    }

    /// `text`, which came from elsewhere in the request, as a `T`.
    pub fn parse<T>(&mut self, field: &str, text: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        match text.parse() {
            Ok(value) => Some(value),
            Err(problem) => {
                self.reject(field, problem);
                None
            }
        }
    }

    /// A string that must be there.
    pub fn required_text<T>(&mut self, field: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        if !self.has(field) {
            self.reject(field, "is required");
            return None;
        }
        self.text(field)
    }

    /// A whole number that `convert` takes.
    pub fn integer<T, E>(
        &mut self,
        field: &str,
        convert: impl FnOnce(i64) -> Result<T, E>,
    ) -> Option<T>
    where
        E: fmt::Display,
    {
        let value = self.value(field)?;
        let Some(number) = value.as_i64().or_else(|| whole(value.as_f64()?)) else {
            self.reject(field, "must be a whole number");
            return None;
        };
        match convert(number) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.reject(field, problem);
                None
            }
        }
    }

    /// `true` or `false`.
    pub fn flag(&mut self, field: &str) -> Option<bool> {
        let flag = self.value(field)?.as_bool();
        if flag.is_none() {
            self.reject(field, "must be true or false");
        }
        flag
    }

    /// A list of strings that `convert` takes.
    pub fn list<T, E>(
        &mut self,
        field: &str,
        convert: impl FnOnce(&[String]) -> Result<T, E>,
    ) -> Option<T>
    where
        E: fmt::Display,
    {
        let Ok(texts) = serde_json::from_value::<Vec<String>>(self.value(field)?) else {
            self.reject(field, "must be a list of strings");
            return None;
        };
        match convert(&texts) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.reject(field, problem);
                None
            }
        }
    }

    /// Whether a field is there.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.object.get(field).is_some_and(|value| !value.is_null())
    }

    /// An object of strings (numbers and booleans are taken as their text) that `convert` takes.
    pub fn texts<T, E>(
        &mut self,
        field: &str,
        convert: impl FnOnce(BTreeMap<String, String>) -> Result<T, E>,
    ) -> Option<T>
    where
        E: fmt::Display,
    {
        let Value::Object(object) = self.value(field)? else {
            self.reject(field, "must be an object");
            return None;
        };
        let texts = object.into_iter().map(|(name, value)| match value {
            Value::String(text) => Some((name, text)),
            Value::Number(_) | Value::Bool(_) => Some((name, value.to_string())),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        });
        let Some(texts) = texts.collect() else {
            self.reject(
                field,
                "must have values that are strings, numbers or booleans",
            );
            return None;
        };
        match convert(texts) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.reject(field, problem);
                None
            }
        }
    }

    /// The object as it was given, as text: equal for requests that say the same.
    #[must_use]
    pub fn canonical(&self) -> String {
        Value::Object(self.object.clone()).to_string()
    }

    /// Sets a field that came from elsewhere in the request.
    pub fn set(&mut self, field: &str, text: String) {
        self.object.insert(field.to_owned(), Value::String(text));
    }

    /// What was built from the fields, unless any of them was wrong.
    ///
    /// # Errors
    /// A 422 that names every wrong field.
    pub fn finish<T>(self, built: Option<T>) -> Result<T, Problem> {
        match built {
            Some(built) if self.errors.is_empty() => Ok(built),
            _ => Err(Problem::invalid_request(self.errors)),
        }
    }
}
