//! The object to read, its key, and the grant for it.

use symbolon_protocol::{
    content::{FileKey, Manifest},
    grant::{Caveat, Grant},
    id::{AccountId, DealId},
};

/// Whether content leaves are computed while reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeavesWanted {
    /// They are not computed.
    No,
    /// They are computed, to compare them with a content root.
    Yes,
    /// Nothing is opened. The cells of some shards, one bit for each, are computed as their nodes must store them.
    Rebuilt(u128),
}

/// The object to read, its key, and the grant for it.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The account that stores the object: its deals' ids follow from it and the key.
    pub owner: AccountId,
    /// The manifest of the object.
    pub manifest: Manifest,
    /// The key that opens it.
    pub key: FileKey,
    /// The grant that nodes are shown. Public objects need none.
    pub grant: Option<Grant>,
    /// Whether content leaves are computed.
    pub leaves: LeavesWanted,
    /// The range of needed bytes, without its end, when the grant covers only some cells. Nodes
    /// would refuse whole slices then. So only the cells around these bytes are requested, and the
    /// rest of the groups is zeros.
    pub only: Option<(u64, u64)>,
}

impl Reading {
    /// The id of a segment's deal.
    #[must_use]
    pub fn deal(&self, segment: u32) -> DealId {
        self.key.deal(&self.owner, segment)
    }
}

/// Whether a grant covers only some cells of an object.
#[must_use]
pub fn is_for_cells(grant: &Grant) -> bool {
    let mut caveats = grant.links.iter().flat_map(|link| &link.caveats);
    caveats.any(|caveat| matches!(caveat, Caveat::Cells { .. }))
}
