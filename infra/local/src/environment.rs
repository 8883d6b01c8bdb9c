//! The file `environment` in the data folder: what other programs on this machine need to work on
//! a running system, such as `cargo lambda watch` and `admin`.

use std::io;
use std::path::Path;

use cloud::Secret;

use crate::embedded::{Embedded, STATE_TABLE, USERS_TABLE};
use crate::secret_file;

/// Writes the file at `path` for a system that has just been started, over that of an earlier start, readable by its owner only. `key`
/// is what tokens are signed with, if it was made here; one that was given stays where it came from.
///
/// # Errors
/// The system's.
pub(crate) fn keep(
    path: &Path,
    embedded: &Embedded,
    calls_table: &str,
    key: Option<&Secret>,
) -> io::Result<()> {
    let mut settings = vec![
        ("AWS_ENDPOINT_URL_DYNAMODB", embedded.dynamodb_url()),
        ("AWS_ENDPOINT_URL_SQS", embedded.sqs_url()),
        // The embedded servers take any, and AWS's SDKs want some.
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
        ("CALLS_TABLE", calls_table),
        ("USERS_TABLE", USERS_TABLE),
        ("STATE_TABLE", STATE_TABLE),
        ("CALLS_QUEUE_URL", &embedded.calls_queue_url),
        ("DEAD_LETTER_QUEUE_URL", &embedded.dead_letter_queue_url),
        (
            "CONTROL_QUEUE_URL_PREFIX",
            &embedded.control_queue_url_prefix,
        ),
    ];
    settings.extend(key.map(|key| ("SECRET_KEY", key.expose())));
    let lines: Vec<_> = settings
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    secret_file::write(path, &(lines.join("\n") + "\n"))
}
