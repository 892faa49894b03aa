//! Hashing a shard as it streams in, and the inner nodes of its tree that are kept.

use alloc::vec::Vec;

use blake3::{Hasher, hazmat::HasherExt};

use super::{
    ProofError,
    shape::{join, join_root, steps, unit_count},
};
use crate::id::Hash;

/// Bytes under one node of the outboard's lowest level: 16 leaves, as many as AVX-512 hashes at once. At
/// this size the outboard takes 0.39 % of the shard.
pub const GROUP_BYTES: usize = 16 * 1024;

/// The nodes of a shard's tree from [`GROUP_BYTES`] upward, all but the root: level by level from the
/// groups up, each from left to right. The last level is the root's two children. A node without a partner
/// is repeated on the next level. A shard of one group or less has an empty outboard.
///
/// No one trusts an outboard: the receiver of a path checks it against the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outboard {
    nodes: Vec<Hash>,
}

impl Outboard {
    /// Reads the bytes that [`to_bytes`](Self::to_bytes) wrote for a shard of `length` bytes.
    pub fn from_bytes(length: u64, bytes: &[u8]) -> Result<Self, ProofError> {
        let expected = node_count(length);
        let found = (bytes.len() / Hash::BYTES) as u64;
        let (nodes, rest) = bytes.as_chunks::<{ Hash::BYTES }>();
        match found == expected && rest.is_empty() {
            true => Ok(Self { nodes: nodes.iter().copied().map(Hash).collect() }),
            false => Err(ProofError::Outboard { expected, found }),
        }
    }

    /// Its nodes, one after the other.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.nodes.iter().flat_map(|node| node.0).collect()
    }

    /// Its nodes, in stored order.
    #[must_use]
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// How many bytes it takes for a shard of `length` bytes.
    #[must_use]
    pub fn byte_length(length: u64) -> u64 {
        node_count(length) * Hash::BYTES as u64
    }

    /// The siblings of a part, after a check that this outboard fits the length.
    pub(super) fn path(
        &self,
        length: u64,
        unit_bytes: u64,
        unit: u64,
    ) -> Result<Vec<Hash>, ProofError> {
        let expected = node_count(length);
        let found = self.nodes.len() as u64;
        if found != expected {
            return Err(ProofError::Outboard { expected, found });
        }
        let entries = path_entries(length, unit_bytes, unit)?;
        Ok(entries.into_iter().map(|entry| self.nodes[entry]).collect())
    }
}

/// The nodes that form the path of part `unit` in the outboard of a shard of `length` bytes. So a program
/// can read a path from a file without reading the whole outboard: node `n` is at byte `32 n`. Part sizes
/// are a power of two of bytes, at least [`GROUP_BYTES`].
pub fn path_entries(length: u64, unit_bytes: u64, unit: u64) -> Result<Vec<usize>, ProofError> {
    if unit_bytes < GROUP_BYTES as u64 {
        return Err(ProofError::UnitSize { unit_bytes });
    }
    let count = unit_count(length, unit_bytes, unit)?;
    let below = unit_bytes.ilog2() - GROUP_BYTES.ilog2();
    let groups = length.div_ceil(GROUP_BYTES as u64);
    let entry = |level, index| {
        let before: u64 = levels(groups).take((below + level) as usize).sum();
        usize::try_from(before + index).expect("a shard of usize::MAX groups is not in memory")
    };
    Ok(steps(unit, count).map(|step| entry(step.level, step.index)).collect())
}

/// Hashes a shard as it streams in.
#[derive(Clone, Debug, Default)]
pub struct ShardHasher {
    /// Nodes of the groups that are certainly not the last.
    nodes: Vec<Hash>,
    /// The current group. It stays here until it is full and another byte follows: BLAKE3 is fast only on
    /// whole groups, and the only group of a shard is its root.
    group: Vec<u8>,
}

impl ShardHasher {
    /// A hasher without bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.group.len() == GROUP_BYTES {
                let group = core::mem::take(&mut self.group);
                self.close(&group);
                self.group = group;
                self.group.clear();
            }
            // Groups that lie whole in `bytes`, with more to follow, need no copy.
            while self.group.is_empty() && bytes.len() > GROUP_BYTES {
                let (group, later) = bytes.split_at(GROUP_BYTES);
                self.close(group);
                bytes = later;
            }
            let room = GROUP_BYTES - self.group.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.group.extend_from_slice(now);
            bytes = later;
        }
    }

    /// How many bytes were taken.
    #[must_use]
    pub fn length(&self) -> u64 {
        (self.nodes.len() * GROUP_BYTES + self.group.len()) as u64
    }

    /// The root and the outboard. Without any bytes, the root is BLAKE3's hash of nothing. Such a shard has
    /// no proofs, and the protocol refuses it.
    #[must_use]
    pub fn finish(mut self) -> (Hash, Outboard) {
        let group = core::mem::take(&mut self.group);
        if self.nodes.is_empty() {
            return (Hash(blake3::hash(&group).into()), Outboard::default());
        }
        self.close(&group);
        let mut nodes = self.nodes;
        let mut start = 0;
        while nodes.len() - start > 2 {
            let end = nodes.len();
            for at in (start..end).step_by(2) {
                let node = match at + 1 < end {
                    true => join(&nodes[at], &nodes[at + 1]),
                    false => nodes[at],
                };
                nodes.push(node);
            }
            start = end;
        }
        (join_root(&nodes[start], &nodes[start + 1]), Outboard { nodes })
    }

    /// Hashes a group that is not the only one.
    fn close(&mut self, group: &[u8]) {
        let offset = (self.nodes.len() * GROUP_BYTES) as u64;
        let node = Hasher::new().set_input_offset(offset).update(group).finalize_non_root();
        self.nodes.push(Hash(node));
    }
}

/// Nodes on each level of an outboard, from the groups up, without the root.
fn levels(groups: u64) -> impl Iterator<Item = u64> {
    core::iter::successors(Some(groups), |count| Some(count.div_ceil(2)))
        .take_while(|count| *count > 1)
}

fn node_count(length: u64) -> u64 {
    levels(length.div_ceil(GROUP_BYTES as u64)).sum()
}
