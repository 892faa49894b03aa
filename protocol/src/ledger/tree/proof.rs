//! Proofs: that these are the rows with some keys, or all rows of a range.
//!
//! A proof is the tree without the subtrees that do not matter. All leaves below a branch share its bits, so the leaves
//! that are shown say where the hidden subtrees lie. A verifier refuses a hidden subtree that could hold a row that was
//! asked for.

use alloc::{collections::BTreeMap, vec::Vec};
use core::cmp::Ordering;

use thiserror::Error;

use super::{Bits, EMPTY, Hasher32, KEY_BYTES_MAX, Node, bit, common, halves, page, top};
use crate::{
    codec::{Decode, DecodeError, Encode, Reader},
    id::Hash,
    ledger::state::State,
};

/// Why a proof does not show what it should.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeError {
    /// A branch divides keys at a bit that is not after the bit of the branch above it, or that no key has.
    #[error("a branch is not below its place")]
    Bits,
    /// A subtree that is not shown could hold a row that was asked for.
    #[error("a hidden subtree could hold a row that was asked for")]
    Hidden,
    /// A branch of which no leaf is shown. A proof hides the whole branch then.
    #[error("a branch shows no leaf")]
    Hollow,
    /// A row that was asked for is shown, but it is not in the answer.
    #[error("a row is left out of the answer")]
    LeftOut,
    /// Its bytes are not a proof.
    #[error("not a proof: {0}")]
    Malformed(#[from] DecodeError),
    /// The rows of the answer are not in order, or not what was asked for.
    #[error("the rows are not those that were asked for")]
    Outside,
    /// It shows more or fewer rows than the answer has.
    #[error("the proof has places for {places} rows, and the answer has {rows}")]
    Places {
        /// Its places.
        places: usize,
        /// The rows.
        rows: usize,
    },
    /// A leaf stands where its key does not belong.
    #[error("a leaf stands in another key's place")]
    Stray,
    /// It leads to another root.
    #[error("the proof leads to another root")]
    WrongRoot,
}

/// A range of keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct Range<'a> {
    /// What the keys begin with.
    pub prefix: &'a [u8],
    /// What they come after.
    pub after: Option<&'a [u8]>,
    /// The last of them, if there may be more behind it.
    pub until: Option<&'a [u8]>,
}

/// The keys that a proof is about.
#[derive(Clone, Copy)]
enum Asked<'a> {
    /// These keys, in order.
    Keys(&'a [&'a [u8]]),
    /// All keys of a range.
    Range(Range<'a>),
}

impl Asked<'_> {
    /// Whether a key is among them.
    fn has(&self, key: &[u8]) -> bool {
        match self {
            Self::Keys(keys) => keys.binary_search(&key).is_ok(),
            Self::Range(Range { prefix, after, until }) => {
                key.starts_with(prefix)
                    && after.is_none_or(|after| after < key)
                    && until.is_none_or(|until| key <= until)
            }
        }
    }

    /// Whether a key that begins with some bits could be among them.
    fn may_have(&self, bits: &Bits) -> bool {
        match self {
            Self::Keys(keys) => {
                let is_before = |key: &&[u8]| match bits.order(key) {
                    // A key that ends within the bits is not below them.
                    Ordering::Equal => 8 * key.len() < bits.len(),
                    order => order == Ordering::Greater,
                };
                let first = keys.partition_point(is_before);
                keys.get(first).is_some_and(|key| bits.order(key) == Ordering::Equal)
            }
            Self::Range(Range { prefix, after, until }) => {
                bits.order(prefix) == Ordering::Equal
                    && after.is_none_or(|after| bits.order(after) != Ordering::Less)
                    && until.is_none_or(|until| bits.order(until) != Ordering::Greater)
            }
        }
    }
}

/// Proves which of these keys have rows in `state`, and which rows.
#[must_use]
pub fn prove_rows<'a, S: State + ?Sized>(
    state: &S,
    keys: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<u8> {
    let mut keys: Vec<&[u8]> = keys.into_iter().collect();
    keys.sort_unstable();
    keys.dedup();
    prove(state, Asked::Keys(&keys))
}

/// Proves all rows of a range in `state`.
#[must_use]
pub fn prove_range<S: State + ?Sized>(state: &S, range: &Range<'_>) -> Vec<u8> {
    prove(state, Asked::Range(*range))
}

/// Checks that under `root` the rows with these keys have these values, or that there are none.
pub fn verify_rows<'a>(
    root: &Hash,
    rows: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    proof: &[u8],
) -> Result<(), TreeError> {
    let mut asked = BTreeMap::new();
    for (key, value) in rows {
        if asked.insert(key, value).is_some_and(|other| other != value) {
            return Err(TreeError::Outside);
        }
    }
    let keys: Vec<&[u8]> = asked.keys().copied().collect();
    let there: Vec<_> = asked.into_iter().filter_map(|(key, value)| Some((key, value?))).collect();
    verify(root, Asked::Keys(&keys), &there, proof)
}

/// Checks that under `root` these are all rows of a range.
pub fn verify_range(
    root: &Hash,
    range: &Range<'_>,
    rows: &[(&[u8], &[u8])],
    proof: &[u8],
) -> Result<(), TreeError> {
    let asked = Asked::Range(*range);
    let in_order = rows.is_sorted_by(|(before, _), (key, _)| before < key);
    if !in_order || !rows.iter().all(|(key, _)| asked.has(key)) {
        return Err(TreeError::Outside);
    }
    verify(root, asked, rows, proof)
}

/// A part of a proof. A branch is followed by its two sides.
pub(super) enum Part<'a> {
    /// The whole tree has no rows.
    Nothing,
    /// A subtree that is not shown.
    Hidden(Hash),
    /// The place of the next row of the answer.
    Row,
    /// Another row.
    Leaf { key: &'a [u8], value: Hash },
    /// A branch, and the bit at which its sides differ.
    Branch(u16),
}

impl<'a> Part<'a> {
    const NOTHING: u8 = 0;
    const HIDDEN: u8 = 1;
    pub(super) const ROW: u8 = 2;
    const LEAF: u8 = 3;
    const BRANCH: u8 = 4;

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nothing => out.push(Self::NOTHING),
            Self::Hidden(hash) => {
                out.push(Self::HIDDEN);
                hash.encode(out);
            }
            Self::Row => out.push(Self::ROW),
            Self::Leaf { key, value } => {
                out.push(Self::LEAF);
                out.push(u8::try_from(key.len()).expect("a key is short"));
                out.extend_from_slice(key);
                value.encode(out);
            }
            Self::Branch(bit) => {
                out.push(Self::BRANCH);
                bit.encode(out);
            }
        }
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match u8::decode(input)? {
            Self::NOTHING => Ok(Self::Nothing),
            Self::HIDDEN => Ok(Self::Hidden(Hash::decode(input)?)),
            Self::ROW => Ok(Self::Row),
            Self::LEAF => {
                let length = usize::from(u8::decode(input)?);
                if KEY_BYTES_MAX < length {
                    return Err(DecodeError::Invalid { what: "a key" });
                }
                Ok(Self::Leaf { key: input.take(length)?, value: Hash::decode(input)? })
            }
            Self::BRANCH => Ok(Self::Branch(u16::decode(input)?)),
            tag => Err(DecodeError::Tag { what: "part of a proof", tag }),
        }
    }
}

/// The parts of one whole proof: as many as its branches have sides.
fn parts(proof: &[u8]) -> Result<Vec<Part<'_>>, DecodeError> {
    let mut input = Reader::new(proof);
    let (mut parts, mut sides) = (Vec::new(), 1_usize);
    while 0 < sides {
        let part = Part::decode(&mut input)?;
        match part {
            Part::Nothing if !parts.is_empty() => {
                return Err(DecodeError::Invalid { what: "an empty subtree" });
            }
            Part::Branch(_) => sides += 1,
            _ => sides -= 1,
        }
        parts.push(part);
    }
    input.finish()?;
    Ok(parts)
}

fn prove<S: State + ?Sized>(state: &S, asked: Asked<'_>) -> Vec<u8> {
    let mut prover = Prover { state, hash: Hasher32::new(), asked, proof: Vec::new() };
    match top(state) {
        Some(node) => prover.show(&[node], 0, false),
        None => Part::Nothing.encode(&mut prover.proof),
    }
    prover.proof
}

struct Prover<'a, S: State + ?Sized> {
    state: &'a S,
    hash: Hasher32,
    asked: Asked<'a>,
    proof: Vec<u8>,
}

impl<S: State + ?Sized> Prover<'_, S> {
    /// Shows the part of a tree over subtrees that share at least `shared` bits. `is_needed` says that a leaf of it must
    /// be shown, because it says where the subtrees beside it lie.
    fn show(&mut self, nodes: &[Node], shared: usize, is_needed: bool) {
        // Without any, the state could not be read: see `page`.
        let Some(first) = nodes.first() else { return };
        if !is_needed && !self.asked.may_have(&first.bits.first(shared)) {
            let hidden = self.hash.fold(nodes).map_or(EMPTY, |node| node.hash);
            return Part::Hidden(hidden).encode(&mut self.proof);
        }
        match nodes {
            [row] if row.is_row => self.leaf(row.bits.bytes()),
            [branch] => {
                let page = page(self.state, branch.depth(), branch.bits.bytes());
                self.show(&page, shared, is_needed);
            }
            _ => {
                let (at, left, right) = halves(nodes);
                let number = u16::try_from(at).expect("a key has at most 576 bits");
                Part::Branch(number).encode(&mut self.proof);
                let sides = [false, true].map(|side| Bits::beside(first.bits.bytes(), at, side));
                let is_asked = sides.iter().any(|side| self.asked.may_have(side));
                self.show(left, at + 1, !is_asked);
                self.show(right, at + 1, false);
            }
        }
    }

    fn leaf(&mut self, key: &[u8]) {
        if self.asked.has(key) {
            return Part::Row.encode(&mut self.proof);
        }
        let value = self.hash.value(&self.state.row(key).unwrap_or_default());
        Part::Leaf { key, value }.encode(&mut self.proof);
    }
}

/// A part that is checked.
struct Shown<'a> {
    hash: Hash,
    /// The key of a leaf of it; `None` if it is hidden.
    key: Option<&'a [u8]>,
    /// The bit at which it divides, if it is a branch.
    bit: Option<usize>,
}

fn verify(
    root: &Hash,
    asked: Asked<'_>,
    rows: &[(&[u8], &[u8])],
    proof: &[u8],
) -> Result<(), TreeError> {
    if rows.iter().any(|(key, _)| KEY_BYTES_MAX < key.len()) {
        return Err(TreeError::Outside);
    }
    let parts = parts(proof)?;
    let places = parts.iter().filter(|part| matches!(part, Part::Row)).count();
    if places != rows.len() {
        return Err(TreeError::Places { places, rows: rows.len() });
    }
    let hash = Hasher32::new();
    let leaf = |key, value: &Hash| Shown { hash: hash.leaf(key, value), key: Some(key), bit: None };
    let (mut rows, mut stack) = (rows.iter().rev(), Vec::new());
    // From the last part to the first: a branch finds its two sides finished, the left one on top.
    for part in parts.iter().rev() {
        let shown = match part {
            Part::Nothing => {
                return if *root == EMPTY { Ok(()) } else { Err(TreeError::WrongRoot) };
            }
            Part::Hidden(hidden) => Shown { hash: *hidden, key: None, bit: None },
            Part::Row => {
                let (key, value) = rows.next().expect("there are as many rows as places");
                leaf(*key, &hash.value(value))
            }
            Part::Leaf { key, .. } if asked.has(key) => return Err(TreeError::LeftOut),
            Part::Leaf { key, value } => leaf(*key, value),
            Part::Branch(bit) => {
                let left = stack.pop().expect("decoding counts the sides");
                let right = stack.pop().expect("decoding counts the sides");
                join(&hash, &asked, usize::from(*bit), &left, &right)?
            }
        };
        stack.push(shown);
    }
    let whole = stack.pop().expect("a proof has a part");
    if whole.key.is_none() && asked.may_have(&Bits::NONE) {
        return Err(TreeError::Hidden);
    }
    if whole.hash == *root { Ok(()) } else { Err(TreeError::WrongRoot) }
}

/// A branch over two parts.
fn join<'a>(
    hash: &Hasher32,
    asked: &Asked<'_>,
    at: usize,
    left: &Shown<'a>,
    right: &Shown<'a>,
) -> Result<Shown<'a>, TreeError> {
    let is_below = |side: &Shown<'_>| side.bit.is_none_or(|bit| at < bit);
    if 8 * KEY_BYTES_MAX <= at || !is_below(left) || !is_below(right) {
        return Err(TreeError::Bits);
    }
    let key = left.key.or(right.key).ok_or(TreeError::Hollow)?;
    let is_there = |own: &[u8], is_right| {
        at < 8 * own.len() && at <= common(own, key) && bit(own, at) == is_right
    };
    let sides = [(left.key, false), (right.key, true)];
    if sides.iter().any(|(key, is_right)| key.is_some_and(|key| !is_there(key, *is_right))) {
        return Err(TreeError::Stray);
    }
    let hides = |is_right| asked.may_have(&Bits::beside(key, at, is_right));
    if sides.iter().any(|(key, is_right)| key.is_none() && hides(*is_right)) {
        return Err(TreeError::Hidden);
    }
    Ok(Shown { hash: hash.branch(at, &left.hash, &right.hash), key: Some(key), bit: Some(at) })
}
