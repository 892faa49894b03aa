//! Upload and reading as pure procedures: they decide the next step without a socket, disk or clock.
//!
//! The contract is the same for every session. The driver calls `handle(now_ms, input)` once for each
//! event, then takes outputs with `poll()` until there are none, and carries them out. It calls `handle`
//! again when one of them ends or when `deadline()` passes. A session never waits and never fails silently:
//! it ends with exactly one final output. With each input, the driver lends a reading session its knowledge
//! of the nodes: their [`standing`](standing::Standing) outlives the session.

pub mod read;
pub mod standing;
pub mod upload;

use crate::{choice, wire::storage::RefusalCode};

choice! {
    /// What a node did wrong, as the asking party sees it.
    #[derive(Copy, PartialOrd, Ord)]
    pub enum NodeFault {
        /// No connection, or the connection broke.
        Offline = 1,
        /// It answered too late.
        Slow = 2,
        /// It refused the request.
        Refused = 3 {
            /// With this code.
            code: RefusalCode,
        },
        /// It sent bytes that differ from what the ledger says it holds.
        Corrupt = 4,
        /// Its answer does not fit the request, or has a false signature.
        Confused = 5,
    }
}

impl NodeFault {
    /// Whether asking the same node again soon may help.
    #[must_use]
    pub fn transient(self) -> bool {
        matches!(self, Self::Slow | Self::Refused { code: RefusalCode::Busy })
    }
}

impl core::fmt::Display for NodeFault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Offline => f.write_str("offline"),
            Self::Slow => f.write_str("too slow"),
            Self::Refused { code } => write!(f, "refused: {code:?}"),
            Self::Corrupt => f.write_str("sent corrupt bytes"),
            Self::Confused => f.write_str("gave a false answer"),
        }
    }
}
