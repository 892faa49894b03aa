//! Proofs that a node has a shard's bytes, leaf by leaf, against the shard's BLAKE3 root. See
//! `spec/proof.md`.
//!
//! A shard's root is its plain BLAKE3 hash. So the hash that addresses a shard is also the Merkle root that
//! proves its parts. BLAKE3 cuts its input into leaves of 1 KiB and joins them in a left-full binary tree.
//! A path is the siblings that lead from a part to the root.
//!
//! - [`ShardHasher`] hashes a shard as it streams in. It keeps the shard's [`Outboard`], the inner nodes
//!   from 16 KiB upward, so that the node can make paths later without reading the shard again;
//! - [`leaf_proof`] and [`verify_leaf`]: one leaf, the unit that a storage proof opens;
//! - [`slice_path`] and [`verify_slice`], [`cell_path`] and [`verify_cell`]: larger parts, each hashed at
//!   once and verified by itself;
//! - [`challenge_seed`] and [`challenges`]: the leaves that a node must open in an epoch.
//!
//! A part other than the last one binds its bytes and its place, not the shard's length: two lengths may
//! give paths of the same shape. The last part also binds the length.

mod cells;
mod challenge;
mod outboard;
mod shape;
mod unit;

pub use cells::{cell_node, root_of_cells};
pub use challenge::{Challenge, TRIES_MAX, challenge_counts, challenge_seed, challenges};
pub use outboard::{GROUP_BYTES, Outboard, ShardHasher, path_entries};
pub use unit::{
    cell_path, group_range, leaf_proof, leaf_proof_below, slice_path, unit_path, verify_cell,
    verify_leaf, verify_slice, verify_unit,
};

use alloc::vec::Vec;

use thiserror::Error;

use crate::{id::Hash, limits::LEAF_BYTES, record};

record! {
    /// One opened leaf of a shard and its path to the root.
    pub struct LeafProof {
        /// The leaf's bytes: 1 KiB, or the rest of the shard at its end.
        pub leaf: Vec<u8>,
        /// Chaining values of the siblings, from the leaf's level upward.
        pub path: Vec<Hash>,
    }
}

/// Why a part of a shard is not proven, or has no proof.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProofError {
    /// The shard has no bytes, so there is nothing to prove.
    #[error("a shard without bytes cannot be proven")]
    Empty,
    /// The part is beyond the end of the shard.
    #[error("there is no part {unit}: the shard has {count}")]
    NoSuchUnit {
        /// The requested part, from 0.
        unit: u64,
        /// How many parts the shard has.
        count: u64,
    },
    /// The outboard is not one for a shard of this length.
    #[error("the outboard has {found} nodes, this shard needs {expected}")]
    Outboard {
        /// How many nodes it should have.
        expected: u64,
        /// How many it has.
        found: u64,
    },
    /// The path is too short or too long for this place in a shard of this length.
    #[error("the path has {found} siblings instead of {expected}")]
    PathLength {
        /// How many siblings are needed.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// The part has too few or too many bytes.
    #[error("the part has {found} bytes instead of {expected}")]
    UnitLength {
        /// How many bytes it has in a shard of this length.
        expected: u64,
        /// How many were given.
        found: u64,
    },
    /// Parts of this size are not subtrees, or the outboard does not contain them.
    #[error("a path cannot prove parts of {unit_bytes} bytes")]
    UnitSize {
        /// The size.
        unit_bytes: u64,
    },
    /// The bytes and the path lead to another root.
    #[error("bytes and path lead to another root")]
    WrongRoot,
}

/// How many leaves a shard of `length` bytes has. A shard without bytes has none.
#[must_use]
pub const fn leaf_count(length: u64) -> u64 {
    length.div_ceil(LEAF_BYTES as u64)
}

#[cfg(test)]
mod tests;
