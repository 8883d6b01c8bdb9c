//! What each answer to a request for a call means for the client: may somebody be called, and
//! what to do. The table is in the `OpenAPI` document and in `docs/api.md`.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use crate::problem::Problem;

/// An answer, whether somebody may be called because of it, and what the client does.
struct Row {
    answer: &'static str,
    may_be_called: &'static str,
    what_to_do: &'static str,
}

const fn row(answer: &'static str, may_be_called: &'static str, what_to_do: &'static str) -> Row {
    Row {
        answer,
        may_be_called,
        what_to_do,
    }
}

const ROWS: [Row; 14] = [
    row(
        "202",
        "yes",
        "The call is queued. Read its status where `Location` says.",
    ),
    row(
        "200, with `dry_run` only",
        "no",
        "Nothing was queued. Ask again without `dry_run` to place the call.",
    ),
    row(
        "400",
        "no",
        "What was sent is not an HTTP request that can be read (type `urn:problem:unreadable-request`). Correct the client.",
    ),
    row("401", "no", "Get a new token and ask again."),
    row(
        "403",
        "no",
        "Get a token with the scope `calls:write`, or ask who runs the gateway.",
    ),
    row("404, 405", "no", "Correct the path or the method."),
    row("413", "no", "Send at most 64 KiB."),
    row(
        "415",
        "no",
        "Send `application/json`, without `Content-Encoding`.",
    ),
    row(
        "422",
        "no",
        "Correct each field that `errors` names. If it names `Idempotency-Key`, an earlier request with \
         that key may have made a call, or the key was answered 503 sixteen times: take a new key for another call.",
    ),
    row(
        "429",
        "no",
        "Ask again later, and more slowly. With the type `urn:problem:daily-calls-spent` the user's calls of the \
         day are spent: ask again after `Retry-After`, which ends at midnight (UTC).",
    ),
    row(
        "500, type `urn:problem:outcome-unknown`",
        "perhaps",
        "Read the status of `call_id`. If there is no such call (404), nobody is called. Or ask again with \
         the same `Idempotency-Key`.",
    ),
    row(
        "500, type `urn:problem:internal`",
        "perhaps",
        "Ask again with the same `Idempotency-Key`. Without one, wait a minute and look for the call with \
         `GET /calls?phone_number=…` before you ask again.",
    ),
    row(
        "503, type `urn:problem:unavailable`",
        "no, never",
        "Ask again after `Retry-After`, with the same `Idempotency-Key` if there was one.",
    ),
    row(
        "500, 502, 503 or 504 without a `type` (the gateway's own), or no answer",
        "perhaps",
        "As for `urn:problem:internal`.",
    ),
];

/// The table in Markdown.
#[must_use]
pub fn table() -> String {
    let mut table = String::from("| answer | may somebody be called? | do this |\n|---|---|---|\n");
    for row in ROWS {
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "| {} | {} | {} |",
            row.answer, row.may_be_called, row.what_to_do
        );
    }
    table
}

/// The responses of a request for a call that other requests do not have, by status. They are those
/// of the gateway, which are no problem details, and those with more than one cause.
#[must_use]
pub fn responses() -> [(&'static str, Value); 5] {
    let problem = |problem: &Problem| serde_json::to_value(problem.body()).unwrap_or_default();
    let call_id = "3f2b8c1e-0000-4000-8000-000000000001".to_owned();
    let unavailable = Problem::unavailable("the call could not be queued; nobody was called");
    let spent = Problem::daily_calls_spent(Duration::from_hours(1));
    let problems = |examples: Value| json!({"schema": {"$ref": "#/components/schemas/ProblemBody"}, "examples": examples});
    let gateway = |message: &str| {
        json!({
            "schema": {
                "type": "object", "required": ["message"],
                "properties": {"message": {"type": "string"}},
            },
            "example": {"message": message},
        })
    };
    [
        (
            "400",
            json!({
                "description": "What was sent is not an HTTP request that can be read. Nobody is called.",
            }),
        ),
        (
            "429",
            json!({
                "description": "With a `type`: the user's calls of the day are spent. Without one: the gateway takes \
                    no more requests now. Nobody is called.",
                "content": {
                    "application/problem+json": problems(json!({
                        "daily-calls-spent": {"value": problem(&spent)},
                    })),
                    "application/json": gateway("Too Many Requests"),
                },
            }),
        ),
        (
            "500",
            json!({
                "description": "Something went wrong. Somebody may be called.",
                "content": {
                    "application/problem+json": problems(json!({
                        "outcome-unknown": {"value": problem(&Problem::outcome_unknown(call_id))},
                        "internal": {"value": problem(&Problem::internal())},
                    })),
                    "application/json": gateway("Internal Server Error"),
                },
            }),
        ),
        (
            "503",
            json!({
                "description": "With a `type`: the service is not available now, and nobody is called. Without \
                    one: the gateway got no answer in time, and somebody may be called.",
                "content": {
                    "application/problem+json": problems(json!({
                        "unavailable": {"value": problem(&unavailable)},
                    })),
                    "application/json": gateway("Service Unavailable"),
                },
            }),
        ),
        (
            "504",
            json!({
                "description": "The gateway got no answer in time. Somebody may be called.",
                "content": {"application/json": gateway("Endpoint request timed out")},
            }),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_have_the_same_table() {
        let document = include_str!("../../docs/api.md");
        for line in table().lines() {
            assert!(document.contains(line), "docs/api.md lacks: {line}");
        }
    }

    #[test]
    fn every_documented_answer_is_in_the_table() {
        let document = crate::openapi::document();
        for path in ["/api/v2/calls", "/api/v1/interaction/{number}"] {
            let operation = &document["paths"][path]["post"];
            let description = operation["description"].as_str().unwrap();
            assert!(description.contains(&table()), "{description}");
            for status in operation["responses"].as_object().unwrap().keys() {
                let told = ROWS.iter().any(|row| row.answer.contains(status.as_str()));
                assert!(told, "{status}");
            }
        }
    }
}
