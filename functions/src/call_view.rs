//! A call as clients see it.

use std::time::Duration;

use domain::{Call, TimelineKind};
use serde::Serialize;
use utoipa::ToSchema;

/// Where a call stands.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Status {
    /// Recorded and queued.
    Pending,
    /// A bridge dials it.
    Dialing,
    /// The phone rings.
    Ringing,
    /// The callee is on the line.
    Answered,
    /// It was answered and is over.
    Completed,
    /// The callee was on the phone.
    Busy,
    /// It rang, nobody answered.
    NoAnswer,
    /// It came to nothing; `failure_reason` says why.
    Failed,
    /// The client hung up before it was answered.
    Canceled,
}

/// A call: what was asked for, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct CallView {
    /// The call.
    #[schema(format = "uuid", example = "3f2b8c1e-0000-4000-8000-000000000001")]
    call_id: String,
    /// Whom it is to.
    #[schema(example = "+15550000200")]
    phone_number: String,
    /// Where it stands.
    #[schema(value_type = Status)]
    status: &'static str,
    /// What Asterisk dials.
    #[schema(example = "PJSIP/+15550000200@trunk")]
    channel: String,
    /// Where in the dialplan it goes on when it is answered.
    #[schema(example = "outbound-ivr")]
    context: String,
    /// See `context`.
    #[schema(example = "s")]
    extension: String,
    /// See `context`.
    #[schema(example = 1)]
    priority: u32,
    /// What the callee is shown.
    #[schema(example = "+15550000100")]
    caller_id: Option<String>,
    /// What is played instead.
    media: Option<Vec<String>>,
    /// When it was asked for.
    #[schema(format = "date-time", example = "2026-11-21T09:30:00.000Z")]
    created_at: String,
    /// When a bridge took it on to dial it.
    #[schema(format = "date-time", example = "2026-11-21T09:30:00.050Z")]
    dialed_at: Option<String>,
    /// When the callee was first heard of: the phone rang, or an announcement played.
    #[schema(format = "date-time", example = "2026-11-21T09:30:01.000Z")]
    alerted_at: Option<String>,
    /// When the phone began to ring.
    #[schema(format = "date-time", example = "2026-11-21T09:30:01.000Z")]
    ringing_at: Option<String>,
    /// When it was answered.
    #[schema(format = "date-time", example = "2026-11-21T09:30:05.000Z")]
    answered_at: Option<String>,
    /// When it was over.
    #[schema(format = "date-time", example = "2026-11-21T09:30:25.000Z")]
    ended_at: Option<String>,
    /// Whole seconds from the answer to the end; null if the end was not seen.
    #[schema(example = 20)]
    duration: Option<u64>,
    /// Why it failed, if it did. New reasons may be added.
    failure_reason: Option<&'static str>,
    /// Why it waited in the queue, if a bridge took it and could call nobody. New reasons may be
    /// added.
    waiting_reason: Option<&'static str>,
    /// The Q.850 cause of its end.
    #[schema(example = 16)]
    hangup_cause: Option<u16>,
    /// The SIP code of its end, if it was refused over SIP.
    sip_code: Option<u16>,
    /// Always 1: a call is dialled once.
    #[schema(example = 1)]
    attempt_number: u32,
    /// Always 1.
    #[schema(example = 1)]
    max_attempts: u32,
    /// Whether it is not over yet.
    is_active: bool,
    /// Whether it is over.
    is_completed: bool,
}

impl From<&Call> for CallView {
    fn from(call: &Call) -> Self {
        let request = &call.request;
        let text = |at: domain::Timestamp| at.to_string();
        Self {
            call_id: request.id.to_string(),
            phone_number: request.phone_number.to_string(),
            status: call.status.as_str(),
            channel: request.endpoint.to_string(),
            context: request.target.context.to_string(),
            extension: request.target.extension.to_string(),
            priority: request.target.priority.get(),
            caller_id: request.caller_id.as_ref().map(ToString::to_string),
            media: request
                .media
                .as_ref()
                .map(|media| media.uris().map(str::to_owned).collect()),
            created_at: request.created_at.to_string(),
            dialed_at: call.dialed_at.map(text),
            alerted_at: call.alerted_at.map(text),
            ringing_at: call.ringing_at.map(text),
            answered_at: call.answered_at.map(text),
            ended_at: call.ended_at.map(text),
            // Rounded, as a phone bill does not count a second that was hardly begun.
            duration: call
                .duration()
                .map(|duration| (duration + Duration::from_millis(500)).as_secs()),
            failure_reason: call.failure_reason.map(domain::FailureReason::as_str),
            waiting_reason: call.waiting_reason.map(domain::WaitingReason::as_str),
            hangup_cause: call.hangup_cause.map(domain::HangupCause::code),
            sip_code: call.sip_code.map(domain::SipCode::get),
            // A call is dialled once; the old service's fields are kept for its clients.
            attempt_number: 1,
            max_attempts: 1,
            is_active: !call.status.is_terminal(),
            is_completed: call.status.is_terminal(),
        }
    }
}

/// A call's timeline.
#[derive(Debug, Serialize, ToSchema)]
pub struct TimelineView {
    /// The call.
    #[schema(format = "uuid")]
    call_id: String,
    /// What happened, in order.
    events: Vec<EventView>,
}

/// Something that happened to a call.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventView {
    /// From 1.
    sequence: usize,
    /// What happened: `created`, `dialing`, `progress`, `ringing`, `answered`, `played`, `hangup_requested`, `ended`.
    #[schema(example = "ringing")]
    event: &'static str,
    /// By Asterisk's clock, if Asterisk said so.
    #[schema(format = "date-time")]
    asterisk_at: Option<String>,
    /// By ours.
    #[schema(format = "date-time")]
    recorded_at: String,
    /// How it ended, at its end.
    status: Option<&'static str>,
    /// The Q.850 cause, at its end.
    hangup_cause: Option<u16>,
    /// The SIP code, at its end.
    sip_code: Option<u16>,
}

impl From<&Call> for TimelineView {
    fn from(call: &Call) -> Self {
        let events = call.timeline.iter().enumerate().map(|(index, entry)| {
            // How it ended is known of the end only.
            let end = (entry.kind == TimelineKind::Ended).then_some(call);
            EventView {
                sequence: index + 1,
                event: entry.kind.as_str(),
                asterisk_at: entry.asterisk_at.map(|at| at.to_string()),
                recorded_at: entry.recorded_at.to_string(),
                status: end.map(|call| call.status.as_str()),
                hangup_cause: end.and_then(|call| Some(call.hangup_cause?.code())),
                sip_code: end.and_then(|call| Some(call.sip_code?.get())),
            }
        });
        Self {
            call_id: call.request.id.to_string(),
            events: events.collect(),
        }
    }
}
