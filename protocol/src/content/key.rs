//! The keys of one file version: all follow from 32 random bytes, with one context string per use.

use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::id::{AccountId, DealId, Hash, ObjectId, Opening};

macro_rules! secret {
    ($($(#[$meta:meta])* $name:ident;)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The key with these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its bytes: a secret.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.ct_eq(&other.0).into()
            }
        }

        impl Eq for $name {}

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(secret)"))
            }
        }
    )*};
}

secret! {
    /// Opens one stored file version. It is 32 random bytes, never derived from the content, so that two
    /// uploads of one file have nothing in common.
    FileKey;
    /// Opens the cells of one file version, and nothing else.
    ContentKey;
    /// Masks and unmasks the shards of one file version. A caretaker needs it to repair them. It opens
    /// nothing.
    MaskKey;
}

impl FileKey {
    /// The key that opens cells.
    #[must_use]
    pub fn content_key(&self) -> ContentKey {
        ContentKey(blake3::derive_key("symbolon 2026 content v1", &self.0))
    }

    /// The key that masks shards.
    #[must_use]
    pub fn mask_key(&self) -> MaskKey {
        MaskKey(blake3::derive_key("symbolon 2026 mask v1", &self.0))
    }

    /// The key of one cell: see [`ContentKey::cell_key`].
    #[must_use]
    pub fn cell_key(&self, segment: u32, cell: u64) -> [u8; 32] {
        self.content_key().cell_key(segment, cell)
    }

    /// The key of one shard's mask: see [`MaskKey::shard_mask_key`].
    #[must_use]
    pub fn shard_mask_key(&self, segment: u32, index: u8) -> [u8; 32] {
        self.mask_key().shard_mask_key(segment, index)
    }

    /// The public commitment to the key. It binds a manifest to this key only: an attacker can make a
    /// ciphertext of ChaCha20-Poly1305 that opens under two keys.
    #[must_use]
    pub fn commitment(&self) -> Hash {
        Hash(blake3::derive_key("symbolon 2026 commit v1", &self.0))
    }

    /// Whether `commitment` is this key's, in constant time. A reader checks this before it opens the first
    /// cell.
    #[must_use]
    pub fn is_committed(&self, commitment: &Hash) -> bool {
        self.commitment().0.ct_eq(&commitment.0).into()
    }

    /// The id of the file version on the network: the same for everyone who has the key, random to everyone
    /// else.
    #[must_use]
    pub fn object(&self) -> ObjectId {
        ObjectId(half(&blake3::derive_key("symbolon 2026 object v1", &self.0)))
    }

    /// The opening of one segment's deal on the ledger.
    #[must_use]
    pub fn deal_opening(&self, segment: u32) -> Opening {
        let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 deal v1");
        hasher.update(&self.0).update(&segment.to_le_bytes());
        Opening(*hasher.finalize().as_bytes())
    }

    /// The id of one segment's deal, if `owner` stores the file. It follows from the key. So an interrupted
    /// upload finds what it has already stored, and pays for it once.
    #[must_use]
    pub fn deal(&self, owner: &AccountId, segment: u32) -> DealId {
        DealId::of(owner, &self.deal_opening(segment))
    }
}

impl ContentKey {
    /// The key of one cell, counted within its segment in file order. It seals one cell, once. So its owner
    /// can show it without opening anything else.
    #[must_use]
    pub fn cell_key(&self, segment: u32, cell: u64) -> [u8; 32] {
        let mut input = [0; 16];
        input[..4].copy_from_slice(b"cell");
        input[4..8].copy_from_slice(&segment.to_le_bytes());
        input[8..].copy_from_slice(&cell.to_le_bytes());
        *blake3::keyed_hash(&self.0, &input).as_bytes()
    }
}

impl MaskKey {
    /// The key of one shard's mask: one key for each segment and index of the file version.
    #[must_use]
    pub fn shard_mask_key(&self, segment: u32, index: u8) -> [u8; 32] {
        let mut input = [index; 5];
        input[..4].copy_from_slice(&segment.to_le_bytes());
        *blake3::keyed_hash(&self.0, &input).as_bytes()
    }
}

fn half(hash: &[u8; 32]) -> [u8; 16] {
    let mut out = [0; 16];
    out.copy_from_slice(&hash[..16]);
    out
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, format};

    use super::*;

    #[test]
    fn no_two_uses_share_a_key() {
        let key = FileKey::from_bytes([7; 32]);
        let mut seen = BTreeSet::new();
        assert!(seen.insert(*key.content_key().as_bytes()));
        assert!(seen.insert(*key.mask_key().as_bytes()));
        assert!(seen.insert(key.commitment().0));
        for (segment, cell) in [(0, 0), (0, 1), (1, 0), (0, 1 << 32), (u32::MAX, u64::MAX)] {
            assert!(seen.insert(key.cell_key(segment, cell)));
        }
        for (segment, index) in [(0, 0), (0, 1), (1, 0), (1, 1), (1 << 24, 0), (0, 255)] {
            assert!(seen.insert(key.shard_mask_key(segment, index)));
        }
        let owner = AccountId([1; 32]);
        assert_ne!(key.deal(&owner, 0), key.deal(&owner, 1));
        assert_ne!(key.deal(&owner, 0), key.deal(&AccountId([2; 32]), 0));
        assert_ne!(key.deal(&owner, 0).0, key.object().0);
    }

    #[test]
    fn a_commitment_holds_for_one_key() {
        let key = FileKey::from_bytes([7; 32]);
        let commitment = key.commitment();
        assert!(key.is_committed(&commitment));
        for bit in 0..256 {
            let mut bytes = [7; 32];
            bytes[bit / 8] ^= 1 << (bit % 8);
            let other = FileKey::from_bytes(bytes);
            assert!(!other.is_committed(&commitment));
            assert_ne!(other, key);
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let key = FileKey::from_bytes([0xab; 32]);
        assert_eq!(format!("{key:?} {:?}", key.mask_key()), "FileKey(secret) MaskKey(secret)");
    }
}
