//! `POST /interaction/{number}` and `POST /calls`: record a call, then queue it.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, FromRef, OriginalUri, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use cloud::daily_calls::DailyCalls;
use cloud::{CallQueue, CallStore, clock};
use domain::{
    Call, CallId, CallRequest, DialplanTarget, Media, PhoneNumber, Priority, Timestamp, Variables,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::access::{Access, MayWrite};
use crate::allowance::Allowance;
use crate::call_view::Status;
use crate::idempotency::{IDEMPOTENT_REPLAYED, IdempotencyKey, fingerprint};
use crate::payload::{Fields, JsonObject, canonical};
use crate::placing::{MAX_TRIES, Placed, Placing, Refusal};
use crate::problem::Problem;
use crate::request_id::RequestId;
use crate::router::PREFIXES;
use crate::settings::{CallDefaults, DIAL_TIMEOUT_MS, MAX_DURATION_S, QUEUE_TIMEOUT_MS};

/// What the originate function works with.
#[derive(Clone)]
pub struct OriginateState {
    /// The table of calls.
    pub calls: CallStore,
    /// The queue to the bridges.
    pub queue: CallQueue,
    /// What a request may leave out.
    pub defaults: Arc<CallDefaults>,
    /// Counts each user's calls of a day, if they are limited.
    pub daily_calls: Option<DailyCalls>,
    /// Checks tokens.
    pub access: Access,
}

impl FromRef<OriginateState> for Access {
    fn from_ref(state: &OriginateState) -> Self {
        state.access.clone()
    }
}

/// A call that was accepted.
#[derive(Serialize, ToSchema)]
pub struct CallAccepted {
    /// Always true.
    success: bool,
    /// Names the call from now on.
    #[schema(format = "uuid", example = "3f2b8c1e-0000-4000-8000-000000000001")]
    call_id: String,
    /// Whom it is to.
    #[schema(example = "+15550000200")]
    phone_number: String,
    /// What was done.
    #[schema(example = "Call queued")]
    message: &'static str,
    /// What Asterisk will dial.
    #[schema(example = "PJSIP/+15550000200@trunk")]
    channel: String,
    /// Always `pending`.
    #[schema(value_type = Status)]
    status: &'static str,
    /// When it was asked for.
    #[schema(format = "date-time", example = "2026-11-21T09:30:00.000Z")]
    created_at: String,
}

/// What would be dialled.
#[derive(Serialize, ToSchema)]
#[expect(
    clippy::struct_field_names,
    reason = "the field has the name of the request's"
)]
pub struct DryRun {
    /// Always true.
    success: bool,
    /// Always true.
    dry_run: bool,
    /// What was done: nothing.
    #[schema(example = "Nothing was queued")]
    message: &'static str,
    /// Whom it would be to.
    #[schema(example = "+15550000200")]
    phone_number: String,
    /// What Asterisk would dial.
    #[schema(example = "PJSIP/+15550000200@trunk")]
    channel: String,
    /// Where it would go on when it is answered.
    #[schema(example = "outbound-ivr")]
    context: String,
    /// See `context`.
    #[schema(example = "s")]
    extension: String,
    /// See `context`.
    #[schema(example = 1)]
    priority: u32,
    /// What the callee would be shown.
    caller_id: Option<String>,
    /// What would be played instead.
    media: Option<Vec<String>>,
}

/// How a call is to be placed. All of it may be left out, and `null` is the same as that.
///
/// As clients of the old service may send it, a number may also be text (`"30000"`), and `""`
/// counts as left out, except for `dry_run`. A field that is not known is refused, unless the
/// service is configured to ignore it.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "for the document: bodies are read by payload::Fields, which names every mistake"
)]
pub struct CallOptions {
    /// The dialplan context in which the answered call goes on; `DEFAULT_CONTEXT` unless given.
    #[schema(pattern = "^[A-Za-z0-9_-]{1,79}$", example = "outbound-ivr")]
    context: Option<String>,
    /// The dialplan extension; `DEFAULT_EXTENSION` unless given.
    #[schema(pattern = "^[A-Za-z0-9+*#_-]{1,79}$", example = "s")]
    extension: Option<String>,
    /// The dialplan priority; `DEFAULT_PRIORITY` unless given.
    #[schema(minimum = 1, maximum = 2_147_483_647, example = 1)]
    priority: Option<i64>,
    /// How long the phone may ring, in milliseconds; `DEFAULT_TIMEOUT` unless given.
    #[schema(minimum = 1_000, maximum = 600_000, example = 30_000)]
    timeout: Option<i64>,
    /// What the callee is shown: a number, or `"Name" <number>`. Spaces, dashes, dots and
    /// brackets in the number are left out. A name has a letter and fewer than seven digits.
    #[schema(example = "\"Acme\" <+15550000100>")]
    caller_id: Option<String>,
    /// Channel variables for the dialplan: at most 20, each at most 256 characters without control
    /// characters, U+FFFE and U+FFFF.
    #[schema(value_type = Option<Object>)]
    variables: Option<serde_json::Value>,
    /// What is played when the call is answered, instead of going on in the dialplan; then we hang up. Not together
    /// with `context`, `extension` or `priority`.
    #[schema(min_items = 1, max_items = 16)]
    media: Option<Vec<String>>,
    /// How long the answered call may last, in seconds; `MAX_CALL_DURATION` unless given.
    #[schema(minimum = 1, maximum = 86_400, example = 600)]
    max_duration: Option<i64>,
    /// How long the call may wait for a bridge, in milliseconds; `QUEUE_TIMEOUT` unless given. After that it is
    /// never dialled.
    #[schema(minimum = 1_000, maximum = 1_209_600_000, example = 300_000)]
    queue_timeout: Option<i64>,
    /// Only check the request and say what would be dialled.
    dry_run: Option<bool>,
}

/// A call to be placed.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "for the document: bodies are read by payload::Fields, which names every mistake"
)]
pub struct NewCall {
    /// Whom to call: 7 to 20 digits with an optional `+`.
    #[schema(pattern = "^\\+?[0-9]{7,20}$", example = "+15550000200")]
    phone_number: String,
    #[schema(inline)]
    #[serde(flatten)]
    options: CallOptions,
}

/// Handles `POST /interaction/{number}`.
///
/// # Errors
/// Problems as documented for the API.
#[utoipa::path(
    post, path = "/interaction/{number}", tag = "calls", operation_id = "create_interaction",
    summary = "Place a call to the number in the path",
    description = "Checks the request, records the call and queues it for a bridge. With an `Idempotency-Key` the request \
        can be repeated safely.",
    params(("number" = String, Path, pattern = "^\\+?[0-9]{7,20}$", example = "+15550000200", description = "Whom to call.")),
    request_body(content = CallOptions, description = "How; may be left out."),
    responses(
        (status = 202, description = "The call is queued.", body = CallAccepted),
        (status = 200, description = "With `dry_run`: what would be dialled.", body = DryRun),
    ),
)]
pub async fn create_interaction(
    State(state): State<OriginateState>,
    MayWrite(client): MayWrite,
    Extension(request_id): Extension<RequestId>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    number: Result<Path<String>, PathRejection>,
    JsonObject(mut body): JsonObject,
) -> Result<Response, Problem> {
    let Path(number) =
        number.map_err(|_| Problem::invalid_field("number", "is not valid UTF-8"))?;
    let key = IdempotencyKey::read(&headers)?;
    // The same call as by `POST /calls`.
    let mut whole = body.clone();
    whole.insert("phone_number".to_owned(), number.clone().into());
    let fingerprint = fingerprint(&canonical(&whole));
    // A body that repeats the number is no mistake; one with another number is.
    if body.get("phone_number").is_some_and(|said| *said == number) {
        body.remove("phone_number");
    }
    let mut fields = Fields::new(body);
    let number = fields.parse("number", &number);
    check_number(&mut fields, "number", number.as_ref(), &state.defaults);
    let asked = read_call(fields, number, &uri, &state.defaults, request_id)?;
    answer(
        &state,
        asked,
        &client.subject,
        key.map(|key| Repeatable { key, fingerprint }),
        &uri,
    )
    .await
}

/// Handles `POST /interaction/` with a number that has slashes in it.
pub async fn reject_number(_access: MayWrite) -> Problem {
    Problem::invalid_field("number", domain::phone_number::InvalidPhoneNumber)
}

/// Handles `POST /calls`.
///
/// # Errors
/// Problems as documented for the API.
#[utoipa::path(
    post, path = "/calls", tag = "calls", operation_id = "create_call",
    summary = "Place a call",
    description = "Checks the request, records the call and queues it for a bridge. With an `Idempotency-Key` the request \
        can be repeated safely.",
    request_body(content = NewCall),
    responses(
        (status = 202, description = "The call is queued.", body = CallAccepted),
        (status = 200, description = "With `dry_run`: what would be dialled.", body = DryRun),
    ),
)]
pub async fn create_call(
    State(state): State<OriginateState>,
    MayWrite(client): MayWrite,
    Extension(request_id): Extension<RequestId>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Response, Problem> {
    let key = IdempotencyKey::read(&headers)?;
    let fingerprint = fingerprint(&canonical(&body));
    let mut fields = Fields::new(body);
    let number = fields.required_text("phone_number");
    check_number(
        &mut fields,
        "phone_number",
        number.as_ref(),
        &state.defaults,
    );
    let asked = read_call(fields, number, &uri, &state.defaults, request_id)?;
    answer(
        &state,
        asked,
        &client.subject,
        key.map(|key| Repeatable { key, fingerprint }),
        &uri,
    )
    .await
}

fn check_number(
    fields: &mut Fields,
    field: &str,
    number: Option<&PhoneNumber>,
    defaults: &CallDefaults,
) {
    if number.is_some_and(|number| !defaults.allowed_numbers.allow(number)) {
        fields.reject(
            field,
            "does not begin as a number has to that may be called",
        );
    }
}

fn read_call(
    mut fields: Fields,
    number: Option<PhoneNumber>,
    uri: &Uri,
    defaults: &CallDefaults,
    RequestId(request_id): RequestId,
) -> Result<Asked, Problem> {
    let target = &defaults.target;
    let elsewhere = ["context", "extension", "priority"];
    if fields.has("media") && elsewhere.iter().any(|name| fields.has(name)) {
        fields.reject(
            "media",
            "cannot be given together with context, extension or priority",
        );
    }
    let media = fields.list("media", Media::new);
    let context = fields
        .text("context")
        .unwrap_or_else(|| target.context.clone());
    if !defaults.allows(&context) {
        fields.reject("context", "is not one of those that calls may go to");
    }
    let extension = fields
        .text("extension")
        .unwrap_or_else(|| target.extension.clone());
    let priority = fields
        .integer("priority", Priority::try_from)
        .unwrap_or(target.priority);
    let dial_timeout = fields
        .integer("timeout", dial_timeout)
        .unwrap_or(defaults.dial_timeout);
    let queue_timeout = fields
        .integer("queue_timeout", queue_timeout)
        .unwrap_or(defaults.queue_timeout);
    let max_duration = fields.integer("max_duration", max_duration);
    let variables = fields
        .texts("variables", Variables::new)
        .unwrap_or_default();
    for problem in defaults.forbidden_variables(&variables) {
        fields.reject("variables", problem);
    }
    let dry_run = fields.flag("dry_run").unwrap_or(false);
    let caller_id = fields
        .text("caller_id")
        .or_else(|| defaults.caller_id.clone());
    let created_at = clock::now();
    let request = number.map(|phone_number| CallRequest {
        id: Uuid::new_v4().into(),
        endpoint: defaults.dial_endpoint.render(&phone_number, &context),
        phone_number,
        target: DialplanTarget {
            context,
            extension,
            priority,
        },
        media,
        dial_timeout,
        max_duration,
        variables,
        caller_id,
        created_at,
        dial_before: created_at.plus(queue_timeout),
        request_id,
        fingerprint: None,
    });
    let asked = request.map(|request| Asked { request, dry_run });
    fields.finish(asked, uri.query().unwrap_or_default(), defaults.unknown)
}

/// What a client asked for.
struct Asked {
    request: CallRequest,
    /// Only to hear whether it would be done.
    dry_run: bool,
}

fn dial_timeout(millis: i64) -> Result<Duration, String> {
    between(millis, DIAL_TIMEOUT_MS, "milliseconds").map(Duration::from_millis)
}

fn queue_timeout(millis: i64) -> Result<Duration, String> {
    between(millis, QUEUE_TIMEOUT_MS, "milliseconds").map(Duration::from_millis)
}

fn max_duration(seconds: i64) -> Result<Duration, String> {
    between(seconds, MAX_DURATION_S, "seconds").map(Duration::from_secs)
}

fn between(number: i64, range: RangeInclusive<u64>, unit: &str) -> Result<u64, String> {
    u64::try_from(number)
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| format!("must be from {} to {} {unit}", range.start(), range.end()))
}

/// A request that may be repeated.
struct Repeatable {
    key: IdempotencyKey,
    /// Tells requests with the same key apart.
    fingerprint: String,
}

impl Repeatable {
    fn id_of_try(&self, client: &str, number: u8) -> CallId {
        self.key.call_id(client, number)
    }
}

/// Does what was asked for, or says what would be done.
async fn answer(
    state: &OriginateState,
    asked: Asked,
    client: &str,
    repeatable: Option<Repeatable>,
    uri: &Uri,
) -> Result<Response, Problem> {
    let mut request = asked.request;
    if asked.dry_run {
        return Ok(dry_run(&request));
    }
    if let Some(repeatable) = &repeatable {
        request.id = repeatable.id_of_try(client, 0);
        request.fingerprint = Some(repeatable.fingerprint.clone());
    }
    let first_id = request.id;
    let id_of_try = |number| match &repeatable {
        Some(repeatable) => repeatable.id_of_try(client, number),
        // There is one try only.
        None => first_id,
    };
    let expires_at = forget_at(&request, state.defaults.retention);
    let placing = Placing {
        calls: &state.calls,
        queue: &state.queue,
        now: &clock::now,
        sender: Uuid::new_v4().into(),
        id_of_try: &id_of_try,
    };
    let allowance = Allowance::take(state, client, &request).await?;
    let placed = placing.place(request, expires_at).await;
    allowance.settle(&placed).await;
    match placed {
        Ok(Placed::Now(request)) => Ok(accepted(&Call::new(*request), uri)),
        Ok(Placed::Before(before)) => {
            let mut response = accepted(&Call::new(*before), uri);
            response
                .headers_mut()
                .insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
            Ok(response)
        }
        Err(not_placed) => Err(match not_placed.reason {
            Refusal::OtherRequest => {
                Problem::invalid_field("Idempotency-Key", "was used for another request")
            }
            Refusal::NotRecorded => {
                Problem::unavailable("the call could not be recorded; nobody was called")
            }
            Refusal::NotQueued => {
                Problem::unavailable("the call could not be queued; nobody was called")
            }
            Refusal::TriesUsedUp => {
                let detail = format!(
                    "was used {MAX_TRIES} times for a call that could not be queued; nobody was \
                     called: ask again with another"
                );
                Problem::invalid_field("Idempotency-Key", detail)
            }
            Refusal::Unknown => Problem::outcome_unknown(not_placed.id.to_string()),
        }),
    }
}

/// When the record may be forgotten: never while the call may still be under way.
fn forget_at(request: &CallRequest, retention: Duration) -> Timestamp {
    const LONGEST_CALL: Duration = Duration::from_hours(48);
    let over = request.dial_before.plus(LONGEST_CALL);
    request.created_at.plus(retention).max(over)
}

/// What would be dialled.
fn dry_run(request: &CallRequest) -> Response {
    let media = request.media.as_ref();
    Json(DryRun {
        success: true,
        dry_run: true,
        message: "Nothing was queued",
        phone_number: request.phone_number.to_string(),
        channel: request.endpoint.to_string(),
        context: request.target.context.to_string(),
        extension: request.target.extension.to_string(),
        priority: request.target.priority.get(),
        caller_id: request.caller_id.as_ref().map(ToString::to_string),
        media: media.map(|media| media.uris().map(str::to_owned).collect()),
    })
    .into_response()
}

fn accepted(call: &Call, uri: &Uri) -> Response {
    let body = CallAccepted {
        success: true,
        call_id: call.request.id.to_string(),
        phone_number: call.request.phone_number.to_string(),
        message: "Call queued",
        channel: call.request.endpoint.to_string(),
        status: call.status.as_str(),
        created_at: call.request.created_at.to_string(),
    };
    let location = HeaderValue::from_str(&location(uri, &body.call_id));
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Where the call is, as a reference relative to the URI of the request that made it (RFC 3986,
/// section 4.2).
///
/// A custom domain's mapping or a proxy may put something before the path that a client asks for.
/// What that is cannot be known here, and a relative reference keeps it.
fn location(uri: &Uri, call_id: &str) -> String {
    let path = uri.path();
    let below = PREFIXES
        .iter()
        .find_map(|prefix| path.strip_prefix(prefix))
        .unwrap_or(path);
    let depth = below.matches('/').count().saturating_sub(1);
    format!("{}calls/{call_id}", "../".repeat(depth))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_location_is_relative_to_the_path_that_was_asked_for() {
        for (path, expected) in [
            ("/api/v2/calls", "calls/ID"),
            ("/api/v1/calls/", "../calls/ID"),
            ("/api/v2/interaction/+15550000200", "../calls/ID"),
            ("/api/v1/interaction/+15550000200/", "../../calls/ID"),
        ] {
            let uri = path.parse().unwrap();
            assert_eq!(location(&uri, "ID"), expected, "{path}");
        }
    }
}
