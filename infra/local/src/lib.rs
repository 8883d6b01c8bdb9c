//! The whole system in one process on one machine: for trying it out, and for tests.
//!
//! `DynamoDB` and SQS are embedded servers on loopback, so that the code above them is the
//! AWS SDK's, the same as in production. [`system::System`] is everything together.

pub mod embedded;
mod environment;
pub mod random;
mod secret_file;
pub mod settings;
pub mod system;

pub use embedded::Embedded;
pub use settings::LocalSettings;
pub use system::{System, SystemError};
