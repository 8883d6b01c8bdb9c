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
use crate::query;
use crate::unknown::{Place, UnknownFields};

/// Largest body that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// What some editors and programs write before UTF-8. It is no part of the JSON.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The white space of JSON (RFC 8259, section 2).
const BLANKS: &[u8] = b" \t\r\n";

/// A JSON object. Without a body, or with one of blanks or `null`, it is empty.
pub struct JsonObject(pub Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for JsonObject {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let headers = request.headers().clone();
        let body = Bytes::from_request(request, state)
            .await
            .map_err(|rejection| unread(&rejection))?;
        let json = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body);
        if json.iter().all(|byte| BLANKS.contains(byte)) {
            return Ok(Self(Map::new()));
        }
        check_encoding(&headers)?;
        if !has_json_type(&headers) {
            return Err(Problem::unsupported_media_type("application/json"));
        }
        match serde_json::from_slice(json) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            // What JavaScript's clients send for a body that is not given.
            Ok(Value::Null) => Ok(Self(Map::new())),
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

/// Refuses a body that is packed: 64 KiB need no packing, and unpacking needs a bound of its own.
///
/// # Errors
/// 415 if there is any coding but `identity` (RFC 9110, section 8.4).
pub fn check_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let is_plain = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(str::trim)
        .all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case("identity"));
    if is_plain {
        Ok(())
    } else {
        Err(Problem::unsupported_encoding())
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

/// The whole number that a text is, as clients of the old service may send it: `"30000"`, with
/// blanks around it or with `.0` behind it.
fn whole_text(text: &str) -> Option<i64> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_zero = !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0');
    is_zero.then(|| whole.parse().ok())?
}

/// Takes fields out of an object and collects what is wrong with them.
///
/// `null` counts as absent, and so does `""`, except for [`Fields::flag`] and
/// [`Fields::required_text`]. Whatever nobody took until [`Fields::finish`] is an unknown field.
pub struct Fields {
    object: Map<String, Value>,
    /// The names that were asked for.
    known: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Begins with no errors.
    #[must_use]
    pub const fn new(object: Map<String, Value>) -> Self {
        Self {
            object,
            known: Vec::new(),
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

    fn value(&mut self, field: &'static str) -> Option<Value> {
        self.known.push(field);
        self.object
            .remove(field)
            .filter(|value| !value.is_null() && value != "")
    }

    /// A string that parses as `T`.
    pub fn text<T>(&mut self, field: &'static str) -> Option<T>
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
    pub fn required_text<T>(&mut self, field: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        if !self.has(field) {
            self.known.push(field);
            self.object.remove(field);
            self.reject(field, "is required");
            return None;
        }
        self.text(field)
    }

    /// A whole number that `convert` takes, as a number or as text.
    pub fn integer<T, E>(
        &mut self,
        field: &'static str,
        convert: impl FnOnce(i64) -> Result<T, E>,
    ) -> Option<T>
    where
        E: fmt::Display,
    {
        let value = self.value(field)?;
        let number = match &value {
            Value::String(text) => whole_text(text),
            value => value.as_i64().or_else(|| whole(value.as_f64()?)),
        };
        let Some(number) = number else {
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

    /// `true` or `false`, never as text: whoever writes `"true"` or `""` for `dry_run` hears of it
    /// before a phone rings.
    pub fn flag(&mut self, field: &'static str) -> Option<bool> {
        self.known.push(field);
        let value = self.object.remove(field).filter(|value| !value.is_null())?;
        let flag = value.as_bool();
        if flag.is_none() {
            self.reject(field, "must be true or false");
        }
        flag
    }

    /// A list of strings that `convert` takes.
    pub fn list<T, E>(
        &mut self,
        field: &'static str,
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

    /// Whether a field is given.
    #[must_use]
    pub fn has(&self, field: &str) -> bool {
        self.object
            .get(field)
            .is_some_and(|value| !value.is_null() && value != "")
    }

    /// An object of strings (numbers and booleans are taken as their text) that `convert` takes.
    pub fn texts<T, E>(
        &mut self,
        field: &'static str,
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

    /// What was built from the fields, unless any of them was wrong or unknown. The `query` of
    /// the same request takes no parameter, so each of its names is unknown.
    ///
    /// # Errors
    /// A 422 that names every wrong field.
    pub fn finish<T>(
        mut self,
        built: Option<T>,
        query: &str,
        unknown: UnknownFields,
    ) -> Result<T, Problem> {
        let names = self.object.keys().map(String::as_str);
        let strange = unknown.judge(names, &self.known, Place::Body);
        self.errors.extend(strange);
        let parameters = query::names(query);
        let names = parameters.iter().map(String::as_str);
        let strange = unknown.judge(names, &self.known, Place::QueryOfBody);
        self.errors.extend(strange);
        match built {
            Some(built) if self.errors.is_empty() => Ok(built),
            _ => Err(Problem::invalid_request(self.errors)),
        }
    }
}

/// An object as text: equal for requests that say the same.
#[must_use]
pub fn canonical(object: &Map<String, Value>) -> String {
    Value::Object(object.clone()).to_string()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use axum::response::IntoResponse;

    use super::*;

    async fn read(headers: &[(&str, &str)], body: &'static [u8]) -> Result<Value, u16> {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body)).unwrap();
        match JsonObject::from_request(request, &()).await {
            Ok(JsonObject(object)) => Ok(Value::Object(object)),
            Err(problem) => Err(problem.into_response().status().as_u16()),
        }
    }

    #[tokio::test]
    async fn a_body_may_be_nothing_in_several_ways_and_begin_with_a_mark() {
        let json = [("content-type", "application/json; charset=utf-8")];
        for body in [
            b"".as_slice(),
            b" \r\n\t",
            b"null",
            b" null\n",
            b"\xef\xbb\xbf",
            b"\xef\xbb\xbfnull",
            b"{}",
        ] {
            assert_eq!(read(&json, body).await, Ok(Value::Object(Map::new())));
        }
        let marked = b"\xef\xbb\xbf{\"a\": 1}";
        assert_eq!(read(&json, marked).await, Ok(serde_json::json!({"a": 1})));
        for body in [
            b"\xef\xbb\xbf\xef\xbb\xbf{}".as_slice(),
            b"nul",
            b"[]",
            b"0",
        ] {
            assert_eq!(read(&json, body).await, Err(422));
        }
        let text = [("content-type", "text/plain")];
        assert_eq!(read(&text, b" ").await, Ok(Value::Object(Map::new())));
        assert_eq!(read(&text, b"null").await, Err(415));
    }

    #[tokio::test]
    async fn a_packed_body_is_refused_as_such() {
        for (coding, expected) in [
            ("gzip", Err(415)),
            ("br", Err(415)),
            ("identity, gzip", Err(415)),
            ("Identity", Ok(serde_json::json!({"a": 1}))),
        ] {
            let headers = [("content-encoding", coding)];
            assert_eq!(read(&headers, b"{\"a\": 1}").await, expected, "{coding}");
        }
        let headers = [("content-encoding", "gzip")];
        assert_eq!(read(&headers, b"").await, Ok(Value::Object(Map::new())));
    }

    fn fields(object: Value) -> Fields {
        let Value::Object(object) = object else {
            panic!("not an object");
        };
        Fields::new(object)
    }

    #[test]
    fn a_whole_number_may_be_text() {
        let read = |value: Value| {
            let mut fields = fields(serde_json::json!({"n": value}));
            let number = fields.integer("n", Ok::<i64, String>);
            (number, fields.errors.len())
        };
        for value in ["30000", " 30000 ", "+30000", "30000.0", "30000.000"] {
            assert_eq!(read(value.into()), (Some(30_000), 0), "{value}");
        }
        assert_eq!(read("-5".into()), (Some(-5), 0));
        assert_eq!(read("".into()), (None, 0));
        for value in [
            "30000.5", "3e4", "30_000", "30 000", ".0", "5.", "0x10", "inf", " ",
        ] {
            assert_eq!(read(value.into()), (None, 1), "{value}");
        }
        assert_eq!(read(true.into()), (None, 1));
        assert_eq!(read(serde_json::json!([1])), (None, 1));
    }

    #[test]
    fn a_flag_is_never_text() {
        let read = |value: Value| {
            let mut fields = fields(serde_json::json!({"dry_run": value}));
            let flag = fields.flag("dry_run");
            (flag, fields.errors.len())
        };
        assert_eq!(read(true.into()), (Some(true), 0));
        assert_eq!(read(Value::Null), (None, 0));
        for value in ["true", "false", "1", "yes", ""] {
            assert_eq!(read(value.into()), (None, 1), "{value}");
        }
        assert_eq!(read(1.into()), (None, 1));
    }

    #[test]
    fn what_nobody_took_is_unknown() {
        let read = |object: Value, query: &str, unknown| {
            let mut fields = fields(object);
            let flag = fields.flag("dry_run");
            let name: Option<String> = fields.required_text("name");
            let finished = fields.finish(Some((flag, name)), query, unknown);
            finished.map_err(|problem| {
                let body = serde_json::to_value(problem.body()).unwrap();
                let errors = body["errors"].as_array().unwrap().clone();
                let field = |error: &Value| error["field"].as_str().unwrap().to_owned();
                errors.iter().map(field).collect::<Vec<_>>()
            })
        };
        let (refuse, ignore) = (UnknownFields::Refuse, UnknownFields::Ignore);
        let named = |fields: &[&str]| Err(fields.iter().map(|&name| name.to_owned()).collect());
        let misspelt = serde_json::json!({"name": "a", "dryrun": true});
        assert_eq!(read(misspelt.clone(), "", refuse), named(&["dryrun"]));
        let taken = Ok((None, Some("a".to_owned())));
        assert_eq!(read(misspelt, "dry_run=true", ignore), taken);
        let good = serde_json::json!({"name": "a"});
        assert_eq!(
            read(good.clone(), "dry_run=true", refuse),
            named(&["dry_run"])
        );
        assert_eq!(read(good, "", refuse), taken);
        // Given as nothing, a known field is not an unknown one.
        let empty = serde_json::json!({"name": "", "dry_run": null});
        assert_eq!(read(empty, "", refuse), named(&["name"]));
    }
}
