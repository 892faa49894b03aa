//! Some cells of a listed file, opened for everyone, with a proof that they are part of it. See
//! `spec/market.md`.
//!
//! The seller does not choose them: a beacon that is drawn after the listing does. Each cell comes with its
//! own key and its Merkle path. So a reader can check it against the content root that a buyer would pay
//! for, and the other cells stay sealed.

use alloc::{collections::BTreeSet, vec, vec::Vec};

use thiserror::Error;

use crate::{
    content::{
        FileKey, Layout, LayoutError, Manifest,
        seal::{self, LeafParts, SealError},
    },
    id::Hash,
    merkle, record,
};

/// Why a preview is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PreviewError {
    /// Other cells than the beacon picked.
    #[error("the preview shows other cells than the beacon picked")]
    OtherCells,
    /// A cell with a size that it cannot have.
    #[error("cell {cell} of the preview has a size it cannot have")]
    Size {
        /// The cell.
        cell: u64,
    },
    /// A cell that does not open under its posted key.
    #[error("cell {cell} of the preview does not open: {why}")]
    Sealed {
        /// The cell.
        cell: u64,
        /// Why.
        why: SealError,
    },
    /// A cell that is not under the content root.
    #[error("cell {cell} of the preview is not part of what is sold")]
    NotListed {
        /// The cell.
        cell: u64,
    },
    /// The manifest describes no file.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

record! {
    /// One opened cell.
    pub struct PreviewCell {
        /// The cell's number, counted over the whole file.
        pub cell: u64,
        /// Its key, which opens no other cell.
        pub key: [u8; 32],
        /// The cell as nodes keep it under their masks.
        pub sealed: Vec<u8>,
        /// From its leaf to the content root.
        pub path: Vec<Hash>,
    }
}

record! {
    /// The document that a seller posts: all picked cells, in file order.
    pub struct Preview {
        /// The cells.
        pub cells: Vec<PreviewCell>,
    }
}

/// The cells that a seed picks: `count` different ones, or all cells if there are fewer, in file order.
#[must_use]
pub fn picks(seed: &Hash, cells: u64, count: u8) -> Vec<u64> {
    let wanted = u64::from(count).min(cells);
    let mut stream = blake3::Hasher::new_derive_key("symbolon 2026 preview picks v1");
    let mut stream = stream.update(&seed.0).finalize_xof();
    let mut picked = BTreeSet::new();
    // Numbers at or above the largest multiple of `cells` would favour the first cells.
    let fair = u64::MAX - u64::MAX % cells.max(1);
    while (picked.len() as u64) < wanted {
        let mut bytes = [0; 8];
        stream.fill(&mut bytes);
        let number = u64::from_le_bytes(bytes);
        if number < fair {
            picked.insert(number % cells);
        }
    }
    picked.into_iter().collect()
}

/// The bytes of the file in a cell: their start and their number.
#[must_use]
pub fn cell_range(layout: &Layout, cell: u64) -> Option<(u64, usize)> {
    layout.cell(cell).map(|place| (place.plain_start, place.plain_length))
}

impl PreviewCell {
    /// Opens a cell for everyone. `plain` are the file's bytes in it, `leaves` those of the whole file.
    /// `None` if the file has no such cell, or has other bytes in it.
    #[must_use]
    pub fn make(
        layout: &Layout,
        key: &FileKey,
        cell: u64,
        plain: &[u8],
        leaves: &[Hash],
    ) -> Option<Self> {
        let place = layout.cell(cell).filter(|place| place.plain_length == plain.len())?;
        let key = key.cell_key(place.segment, place.in_segment);
        let mut sealed = vec![0; place.room()];
        sealed[..plain.len()].copy_from_slice(plain);
        let tag = seal::seal(&key, place.end, &mut sealed);
        sealed.extend_from_slice(&tag);
        Some(Self { cell, key, sealed, path: merkle::path(leaves, cell) })
    }

    /// The file's bytes in the cell, after a check that the cell is part of the listed file.
    pub fn open(&self, manifest: &Manifest) -> Result<Vec<u8>, PreviewError> {
        let cell = self.cell;
        let layout = manifest.layout()?;
        let place = layout.cell(cell).ok_or(PreviewError::OtherCells)?;
        if self.sealed.len() != place.sealed_bytes {
            return Err(PreviewError::Size { cell });
        }
        let mut plain = vec![0; place.room()];
        seal::open(&self.key, place.end, &self.sealed, &mut plain)
            .map_err(|why| PreviewError::Sealed { cell, why })?;
        let leaf = LeafParts::new(&self.key, &self.sealed, &plain).leaf(cell);
        merkle::verify(&manifest.content_root, cell, layout.cells(), &leaf, &self.path)
            .map_err(|_| PreviewError::NotListed { cell })?;
        plain.truncate(place.plain_length);
        Ok(plain)
    }
}

impl Preview {
    /// All cells opened, after checks that the beacon picked them and that they are part of the listed
    /// file.
    pub fn open(
        &self,
        manifest: &Manifest,
        seed: &Hash,
        count: u8,
    ) -> Result<Vec<(u64, Vec<u8>)>, PreviewError> {
        let cells = manifest.layout()?.cells();
        let shown = self.cells.iter().map(|cell| cell.cell);
        if !shown.eq(picks(seed, cells, count)) {
            return Err(PreviewError::OtherCells);
        }
        self.cells.iter().map(|cell| Ok((cell.cell, cell.open(manifest)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{MaskMode, Scheme, SegmentCoder};

    fn file(length: usize) -> (FileKey, Vec<u8>, Manifest, Vec<Hash>) {
        let key = FileKey::from_bytes([9; 32]);
        let plain: Vec<u8> = (0..=250).cycle().take(length).collect();
        let scheme = Scheme { required: 2, total: 3 };
        let layout = Layout::new(scheme, length as u64).unwrap();
        let mut leaves = Vec::new();
        for segment in layout.iter() {
            let coder = SegmentCoder::new(&key, MaskMode::ChaCha20, segment);
            for number in 0..segment.stripes {
                let stripe = segment.stripe(number).unwrap();
                let from = usize::try_from(stripe.plain_start).unwrap().min(length);
                let bytes = &plain[from..from + stripe.plain_length];
                let mut cells = vec![0; stripe.cell_bytes * 3];
                coder.encode(number, bytes, &mut cells, &mut leaves).unwrap();
            }
        }
        let mut builder = merkle::Builder::new();
        leaves.iter().for_each(|leaf| builder.push(*leaf));
        let manifest = Manifest::new(&key, MaskMode::ChaCha20, &layout, builder.finish());
        (key, plain, manifest, leaves)
    }

    #[test]
    fn picked_cells_open_and_hold_the_bytes_of_the_file() {
        for length in [0, 1, 1008, 70_000, 400_001] {
            let (key, plain, manifest, leaves) = file(length);
            let layout = manifest.layout().unwrap();
            let seed = Hash([length.to_le_bytes()[0]; 32]);
            let make = |cell| {
                let (start, count) = cell_range(&layout, cell).unwrap();
                let start = usize::try_from(start).unwrap().min(length);
                let bytes = &plain[start..start + count];
                PreviewCell::make(&layout, &key, cell, bytes, &leaves).unwrap()
            };
            let cells = picks(&seed, layout.cells(), 4).into_iter().map(make).collect();
            let preview = Preview { cells };
            for (cell, bytes) in preview.open(&manifest, &seed, 4).unwrap() {
                let (start, count) = cell_range(&layout, cell).unwrap();
                let start = usize::try_from(start).unwrap().min(length);
                assert_eq!(bytes, plain[start..start + count]);
            }
        }
    }

    #[test]
    fn other_cells_other_bytes_other_files_are_refused() {
        let (key, plain, manifest, leaves) = file(400_001);
        let layout = manifest.layout().unwrap();
        let (start, count) = cell_range(&layout, 1).unwrap();
        let start = usize::try_from(start).unwrap();
        let bytes = &plain[start..start + count];
        let cell = PreviewCell::make(&layout, &key, 1, bytes, &leaves).unwrap();
        assert_eq!(cell.open(&manifest).as_deref(), Ok(bytes));

        let mut flipped = cell.clone();
        flipped.sealed[7] ^= 1;
        assert!(matches!(flipped.open(&manifest), Err(PreviewError::Sealed { cell: 1, .. })));
        let mut short = cell.clone();
        short.sealed.pop();
        assert_eq!(short.open(&manifest), Err(PreviewError::Size { cell: 1 }));
        let mut moved = cell.clone();
        moved.cell = 2;
        assert!(moved.open(&manifest).is_err());
        let other = Manifest { content_root: Hash([1; 32]), ..manifest.clone() };
        assert_eq!(cell.open(&other), Err(PreviewError::NotListed { cell: 1 }));
        let seed = (0..=255).map(|byte| Hash([byte; 32]));
        let seed = seed.into_iter().find(|seed| picks(seed, layout.cells(), 1) != [1]).unwrap();
        let preview = Preview { cells: vec![cell] };
        assert_eq!(preview.open(&manifest, &seed, 1), Err(PreviewError::OtherCells));
    }

    #[test]
    fn picks_are_different_cells_in_order() {
        for (cells, count, expected) in [(0, 4, 0), (1, 4, 1), (3, 64, 3), (1000, 64, 64)] {
            let picked = picks(&Hash([5; 32]), cells, count);
            assert_eq!(picked.len(), expected);
            assert!(picked.is_sorted_by(|one, other| one < other));
            assert!(picked.iter().all(|cell| *cell < cells));
        }
    }
}
