//! What is going on, for whoever wants to show it.

use std::{fmt, sync::Arc};

use symbolon_protocol::{id::NodeId, session::NodeFault};

/// A step of a long operation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Step {
    /// How many bytes of user data there are to move, when that is known.
    Planned {
        /// Bytes of user data.
        total_bytes: Option<u64>,
    },
    /// Bytes of user data that are done for good: synced on nodes, or written to the sink.
    Moved {
        /// How many more.
        bytes: u64,
    },
    /// The operation waits for somebody.
    Waiting {
        /// For whom, when it is a node.
        node: Option<NodeId>,
        /// For what.
        what: String,
    },
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

    pub(crate) fn step(&self, step: Step) {
        if let Some(tell) = &self.tell {
            tell(step);
        }
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        self.step(Step::Note(text.into()));
    }
}
