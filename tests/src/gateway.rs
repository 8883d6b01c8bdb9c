//! An HTTP API of AWS in front of the functions' real programs, as far as a request can notice it. It
//! has the routes of `template.yaml`, and makes each request an event (payload format 2.0).
//!
//! What is modelled, and where it comes from:
//! - The path is decoded, all but `%25`; the query is as it was sent.
//! - Values of a repeated header are joined with commas.
//! - A body is text if its type is; any other, a form's too, is base64.
//! - AWS documents that the path has no mapping of a custom domain in it. An event that has one
//!   was seen as well.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::World;
use crate::program::Program;
use crate::runtime_api::RuntimeApi;
use crate::wire::{WireAnswer, WireRequest};

/// How a client reaches the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// By the API's own domain.
    None,
    /// By a custom domain's mapping, which the event does not show.
    Hidden(&'static str),
    /// By a custom domain's mapping, which the event has in its path.
    InPath(&'static str),
}

impl Mapping {
    /// What comes before the path that a client asks for.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Hidden(prefix) | Self::InPath(prefix) => prefix,
        }
    }
}

/// A route: its key, such as `GET /health`, and the function that it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its key.
    pub key: String,
    /// Its function.
    pub function: String,
}

/// The routes of `template.yaml`.
///
/// # Panics
/// If the template is not as it is written now.
#[must_use]
pub fn routes() -> Vec<Route> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../template.yaml");
    let template = std::fs::read_to_string(path).expect("template.yaml");
    let mut routes = Vec::new();
    for part in template.split("RouteKey: ").skip(1) {
        let line = part.lines().next().unwrap_or_default();
        let key = line.split(", Target").next().unwrap_or_default();
        let key = key.trim_start_matches("!Sub ").trim_matches('"');
        let function = part.split("integrations/${").nth(1);
        let function = function.and_then(|rest| rest.split("Integration}").next());
        let function = function.expect("an integration").to_lowercase();
        for version in ["v2", "v1"] {
            let key = key.replace("${Version}", version);
            let route = Route {
                key,
                function: function.clone(),
            };
            if !routes.contains(&route) {
                routes.push(route);
            }
        }
    }
    routes
}

/// The variables of a route's path in a path, if it is one of the route's.
fn variables(route: &str, path: &str) -> Option<Map<String, Value>> {
    let mut variables = Map::new();
    let mut rest = path.strip_prefix('/')?;
    let wanted: Vec<_> = route.strip_prefix('/')?.split('/').collect();
    for (index, segment) in wanted.iter().enumerate() {
        let is_last = index + 1 == wanted.len();
        let (given, after) = match rest.split_once('/') {
            Some((given, after)) if !is_last => (given, after),
            None if is_last => (rest, ""),
            Some(_) if segment.ends_with("+}") => (rest, ""),
            _ => return None,
        };
        match segment.strip_prefix('{') {
            Some(name) if !given.is_empty() => {
                let name = name.trim_end_matches(['+', '}']);
                variables.insert(name.to_owned(), json!(given));
            }
            None if *segment == given => {}
            _ => return None,
        }
        rest = after;
    }
    Some(variables)
}

/// Decodes a path as an HTTP API does: all but the percent sign itself.
fn decode(path: &str) -> String {
    let bytes = path.as_bytes();
    let mut decoded = Vec::new();
    let mut index = 0;
    while index < bytes.len() {
        let digits = bytes.get(index + 1..index + 3);
        let digits = digits.filter(|_| bytes[index] == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if byte != b'%' => {
                decoded.push(byte);
                index += 3;
            }
            _ => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The event that a request becomes, on the route with this key.
#[must_use]
pub fn event(request: &WireRequest, route_key: &str, mapping: Mapping) -> Value {
    let path = decode(request.path());
    let route_path = route_key.split_once(' ').map_or("", |(_, path)| path);
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &request.headers {
        let before = headers.entry(name.to_ascii_lowercase()).or_default();
        if !before.is_empty() {
            before.push(',');
        }
        before.push_str(value);
    }
    let domain = match mapping {
        Mapping::None => "api.execute-api.us-east-1.amazonaws.com",
        Mapping::Hidden(_) | Mapping::InPath(_) => "voice.example",
    };
    headers.insert("host".to_owned(), domain.to_owned());
    let content_type = headers.get("content-type").cloned().unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    let is_text = content_type.starts_with("text/")
        || ["json", "xml", "javascript"]
            .iter()
            .any(|kind| content_type == format!("application/{kind}"));
    let path = match mapping {
        Mapping::InPath(prefix) => format!("{prefix}{path}"),
        Mapping::None | Mapping::Hidden(_) => path,
    };
    let parameters = variables(route_path, &decode(request.path())).filter(|all| !all.is_empty());
    let mut event = json!({
        "version": "2.0", "routeKey": route_key, "rawPath": path, "rawQueryString": request.query(),
        "headers": headers, "isBase64Encoded": false,
        "requestContext": {
            "accountId": "0", "apiId": "api", "domainName": domain, "domainPrefix": "api",
            "http": {
                "method": request.method, "path": path, "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1", "userAgent": "e2e",
            },
            "requestId": "r", "routeKey": route_key, "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000_u64,
        },
    });
    if let Some(parameters) = parameters {
        event["pathParameters"] = parameters.into();
    }
    if is_text && !request.body.is_empty() {
        event["body"] = json!(String::from_utf8_lossy(&request.body));
    } else if !request.body.is_empty() {
        event["body"] = json!(STANDARD.encode(&request.body));
        event["isBase64Encoded"] = json!(true);
    }
    event
}

/// The answer that a client gets for what a function answers.
///
/// # Panics
/// If a function's answer has not the form of one.
#[must_use]
pub fn answer(answer: &Value) -> WireAnswer {
    let status = answer["statusCode"].as_u64();
    let status = status.unwrap_or_else(|| panic!("a function answered {answer}"));
    let headers = answer["headers"].as_object().expect("headers").iter();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let body = text(&answer["body"]);
    let body = if answer["isBase64Encoded"] == true {
        STANDARD.decode(body).expect("base64")
    } else {
        body.into_bytes()
    };
    WireAnswer {
        status: u16::try_from(status).expect("a status"),
        headers: headers
            .map(|(name, value)| (name.to_ascii_lowercase(), text(value)))
            .collect(),
        body,
    }
}

/// The gateway, with the functions that its routes lead to.
pub struct Gateway {
    routes: Vec<Route>,
    functions: BTreeMap<String, (Program, RuntimeApi)>,
}

impl Gateway {
    /// In front of the functions of `world`.
    pub async fn start(world: &World) -> Self {
        Self::start_with(world, &BTreeMap::new()).await
    }

    /// The same, with some settings of the functions' own.
    pub async fn start_with(world: &World, settings: &BTreeMap<String, String>) -> Self {
        let routes = routes();
        let mut functions = BTreeMap::new();
        for Route { function, .. } in &routes {
            if functions.contains_key(function) {
                continue;
            }
            let api = RuntimeApi::start().await;
            let mut environment = world.function_environment(function, &api);
            environment.extend(settings.clone());
            let program = Program::start(function, &[], &environment);
            functions.insert(function.clone(), (program, api));
        }
        Self { routes, functions }
    }

    /// Waits until a function has logged a line that holds `wanted`.
    ///
    /// # Panics
    /// If no route leads to the function.
    pub async fn wait_for_log(&mut self, function: &str, wanted: &str) -> String {
        let (program, _) = self.functions.get_mut(function).expect("the function");
        program.wait_for_error(wanted).await
    }

    /// Answers a request for a path that begins where the API's routes do.
    pub async fn ask(&mut self, request: &WireRequest, mapping: Mapping) -> WireAnswer {
        let path = decode(request.path());
        let matching = self.routes.iter().filter(|route| {
            let (method, pattern) = route.key.split_once(' ').expect("a method and a path");
            method == request.method && variables(pattern, &path).is_some()
        });
        // The one that says most about the path.
        let best = matching.min_by_key(|route| {
            let key = &route.key;
            (key.contains("+}"), key.matches('{').count())
        });
        let Some(route) = best else {
            return WireAnswer {
                status: 404,
                headers: BTreeMap::from([("content-type".into(), "application/json".into())]),
                body: br#"{"message":"Not Found"}"#.to_vec(),
            };
        };
        let (_, api) = self
            .functions
            .get_mut(&route.function)
            .expect("the function");
        answer(&api.send(event(request, &route.key, mapping)).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routes_are_read_with_their_functions() {
        let routes = routes();
        let has = |key: &str, function: &str| {
            let (key, function) = (key.to_owned(), function.to_owned());
            routes.contains(&Route { key, function })
        };
        assert!(has(
            "POST /api/v1/interaction/{number}/{rest+}",
            "originate"
        ));
        assert!(has("GET /api/v2/calls/{call_id}", "status"));
        assert!(has("HEAD /health", "system"));
        assert!(has("GET /docs/{file}", "docs"));
        assert_eq!(routes.len(), 46);
    }

    #[test]
    fn paths_are_matched_and_decoded() {
        let of = |route, path| variables(route, path).map(|all| json!(all));
        assert_eq!(of("/", "/"), Some(json!({})));
        assert_eq!(of("/a/{b}", "/a/c"), Some(json!({"b": "c"})));
        assert_eq!(of("/a/{b}", "/a/c/d"), None);
        assert_eq!(of("/a/{b}", "/a/"), None);
        assert_eq!(of("/a/{b+}", "/a/c/d"), Some(json!({"b": "c/d"})));
        assert_eq!(of("/a/b", "/a"), None);
        assert_eq!(decode("/%2B1%23%25%2f%zz%"), "/+1#%25/%zz%");
    }
}
