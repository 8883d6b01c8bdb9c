//! The `OpenAPI` document: made from the handlers' own types, with every error they can answer.

use axum::Json;
use axum::http::HeaderValue;
use domain::caller_id::CALLER_ID_PATTERN;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::problem::{FieldError, Problem};
use crate::router::PREFIXES;

/// What the handlers say of themselves, for one prefix.
#[derive(OpenApi)]
#[openapi(
    paths(
        crate::token::grant_token,
        crate::originate::create_call,
        crate::originate::create_interaction,
        crate::list::list_calls,
        crate::status::read_call,
        crate::status::read_events,
        crate::control::hang_up,
    ),
    components(schemas(crate::problem::ProblemBody))
)]
struct Prefixed;

#[derive(OpenApi)]
#[openapi(
    paths(
        crate::system::read_service,
        crate::system::read_health,
        crate::system::read_metrics,
    ),
    info(
        title = "Outbound calls",
        description = "Places single outbound calls into an IVR on Asterisk, and tells how each ended.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "token", description = "Access tokens"),
        (name = "calls", description = "Placing calls, and what became of them"),
        (name = "system", description = "The service itself"),
        (name = "v1", description = "The same under the former prefix"),
    )
)]
struct System;

/// The errors of each operation, besides those that it says itself: by status, the problems.
const ERRORS: [(&str, &[u16]); 7] = [
    ("create_token", &[413, 503]),
    ("create_call", &[401, 403, 413, 415, 422, 500, 503]),
    ("create_interaction", &[401, 403, 413, 415, 422, 500, 503]),
    ("list_calls", &[401, 403, 422, 500, 503]),
    ("read_call", &[401, 403, 404, 422, 500, 503]),
    ("read_call_events", &[401, 403, 404, 422, 500, 503]),
    ("hang_up_call", &[401, 403, 404, 409, 422, 500, 503]),
];

/// The scope that each operation asks for.
const SCOPES: [(&str, &str); 6] = [
    ("create_call", "calls:write"),
    ("create_interaction", "calls:write"),
    ("hang_up_call", "calls:write"),
    ("list_calls", "calls:read"),
    ("read_call", "calls:read"),
    ("read_call_events", "calls:read"),
];

/// Other paths of the same operation, kept for the clients of the service that this replaces.
const ALIASES: [(&str, &str); 2] = [
    ("/status/{call_id}", "read_status"),
    ("/interaction/{call_id}/status", "read_interaction_status"),
];

/// Handles `GET /openapi.json`.
pub async fn read_document() -> Json<Value> {
    Json(document())
}

/// The whole document, `OpenAPI` 3.1.
#[must_use]
pub fn document() -> Value {
    // Neither holds anything that JSON cannot.
    let mut document = serde_json::to_value(System::openapi()).unwrap_or_default();
    let mut prefixed = serde_json::to_value(Prefixed::openapi()).unwrap_or_default();
    refine(&mut prefixed);
    let call = prefixed["paths"]["/calls/{call_id}"].clone();
    for (path, operation_id) in ALIASES {
        let mut alias = call.clone();
        alias["get"]["operationId"] = json!(operation_id);
        alias["get"]["deprecated"] = json!(true);
        prefixed["paths"][path] = alias;
    }
    let Value::Object(paths) = prefixed["paths"].take() else {
        return document;
    };
    for prefix in PREFIXES {
        for (path, item) in &paths {
            let mut item = item.clone();
            if prefix.ends_with("v1") {
                mark_old(&mut item);
            }
            document["paths"][format!("{prefix}{path}")] = item;
        }
    }
    merge(&mut document["components"], prefixed["components"].take());
    document["components"]["responses"] = responses();
    document["components"]["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    });
    // Relative to this document, because something may come before its path.
    document["servers"] = json!([{"url": "."}]);
    document
}

fn refine(document: &mut Value) {
    let texts =
        json!({"type": "string", "maxLength": 256, "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f]*$"});
    let variables = json!({
        "type": ["object", "null"],
        "description": "Channel variables for the dialplan.",
        "maxProperties": 20,
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,63}$"},
        "additionalProperties": {"anyOf": [texts, {"type": "number"}, {"type": "boolean"}]},
        "example": {"PATIENT_NAME": "Zoë"},
    });
    let media_uri = json!({
        "type": "string", "maxLength": 128, "example": "sound:hello-world",
        "pattern": "^(?:sound:[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*\
            |tone:[A-Za-z0-9_-]+|digits:[0-9*#]+)$",
    });
    let schemas = &mut document["components"]["schemas"];
    schemas["CallOptions"]["properties"]["variables"] = variables;
    schemas["CallOptions"]["properties"]["media"]["items"] = media_uri;
    schemas["CallOptions"]["properties"]["caller_id"]["pattern"] = json!(CALLER_ID_PATTERN);
    // What a call is placed to goes together with how.
    let mut options = schemas["CallOptions"].clone();
    let number = schemas["NewCall"]["allOf"]
        .as_array()
        .into_iter()
        .flatten()
        .find_map(|part| part["properties"].get("phone_number"))
        .cloned()
        .unwrap_or_default();
    options["properties"]["phone_number"] = number;
    options["required"] = json!(["phone_number"]);
    options["description"] = json!("A call to be placed.");
    forbid_both(&mut options);
    forbid_both(&mut schemas["CallOptions"]);
    schemas["NewCall"] = options;

    let Value::Object(paths) = &mut document["paths"] else {
        return;
    };
    for operation in paths.values_mut().flat_map(operations) {
        let id = operation["operationId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let errors = ERRORS.iter().find(|(operation, _)| *operation == id);
        for status in errors.into_iter().flat_map(|(_, statuses)| *statuses) {
            let reference = format!("#/components/responses/{status}");
            operation["responses"][status.to_string()] = json!({"$ref": reference});
        }
        if SCOPES.iter().any(|(operation, _)| *operation == id) {
            operation["security"] = json!([{"bearer": []}]);
        }
        if let Some((_, scope)) = SCOPES.iter().find(|(operation, _)| *operation == id) {
            let described = operation["description"].as_str().unwrap_or_default();
            let needs = format!("Needs the scope `{scope}`.");
            operation["description"] = json!(format!("{described} {needs}").trim());
        }
        if id == "create_interaction" {
            operation["requestBody"]["required"] = json!(false);
        }
        if id.starts_with("create_") && id != "create_token" {
            add_create_headers(operation);
        }
    }
}

/// `media` stands instead of a place in the dialplan.
fn forbid_both(schema: &mut Value) {
    let given =
        |name: &str| json!({"required": [name], "properties": {name: {"not": {"type": "null"}}}});
    schema["not"] = json!({"allOf": [
        given("media"),
        {"anyOf": [given("context"), given("extension"), given("priority")]},
    ]});
}

fn add_create_headers(operation: &mut Value) {
    let key = json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        "description": "A request that is repeated with the same key makes one call and gets the same answer; with another \
            body it is refused. After a 503 the repetition makes a new call.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"}, "example": "order-4711",
    });
    match &mut operation["parameters"] {
        Value::Array(parameters) => parameters.push(key),
        none => *none = json!([key]),
    }
    operation["responses"]["202"]["headers"] = json!({
        "Location": {
            "description": "Where the call's status is, relative to the URI of this request.",
            "required": true,
            "schema": {"type": "string", "format": "uri-reference"},
            "example": "calls/3f2b8c1e-0000-4000-8000-000000000001",
        },
        "Idempotent-Replayed": {
            "description": "`true` if an earlier request with this `Idempotency-Key` made the call.",
            "schema": {"type": "string"},
        },
    });
}

/// The operations of the former version have names of their own.
fn mark_old(item: &mut Value) {
    for operation in operations(item) {
        let id = operation["operationId"].as_str().unwrap_or_default();
        operation["operationId"] = json!(format!("{id}_v1"));
        operation["tags"] = json!(["v1"]);
        operation["deprecated"] = json!(true);
    }
}

fn operations(item: &mut Value) -> impl Iterator<Item = &mut Value> {
    item.as_object_mut()
        .into_iter()
        .flat_map(Map::values_mut)
        .filter(|operation| operation.get("operationId").is_some())
}

/// Each error once, with the very body that is sent as its example.
fn responses() -> Value {
    let field = FieldError {
        field: "phone_number".to_owned(),
        detail: domain::phone_number::InvalidPhoneNumber.to_string(),
    };
    let challenge = HeaderValue::from_static("Bearer");
    let problems = [
        Problem::unauthorized("Bearer", "no access token was sent"),
        Problem::forbidden(challenge, "the access token does not grant calls:write"),
        Problem::call_not_found(),
        Problem::call_over("completed"),
        Problem::body_too_large(crate::payload::MAX_BODY),
        Problem::unsupported_media_type("application/json"),
        Problem::invalid_request(vec![field]),
        Problem::internal(),
        Problem::unavailable("the call could not be queued; nobody was called"),
    ];
    let responses = problems.iter().map(|problem| {
        let body = serde_json::to_value(problem.body()).unwrap_or_default();
        let mut response = json!({
            "description": body["title"],
            "content": {"application/problem+json": {
                "schema": {"$ref": "#/components/schemas/ProblemBody"},
                "example": body,
            }},
        });
        if let 401 | 403 = body["status"].as_u64().unwrap_or_default() {
            response["headers"] = json!({"WWW-Authenticate": {
                "description": "What is missing (RFC 6750).", "required": true, "schema": {"type": "string"},
            }});
        }
        (body["status"].to_string(), response)
    });
    Value::Object(responses.collect())
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (name, value) in from {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own_and_its_errors() {
        let mut document = document();
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object_mut().unwrap();
        assert_eq!(paths.len(), 2 * 8 + 3, "{:?}", paths.keys());
        let mut ids = BTreeSet::new();
        for (path, item) in paths {
            for operation in operations(item) {
                let id = operation["operationId"].as_str().unwrap().to_owned();
                let secured = operation.get("security").is_some();
                assert_eq!(
                    secured,
                    path.starts_with("/api/") && !path.ends_with("/token")
                );
                assert_eq!(secured, operation["responses"].get("403").is_some(), "{id}");
                assert!(ids.insert(id.clone()), "{id} is there twice");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        for reference in text.split(r##""$ref":"#"##).skip(1) {
            let pointer = reference.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer}");
        }
    }

    #[test]
    fn the_statuses_are_those_of_the_domain() {
        let document = document();
        let named: BTreeSet<_> = document["components"]["schemas"]["Status"]["oneOf"]
            .as_array()
            .or(document["components"]["schemas"]["Status"]["enum"].as_array())
            .unwrap()
            .iter()
            .map(|one| one.as_str().or(one["const"].as_str()).unwrap().to_owned())
            .collect();
        let ours: BTreeSet<_> = domain::CallStatus::ALL
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(named, ours);
    }
}
