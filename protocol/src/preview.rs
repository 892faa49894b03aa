//! Some cells of a listed file, opened for everyone, with a proof that they are part of it. See
//! `spec/market.md`.
//!
//! A beacon that is drawn after the listing picks some of them, and the seller cannot choose these. Others the
//! seller may choose: they stand apart, since they say nothing of the rest of the file. Each cell comes with its
//! own key and its Merkle path. So a reader can check it against the content root that a buyer would pay
//! for, and the other cells stay sealed.

use alloc::{collections::BTreeSet, vec, vec::Vec};
use core::ops::Range;

use thiserror::Error;

use crate::{
    content::{
        FileKey, Layout, LayoutError, Manifest,
        seal::{self, LeafParts, SealError},
    },
    id::{Hash, ListingId},
    limits::CHOSEN_CELLS_MAX,
    merkle, record,
};

/// Why a preview is refused.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum PreviewError {
    /// Other cells than the beacon or the viewer's own number picked.
    #[error("the preview shows other cells than those that were picked")]
    OtherCells,
    /// More chosen cells than a preview may have.
    #[error("the preview shows {count} cells that the seller chose, more than {CHOSEN_CELLS_MAX}")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// Chosen cells that do not ascend, or that the file does not have.
    #[error("the cells that the seller chose are not different cells of the file in their order")]
    Order,
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
    /// The document that a seller posts: all picked cells, and those that the seller chose, each in file order.
    pub struct Preview {
        /// The cells that the beacon picked.
        pub cells: Vec<PreviewCell>,
        /// Other cells, which the seller chose.
        pub chosen: Vec<PreviewCell>,
    }
}

/// The opened cells of a preview, by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenedPreview {
    /// Those that the beacon picked.
    pub drawn: Vec<(u64, Vec<u8>)>,
    /// Those that the seller chose.
    pub chosen: Vec<(u64, Vec<u8>)>,
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

/// The seed of a fresh preview: a viewer's own number picks the cells of one listing of one file.
#[must_use]
pub fn fresh_seed(content_root: &Hash, listing: &ListingId, nonce: &[u8; 32]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 fresh preview v1");
    hasher.update(&content_root.0).update(&listing.0).update(nonce);
    Hash(hasher.finalize().into())
}

/// The cells that a seller answered a viewer's own number with, after checks that the number picked them and that they
/// are part of the listed file.
pub fn open_fresh(
    cells: &[PreviewCell],
    manifest: &Manifest,
    (listing, nonce): (&ListingId, &[u8; 32]),
    count: u8,
) -> Result<Vec<(u64, Vec<u8>)>, PreviewError> {
    let seed = fresh_seed(&manifest.content_root, listing, nonce);
    let picked = picks(&seed, manifest.layout()?.cells(), count);
    if !cells.iter().map(|cell| cell.cell).eq(picked) {
        return Err(PreviewError::OtherCells);
    }
    cells.iter().map(|cell| Ok((cell.cell, cell.open(manifest)?))).collect()
}

/// The bytes of the file in a cell: their start and their number.
#[must_use]
pub fn cell_range(layout: &Layout, cell: u64) -> Option<(u64, usize)> {
    layout.cell(cell).map(|place| (place.plain_start, place.plain_length))
}

/// The numbers of the cells that hold the bytes from `from` up to `to`. None if the file has no such byte.
#[must_use]
pub fn cells_of(layout: &Layout, from: u64, to: u64) -> Range<u64> {
    let to = to.min(layout.length());
    if to <= from {
        return 0..0;
    }
    let holding = |offset: u64| {
        let (mut low, mut high) = (0, layout.cells());
        // The last cell that begins at the byte or before it: cells stand in the order of their bytes.
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            match cell_range(layout, middle) {
                Some((start, _)) if start <= offset => low = middle,
                _ => high = middle,
            }
        }
        low
    };
    holding(from)..holding(to - 1) + 1
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
    /// All cells opened, after checks that the beacon picked those that it should have, and that all are part of the
    /// listed file.
    pub fn open(
        &self,
        manifest: &Manifest,
        seed: &Hash,
        count: u8,
    ) -> Result<OpenedPreview, PreviewError> {
        let cells = manifest.layout()?.cells();
        let shown = self.cells.iter().map(|cell| cell.cell);
        if !shown.eq(picks(seed, cells, count)) {
            return Err(PreviewError::OtherCells);
        }
        check_chosen(self.chosen.iter().map(|cell| cell.cell), cells)?;
        let open = |cell: &PreviewCell| Ok((cell.cell, cell.open(manifest)?));
        Ok(OpenedPreview {
            drawn: self.cells.iter().map(open).collect::<Result<_, PreviewError>>()?,
            chosen: self.chosen.iter().map(open).collect::<Result<_, PreviewError>>()?,
        })
    }
}

/// Refuses other choices than a few different cells of a file of so many cells, in their order.
pub fn check_chosen(
    chosen: impl ExactSizeIterator<Item = u64>,
    cells: u64,
) -> Result<(), PreviewError> {
    let count = chosen.len();
    if CHOSEN_CELLS_MAX < count {
        return Err(PreviewError::TooMany { count });
    }
    let mut least = 0;
    for cell in chosen {
        if cell < least || cells <= cell {
            return Err(PreviewError::Order);
        }
        least = cell + 1;
    }
    Ok(())
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
            let chosen: Vec<_> = cells_of(&layout, 0, 2000).map(make).collect();
            let preview = Preview { cells, chosen: chosen.clone() };
            let opened = preview.open(&manifest, &seed, 4).unwrap();
            assert_eq!(opened.chosen.len(), chosen.len());
            for (cell, bytes) in opened.drawn.into_iter().chain(opened.chosen) {
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
        let preview = Preview { cells: vec![cell.clone()], chosen: vec![] };
        assert_eq!(preview.open(&manifest, &seed, 1), Err(PreviewError::OtherCells));

        // A chosen cell is checked as a drawn one is.
        let chosen = |chosen| Preview { cells: vec![], chosen }.open(&manifest, &seed, 0);
        assert_eq!(chosen(vec![cell.clone()]).map(|opened| opened.chosen.len()), Ok(1));
        assert!(matches!(chosen(vec![flipped]), Err(PreviewError::Sealed { cell: 1, .. })));
        assert_eq!(chosen(vec![cell.clone(), cell]), Err(PreviewError::Order));
    }

    #[test]
    fn a_viewers_own_number_picks_the_cells_of_one_listing() {
        let (key, plain, manifest, leaves) = file(400_001);
        let layout = manifest.layout().unwrap();
        let (listing, nonce) = (ListingId([3; 16]), [4; 32]);
        let make = |cell| {
            let (start, count) = cell_range(&layout, cell).unwrap();
            let start = usize::try_from(start).unwrap();
            PreviewCell::make(&layout, &key, cell, &plain[start..start + count], &leaves).unwrap()
        };
        let seed = fresh_seed(&manifest.content_root, &listing, &nonce);
        let cells: Vec<_> = picks(&seed, layout.cells(), 2).into_iter().map(make).collect();
        let opened = open_fresh(&cells, &manifest, (&listing, &nonce), 2).unwrap();
        assert!(opened.iter().map(|(cell, _)| cell).eq(cells.iter().map(|cell| &cell.cell)));
        let refused = |cells: &[PreviewCell], listing, nonce, count| {
            open_fresh(cells, &manifest, (&listing, &nonce), count).unwrap_err()
        };
        assert_eq!(refused(&cells[..1], listing, nonce, 2), PreviewError::OtherCells);
        assert_eq!(refused(&cells, listing, nonce, 1), PreviewError::OtherCells);
        let others = (0..=255).map(|byte| [byte; 32]).find(|nonce| {
            let seed = fresh_seed(&manifest.content_root, &listing, nonce);
            !picks(&seed, layout.cells(), 2).iter().eq(cells.iter().map(|cell| &cell.cell))
        });
        assert_eq!(refused(&cells, listing, others.unwrap(), 2), PreviewError::OtherCells);
        let mut flipped = cells.clone();
        flipped[1].sealed[0] ^= 1;
        assert!(matches!(refused(&flipped, listing, nonce, 2), PreviewError::Sealed { .. }));
        let other = fresh_seed(&manifest.content_root, &ListingId([5; 16]), &nonce);
        assert_ne!(other, seed, "another listing of the same file");
    }

    #[test]
    fn few_different_cells_of_the_file_in_their_order_may_be_chosen() {
        let chosen = |chosen: &[u64]| check_chosen(chosen.iter().copied(), 40);
        let all: Vec<u64> = (0..40).collect();
        assert_eq!(chosen(&[]), Ok(()));
        assert_eq!(chosen(&all[8..]), Ok(()));
        assert_eq!(chosen(&all[7..]), Err(PreviewError::TooMany { count: 33 }));
        for bad in [&[1, 1][..], &[2, 1], &[40], &[0, u64::MAX]] {
            assert_eq!(chosen(bad), Err(PreviewError::Order), "{bad:?}");
        }
    }

    #[test]
    fn the_cells_of_a_range_hold_its_bytes_and_no_others_do() {
        for length in [1, 1008, 1500, 70_000, 400_001, 9_000_000] {
            let layout = Layout::new(Scheme { required: 4, total: 8 }, length).unwrap();
            let edges =
                [0, 1, 999, 65_519, 65_520, 65_521, length / 2, length - 1, length, length + 1];
            for (from, to) in edges.iter().flat_map(|from| edges.map(|to| (*from, to))) {
                let expected = (0..layout.cells()).filter(|cell| {
                    let (start, count) = cell_range(&layout, *cell).unwrap();
                    start.max(from) < (start + count as u64).min(to)
                });
                let found: Vec<u64> = cells_of(&layout, from, to).collect();
                assert_eq!(found, expected.collect::<Vec<u64>>(), "{length}: {from}..{to}");
            }
        }
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
