//! What an upload has to remember beyond a crash, and nothing else does.
//!
//! Two things. Which node was asked for which shard: a node keeps one shard of a segment, so an upload that goes on
//! has to ask it for the same one. And the leaf of every cell that was sealed: see `upload/sealed.rs`. How they are
//! kept is their user's: this crate knows no journal.

use std::{collections::BTreeMap, fmt, sync::Mutex};

use symbolon_protocol::id::{DealId, Hash, NodeId};

use crate::{error::Reason, lock};

/// What is remembered of one object while it is being stored. All of it blocks.
pub trait Memory: fmt::Debug + Send + Sync {
    /// Who was asked for which shard of a deal, in this run or an earlier one.
    fn asked(&self, deal: &DealId) -> Result<Vec<(u8, NodeId)>, Reason>;

    /// All that were asked until now, and those that are going to be: when it returns, it outlives a crash.
    fn note_asked(&self, deal: &DealId, asked: &[(u8, NodeId)]) -> Result<(), Reason>;

    /// A deal is open, and who was asked for it need not be known any more.
    fn forget_asked(&self, deal: &DealId) -> Result<(), Reason>;

    /// Reads what is known of the object's leaves, 32 bytes each, from byte `at` on; says how many bytes that were.
    /// A leaf that was never written, where later ones were, is zeros.
    fn read_leaves(&self, at: u64, out: &mut [u8]) -> Result<usize, Reason>;

    /// Writes leaves from byte `at` on.
    fn write_leaves(&self, at: u64, leaves: &[u8]) -> Result<(), Reason>;

    /// Returns when all leaves that were written outlive a crash.
    fn sync_leaves(&self) -> Result<(), Reason>;

    /// Leaves the sync to the end of the upload.
    fn sync_leaves_later(&self);
}

/// Remembers as long as the process lives: enough for whoever draws a new key for each upload. Who goes on with a key
/// and has lost what was sealed under it may give away what was in both.
#[derive(Debug, Default)]
pub struct Forgetful {
    asked: Mutex<BTreeMap<DealId, Vec<(u8, NodeId)>>>,
    leaves: Mutex<Vec<u8>>,
}

impl Forgetful {
    /// The content leaves of what was stored: what the content root is computed from. Cells of padding in the last
    /// segment have theirs too.
    #[must_use]
    pub fn leaves(&self) -> Vec<Hash> {
        let bytes = lock(&self.leaves);
        let (leaves, _) = bytes.as_chunks::<32>();
        leaves.iter().map(|leaf| Hash(*leaf)).collect()
    }

    /// Keeps only so many bytes of the leaves, as a crash may.
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
