//! The pure core: what a call is, how it moves from status to status, and the
//! protocol that originates it exactly once.
//!
//! Nothing here does I/O, reads a clock, draws a random number or looks at the
//! environment. Time and everything that happened outside come in as arguments;
//! what to do next goes out as values. The functions, the bridge and the tests
//! run the same code.

pub mod asterisk_variables;
pub mod call;
pub mod caller_id;
pub mod dialplan;
pub mod endings;
pub mod endpoint;
pub mod hangup;
pub mod ids;
pub mod media;
pub mod message;
pub mod origination;
pub mod outcome;
pub mod phone_number;
pub mod reconciliation;
pub mod rules;
mod text;
pub mod timestamp;
pub mod transition;
pub mod variables;
pub mod waiting;

pub use call::{Call, CallRequest, CallStatus, TimelineEntry, TimelineKind};
pub use caller_id::CallerId;
pub use dialplan::{Context, DialplanTarget, Extension, Priority};
pub use endpoint::{Endpoint, EndpointTemplate};
pub use hangup::{Ending, HangupCause, SipCode};
pub use ids::{AttemptId, BridgeId, CallId, ClaimId};
pub use media::Media;
pub use message::{ControlMessage, QueueMessage};
pub use outcome::{Dialled, FailureReason};
pub use phone_number::{AllowedNumbers, PhoneNumber};
pub use timestamp::Timestamp;
pub use transition::{CallEvent, Effect, HangupOrigin, Heard, When};
pub use variables::{AllowedVariables, Variables};
pub use waiting::WaitingReason;
