//! The part of an upload that must survive a crash.
//!
//! It consists of two things. The first is which node was asked for which shard: a node keeps one
//! shard of a segment, so a continued upload must ask it for the same one. The second is the leaf
//! of every sealed cell: see `upload/sealed.rs`. The caller decides how they are stored: this crate
//! knows no journal.

use std::{collections::BTreeMap, fmt, sync::Mutex};

use symbolon_protocol::id::{DealId, Hash, NodeId};

use crate::{error::Reason, lock};

/// The memory of one object while it is being stored. All methods block.
pub trait Memory: fmt::Debug + Send + Sync {
    /// The nodes that were asked for shards of a deal, in this run or an earlier one.
    fn asked(&self, deal: &DealId) -> Result<Vec<(u8, NodeId)>, Reason>;

    /// Stores all nodes that were asked so far and those that will be asked next. It must survive a
    /// crash when this returns.
    fn note_asked(&self, deal: &DealId, asked: &[(u8, NodeId)]) -> Result<(), Reason>;

    /// Removes the nodes that were asked for a deal, because the deal is open.
    fn forget_asked(&self, deal: &DealId) -> Result<(), Reason>;

    /// Reads stored leaves of the object, 32 bytes each, from byte `at` on. Returns the number of
    /// bytes. A leaf that was never written reads as zeros if later ones were written.
    fn read_leaves(&self, at: u64, out: &mut [u8]) -> Result<usize, Reason>;

    /// Writes leaves from byte `at` on.
    fn write_leaves(&self, at: u64, leaves: &[u8]) -> Result<(), Reason>;

    /// Returns when all written leaves survive a crash.
    fn sync_leaves(&self) -> Result<(), Reason>;

    /// Puts the sync off until the end of the upload.
    fn sync_leaves_later(&self);
}

/// A memory that lasts as long as the process. It suffices for a program that draws a new key for
/// each upload. A program that continues with an old key without its sealed leaves may reveal the
/// contents of both versions.
#[derive(Debug, Default)]
pub struct Forgetful {
    asked: Mutex<BTreeMap<DealId, Vec<(u8, NodeId)>>>,
    leaves: Mutex<Vec<u8>>,
}

impl Forgetful {
    /// The content leaves of the stored object, from which the content root is computed. Padding
    /// cells of the last segment have leaves too.
    #[must_use]
    pub fn leaves(&self) -> Vec<Hash> {
        let bytes = lock(&self.leaves);
        let (leaves, _) = bytes.as_chunks::<32>();
        leaves.iter().map(|leaf| Hash(*leaf)).collect()
    }

    /// Keeps only the first `bytes` bytes of the leaves, as after a crash.
    #[cfg(test)]
    pub(super) fn tear(&self, bytes: usize) {
        lock(&self.leaves).truncate(bytes);
    }
}

impl Memory for Forgetful {
    fn asked(&self, deal: &DealId) -> Result<Vec<(u8, NodeId)>, Reason> {
        Ok(lock(&self.asked).get(deal).cloned().unwrap_or_default())
    }

    fn note_asked(&self, deal: &DealId, asked: &[(u8, NodeId)]) -> Result<(), Reason> {
        lock(&self.asked).insert(*deal, asked.to_vec());
        Ok(())
    }

    fn forget_asked(&self, deal: &DealId) -> Result<(), Reason> {
        lock(&self.asked).remove(deal);
        Ok(())
    }

    fn read_leaves(&self, at: u64, out: &mut [u8]) -> Result<usize, Reason> {
        let leaves = lock(&self.leaves);
        let known = usize::try_from(at).ok().and_then(|at| leaves.get(at..)).unwrap_or_default();
        let count = known.len().min(out.len());
        out[..count].copy_from_slice(&known[..count]);
        Ok(count)
    }

    fn write_leaves(&self, at: u64, leaves: &[u8]) -> Result<(), Reason> {
        let mut known = lock(&self.leaves);
        let at = usize::try_from(at)?;
        let end = at + leaves.len();
        if known.len() < end {
            known.resize(end, 0);
        }
        known[at..end].copy_from_slice(leaves);
        Ok(())
    }

    fn sync_leaves(&self) -> Result<(), Reason> {
        Ok(())
    }

    fn sync_leaves_later(&self) {}
}
