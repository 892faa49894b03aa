//! The mask over a shard. It makes shards independent random strings, so that no node can recompute its own
//! shard from the others instead of keeping it.
//!
//! The mask is ChaCha20 (RFC 8439) with a zero nonce, under a key that is used for one shard of one file version.
//! The mask of a shard never changes, so a repaired shard has the root that the ledger already holds.

use alloc::collections::BTreeMap;
use core::fmt;

use chacha20::{
    ChaCha20, Key, KeyIvInit, Nonce,
    cipher::{StreamCipher, StreamCipherSeek},
};
use zeroize::Zeroizing;

use crate::{
    content::{MaskKey, MaskMode},
    limits::SHARD_BYTES_MAX,
};

/// The keys of masks of one segment, by shard index. They say nothing about the masks of other shards.
#[derive(Clone, Default)]
pub struct IndexKeys(BTreeMap<u8, Zeroizing<[u8; 32]>>);

impl IndexKeys {
    /// Adds the key of one shard's mask: see [`MaskKey::shard_mask_key`].
    pub fn insert(&mut self, index: u8, key: Zeroizing<[u8; 32]>) {
        self.0.insert(index, key);
    }
}

impl fmt::Debug for IndexKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IndexKeys(of {:?})", self.0.keys())
    }
}

/// The masks of shards of one segment.
#[derive(Clone, Debug)]
pub struct Mask(Keys);

#[derive(Clone, Debug)]
enum Keys {
    /// Shards without masks.
    None,
    /// The masks of all shards of a segment.
    All { key: MaskKey, segment: u32 },
    /// The masks of some shards.
    Some(IndexKeys),
}

/// The mask of one shard.
pub struct ShardMask(Option<Zeroizing<[u8; 32]>>);

impl Mask {
    /// The masks of the shards of `segment`.
    #[must_use]
    pub fn new(mode: MaskMode, key: &MaskKey, segment: u32) -> Self {
        Self(match mode {
            MaskMode::None => Keys::None,
            MaskMode::ChaCha20 => Keys::All { key: key.clone(), segment },
        })
    }

    /// The masks of these shards, and of no others.
    #[must_use]
    pub fn of(keys: IndexKeys) -> Self {
        Self(Keys::Some(keys))
    }

    /// Whether the mask of this shard is known.
    #[must_use]
    pub fn knows(&self, index: u8) -> bool {
        match &self.0 {
            Keys::None | Keys::All { .. } => true,
            Keys::Some(keys) => keys.0.contains_key(&index),
        }
    }

    /// The mask of one shard.
    ///
    /// # Panics
    /// If it is not known.
    #[must_use]
    pub fn shard(&self, index: u8) -> ShardMask {
        ShardMask(match &self.0 {
            Keys::None => None,
            Keys::All { key, segment } => Some(Zeroizing::new(key.shard_mask_key(*segment, index))),
            Keys::Some(keys) => Some(keys.0.get(&index).expect("a known mask").clone()),
        })
    }
}

impl ShardMask {
    /// The mask of this index key.
    #[must_use]
    pub fn of_key(index_key: &[u8; 32]) -> Self {
        Self(Some(Zeroizing::new(*index_key)))
    }

    /// Masks, or unmasks, the bytes at `offset` of the shard.
    ///
    /// # Panics
    /// If the bytes reach beyond the longest shard.
    pub fn apply(&self, offset: u64, bytes: &mut [u8]) {
        if let Some(key) = &self.0 {
            stream(key, &[0; 12], offset, bytes.len()).apply_keystream(bytes);
        }
    }

    /// The same from one buffer into another of the same length.
    ///
    /// # Panics
    /// If the bytes reach beyond the longest shard, or the lengths differ.
    pub fn copy(&self, offset: u64, from: &[u8], to: &mut [u8]) {
        match &self.0 {
            None => to.copy_from_slice(from),
            Some(key) => {
                stream(key, &[0; 12], offset, from.len()).apply_keystream_b2b(from, to);
            }
        }
    }
}

impl fmt::Debug for ShardMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ShardMask(secret)" } else { "ShardMask(none)" })
    }
}

fn stream(key: &[u8; 32], nonce: &[u8; 12], offset: u64, length: usize) -> ChaCha20 {
    // 64 MiB are 2^20 blocks: the 32-bit block counter never wraps.
    assert!(offset.saturating_add(length as u64) <= SHARD_BYTES_MAX, "no shard is that long");
    let mut cipher = ChaCha20::new(&Key::from(*key), &Nonce::from(*nonce));
    cipher.seek(offset);
    cipher
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use std::{string::String, vec, vec::Vec};

    use super::*;
    use crate::{content::FileKey, id::unhex};

    #[test]
    fn any_part_of_the_stream_is_the_same_stream() {
        let mask = Mask::new(MaskMode::ChaCha20, &FileKey::from_bytes([5; 32]).mask_key(), 9);
        let shard = mask.shard(3);
        let mut whole = vec![0; 200_000];
        shard.apply(0, &mut whole);
        for (offset, length) in [(0, 1), (1, 63), (63, 2), (64, 64), (65_520, 16), (65_535, 70_000)]
        {
            let mut part = vec![0; length];
            shard.apply(offset as u64, &mut part);
            assert_eq!(part, whole[offset..offset + length], "{offset}");
            let mut copy = vec![0xaa; length];
            shard.copy(offset as u64, &part, &mut copy);
            assert_eq!(copy, vec![0; length], "a mask undoes itself");
        }
        assert_ne!(whole[..64], whole[64..128]);
        let mut other = vec![0; 64];
        mask.shard(2).apply(0, &mut other);
        assert_ne!(other, whole[..64]);
    }

    #[test]
    fn the_last_byte_of_the_longest_shard_has_a_mask_of_its_own() {
        let shard = ShardMask(Some(Zeroizing::new([1; 32])));
        let (mut first, mut last) = ([0; 64], [0; 64]);
        shard.apply(0, &mut first);
        shard.apply(SHARD_BYTES_MAX - 64, &mut last);
        assert_ne!(first, last);
    }

    #[test]
    #[should_panic(expected = "no shard is that long")]
    fn there_is_no_mask_beyond_the_longest_shard() {
        ShardMask(Some(Zeroizing::new([1; 32]))).apply(SHARD_BYTES_MAX, &mut [0]);
    }

    #[test]
    fn public_content_has_no_mask() {
        let key = FileKey::from_bytes([5; 32]).mask_key();
        let mut bytes = [7; 100];
        Mask::new(MaskMode::None, &key, 9).shard(0).apply(0, &mut bytes);
        assert_eq!(bytes, [7; 100]);
    }

    #[test]
    fn rfc_8439_stream() {
        let text = include_str!("../../../spec/vectors/content/primitives.json");
        let cases: Vec<Value> = serde_json::from_str(text).unwrap();
        let mut count = 0;
        for case in cases.iter().filter(|case| case["primitive"] == "chacha20") {
            let field = |name: &str| unhex(case[name].as_str().unwrap()).unwrap();
            let key = field("key").try_into().unwrap();
            let nonce = field("nonce").try_into().unwrap();
            let mut bytes = field("plain");
            let length = bytes.len();
            let offset = case["counter"].as_u64().unwrap() * 64;
            stream(&key, &nonce, offset, length).apply_keystream(&mut bytes);
            let outcome = if bytes == field("sealed") { "ok" } else { "mismatch" };
            assert_eq!(String::from(outcome), case["outcome"].as_str().unwrap(), "{case}");
            count += 1;
        }
        assert_eq!(count, 3);
    }
}
