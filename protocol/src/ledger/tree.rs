//! One root over all rows: a compact Merkle tree over their keys, in the order of the keys, kept as rows beside them.
//!
//! It is a binary Patricia tree. A branch stands where the keys of a subtree first differ, and nowhere else, so the
//! shape depends on the set of keys alone, never on the order in which they came. Neighbours in key order are
//! neighbours in the tree. So one proof shows a whole range of rows, and that none is left out. No key is the beginning
//! of another: all keys of a table have one length. See `spec/proof.md`, "State tree".
//!
//! The state also keeps the tree, in pages of four bits: a change rewrites at most one page for four bits of its key,
//! and changes of neighbours rewrite the same pages. Their keys begin with [`TAG`]. These rows are not themselves in
//! the tree.

mod bits;
mod proof;

pub use proof::{Range, TreeError, prove_range, prove_rows, verify_range, verify_rows};

use alloc::{collections::BTreeMap, vec::Vec};

use blake3::{
    Hasher,
    hazmat::{ContextKey, HasherExt, hash_derive_key_context},
};

use crate::{
    codec::{Decode, DecodeError, Encode, Reader},
    id::Hash,
    ledger::state::State,
};
use bits::{Bits, bit, cell, common};

/// The first byte of the keys of the tree's own rows.
pub const TAG: u8 = 0;

/// The root of a tree without rows.
pub const EMPTY: Hash = Hash([0; 32]);

/// Bytes of a row's key at most, its table's tag included. The longest today has 73.
pub const KEY_BYTES_MAX: usize = 80;

/// Bits of a page: it has up to two to the power of this subtrees.
const PAGE_BITS: usize = 4;

/// Changed rows by key; `None` where a row is removed.
pub type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The root over all rows of `state`.
#[must_use]
pub fn root<S: State + ?Sized>(state: &S) -> Hash {
    top(state).map_or(EMPTY, |node| node.hash)
}

/// The root after `changes`, and the tree's own rows that change with them.
///
/// It reads only the tree's rows of `state`, so `state` may or may not hold the changes already. Keys under
/// [`TAG`] are the tree's own, so the tree ignores their changes.
///
/// # Panics
/// If a key is longer than [`KEY_BYTES_MAX`], or the beginning of another. The keys of the tables are not.
#[must_use]
pub fn update<S: State + ?Sized>(state: &S, changes: &Rows) -> (Hash, Rows) {
    let mut update = Update { state, hash: Hasher32::new(), rows: Rows::new() };
    let changes: Vec<Change<'_>> = changes
        .iter()
        .filter(|(key, _)| key.first() != Some(&TAG))
        .map(|(key, value)| {
            let value = value.as_ref().map(|value| update.hash.value(value));
            Change { key, leaf: value.map(|value| update.hash.leaf(key, &value)) }
        })
        .collect();

    let before = top(state);
    let after = update.apply(before, &changes);
    if after != before {
        update.rows.insert(top_key(), after.map(|node| to_row(&[node], 0)));
    }
    (after.map_or(EMPTY, |node| node.hash), update.rows)
}

/// A subtree, as its parent knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    /// Whether it is a single row. Otherwise it is a branch.
    is_row: bool,
    /// The row's key, or the bits that all keys below the branch share: they differ in the bit after these.
    bits: Bits,
    hash: Hash,
}

impl Node {
    const ROW: u8 = 1;
    const BRANCH: u8 = 2;

    /// Where the page of a branch begins.
    fn depth(&self) -> usize {
        self.bits.len() - self.bits.len() % PAGE_BITS
    }

    /// Its bytes in a page at `depth`. The page's key has the bits before it, down to whole bytes.
    fn write(&self, depth: usize, out: &mut Vec<u8>) {
        out.push(if self.is_row { Self::ROW } else { Self::BRANCH });
        u16::try_from(self.bits.len()).expect("a key has at most 576 bits").encode(out);
        out.extend_from_slice(&self.bits.bytes()[depth / 8..]);
        self.hash.encode(out);
    }

    fn read(input: &mut Reader<'_>, depth: usize, place: &[u8]) -> Result<Self, DecodeError> {
        let invalid = DecodeError::Invalid { what: "a subtree" };
        let kind = u8::decode(input)?;
        let length = usize::from(u16::decode(input)?);
        let (start, end) = (depth / 8, length.div_ceil(8));
        if KEY_BYTES_MAX < end || ![Self::ROW, Self::BRANCH].contains(&kind) {
            return Err(invalid);
        }
        let mut key = [0; KEY_BYTES_MAX];
        key[..start].copy_from_slice(&place[..start]);
        key[start..end].copy_from_slice(input.take(end.checked_sub(start).ok_or(invalid)?)?);
        let bits = Bits::first_of(&key, length);
        Ok(Self { is_row: kind == Self::ROW, bits, hash: Hash::decode(input)? })
    }
}

/// The tree's hash functions. Each has a domain of its own; the context strings are hashed once.
struct Hasher32 {
    value: ContextKey,
    leaf: ContextKey,
    branch: ContextKey,
}

impl Hasher32 {
    fn new() -> Self {
        Self {
            value: hash_derive_key_context("symbolon 2026 state value v1"),
            leaf: hash_derive_key_context("symbolon 2026 state leaf v2"),
            branch: hash_derive_key_context("symbolon 2026 state branch v2"),
        }
    }

    fn value(&self, value: &[u8]) -> Hash {
        derive(&self.value, &[value])
    }

    fn leaf(&self, key: &[u8], value: &Hash) -> Hash {
        let length = u16::try_from(key.len()).expect("a key has at most 64 bytes").to_le_bytes();
        derive(&self.leaf, &[&length, key, &value.0])
    }

    fn branch(&self, bit: usize, left: &Hash, right: &Hash) -> Hash {
        let bit = u16::try_from(bit).expect("a key has at most 576 bits").to_le_bytes();
        derive(&self.branch, &[&bit, &left.0, &right.0])
    }

    /// The subtree over subtrees that stand side by side; none without any.
    fn fold(&self, nodes: &[Node]) -> Option<Node> {
        let [first, .., _] = nodes else { return nodes.first().copied() };
        let (bit, left, right) = halves(nodes);
        let (left, right) = (self.fold(left)?, self.fold(right)?);
        let hash = self.branch(bit, &left.hash, &right.hash);
        Some(Node { is_row: false, bits: first.bits.first(bit), hash })
    }
}

/// Two subtrees or more that stand side by side: the bit in which they first differ, and those on both sides of it.
fn halves(nodes: &[Node]) -> (usize, &[Node], &[Node]) {
    let ends = nodes.first().zip(nodes.last());
    let at = ends.map_or(0, |(first, last)| first.bits.common(last.bits.bytes()));
    let (left, right) = nodes.split_at(nodes.partition_point(|node| !bit(node.bits.bytes(), at)));
    (at, left, right)
}

fn derive(context: &ContextKey, parts: &[&[u8]]) -> Hash {
    let mut hasher = Hasher::new_from_context_key(context);
    for part in parts {
        hasher.update(part);
    }
    Hash(hasher.finalize().into())
}

/// A row that changes.
struct Change<'a> {
    key: &'a [u8],
    /// Its leaf; `None` if it is removed.
    leaf: Option<Hash>,
}

impl Change<'_> {
    /// The row as a subtree of its own.
    fn row(&self) -> Option<Node> {
        let bits = Bits::of(self.key).expect(SHORT);
        self.leaf.map(|hash| Node { is_row: true, bits, hash })
    }
}

struct Update<'a, S: State + ?Sized> {
    state: &'a S,
    hash: Hasher32,
    rows: Rows,
}

impl<S: State + ?Sized> Update<'_, S> {
    /// A subtree after `changes`, which are in order and all lie in it.
    fn apply(&mut self, node: Option<Node>, changes: &[Change<'_>]) -> Option<Node> {
        let Some((first, last)) = changes.first().zip(changes.last()) else { return node };
        let branch = node.filter(|node| !node.is_row);
        if branch.is_none()
            && let Alone::Is(alone) = alone(node, changes)
        {
            return alone;
        }
        let depth = differs(node, first.key, last.key) / PAGE_BITS * PAGE_BITS;
        let page_here = branch.filter(|branch| branch.depth() == depth);
        let before = match page_here {
            Some(branch) => page(self.state, depth, branch.bits.bytes()),
            None => node.into_iter().collect(),
        };
        let after = self.cells(&before, depth, changes);
        if page_here.is_some() && after == before {
            return node;
        }
        let is_page = 1 < after.len();
        if is_page || page_here.is_some() {
            let row = is_page.then(|| to_row(&after, depth));
            self.rows.insert(page_key(depth, first.key), row);
        }
        self.hash.fold(&after)
    }

    /// The subtrees of a page after changes, each of which lies in one of them or begins a new one.
    fn cells(&mut self, before: &[Node], depth: usize, changes: &[Change<'_>]) -> Vec<Node> {
        let mut after = Vec::with_capacity(before.len() + 1);
        let (mut old, mut rest) = (before, changes);
        loop {
            let old_cell = old.first().map(|node| cell(node.bits.bytes(), depth));
            let new_cell = rest.first().map(|change| cell(change.key, depth));
            let Some(number) = old_cell.into_iter().chain(new_cell).min() else { return after };
            let node = old.first().filter(|_| old_cell == Some(number)).copied();
            old = &old[usize::from(node.is_some())..];
            let (below, others) =
                rest.split_at(rest.partition_point(|change| cell(change.key, depth) <= number));
            rest = others;
            after.extend(self.apply(node, below));
        }
    }
}

/// How many bits a subtree and changes in it share. If there are several rows then, they differ in the bit after these.
fn differs(node: Option<Node>, first: &[u8], last: &[u8]) -> usize {
    let mut same = common(first, last);
    if let Some(node) = &node {
        same = same.min(node.bits.common(first));
    }
    let ends = [first.len(), last.len()].map(|bytes| 8 * bytes);
    let row = node.filter(|node| node.is_row).map(|node| node.bits.len());
    let shortest = ends.into_iter().chain(row).min();
    assert!(shortest.is_some_and(|bits| same < bits), "{FREE}");
    same
}

/// A subtree that has at most one row before and after some changes.
enum Alone {
    Is(Option<Node>),
    HasMore,
}

/// The same for a subtree that had at most one row.
fn alone(node: Option<Node>, changes: &[Change<'_>]) -> Alone {
    let mut rows = changes.iter().filter_map(Change::row);
    let stays = node.filter(|node| {
        changes.binary_search_by(|change| change.key.cmp(node.bits.bytes())).is_err()
    });
    match (rows.next(), rows.next(), stays) {
        (None, _, stays) => Alone::Is(stays),
        (Some(row), None, None) => Alone::Is(Some(row)),
        (Some(_), _, _) => Alone::HasMore,
    }
}

/// The subtree of all rows.
fn top<S: State + ?Sized>(state: &S) -> Option<Node> {
    let row = state.row(&top_key())?;
    from_row(&row, 0, &[]).first().copied()
}

/// The page at `depth` of keys that begin as `place`. A state that cannot read has remembered the reason, and its
/// engine drops the block. So the result does not matter then.
fn page<S: State + ?Sized>(state: &S, depth: usize, place: &[u8]) -> Vec<Node> {
    state.row(&page_key(depth, place)).map_or_else(Vec::new, |row| from_row(&row, depth, place))
}

fn from_row(row: &[u8], depth: usize, place: &[u8]) -> Vec<Node> {
    let mut input = Reader::new(row);
    let mut nodes = Vec::with_capacity(1 << PAGE_BITS);
    while 0 < input.remaining() {
        nodes.push(Node::read(&mut input, depth, place).expect(OURS));
    }
    nodes
}

fn to_row(nodes: &[Node], depth: usize) -> Vec<u8> {
    let mut row = Vec::new();
    for node in nodes {
        node.write(depth, &mut row);
    }
    row
}

fn top_key() -> Vec<u8> {
    Vec::from([TAG])
}

/// `0 | the first depth bits of the place, padded with zero bits to whole bytes | depth mod 8`. So a page stands beside
/// the pages below it.
fn page_key(depth: usize, place: &[u8]) -> Vec<u8> {
    let bits = Bits::first_of(place, depth);
    let rest = u8::try_from(depth % 8).expect("less than eight");
    let mut key = Vec::with_capacity(2 + bits.bytes().len());
    key.push(TAG);
    key.extend_from_slice(bits.bytes());
    key.push(rest);
    key
}

const OURS: &str = "tree rows are written by these rules and decode";
const SHORT: &str = "the key of every table has at most KEY_BYTES_MAX bytes";
const FREE: &str = "no key is the beginning of another: all keys of a table have one length";

#[cfg(test)]
mod tests;
