//! Events while a command runs.

use serde::Serialize;
use symbolon_client::{Awaited, Step, Wait};

use crate::plain::Id;

/// An event while a command runs.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Event {
    /// The progress so far.
    Progress {
        /// What is being done, for people.
        doing: String,
        /// Bytes of the file that are done.
        done: u64,
        /// Those of them that an earlier run had done.
        kept: u64,
        /// Bytes there are to do; null while that is not known.
        total: Option<u64>,
        /// Bytes per second over the last eight seconds, without those that were kept.
        rate: u64,
        /// How long the rest takes at that rate; null while that cannot be said.
        eta_ms: Option<u64>,
        /// The parties that the command waits for, if nothing has moved for a second; else null.
        waiting: Option<Waiting>,
    },
    /// A note.
    Note {
        /// The text of the note, for people.
        text: String,
    },
    /// A node did not do what it was asked for; other nodes did.
    Fault {
        /// Which node.
        node: Id,
        /// Which shard it was asked for.
        shard: u8,
        /// What it did, for people.
        fault: String,
    },
}

impl Event {
    /// What a step tells beside how far it is.
    #[must_use]
    pub fn of(step: &Step) -> Option<Self> {
        match step {
            Step::Note(text) => Some(Self::Note { text: text.clone() }),
            Step::Fault { node, index, fault } => {
                Some(Self::Fault { node: node.into(), shard: *index, fault: fault.to_string() })
            }
            _ => None,
        }
    }
}

/// The parties that the command waits for.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Waiting {
    /// What it waits for.
    pub r#for: WaitingFor,
    /// The nodes that have not done it yet, as far as they are known.
    pub nodes: Vec<Id>,
    /// How many have done it.
    pub done: u32,
    /// How many are needed or asked.
    pub of: u32,
    /// For how long nothing has moved.
    pub for_ms: u64,
}

impl Waiting {
    /// A wait that has lasted for so long.
    #[must_use]
    pub fn new(wait: &Wait, for_ms: u64) -> Self {
        let r#for = match wait.what {
            Awaited::Receipts => WaitingFor::Receipts,
            Awaited::Bytes => WaitingFor::Bytes,
            Awaited::Ledger => WaitingFor::Ledger,
            Awaited::Custodians => WaitingFor::Custodians,
            _ => WaitingFor::Other,
        };
        Self { r#for, nodes: Id::list(&wait.nodes), done: wait.done, of: wait.of, for_ms }
    }
}

/// What the command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum WaitingFor {
    /// Nodes that have a shard, or are being sent one, and have not signed for it.
    Receipts,
    /// Nodes that were asked for bytes.
    Bytes,
    /// The ledger, to write something down.
    Ledger,
    /// Custodians, to release a key.
    Custodians,
    /// Something else.
    Other,
}
