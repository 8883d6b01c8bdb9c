//! Samples, and what is said about them.

use std::fmt::Write;
use std::time::Duration;

/// Durations of one thing.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Adds one.
    pub fn add(&mut self, sample: Duration) {
        self.0.push(sample);
    }

    /// The sample that so many in a hundred do not exceed.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// The one in the middle.
    pub fn median(&self) -> Duration {
        self.percentile(50)
    }
}

/// How many times longer one is than another.
pub fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// In milliseconds.
pub fn ms(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    let digits = if millis < 10.0 { 2 } else { 1 };
    format!("{millis:.digits$} ms")
}

/// Whether what was to be reached is.
pub fn verdict(reached: bool) -> &'static str {
    if reached { "yes" } else { "**no**" }
}

/// A table, in Markdown.
pub struct Table {
    text: String,
}

impl Table {
    /// Begins one.
    pub fn new(columns: &[&str]) -> Self {
        let mut table = Self {
            text: String::new(),
        };
        table.row(columns);
        let rule: Vec<_> = columns.iter().map(|_| "---").collect();
        table.row(&rule);
        table
    }

    /// Adds a row.
    pub fn row<T: AsRef<str>>(&mut self, cells: &[T]) {
        let cells: Vec<_> = cells.iter().map(AsRef::as_ref).collect();
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "| {} |", cells.join(" | "));
    }

    /// Prints it.
    pub fn print(&self) {
        println!("{}", self.text);
    }
}
