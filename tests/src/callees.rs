//! What the callees of many calls do.

/// The last three digits of a number, which choose what its callee does, and the status that it gives.
pub const MIX: [(&str, &str); 8] = [
    ("200", "completed"),
    ("486", "busy"),
    ("201", "completed"),
    ("480", "no_answer"),
    ("183", "completed"),
    ("603", "failed"),
    ("000", "no_answer"),
    ("404", "failed"),
];
