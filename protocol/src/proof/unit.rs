//! Parts of a shard, each proven by itself: leaves of 1 KiB, cells, slices.

use alloc::vec::Vec;
use core::ops::Range;

use blake3::{Hasher, hazmat::HasherExt};

use super::{
    GROUP_BYTES, LeafProof, Outboard, ProofError,
    shape::{Side, join, join_root, steps, unit_count},
};
use crate::{
    id::Hash,
    limits::{CELL_BYTES, LEAF_BYTES, SLICE_BYTES},
};

const GROUP: u64 = GROUP_BYTES as u64;
const LEAF: u64 = LEAF_BYTES as u64;
const LEAVES_PER_GROUP: u64 = GROUP / LEAF;

/// Checks that `proof` opens leaf `leaf`, from 0, of the shard with this root and length.
pub fn verify_leaf(
    root: &Hash,
    length: u64,
    leaf: u64,
    proof: &LeafProof,
) -> Result<(), ProofError> {
    verify_unit(root, length, LEAF, leaf, &proof.leaf, &proof.path)
}

/// Checks that `bytes` are slice `slice`, from 0, of the shard with this root and length.
pub fn verify_slice(
    root: &Hash,
    length: u64,
    slice: u64,
    bytes: &[u8],
    path: &[Hash],
) -> Result<(), ProofError> {
    verify_unit(root, length, SLICE_BYTES as u64, slice, bytes, path)
}

/// Checks that `bytes` are cell `cell`, from 0, of the shard with this root and length.
pub fn verify_cell(
    root: &Hash,
    length: u64,
    cell: u64,
    bytes: &[u8],
    path: &[Hash],
) -> Result<(), ProofError> {
    verify_unit(root, length, CELL_BYTES as u64, cell, bytes, path)
}

/// Checks that `bytes` are part `unit` of the shard with this root and length. The shard is cut into parts
/// of `unit_bytes`, a power of two of at least 1 KiB; the last part may be shorter.
pub fn verify_unit(
    root: &Hash,
    length: u64,
    unit_bytes: u64,
    unit: u64,
    bytes: &[u8],
    path: &[Hash],
) -> Result<(), ProofError> {
    let count = unit_count(length, unit_bytes, unit)?;
    let offset = unit * unit_bytes;
    let (expected, found) = (unit_bytes.min(length - offset), bytes.len() as u64);
    if found != expected {
        return Err(ProofError::UnitLength { expected, found });
    }
    let (expected, found) = (steps(unit, count).count(), path.len());
    if found != expected {
        return Err(ProofError::PathLength { expected, found });
    }
    // Hashing the whole subtree at once lets BLAKE3 hash its leaves in parallel.
    let mut hasher = Hasher::new();
    let mut node = match count {
        1 => Hash(hasher.update(bytes).finalize().into()),
        _ => Hash(hasher.set_input_offset(offset).update(bytes).finalize_non_root()),
    };
    for (step, sibling) in steps(unit, count).zip(path) {
        let (left, right) = match step.side {
            Side::Left => (sibling, &node),
            Side::Right => (&node, sibling),
        };
        node = match step.is_root {
            true => join_root(left, right),
            false => join(left, right),
        };
    }
    match node == *root {
        true => Ok(()),
        false => Err(ProofError::WrongRoot),
    }
}

/// The path of slice `slice`: see [`verify_slice`].
pub fn slice_path(outboard: &Outboard, length: u64, slice: u64) -> Result<Vec<Hash>, ProofError> {
    unit_path(outboard, length, SLICE_BYTES as u64, slice)
}

/// The path of cell `cell`: see [`verify_cell`].
pub fn cell_path(outboard: &Outboard, length: u64, cell: u64) -> Result<Vec<Hash>, ProofError> {
    unit_path(outboard, length, CELL_BYTES as u64, cell)
}

/// The path of part `unit`. The part size is a power of two of bytes, at least [`GROUP_BYTES`].
pub fn unit_path(
    outboard: &Outboard,
    length: u64,
    unit_bytes: u64,
    unit: u64,
) -> Result<Vec<Hash>, ProofError> {
    outboard.path(length, unit_bytes, unit)
}

/// The bytes of the shard that [`leaf_proof`] needs to open leaf `leaf`: its group.
pub fn group_range(length: u64, leaf: u64) -> Result<Range<u64>, ProofError> {
    unit_count(length, LEAF, leaf)?;
    let start = leaf / LEAVES_PER_GROUP * GROUP;
    Ok(start..length.min(start.saturating_add(GROUP)))
}

/// Opens leaf `leaf`, from 0; `group` are the shard's bytes in [`group_range`]. Other bytes give a proof
/// that does not verify.
pub fn leaf_proof(
    outboard: &Outboard,
    length: u64,
    leaf: u64,
    group: &[u8],
) -> Result<LeafProof, ProofError> {
    group_range(length, leaf)?;
    leaf_proof_below(outboard.path(length, GROUP, leaf / LEAVES_PER_GROUP)?, length, leaf, group)
}

/// The same for a caller that has read the path of the group, part `leaf / 16` of 16 KiB, separately.
pub fn leaf_proof_below(
    group_path: Vec<Hash>,
    length: u64,
    leaf: u64,
    group: &[u8],
) -> Result<LeafProof, ProofError> {
    let range = group_range(length, leaf)?;
    let (expected, found) = (range.end - range.start, group.len() as u64);
    if found != expected {
        return Err(ProofError::UnitLength { expected, found });
    }
    let mut path = inner_path(range.start, leaf % LEAVES_PER_GROUP, group);
    path.extend(group_path);
    let start = usize::try_from(leaf % LEAVES_PER_GROUP * LEAF).expect("inside a group");
    let end = group.len().min(start + LEAF_BYTES);
    Ok(LeafProof { leaf: group[start..end].to_vec(), path })
}

/// The siblings of a leaf inside its group, each hashed as one subtree.
fn inner_path(group_start: u64, leaf: u64, group: &[u8]) -> Vec<Hash> {
    let place = |leaf: u64| usize::try_from(leaf * LEAF).expect("inside a group");
    let count = (group.len() as u64).div_ceil(LEAF);
    let sibling = |level: u32, index: u64| {
        let (start, end) = (index << level, (index + 1) << level);
        let bytes = &group[place(start)..place(end).min(group.len())];
        let mut hasher = Hasher::new();
        hasher.set_input_offset(group_start + start * LEAF).update(bytes);
        Hash(hasher.finalize_non_root())
    };
    steps(leaf, count).map(|step| sibling(step.level, step.index)).collect()
}
