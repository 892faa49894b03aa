//! What is going on, for whoever wants to show it.

use std::{fmt, sync::Arc};

use symbolon_protocol::{id::NodeId, session::NodeFault};

/// What an operation waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Awaited {
    /// Nodes that have a shard, or are being sent one, and have not signed for it.
    Receipts,
    /// Nodes that were asked for bytes.
    Bytes,
    /// The ledger, to write something down.
    Ledger,
    /// Custodians, to release a key.
    Custodians,
}

/// Whom an operation waits for, and how far it has come with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// For what.
    pub what: Awaited,
    /// The nodes that are still to do it, as far as they are known.
    pub nodes: Vec<NodeId>,
    /// How many have done it.
    pub done: u32,
    /// How many are needed or asked.
    pub of: u32,
}

/// A step of a long operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Step {
    /// How many bytes of user data there are to move, when that is known.
    Planned {
        /// Bytes of user data.
        total_bytes: Option<u64>,
    },
    /// Bytes of user data that an earlier run of the same operation had done.
    Kept {
        /// How many more.
        bytes: u64,
    },
    /// Bytes of user data that are done: sent to as many nodes as are needed, read and verified, or
    /// written to the sink.
    Moved {
        /// How many more.
        bytes: u64,
    },
    /// Who is waited for from now on; it takes the place of the last one that was told.
    Waiting(Wait),
    /// A node did not do what it should; others did.
    Fault {
        /// Which node.
        node: NodeId,
        /// Which shard it was asked for.
        index: u8,
        /// What it did.
        fault: NodeFault,
    },
    /// Something worth telling.
    Note(String),
}

/// Where steps go. Cloning is cheap.
#[derive(Clone)]
pub struct Progress {
    tell: Option<Arc<dyn Fn(Step) + Send + Sync>>,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("silent", &self.tell.is_none()).finish()
    }
}

impl Progress {
    /// Tells nobody.
    #[must_use]
    pub fn silent() -> Self {
        Self { tell: None }
    }

    /// Tells `tell`.
    #[must_use]
    pub fn new(tell: impl Fn(Step) + Send + Sync + 'static) -> Self {
        Self { tell: Some(Arc::new(tell)) }
    }

    /// Whether anybody listens: what is costly to tell need not be put together otherwise.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.tell.is_some()
    }

    /// Tells of a step.
    pub fn step(&self, step: Step) {
        if let Some(tell) = &self.tell {
            tell(step);
        }
    }

    /// Tells something worth telling.
    pub fn note(&self, text: impl Into<String>) {
        self.step(Step::Note(text.into()));
    }
}
