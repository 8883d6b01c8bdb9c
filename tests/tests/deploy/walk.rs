//! A walk over every route that is documented or deployed: each has to reach its function.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::site::{PASSWORD, Site, USER};

/// A route, what is asked of it, and the status that says that its function has dealt with the request.
struct Step {
    method: Method,
    /// As the template and the document write it.
    route: String,
    path: String,
    body: Body,
    status: u16,
}

enum Body {
    None,
    Form(Vec<(&'static str, &'static str)>),
    Json(Value),
}

/// No call has this id.
const NO_CALL: &str = "3f2b8c1e-0000-4000-8000-000000000001";

/// Both prefixes of the API.
const PREFIXES: [&str; 2] = ["/api/v2", "/api/v1"];

impl Step {
    /// A request of the route as it is written, with each part in braces filled.
    fn new(method: Method, route: String, status: u16, body: Body) -> Self {
        let filled = [
            ("{call_id}", NO_CALL),
            ("{number}", "+15550000486"),
            ("{rest+}", "rest"),
            ("{file}", "none.js"),
        ];
        let path = filled.iter().fold(route.clone(), |path, (name, value)| {
            path.replace(name, value)
        });
        Self {
            method,
            route,
            path,
            body,
            status,
        }
    }

    fn get(route: impl Into<String>, status: u16) -> Self {
        Self::new(Method::GET, route.into(), status, Body::None)
    }

    fn post(route: String, status: u16, body: Body) -> Self {
        Self::new(Method::POST, route, status, body)
    }

    /// The same without a body in the answer.
    fn head(&self) -> Self {
        Self::new(Method::HEAD, self.route.clone(), self.status, Body::None)
    }
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<_> = PREFIXES.into_iter().flat_map(of_prefix).collect();
    steps.extend(of_service());
    let gets = steps.iter().filter(|step| step.method == Method::GET);
    let heads: Vec<_> = gets.map(Step::head).collect();
    steps.extend(heads);
    steps
}

/// What is under a prefix of the API.
fn of_prefix(prefix: &str) -> Vec<Step> {
    let at = |rest: &str| format!("{prefix}{rest}");
    let grant = Body::Form(vec![("username", USER), ("password", PASSWORD)]);
    let dry_run = |mut body: Value| {
        body["dry_run"] = json!(true);
        Body::Json(body)
    };
    let mut steps = vec![
        Step::post(at("/token"), 200, grant),
        Step::post(at("/interaction/{number}"), 200, dry_run(json!({}))),
        // A number is no path.
        Step::post(at("/interaction/{number}/{rest+}"), 422, Body::None),
        Step::post(
            at("/calls"),
            200,
            dry_run(json!({"phone_number": "+15550000486"})),
        ),
        Step::get(at("/calls"), 200),
        Step::post(at("/calls/{call_id}/hangup"), 404, Body::None),
    ];
    steps.extend(
        [
            "/status/{call_id}",
            "/interaction/{call_id}/status",
            "/calls/{call_id}",
            "/calls/{call_id}/events",
        ]
        .map(|rest| Step::get(at(rest), 404)),
    );
    steps
}

/// What is about the service itself.
fn of_service() -> [Step; 8] {
    [
        Step::get("/", 200),
        // Without a bridge no call can be placed.
        Step::get("/health", 503),
        Step::get("/metrics", 200),
        Step::get("/openapi.json", 200),
        Step::get("/docs", 200),
        Step::get("/docs/{file}", 404),
        Step::get("/redoc", 200),
        Step::get("/redoc/{file}", 404),
    ]
}

/// Walks over all routes while no bridge runs. Returns how many there are, or what is wrong.
pub async fn walk(site: &mut Site) -> Result<usize, Vec<String>> {
    site.forget_bridges().await;
    let steps = steps();
    let mut wrong = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        if let Err(problem) = take(site, step, index).await {
            wrong.push(format!("{} {}: {problem}", step.method, step.route));
        }
    }
    let walked: BTreeSet<_> = steps
        .iter()
        .map(|step| format!("{} {}", step.method, step.route))
        .collect();
    let deployed = deployed(site).await;
    let documented = documented(site).await.unwrap_or_else(|problem| {
        wrong.push(problem);
        BTreeSet::new()
    });
    for route in deployed.union(&documented) {
        if !walked.contains(route) {
            wrong.push(format!("{route}: nobody has walked there"));
        }
    }
    for route in walked.difference(&deployed) {
        wrong.push(format!("{route}: not deployed"));
    }
    if wrong.is_empty() {
        Ok(steps.len())
    } else {
        Err(wrong)
    }
}

/// The routes of the gateway.
async fn deployed(site: &mut Site) -> BTreeSet<String> {
    let api = json!({"ApiId": site.cloud.id("HttpApi")});
    let routes = site.cloud.ask("apigatewayv2", "get_routes", api).await;
    let routes = routes["Items"].as_array().expect("routes");
    routes
        .iter()
        .filter_map(|route| route["RouteKey"].as_str())
        .map(str::to_owned)
        .collect()
}

/// The routes of the document that is served.
async fn documented(site: &Site) -> Result<BTreeSet<String>, String> {
    let request = site.api.anonymous(Method::GET, "/openapi.json");
    let (status, document) = site.send(request).await?;
    let Some(paths) = document["paths"].as_object() else {
        return Err(format!("GET /openapi.json: {status}, no document"));
    };
    Ok(paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flat_map(|all| all.keys());
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect())
}

async fn take(site: &Site, step: &Step, index: usize) -> Result<(), String> {
    let request_id = format!("step-{index}");
    let request = site.api.request(step.method.clone(), &step.path);
    let request = match &step.body {
        Body::None => request,
        Body::Form(fields) => request.form(fields),
        Body::Json(body) => request.json(body),
    };
    let response = request.header("x-request-id", &request_id).send().await;
    let response = response.map_err(|error| error.to_string())?;
    let status = response.status().as_u16();
    // The gateway's own answers have no such header.
    let ours = response.headers().get("x-request-id");
    let ours = ours.is_some_and(|id| id.as_bytes() == request_id.as_bytes());
    let body = response.text().await.map_err(|error| error.to_string())?;
    let about: String = body.chars().take(200).collect();
    if !ours {
        Err(format!("{status}, and not by the function: {about}"))
    } else if status == step.status {
        Ok(())
    } else {
        Err(format!("{status} instead of {}: {about}", step.status))
    }
}
