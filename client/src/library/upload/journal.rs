//! The memory of one upload: a journal row says which nodes were asked, and a file beside the journal keeps the leaves.

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use symbolon_protocol::id::{DealId, NodeId};
use symbolon_transfer::{Reason, upload::Memory};

use super::leaves::Leaves;
use crate::{
    catalog::{Asked, Batch, FileKind, PlacementEntry, Placements},
    library::Local,
    lock,
};

/// The journal of one upload.
pub(super) struct Journal {
    pub(super) local: Local,
    pub(super) kind: FileKind,
    pub(super) leaves: Leaves,
    /// The upload's own row, until the first node is asked. Both rows are then written together.
    pub(super) unwritten: Mutex<Option<Batch>>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The row has the file's key.
        f.debug_struct("Journal").field("leaves", &self.leaves).finish_non_exhaustive()
    }
}

impl Journal {
    pub(super) fn shared(self) -> Arc<dyn Memory> {
        Arc::new(self)
    }
}

impl Memory for Journal {
    fn asked(&self, deal: &DealId) -> Result<Vec<(u8, NodeId)>, Reason> {
        let row = self.local.catalog().row(Placements, &deal.0)?;
        let asked = row.map_or(Vec::new(), |row| row.shards).into_iter();
        Ok(asked.map(|Asked { index, node }| (index, node)).collect())
    }

    fn note_asked(&self, deal: &DealId, asked: &[(u8, NodeId)]) -> Result<(), Reason> {
        let shards = asked.iter().map(|(index, node)| Asked { index: *index, node: *node });
        let entry = PlacementEntry { shards: shards.collect() };
        let mut batch = lock(&self.unwritten).take().unwrap_or_default();
        batch.put(Placements, &deal.0, &entry);
        Ok(self.local.catalog().write(&batch)?)
    }

    fn forget_asked(&self, deal: &DealId) -> Result<(), Reason> {
        // The row is removed in the transaction that writes the object's row. Until then it does no harm. A part of the
        // index gets no object row, so its row is removed here.
        if self.kind == FileKind::Index {
            self.local.catalog().remove(Placements, &deal.0)?;
        }
        Ok(())
    }

    fn read_leaves(&self, at: u64, out: &mut [u8]) -> Result<usize, Reason> {
        Ok(self.leaves.read_at(at, out)?)
    }

    fn write_leaves(&self, at: u64, leaves: &[u8]) -> Result<(), Reason> {
        Ok(self.leaves.write_at(at, leaves)?)
    }

    fn sync_leaves(&self) -> Result<(), Reason> {
        Ok(self.leaves.sync()?)
    }

    fn sync_leaves_later(&self) {
        self.leaves.owe_sync();
    }
}
