//! Stores an object: each of its segments is placed on nodes and paid for by one deal.
//!
//! Object and deal ids derive from the file key. So an upload that continues after a crash uses the
//! same deals: it does not send what is on the ledger or on nodes already. A [`Memory`] stores what
//! has to be remembered for that. A source that has changed since a cell of it was sealed is
//! refused: see `upload/sealed.rs`.

mod bytes;
mod encode;
mod memory;
mod paid;
mod sealed;
mod segment;
mod sending;
mod tally;

use std::sync::Arc;

use symbolon_protocol::{
    content::{FileKey, MaskMode, Scheme},
    ledger::rows::Access,
};

use crate::{owner::Owner, place::Candidate};
pub use bytes::SegmentBytes;
pub(crate) use encode::LANE_CELLS;
pub use memory::{Forgetful, Memory};
pub use paid::Paid;
pub(crate) use segment::GOOD_FOR;
pub use segment::{Fed, Placed, Placing};
pub(crate) use sending::Sending;
pub(crate) use tally::Tally;

/// Where an upload was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// In this run, with a new key.
    Now,
    /// In an earlier run with this memory.
    Here,
    /// With another memory. The cells that were sealed there are not known here.
    Elsewhere,
}

/// The settings that are the same for all segments of an object.
#[derive(Clone, Debug)]
pub struct Storing {
    /// The owner.
    pub owner: Owner,
    /// The file key, from which all other keys and ids derive.
    pub key: FileKey,
    /// How the shards are masked.
    pub mask: MaskMode,
    /// Required and total shards.
    pub scheme: Scheme,
    /// Who may read the object.
    pub access: Access,
    /// Number of paid epochs.
    pub epochs: u64,
    /// Where the upload was begun.
    pub begun: Begun,
    /// Whether the source may have changed since a cell of it was sealed.
    pub live: bool,
    /// The nodes that may be asked to keep a shard.
    pub candidates: Vec<Candidate>,
    /// Counts the paid amounts.
    pub paid: Paid,
    /// Stores what must survive a crash.
    pub memory: Arc<dyn Memory>,
}
