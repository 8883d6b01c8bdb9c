//! The Q.850 cause that Asterisk makes of a SIP code, as measured.

/// The cause of a call that was refused with this SIP code.
#[must_use]
pub const fn cause_of(sip_code: u16) -> u16 {
    match sip_code {
        404 | 485 | 604 => 1,
        420 => 3,
        486 | 600 => 17,
        408 => 18,
        480 | 483 => 19,
        401 | 403 | 407 | 603 => 21,
        410 => 22,
        302 => 23,
        502 => 27,
        484 => 28,
        501 => 29,
        503 | 513 => 34,
        500 => 38,
        409 => 41,
        488 | 606 => 58,
        504 => 102,
        300..=399 => 16,
        _ => 127,
    }
}
