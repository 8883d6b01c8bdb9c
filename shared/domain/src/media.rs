//! What an answered call hears when no dialplan takes it on.

use std::fmt;
use std::str::FromStr;

/// Most sounds of one call.
pub const MAX_MEDIA: usize = 16;
/// Longest media URI, in bytes.
pub const MAX_MEDIA_URI: usize = 128;

/// One sound as ARI plays it: `sound:` and a file below Asterisk's sounds without its
/// suffix, `tone:` and an indication, or `digits:` to be read out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaUri(String);

/// What is played to the callee, in this order, before we hang up: 1 to [`MAX_MEDIA`] sounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media(Vec<MediaUri>);

/// The text is not a media URI that we play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be sound:NAME (letters, digits, '/', '-', '_', '.', not beginning with '/' or '.'), tone:NAME \
     or digits:DIGITS, at most {MAX_MEDIA_URI} bytes"
)]
pub struct InvalidMediaUri;

/// Not a list of sounds that we play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMedia {
    /// None at all, or too many.
    #[error("must be 1 to {MAX_MEDIA} media URIs")]
    Number,
    /// One of them is wrong.
    #[error(transparent)]
    Uri(#[from] InvalidMediaUri),
}

impl Media {
    /// Takes sounds, if all of them are allowed.
    ///
    /// # Errors
    /// The first rule that one of them breaks.
    pub fn new<T: AsRef<str>>(uris: &[T]) -> Result<Self, InvalidMedia> {
        if !(1..=MAX_MEDIA).contains(&uris.len()) {
            return Err(InvalidMedia::Number);
        }
        let uris: Result<_, InvalidMediaUri> =
            uris.iter().map(|uri| uri.as_ref().parse()).collect();
        Ok(Self(uris?))
    }

    /// The sounds as text, in order.
    pub fn uris(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|MediaUri(uri)| uri.as_str())
    }
}

impl fmt::Display for MediaUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for MediaUri {
    type Err = InvalidMediaUri;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, name) = text.split_once(':').ok_or(InvalidMediaUri)?;
        let allowed = match scheme {
            // Plain components only: nothing leads out of the folder of sounds.
            "sound" => name.split('/').all(|part| {
                !part.is_empty()
                    && !part.starts_with('.')
                    && part
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
            }),
            "tone" => {
                !name.is_empty()
                    && name
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            }
            "digits" => {
                !name.is_empty()
                    && name
                        .bytes()
                        .all(|b| b.is_ascii_digit() || matches!(b, b'*' | b'#'))
            }
            _ => false,
        };
        if allowed && text.len() <= MAX_MEDIA_URI {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidMediaUri)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sounds_tones_and_digits_are_played() {
        for uri in [
            "sound:hello-world",
            "sound:custom/reminder_2.v1",
            "tone:busy",
            "digits:0042*#",
        ] {
            assert_eq!(uri.parse::<MediaUri>().unwrap().to_string(), uri);
        }
    }

    #[test]
    fn nothing_that_leads_elsewhere_is_played() {
        for uri in [
            "",
            "hello",
            "sound:",
            "sound:/etc/passwd",
            "sound:../x",
            "sound:a//b",
            "sound:a,sound:b",
            "sound:http://host/x",
            "recording:x",
            "digits:12a",
            "tone:ring;tonezone=us",
            "sound:é",
            &format!("sound:{}", "x".repeat(MAX_MEDIA_URI)),
        ] {
            assert_eq!(uri.parse::<MediaUri>(), Err(InvalidMediaUri), "{uri}");
        }
        assert_eq!(Media::new::<&str>(&[]), Err(InvalidMedia::Number));
        assert_eq!(
            Media::new(&["tone:busy"; MAX_MEDIA + 1]),
            Err(InvalidMedia::Number)
        );
    }
}
