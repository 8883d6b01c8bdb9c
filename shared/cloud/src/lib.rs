//! What the functions and the bridge share of the outside: the tables, the queue, the
//! configuration and the logs. `DynamoDB` and SQS are used through their SDK everywhere; on one machine
//! and in tests embedded servers answer it.

pub mod accounts;
pub mod aws;
pub mod aws_date;
mod batch;
pub mod call_item;
pub mod calls;
pub mod clock;
pub mod control;
pub mod daily_calls;
pub mod dead_letters;
pub mod error;
pub mod heartbeats;
pub mod kept_keys;
pub mod lease;
pub mod listing;
pub mod logins;
pub mod password;
pub mod pause;
pub mod ports;
pub mod queue;
pub mod rate_limit;
pub mod roots;
pub mod scope;
pub mod secret;
pub mod settings;
pub mod standing;
pub mod tables;
pub mod telemetry;
pub mod trial;
pub mod users;

pub use accounts::Accounts;
pub use calls::CallStore;
pub use clock::Clock;
pub use control::ControlQueues;
pub use dead_letters::DeadLetters;
pub use error::StoreError;
pub use heartbeats::{Heartbeat, Heartbeats};
pub use queue::CallQueue;
pub use scope::Scope;
pub use secret::Secret;
pub use standing::{Standing, StandingStore};
pub use users::UserStore;
