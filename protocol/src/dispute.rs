//! What is listed of a file's keys and cells, and how a buyer proves that it is not so. See `spec/market.md`,
//! "Disputes".
//!
//! A listing binds a file three times: by the commitment to its key, by its content root over all cells, and by a root
//! over the keys of all masks. A [`LeafList`] shows every cell's and every mask's hash, so a buyer knows before paying
//! what each must be. The ledger's deals bind what nodes keep. A [`Complaint`] shows one place where two of these differ.
//! Everything is judged from bytes: nothing is asked of the seller.

mod list;

use alloc::{vec, vec::Vec};

use thiserror::Error;

pub use list::{LeafList, LeafListError, OtherKey, mask_hash};

use crate::{
    choice,
    content::{
        CellPlace, FileKey, Manifest, Scheme,
        erasure::rebuild_cell,
        mask::ShardMask,
        seal::{self, LeafParts, key_hash, plain_hash, sealed_hash},
    },
    custody::{self, Capsule, CustodyError, DeliveryKey, PostedRelease, ShownKey},
    id::{DealId, Hash},
    limits::TAG_BYTES,
    merkle, proof, record,
};

record! {
    /// A cell's leaf under the content root.
    pub struct LeafOpening {
        /// The cell's number, counted over the whole file.
        pub cell: u64,
        /// The parts of its leaf.
        pub parts: LeafParts,
        /// From the leaf to the content root.
        pub path: Vec<Hash>,
    }
}

record! {
    /// The hashes of the index keys of a segment, under the listed root.
    pub struct MaskOpening {
        /// The segment.
        pub segment: u32,
        /// The hash of each index key, by index.
        pub masks: Vec<Hash>,
        /// From their leaf to the root.
        pub path: Vec<Hash>,
    }
}

choice! {
    /// What of a listing the opened key contradicts.
    pub enum KeyFault {
        /// The manifest's commitment or its object.
        File = 1,
        /// The listed key of a cell.
        Cell = 2 {
            /// The cell's leaf.
            leaf: LeafOpening,
        },
        /// A listed mask.
        Mask = 3 {
            /// The masks of its segment.
            masks: MaskOpening,
        },
    }
}

choice! {
    /// What a buyer says is wrong, with everything that proves it.
    pub enum Complaint {
        /// The releases open a key that is not the listed one.
        BadKey = 1 {
            /// What they open.
            shown: ShownKey,
            /// What it contradicts.
            fault: KeyFault,
        },
        /// A cell is as it was listed, and does not open to what was listed.
        BadCell = 2 {
            /// Its leaf.
            leaf: LeafOpening,
            /// Its key.
            key: [u8; 32],
            /// The sealed cell.
            sealed: Vec<u8>,
        },
        /// A node keeps another cell than the listed one.
        OtherCell = 3 {
            /// The leaf of the listed cell.
            leaf: LeafOpening,
            /// The masks of its segment.
            masks: MaskOpening,
            /// The key of its shard's mask.
            key: [u8; 32],
            /// The deal of its segment.
            deal: DealId,
            /// The cell as the node keeps it.
            kept: Vec<u8>,
            /// From it to the shard's root.
            path: Vec<Hash>,
        },
        /// Nodes do not give a cell: they are to put it on the ledger.
        Unavailable = 4 {
            /// Its leaf.
            leaf: LeafOpening,
            /// The keys of the masks of its segment, by index.
            keys: Vec<[u8; 32]>,
            /// From their hashes to the listed root.
            path: Vec<Hash>,
            /// The deal of its segment.
            deal: DealId,
        },
    }
}

/// What a complaint came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The listing contradicts itself, or what nodes keep.
    Upheld,
    /// It does not.
    Dismissed,
}

impl Verdict {
    fn of(is_fault: bool) -> Self {
        if is_fault { Self::Upheld } else { Self::Dismissed }
    }
}

/// Why a complaint proves nothing: its own bytes do not fit what it is about.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotProven {
    /// The file has no such cell, or no such segment.
    #[error("the file has no such cell")]
    Place,
    /// A leaf that does not lead to the listed root.
    #[error("{what} do not lead to the listed root")]
    Path {
        /// What the leaf is of.
        what: &'static str,
    },
    /// A value that does not have the listed hash.
    #[error("{what} does not have the listed hash")]
    Hash {
        /// Which.
        what: &'static str,
    },
    /// A cell that is not under the shard's root.
    #[error("the kept cell does not lead to the shard's root")]
    Kept,
    /// What the releases open was not shown truly.
    #[error(transparent)]
    Shown(#[from] CustodyError),
}

/// What a listing says.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    /// The manifest of the file.
    pub manifest: &'a Manifest,
    /// The root over the masks.
    pub masks_root: &'a Hash,
    /// The key, encrypted to the vault.
    pub capsule: &'a Capsule,
    /// `file key XOR listing key`.
    pub pad: &'a [u8; 32],
}

/// What an order has on the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Delivered<'a> {
    /// Its releases.
    pub releases: &'a [PostedRelease],
    /// How many of them open.
    pub required: usize,
    /// Its delivery key.
    pub delivery: &'a DeliveryKey,
    /// Its [`release_context`](custody::release_context).
    pub context: &'a Hash,
}

/// A cell that nodes keep under the root of a shard.
#[derive(Clone, Copy, Debug)]
pub struct KeptCell<'a> {
    /// The shard's BLAKE3 root.
    pub root: &'a Hash,
    /// The cell as the node keeps it.
    pub bytes: &'a [u8],
    /// From it to the root.
    pub path: &'a [Hash],
}

impl LeafOpening {
    /// The place of its cell, after a check that it leads to the content root.
    pub fn check(&self, manifest: &Manifest) -> Result<CellPlace, NotProven> {
        let layout = manifest.layout().map_err(|_| NotProven::Place)?;
        let place = layout.cell(self.cell).ok_or(NotProven::Place)?;
        let leaf = self.parts.leaf(self.cell);
        merkle::verify(&manifest.content_root, self.cell, layout.cells(), &leaf, &self.path)
            .map_err(|_| NotProven::Path { what: "a cell and its path" })?;
        Ok(place)
    }
}

impl MaskOpening {
    /// Checks that it leads to the listed root.
    pub fn check(&self, manifest: &Manifest, root: &Hash) -> Result<(), NotProven> {
        let layout = manifest.layout().map_err(|_| NotProven::Place)?;
        if self.masks.len() != usize::from(layout.scheme().total) {
            return Err(NotProven::Place);
        }
        let (at, count) = (u64::from(self.segment), u64::from(layout.segments()));
        let leaf = list::mask_leaf(self.segment, &self.masks);
        merkle::verify(root, at, count, &leaf, &self.path)
            .map_err(|_| NotProven::Path { what: "masks and their path" })
    }
}

/// Judges whether the key that an order's releases open contradicts the listing.
pub fn judge_key(
    listed: &Listed<'_>,
    order: &Delivered<'_>,
    shown: &ShownKey,
    fault: &KeyFault,
) -> Result<Verdict, NotProven> {
    let Delivered { releases, required, delivery, context } = *order;
    let point = match shown.open(listed.capsule, releases, required, delivery, context) {
        Ok(point) => point,
        // No key point is the identity: the capsule holds no key.
        Err(CustodyError::Identity { what: "key point" }) => return Ok(Verdict::Upheld),
        Err(error) => return Err(error.into()),
    };
    let bytes = custody::unpad(listed.pad, &custody::listing_key(&point));
    let key = FileKey::from_bytes(*bytes);
    let manifest = listed.manifest;
    Ok(Verdict::of(match fault {
        KeyFault::File => manifest.check_key(&key).is_err(),
        KeyFault::Cell { leaf } => {
            let place = leaf.check(manifest)?;
            key_hash(&key.cell_key(place.segment, place.in_segment)) != leaf.parts.key
        }
        KeyFault::Mask { masks } => {
            masks.check(manifest, listed.masks_root)?;
            let own = |index| mask_hash(&key.shard_mask_key(masks.segment, index));
            (0..).zip(&masks.masks).any(|(index, mask)| own(index) != *mask)
        }
    }))
}

/// Judges whether a listed cell opens to what was listed.
pub fn judge_cell(
    manifest: &Manifest,
    leaf: &LeafOpening,
    key: &[u8; 32],
    sealed: &[u8],
) -> Result<Verdict, NotProven> {
    let place = leaf.check(manifest)?;
    if key_hash(key) != leaf.parts.key {
        return Err(NotProven::Hash { what: "the cell's key" });
    }
    if sealed_hash(&[sealed]) != leaf.parts.sealed {
        return Err(NotProven::Hash { what: "the sealed cell" });
    }
    if sealed.len() != place.sealed_bytes {
        return Ok(Verdict::Upheld);
    }
    let mut plain = vec![0; sealed.len() - TAG_BYTES];
    let opened = seal::open(key, place.end, sealed, &mut plain);
    Ok(Verdict::of(opened.is_err() || plain_hash(key, &plain) != leaf.parts.plain))
}

/// Judges whether a node keeps another cell than the listed one. The root is that of the cell's own shard in a deal of
/// the seller for this segment.
pub fn judge_kept(
    listed: &Listed<'_>,
    leaf: &LeafOpening,
    masks: &MaskOpening,
    index_key: &[u8; 32],
    kept: &KeptCell<'_>,
) -> Result<Verdict, NotProven> {
    let place = leaf.check(listed.manifest)?;
    masks.check(listed.manifest, listed.masks_root)?;
    if masks.segment != place.segment {
        return Err(NotProven::Place);
    }
    if masks.masks.get(usize::from(place.shard)) != Some(&mask_hash(index_key)) {
        return Err(NotProven::Hash { what: "the key of the mask" });
    }
    check_kept(listed.manifest, place.segment, place.stripe, kept)?;
    let sealed = unmasked(index_key, place.stripe, kept.bytes);
    Ok(Verdict::of(sealed_hash(&[&sealed]) != leaf.parts.sealed))
}

/// Checks the opening of a cell that nodes are asked for: its leaf, and the keys of the masks of its segment.
pub fn check_asked(
    manifest: &Manifest,
    masks_root: &Hash,
    leaf: &LeafOpening,
    keys: &[[u8; 32]],
    path: &[Hash],
) -> Result<CellPlace, NotProven> {
    let place = leaf.check(manifest)?;
    let masks = keys.iter().map(mask_hash).collect();
    let opening = MaskOpening { segment: place.segment, masks, path: path.to_vec() };
    opening.check(manifest, masks_root)?;
    Ok(place)
}

/// Checks that a cell of this stripe is under the root of a shard of this segment.
pub fn check_kept(
    manifest: &Manifest,
    segment: u32,
    stripe: u32,
    kept: &KeptCell<'_>,
) -> Result<(), NotProven> {
    let layout = manifest.layout().and_then(|layout| layout.segment(segment));
    let length = layout.map_err(|_| NotProven::Place)?.shard_length;
    proof::verify_cell(kept.root, length, u64::from(stripe), kept.bytes, kept.path)
        .map_err(|_| NotProven::Kept)
}

/// Judges what nodes have answered: whether the cells that they keep give the listed one. `answers` are those of
/// `required` different shards, or the one of the cell's own shard; each was checked by [`check_kept`].
#[must_use]
pub fn judge_answers(
    scheme: Scheme,
    place: &CellPlace,
    sealed: &Hash,
    keys: &[[u8; 32]],
    answers: &[(u8, Vec<u8>)],
) -> Verdict {
    let open = |(index, bytes): &(u8, Vec<u8>)| {
        (*index, unmasked(&keys[usize::from(*index)], place.stripe, bytes))
    };
    let own = answers.iter().find(|(index, _)| *index == place.shard);
    let cell = match own.map(open) {
        Some((_, cell)) => cell,
        None => {
            let cells: Vec<(u8, Vec<u8>)> = answers.iter().map(open).collect();
            rebuild_cell(scheme, &cells, place.shard)
        }
    };
    Verdict::of(sealed_hash(&[&cell]) != *sealed)
}

fn unmasked(index_key: &[u8; 32], stripe: u32, kept: &[u8]) -> Vec<u8> {
    let mut cell = kept.to_vec();
    let offset = u64::from(stripe) * crate::limits::CELL_BYTES as u64;
    ShardMask::of_key(index_key).apply(offset, &mut cell);
    cell
}

#[cfg(test)]
pub(crate) mod goods;
#[cfg(test)]
mod tests;
