//! The sealed cells of a segment. The leaf of each cell is stored before the cell leaves this
//! machine.
//!
//! A cell has a key of its own and no nonce. If a cell is sealed twice with different bytes and
//! both are sent, they reveal the contents of both. A segment is encoded again when a node has
//! failed and when an upload continues after a crash, and each time the source is read again. So
//! the first sealing of a cell stores its leaf, and every later one compares with it. The leaf
//! differs whenever the sealed bytes do.
//!
//! If the source is a file that may change meanwhile, the leaves are on disk before the first byte
//! is sent. Bytes in memory and spooled bytes are known by their hash and cannot change.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use symbolon_protocol::{content::SegmentLayout, id::Hash};

use super::memory::Memory;
use crate::{error::TransferError, lock};

/// The leaf of a cell that was not sealed yet. No cell has this leaf, and a hole in a file reads as
/// it.
const NONE: [u8; 32] = [0; 32];

/// Whether the source still has the bytes that it had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// It has: its hash is known, or it lies in a file that only this program can open.
    Fixed,
    /// It may have changed. Leaves of earlier runs count, and new ones are synced.
    Live,
    /// It may have changed, but nothing is sent. Leaves of earlier runs count, and new ones need no
    /// sync.
    Compared,
}

/// The cells of one segment that were sealed, in this run or an earlier one.
#[derive(Debug)]
pub(super) struct Sealed {
    memory: Arc<dyn Memory>,
    trust: Trust,
    first_cell: u64,
    /// The source, for the error that it has changed.
    source: Option<PathBuf>,
    known: Mutex<Vec<[u8; 32]>>,
    /// Number of writes of leaves. `synced` is the number of those that are synced.
    written: AtomicU64,
    synced: Mutex<u64>,
}

impl Sealed {
    /// Reads what is known of a segment. Blocks.
    pub(super) fn open(
        memory: &Arc<dyn Memory>,
        layout: &SegmentLayout,
        trust: Trust,
        source: Option<PathBuf>,
    ) -> Result<Self, TransferError> {
        let cells = layout.stripes as usize * usize::from(layout.required);
        let mut known = vec![NONE; cells];
        if trust != Trust::Fixed {
            let bytes = known.as_flattened_mut();
            let mut filled = 0;
            while filled < bytes.len() {
                let place = layout.first_cell * 32 + filled as u64;
                match memory
                    .read_leaves(place, &mut bytes[filled..])
                    .map_err(TransferError::Memory)?
                {
                    0 => break,
                    count => filled += count,
                }
            }
            // A torn leaf counts as none: its cell was never sent.
            bytes[filled / 32 * 32..].fill(0);
        }
        Ok(Self {
            memory: memory.clone(),
            trust,
            first_cell: layout.first_cell,
            source,
            known: Mutex::new(known),
            written: AtomicU64::new(0),
            synced: Mutex::new(0),
        })
    }

    /// Records sealed cells, from cell `first` of the segment on. When this returns, they may be
    /// sent. Fails if one of them was sealed before with other bytes. Blocks.
    pub(super) fn note(&self, first: usize, leaves: &[Hash]) -> Result<(), TransferError> {
        let number = {
            let mut known = lock(&self.known);
            let outside =
                || TransferError::Internal(String::from("a cell lies outside its segment"));
            let here = known.get_mut(first..first + leaves.len()).ok_or_else(outside)?;
            let differs = |(known, leaf): (&[u8; 32], &Hash)| *known != NONE && *known != leaf.0;
            if here.iter().zip(leaves).any(differs) {
                return Err(TransferError::SourceChanged { path: self.source.clone() });
            }
            if here.contains(&NONE) {
                for (known, leaf) in here.iter_mut().zip(leaves) {
                    *known = leaf.0;
                }
                let place = (self.first_cell + first as u64) * 32;
                self.memory
                    .write_leaves(place, here.as_flattened())
                    .map_err(TransferError::Memory)?;
                self.written.fetch_add(1, Ordering::Relaxed);
            }
            self.written.load(Ordering::Relaxed)
        };
        if self.trust == Trust::Live {
            return self.sync(number);
        }
        self.memory.sync_leaves_later();
        Ok(())
    }

    /// Waits until the first `number` writes are on disk. One sync serves all callers that wait
    /// meanwhile.
    fn sync(&self, number: u64) -> Result<(), TransferError> {
        let mut synced = lock(&self.synced);
        if *synced < number {
            let now = self.written.load(Ordering::Relaxed);
            self.memory.sync_leaves().map_err(TransferError::Memory)?;
            *synced = now;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use symbolon_protocol::content::{Layout, Scheme};

    use super::*;
    use crate::upload::memory::Forgetful;

    fn layout() -> SegmentLayout {
        // Forty stripes of two cells in one segment.
        Layout::new(Scheme::new(2, 3).unwrap(), 80 * 65_520).unwrap().segment(0).unwrap()
    }

    fn memory() -> Arc<dyn Memory> {
        Arc::new(Forgetful::default())
    }

    fn open(memory: &Arc<dyn Memory>, trust: Trust) -> Sealed {
        Sealed::open(memory, &layout(), trust, Some("file".into())).unwrap()
    }

    fn leaf(cell: usize, state: u8) -> Hash {
        Hash(*blake3::hash(&[cell.to_le_bytes().as_slice(), &[state]].concat()).as_bytes())
    }

    proptest! {
        /// Passes in any order and of any length over a source that changes at any cell, with
        /// crashes in between: no cell is accepted in two states.
        #[test]
        fn no_cell_is_accepted_twice_with_other_bytes(
            passes in prop::collection::vec((0..80_usize, 1..30_usize, 0..80_usize, any::<bool>()), 1..12),
        ) {
            let memory = memory();
            let mut sealed = open(&memory, Trust::Live);
            let mut sent = std::collections::BTreeMap::new();
            for (first, count, changed, crash) in passes {
                let cells = first..80.min(first + count);
                // From this cell on, the source is in its other state.
                let read: Vec<_> =
                    cells.clone().map(|cell| leaf(cell, u8::from(cell >= changed))).collect();
                let agrees = cells.clone().zip(&read).all(|(cell, read)| {
                    sent.get(&cell).is_none_or(|sent| sent == read)
                });
                let noted = sealed.note(first, &read);
                prop_assert_eq!(noted.is_ok(), agrees, "{:?}", noted);
                if agrees {
                    sent.extend(cells.zip(read));
                }
                if crash {
                    sealed = open(&memory, Trust::Live);
                }
            }
        }
    }

    #[test]
    fn a_source_with_a_known_hash_is_not_compared_with_an_earlier_run() {
        let memory = memory();
        open(&memory, Trust::Fixed).note(3, &[leaf(3, 0)]).unwrap();
        let again = open(&memory, Trust::Fixed);
        again.note(3, &[leaf(3, 1)]).unwrap();
        again.note(3, &[leaf(3, 0)]).unwrap_err();
    }

    #[test]
    fn a_torn_leaf_counts_as_none_and_a_cell_outside_is_refused() {
        let torn = Arc::new(Forgetful::default());
        let memory: Arc<dyn Memory> = torn.clone();
        open(&memory, Trust::Live).note(0, &[leaf(0, 0), leaf(1, 0)]).unwrap();
        torn.tear(60);
        let sealed = open(&memory, Trust::Live);
        sealed.note(1, &[leaf(1, 1)]).unwrap();
        sealed.note(0, &[leaf(0, 1)]).unwrap_err();
        sealed.note(10_000, &[leaf(10_000, 0)]).unwrap_err();
    }
}
