//! The simulator's dialplan.
//!
//! | context | what it has |
//! |---|---|
//! | `nowhere`, `missing…` | nothing |
//! | `outbound-ivr` | `s` with priorities 1 to 3: a short IVR; each number with priority 1: a callee |
//! | `bridged…` | each extension dials a second phone and bridges the call with it |
//! | `nohangup` | callees behind a `Dial` that no `Hangup` follows |
//! | any other | every extension and priority: the same IVR, and the same callees |
//!
//! An extension whose name begins with `missing` exists nowhere.

use std::time::Duration;

/// How long an answered call stays in the IVR.
const IVR_FOR: Duration = Duration::from_secs(2);
/// Whom `bridged` dials when its extension is no number: a phone that rings and answers.
const SECOND_PHONE: &str = "15550000200";

/// What happens to a call that is sent into the dialplan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// The extension does not exist: the call ends at once.
    Missing,
    /// An IVR that hangs up after this long.
    Ivr(Duration),
    /// A second phone is dialled, and the call bridged with it.
    SecondLeg {
        /// The number that is dialled.
        number: String,
    },
}

/// Whether a context has an extension with this priority, as `DIALPLAN_EXISTS` tells.
#[must_use]
pub fn exists(context: &str, extension: &str, priority: u32) -> bool {
    if context == "nowhere" || context.starts_with("missing") || extension.starts_with("missing") {
        return false;
    }
    if context.is_empty() || extension.is_empty() || priority == 0 {
        return false;
    }
    match (context, extension) {
        ("outbound-ivr", "s") => priority <= 3,
        ("outbound-ivr", _) => is_number(extension) && priority == 1,
        _ => true,
    }
}

/// Where a call goes that is continued there.
#[must_use]
pub fn route(context: &str, extension: &str, priority: u32) -> Route {
    if !exists(context, extension, priority) {
        return Route::Missing;
    }
    if context.starts_with("bridged") {
        let number = if is_number(extension) {
            extension
        } else {
            SECOND_PHONE
        };
        return Route::SecondLeg {
            number: number.to_owned(),
        };
    }
    Route::Ivr(IVR_FOR)
}

/// Whether the context ends after its `Dial` without a `Hangup` that hands the cause on.
#[must_use]
pub fn ends_without_hangup(context: &str) -> bool {
    context == "nohangup"
}

fn is_number(extension: &str) -> bool {
    let digits = extension.strip_prefix('+').unwrap_or(extension);
    digits.len() > 1 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exists_and_what_does_not() {
        for (context, extension, priority, expected) in [
            ("outbound-ivr", "s", 1, true),
            ("outbound-ivr", "s", 3, true),
            ("outbound-ivr", "s", 4, false),
            ("outbound-ivr", "s", 0, false),
            ("outbound-ivr", "t", 1, false),
            ("outbound-ivr", "+15550000200", 1, true),
            ("outbound-ivr", "+15550000200", 2, false),
            ("nowhere", "s", 1, false),
            ("missing-context", "s", 1, false),
            ("sales", "missing", 1, false),
            ("sales", "100", 7, true),
            ("bridged", "s", 1, true),
            ("", "s", 1, false),
            ("sales", "", 1, false),
        ] {
            let told = exists(context, extension, priority);
            assert_eq!(told, expected, "{context},{extension},{priority}");
        }
    }

    #[test]
    fn a_bridged_call_goes_to_the_number_of_its_extension() {
        let leg = |number: &str| Route::SecondLeg {
            number: number.to_owned(),
        };
        assert_eq!(route("bridged", "15550000201", 1), leg("15550000201"));
        assert_eq!(route("bridged", "s", 1), leg(SECOND_PHONE));
        assert_eq!(route("bridged", "missing", 1), Route::Missing);
        assert_eq!(route("outbound-ivr", "s", 1), Route::Ivr(IVR_FOR));
    }
}
