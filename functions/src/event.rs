//! Reads the event that an HTTP API sends to a function (payload format 2.0) as an HTTP request.
//!
//! The gateway decodes the path of a request before it puts the path into the event. The path is
//! therefore percent-encoded again, byte for byte, so that a `#` or a `?` that a client had encoded
//! stays part of the path. An encoded slash cannot be told from a slash any more.
//!
//! Nothing here panics. [`NotARequest`] says what keeps an event from being a request.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::client_address::GatewayAddress;
use crate::request_id::X_REQUEST_ID;

/// The stage of an API that has no name of its own, and the route that takes what no other does.
const DEFAULT: &str = "$default";

/// The part of an event that is read. What other releases of the gateway add is ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Event {
    route_key: Option<String>,
    raw_path: Option<String>,
    raw_query_string: Option<String>,
    /// Values of a header that a request repeats are joined with commas. Cookies are elsewhere in
    /// the event; no route reads them.
    headers: Option<BTreeMap<String, Option<String>>>,
    request_context: RequestContext,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RequestContext {
    api_id: Option<String>,
    route_key: Option<String>,
    stage: Option<String>,
    http: Http,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Http {
    method: Option<String>,
    source_ip: Option<String>,
}

/// Why an event is not an HTTP request.
#[derive(Debug, thiserror::Error)]
pub enum NotARequest {
    /// It has another form, as payload format 1.0 has.
    #[error("the event is not that of an HTTP API in payload format 2.0")]
    Form(#[source] serde_json::Error),
    /// There is no method where payload format 2.0 has it.
    #[error("the event has no requestContext.http.method, as payload format 2.0 has")]
    NoMethod,
    /// The method is not a token.
    #[error("the method is not one of HTTP")]
    Method,
    /// A header's name or value has characters that no header has.
    #[error("the header {0:?} has characters that no header has")]
    Header(String),
    /// The path and query together are not a URI.
    #[error("the path or the query has characters that no URI has")]
    Uri,
    /// The body is said to be base64 and is not.
    #[error("the body is not base64")]
    Body,
}

/// An event that is not a request.
#[derive(Debug)]
pub struct Unreadable {
    /// What is wrong with it.
    pub problem: NotARequest,
    /// A request that stands for it, with the `X-Request-ID` that it came with.
    pub stand_in: Request<Body>,
}

/// Reads an event.
///
/// # Errors
/// [`Unreadable`] if it is not an HTTP request.
pub fn read(event: Value) -> Result<Request<Body>, Box<Unreadable>> {
    let unreadable = |problem, request_id: Option<HeaderValue>| {
        let mut stand_in = Request::new(Body::empty());
        if let Some(id) = request_id {
            stand_in.headers_mut().insert(X_REQUEST_ID, id);
        }
        Box::new(Unreadable { problem, stand_in })
    };
    let event: Event = serde_json::from_value(event)
        .map_err(|error| unreadable(NotARequest::Form(error), None))?;
    let request_id = event.request_id();
    event
        .into_request()
        .map_err(|problem| unreadable(problem, request_id))
}

impl Event {
    fn request_id(&self) -> Option<HeaderValue> {
        let headers = self.headers.as_ref()?.iter();
        headers
            .filter(|(name, _)| X_REQUEST_ID.as_str().eq_ignore_ascii_case(name))
            .find_map(|(_, value)| HeaderValue::from_str(value.as_deref()?).ok())
    }

    fn into_request(self) -> Result<Request<Body>, NotARequest> {
        let method = self.request_context.http.method.as_deref();
        let method = method.ok_or(NotARequest::NoMethod)?;
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| NotARequest::Method)?;
        let uri = self.uri()?;
        let body = match self.body {
            Some(text) if self.is_base64_encoded == Some(true) => {
                Body::from(STANDARD.decode(text).map_err(|_| NotARequest::Body)?)
            }
            Some(text) => Body::from(text),
            None => Body::empty(),
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        for (name, value) in self.headers.unwrap_or_default() {
            let Some(value) = value else { continue };
            let header = HeaderName::from_bytes(name.as_bytes())
                .ok()
                .zip(HeaderValue::from_str(&value).ok());
            let Some((header, value)) = header else {
                return Err(NotARequest::Header(name));
            };
            request.headers_mut().append(header, value);
        }
        if let Some(address) = self.request_context.http.source_ip {
            request.extensions_mut().insert(GatewayAddress(address));
        }
        Ok(request)
    }

    /// The path as this API's routes know it, and the query as it was received.
    fn uri(&self) -> Result<Uri, NotARequest> {
        let raw_path = self.raw_path.as_deref().unwrap_or_default();
        let context = &self.request_context;
        let route = self.route_key.as_deref().or(context.route_key.as_deref());
        let route = route.unwrap_or(DEFAULT);
        let stage = context.stage.as_deref().unwrap_or(DEFAULT);
        let path = below_mapping(raw_path, route, stage);
        // An event without an API is of `cargo lambda watch`, which does not decode paths.
        let mut uri = encode(path, context.api_id.is_some());
        if let Some(query) = self.raw_query_string.as_deref().filter(|q| !q.is_empty()) {
            uri.push('?');
            uri.push_str(query);
        }
        uri.parse().map_err(|_| NotARequest::Uri)
    }
}

/// The part of a path that the API's routes begin with.
///
/// A custom domain's mapping comes before it, and so does a stage that has a name. AWS documents
/// that the path of an event has no mapping in it. A path that has one is understood all the same,
/// because the event says which route it was matched with.
fn below_mapping<'a>(path: &'a str, route_key: &str, stage: &str) -> &'a str {
    let Some((_, route)) = route_key.split_once(' ') else {
        let below = path
            .strip_prefix('/')
            .and_then(|rest| rest.strip_prefix(stage));
        return below
            .filter(|rest| stage != DEFAULT && (rest.is_empty() || rest.starts_with('/')))
            .unwrap_or(path);
    };
    if route == "/" {
        return "/";
    }
    let suffixes = || path.match_indices('/').map(|(start, _)| &path[start..]);
    // Without such a match, a variable of the route has a slash in it that was encoded.
    let literal = route.split('{').next().unwrap_or(route);
    suffixes()
        .find(|suffix| is_match(route, suffix))
        .or_else(|| suffixes().find(|suffix| suffix.starts_with(literal)))
        .unwrap_or(path)
}

/// Whether a path is one of a route, whose variables are `{name}` for one segment and `{name+}` for
/// one or more. A slash at the end of the path makes no difference.
fn is_match(route: &str, path: &str) -> bool {
    let mut segments = path.strip_suffix('/').unwrap_or(path).split('/');
    for wanted in route.split('/') {
        let Some(given) = segments.next() else {
            return false;
        };
        if wanted.starts_with('{') && wanted.ends_with("+}") {
            return true;
        }
        if !wanted.starts_with('{') && wanted != given {
            return false;
        }
    }
    segments.next().is_none()
}

/// Percent-encodes whatever may not stand in a path (RFC 3986, section 3.3).
///
/// A gateway decodes every escape but `%25`, which is therefore the only one that is kept. A path
/// that is not `decoded` keeps all of its escapes.
fn encode(path: &str, decoded: bool) -> String {
    let mut encoded = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        encoded.push('/');
    }
    let bytes = path.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let is_escape = || match bytes.get(index + 1..index + 3) {
            Some(b"25") => true,
            Some(digits) => !decoded && digits.iter().all(u8::is_ascii_hexdigit),
            None => false,
        };
        match byte {
            b'%' if is_escape() => encoded.push('%'),
            byte if byte.is_ascii_alphanumeric() || b"/-._~:@!$&'()*+,;=".contains(byte) => {
                encoded.push(char::from(*byte));
            }
            byte => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                encoded.push('%');
                encoded.push(char::from(DIGITS[usize::from(byte >> 4)]));
                encoded.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use axum::http::header;
    use serde_json::json;

    use super::*;

    fn event(path: &str, query: &str) -> Value {
        json!({
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
            "headers": {"content-type": "application/json", "x-request-id": "r"},
            "requestContext": {
                "apiId": "api", "stage": "$default", "added-later": [1],
                "http": {"method": "POST", "path": path, "sourceIp": "192.0.2.1"},
            },
            "body": "{}", "isBase64Encoded": false,
        })
    }

    fn uri(event: Value) -> String {
        read(event).unwrap().uri().to_string()
    }

    async fn body(event: Value) -> Vec<u8> {
        let request = read(event).unwrap();
        let bytes = axum::body::to_bytes(request.into_body(), 1_000).await;
        bytes.unwrap().to_vec()
    }

    #[tokio::test]
    async fn a_request_is_read_with_all_that_it_has() {
        let request = read(event("/api/v2/calls", "a=1&a=%20")).unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "/api/v2/calls?a=1&a=%20");
        assert_eq!(request.headers()[header::CONTENT_TYPE], "application/json");
        let address = request.extensions().get::<GatewayAddress>().unwrap();
        assert_eq!(address.0, "192.0.2.1");
        assert_eq!(body(event("/", "")).await, b"{}");
        let mut packed = event("/", "");
        packed["body"] = json!("//4=");
        packed["isBase64Encoded"] = json!(true);
        assert_eq!(body(packed).await, [0xff, 0xfe]);
        let mut nothing = event("/", "");
        nothing["body"] = Value::Null;
        nothing["headers"] = Value::Null;
        assert!(body(nothing).await.is_empty());
    }

    #[test]
    fn a_path_is_encoded_again_byte_for_byte() {
        for (decoded, encoded) in [
            ("/a/+1#2", "/a/+1%232"),
            ("/a/1?2", "/a/1%3F2"),
            ("/a/ ü\u{7f}", "/a/%20%C3%BC%7F"),
            ("/a/../b/./c", "/a/../b/./c"),
            ("/a/<>\"{}|\\^`[]", "/a/%3C%3E%22%7B%7D%7C%5C%5E%60%5B%5D"),
            ("/-._~!$&'()*+,;=:@", "/-._~!$&'()*+,;=:@"),
            // Of all escapes, only that of the percent sign itself comes through the gateway.
            ("/a%2Eb", "/a%252Eb"),
            ("/a%252Eb", "/a%252Eb"),
            ("/100%", "/100%25"),
            ("", "/"),
            ("a", "/a"),
        ] {
            assert_eq!(uri(event(decoded, "")), encoded, "{decoded}");
        }
        let mut watched = event("/a/%2B1%", "");
        watched["requestContext"]["apiId"] = Value::Null;
        assert_eq!(uri(watched), "/a/%2B1%25");
    }

    #[test]
    fn what_a_mapping_or_a_stage_puts_before_a_path_is_left_out() {
        for (route, stage, path, below) in [
            (
                "POST /api/v2/calls",
                DEFAULT,
                "/api/v2/calls",
                "/api/v2/calls",
            ),
            (
                "POST /api/v2/calls",
                DEFAULT,
                "/voice/api/v2/calls",
                "/api/v2/calls",
            ),
            (
                "POST /api/v2/calls",
                DEFAULT,
                "/api/api/v2/calls",
                "/api/v2/calls",
            ),
            (
                "POST /api/v2/calls",
                DEFAULT,
                "/a/b/c/api/v2/calls/",
                "/api/v2/calls/",
            ),
            (
                "POST /api/v2/calls",
                "prod",
                "/prod/api/v2/calls",
                "/api/v2/calls",
            ),
            (
                "GET /api/v2/calls/{call_id}/events",
                DEFAULT,
                "/voice/api/v2/calls/x/events",
                "/api/v2/calls/x/events",
            ),
            (
                "POST /api/v1/interaction/{number}/{rest+}",
                DEFAULT,
                "/voice/api/v1/interaction/1/2/3",
                "/api/v1/interaction/1/2/3",
            ),
            // A slash that was encoded.
            (
                "POST /api/v1/interaction/{number}",
                DEFAULT,
                "/voice/api/v1/interaction/1/2",
                "/api/v1/interaction/1/2",
            ),
            ("GET /", DEFAULT, "/", "/"),
            ("GET /", DEFAULT, "/voice", "/"),
            ("GET /", DEFAULT, "", "/"),
            ("GET /health", DEFAULT, "/health/health", "/health"),
            ("GET /health", DEFAULT, "/elsewhere", "/elsewhere"),
            (DEFAULT, DEFAULT, "/voice/health", "/voice/health"),
            (DEFAULT, "prod", "/prod/health", "/health"),
            (DEFAULT, "prod", "/prod", ""),
            (DEFAULT, "prod", "/production", "/production"),
            (DEFAULT, "prod", "/health", "/health"),
        ] {
            assert_eq!(below_mapping(path, route, stage), below, "{route} {path}");
        }
    }

    #[test]
    fn what_cannot_be_a_request_is_said_and_never_a_panic() {
        let problem = |event: Value| read(event).unwrap_err().problem.to_string();
        let changed = |pointer: &str, value: Value| {
            let mut event = event("/", "");
            *event.pointer_mut(pointer).unwrap() = value;
            event
        };
        assert!(problem(event("/", "a=<")).contains("query"));
        assert!(problem(event(&"x".repeat(70_000), "")).contains("path"));
        let method = "/requestContext/http/method";
        assert!(problem(changed(method, json!("G ET"))).contains("method"));
        assert!(problem(changed(method, json!(""))).contains("method"));
        assert!(problem(json!({"httpMethod": "GET", "path": "/"})).contains("2.0"));
        assert!(problem(changed("/headers", json!({"a b": "c"}))).contains("a b"));
        assert!(problem(changed("/headers", json!({"a": "b\nc"}))).contains("header"));
        assert!(problem(changed("/headers", json!([1]))).contains("2.0"));
        assert!(problem(json!("?")).contains("2.0"));
        let mut packed = event("/", "");
        packed["isBase64Encoded"] = json!(true);
        assert!(problem(packed).contains("base64"));
        // Who asked is still known.
        let stand_in = read(event("/", "a=<")).unwrap_err().stand_in;
        assert_eq!(stand_in.headers()[X_REQUEST_ID], "r");
    }
}
