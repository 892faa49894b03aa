//! Whole folders: stored, written, or previewed by a dry run.

use std::time::Duration;

use serde::Serialize;
use symbolon_client::{self as client, FileFault, FolderGot, FolderPlan, GetPlan, Name};
use symbolon_protocol::Amount;

use crate::{
    plain::{Money, Scheme},
    put::{Durability, StoredOutcome},
};

/// Milliseconds of a duration.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Something that was left out.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PathFault {
    /// Its path.
    pub path: String,
    /// Why, for people.
    pub why: String,
}

impl PathFault {
    fn list(faults: &[FileFault]) -> Vec<Self> {
        let fault = |fault: &FileFault| Self { path: fault.path.clone(), why: fault.why.clone() };
        faults.iter().map(fault).collect()
    }
}

/// Files with properties that are not stored: only bytes, permissions and times are.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NotKept {
    /// Paths that are one file; each is stored as a file of its own.
    pub hard_links: Vec<String>,
    /// Files with extended attributes or access lists.
    pub attributes: Vec<String>,
    /// Files with holes.
    pub holes: Vec<String>,
}

impl From<&client::NotKept> for NotKept {
    fn from(not_kept: &client::NotKept) -> Self {
        Self {
            hard_links: not_kept.hard_links.clone(),
            attributes: not_kept.attributes.clone(),
            holes: not_kept.holes.clone(),
        }
    }
}

/// A folder that is stored.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FolderStored {
    /// What was done.
    pub outcome: StoredOutcome,
    /// Its name; empty for the top.
    pub name: String,
    /// Files that were stored now.
    pub files: u64,
    /// Bytes of those.
    pub length: u64,
    /// Packs that small files of those went into.
    pub packs: u64,
    /// Files that were stored already, unchanged.
    pub unchanged: u64,
    /// Unchanged files that were stored again now, because their term ended too soon.
    pub renewed: u64,
    /// Unchanged files whose nodes are paid for longer.
    pub longer: u64,
    /// Folders, links, permissions and times that were written down.
    pub others: u64,
    /// Names that were removed.
    pub removed: u64,
    /// What the objects that were finished now cost in all.
    pub cost: Money,
    /// What publishing the names cost. Absent if something was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Money"))]
    pub index_cost: Option<Money>,
    /// What came back for what was replaced or removed.
    pub refunded: Money,
    /// How long it took.
    pub took_ms: u64,
    /// Pipes, sockets and devices, which are not stored.
    pub special: Vec<String>,
    /// Files with properties that are not stored.
    pub not_kept: NotKept,
    /// What was left out.
    pub faults: Vec<PathFault>,
}

impl FolderStored {
    /// The result of storing a folder under this name; `done` says that there was nothing to do.
    #[must_use]
    pub fn new(name: &str, stored: &client::FolderStored, done: bool, time: Duration) -> Self {
        Self {
            outcome: match (done, stored.resumed) {
                (true, _) => StoredOutcome::Already,
                (false, 0) => StoredOutcome::Stored,
                (false, _) => StoredOutcome::Resumed,
            },
            name: name.to_owned(),
            files: stored.files,
            length: stored.bytes,
            packs: stored.packs,
            unchanged: stored.unchanged,
            renewed: stored.renewed,
            longer: stored.longer,
            others: stored.others,
            removed: stored.removed,
            cost: stored.cost.into(),
            index_cost: None,
            refunded: stored.refunded.into(),
            took_ms: millis(time),
            special: stored.special.clone(),
            not_kept: (&stored.not_kept).into(),
            faults: PathFault::list(&stored.faults),
        }
    }
}

/// What storing a folder would do and cost.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FolderQuote {
    /// The name it would get; empty for the top.
    pub name: String,
    /// Files that would be stored.
    pub files: u64,
    /// Bytes of those.
    pub length: u64,
    /// Packs that small files of those would go into.
    pub packs: u64,
    /// Files that are stored already, unchanged.
    pub unchanged: u64,
    /// Unchanged files that would be stored again, because their term ends too soon.
    pub renewed: u64,
    /// Unchanged files whose nodes are paid for longer.
    pub longer: u64,
    /// Folders, links, permissions and times that would be written down.
    pub others: u64,
    /// Names that would be removed.
    pub removed: Vec<String>,
    /// Deals it would need.
    pub deals: u64,
    /// Bytes of all shards.
    pub stored_bytes: u64,
    /// How many shards would be needed to read it.
    pub scheme: Scheme,
    /// Nodes that answer.
    pub nodes: usize,
    /// For how many epochs.
    pub epochs: u64,
    /// All that may be paid.
    pub cost: Money,
    /// The part of it that publishing the names may cost.
    pub index: Money,
    /// The expected durability of its least durable object; null if nothing would be stored.
    pub durability: Option<Durability>,
    /// A warning about this way of storing it.
    pub warning: Option<String>,
    /// Pipes, sockets and devices, which are not stored.
    pub special: Vec<String>,
    /// Files with properties that would not be stored.
    pub not_kept: NotKept,
    /// What would be left out.
    pub faults: Vec<PathFault>,
}

impl FolderQuote {
    /// For a folder under this name; `index` is the most that telling the other devices may cost, `total` all that
    /// may be paid.
    #[must_use]
    pub fn new(
        name: &str,
        plan: &FolderPlan,
        quote: &client::FolderQuote,
        (index, total): (Amount, Amount),
    ) -> Self {
        Self {
            name: name.to_owned(),
            files: plan.files(),
            length: plan.bytes(),
            packs: plan.packs(),
            unchanged: plan.unchanged,
            renewed: plan.renewed,
            longer: plan.longer,
            others: plan.others(),
            removed: plan.removed().iter().map(Name::to_string).collect(),
            deals: quote.deals,
            stored_bytes: quote.stored_bytes,
            scheme: quote.scheme.into(),
            nodes: quote.nodes,
            epochs: quote.epochs,
            cost: total.into(),
            index: index.into(),
            durability: quote.durability.as_ref().map(Into::into),
            warning: quote.warning.clone(),
            special: plan.special.clone(),
            not_kept: (&plan.not_kept).into(),
            faults: PathFault::list(&plan.faults),
        }
    }
}

/// A folder that is written here.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FolderWritten {
    /// What was done.
    pub outcome: WrittenOutcome,
    /// Where.
    pub path: String,
    /// Files that were written.
    pub files: u64,
    /// Bytes of those.
    pub length: u64,
    /// Links that were written.
    pub links: u64,
    /// Local files that were as stored already.
    pub unchanged: u64,
    /// Paths that were removed here.
    pub removed: u64,
    /// How long it took.
    pub took_ms: u64,
    /// What was left out.
    pub faults: Vec<PathFault>,
}

impl FolderWritten {
    /// The result of fetching a folder to this path.
    #[must_use]
    pub fn new(path: &str, got: &FolderGot, time: Duration) -> Self {
        let nothing = got.files == 0 && got.links == 0 && got.removed == 0 && got.faults.is_empty();
        Self {
            outcome: if nothing { WrittenOutcome::Already } else { WrittenOutcome::Written },
            path: path.to_owned(),
            files: got.files,
            length: got.bytes,
            links: got.links,
            unchanged: got.unchanged,
            removed: got.removed,
            took_ms: millis(time),
            faults: PathFault::list(&got.faults),
        }
    }
}

/// What fetching a folder did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum WrittenOutcome {
    /// It wrote or removed something.
    Written,
    /// Nothing: all was as it is stored.
    Already,
}

/// What fetching a folder would do.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FolderFetch {
    /// Where.
    pub path: String,
    /// Files that would be written.
    pub files: u64,
    /// Bytes of those.
    pub length: u64,
    /// Local files that are as stored already.
    pub unchanged: u64,
    /// Paths that would be removed here.
    pub removed: Vec<String>,
    /// What would be left out.
    pub faults: Vec<PathFault>,
}

impl From<&GetPlan> for FolderFetch {
    fn from(plan: &GetPlan) -> Self {
        Self {
            path: plan.root().display().to_string(),
            files: plan.files(),
            length: plan.bytes(),
            unchanged: plan.unchanged,
            removed: plan.removed(),
            faults: PathFault::list(&plan.faults),
        }
    }
}
