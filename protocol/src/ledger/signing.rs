//! Hashes of everything that the ledger signs or chains. Each kind of content has a context of its own, so
//! that no kind can pass for another.

use alloc::vec::Vec;

use crate::{codec::Encode, id::Hash};

/// `derive_key(context, bytes)`.
pub(super) fn hash(context: &'static str, bytes: &[u8]) -> Hash {
    Hash(blake3::derive_key(context, bytes))
}

/// `derive_key(context, parts one after another)`.
pub(super) fn hash_parts(context: &'static str, parts: &[&dyn Part]) -> Hash {
    let mut bytes = Vec::new();
    for part in parts {
        part.append(&mut bytes);
    }
    hash(context, &bytes)
}

/// [`Encode`] behind a pointer.
pub(super) trait Part {
    fn append(&self, out: &mut Vec<u8>);
}

impl<T: Encode> Part for T {
    fn append(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }
}
