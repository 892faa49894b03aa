//! Reports on a running operation, for programs that show them.

use std::{fmt, sync::Arc};

use symbolon_protocol::{id::NodeId, session::NodeFault};

/// What an operation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaited {
    /// Receipts of nodes that have a shard or are being sent one.
    Receipts,
    /// Bytes that nodes were asked for.
    Bytes,
    /// The ledger's answer to a transaction.
    Ledger,
    /// Releases of a key by custodians.
    Custodians,
}

/// The nodes that an operation waits for, and how many have answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What they are asked for.
    pub what: Awaited,
    /// The nodes that have not answered yet, as far as they are known.
    pub nodes: Vec<NodeId>,
    /// Number of nodes that have answered.
    pub done: u32,
    /// Number of nodes that are needed or were asked.
    pub of: u32,
}

/// A step of a long operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Step {
    /// The bytes of user data to move, if their number is known.
    Planned {
        /// Bytes of user data.
        total_bytes: Option<u64>,
    },
    /// Further bytes of user data that an earlier run of the same operation had done.
    Kept {
        /// Number of further bytes.
        bytes: u64,
    },
    /// Further bytes of user data that are done: sent to as many nodes as needed, read and
    /// verified, or written to the sink.
    Moved {
        /// Number of further bytes.
        bytes: u64,
    },
    /// What the operation waits for from now on. It replaces the last step of this kind.
    Waiting(Wait),
    /// A node failed, and other nodes made up for it.
    Fault {
        /// The node.
        node: NodeId,
        /// The index of the requested shard.
        index: u8,
        /// The node's fault.
        fault: NodeFault,
    },
    /// A note for the user.
    Note(String),
}

/// The receiver of steps. Clones are cheap.
#[derive(Clone)]
pub struct Progress {
    report: Option<Arc<dyn Fn(Step) + Send + Sync>>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("silent", &self.report.is_none()).finish()
    }
}

impl Progress {
    /// A receiver that ignores all steps.
    #[must_use]
    pub fn silent() -> Self {
        Self { report: None }
    }

    /// A receiver that calls `report` with each step.
    #[must_use]
    pub fn new(report: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self { report: Some(Arc::new(report)) }
    }

    /// Whether steps are received. If not, the caller need not prepare costly ones.
    #[must_use]
    pub fn is_received(&self) -> bool {
        self.report.is_some()
    }

    /// Reports a step.
    pub fn step(&self, step: Step) {
        if let Some(report) = &self.report {
            report(step);
        }
    }

    /// Reports a note for the user.
    pub fn note(&self, text: impl Into<String>) {
        self.step(Step::Note(text.into()));
    }
}
