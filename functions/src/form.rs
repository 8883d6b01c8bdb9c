//! Forms: the two ways in which a browser or a client library sends one.
//!
//! The reader of `multipart/form-data` is our own, because the crate for it (`multer`) brings the
//! tables of all character sets along. A form for a token is small and in memory anyway.

use serde::de::DeserializeOwned;

/// Most fields of a form that are read.
const MAX_PARTS: usize = 16;
/// Longest boundary (RFC 2046, section 5.1.1), in bytes.
const MAX_BOUNDARY: usize = 70;

/// Why a form was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotRead {
    /// It is no form by its content type.
    OtherType,
    /// It breaks the rules of its type, or one of its known fields is there twice.
    Malformed,
}

/// Reads a form into `T`. Fields that `T` does not know are passed over.
///
/// # Errors
/// [`NotRead`].
pub fn read<T: DeserializeOwned>(content_type: &str, body: &[u8]) -> Result<T, NotRead> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return serde_urlencoded::from_bytes(body).map_err(|_| NotRead::Malformed);
    }
    if !essence.eq_ignore_ascii_case("multipart/form-data") {
        return Err(NotRead::OtherType);
    }
    let parts = std::str::from_utf8(body)
        .ok()
        .and_then(|body| parts(&parameter(content_type, "boundary")?, body))
        .ok_or(NotRead::Malformed)?;
    // Written as the other kind of form, its fields are read by the same rules.
    let encoded = serde_urlencoded::to_string(parts).map_err(|_| NotRead::Malformed)?;
    serde_urlencoded::from_str(&encoded).map_err(|_| NotRead::Malformed)
}

/// The fields of a `multipart/form-data` body (RFC 7578); files are left out. `None` if it is
/// malformed or has too many parts.
fn parts<'a>(boundary: &str, body: &'a str) -> Option<Vec<(String, &'a str)>> {
    if boundary.is_empty() || boundary.len() > MAX_BOUNDARY {
        return None;
    }
    // The line break before a delimiter belongs to it. The first delimiter may have none.
    let first = format!("--{boundary}");
    let delimiter = format!("\r\n{first}");
    let begin = if body.starts_with(&first) {
        first.len()
    } else {
        body.find(&delimiter)? + delimiter.len()
    };
    let mut rest = &body[begin..];
    let mut fields = Vec::new();
    for _ in 0..=MAX_PARTS {
        if rest.starts_with("--") {
            return Some(fields);
        }
        let line_end = rest.find("\r\n")?;
        if !rest[..line_end].bytes().all(|b| matches!(b, b' ' | b'\t')) {
            return None;
        }
        // The line break stays: a part without headers begins with the empty line.
        let (part, after) = rest[line_end..].split_once(delimiter.as_str())?;
        let (headers, value) = part.split_once("\r\n\r\n")?;
        fields.extend(field_name(headers)?.map(|name| (name, value)));
        rest = after;
    }
    None
}

/// The name of a part from its headers; `Some(None)` if it is a file.
#[expect(
    clippy::option_option,
    reason = "a part can be malformed, nameless by design, or named"
)]
fn field_name(headers: &str) -> Option<Option<String>> {
    let disposition = headers.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim()
            .eq_ignore_ascii_case("content-disposition")
            .then_some(value)
    })?;
    if parameter(disposition, "filename").is_some() {
        return Some(None);
    }
    parameter(disposition, "name").map(Some)
}

/// A parameter of a header such as `form-data; name="username"`.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (value, next) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"')?;
                (value, after.split_once(';').map(|(_, next)| next))
            }
            None => match after.split_once(';') {
                Some((value, next)) => (value.trim(), Some(next)),
                None => (after.trim(), None),
            },
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value.to_owned());
        }
        rest = next?;
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Login {
        username: Option<String>,
        password: Option<String>,
    }

    fn login(username: &str, password: &str) -> Login {
        Login {
            username: Some(username.to_owned()),
            password: Some(password.to_owned()),
        }
    }

    fn multipart(body: &str) -> Result<Login, NotRead> {
        read("multipart/form-data; boundary=xyz", body.as_bytes())
    }

    const TWO: &str = "--xyz\r\nContent-Disposition: form-data; name=\"username\"\r\n\r\nalice\r\n\
        --xyz\r\ncontent-disposition: form-data; name=password\r\nContent-Type: text/plain\r\n\r\n\
        a=b&c\r\n--y \r\n\r\n--xyz--\r\n";

    #[test]
    fn both_kinds_of_form_say_the_same() {
        let wanted = Ok(login("alice", "a=b&c\r\n--y \r\n"));
        let encoded = b"username=alice&password=a%3Db%26c%0d%0a--y+%0d%0a&client_id=x&client_id=y";
        let kind = "Application/X-WWW-Form-Urlencoded; charset=utf-8";
        assert_eq!(read(kind, encoded), wanted);
        assert_eq!(multipart(TWO), wanted);
        let quoted = "multipart/form-data; charset=utf-8; boundary=\"xyz\"; x=y";
        assert_eq!(read(quoted, TWO.as_bytes()), wanted);
        let preamble = format!("hello\r\n{TWO}goodbye");
        assert_eq!(multipart(&preamble), wanted);
        let padded = TWO.replace("--xyz\r\n", "--xyz \t\r\n");
        assert_eq!(multipart(&padded), wanted);
    }

    #[test]
    fn what_is_not_known_is_passed_over_and_a_file_is_no_field() {
        let more = TWO.replace(
            "--xyz--",
            "--xyz\r\nContent-Disposition: form-data; name=\"client_id\"\r\n\r\n\r\n\
             --xyz\r\nContent-Disposition: form-data; name=\"password\"; filename=\"p\"\r\n\r\nx\r\n--xyz--",
        );
        assert_eq!(multipart(&more), multipart(TWO));
        let empty = Login {
            username: None,
            password: None,
        };
        assert_eq!(multipart("--xyz--"), Ok(empty));
    }

    #[test]
    fn what_is_malformed_is_refused_wherever_it_breaks_off() {
        let last = TWO.find("--xyz--").unwrap() + "--xyz--".len();
        for end in 0..last {
            assert_eq!(multipart(&TWO[..end]), Err(NotRead::Malformed), "{end}");
        }
        let twice = TWO.replace("name=password", "name=username");
        assert_eq!(multipart(&twice), Err(NotRead::Malformed));
        let longer = TWO.replace("--xyz--", "--xyzz\r\n\r\n--xyz--");
        assert_eq!(multipart(&longer), Err(NotRead::Malformed));
        let part = "--xyz\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n1\r\n";
        let many = format!("{}--xyz--", part.repeat(MAX_PARTS));
        assert!(multipart(&many).is_ok());
        let too_many = format!("{}--xyz--", part.repeat(MAX_PARTS + 1));
        assert_eq!(multipart(&too_many), Err(NotRead::Malformed));
        for kind in ["multipart/form-data", "multipart/form-data; boundary="] {
            assert_eq!(read::<Login>(kind, TWO.as_bytes()), Err(NotRead::Malformed));
        }
        let not_text =
            b"--xyz\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\xff\r\n--xyz--";
        let kind = "multipart/form-data; boundary=xyz";
        assert_eq!(read::<Login>(kind, not_text), Err(NotRead::Malformed));
        for kind in ["", "application/json", "multipart/mixed; boundary=xyz"] {
            assert_eq!(read::<Login>(kind, TWO.as_bytes()), Err(NotRead::OtherType));
        }
    }
}
