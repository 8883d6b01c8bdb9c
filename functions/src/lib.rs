//! The HTTP API: routes, handlers and errors.
//!
//! Each Lambda function is a thin binary around one of the routers in [`router`]; on one
//! machine they are merged into one. Functions are split by what they may touch.

pub mod access;
pub mod allowance;
pub mod answer;
pub mod call_view;
pub mod client_address;
pub mod control;
pub mod create_answers;
pub mod cursor;
pub mod docs;
pub mod embedded_metrics;
pub mod ending;
pub mod event;
pub mod form;
pub mod guard;
pub mod health;
pub mod hs256;
pub mod idempotency;
pub mod jwt;
pub mod key_rotation;
pub mod lambda;
pub mod list;
pub mod login;
pub mod openapi;
pub mod originate;
pub mod payload;
pub mod placing;
pub mod problem;
pub mod query;
pub mod request_id;
pub mod router;
pub mod settings;
pub mod slashes;
pub mod standings;
pub mod status;
pub mod sweeper;
pub mod sweeper_metrics;
pub mod system;
pub mod token;
pub mod unknown;
pub mod warm_up;
