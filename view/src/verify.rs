//! Whether a file's shards are there and undamaged, checked at the nodes.

use serde::Serialize;
use symbolon_client::{
    self as client, ClientError, Name, ShardCheck, VerifiedObject, VerifyReport,
};

use crate::plain::Id;

/// How much of a shard is checked.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Depth {
    /// A sample of it.
    Sample,
    /// Every byte of it.
    Deep,
}

impl From<client::Depth> for Depth {
    fn from(depth: client::Depth) -> Self {
        match depth {
            client::Depth::Sample => Self::Sample,
            client::Depth::Deep => Self::Deep,
        }
    }
}

/// What checking a file found.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileVerified {
    /// Its name.
    pub name: String,
    /// How much of each shard was checked.
    pub depth: Depth,
    /// Whether enough shards are well to read it.
    pub readable: bool,
    /// Slices that were read and are what they should be.
    pub checked_slices: u64,
    /// Cells that were read, well or not.
    pub checked_cells: u64,
    /// Bytes that were read and are what they should be.
    pub checked_bytes: u64,
    /// One for each shard.
    pub shards: Vec<ShardVerified>,
}

impl FileVerified {
    /// What was found of this name.
    #[must_use]
    pub fn new(name: &str, depth: client::Depth, found: &VerifyReport) -> Self {
        Self {
            name: name.to_owned(),
            depth: depth.into(),
            readable: found.readable,
            checked_slices: found.checked_slices,
            checked_cells: found.checked_cells,
            checked_bytes: found.checked_bytes,
            shards: ShardVerified::list(found),
        }
    }
}

/// What checking a shard found.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ShardVerified {
    /// Its segment.
    pub segment: u32,
    /// Which of the segment's shards, from 0.
    pub index: u8,
    /// The node that keeps it.
    pub node: Id,
    /// Whether it is well.
    pub well: bool,
    /// Cells that were read, well or not.
    pub cells: u64,
    /// Cells that are damaged or missing, counted from 0 in the shard.
    pub bad_cells: Vec<u32>,
    /// What is wrong with it, for people; null where nothing is.
    pub fault: Option<String>,
}

impl ShardVerified {
    fn list(found: &VerifyReport) -> Vec<Self> {
        found.shards.iter().map(Self::from).collect()
    }
}

impl From<&ShardCheck> for ShardVerified {
    fn from(shard: &ShardCheck) -> Self {
        Self {
            segment: shard.segment,
            index: shard.index,
            node: shard.node.into(),
            well: shard.fault.is_none(),
            cells: shard.good_cells + shard.bad_cells.len() as u64,
            bad_cells: shard.bad_cells.clone(),
            fault: shard.fault.clone(),
        }
    }
}

/// What checking a folder, or the files that match a pattern, found.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FolderVerified {
    /// The folder or pattern.
    pub name: String,
    /// How much of each shard was checked.
    pub depth: Depth,
    /// How many files there are.
    pub files: usize,
    /// Files in objects with a shard that is not well.
    pub unwell: Vec<String>,
    /// Files that cannot be read.
    pub unreadable: Vec<String>,
    /// Those of them whose time is over.
    pub over: Vec<String>,
    /// Whether all files can be read.
    pub readable: bool,
    /// Slices that were read and are what they should be.
    pub checked_slices: u64,
    /// Cells that were read, well or not.
    pub checked_cells: u64,
    /// Bytes that were read and are what they should be.
    pub checked_bytes: u64,
    /// Each object once, however many files lie in it.
    pub objects: Vec<ObjectVerified>,
}

impl FolderVerified {
    /// What was found of the objects under this name.
    #[must_use]
    pub fn new(name: &str, depth: client::Depth, found: &[VerifiedObject]) -> Self {
        let objects: Vec<_> = found.iter().map(ObjectVerified::from).collect();
        let files = |wanted: &dyn Fn(&ObjectVerified) -> bool| -> Vec<String> {
            let wanted = objects.iter().filter(|object| wanted(object));
            let mut names: Vec<_> = wanted.flat_map(|object| object.names.clone()).collect();
            names.sort();
            names
        };
        let is_over = |of: &&VerifiedObject| matches!(of.found, Err(ClientError::Over { .. }));
        let over = found.iter().filter(is_over).flat_map(|object| &object.names);
        let mut over: Vec<_> = over.map(Name::to_string).collect();
        over.sort();
        let sum = |number: &dyn Fn(&VerifyReport) -> u64| -> u64 {
            found.iter().filter_map(|object| object.found.as_ref().ok()).map(number).sum()
        };
        let unreadable = files(&|object| !object.readable);
        Self {
            name: name.to_owned(),
            depth: depth.into(),
            files: objects.iter().map(|object| object.names.len()).sum(),
            unwell: files(&|object| !object.is_well()),
            over,
            readable: unreadable.is_empty(),
            unreadable,
            checked_slices: sum(&|found| found.checked_slices),
            checked_cells: sum(&|found| found.checked_cells),
            checked_bytes: sum(&|found| found.checked_bytes),
            objects,
        }
    }
}

/// What checking an object found.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ObjectVerified {
    /// The object.
    pub object: Id,
    /// The files that lie in it.
    pub names: Vec<String>,
    /// Whether enough shards are well to read it.
    pub readable: bool,
    /// Why it could not be checked, for people; null if it was.
    pub fault: Option<String>,
    /// One for each shard.
    pub shards: Vec<ShardVerified>,
}

impl ObjectVerified {
    /// Whether it was looked at, and all its shards are well.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.fault.is_none() && self.shards.iter().all(|shard| shard.well)
    }
}

impl From<&VerifiedObject> for ObjectVerified {
    fn from(object: &VerifiedObject) -> Self {
        let found = object.found.as_ref();
        Self {
            object: object.object.into(),
            names: object.names.iter().map(Name::to_string).collect(),
            readable: found.is_ok_and(|found| found.readable),
            fault: found.err().map(ToString::to_string),
            shards: found.map_or_else(|_| Vec::new(), ShardVerified::list),
        }
    }
}
