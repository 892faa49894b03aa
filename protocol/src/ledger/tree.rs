//! One root over all rows: a compact binary sparse Merkle tree, kept as rows beside them.
//!
//! The hash of a row's key is its path. A subtree without rows is the zero hash, a subtree with one row is
//! that row's leaf, and only a subtree with two rows or more is a branch. So the shape depends on the set
//! of rows alone, never on the order in which they came. A path is about `log2(rows)` branches long. See
//! `spec/proof.md`, "State tree".
//!
//! The state also keeps the branches, under keys that begin with [`TAG`]. These rows are not themselves in
//! the tree.

mod path;

pub use path::{TreeError, prove, verify};

use alloc::{collections::BTreeMap, vec::Vec};

use blake3::{
    Hasher,
    hazmat::{ContextKey, HasherExt, hash_derive_key_context},
};

use crate::{
    choice,
    codec::{Decode, Encode},
    id::Hash,
    ledger::state::State,
    record,
};

/// The first byte of the keys of the tree's own rows.
pub const TAG: u8 = 0;

/// The root of a tree without rows, and the hash of every empty subtree.
pub const EMPTY: Hash = Hash([0; 32]);

/// Levels of branches at most: the bits of a path.
pub const DEPTH_MAX: usize = 256;

/// Changed rows by key; `None` where a row is removed.
pub type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The root over all rows of `state`.
#[must_use]
pub fn root<S: State + ?Sized>(state: &S) -> Hash {
    Hasher32::new().node(&top(state))
}

/// The root after `changes`, and the tree's own rows that change with them.
///
/// It reads only the tree's rows of `state`, so `state` may or may not hold the changes already. Keys under
/// [`TAG`] are the tree's own, so the tree ignores their changes.
#[must_use]
pub fn update<S: State + ?Sized>(state: &S, changes: &Rows) -> (Hash, Rows) {
    let mut update = Update { state, hash: Hasher32::new(), rows: Rows::new() };
    let mut leaves: Vec<Change> = changes
        .iter()
        .filter(|(key, _)| key.first() != Some(&TAG))
        .map(|(key, value)| Change {
            path: update.hash.path(key),
            value: value.as_ref().map(|value| update.hash.value(value)),
        })
        .collect();
    leaves.sort_unstable_by_key(|leaf| leaf.path);

    let before = top(state);
    let after = update.apply(before, 0, &leaves);
    let root = update.hash.node(&after);
    if after != before {
        let row = (after != Node::Empty).then(|| after.to_bytes());
        update.rows.insert(top_key(), row);
    }
    (root, update.rows)
}

choice! {
    /// A subtree, as its parent knows it.
    #[derive(Copy)]
    enum Node {
        /// No rows.
        Empty = 0,
        /// One row: hash of its key, hash of its value.
        Leaf = 1 { path: Hash, value: Hash },
        /// More rows: a branch. The state keeps its row under its place.
        Branch = 2 { hash: Hash },
    }
}

record! {
    /// The row of a branch.
    #[derive(Copy)]
    struct Branch {
        left: Node,
        right: Node,
    }
}

/// The tree's hash functions. Each has a domain of its own; the context strings are hashed once.
struct Hasher32 {
    path: ContextKey,
    value: ContextKey,
    leaf: ContextKey,
    branch: ContextKey,
}

impl Hasher32 {
    fn new() -> Self {
        Self {
            path: hash_derive_key_context("symbolon 2026 state path v1"),
            value: hash_derive_key_context("symbolon 2026 state value v1"),
            leaf: hash_derive_key_context("symbolon 2026 state leaf v1"),
            branch: hash_derive_key_context("symbolon 2026 state branch v1"),
        }
    }

    fn path(&self, key: &[u8]) -> Hash {
        derive(&self.path, &[key])
    }

    fn value(&self, value: &[u8]) -> Hash {
        derive(&self.value, &[value])
    }

    fn leaf(&self, path: &Hash, value: &Hash) -> Hash {
        derive(&self.leaf, &[&path.0, &value.0])
    }

    fn branch(&self, left: &Hash, right: &Hash) -> Hash {
        derive(&self.branch, &[&left.0, &right.0])
    }

    fn node(&self, node: &Node) -> Hash {
        match node {
            Node::Empty => EMPTY,
            Node::Leaf { path, value } => self.leaf(path, value),
            Node::Branch { hash } => *hash,
        }
    }
}

fn derive(context: &ContextKey, parts: &[&[u8]]) -> Hash {
    let mut hasher = Hasher::new_from_context_key(context);
    for part in parts {
        hasher.update(part);
    }
    Hash(hasher.finalize().into())
}

/// A row that changes: its path and the hash of its new value.
struct Change {
    path: Hash,
    value: Option<Hash>,
}

struct Update<'a, S: State + ?Sized> {
    state: &'a S,
    hash: Hasher32,
    rows: Rows,
}

impl<S: State + ?Sized> Update<'_, S> {
    /// The subtree `node` at `depth` after `changes`, which are sorted and all lie in it.
    fn apply(&mut self, node: Node, depth: usize, changes: &[Change]) -> Node {
        let Some(first) = changes.first() else { return node };
        let Node::Branch { hash } = node else {
            return self.rebuild(node, depth, changes);
        };
        let place = first.path;
        let before = branch(self.state, depth, &place);
        let middle = changes.partition_point(|change| !bit(&change.path, depth));
        let left = self.apply(before.left, depth + 1, &changes[..middle]);
        let right = self.apply(before.right, depth + 1, &changes[middle..]);
        let after = Branch { left, right };
        if after == before {
            return Node::Branch { hash };
        }
        let node = self.join(depth, &place, after);
        if !matches!(node, Node::Branch { .. }) {
            self.rows.insert(branch_key(depth, &place), None);
        }
        node
    }

    /// A subtree that had at most one row: it has no branches below that need an update.
    fn rebuild(&mut self, node: Node, depth: usize, changes: &[Change]) -> Node {
        let mut leaves: Vec<(Hash, Hash)> = changes
            .iter()
            .filter_map(|change| change.value.map(|value| (change.path, value)))
            .collect();
        if let Node::Leaf { path, value } = node
            && changes.binary_search_by_key(&path, |change| change.path).is_err()
        {
            let place = leaves.partition_point(|(other, _)| *other < path);
            leaves.insert(place, (path, value));
        }
        self.build(depth, &leaves)
    }

    fn build(&mut self, depth: usize, leaves: &[(Hash, Hash)]) -> Node {
        match *leaves {
            [] => Node::Empty,
            [(path, value)] => Node::Leaf { path, value },
            [(place, _), ..] => {
                let middle = leaves.partition_point(|(path, _)| !bit(path, depth));
                let left = self.build(depth + 1, &leaves[..middle]);
                let right = self.build(depth + 1, &leaves[middle..]);
                self.join(depth, &place, Branch { left, right })
            }
        }
    }

    /// The subtree of two halves: kept as a branch unless it has collapsed to one row or none.
    fn join(&mut self, depth: usize, place: &Hash, halves: Branch) -> Node {
        match (halves.left, halves.right) {
            (Node::Empty, other @ (Node::Empty | Node::Leaf { .. }))
            | (other @ Node::Leaf { .. }, Node::Empty) => other,
            (left, right) => {
                let hash = self.hash.branch(&self.hash.node(&left), &self.hash.node(&right));
                self.rows.insert(branch_key(depth, place), Some(halves.to_bytes()));
                Node::Branch { hash }
            }
        }
    }
}

/// The subtree of all rows.
fn top<S: State + ?Sized>(state: &S) -> Node {
    state.row(&top_key()).map_or(Node::Empty, |bytes| {
        Node::from_bytes(&bytes).expect("tree rows are written by these rules and decode")
    })
}

/// The branch at `depth` on the way to `path`. A state that cannot read has remembered the reason, and its
/// engine drops the block. So the result does not matter then.
fn branch<S: State + ?Sized>(state: &S, depth: usize, path: &Hash) -> Branch {
    let absent = Branch { left: Node::Empty, right: Node::Empty };
    state.row(&branch_key(depth, path)).map_or(absent, |bytes| {
        Branch::from_bytes(&bytes).expect("tree rows are written by these rules and decode")
    })
}

fn top_key() -> Vec<u8> {
    Vec::from([TAG])
}

/// `0 | depth as u16 BE | the first depth bits of the path, padded with zero bits to whole bytes`.
fn branch_key(depth: usize, path: &Hash) -> Vec<u8> {
    let depth_bytes = u16::try_from(depth).expect("a path has 256 bits").to_be_bytes();
    let mut key = Vec::with_capacity(3 + depth.div_ceil(8));
    key.push(TAG);
    key.extend_from_slice(&depth_bytes);
    key.extend_from_slice(&path.0[..depth.div_ceil(8)]);
    if !depth.is_multiple_of(8)
        && let Some(last) = key.last_mut()
    {
        *last &= 0xff << (8 - depth % 8);
    }
    key
}

/// Bit `depth` of a path, most significant bit of the first byte first.
fn bit(path: &Hash, depth: usize) -> bool {
    path.0[depth / 8] & (0x80 >> (depth % 8)) != 0
}

#[cfg(test)]
mod tests;
