//! The root record as the ledger sees it: random bytes, in one of eight sizes.

use alloc::vec::Vec;

use chacha20poly1305::{
    XChaCha20Poly1305,
    aead::{Aead, KeyInit, Payload},
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    codec::{Decode, DecodeError, Encode},
    id::{AccountId, ChainId},
    limits::{ROOT_BYTES_MAX, ROOT_STEP_BYTES},
    names::RootRecord,
};

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const LENGTH_BYTES: usize = 2;

/// The place that a blob belongs to. The seal authenticates all of it: a ledger cannot give out a record as
/// another account's, another ledger's or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The ledger.
    pub chain: ChainId,
    /// The account whose record it is.
    pub account: AccountId,
    /// The version of the row that contains it.
    pub version: u64,
}

/// Why a blob is not a root record.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RootError {
    /// A length that no blob has.
    #[error("{bytes} bytes are no length of a root record")]
    Length {
        /// The length of the blob.
        bytes: usize,
    },
    /// The blob does not open: another identity, ledger or version, or changed bytes.
    #[error("the root record does not open under this identity's key for this version")]
    Sealed,
    /// Padding in another form than the one valid form.
    #[error("the root record's padding is not what it must be")]
    Padding,
    /// The content is not a record.
    #[error("the root record is malformed: {0}")]
    Record(#[from] DecodeError),
    /// The record is larger than a blob may be.
    #[error("a root record of {bytes} bytes does not fit")]
    TooLarge {
        /// The length of the record.
        bytes: usize,
    },
}

/// Seals a record for its place. The size of the blob is a multiple of 512 bytes, the least that fits.
pub fn seal(
    names_key: &[u8; 32],
    place: &Place,
    record: &RootRecord,
    nonce: &[u8; NONCE_BYTES],
) -> Result<Vec<u8>, RootError> {
    let bytes = Zeroizing::new(record.to_bytes());
    let whole = blob_bytes(bytes.len());
    if !has_room(bytes.len()) || !record.is_bounded() {
        return Err(RootError::TooLarge { bytes: bytes.len() });
    }
    let length = u16::try_from(bytes.len()).expect("a blob has at most 4096 bytes");
    let mut plain = Zeroizing::new(Vec::with_capacity(whole));
    length.encode(&mut plain);
    plain.extend_from_slice(&bytes);
    plain.resize(whole - NONCE_BYTES - TAG_BYTES, 0);
    let payload = Payload { msg: &plain, aad: &aad(place) };
    let sealed = cipher(names_key).encrypt(nonce.into(), payload);
    let sealed = sealed.expect("a record is far below the cipher's limit");
    Ok([nonce.as_slice(), &sealed].concat())
}

/// Opens the blob of a row.
pub fn open(names_key: &[u8; 32], place: &Place, blob: &[u8]) -> Result<RootRecord, RootError> {
    let bytes = blob.len();
    if bytes == 0 || ROOT_BYTES_MAX < bytes || !bytes.is_multiple_of(ROOT_STEP_BYTES) {
        return Err(RootError::Length { bytes });
    }
    let (nonce, sealed) =
        blob.split_first_chunk::<NONCE_BYTES>().ok_or(RootError::Length { bytes })?;
    let payload = Payload { msg: sealed, aad: &aad(place) };
    let plain = cipher(names_key).decrypt(nonce.into(), payload).map_err(|_| RootError::Sealed)?;
    let plain = Zeroizing::new(plain);
    let (length, rest) =
        plain.split_first_chunk::<LENGTH_BYTES>().ok_or(RootError::Length { bytes })?;
    let length = usize::from(u16::from_le_bytes(*length));
    let least = blob_bytes(length) == bytes;
    let (record, padding) = rest.split_at_checked(length).ok_or(RootError::Padding)?;
    if !least || padding.iter().any(|byte| *byte != 0) {
        return Err(RootError::Padding);
    }
    Ok(RootRecord::from_bytes(record)?)
}

/// Whether a record of so many bytes has room in a blob.
#[must_use]
pub fn has_room(record: usize) -> bool {
    blob_bytes(record) <= ROOT_BYTES_MAX
}

/// The size of the blob of a record of so many bytes.
fn blob_bytes(record: usize) -> usize {
    (NONCE_BYTES + LENGTH_BYTES + record + TAG_BYTES).next_multiple_of(ROOT_STEP_BYTES)
}

fn cipher(names_key: &[u8; 32]) -> XChaCha20Poly1305 {
    let key = Zeroizing::new(blake3::derive_key("symbolon 2026 names root v1", names_key));
    XChaCha20Poly1305::new((&*key).into())
}

fn aad(place: &Place) -> Vec<u8> {
    let mut aad = Vec::with_capacity(72);
    place.chain.encode(&mut aad);
    place.account.encode(&mut aad);
    place.version.encode(&mut aad);
    aad
}
