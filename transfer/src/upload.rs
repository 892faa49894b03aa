//! Storing an object: each of its segments is placed on nodes and paid for by one deal.
//!
//! Object and deal ids derive from the file key, so an upload that goes on after a crash asks for the same deals: what
//! is on the ledger is not sent, what nodes hold is not sent again. What has to be remembered for that is written
//! through a [`Memory`]. A source that is not what it was when a cell of it was first sealed is refused: see
//! `upload/sealed.rs`.

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
pub use memory::{Forgetful, Memory};
pub use paid::Paid;
pub use segment::{Fed, Placed, Placing};

/// Where an upload was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// Here and now, under a key that was drawn for it.
    Now,
    /// With this memory, by an earlier run.
    Here,
    /// With another memory: what is sealed there is not known here.
    Elsewhere,
}

/// What stays the same for all segments of an object that is being stored.
#[derive(Clone, Debug)]
pub struct Storing {
    /// In whose name.
    pub owner: Owner,
    /// What everything about it derives from.
    pub key: FileKey,
    /// How its shards are masked.
    pub mask: MaskMode,
    /// Required and total shards.
    pub scheme: Scheme,
    /// Who may read it.
    pub access: Access,
    /// For how many epochs it is paid.
    pub epochs: u64,
    /// Where it was begun.
    pub begun: Begun,
    /// Whether the source may have changed since a cell of it was sealed.
    pub live: bool,
    /// Who may be asked to keep it.
    pub candidates: Vec<Candidate>,
    /// What is paid is counted here.
    pub paid: Paid,
    /// What must outlive a crash.
    pub memory: Arc<dyn Memory>,
}
