//! The shape of BLAKE3's tree, seen from equal parts: which neighbours stand on the way to the root.
//!
//! Number the parts of a level from 0. Each even one is joined with the odd one after it; a last one
//! without a partner moves up as it is. This gives the left-full tree of BLAKE3 whenever the parts
//! are a power of two of leaves, the last one possibly shorter.

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::ProofError;
use crate::{id::Hash, limits::LEAF_BYTES};

/// On which side of a node on the way to the root its sibling stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// A sibling on the way to the root.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// How often parts were joined in pairs to get to this level; 0 for the parts themselves.
    pub(super) level: u32,
    /// The sibling's number on this level.
    pub(super) index: u64,
    /// Where it stands.
    pub(super) side: Side,
    /// Whether the join with it is the root.
    pub(super) is_root: bool,
}

/// The siblings on the way of part `index` of `count`, upward. At most 54, for 2^54 leaves.
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

/// Checks that parts of `unit_bytes` are whole subtrees, and that `unit` is one of a shard of
/// `length`. Answers how many there are.
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

/// The chaining value of two joined subtrees that are not everything.
pub(super) fn join(left: &Hash, right: &Hash) -> Hash {
    Hash(merge_subtrees_non_root(&left.0, &right.0, Mode::Hash))
}

/// The root of two joined subtrees that are everything.
pub(super) fn join_root(left: &Hash, right: &Hash) -> Hash {
    Hash(merge_subtrees_root(&left.0, &right.0, Mode::Hash).into())
}
