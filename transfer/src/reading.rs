//! The object to read, its key, and the grant for it.

use std::sync::Arc;

use symbolon_protocol::{
    content::{FileKey, Manifest, seal::LeafParts},
    dispute::LeafList,
    grant::{Caveat, Grant},
    id::{AccountId, DealId, OrderId},
};

use crate::error::TransferError;

/// Whether content leaves are computed while reading.
#[derive(Clone, Debug)]
pub enum LeavesWanted {
    /// They are not computed.
    No,
    /// They are computed, to compare them with a content root.
    Yes,
    /// They are computed, and every cell is compared with what was listed of it before its bytes are passed on.
    Listed(Arc<Listed>),
    /// Nothing is opened. The cells of some shards, one bit for each, are computed as their nodes must store them.
    Rebuilt(u128),
}

/// What a buyer knows of every cell of a bought file.
#[derive(Debug)]
pub struct Listed {
    /// The order that bought it.
    pub order: OrderId,
    /// What the seller listed.
    pub list: LeafList,
}

impl Listed {
    /// Refuses a cell of the file for which the listed parts do not hold.
    pub(crate) fn check(
        &self,
        cell: u64,
        holds: impl FnOnce(&LeafParts) -> bool,
    ) -> Result<(), TransferError> {
        if self.list.parts(cell).is_some_and(holds) {
            return Ok(());
        }
        Err(TransferError::NotListed { order: self.order, cell })
    }
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
