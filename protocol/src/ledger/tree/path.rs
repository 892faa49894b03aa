//! A row's path in the state tree: that it has this value, or that there is no such row.

use alloc::vec::Vec;

use thiserror::Error;

use super::{DEPTH_MAX, Hasher32, Node, bit, page, top};
use crate::{
    choice,
    codec::{Decode, DecodeError, Encode},
    id::Hash,
    ledger::state::State,
    record,
};

/// Why a path does not show what it should.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TreeError {
    /// It shows that there is no such row, or another one, where a value was claimed; or the reverse.
    #[error("the path does not end as claimed")]
    End,
    /// Its bytes are not a path.
    #[error("not a path: {0}")]
    Malformed(#[from] DecodeError),
    /// It ends at another row, which does not stand on the way to the key.
    #[error("the path ends at a row that is not on the way to the key")]
    Stray,
    /// It is longer than any.
    #[error("a path of {levels} levels, at most {DEPTH_MAX} are possible")]
    TooDeep {
        /// How many levels it has.
        levels: usize,
    },
    /// It leads to another root.
    #[error("the path leads to another root")]
    WrongRoot,
}

record! {
    /// What stands beside the way from the root to where a key stands or would stand.
    struct Path {
        /// From the root's children downward.
        siblings: Vec<Hash>,
        /// What the way ends at.
        end: End,
    }
}

choice! {
    /// What a way ends at.
    #[derive(Copy)]
    enum End {
        /// Nothing.
        Empty = 0,
        /// The key's own row.
        Own = 1,
        /// The only row of a subtree in which the key would stand.
        Other = 2 { path: Hash, value: Hash },
    }
}

/// The path of the row under `key`, or of its absence, in the tree of `state`.
#[must_use]
pub fn prove<S: State + ?Sized>(state: &S, key: &[u8]) -> Vec<u8> {
    let hash = Hasher32::new();
    let own = hash.path(key);
    let mut siblings: Vec<Hash> = Vec::new();
    let mut node = top(state);
    while let (Node::Branch { .. }, depth) = (node, siblings.len())
        && depth < DEPTH_MAX
    {
        let cells = page(state, depth, &own);
        let mut part = &cells[..];
        while let (Node::Branch { .. }, middle @ 1..) = (node, part.len() / 2) {
            let (left, right) = part.split_at(middle);
            let (next, beside) = match bit(&own, siblings.len()) {
                false => (left, right),
                true => (right, left),
            };
            siblings.push(hash.node(&hash.fold(beside)));
            node = hash.fold(next);
            part = next;
        }
    }
    let end = match node {
        Node::Leaf { path, .. } if path == own => End::Own,
        Node::Leaf { path, value } => End::Other { path, value },
        Node::Empty | Node::Branch { .. } => End::Empty,
    };
    Path { siblings, end }.to_bytes()
}

/// Checks that under `root` the row of `key` has `value`, or that there is none.
pub fn verify(root: &Hash, key: &[u8], value: Option<&[u8]>, path: &[u8]) -> Result<(), TreeError> {
    let Path { siblings, end } = Path::from_bytes(path)?;
    let depth = siblings.len();
    if depth > DEPTH_MAX {
        return Err(TreeError::TooDeep { levels: depth });
    }
    let hash = Hasher32::new();
    let own = hash.path(key);
    let last = match (value, end) {
        (Some(value), End::Own) => Node::Leaf { path: own, value: hash.value(value) },
        (None, End::Empty) => Node::Empty,
        (None, End::Other { path, .. }) if path == own => return Err(TreeError::End),
        (None, End::Other { path, .. })
            if (0..depth).any(|level| bit(&path, level) != bit(&own, level)) =>
        {
            return Err(TreeError::Stray);
        }
        (None, End::Other { path, value }) => Node::Leaf { path, value },
        (Some(_), End::Empty | End::Other { .. }) | (None, End::Own) => return Err(TreeError::End),
    };
    let reached = siblings.iter().enumerate().rev().fold(
        hash.node(&last),
        |below, (level, beside)| match bit(&own, level) {
            false => hash.branch(&below, beside),
            true => hash.branch(beside, &below),
        },
    );
    match reached == *root {
        true => Ok(()),
        false => Err(TreeError::WrongRoot),
    }
}
