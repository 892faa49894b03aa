//! Ed25519 over digests. The signed value is always a 32-byte hash with its own context string. So no party
//! can take one kind of statement for another.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use thiserror::Error;

use crate::id::Hash;

/// A signature that does not verify, or bytes that are no key.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the signature does not hold")]
pub struct SignatureError;

/// Signs a digest.
#[must_use]
pub fn sign(key: &SigningKey, digest: &Hash) -> [u8; 64] {
    key.sign(&digest.0).to_bytes()
}

/// Checks a signature by the strict rules: canonical `S`, no small-order key or `R`, no cofactor, and one
/// encoding of a key and of `R`. So all verifiers agree about it.
pub fn verify(key: &[u8; 32], digest: &Hash, signature: &[u8; 64]) -> Result<(), SignatureError> {
    if !is_reduced(key) {
        return Err(SignatureError);
    }
    let key = VerifyingKey::from_bytes(key).map_err(|_| SignatureError)?;
    key.verify_strict(&digest.0, &Signature::from_bytes(signature)).map_err(|_| SignatureError)
}

/// Whether a point's `y`, the lower 255 bits, is below the prime 2^255 - 19. The library reads larger
/// values too, so one key would have two names. The library itself finds such an `R`, because it compares
/// encodings.
fn is_reduced(point: &[u8; 32]) -> bool {
    let top = point[31] & 0x7f == 0x7f && point[1..31].iter().all(|byte| *byte == 0xff);
    !(top && 0xed <= point[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_one_signature_holds() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let public = key.verifying_key().to_bytes();
        let mut signature = sign(&key, &Hash([2; 32]));
        verify(&public, &Hash([2; 32]), &signature).unwrap();
        assert_eq!(verify(&public, &Hash([3; 32]), &signature), Err(SignatureError));
        assert_eq!(verify(&[0xff; 32], &Hash([2; 32]), &signature), Err(SignatureError));
        // A key of small order would accept any signature.
        assert_eq!(verify(&[0; 32], &Hash([2; 32]), &[0; 64]), Err(SignatureError));
        signature[63] |= 0x80;
        assert_eq!(verify(&public, &Hash([2; 32]), &signature), Err(SignatureError));
    }

    #[test]
    fn a_key_has_one_encoding() {
        let prime = |first, last| {
            let mut bytes = [0xff; 32];
            (bytes[0], bytes[31]) = (first, last);
            bytes
        };
        // 2^255 - 19 + 3 is read as 3, the `y` of a point of large order.
        assert!(VerifyingKey::from_bytes(&prime(0xf0, 0x7f)).is_ok_and(|key| !key.is_weak()));
        for last in [0x7f, 0xff] {
            assert!(is_reduced(&prime(0xec, last)));
            for first in 0xed..=0xff {
                assert!(!is_reduced(&prime(first, last)));
            }
        }
        assert!(is_reduced(&prime(0xff, 0x7e)));
    }
}
