//! What is needed to read a file, next to its file key.

use crate::{
    choice,
    content::Scheme,
    id::{Hash, ObjectId},
    record,
};

choice! {
    /// Whether shards are masked. The mask makes shards independent random strings, so that no node
    /// can recompute its shard from the others instead of keeping it.
    #[derive(Copy)]
    pub enum MaskMode {
        /// No mask: public data, which anyone may repair.
        None = 0,
        /// ChaCha20 over the whole shard, under a key only the owner and caretakers have.
        ChaCha20 = 1,
    }
}

choice! {
    /// The erasure code, by the parity bytes it makes.
    #[derive(Copy)]
    pub enum Codec {
        /// Reed-Solomon over GF(2^8), the Vandermonde-derived matrix of `reed-solomon-erasure`.
        ReedSolomon8 = 1,
    }
}

record! {
    /// The description of one stored file version. It holds no key; its true `length` is the only
    /// thing in it that the ledger and the nodes do not see.
    pub struct Manifest {
        /// Version of this layout: 1.
        pub version: u8,
        /// Erasure code.
        pub codec: Codec,
        /// Mask mode.
        pub mask: MaskMode,
        /// Required and total shards.
        pub scheme: Scheme,
        /// The object that the file's deals name.
        pub object: ObjectId,
        /// Bytes of the file.
        pub length: u64,
        /// `derive_key("symbolon 2026 commit v1", file_key)`: checked before the first decryption.
        pub commitment: Hash,
        /// Merkle root over all cells: what a sale can be proven against.
        pub content_root: Hash,
    }
}
