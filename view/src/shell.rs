//! For shells.

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
