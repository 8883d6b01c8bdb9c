//! Logs: events with fields, one line each, on standard error.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::settings::Reader;

/// How much is logged.
#[derive(Clone, Debug)]
pub struct LogSettings {
    level: LevelFilter,
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
        Self {
            level: level.parse().unwrap_or(LevelFilter::INFO),
        }
    }
}

/// Whose events are logged as far as `LOG_LEVEL` says. What lies below them logs whole requests on its lower levels,
/// secrets included.
const OURS: [&str; 5] = ["bridge", "cloud", "functions", "local", "simulator"];

/// Starts logging: for people on a terminal, JSON elsewhere.
///
/// # Errors
/// If the process logs already.
pub fn start(settings: &LogSettings) -> Result<(), TryInitError> {
    let ours = OURS.map(|name| (name, settings.level));
    let filter = Targets::new()
        .with_default(settings.level.min(LevelFilter::WARN))
        .with_targets(ours);
    let registry = tracing_subscriber::registry().with(filter);
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
