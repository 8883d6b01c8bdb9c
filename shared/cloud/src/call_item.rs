//! A call as an item of the table `calls`.
//!
//! Items are separate from the domain's types, so that a record written by another
//! release still reads: unknown attributes are ignored and kept, unknown failure reasons
//! read as `outcome_unknown`.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::{
    BridgeId, Call, CallRequest, CallerId, ClaimId, DialplanTarget, FailureReason, HangupCause,
    HangupOrigin, Media, Priority, SipCode, TimelineEntry, TimelineKind, Timestamp, Variables,
};
use uuid::Uuid;

use crate::{StoreError, tables};

/// An item of a table.
pub type Item = HashMap<String, AttributeValue>;

/// The item of a call as it is first recorded.
#[must_use]
pub fn encode(call: &Call, expires_at: Timestamp) -> Item {
    let request = &call.request;
    let mut item = encode_progress(call);
    item.extend([
        (tables::CALLS_KEY.to_owned(), text(&request.id)),
        (tables::NUMBER_KEY.to_owned(), text(&request.phone_number)),
        ("endpoint".to_owned(), text(&request.endpoint)),
        ("context".to_owned(), text(&request.target.context)),
        ("extension".to_owned(), text(&request.target.extension)),
        (
            "priority".to_owned(),
            number(&request.target.priority.get()),
        ),
        (
            "dial_timeout_ms".to_owned(),
            number(&request.dial_timeout.as_millis()),
        ),
        (tables::CREATED_AT.to_owned(), time(request.created_at)),
        (
            tables::DAY_KEY.to_owned(),
            AttributeValue::S(request.created_at.day()),
        ),
        ("dial_before".to_owned(), time(request.dial_before)),
        ("request_id".to_owned(), text(&request.request_id)),
        // DynamoDB's TTL counts seconds.
        ("expires_at".to_owned(), number(&expires_at.as_secs())),
    ]);
    let holder = call
        .owner
        .as_ref()
        .map_or_else(|| tables::PENDING.to_owned(), tables::held_by);
    let due = call.deadline.unwrap_or(request.dial_before);
    let open = !call.status.is_terminal();
    let optional = [
        (tables::HOLDER_KEY, open.then(|| AttributeValue::S(holder))),
        (tables::DUE_KEY, open.then(|| time(due))),
        ("caller_id", request.caller_id.as_ref().map(text)),
        (
            "max_duration_ms",
            request
                .max_duration
                .map(|longest| number(&longest.as_millis())),
        ),
        ("fingerprint", request.fingerprint.as_ref().map(text)),
    ];
    insert_present(&mut item, optional);
    let waiting = call.waiting_reason.as_ref().map(text);
    insert_present(&mut item, [("waiting_reason", waiting)]);
    if let Some(media) = &request.media {
        let uris = media.uris().map(text).collect();
        item.insert("media".to_owned(), AttributeValue::L(uris));
    }
    let variables = request.variables.get();
    if !variables.is_empty() {
        let map = variables
            .iter()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect();
        item.insert("variables".to_owned(), AttributeValue::M(map));
    }
    item
}

/// The attributes that change while a call goes on.
#[must_use]
pub fn encode_progress(call: &Call) -> Item {
    let timeline = call.timeline.iter().map(encode_entry).collect();
    let mut item = Item::from([
        ("status".to_owned(), text(&call.status)),
        ("sequence".to_owned(), number(&call.sequence)),
        ("timeline".to_owned(), AttributeValue::L(timeline)),
    ]);
    let optional = [
        ("owner", call.owner.as_ref().map(text)),
        ("claim", call.claim.as_ref().map(text)),
        ("deadline", call.deadline.map(time)),
        ("dialed_at", call.dialed_at.map(time)),
        ("alerted_at", call.alerted_at.map(time)),
        ("ringing_at", call.ringing_at.map(time)),
        ("answered_at", call.answered_at.map(time)),
        ("ended_at", call.ended_at.map(time)),
        ("hangup", call.hangup.map(hangup_name).map(text)),
        ("failure_reason", call.failure_reason.as_ref().map(text)),
        ("hangup_cause", call.hangup_cause.as_ref().map(number)),
        ("sip_code", call.sip_code.map(|code| number(&code.get()))),
    ];
    insert_present(&mut item, optional);
    item
}

fn insert_present<const N: usize>(item: &mut Item, optional: [(&str, Option<AttributeValue>); N]) {
    for (name, value) in optional {
        if let Some(value) = value {
            item.insert(name.to_owned(), value);
        }
    }
}

/// What a live call's item may have that the next state of the call has not: it must not stay.
pub const PASSING: [&str; 8] = [
    "alerted_at",
    "ringing_at",
    "answered_at",
    "ended_at",
    "hangup",
    "failure_reason",
    "hangup_cause",
    "sip_code",
];

/// One entry of the timeline, as it is appended to the item's list.
#[must_use]
pub fn encode_entry(entry: &TimelineEntry) -> AttributeValue {
    let mut map = Item::from([
        ("kind".to_owned(), text(entry.kind.as_str())),
        ("at".to_owned(), time(entry.recorded_at)),
    ]);
    if let Some(at) = entry.asterisk_at {
        map.insert("asterisk_at".to_owned(), time(at));
    }
    AttributeValue::M(map)
}

/// Reads a call.
///
/// # Errors
/// [`StoreError::Malformed`] naming the first attribute that is missing or wrong.
pub fn decode(item: &Item) -> Result<Call, StoreError> {
    let read = Read(item);
    Ok(Call {
        request: CallRequest {
            id: read.parsed("call_id")?,
            phone_number: read.parsed("phone_number")?,
            endpoint: read.parsed("endpoint")?,
            target: DialplanTarget {
                context: read.parsed("context")?,
                extension: read.parsed("extension")?,
                priority: Priority::try_from(read.number::<i64>("priority")?)
                    .map_err(|_| malformed("priority"))?,
            },
            media: read.media()?,
            dial_timeout: Duration::from_millis(read.number("dial_timeout_ms")?),
            max_duration: read
                .optional_number("max_duration_ms")?
                .map(Duration::from_millis),
            variables: read.variables()?,
            caller_id: read
                .optional_text("caller_id")
                .and_then(|id| CallerId::read_back(id).ok()),
            created_at: read.time("created_at")?,
            dial_before: read.time("dial_before")?,
            request_id: read
                .optional_text("request_id")
                .unwrap_or_default()
                .to_owned(),
            fingerprint: read.optional_text("fingerprint").map(str::to_owned),
        },
        status: read.parsed("status")?,
        sequence: read.number("sequence")?,
        owner: read.optional::<BridgeId>("owner")?,
        claim: read.optional::<Uuid>("claim")?.map(ClaimId::from),
        deadline: read.optional_time("deadline")?,
        dialed_at: read.optional_time("dialed_at")?,
        alerted_at: read.optional_time("alerted_at")?,
        ringing_at: read.optional_time("ringing_at")?,
        answered_at: read.optional_time("answered_at")?,
        ended_at: read.optional_time("ended_at")?,
        hangup: read.optional_text("hangup").and_then(hangup_origin),
        failure_reason: read
            .optional_text("failure_reason")
            .map(|reason| reason.parse().unwrap_or(FailureReason::OutcomeUnknown)),
        hangup_cause: read
            .optional_number::<u16>("hangup_cause")?
            .map(HangupCause::from),
        sip_code: read.optional_number("sip_code")?.and_then(SipCode::new),
        // A reason that a later release added is passed over.
        waiting_reason: read
            .optional_text("waiting_reason")
            .and_then(|reason| reason.parse().ok()),
        timeline: read.timeline()?,
    })
}

fn text<T: ToString + ?Sized>(value: &T) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

fn number<T: ToString + ?Sized>(value: &T) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn time(at: Timestamp) -> AttributeValue {
    number(&at.as_millis())
}

const fn hangup_name(origin: HangupOrigin) -> &'static str {
    match origin {
        HangupOrigin::Client => "client",
        HangupOrigin::Deadline => "deadline",
        HangupOrigin::UnconfirmedDial => "unconfirmed_dial",
        HangupOrigin::MediaOver => "media_over",
        HangupOrigin::CalleeBusy => "callee_busy",
        HangupOrigin::CalleeCongested => "callee_congested",
    }
}

fn hangup_origin(name: &str) -> Option<HangupOrigin> {
    HangupOrigin::ALL
        .into_iter()
        .find(|origin| hangup_name(*origin) == name)
}

const fn malformed(field: &'static str) -> StoreError {
    StoreError::Malformed {
        what: "call",
        field,
    }
}

struct Read<'a>(&'a Item);

impl<'a> Read<'a> {
    fn optional_text(&self, name: &str) -> Option<&'a str> {
        Some(self.0.get(name)?.as_s().ok()?.as_str())
    }

    fn optional<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, StoreError> {
        self.optional_text(name)
            .map(|value| value.parse().map_err(|_| malformed(name)))
            .transpose()
    }

    fn parsed<T: FromStr>(&self, name: &'static str) -> Result<T, StoreError> {
        self.optional(name)?.ok_or(malformed(name))
    }

    fn optional_number<T: FromStr>(&self, name: &'static str) -> Result<Option<T>, StoreError> {
        self.0
            .get(name)
            .map(|value| {
                let number = value.as_n().map_err(|_| malformed(name))?;
                number.parse().map_err(|_| malformed(name))
            })
            .transpose()
    }

    fn number<T: FromStr>(&self, name: &'static str) -> Result<T, StoreError> {
        self.optional_number(name)?.ok_or(malformed(name))
    }

    fn optional_time(&self, name: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.optional_number(name)?.map(Timestamp::from_millis))
    }

    fn time(&self, name: &'static str) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_millis(self.number(name)?))
    }

    fn media(&self) -> Result<Option<Media>, StoreError> {
        let Some(value) = self.0.get("media") else {
            return Ok(None);
        };
        let list = value.as_l().map_err(|_| malformed("media"))?;
        let uris: Option<Vec<_>> = list.iter().map(|uri| uri.as_s().ok()).collect();
        uris.and_then(|uris| Media::new(&uris).ok())
            .map(Some)
            .ok_or(malformed("media"))
    }

    fn variables(&self) -> Result<Variables, StoreError> {
        let Some(value) = self.0.get("variables") else {
            return Ok(Variables::default());
        };
        let map = value.as_m().map_err(|_| malformed("variables"))?;
        let texts = map
            .iter()
            .map(|(name, value)| Some((name.clone(), value.as_s().ok()?.clone())));
        let texts: Option<BTreeMap<String, String>> = texts.collect();
        texts
            .and_then(|texts| Variables::read_back(texts).ok())
            .ok_or(malformed("variables"))
    }

    /// Entries of kinds that a later release added are passed over.
    fn timeline(&self) -> Result<Vec<TimelineEntry>, StoreError> {
        let Some(value) = self.0.get("timeline") else {
            return Ok(Vec::new());
        };
        let entries = value.as_l().map_err(|_| malformed("timeline"))?;
        let mut timeline = Vec::with_capacity(entries.len());
        for entry in entries {
            let entry = Read(entry.as_m().map_err(|_| malformed("timeline"))?);
            let name = entry.optional_text("kind");
            let kind = TimelineKind::ALL
                .into_iter()
                .find(|kind| Some(kind.as_str()) == name);
            if let Some(kind) = kind {
                timeline.push(TimelineEntry {
                    kind,
                    asterisk_at: entry.optional_time("asterisk_at")?,
                    recorded_at: entry.time("at")?,
                });
            }
        }
        Ok(timeline)
    }
}

#[cfg(test)]
mod tests {
    use domain::{CallEvent, When};

    use super::*;

    fn call() -> Call {
        Call::new(CallRequest {
            id: Uuid::from_u128(7).into(),
            phone_number: "+15550000200".parse().unwrap(),
            endpoint: "PJSIP/15550000200@trunk".parse().unwrap(),
            target: DialplanTarget {
                context: "outbound-ivr".parse().unwrap(),
                extension: "s".parse().unwrap(),
                priority: Priority::try_from(1).unwrap(),
            },
            media: Some(Media::new(&["sound:hello-world", "digits:42"]).unwrap()),
            dial_timeout: Duration::from_secs(30),
            max_duration: Some(Duration::from_secs(90)),
            variables: Variables::new(BTreeMap::from([("NAME".to_owned(), "Zoë".to_owned())]))
                .unwrap(),
            caller_id: Some("\"Acme\" <100>".parse().unwrap()),
            created_at: Timestamp::from_millis(1_000),
            dial_before: Timestamp::from_millis(100_000),
            request_id: "r".to_owned(),
            fingerprint: Some("f".to_owned()),
        })
    }

    #[test]
    fn a_call_reads_back_at_every_step_of_its_life() {
        let mut call = call();
        let claimed = CallEvent::Claimed {
            owner: "b1".parse().unwrap(),
            claim: Uuid::from_u128(9).into(),
            deadline: Timestamp::from_millis(9_000),
        };
        let ended = CallEvent::Ended {
            ending: domain::Ending {
                cause: HangupCause::UserBusy,
                sip_code: SipCode::new(486),
            },
            dialled: domain::Dialled::Yes,
        };
        call.waiting_reason = Some(domain::WaitingReason::TrunkUnavailable);
        let requested = CallEvent::HangupRequested(HangupOrigin::Deadline);
        for event in [
            claimed,
            CallEvent::Progressed,
            CallEvent::Rang,
            requested,
            CallEvent::Answered,
            ended,
        ] {
            let item = encode(&call, Timestamp::from_millis(5));
            assert_eq!(decode(&item).unwrap(), call);
            let at = When {
                now: Timestamp::from_millis(2_000),
                asterisk: Some(Timestamp::from_millis(1_999)),
            };
            call = call.next(&event, at).unwrap().0;
        }
        let (failed, _) = super::tests::call()
            .next(
                &CallEvent::Failed(FailureReason::Expired),
                When::ours(Timestamp::from_millis(3_000)),
            )
            .unwrap();
        for call in [call, failed] {
            assert_eq!(
                decode(&encode(&call, Timestamp::from_millis(5))).unwrap(),
                call
            );
        }
    }

    #[test]
    fn what_a_later_release_added_is_passed_over() {
        let call = call();
        let mut item = encode(&call, Timestamp::from_millis(5));
        item.insert("added_later".to_owned(), AttributeValue::Bool(true));
        item.insert("failure_reason".to_owned(), text("added_later"));
        item.insert("hangup".to_owned(), text("added_later"));
        if let Some(AttributeValue::L(timeline)) = item.get_mut("timeline") {
            timeline.push(AttributeValue::M(Item::from([
                ("kind".to_owned(), text("added_later")),
                ("at".to_owned(), number(&1)),
            ])));
        }
        let read = decode(&item).unwrap();
        assert_eq!(read.failure_reason, Some(FailureReason::OutcomeUnknown));
        assert_eq!(read.timeline, call.timeline);
    }

    #[test]
    fn what_an_earlier_release_took_from_a_request_is_read_back() {
        let mut item = encode(&call(), Timestamp::from_millis(5));
        item.insert("caller_id".to_owned(), text("\"+1 555 000 0100\""));
        let variable = ("NAME".to_owned(), text("a\u{ffff}"));
        let variables = AttributeValue::M(Item::from([variable]));
        item.insert("variables".to_owned(), variables);
        let request = decode(&item).unwrap().request;
        let caller_id = request.caller_id.unwrap();
        assert_eq!(caller_id.name(), Some("+1 555 000 0100"));
        assert_eq!(request.variables.get()["NAME"], "a\u{ffff}");
    }

    #[test]
    fn a_malformed_item_names_its_attribute() {
        for name in [
            "status",
            "sequence",
            "phone_number",
            "endpoint",
            "priority",
            "created_at",
        ] {
            let mut item = encode(&call(), Timestamp::from_millis(5));
            item.insert(name.to_owned(), AttributeValue::Bool(true));
            let error = decode(&item).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
