//! Every environment variable this program reads, in one place.

use std::{env, path::PathBuf};

/// Where everything is kept, instead of the platform's data folder.
pub(crate) const HOME: &str = "SYMBOLON_HOME";

/// The identity to use.
pub(crate) const AS: &str = "SYMBOLON_AS";

/// Which ledger to use, as a ticket.
pub(crate) const LEDGER: &str = "SYMBOLON_LEDGER";

/// The congestion control: `bbr3` or `cubic`.
pub(crate) const CONGESTION: &str = "SYMBOLON_CONGESTION";

/// How log lines are written: `text` or `json`.
pub(crate) const LOG_FORMAT: &str = "SYMBOLON_LOG_FORMAT";

/// A file whose first line is the passphrase, for use without a terminal.
pub(crate) const PASSPHRASE_FILE: &str = "SYMBOLON_PASSPHRASE_FILE";

/// What is logged, as `tracing` filter directives, for example `symbolon_node=debug`.
const LOG: &str = "SYMBOLON_LOG";

/// Asks for text without colours when not empty: <https://no-color.org>.
const NO_COLOR: &str = "NO_COLOR";

/// The file named by [`PASSPHRASE_FILE`].
pub(crate) fn passphrase_file() -> Option<PathBuf> {
    env::var_os(PASSPHRASE_FILE).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The filter in [`LOG`].
pub(crate) fn log_filter() -> Option<String> {
    env::var(LOG).ok().filter(|value| !value.is_empty())
}

/// Whether colours are unwanted.
pub(crate) fn no_colour() -> bool {
    env::var_os(NO_COLOR).is_some_and(|value| !value.is_empty())
}
