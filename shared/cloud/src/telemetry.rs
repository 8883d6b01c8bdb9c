//! Logs: events with fields, one line each, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::settings::Reader;

/// How much is logged.
#[derive(Clone, Debug)]
pub struct LogSettings {
    filter: String,
}

const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

impl LogSettings {
    /// Reads `LOG_LEVEL` and `DEBUG`.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let debug = reader.flag("DEBUG", false);
        let level = reader.text("LOG_LEVEL").map_or_else(
            || if debug { "debug" } else { "info" }.to_owned(),
            |level| level.to_ascii_lowercase(),
        );
        // The names of the service this replaces are Python's.
        let level = match level.as_str() {
            "warning" => "warn",
            "critical" => "error",
            level => level,
        };
        if !LEVELS.contains(&level) {
            reader.reject("LOG_LEVEL", "must be trace, debug, info, warning or error");
        }
        // What lies below us logs whole requests on its lower levels, secrets included.
        let below = if matches!(level, "error") {
            "error"
        } else {
            "warn"
        };
        let ours = ["bridge", "cloud", "functions", "local", "simulator"]
            .map(|name| format!("{name}={level}"))
            .join(",");
        Self {
            filter: format!("{below},{ours}"),
        }
    }
}

/// Starts logging: for people on a terminal, JSON elsewhere.
///
/// # Errors
/// If the process logs already.
pub fn start(settings: &LogSettings) -> Result<(), TryInitError> {
    let registry = tracing_subscriber::registry().with(EnvFilter::new(&settings.filter));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        registry.with(layer).try_init()
    } else {
        registry
            .with(
                layer
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false),
            )
            .try_init()
    }
}
