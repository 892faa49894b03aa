//! For shells.

use std::collections::BTreeMap;

use serde::Serialize;

/// A completion script for a shell.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Completions {
    /// Which shell.
    pub shell: String,
    /// The script.
    pub script: String,
}

/// A line of the log. It is no document: its fields may change at any time.
#[derive(Clone, Debug, Serialize)]
pub struct LogLine {
    /// When it was written, by the machine's clock.
    pub at_ms: u64,
    /// How much it matters: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// The part of the program that has written it.
    pub target: String,
    /// What has happened.
    pub message: String,
    /// More about it.
    pub fields: BTreeMap<String, String>,
}
