//! The leaf list of a listing: what the seller says of every cell and of every mask, before anyone pays.

use alloc::vec::Vec;

use thiserror::Error;

use super::{LeafOpening, MaskOpening};
use crate::{
    content::{FileKey, Layout, LayoutError, Manifest, seal::LeafParts},
    id::Hash,
    merkle,
};

/// Bytes of the parts of one leaf in a list.
const PARTS_BYTES: u64 = 3 * Hash::BYTES as u64;

/// Why a leaf list is not the one of a listing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeafListError {
    /// The manifest describes no file.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// It has another size than the file's cells and masks need.
    #[error("the leaf list has {found} bytes instead of {expected}")]
    Length {
        /// Its bytes.
        found: u64,
        /// The bytes it must have.
        expected: u64,
    },
    /// Its cells lead to another content root.
    #[error("the cells of the leaf list do not lead to the content root")]
    Cells,
    /// Its masks lead to another root.
    #[error("the masks of the leaf list do not lead to the listed root")]
    Masks,
}

/// The parts of every leaf under a file's content root, and a hash of every index key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafList {
    parts: Vec<LeafParts>,
    pub(super) masks: Vec<Hash>,
    total: usize,
}

impl LeafList {
    /// The list of a file. `parts` are those of its cells, in file order.
    #[must_use]
    pub fn new(key: &FileKey, layout: &Layout, parts: Vec<LeafParts>) -> Self {
        let mask = key.mask_key();
        let total = layout.scheme().total;
        let masks = (0..layout.segments())
            .flat_map(|segment| (0..total).map(move |index| (segment, index)))
            .map(|(segment, index)| mask_hash(&mask.shard_mask_key(segment, index)))
            .collect();
        Self { parts, masks, total: usize::from(total) }
    }

    /// How many bytes the list of a file has.
    #[must_use]
    pub fn byte_length(layout: &Layout) -> u64 {
        let masks = u64::from(layout.segments()) * u64::from(layout.scheme().total);
        layout.cells() * PARTS_BYTES + masks * Hash::BYTES as u64
    }

    /// Its bytes: the parts of each leaf, then the hash of each mask.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let parts = self.parts.iter().flat_map(|parts| [parts.key, parts.sealed, parts.plain]);
        parts.chain(self.masks.iter().copied()).flat_map(|hash| hash.0).collect()
    }

    /// Reads the list of a listing, and checks that its cells lead to the content root and its masks to the listed
    /// root.
    pub fn read(
        manifest: &Manifest,
        masks_root: &Hash,
        bytes: &[u8],
    ) -> Result<Self, LeafListError> {
        let layout = manifest.layout()?;
        let (found, expected) = (bytes.len() as u64, Self::byte_length(&layout));
        if found != expected {
            return Err(LeafListError::Length { found, expected });
        }
        let (hashes, _) = bytes.as_chunks::<{ Hash::BYTES }>();
        let cells = usize::try_from(layout.cells()).expect("as many are in memory");
        let (parts, masks) = hashes.split_at(cells * 3);
        let (parts, _) = parts.as_chunks::<3>();
        let part = |&[key, sealed, plain]: &[[u8; 32]; 3]| LeafParts {
            key: Hash(key),
            sealed: Hash(sealed),
            plain: Hash(plain),
        };
        let total = usize::from(layout.scheme().total);
        let masks = masks.iter().copied().map(Hash).collect();
        let list = Self { parts: parts.iter().map(part).collect(), masks, total };
        if list.content_root() != manifest.content_root {
            return Err(LeafListError::Cells);
        }
        if list.masks_root() != *masks_root {
            return Err(LeafListError::Masks);
        }
        Ok(list)
    }

    /// The parts of a cell's leaf.
    #[must_use]
    pub fn parts(&self, cell: u64) -> Option<&LeafParts> {
        self.parts.get(usize::try_from(cell).ok()?)
    }

    /// The leaves under the content root, in file order.
    pub fn leaves(&self) -> impl Iterator<Item = Hash> + '_ {
        (0..).zip(&self.parts).map(|(cell, parts)| parts.leaf(cell))
    }

    fn content_root(&self) -> Hash {
        let mut tree = merkle::Builder::new();
        tree.extend(self.leaves());
        tree.finish()
    }

    /// The root over the masks: a listing shows it.
    #[must_use]
    pub fn masks_root(&self) -> Hash {
        let mut tree = merkle::Builder::new();
        tree.extend(self.mask_leaves());
        tree.finish()
    }

    fn mask_leaves(&self) -> impl Iterator<Item = Hash> + '_ {
        (0..).zip(self.masks.chunks(self.total)).map(|(segment, masks)| mask_leaf(segment, masks))
    }

    /// The first key that is not the one of this file key: a cell's, or a mask's.
    #[must_use]
    pub fn other_key(&self, key: &FileKey, layout: &Layout) -> Option<OtherKey> {
        let (content, mask) = (key.content_key(), key.mask_key());
        let other_cell = layout.iter().find_map(|segment| {
            let own = |at: &u64| {
                let key = crate::content::seal::key_hash(&content.cell_key(segment.segment, *at));
                self.parts(segment.first_cell + at).is_some_and(|parts| parts.key == key)
            };
            (0..segment.cells()).find(|at| !own(at)).map(|at| segment.first_cell + at)
        });
        let other_mask = (0..).zip(self.masks.chunks(self.total)).find_map(|(segment, masks)| {
            let own = |(index, listed): (u8, &Hash)| {
                mask_hash(&mask.shard_mask_key(segment, index)) == *listed
            };
            (!(0..).zip(masks).all(own)).then_some(segment)
        });
        other_cell.map(OtherKey::Cell).or(other_mask.map(OtherKey::Mask))
    }

    /// Opens the leaf of a cell.
    #[must_use]
    pub fn open(&self, cell: u64) -> Option<LeafOpening> {
        let parts = *self.parts(cell)?;
        let leaves: Vec<Hash> = self.leaves().collect();
        Some(LeafOpening { cell, parts, path: merkle::path(&leaves, cell) })
    }

    /// Opens the masks of a segment.
    #[must_use]
    pub fn open_masks(&self, segment: u32) -> Option<MaskOpening> {
        let masks = self.masks.chunks(self.total).nth(usize::try_from(segment).ok()?)?.to_vec();
        let leaves: Vec<Hash> = self.mask_leaves().collect();
        Some(MaskOpening { segment, masks, path: merkle::path(&leaves, u64::from(segment)) })
    }
}

/// A listed key that does not follow from the file key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherKey {
    /// That of this cell.
    Cell(u64),
    /// That of a mask of this segment.
    Mask(u32),
}

/// The listed hash of an index key.
#[must_use]
pub fn mask_hash(index_key: &[u8; 32]) -> Hash {
    Hash(blake3::derive_key("symbolon 2026 listed mask v1", index_key))
}

/// The leaf of a segment's masks under the listed root.
pub(super) fn mask_leaf(segment: u32, masks: &[Hash]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 listed masks v1");
    hasher.update(&segment.to_le_bytes());
    for mask in masks {
        hasher.update(&mask.0);
    }
    Hash(*hasher.finalize().as_bytes())
}
