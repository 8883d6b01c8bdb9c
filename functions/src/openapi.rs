//! The `OpenAPI` document: made from the handlers' own types, with every error they can answer.

use axum::Json;
use axum::http::HeaderValue;
use domain::caller_id::{
    CALLER_DIGITS_PATTERN, CALLER_LETTER_PATTERN, CALLER_NAME_PATTERN, CALLER_NUMBER_PATTERN,
};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

use crate::create_answers;
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
        contact(name = "The maintainers of outbound-calls", email = "maintainers@outbound-calls.invalid"),
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
    ("create_token", &[413, 415, 503]),
    ("create_call", &[401, 403, 413, 415, 422]),
    ("create_interaction", &[401, 403, 413, 415, 422]),
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
    if let Value::Object(paths) = &mut document["paths"] {
        for operation in paths.values_mut().flat_map(operations) {
            // What says nothing could be taken for something that was forgotten.
            let open = operation.as_object_mut();
            open.map(|operation| operation.entry("security").or_insert(json!([])));
        }
    }
    // Relative to this document, because something may come before its path.
    document["servers"] = json!([{"url": "."}]);
    document
}

fn refine(document: &mut Value) {
    let texts = json!({"type": "string", "maxLength": 256, "pattern": "^[^\\x00-\\x1f\\x7f-\\x9f\\ufffe\\uffff]*$"});
    let variables = json!({
        "type": ["object", "null"],
        "description": "Channel variables for the dialplan. Their names are those that `ALLOWED_VARIABLES` lists: unless \
            it is set, those that begin with `IVR_`. Names that Asterisk itself obeys are refused whatever is listed.",
        "maxProperties": 20,
        "propertyNames": {"pattern": "^_{0,2}IVR_[A-Za-z0-9_]{0,58}$"},
        "additionalProperties": {"anyOf": [texts, {"type": "number"}, {"type": "boolean"}]},
        "example": {"IVR_NAME": "Zoë"},
    });
    let media_uri = json!({
        "type": "string", "maxLength": 128, "example": "sound:hello-world",
        "pattern": "^(?:sound:[A-Za-z0-9_-][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*\
            |tone:[A-Za-z0-9_-]+|digits:[0-9*#]+)$",
    });
    let schemas = &mut document["components"]["schemas"];
    schemas["CallOptions"]["properties"]["variables"] = variables;
    schemas["CallOptions"]["properties"]["media"]["items"] = media_uri;
    schemas["CallOptions"]["properties"]["caller_id"]["anyOf"] = json!([
        {"pattern": CALLER_NUMBER_PATTERN},
        {
            "pattern": CALLER_NAME_PATTERN,
            "allOf": [{"pattern": CALLER_LETTER_PATTERN}, {"not": {"pattern": CALLER_DIGITS_PATTERN}}],
        },
    ]);
    schemas["CallOptions"]["additionalProperties"] = json!(false);
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
        match id.as_str() {
            "create_token" => add_multipart(operation),
            "create_call" => refine_create(operation, Some("+15550000200")),
            "create_interaction" => {
                operation["requestBody"]["required"] = json!(false);
                refine_create(operation, None);
            }
            _ => {}
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

/// A form for a token may come in either of two ways.
fn add_multipart(operation: &mut Value) {
    let content = &mut operation["requestBody"]["content"];
    let form = content["application/x-www-form-urlencoded"].clone();
    content["multipart/form-data"] = form;
}

/// A request for a call: its examples, its headers, and what each of its answers means.
fn refine_create(operation: &mut Value, number: Option<&str>) {
    operation["requestBody"]["content"]["application/json"]["examples"] = create_examples(number);
    add_create_headers(operation);
    for (status, response) in create_answers::responses() {
        operation["responses"][status] = response;
    }
    let described = operation["description"].as_str().unwrap_or_default();
    let table = create_answers::table();
    operation["description"] = json!(format!("{described}\n\n{table}"));
}

/// Bodies that are accepted. The first by its name, which a page fills in, makes no phone ring.
fn create_examples(number: Option<&str>) -> Value {
    let mut examples = json!({
        "check": {"summary": "Only say what would be dialled", "value": {
            "caller_id": "\"Acme\" <+15550000100>", "dry_run": true,
        }},
        "dialplan": {"summary": "Go on in the dialplan when answered", "value": {
            "context": "outbound-ivr", "extension": "s", "priority": 1, "timeout": 30_000,
            "caller_id": "\"Acme\" <+15550000100>", "variables": {"IVR_NAME": "Zoë"},
            "max_duration": 600, "queue_timeout": 300_000,
        }},
        "media": {"summary": "Play sounds when answered, then hang up", "value": {
            "media": ["sound:hello-world", "digits:42"],
        }},
    });
    if let Some(number) = number {
        for example in examples
            .as_object_mut()
            .into_iter()
            .flat_map(Map::values_mut)
        {
            example["value"]["phone_number"] = json!(number);
        }
    }
    examples
}

fn add_create_headers(operation: &mut Value) {
    let key = json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        // No example: a page would fill it in, and the second request with another body be refused.
        "description": "A request that is repeated with the same key, such as a UUID, makes one call and gets the \
            same answer; with another body it is refused. After a 503 the repetition makes a new call.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
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

/// The errors by status, each with the very body that is sent as its example.
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
        Problem::unsupported_encoding(),
        Problem::invalid_request(vec![field]),
        Problem::internal(),
        Problem::unavailable("the call could not be queued; nobody was called"),
    ];
    let mut responses = Map::new();
    for problem in &problems {
        let body = serde_json::to_value(problem.body()).unwrap_or_default();
        let (status, title) = (body["status"].to_string(), &body["title"]);
        let title = title.as_str().unwrap_or_default();
        let description = match responses.get(&status).map(|other| &other["description"]) {
            Some(Value::String(other)) => format!("{other}; or: {title}"),
            _ => title.to_owned(),
        };
        let response = responses.entry(status).or_insert(Value::Null);
        response["description"] = json!(description);
        if let 401 | 403 = body["status"].as_u64().unwrap_or_default() {
            response["headers"] = json!({"WWW-Authenticate": {
                "description": "What is missing (RFC 6750).", "required": true, "schema": {"type": "string"},
            }});
        }
        let content = &mut response["content"]["application/problem+json"];
        content["schema"] = json!({"$ref": "#/components/schemas/ProblemBody"});
        let kind = body["type"].as_str().unwrap_or_default();
        let kind = kind.trim_start_matches("urn:problem:").to_owned();
        content["examples"][kind] = json!({"value": body});
    }
    Value::Object(responses)
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
                let secured = !operation["security"].as_array().unwrap().is_empty();
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
