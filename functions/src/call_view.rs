//! A call as clients see it.

use std::time::Duration;

use domain::{Call, TimelineKind};
use serde::Serialize;

/// The answer to a request for a call's status.
#[derive(Debug, Serialize)]
pub struct CallView {
    call_id: String,
    phone_number: String,
    status: &'static str,
    channel: String,
    context: String,
    extension: String,
    priority: u32,
    caller_id: Option<String>,
    media: Option<Vec<String>>,
    created_at: String,
    dialed_at: Option<String>,
    ringing_at: Option<String>,
    answered_at: Option<String>,
    ended_at: Option<String>,
    /// Whole seconds from the answer to the end.
    duration: Option<u64>,
    failure_reason: Option<&'static str>,
    hangup_cause: Option<u16>,
    sip_code: Option<u16>,
    attempt_number: u32,
    max_attempts: u32,
    is_active: bool,
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
            ringing_at: call.ringing_at.map(text),
            answered_at: call.answered_at.map(text),
            ended_at: call.ended_at.map(text),
            // Rounded, as a phone bill does not count a second that was hardly begun.
            duration: call
                .duration()
                .map(|duration| (duration + Duration::from_millis(500)).as_secs()),
            failure_reason: call.failure_reason.map(domain::FailureReason::as_str),
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

/// The answer to a request for a call's timeline.
#[derive(Debug, Serialize)]
pub struct TimelineView {
    call_id: String,
    events: Vec<EventView>,
}

#[derive(Debug, Serialize)]
struct EventView {
    /// From 1.
    sequence: usize,
    event: &'static str,
    /// By Asterisk's clock, if Asterisk said so.
    asterisk_at: Option<String>,
    /// By ours.
    recorded_at: String,
    status: Option<&'static str>,
    hangup_cause: Option<u16>,
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
