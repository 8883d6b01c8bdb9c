//! What the end-to-end tests stand on: a PBX (a real Asterisk, or the simulator), the system
//! around it, and a client of its API.
//!
//! Panics are how tests fail, so this crate is allowed them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc
)]

pub mod access_log;
pub mod acts;
pub mod asterisk;
pub mod browser;
pub mod callees;
pub mod client;
pub mod filter_pattern;
pub mod footprint;
pub mod gateway;
pub mod ledger;
pub mod pbx;
pub mod phone;
pub mod ports;
pub mod program;
pub mod proxy;
pub mod released;
pub mod request_table;
pub mod runtime_api;
pub mod secrets_manager;
pub mod spellings;
pub mod tap;
pub mod tls;
pub mod wire;
pub mod world;

pub use client::Client;
pub use pbx::{Own, Pbx};
pub use phone::Phone;
pub use world::{Line, World};
