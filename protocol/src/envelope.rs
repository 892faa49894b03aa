//! A few secret bytes sealed to one X25519 key: HPKE (RFC 9180), base mode, DHKEM(X25519,
//! HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305. The sealed form is `enc (32) | ciphertext | tag (16)`.

use alloc::vec::Vec;
use core::{convert::Infallible, fmt};

use blake3::{Hasher, OutputReader};
use hpke::{
    Deserializable, OpModeR, OpModeS, Serializable,
    aead::ChaCha20Poly1305,
    kdf::HkdfSha256,
    kem::{Kem, X25519HkdfSha256},
    rand_core::{TryCryptoRng, TryRng},
    single_shot_open, single_shot_seal_with_rng,
};
use thiserror::Error;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// Bytes that sealing adds.
pub const OVERHEAD_BYTES: usize = 32 + 16;

/// Why an envelope was not sealed or opened.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// A key that cannot receive: it has small order.
    #[error("the recipient's key cannot receive")]
    Recipient,
    /// Another key, other `info` or `aad`, or changed bytes.
    #[error("the envelope does not open with this key and purpose")]
    Closed,
}

/// The public side of an X25519 secret.
#[must_use]
pub fn public_key(secret: &[u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(*secret)).to_bytes()
}

/// Seals bytes to a public key. The ephemeral key follows from the entropy and from everything that is
/// sealed. So repeated entropy never repeats a key over other content.
pub fn seal(
    recipient: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    plain: &[u8],
    entropy: &[u8; 32],
) -> Result<Vec<u8>, EnvelopeError> {
    let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(recipient)
        .map_err(|_| EnvelopeError::Recipient)?;
    let mut source = Source::new(&[entropy, recipient, info, aad, plain]);
    let (enc, sealed) =
        single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &key,
            info,
            plain,
            aad,
            &mut source,
        )
        .map_err(|_| EnvelopeError::Recipient)?;
    let mut out = enc.to_bytes().to_vec();
    out.extend_from_slice(&sealed);
    Ok(out)
}

/// Opens an envelope that was sealed to the secret's public key with the same `info` and `aad`.
pub fn open(
    secret: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let (enc, sealed) = sealed.split_at_checked(32).ok_or(EnvelopeError::Closed)?;
    let enc = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(enc)
        .map_err(|_| EnvelopeError::Closed)?;
    let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(secret)
        .map_err(|_| EnvelopeError::Closed)?;
    single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &secret,
        &enc,
        info,
        sealed,
        aad,
    )
    .map(Zeroizing::new)
    .map_err(|_| EnvelopeError::Closed)
}

/// The randomness that HPKE asks for, from the caller's entropy.
struct Source(OutputReader);

impl Source {
    fn new(parts: &[&[u8]]) -> Self {
        let mut hasher = Hasher::new_derive_key("symbolon 2026 envelope ephemeral v1");
        for part in parts {
            let length = u64::try_from(part.len()).expect("a slice is shorter than 2^64 bytes");
            hasher.update(&length.to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize_xof())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(..)")
    }
}

impl TryRng for Source {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Source {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::unhex;

    /// RFC 9180, appendix A.2.1, sequence number 0.
    #[test]
    fn the_published_vector_opens() {
        let secret: [u8; 32] =
            unhex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb")
                .unwrap()
                .try_into()
                .unwrap();
        assert_eq!(
            public_key(&secret).to_vec(),
            unhex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a").unwrap()
        );
        let sealed = [
            unhex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a").unwrap(),
            unhex("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28")
                .unwrap(),
        ]
        .concat();
        let info = unhex("4f6465206f6e2061204772656369616e2055726e").unwrap();
        let plain = open(&secret, &info, b"Count-0", &sealed).unwrap();
        assert_eq!(plain.as_slice(), b"Beauty is truth, truth beauty");
        assert_eq!(open(&secret, &info, b"Count-1", &sealed), Err(EnvelopeError::Closed));
    }

    #[test]
    fn key_purpose_and_bytes_are_bound() {
        let secret = [1; 32];
        let sealed = seal(&public_key(&secret), b"info", b"aad", b"plain", &[2; 32]).unwrap();
        assert_eq!(sealed.len(), 5 + OVERHEAD_BYTES);
        assert_eq!(open(&secret, b"info", b"aad", &sealed).unwrap().as_slice(), b"plain");
        assert!(open(&[3; 32], b"info", b"aad", &sealed).is_err());
        assert!(open(&secret, b"other", b"aad", &sealed).is_err());
        assert!(open(&secret, b"info", b"other", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&secret, b"info", b"aad", &changed).is_err(), "byte {at}");
        }
        assert!(open(&secret, b"info", b"aad", &sealed[..31]).is_err());
        assert_eq!(seal(&[0; 32], b"", b"", b"", &[0; 32]), Err(EnvelopeError::Recipient));
    }

    #[test]
    fn equal_entropy_does_not_repeat_a_key() {
        let key = public_key(&[1; 32]);
        let one = seal(&key, b"", b"", b"one", &[0; 32]).unwrap();
        let two = seal(&key, b"", b"", b"two", &[0; 32]).unwrap();
        assert_ne!(one[..32], two[..32]);
    }
}
