//! One cell: seal, open, and its leaf under the content root.
//!
//! The cipher is ChaCha20-Poly1305 (RFC 8439). Its key seals only one cell, once, so the nonce is zero. The
//! file's last cell carries the file's length as associated data; all others carry none.

use chacha20poly1305::{
    AeadInOut, ChaCha20Poly1305, Key, KeyInit, Nonce, Tag, aead::inout::InOutBuf,
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{id::Hash, limits::TAG_BYTES, record};

/// Why a cell does not open.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// The sealed cell does not fit the room for its plain bytes.
    #[error("a cell of {sealed} sealed bytes does not open into {plain}")]
    Length {
        /// Sealed bytes.
        sealed: usize,
        /// Room for plain bytes.
        plain: usize,
    },
    /// Key, cell, tag or length differ from what was sealed.
    #[error("the cell does not open under this key")]
    Forged,
}

/// Seals `plain` in place and returns the tag that follows it. `end` is the file's length for the file's
/// last cell, and `None` for all others.
#[must_use]
pub fn seal(key: &[u8; 32], end: Option<u64>, plain: &mut [u8]) -> [u8; TAG_BYTES] {
    seal_with(key, &[0; 12], bound(&end.map(u64::to_le_bytes)), plain)
}

/// Opens the sealed cell `cell` into `plain`, which is shorter by the tag. It writes nothing unless the
/// cell is genuine.
pub fn open(
    key: &[u8; 32],
    end: Option<u64>,
    cell: &[u8],
    plain: &mut [u8],
) -> Result<(), SealError> {
    let length = SealError::Length { sealed: cell.len(), plain: plain.len() };
    let (body, tag) = cell.split_last_chunk::<TAG_BYTES>().ok_or(length)?;
    let buffer = InOutBuf::new(body, plain).map_err(|_| length)?;
    open_with(key, &[0; 12], bound(&end.map(u64::to_le_bytes)), buffer, tag)
}

/// Opens in place a cell whose tag is stored separately.
pub(crate) fn open_in_place(
    key: &[u8; 32],
    end: Option<u64>,
    body: &mut [u8],
    tag: &[u8; TAG_BYTES],
) -> Result<(), SealError> {
    open_with(key, &[0; 12], bound(&end.map(u64::to_le_bytes)), body.into(), tag)
}

fn bound(end: &Option<[u8; 8]>) -> &[u8] {
    end.as_ref().map_or(&[], |bytes| bytes)
}

fn seal_with(key: &[u8; 32], nonce: &[u8; 12], data: &[u8], plain: &mut [u8]) -> [u8; TAG_BYTES] {
    let cipher = ChaCha20Poly1305::new(&Key::from(*key));
    let tag = cipher
        .encrypt_inout_detached(&Nonce::from(*nonce), data, plain.into())
        .expect("a cell is shorter than the 256 GiB the cipher can seal");
    tag.into()
}

fn open_with(
    key: &[u8; 32],
    nonce: &[u8; 12],
    data: &[u8],
    buffer: InOutBuf<'_, '_, u8>,
    tag: &[u8; TAG_BYTES],
) -> Result<(), SealError> {
    ChaCha20Poly1305::new(&Key::from(*key))
        .decrypt_inout_detached(&Nonce::from(*nonce), data, buffer, &Tag::from(*tag))
        .map_err(|_| SealError::Forged)
}

record! {
    /// The leaf of one cell under the content root, in parts. A party can show and prove any one of them
    /// without showing the others.
    #[derive(Copy)]
    pub struct LeafParts {
        /// Hash of the cell's key.
        pub key: Hash,
        /// Hash of the sealed cell, tag included.
        pub sealed: Hash,
        /// Hash of the plain cell, padding included, under a key that follows from the cell's: without that
        /// key, no one can test guesses of the cell's content.
        pub plain: Hash,
    }
}

impl LeafParts {
    /// The parts of a cell.
    #[must_use]
    pub fn new(key: &[u8; 32], sealed: &[u8], plain: &[u8]) -> Self {
        Self { key: key_hash(key), sealed: sealed_hash(&[sealed]), plain: plain_hash(key, plain) }
    }

    /// The leaf under the content root of the cell with this number, counted over the whole file.
    #[must_use]
    pub fn leaf(&self, cell: u64) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 content leaf v1");
        hasher.update(&cell.to_le_bytes());
        for part in [&self.key, &self.sealed, &self.plain] {
            hasher.update(&part.0);
        }
        Hash(*hasher.finalize().as_bytes())
    }
}

/// A leaf's hash of a cell's key.
#[must_use]
pub(crate) fn key_hash(key: &[u8; 32]) -> Hash {
    Hash(blake3::derive_key("symbolon 2026 cell key v1", key))
}

/// A leaf's hash of a sealed cell that lies in pieces.
#[must_use]
pub(crate) fn sealed_hash(pieces: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 sealed cell v1");
    for piece in pieces {
        hasher.update(piece);
    }
    Hash(*hasher.finalize().as_bytes())
}

/// A leaf's hash of a plain cell.
#[must_use]
pub(crate) fn plain_hash(key: &[u8; 32], plain: &[u8]) -> Hash {
    let key = Zeroizing::new(blake3::derive_key("symbolon 2026 plain cell key v1", key));
    Hash(*blake3::keyed_hash(&key, plain).as_bytes())
}

#[cfg(test)]
mod tests;
