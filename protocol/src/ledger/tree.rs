//! One root over all rows: a compact binary sparse Merkle tree, kept as rows beside them.
//!
//! The hash of a row's key is its path. A subtree without rows is the zero hash, a subtree with one row is
//! that row's leaf, and only a subtree with two rows or more is a branch. So the shape depends on the set
//! of rows alone, never on the order in which they came. A path is about `log2(rows)` branches long. See
//! `spec/proof.md`, "State tree".
//!
//! The state also keeps the tree, in pages of four levels: a change rewrites a quarter as many rows as the tree has
//! levels. Their keys begin with [`TAG`]. These rows are not themselves in the tree.

mod path;

pub use path::{TreeError, prove, verify};

use alloc::{collections::BTreeMap, vec::Vec};
use core::array;

use blake3::{
    Hasher,
    hazmat::{ContextKey, HasherExt, hash_derive_key_context},
};

use crate::{
    choice,
    codec::{Decode, Encode, Reader},
    id::Hash,
    ledger::state::State,
};

/// The first byte of the keys of the tree's own rows.
pub const TAG: u8 = 0;

/// The root of a tree without rows, and the hash of every empty subtree.
pub const EMPTY: Hash = Hash([0; 32]);

/// Levels of branches at most: the bits of a path.
pub const DEPTH_MAX: usize = 256;

/// Levels of one page.
const PAGE_LEVELS: usize = 4;

/// Subtrees below one page.
const CELLS: usize = 1 << PAGE_LEVELS;

/// Bytes of the row of a page with a branch in every cell: nearly all pages have less.
const PAGE_ROW_BYTES: usize = CELLS * (1 + Hash::BYTES);

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
        /// More rows: a branch.
        Branch = 2 { hash: Hash },
    }
}

/// The subtrees below a branch, four levels deeper. A single row within these levels stands in its own cell.
type Cells = [Node; CELLS];

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

    /// The subtree over some cells of a page: a power of two, side by side.
    fn fold(&self, cells: &[Node]) -> Node {
        if let [cell] = cells {
            return *cell;
        }
        let (left, right) = cells.split_at(cells.len() / 2);
        match (self.fold(left), self.fold(right)) {
            (Node::Empty, other @ (Node::Empty | Node::Leaf { .. }))
            | (other @ Node::Leaf { .. }, Node::Empty) => other,
            (left, right) => {
                Node::Branch { hash: self.branch(&self.node(&left), &self.node(&right)) }
            }
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
    /// The subtree `node` at `depth`, where a page begins, after `changes`, which are sorted and all lie in it.
    fn apply(&mut self, node: Node, depth: usize, changes: &[Change]) -> Node {
        let Some(first) = changes.first() else { return node };
        let place = first.path;
        let had_page = matches!(node, Node::Branch { .. });
        if !had_page && let Some(alone) = alone(node, changes) {
            return alone;
        }
        let before = self.cells(node, depth, &place);
        let mut cells = before;
        let mut rest = changes;
        while let Some(first) = rest.first() {
            let number = cell_of(&first.path, depth);
            let ours = rest.partition_point(|change| cell_of(&change.path, depth) <= number);
            let (below, others) = rest.split_at(ours);
            cells[number] = self.apply(cells[number], depth + PAGE_LEVELS, below);
            rest = others;
        }
        if had_page && cells == before {
            return node;
        }
        let after = self.hash.fold(&cells);
        let is_page = matches!(after, Node::Branch { .. });
        if is_page || had_page {
            let row = is_page.then(|| to_row(&cells));
            self.rows.insert(page_key(depth, &place), row);
        }
        after
    }

    /// The cells of a subtree before the changes.
    fn cells(&self, node: Node, depth: usize, place: &Hash) -> Cells {
        let mut cells = [Node::Empty; CELLS];
        match node {
            Node::Branch { .. } => cells = page(self.state, depth, place),
            Node::Leaf { path, .. } => cells[cell_of(&path, depth)] = node,
            Node::Empty => {}
        }
        cells
    }
}

/// A subtree that had at most one row, if it has at most one after the changes.
fn alone(node: Node, changes: &[Change]) -> Option<Node> {
    let mut rows = changes.iter().filter_map(|change| Some((change.path, change.value?)));
    let stays = match node {
        Node::Leaf { path, .. } => {
            changes.binary_search_by_key(&path, |change| change.path).is_err()
        }
        Node::Empty | Node::Branch { .. } => false,
    };
    match (rows.next(), rows.next(), stays) {
        (None, _, true) => Some(node),
        (None, _, false) => Some(Node::Empty),
        (Some((path, value)), None, false) => Some(Node::Leaf { path, value }),
        (Some(_), _, _) => None,
    }
}

/// The subtree of all rows.
fn top<S: State + ?Sized>(state: &S) -> Node {
    state.row(&top_key()).map_or(Node::Empty, |bytes| Node::from_bytes(&bytes).expect(OURS))
}

/// The page at `depth` on the way to `path`. A state that cannot read has remembered the reason, and its engine drops
/// the block. So the result does not matter then.
fn page<S: State + ?Sized>(state: &S, depth: usize, path: &Hash) -> Cells {
    let Some(bytes) = state.row(&page_key(depth, path)) else { return [Node::Empty; CELLS] };
    let mut reader = Reader::new(&bytes);
    let cells = array::from_fn(|_| Node::decode(&mut reader).expect(OURS));
    reader.finish().expect(OURS);
    cells
}

const OURS: &str = "tree rows are written by these rules and decode";

fn to_row(cells: &Cells) -> Vec<u8> {
    let mut row = Vec::with_capacity(PAGE_ROW_BYTES);
    for cell in cells {
        cell.encode(&mut row);
    }
    row
}

fn top_key() -> Vec<u8> {
    Vec::from([TAG])
}

/// `0 | depth as u16 BE | the first depth bits of the path, padded with zero bits to whole bytes`.
fn page_key(depth: usize, path: &Hash) -> Vec<u8> {
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

/// Which cell of the page at `depth` a path leads to.
fn cell_of(path: &Hash, depth: usize) -> usize {
    let byte = path.0[depth / 8];
    usize::from(if depth.is_multiple_of(8) { byte >> 4 } else { byte & 0x0f })
}

/// Bit `depth` of a path, most significant bit of the first byte first.
fn bit(path: &Hash, depth: usize) -> bool {
    path.0[depth / 8] & (0x80 >> (depth % 8)) != 0
}

#[cfg(test)]
mod tests;
