//! The number of files that this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::{Error, Kind};

/// Files of a ledger, its connections, and shards that are being written or read.
const FILES: u64 = 256;

/// Files of one more node: its store, its key, its sockets.
const FILES_OF_NODE: u64 = 6;

/// The most open files that macOS lets a process have (`OPEN_MAX`), even if it names a higher maximum.
const MACOS_FILES: u64 = 10_240;

/// Raises the limit as far as the system allows. The default of a shell (often 1,024) is for programs that use
/// `select`, and this program does not.
pub(crate) fn raise_files() {
    let limit = getrlimit(Resource::Nofile);
    for current in [limit.maximum, Some(MACOS_FILES)] {
        if setrlimit(Resource::Nofile, Rlimit { current, ..limit }).is_ok() {
            break;
        }
    }
}

/// How many files this process may have open; `None` for no limit.
pub(crate) fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Refuses to start more nodes in this process than its open files suffice for.
pub(crate) fn check_files(nodes: u32) -> Result<(), Error> {
    let needed = FILES + FILES_OF_NODE * u64::from(nodes);
    match getrlimit(Resource::Nofile).current {
        Some(allowed) if allowed < needed => {
            let message = format!(
                "{nodes} nodes in one process need {needed} open files, and the system allows {allowed}"
            );
            Err(Error::new(Kind::Usage, message)
                .hint(format!("allow {needed} with ulimit, or start fewer nodes")))
        }
        _ => Ok(()),
    }
}
