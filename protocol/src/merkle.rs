//! A binary Merkle tree over hashed leaves, built as they come, and the paths that prove one of them.
//!
//! The left side of every node is the largest full tree that leaves something for the right side. So the
//! shape follows from the number of leaves alone. The root includes that number: no party can pass off a
//! node as a leaf of a smaller tree. See `spec/content.md`.

use alloc::vec::Vec;

use thiserror::Error;

use crate::id::Hash;

/// Why a path does not prove a leaf.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MerkleError {
    /// There is no such leaf.
    #[error("there is no leaf {index} of {count}")]
    Index {
        /// The leaf's index.
        index: u64,
        /// How many leaves the tree has.
        count: u64,
    },
    /// The path has another length than this leaf's.
    #[error("the path has {found} hashes instead of {expected}")]
    PathLength {
        /// How many it has.
        found: usize,
        /// How many it must have.
        expected: usize,
    },
    /// Leaf and path lead to another root.
    #[error("leaf and path do not lead to the root")]
    Root,
}

/// Builds a root from leaves as they come, in memory that grows with the logarithm of their number.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    /// The roots of full trees over all leaves so far, the largest first.
    full: Vec<Hash>,
    count: u64,
}

impl Builder {
    /// No leaves.
    #[must_use]
    pub const fn new() -> Self {
        Self { full: Vec::new(), count: 0 }
    }

    /// How many leaves there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.count += 1;
        let mut tree = leaf;
        // Each trailing zero of the count is a full tree of that size with a full twin on its left.
        for _ in 0..self.count.trailing_zeros() {
            let left = self.full.pop().expect("a bit of the count is a tree of that size");
            tree = node(&left, &tree);
        }
        self.full.push(tree);
    }

    /// The root over all leaves so far.
    #[must_use]
    pub fn finish(&self) -> Hash {
        let mut trees = self.full.iter().rev();
        let top = trees.next().map(|&last| trees.fold(last, |right, left| node(left, &right)));
        root(self.count, &top.unwrap_or(Hash([0; 32])))
    }
}

impl Extend<Hash> for Builder {
    fn extend<T: IntoIterator<Item = Hash>>(&mut self, leaves: T) {
        for leaf in leaves {
            self.push(leaf);
        }
    }
}

/// A whole tree in memory, for the paths of many leaves.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The leaves, then what stands above them, up to the top. An odd one at the end of a level stands in the next
    /// level too.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over these leaves.
    #[must_use]
    pub fn new(leaves: Vec<Hash>) -> Self {
        let mut levels = alloc::vec![leaves];
        while let Some(last) = levels.last().filter(|last| 1 < last.len()) {
            let above = last.chunks(2).map(|pair| match pair {
                [left, right] => node(left, right),
                odd => odd[0],
            });
            let above = above.collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// Its root.
    #[must_use]
    pub fn root(&self) -> Hash {
        let top = self.levels.last().and_then(|last| last.first()).copied();
        root(self.levels[0].len() as u64, &top.unwrap_or(Hash([0; 32])))
    }

    /// The siblings that lead from one leaf to the root: see [`path`].
    #[must_use]
    pub fn path(&self, index: u64) -> Vec<Hash> {
        let Some(mut at) = usize::try_from(index).ok().filter(|at| *at < self.levels[0].len())
        else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for level in &self.levels {
            out.extend(level.get(at ^ 1));
            at /= 2;
        }
        out
    }
}

/// The siblings that lead from one leaf to the root, from the leaf's level upward. If the tree has no such
/// leaf, the path is empty and proves nothing.
#[must_use]
pub fn path(leaves: &[Hash], index: u64) -> Vec<Hash> {
    let (mut tree, mut out) = (leaves, Vec::new());
    let Some(mut at) = usize::try_from(index).ok().filter(|&at| at < leaves.len()) else {
        return out;
    };
    while tree.len() > 1 {
        let (left, right) = tree.split_at(tree.len().next_power_of_two() / 2);
        let sibling = match at < left.len() {
            true => right,
            false => left,
        };
        if at < left.len() {
            tree = left;
        } else {
            at -= left.len();
            tree = right;
        }
        out.push(top(sibling));
    }
    out.reverse();
    out
}

/// Checks that `leaf` is leaf `index` of the `count` under `root`.
pub fn verify(
    root: &Hash,
    index: u64,
    count: u64,
    leaf: &Hash,
    path: &[Hash],
) -> Result<(), MerkleError> {
    if index >= count {
        return Err(MerkleError::Index { index, count });
    }
    // From the root down: whether the leaf is on the right, one bit per level, the lowest level last.
    let (mut sides, mut expected) = (0_u64, 0);
    let (mut at, mut size) = (index, count);
    while size > 1 {
        let left = 1 << (size - 1).ilog2();
        let right = at >= left;
        sides = sides << 1 | u64::from(right);
        (at, size) = if right { (at - left, size - left) } else { (at, left) };
        expected += 1;
    }
    if path.len() != expected {
        return Err(MerkleError::PathLength { found: path.len(), expected });
    }
    let mut tree = *leaf;
    for sibling in path {
        tree = match sides & 1 {
            0 => node(&tree, sibling),
            _ => node(sibling, &tree),
        };
        sides >>= 1;
    }
    match self::root(count, &tree) == *root {
        true => Ok(()),
        false => Err(MerkleError::Root),
    }
}

/// The top of the tree over some leaves, of which there is at least one.
fn top(leaves: &[Hash]) -> Hash {
    match leaves {
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node(&top(left), &top(right))
        }
    }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut input = [0; 64];
    input[..32].copy_from_slice(&left.0);
    input[32..].copy_from_slice(&right.0);
    Hash(blake3::derive_key("symbolon 2026 content node v1", &input))
}

fn root(count: u64, top: &Hash) -> Hash {
    let mut input = [0; 40];
    input[..8].copy_from_slice(&count.to_le_bytes());
    input[8..].copy_from_slice(&top.0);
    Hash(blake3::derive_key("symbolon 2026 content root v1", &input))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, vec::Vec};

    use super::*;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|index| Hash(*blake3::hash(&index.to_le_bytes()).as_bytes())).collect()
    }

    fn built(leaves: &[Hash]) -> Hash {
        let mut builder = Builder::new();
        builder.extend(leaves.iter().copied());
        builder.finish()
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_nothing_else() {
        let mut roots = BTreeSet::new();
        for count in 1..70 {
            let leaves = leaves(count);
            let root = built(&leaves);
            assert_eq!(root, super::root(count, &top(&leaves)), "as they come or all at once");
            let whole = Tree::new(leaves.clone());
            assert_eq!(whole.root(), root);
            assert!((0..=count).all(|index| whole.path(index) == path(&leaves, index)));
            assert!(roots.insert(root));
            for (index, leaf) in (0..count).zip(&leaves) {
                let path = path(&leaves, index);
                assert_eq!(verify(&root, index, count, leaf, &path), Ok(()));
                let other = (index + 1) % count;
                if other != index {
                    assert!(verify(&root, other, count, leaf, &path).is_err());
                }
                assert!(verify(&root, index, count + 1, leaf, &path).is_err());
                assert!(verify(&root, index, count, &Hash([1; 32]), &path).is_err());
                for level in 0..path.len() {
                    let mut bent = path.clone();
                    bent[level].0[0] ^= 1;
                    assert_eq!(verify(&root, index, count, leaf, &bent), Err(MerkleError::Root));
                }
            }
        }
    }

    #[test]
    fn a_node_is_no_leaf_of_a_smaller_tree() {
        let leaves = leaves(4);
        let root = built(&leaves);
        let pair = [node(&leaves[0], &leaves[1]), node(&leaves[2], &leaves[3])];
        assert_eq!(verify(&root, 0, 2, &pair[0], &pair[1..]), Err(MerkleError::Root));
    }

    #[test]
    fn what_has_no_path() {
        let (leaves, root) = (leaves(3), built(&leaves(3)));
        assert!(path(&leaves, 3).is_empty() && path(&[], 0).is_empty());
        let none = Tree::new(Vec::new());
        assert!(none.path(0).is_empty() && none.root() == Builder::new().finish());
        let index = MerkleError::Index { index: 3, count: 3 };
        assert_eq!(verify(&root, 3, 3, &leaves[2], &[]), Err(index));
        let short = MerkleError::PathLength { found: 0, expected: 1 };
        assert_eq!(verify(&root, 2, 3, &leaves[2], &[]), Err(short));
        let index = MerkleError::Index { index: 0, count: 0 };
        assert_eq!(verify(&Builder::new().finish(), 0, 0, &leaves[0], &[]), Err(index));
        // A count that no tree has ends at once, with a bounded walk.
        assert!(verify(&root, u64::MAX - 1, u64::MAX, &leaves[0], &[]).is_err());
    }
}
