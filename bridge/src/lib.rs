//! The bridge: takes calls from the queue, originates them over ARI, follows ARI's events
//! and writes every change back.
//!
//! [`run::Bridge`] is the whole of it, for production, the local run and the tests alike. What a
//! call does next is decided in `domain`; everything here is the shell around it.

pub mod adoption;
pub mod ari;
pub mod backoff;
pub mod breaker;
pub mod call_task;
pub mod check;
pub mod circuits;
pub mod control;
pub mod crash;
pub mod deleter;
pub mod flag;
pub mod hangup;
pub mod heart;
pub mod lease;
pub mod metrics;
pub mod monitor;
pub mod outside;
pub mod pacer;
pub mod pause;
pub mod poller;
pub mod processes;
pub mod reconciler;
pub mod registry;
pub mod returning;
pub mod run;
pub mod settings;
pub mod shared;
pub mod suitability;
pub mod targets;
pub mod unsettled;

pub use outside::Outside;
pub use run::Bridge;
pub use settings::BridgeSettings;
