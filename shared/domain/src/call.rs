//! The record of a call.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{
    AllowedNumbers, BridgeId, CallId, CallerId, ClaimId, DialplanTarget, Endpoint, FailureReason,
    HangupCause, HangupOrigin, Media, PhoneNumber, SipCode, Timestamp, Variables, WaitingReason,
};

/// Where a call stands: `pending → dialing → ringing → answered → completed`, and from any
/// live status `busy`, `no_answer`, `failed` or `canceled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallStatus {
    /// Recorded and queued; no bridge has it yet.
    Pending,
    /// A bridge has claimed it and dials.
    Dialing,
    /// The callee's phone rings.
    Ringing,
    /// The callee answered.
    Answered,
    /// It was answered and is over.
    Completed,
    /// The callee was on the phone.
    Busy,
    /// The phone rang, nobody answered.
    NoAnswer,
    /// It came to nothing; [`Call::failure_reason`] says why.
    Failed,
    /// The client hung up before it was answered.
    Canceled,
}

impl CallStatus {
    /// All statuses.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Dialing,
        Self::Ringing,
        Self::Answered,
        Self::Completed,
        Self::Busy,
        Self::NoAnswer,
        Self::Failed,
        Self::Canceled,
    ];

    /// The name in the API and in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Dialing => "dialing",
            Self::Ringing => "ringing",
            Self::Answered => "answered",
            Self::Completed => "completed",
            Self::Busy => "busy",
            Self::NoAnswer => "no_answer",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Whether the call is over. A call that is over never changes again.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        self.progress() == Self::TERMINAL
    }

    const TERMINAL: u8 = 4;

    /// How far along the status is; it only ever grows.
    #[must_use]
    pub const fn progress(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Dialing => 1,
            Self::Ringing => 2,
            Self::Answered => 3,
            Self::Completed | Self::Busy | Self::NoAnswer | Self::Failed | Self::Canceled => {
                Self::TERMINAL
            }
        }
    }
}

impl fmt::Display for CallStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a call status")]
pub struct UnknownCallStatus;

impl FromStr for CallStatus {
    type Err = UnknownCallStatus;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(UnknownCallStatus)
    }
}

/// What was asked for: everything about a call that never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallRequest {
    /// The call's id.
    pub id: CallId,
    /// Whom to call.
    pub phone_number: PhoneNumber,
    /// What Asterisk dials to reach that number.
    pub endpoint: Endpoint,
    /// Where the call goes on when it is answered, unless it has `media`.
    pub target: DialplanTarget,
    /// What is played instead when it is answered; then it is hung up.
    pub media: Option<Media>,
    /// How long it may ring.
    pub dial_timeout: Duration,
    /// How long it may last once it is answered, if the client says so.
    pub max_duration: Option<Duration>,
    /// Channel variables for the dialplan.
    pub variables: Variables,
    /// What the callee is shown, unless the trunk decides.
    pub caller_id: Option<CallerId>,
    /// When the request was taken.
    pub created_at: Timestamp,
    /// It is not dialled after this.
    pub dial_before: Timestamp,
    /// The `X-Request-ID` of the request that created it.
    pub request_id: String,
    /// Tells requests with the same `Idempotency-Key` apart; not on the queue.
    pub fingerprint: Option<String>,
}

/// One entry of a call's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineEntry {
    /// What happened.
    pub kind: TimelineKind,
    /// When, by Asterisk's clock, if Asterisk said so.
    pub asterisk_at: Option<Timestamp>,
    /// When we recorded it, by our clock.
    pub recorded_at: Timestamp,
}

/// What a timeline entry is about. Each happens at most once in a call, which
/// bounds the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimelineKind {
    /// The call was recorded.
    Created,
    /// A bridge claimed it.
    Dialing,
    /// Early media.
    Progress,
    /// The phone rings.
    Ringing,
    /// The callee answered.
    Answered,
    /// What was to be played has been, or could not be.
    Played,
    /// We asked Asterisk to hang up.
    HangupRequested,
    /// It is over.
    Ended,
}

impl TimelineKind {
    /// All kinds; also the most entries that a timeline can have.
    pub const ALL: [Self; 8] = [
        Self::Created,
        Self::Dialing,
        Self::Progress,
        Self::Ringing,
        Self::Answered,
        Self::Played,
        Self::HangupRequested,
        Self::Ended,
    ];

    /// The name in the API and in the record.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Dialing => "dialing",
            Self::Progress => "progress",
            Self::Ringing => "ringing",
            Self::Answered => "answered",
            Self::Played => "played",
            Self::HangupRequested => "hangup_requested",
            Self::Ended => "ended",
        }
    }
}

/// A call: the request, and everything that has become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What was asked for.
    pub request: CallRequest,
    /// Where it stands.
    pub status: CallStatus,
    /// Grows by one with each change; a stored record never goes back.
    pub sequence: u32,
    /// The bridge that has it, from the claim on.
    pub owner: Option<BridgeId>,
    /// Which attempt of that bridge claimed it.
    pub claim: Option<ClaimId>,
    /// When it must have ended, from the claim on.
    pub deadline: Option<Timestamp>,
    /// When it was claimed for dialling.
    pub dialed_at: Option<Timestamp>,
    /// When the callee was first heard of without having answered: ringing or early media.
    pub alerted_at: Option<Timestamp>,
    /// When the phone began to ring.
    pub ringing_at: Option<Timestamp>,
    /// When the callee answered.
    pub answered_at: Option<Timestamp>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// Who asked for its end, if one of us did.
    pub hangup: Option<HangupOrigin>,
    /// Why it failed, if it did.
    pub failure_reason: Option<FailureReason>,
    /// The Q.850 cause of its end, if Asterisk gave one.
    pub hangup_cause: Option<HangupCause>,
    /// The SIP code of its end, if there was one.
    pub sip_code: Option<SipCode>,
    /// Why it was given back to the queue when a bridge could call nobody, the first time.
    pub waiting_reason: Option<WaitingReason>,
    /// What happened, in order; at most one entry of each kind.
    pub timeline: Vec<TimelineEntry>,
}

/// Added to a call's dial timeout and limit: how long the hangup itself may take.
pub const DEADLINE_GRACE: Duration = Duration::from_secs(30);

impl CallRequest {
    /// Why a bridge that calls only `numbers` must not place this call, whatever took the request:
    /// the API may be of an earlier release, or configured otherwise.
    #[must_use]
    pub fn forbidden(&self, numbers: &AllowedNumbers) -> Option<FailureReason> {
        if !numbers.allow(&self.phone_number) {
            Some(FailureReason::NumberNotAllowed)
        } else if self.variables.forbidden().is_some() {
            Some(FailureReason::VariableForbidden)
        } else {
            None
        }
    }

    /// Whether a message says of whom is called, and how, what this record says. What a bridge
    /// does not read from a message may differ.
    #[must_use]
    pub fn agrees_with(&self, message: &Self) -> bool {
        let Self {
            id,
            phone_number,
            endpoint,
            target,
            media,
            dial_timeout,
            max_duration,
            variables,
            caller_id,
            created_at: _,
            dial_before: _,
            request_id: _,
            fingerprint: _,
        } = message;
        (id, phone_number, endpoint, target)
            == (&self.id, &self.phone_number, &self.endpoint, &self.target)
            && (media, variables, caller_id) == (&self.media, &self.variables, &self.caller_id)
            && (dial_timeout, max_duration) == (&self.dial_timeout, &self.max_duration)
    }

    /// How long the answered call may last, where a bridge allows `most`.
    #[must_use]
    pub fn limit(&self, most: Duration) -> Duration {
        self.max_duration.map_or(most, |asked| asked.min(most))
    }

    /// How long after the claim the call must be over, where an answered call may last `limit`.
    #[must_use]
    pub fn deadline_after(&self, limit: Duration) -> Duration {
        self.dial_timeout + limit + DEADLINE_GRACE
    }
}

impl Call {
    /// A call as it is first recorded: pending.
    #[must_use]
    pub fn new(request: CallRequest) -> Self {
        let created = TimelineEntry {
            kind: TimelineKind::Created,
            asterisk_at: None,
            recorded_at: request.created_at,
        };
        Self {
            request,
            status: CallStatus::Pending,
            sequence: 1,
            owner: None,
            claim: None,
            deadline: None,
            dialed_at: None,
            alerted_at: None,
            ringing_at: None,
            answered_at: None,
            ended_at: None,
            hangup: None,
            failure_reason: None,
            hangup_cause: None,
            sip_code: None,
            waiting_reason: None,
            timeline: vec![created],
        }
    }

    /// How long the callee was on the line: from the answer to the end. `None` if the end was not
    /// seen, because a guess would make a wrong bill.
    #[must_use]
    pub fn duration(&self) -> Option<Duration> {
        if self.status != CallStatus::Completed
            || self.failure_reason == Some(FailureReason::EndNotSeen)
        {
            return None;
        }
        Some(self.ended_at?.since(self.answered_at?))
    }

    /// The latest moment at which the answered call can have ended: its limit after the answer. The
    /// limit is what the deadline leaves of the time after the claim.
    #[must_use]
    pub fn latest_end(&self) -> Option<Timestamp> {
        let (claimed, deadline) = (self.dialed_at?, self.deadline?);
        let besides = self.request.deadline_after(Duration::ZERO);
        let limit = deadline.since(claimed).saturating_sub(besides);
        Some(self.answered_at?.plus(limit))
    }
}
