//! Points at which tests kill the bridge. Not in any program that is built without the feature
//! `crash-points`, which release builds refuse.

#[cfg(all(feature = "crash-points", not(debug_assertions)))]
compile_error!("crash-points is for tests only");

/// Every point, in the order in which a call that is answered passes them.
pub const POINTS: [&str; 14] = [
    "before_create",
    "after_create",
    "after_stasis_start",
    "before_claim",
    "after_claim",
    "before_dial",
    "after_dial",
    "before_delete",
    "on_ringing",
    "on_answered",
    "before_continue",
    "after_continue",
    "on_ended",
    "after_end_written",
];

/// Ends this process as SIGKILL does, if `BRIDGE_CRASH_AT` names this point.
#[cfg(feature = "crash-points")]
pub fn point(name: &str) {
    debug_assert!(POINTS.contains(&name), "{name} is not in the list");
    if std::env::var("BRIDGE_CRASH_AT").is_ok_and(|at| at == name) {
        let id = std::process::id().to_string();
        let _ = std::process::Command::new("kill")
            .args(["-9", &id])
            .status();
        // The signal is on its way; nothing more may happen here.
        loop {
            std::thread::park();
        }
    }
}

/// Nothing.
#[cfg(not(feature = "crash-points"))]
pub const fn point(_: &str) {}
