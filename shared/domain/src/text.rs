//! Which characters a text of a request may hold.

/// Whether this character reaches Asterisk as it was sent.
///
/// Control characters could end a line or a header. SQS refuses a message that holds a
/// character outside XML 1.0 (section 2.2); besides control characters, that is U+FFFE and
/// U+FFFF. `DynamoDB` carries every character that a Rust string can hold.
pub fn is_carried(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_sqs_refuses_is_refused() {
        // As the reference of SQS says for SendMessage.
        let sqs_takes = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
        for c in '\0'..=char::MAX {
            assert!(sqs_takes(c) || !is_carried(c), "U+{:04X}", u32::from(c));
        }
        for c in ['a', 'ë', '\u{fffd}', '\u{1ffff}', '😀'] {
            assert!(is_carried(c), "U+{:04X}", u32::from(c));
        }
    }
}
