//! Fetching a file.

use serde::Serialize;
use symbolon_client::{GetOutcome, GetReport, ReadFault};

use crate::plain::Id;

/// A file that is here.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileFetched {
    /// Where.
    pub path: String,
    /// What was done.
    pub outcome: FetchedOutcome,
    /// Bytes of the file, or of the range that was asked for.
    pub length: u64,
    /// Those of them that an earlier get had written.
    pub kept: u64,
    /// Whether the whole file was compared with its content root.
    pub checked_root: bool,
    /// Nodes that did not do what they were asked for; other nodes did.
    pub faults: Vec<ShardFault>,
    /// The order that was settled, because the whole file is what was listed; else null.
    pub acknowledged: Option<Id>,
}

impl FileFetched {
    /// The result of fetching a file to this path.
    #[must_use]
    pub fn new(path: &str, got: &GetReport) -> Self {
        Self {
            path: path.to_owned(),
            outcome: match got.outcome {
                GetOutcome::Fetched => FetchedOutcome::Fetched,
                GetOutcome::Already => FetchedOutcome::Already,
            },
            length: got.length,
            kept: got.kept,
            checked_root: got.checked_root,
            faults: got.faults.iter().map(ShardFault::from).collect(),
            acknowledged: got.acknowledged.map(Into::into),
        }
    }
}

/// What fetching a file did.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum FetchedOutcome {
    /// It wrote it.
    Fetched,
    /// Nothing: it was there, with the same content.
    Already,
}

/// What a node did wrong that was asked for a shard.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ShardFault {
    /// Which node.
    pub node: Id,
    /// Which shard.
    pub shard: u8,
    /// What it did, for people.
    pub fault: String,
}

impl From<&ReadFault> for ShardFault {
    fn from(fault: &ReadFault) -> Self {
        Self { node: fault.node.into(), shard: fault.index, fault: fault.fault.to_string() }
    }
}
