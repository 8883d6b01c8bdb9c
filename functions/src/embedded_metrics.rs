//! The functions' metrics: one line of `CloudWatch`'s embedded metric format for each request.
//!
//! Lambda has no place to keep counts in, so each line is a request; `CloudWatch` adds them up.

use std::io::Write;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use cloud::clock;
use serde_json::{Value, json};

/// Where the metrics appear in `CloudWatch`: `METRICS_NAMESPACE`. Each stack has its own, so that two in
/// one account do not add up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(Arc<str>);

impl Default for Namespace {
    fn default() -> Self {
        Self("OutboundCalls".into())
    }
}

/// The text cannot be a namespace of `CloudWatch`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 255 letters, digits, '.', '-', '_', '/' or '#', and not begin with AWS/")]
pub struct InvalidNamespace;

impl FromStr for Namespace {
    type Err = InvalidNamespace;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_/#".contains(&b);
        if (1..=255).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with("AWS/")
        {
            Ok(Self(text.into()))
        } else {
            Err(InvalidNamespace)
        }
    }
}

impl Namespace {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is measured, and where it appears.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The function.
    pub function: &'static str,
    /// Where its metrics appear.
    pub namespace: Namespace,
}

/// Prints the metrics of each request.
pub async fn measure(State(measured): State<Measured>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let response = next.run(request).await;
    // The route, not the path: paths hold numbers and ids.
    let route = response
        .extensions()
        .get::<MatchedPath>()
        .map_or("none", MatchedPath::as_str);
    let line = line(
        &measured,
        route,
        response.status().as_u16(),
        begun.elapsed().as_secs_f64(),
        clock::now().as_millis(),
    );
    print(&line);
    response
}

/// Writes the route of a request on its response, where [`measure`] finds it.
pub async fn name_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    response
}

/// Writes a line to where Lambda reads metrics.
pub fn print(line: &Value) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn line(measured: &Measured, route: &str, status: u16, seconds: f64, at_ms: i64) -> Value {
    json!({
        "_aws": {
            "Timestamp": at_ms,
            "CloudWatchMetrics": [{
                "Namespace": measured.namespace.as_str(),
                "Dimensions": [["function"], ["function", "route", "status"]],
                "Metrics": [
                    {"Name": "api_requests_total", "Unit": "Count"},
                    {"Name": "api_request_latency_seconds", "Unit": "Seconds"},
                ],
            }],
        },
        "function": measured.function,
        "route": route,
        // Of its class only: few values.
        "status": format!("{}xx", status / 100),
        "api_requests_total": 1,
        "api_request_latency_seconds": seconds,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_and_dimension_that_is_named_is_there() {
        let measured = Measured {
            function: "status",
            namespace: "OutboundCalls/one".parse().unwrap(),
        };
        let line = line(&measured, "/api/v2/calls/{call_id}", 404, 0.25, 1);
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        let metrics = directive["Metrics"].as_array().unwrap().iter();
        let dimensions = directive["Dimensions"].as_array().unwrap().iter();
        let names = metrics
            .map(|metric| metric["Name"].as_str().unwrap())
            .chain(dimensions.flat_map(|set| {
                let set = set.as_array().unwrap().iter();
                set.map(|name| name.as_str().unwrap())
            }));
        for name in names {
            assert!(!line[name].is_null(), "{name}");
        }
        assert_eq!(line["status"], "4xx");
        assert_eq!(directive["Namespace"], "OutboundCalls/one");
        for text in ["", "AWS/Lambda", "a b", "a,b"] {
            assert_eq!(text.parse::<Namespace>(), Err(InvalidNamespace), "{text}");
        }
    }
}
