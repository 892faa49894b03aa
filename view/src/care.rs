//! The care of stored files: who rebuilds lost shards while no program of the owner runs, and what was repaired lately.

use serde::Serialize;
use symbolon_client::{CareSums, CareView};
use symbolon_protocol::Amount;

use crate::plain::{Id, Money};

/// The care of files.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Cared {
    /// The objects of these files. Small files share one.
    pub objects: Vec<CaredObject>,
    /// How many segments have caretakers since this command.
    pub new: u64,
    /// How many had some, and have none since this command.
    pub taken_back: u64,
    /// What was paid.
    pub paid: Money,
}

/// The care of one object.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CaredObject {
    /// Which.
    pub object: Id,
    /// The name of a file in it; null if no name has it.
    pub name: Option<String>,
    /// How many files are in it.
    pub files: u64,
    /// Whether it may have caretakers: care of it was not taken back on this machine.
    pub wanted: bool,
    /// How many of its segments run.
    pub segments: u64,
    /// How many of those have caretakers.
    pub cared: u64,
    /// All of these.
    pub caretakers: Vec<Id>,
    /// Shards that no node keeps.
    pub lost: u64,
    /// How many of those a caretaker rebuilds now.
    pub claimed: u64,
    /// Shards that another node keeps since the last seven days.
    pub moved: u64,
    /// How many of those a caretaker rebuilt and is still to be paid for.
    pub rebuilt: u64,
}

impl CaredObject {
    /// Of one object, with the first of its names and how many it has.
    #[must_use]
    pub fn new(view: &CareView, name: Option<String>, files: u64) -> Self {
        Self {
            object: view.object.into(),
            name,
            files,
            wanted: view.wanted,
            segments: view.segments,
            cared: view.cared,
            caretakers: view.caretakers.iter().map(Id::from).collect(),
            lost: view.lost,
            claimed: view.claimed,
            moved: view.moved,
            rebuilt: view.rebuilt,
        }
    }
}

impl Cared {
    /// The care of objects, and what a command changed.
    #[must_use]
    pub fn new(objects: Vec<CaredObject>, (new, taken_back): (u64, u64), paid: Amount) -> Self {
        Self { objects, new, taken_back, paid: paid.into() }
    }
}

/// The care of everything, as sums.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CareCounts {
    /// Stored objects that run.
    pub objects: u64,
    /// Those whose segments all have caretakers.
    pub cared: u64,
    /// Those of the others for which care was taken back on this machine.
    pub unwanted: u64,
    /// Shards that no node keeps.
    pub lost: u64,
    /// How many of those a caretaker rebuilds now.
    pub claimed: u64,
    /// Shards that another node keeps since the last seven days.
    pub moved: u64,
    /// Whether these are all objects. Of very many, only the first ones are looked at.
    pub all: bool,
}

impl From<CareSums> for CareCounts {
    fn from(sums: CareSums) -> Self {
        Self {
            objects: sums.objects,
            cared: sums.cared,
            unwanted: sums.unwanted,
            lost: sums.lost,
            claimed: sums.claimed,
            moved: sums.moved,
            all: sums.is_all,
        }
    }
}
