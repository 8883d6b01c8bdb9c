//! The production code of the bridge and of the functions, in a simulated world.
//!
//! The programs are the real ones: `bridge::Bridge` with its pollers, call tasks and reconciler, the functions'
//! placing and ending of calls, the sweeper. Simulated are time, the tables, the queues, and Asterisk with its
//! phones ([`world`]). Everything that is drawn comes from one seed, so that a seed replays exactly.

pub mod outside;
pub mod plan;
pub mod process;
pub mod queue;
pub mod run;
pub mod switch;
pub mod table;
pub mod witness;
pub mod world;

pub use run::{Outcome, run, run_plan};
