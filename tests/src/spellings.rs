//! Requests in the spellings that clients use, right and wrong ones, and what each is answered:
//! one table, for every way in which a request can reach the API.

use serde_json::{Value, json};

/// A request, and its answer.
pub struct Spelling {
    /// What is special about it.
    pub what: &'static str,
    /// Its method.
    pub method: &'static str,
    /// Its path, without the query.
    pub path: &'static str,
    /// Its query, as it is sent.
    pub query: &'static str,
    /// Its headers besides `Authorization`.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Its token, if it is not a usual one.
    pub token: Option<&'static str>,
    /// Its body.
    pub body: Vec<u8>,
    /// The status of its answer.
    pub status: u16,
    /// A JSON pointer into the answer, and what is there: of a text, the last part.
    pub told: Option<(&'static str, Value)>,
}

/// The user of the requests for a token, and the user's password.
pub const USER: (&str, &str) = ("spelling-bee", "correct horse & battery");

/// A token of the tests' key with fractions in `iat` (2023) and `exp` (2100).
const FRACTIONS: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
    eyJzdWIiOiJlMmUiLCJpYXQiOjE3MDAwMDAwMDAuMjUsImV4cCI6NDEwMjQ0NDgwMC41LCJzY29wZSI6ImNhbGxzOndyaXRlIGNhbGxzOnJlYWQifQ.\
    2CMunyiwT5fVX9bnnE3IRVTI8H6uOkal2J6KvS7o0Ps";

const CALLS: &str = "/api/v2/calls";
const NUMBER: &str = "/api/v1/interaction/+15550000200";
const TOKEN: &str = "/api/v2/token";
const JSON: (&str, &str) = ("content-type", "application/json");

fn post(what: &'static str, path: &'static str, body: impl Into<Vec<u8>>, status: u16) -> Spelling {
    Spelling {
        what,
        method: "POST",
        path,
        query: "",
        headers: vec![JSON],
        token: None,
        body: body.into(),
        status,
        told: None,
    }
}

/// A call with these fields besides its number.
fn call(what: &'static str, fields: &Value, status: u16) -> Spelling {
    let mut body = json!({"phone_number": "+15550000200"});
    for (name, value) in fields.as_object().expect("fields") {
        body[name] = value.clone();
    }
    post(what, CALLS, body.to_string(), status)
}

fn list(what: &'static str, query: &'static str, status: u16) -> Spelling {
    Spelling {
        method: "GET",
        query,
        headers: Vec::new(),
        ..post(what, CALLS, "", status)
    }
}

fn token(what: &'static str, kind: &'static str, body: &str, status: u16) -> Spelling {
    Spelling {
        headers: vec![("content-type", kind)],
        ..post(what, TOKEN, body, status)
    }
}

impl Spelling {
    fn telling(self, pointer: &'static str, value: impl Into<Value>) -> Self {
        Self {
            told: Some((pointer, value.into())),
            ..self
        }
    }

    /// Of a 422: the field that the first error names.
    fn naming(self, field: &'static str) -> Self {
        self.telling("/errors/0/field", field)
    }
}

/// The table.
#[must_use]
pub fn spellings() -> Vec<Spelling> {
    [bodies(), caller_ids(), fields(), names(), lists(), tokens()]
        .into_iter()
        .flatten()
        .collect()
}

fn bodies() -> Vec<Spelling> {
    let number = br#"{"phone_number": "+15550000200"}"#;
    let marked = [b"\xef\xbb\xbf".as_slice(), number].concat();
    let packed =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00\x43\xbf\xa6\xa3\x02\x00\x00\x00";
    let with = |header, spelling: Spelling| Spelling {
        headers: vec![JSON, header],
        ..spelling
    };
    vec![
        post("no body", NUMBER, "", 202),
        post("a body of null", NUMBER, "null", 202),
        post("a body of blanks", NUMBER, " \r\n\t ", 202),
        post("null where a number is needed", CALLS, "null", 422).naming("phone_number"),
        post("a byte order mark", CALLS, marked, 202),
        with(
            ("content-encoding", "gzip"),
            post("a packed body", NUMBER, packed, 415),
        )
        .telling("/type", "urn:problem:unsupported-content-encoding"),
        with(
            ("content-encoding", "identity"),
            post("a body that is said not to be packed", CALLS, number, 202),
        ),
        post("a slash at the end", "/api/v2/calls/", number, 202),
        post(
            "a slash behind the number",
            "/api/v1/interaction/+15550000200/",
            "{}",
            202,
        ),
        post("the number twice", NUMBER, number, 202),
        post(
            "two numbers",
            NUMBER,
            r#"{"phone_number": "+15550000201"}"#,
            422,
        )
        .naming("phone_number"),
        Spelling {
            token: Some(FRACTIONS),
            ..post("a token with fractions of seconds", CALLS, number, 202)
        },
    ]
}

fn caller_ids() -> Vec<Spelling> {
    let caller_id = |what, text: &str, status| {
        let fields = json!({"caller_id": text, "dry_run": true});
        let spelling = call(what, &fields, status);
        if status == 422 {
            spelling.naming("caller_id")
        } else {
            spelling
        }
    };
    let number = "+15550000100";
    vec![
        caller_id("spaces in a number", "+1 555 000 0100", 200).telling("/caller_id", number),
        caller_id("dashes and brackets", "+1 (555) 000-0100", 200).telling("/caller_id", number),
        caller_id("a name", "Acme 24", 200).telling("/caller_id", "\"Acme 24\""),
        caller_id("a name and a number", "Acme <+1 555 000 0100>", 200)
            .telling("/caller_id", "\"Acme\" <+15550000100>"),
        caller_id("a URI", "tel:+15550000100", 422),
        caller_id("a name followed by a number", "Acme +15550000100", 422),
        caller_id("neither a name nor a number", "+1555/0100", 422),
        caller_id("a caller's name that SQS refuses", "Acme\u{ffff}", 422),
    ]
}

fn fields() -> Vec<Spelling> {
    let nothing = json!({
        "context": "", "extension": "", "priority": "", "timeout": "", "caller_id": "",
        "variables": "", "media": "", "max_duration": "", "queue_timeout": "",
    });
    let texts = json!({
        "priority": "1", "timeout": "30000", "max_duration": "60", "queue_timeout": " 60000.0 ",
    });
    let variable = |value: &str| json!({"variables": {"IVR_NAME": value}});
    vec![
        call("numbers as text", &texts, 202),
        call("a number as other text", &json!({"timeout": "30 s"}), 422).naming("timeout"),
        call("a number as a flag", &json!({"priority": true}), 422).naming("priority"),
        call("nothing as empty text", &nothing, 202),
        call("a flag as text", &json!({"dry_run": "true"}), 422).naming("dry_run"),
        call("a flag as no text", &json!({"dry_run": ""}), 422).naming("dry_run"),
        call("a flag as a number", &json!({"dry_run": 1}), 422).naming("dry_run"),
        call("what SQS refuses", &variable("a\u{ffff}"), 422).naming("variables"),
        call("what SQS refuses, too", &variable("\u{fffe}"), 422).naming("variables"),
        call("what SQS takes", &variable("\u{fffd}\u{1ffff}😀"), 202),
        post(
            "half a character",
            CALLS,
            br#"{"phone_number": "+15550000200", "variables": {"IVR_NAME": "\ud83d"}}"#,
            422,
        )
        .naming("body"),
    ]
}

fn names() -> Vec<Spelling> {
    let misspelt = |what, name: &'static str, near: &'static str| {
        call(what, &json!({name: true}), 422).telling("/errors/0/detail", near)
    };
    let queried = |what, query| Spelling {
        query,
        ..post(what, NUMBER, "", 422)
    };
    vec![
        misspelt("a dry run misspelt", "dryrun", "did you mean dry_run?"),
        misspelt(
            "a dry run in another style",
            "dryRun",
            "did you mean dry_run?",
        ),
        misspelt(
            "a field that others have",
            "number",
            "did you mean phone_number?",
        ),
        call("a field of nobody", &json!({"campaign": "x"}), 422).naming("campaign"),
        queried("a dry run in the query", "dry_run=true")
            .telling("/errors/0/detail", "it belongs in the body"),
        queried("a parameter of nobody", "utm_source=x").naming("utm_source"),
    ]
}

fn lists() -> Vec<Spelling> {
    vec![
        list(
            "a plus that is not encoded",
            "created_after=2026-11-01T00:00:00+01:00",
            200,
        ),
        list(
            "the same at the other end",
            "created_before=2026-11-01T00:00:00.5+01:00",
            200,
        ),
        list(
            "a plus that is encoded",
            "created_after=2026-11-01T00:00:00%2B01:00",
            200,
        ),
        list("a number's plus", "phone_number=+15550000200", 200),
        list(
            "a time without an offset",
            "created_after=2026-11-01+01:00",
            422,
        )
        .naming("created_after"),
        list("a parameter misspelt", "limits=1", 422)
            .telling("/errors/0/detail", "did you mean limit?"),
        list("a parameter twice", "limit=1&limit=2", 422).naming("limit"),
        Spelling {
            path: "/api/v2/calls/",
            ..list("a slash before the query", "limit=1", 200)
        },
    ]
}

fn tokens() -> Vec<Spelling> {
    let encoded = "username=spelling-bee&password=correct+horse+%26+battery&client_id=x&audience=y";
    let part = |name: &str, value: &str| {
        format!("--limit\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let parts = [
        part("grant_type", "password"),
        part("username", USER.0),
        part("password", USER.1),
        part("client_id", ""),
    ]
    .concat();
    let whole = format!("{parts}--limit--\r\n");
    let urlencoded = "application/x-www-form-urlencoded";
    let multipart = "multipart/form-data; boundary=limit";
    vec![
        token("fields that a token needs not", urlencoded, encoded, 200)
            .telling("/token_type", "bearer"),
        token("a form in parts", multipart, &whole, 200).telling("/token_type", "bearer"),
        token("a form that breaks off", multipart, &parts, 400)
            .telling("/error", "invalid_request"),
        token("a form in JSON", "application/json", "{}", 400).telling("/error", "invalid_request"),
        Spelling {
            path: "/api/v1/token/",
            ..token("a slash at the end", urlencoded, encoded, 200)
        },
        Spelling {
            headers: vec![("content-type", urlencoded), ("content-encoding", "gzip")],
            ..token("a packed form", urlencoded, encoded, 415)
        },
    ]
}
