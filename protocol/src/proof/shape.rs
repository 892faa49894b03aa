//! The shape of BLAKE3's tree, seen from equal parts: the neighbours on the way to the root.
//!
//! Number the parts of a level from 0. Each even part joins with the odd one after it. A last part without
//! a partner moves up unchanged. This gives the left-full tree of BLAKE3 if the part size is a power of two
//! of leaves; the last part may be shorter.

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::ProofError;
use crate::{id::Hash, limits::LEAF_BYTES};

/// The side on which the sibling of a node on the way to the root stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A sibling on the way to the root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// How often parts were joined in pairs to reach this level; 0 for the parts themselves.
    pub(super) level: u32,
    /// The sibling's number on this level.
    pub(super) index: u64,
    /// Its side.
    pub(super) side: Side,
    /// Whether the join with it is the root.
    pub(super) is_root: bool,
}

/// The siblings on the way from part `index` of `count`, upward. At most 54, for 2^54 leaves.
pub(super) fn steps(index: u64, count: u64) -> impl Iterator<Item = Step> {
    let mut at = (0, index, count);
    core::iter::from_fn(move || {
        while at.2 > 1 {
            let (level, index, count) = at;
            at = (level + 1, index / 2, count.div_ceil(2));
            let is_root = count == 2;
            if index % 2 == 1 {
                return Some(Step { level, index: index - 1, side: Side::Left, is_root });
            }
            if index + 1 < count {
                return Some(Step { level, index: index + 1, side: Side::Right, is_root });
            }
        }
        None
    })
}

/// Checks that parts of `unit_bytes` are whole subtrees, and that `unit` is a part of a shard of `length`.
/// Gives the number of parts.
pub(super) fn unit_count(length: u64, unit_bytes: u64, unit: u64) -> Result<u64, ProofError> {
    if !unit_bytes.is_power_of_two() || unit_bytes < LEAF_BYTES as u64 {
        return Err(ProofError::UnitSize { unit_bytes });
    }
    if length == 0 {
        return Err(ProofError::Empty);
    }
    match length.div_ceil(unit_bytes) {
        count if unit < count => Ok(count),
        count => Err(ProofError::NoSuchUnit { unit, count }),
    }
}

/// The chaining value of two joined subtrees that are not the whole tree.
pub(super) fn join(left: &Hash, right: &Hash) -> Hash {
    Hash(merge_subtrees_non_root(&left.0, &right.0, Mode::Hash))
}

/// The root of two joined subtrees that are the whole tree.
pub(super) fn join_root(left: &Hash, right: &Hash) -> Hash {
    Hash(merge_subtrees_root(&left.0, &right.0, Mode::Hash).into())
}
