//! A walk over every route that is documented or deployed: each has to reach its function.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::site::{PASSWORD, Site, USER};

/// A route, what is asked of it, and the status that says that its function has dealt with the request.
struct Step {
    method: Method,
    /// As the template and the document write it.
    route: &'static str,
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

fn steps() -> Vec<Step> {
    let mut steps = Vec::new();
    let mut step = |method: &Method, route: &'static str, status, body, filled: &[(&str, &str)]| {
        let path = filled.iter().fold(route.to_owned(), |path, (name, value)| {
            path.replace(name, value)
        });
        let method = method.clone();
        steps.push(Step {
            method,
            route,
            path,
            body,
            status,
        });
    };
    let (get, post) = (Method::GET, Method::POST);
    let id = [("{call_id}", NO_CALL)];
    let number = [("{number}", "+15550000486"), ("{rest+}", "rest")];
    let dry = || Body::Json(json!({"phone_number": "+15550000486", "dry_run": true}));
    let grant = || Body::Form(vec![("username", USER), ("password", PASSWORD)]);
    step(&post, "/api/v2/token", 200, grant(), &[]);
    step(&post, "/api/v1/token", 200, grant(), &[]);
    let dry_run = || Body::Json(json!({"dry_run": true}));
    step(
        &post,
        "/api/v2/interaction/{number}",
        200,
        dry_run(),
        &number,
    );
    step(
        &post,
        "/api/v1/interaction/{number}",
        200,
        dry_run(),
        &number,
    );
    // A number is no path.
    step(
        &post,
        "/api/v2/interaction/{number}/{rest+}",
        422,
        Body::None,
        &number,
    );
    step(
        &post,
        "/api/v1/interaction/{number}/{rest+}",
        422,
        Body::None,
        &number,
    );
    step(&post, "/api/v2/calls", 200, dry(), &[]);
    step(&post, "/api/v1/calls", 200, dry(), &[]);
    for route in [
        "/api/v2/status/{call_id}",
        "/api/v1/status/{call_id}",
        "/api/v2/interaction/{call_id}/status",
        "/api/v1/interaction/{call_id}/status",
        "/api/v2/calls/{call_id}",
        "/api/v1/calls/{call_id}",
        "/api/v2/calls/{call_id}/events",
        "/api/v1/calls/{call_id}/events",
    ] {
        step(&get, route, 404, Body::None, &id);
    }
    step(&get, "/api/v2/calls", 200, Body::None, &[]);
    step(&get, "/api/v1/calls", 200, Body::None, &[]);
    step(
        &post,
        "/api/v2/calls/{call_id}/hangup",
        404,
        Body::None,
        &id,
    );
    step(
        &post,
        "/api/v1/calls/{call_id}/hangup",
        404,
        Body::None,
        &id,
    );
    step(&get, "/", 200, Body::None, &[]);
    // Without a bridge no call can be placed.
    step(&get, "/health", 503, Body::None, &[]);
    step(&get, "/metrics", 200, Body::None, &[]);
    step(&get, "/openapi.json", 200, Body::None, &[]);
    step(&get, "/docs", 200, Body::None, &[]);
    step(
        &get,
        "/docs/{file}",
        404,
        Body::None,
        &[("{file}", "none.js")],
    );
    step(&get, "/redoc", 200, Body::None, &[]);
    step(
        &get,
        "/redoc/{file}",
        404,
        Body::None,
        &[("{file}", "none.js")],
    );
    let head = |step: &Step| Step {
        method: Method::HEAD,
        body: Body::None,
        path: step.path.clone(),
        ..*step
    };
    let gets = steps.iter().filter(|step| step.method == Method::GET);
    let heads: Vec<_> = gets.map(head).collect();
    steps.extend(heads);
    steps
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
