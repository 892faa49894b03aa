//! That a shard's bytes are there, leaf by leaf, against its BLAKE3 root. See `spec/proof.md`.

use alloc::vec::Vec;

use crate::{id::Hash, record};

record! {
    /// One opened leaf of a shard and its path to the root.
    pub struct LeafProof {
        /// The leaf's bytes: 1 KiB, or what is left at the end of the shard.
        pub leaf: Vec<u8>,
        /// Chaining values of the siblings, from the leaf's level upward.
        pub path: Vec<Hash>,
    }
}
