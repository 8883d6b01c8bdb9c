//! Requests that get the same answers wherever the API is served: by `cargo run`, by the functions
//! behind a gateway's events, and by the deployed template.
//!
//! To try a request everywhere, add it to `cases`.

use reqwest::Url;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::gateway::{Gateway, Mapping};
use crate::wire::{WireAnswer, WireRequest};

/// Where the API is served.
pub enum Served<'a> {
    /// Over HTTP, at this URL.
    Http(String),
    /// By the template that is deployed in the cloud of this machine, at this URL. It joins the
    /// values of a repeated header with a comma and a space, and AWS with a comma.
    Deployed(String),
    /// By functions that get a gateway's events.
    Events {
        /// The gateway.
        gateway: &'a mut Gateway,
        /// How the client reaches it.
        mapping: Mapping,
    },
}

impl Served<'_> {
    async fn ask(&mut self, request: &WireRequest) -> WireAnswer {
        match self {
            Self::Http(base) | Self::Deployed(base) => request.send(base).await,
            Self::Events { gateway, mapping } => gateway.ask(request, *mapping).await,
        }
    }

    /// What comes before the paths of the API in the URLs that the client asks for.
    fn base(&self) -> String {
        match self {
            Self::Http(base) | Self::Deployed(base) => base.clone(),
            Self::Events { mapping, .. } => format!("https://voice.example{}", mapping.prefix()),
        }
    }
}

/// A request, and its answer.
struct Case {
    request: WireRequest,
    wanted: Wanted,
}

/// What an answer has to be.
enum Wanted {
    /// This status.
    Status(u16),
    /// A problem with this status, of this kind, about these fields.
    Problem(u16, &'static str, &'static [&'static str]),
    /// JSON with this status, and these values at these pointers.
    Json(u16, Vec<(&'static str, Value)>),
}

const TO: &str = "+15550000486";
/// No call has this id.
const NO_CALL: &str = "3f2b8c1e-0000-4000-8000-000000000001";

/// The table. `id` is a call's.
fn cases(token: &str, id: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    paths(&mut cases, token, id);
    queries(&mut cases, token);
    bodies(&mut cases, token);
    headers(&mut cases, token);
    cases
}

fn authorized(method: &str, target: &str, token: &str) -> WireRequest {
    WireRequest::new(method, target).header("authorization", &format!("Bearer {token}"))
}

fn posted(target: &str, token: &str, body: &Value) -> WireRequest {
    authorized("POST", target, token)
        .header("content-type", "application/json")
        .body(body.to_string())
}

fn paths(cases: &mut Vec<Case>, token: &str, id: &str) {
    let mut add = |request, wanted| cases.push(Case { request, wanted });
    let to_number = |number: &str| {
        let target = format!("/api/v2/interaction/{number}");
        posted(&target, token, &json!({"dry_run": true}))
    };
    for number in [TO, "%2B15550000486", "%2b1555000048%36"] {
        let dialled = vec![("/phone_number", json!(TO)), ("/dry_run", json!(true))];
        add(to_number(number), Wanted::Json(200, dialled));
    }
    for number in [
        "+15550000200%23123",
        "+15550000200%3Fdry_run=false",
        "+15550000200%20",
        "+15550000200%2F1",
        "+15550000200%2F..%2Fcalls",
        "+15550000200%25",
        "%252B15550000200",
        "+15550000200%00",
        "+15550000200%C3%BC",
        "+15550000200%FF",
        "+15550000200;x=1",
        "+15550000200&x",
        "+15550000200/1",
    ] {
        let wanted = Wanted::Problem(422, "invalid-request", &["number"]);
        add(to_number(number), wanted);
    }
    for path in [
        format!("/api/v2/calls/{id}"),
        format!("/api/v1/calls/{id}"),
        format!("/api/v2/status/{id}"),
        format!("/api/v1/interaction/{id}/status"),
        format!("/api/v2/calls/{id}/events"),
        format!("/api/v2/calls/{}", id.replace('-', "%2D")),
    ] {
        let wanted = Wanted::Json(200, vec![("/call_id", json!(id))]);
        add(authorized("GET", &path, token), wanted);
    }
    for (method, path, wanted) in [
        ("GET", "/api/v2/calls/ID", not_found()),
        ("GET", "/api/v1/status/ID", not_found()),
        ("POST", "/api/v2/calls/ID/hangup", not_found()),
        ("GET", "/api/v2/calls/x", wrong("call_id")),
        ("GET", "/api/v2/calls/x%23", wrong("call_id")),
        ("GET", "/api/v2/interaction/%20/status", wrong("call_id")),
        ("POST", "/api/v1/calls/x/hangup", wrong("call_id")),
        (
            "GET",
            "/docs/none.js",
            Wanted::Problem(404, "not-found", &[]),
        ),
        ("GET", "/nowhere", Wanted::Status(404)),
        ("GET", "/api/v3/calls", Wanted::Status(404)),
    ] {
        let path = path.replace("ID", NO_CALL);
        add(authorized(method, &path, token), wanted);
    }
    add(
        WireRequest::new("GET", "/"),
        Wanted::Json(200, vec![("/service", json!("outbound-calls"))]),
    );
    add(
        WireRequest::new("GET", "/openapi.json"),
        Wanted::Json(200, vec![("/openapi", json!("3.1.0"))]),
    );
}

const fn not_found() -> Wanted {
    Wanted::Problem(404, "call-not-found", &[])
}

const fn wrong(field: &'static str) -> Wanted {
    match field.as_bytes() {
        b"limit" => Wanted::Problem(422, "invalid-request", &["limit"]),
        b"phone_number" => Wanted::Problem(422, "invalid-request", &["phone_number"]),
        b"body" => Wanted::Problem(422, "invalid-request", &["body"]),
        b"Idempotency-Key" => Wanted::Problem(422, "invalid-request", &["Idempotency-Key"]),
        _ => Wanted::Problem(422, "invalid-request", &["call_id"]),
    }
}

fn queries(cases: &mut Vec<Case>, token: &str) {
    let found = || Wanted::Json(200, vec![("/calls/0/phone_number", json!(TO))]);
    for (query, wanted) in [
        ("phone_number=%2B15550000486", found()),
        ("phone_number=+15550000486&limit=1", found()),
        ("phone%5Fnumber=%2B15550000486", found()),
        ("limit=0", wrong("limit")),
        ("phone_number=%23", wrong("phone_number")),
        ("phone_number=%C3", wrong("phone_number")),
        // Neither is a request that HTTP knows.
        ("a=<", Wanted::Status(400)),
        ("a=\"%22>", Wanted::Status(400)),
    ] {
        let target = format!("/api/v2/calls?{query}");
        let request = authorized("GET", &target, token);
        cases.push(Case { request, wanted });
    }
}

fn bodies(cases: &mut Vec<Case>, token: &str) {
    let mut add = |request, wanted| cases.push(Case { request, wanted });
    let call = json!({"phone_number": TO, "dry_run": true, "caller_id": "\"Zoë\" <100>"});
    let would = || Wanted::Json(200, vec![("/caller_id", json!("\"Zoë\" <100>"))]);
    let create = |content_type: &str| {
        authorized("POST", "/api/v2/calls", token).header("content-type", content_type)
    };
    for content_type in ["application/json", "application/json; charset=utf-8"] {
        add(create(content_type).body(call.to_string()), would());
    }
    let escaped = call.to_string().replace('ë', "\\u00eb");
    add(create("application/json").body(escaped), would());
    let unsupported = || Wanted::Problem(415, "unsupported-media-type", &[]);
    for content_type in ["text/plain", "application/x-www-form-urlencoded"] {
        add(create(content_type).body(call.to_string()), unsupported());
    }
    add(create("application/json").body("{"), wrong("body"));
    add(create("application/json").body("[1]"), wrong("body"));
    let large = json!({"phone_number": TO, "dry_run": true, "context": "x".repeat(70_000)});
    add(
        create("application/json").body(large.to_string()),
        Wanted::Problem(413, "body-too-large", &[]),
    );
    add(
        create("application/json").body(json!({"phone_number": "x"}).to_string()),
        wrong("phone_number"),
    );
    let refused = Wanted::Json(401, vec![("/error", json!("invalid_grant"))]);
    add(grant("nobody", "caf%C3%A9"), refused);
}

fn headers(cases: &mut Vec<Case>, token: &str) {
    let mut add = |request, wanted| cases.push(Case { request, wanted });
    let list = |headers: &[(&str, &str)]| {
        let request = WireRequest::new("GET", "/api/v2/calls?limit=1");
        headers.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        })
    };
    let bearer = format!("Bearer {token}");
    let unauthorized = || Wanted::Problem(401, "unauthorized", &[]);
    add(list(&[]), unauthorized());
    add(list(&[("authorization", "Bearer x")]), unauthorized());
    add(list(&[("AUTHORIZATION", &bearer)]), Wanted::Status(200));
    // Both at once are neither.
    let twice = [("authorization", &*bearer), ("authorization", &*bearer)];
    add(list(&twice), unauthorized());
    let dry_run = || {
        posted(
            "/api/v2/calls",
            token,
            &json!({"phone_number": TO, "dry_run": true}),
        )
    };
    for key in ["", "a b", &"x".repeat(256)] {
        let request = dry_run().header("idempotency-key", key);
        add(request, wrong("Idempotency-Key"));
    }
}

fn grant(username: &str, password: &str) -> WireRequest {
    let form = format!("grant_type=password&username={username}&password={password}");
    WireRequest::new("POST", "/api/v2/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
}

/// Goes through the table with a user. Returns what is wrong, and how many requests were asked.
///
/// # Panics
/// If no token and no call can be had, or nothing is answered.
pub async fn run(served: &mut Served<'_>, username: &str, password: &str) -> (usize, Vec<String>) {
    let mut wrong = Vec::new();
    let granted = served
        .ask(&grant(username, &password.replace(' ', "+")))
        .await;
    let token = granted.json()["access_token"].as_str().map(str::to_owned);
    let token = token.unwrap_or_else(|| panic!("no token: {granted:?}"));
    let id = locations(served, &token, &mut wrong).await;
    let cases = cases(&token, &id);
    for Case { request, wanted } in &cases {
        let answer = served.ask(request).await;
        if let Err(problem) = check(&answer, wanted) {
            let about = format!("{} {}", request.method, request.target);
            wrong.push(format!("{about} {:?}: {problem}", request.headers));
        }
    }
    let mut asked = cases.len();
    asked += heads(served, &token, &id, &mut wrong).await;
    asked += repeats(served, &token, &mut wrong).await;
    (asked, wrong)
}

fn check(answer: &WireAnswer, wanted: &Wanted) -> Result<(), String> {
    let body = String::from_utf8_lossy(&answer.body);
    let said: String = body.chars().take(200).collect();
    let (Wanted::Status(status) | Wanted::Problem(status, ..) | Wanted::Json(status, _)) = wanted;
    if answer.status != *status {
        return Err(format!("{} instead of {status}: {said}", answer.status));
    }
    match wanted {
        Wanted::Status(_) => {}
        Wanted::Problem(_, kind, fields) => {
            let problem = answer.json();
            let content_type = answer.header("content-type");
            if content_type != "application/problem+json" {
                return Err(format!("its type is {content_type}: {said}"));
            }
            let errors = problem["errors"].as_array().cloned().unwrap_or_default();
            let about: Vec<_> = errors.iter().map(|error| error["field"].clone()).collect();
            if problem["type"] != format!("urn:problem:{kind}") || about != *fields {
                return Err(format!("not {kind} about {fields:?}: {said}"));
            }
        }
        Wanted::Json(_, values) => {
            let body = answer.json();
            for (pointer, value) in values {
                if body.pointer(pointer) != Some(value) {
                    return Err(format!("{pointer} is not {value}: {said}"));
                }
            }
        }
    }
    Ok(())
}

/// Follows the `Location` of each kind of create. Returns the last call's id.
async fn locations(served: &mut Served<'_>, token: &str, wrong: &mut Vec<String>) -> String {
    let mut last = String::new();
    for version in ["v1", "v2"] {
        for path in ["calls".to_owned(), format!("interaction/{TO}")] {
            let target = format!("/api/{version}/{path}");
            let body = match path.as_str() {
                "calls" => json!({"phone_number": TO}),
                _ => json!({}),
            };
            let placed = served.ask(&posted(&target, token, &body)).await;
            let id = placed.json()["call_id"].as_str().map(str::to_owned);
            last = id.unwrap_or_else(|| panic!("no call by {target}: {placed:?}"));
            let base = served.base();
            let asked = Url::parse(&format!("{base}{target}")).expect("a URL");
            let location = asked.join(placed.header("location")).expect("a reference");
            let Some(target) = location.as_str().strip_prefix(&base) else {
                wrong.push(format!("{target}: its Location leads to {location}"));
                continue;
            };
            let found = served.ask(&authorized("GET", target, token)).await;
            if placed.status != 202 || found.json()["call_id"] != last.as_str() {
                wrong.push(format!("{target}: {placed:?} leads to {found:?}"));
            }
        }
    }
    last
}

/// Asks for what GET answers with HEAD. Returns how many requests those are.
async fn heads(served: &mut Served<'_>, token: &str, id: &str, wrong: &mut Vec<String>) -> usize {
    let targets = [
        "/".to_owned(),
        "/health".to_owned(),
        "/metrics".to_owned(),
        "/openapi.json".to_owned(),
        "/docs".to_owned(),
        "/docs/start.js".to_owned(),
        "/redoc".to_owned(),
        "/redoc/page.css".to_owned(),
        "/api/v2/calls?limit=1".to_owned(),
        "/api/v1/calls?limit=0".to_owned(),
        format!("/api/v2/calls/{id}"),
        format!("/api/v1/status/{id}"),
        format!("/api/v2/interaction/{NO_CALL}/status"),
        format!("/api/v2/calls/{id}/events"),
    ];
    for target in &targets {
        let get = served.ask(&authorized("GET", target, token)).await;
        let head = served.ask(&authorized("HEAD", target, token)).await;
        let of = |answer: &WireAnswer| {
            let names = ["content-type", "cache-control", "content-security-policy"];
            let headers = names.map(|name| answer.header(name).to_owned());
            (answer.status, headers)
        };
        let has_id = !head.header("x-request-id").is_empty();
        if of(&get) != of(&head) || !head.body.is_empty() || !has_id {
            wrong.push(format!("HEAD {target}: {head:?}, and GET {:?}", of(&get)));
        }
    }
    targets.len()
}

/// Repeats requests with an `Idempotency-Key`. Returns how many requests those are.
async fn repeats(served: &mut Served<'_>, token: &str, wrong: &mut Vec<String>) -> usize {
    let unique = Uuid::new_v4().to_string();
    let mut forms = vec![vec![unique.clone()]];
    if !matches!(served, Served::Deployed(_)) {
        // Two headers are one with a comma between their values.
        forms.push(vec![unique.clone(), "again".to_owned()]);
        forms.push(vec![format!("{unique},again")]);
    }
    let mut ids = Vec::new();
    for keys in &forms {
        let request = posted("/api/v2/calls", token, &json!({"phone_number": TO}));
        let request = keys.iter().fold(request, |request, key| {
            request.header("Idempotency-Key", key)
        });
        let first = served.ask(&request).await;
        let again = served.ask(&request).await;
        let is_replay = again.header("idempotent-replayed") == "true";
        let was_replay = first.header("idempotent-replayed") == "true";
        let known = ids.contains(&first.json()["call_id"]);
        if (first.status, again.status) != (202, 202)
            || first.json() != again.json()
            || was_replay != known
            || !is_replay
        {
            wrong.push(format!("{keys:?}: {first:?} {again:?}"));
        }
        ids.push(first.json()["call_id"].clone());
    }
    if forms.len() == 3 && (ids[0] == ids[1] || ids[1] != ids[2]) {
        wrong.push(format!("keys and their calls: {forms:?} {ids:?}"));
    }
    2 * forms.len()
}
