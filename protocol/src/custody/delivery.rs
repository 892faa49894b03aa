//! A buyer's one-time key, to which custodians release (Schnorr proof of knowledge).

use alloc::vec::Vec;
use core::fmt;

use curve25519_dalek::{RistrettoPoint, scalar::Scalar as Number};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{CustodyError, DeliveryKey, Point, curve};
use crate::id::{ChainId, Hash, ListingId, OrderId};

/// The context that the proofs of one order are bound to.
#[must_use]
pub fn release_context(chain: &ChainId, order: &OrderId, listing: &ListingId) -> Hash {
    let mut bytes = Vec::with_capacity(32 + 16 + 16);
    bytes.extend_from_slice(&chain.0);
    bytes.extend_from_slice(&order.0);
    bytes.extend_from_slice(&listing.0);
    Hash(blake3::derive_key("symbolon 2026 release context v1", &bytes))
}

/// The secret `yb` of a delivery key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DeliverySecret(pub(super) Number);

impl DeliverySecret {
    /// The secret from 32 secret uniform bytes. Each order has its own: with a second order under the same
    /// secret, observers could link the two.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(curve::Stream::new("symbolon 2026 delivery secret v1", &[seed]).number())
    }
}

impl fmt::Debug for DeliverySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeliverySecret(..)")
    }
}

impl DeliveryKey {
    /// The public key and the proof of its secret, for one order.
    #[must_use]
    pub fn make(secret: &DeliverySecret, context: &Hash, entropy: &[u8; 32]) -> Self {
        let point = RistrettoPoint::mul_base(&secret.0).compress().to_bytes();
        let mut nonce = curve::Stream::new(
            "symbolon 2026 delivery nonce v1",
            &[secret.0.as_bytes(), entropy, &context.0],
        )
        .number();
        let e = challenge(context, &point, &RistrettoPoint::mul_base(&nonce).compress().0);
        let z = nonce + e * secret.0;
        nonce.zeroize();
        Self { point, e: e.to_bytes(), z: z.to_bytes() }
    }

    /// Whether the maker of the key knew its secret and made it for this order.
    pub fn verify(&self, context: &Hash) -> Result<(), CustodyError> {
        let point = curve::point(&self.point, "delivery key")?;
        let e = curve::number(&self.e, "e")?;
        let z = curve::number(&self.z, "z")?;
        let nonce = RistrettoPoint::vartime_double_scalar_mul_basepoint(&-e, &point, &z);
        if challenge(context, &self.point, &nonce.compress().0) == e {
            Ok(())
        } else {
            Err(CustodyError::Proof { what: "delivery key" })
        }
    }
}

fn challenge(context: &Hash, point: &Point, nonce: &Point) -> Number {
    curve::challenge("symbolon 2026 delivery proof v1", &[&context.0, point, nonce])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_key_is_for_one_order() {
        let context = release_context(&ChainId([1; 32]), &OrderId([2; 16]), &ListingId([3; 16]));
        let secret = DeliverySecret::from_seed(&[4; 32]);
        let key = DeliveryKey::make(&secret, &context, &[5; 32]);
        key.verify(&context).unwrap();
        for other in [
            release_context(&ChainId([9; 32]), &OrderId([2; 16]), &ListingId([3; 16])),
            release_context(&ChainId([1; 32]), &OrderId([9; 16]), &ListingId([3; 16])),
            release_context(&ChainId([1; 32]), &OrderId([2; 16]), &ListingId([9; 16])),
        ] {
            assert_eq!(key.verify(&other), Err(CustodyError::Proof { what: "delivery key" }));
        }
    }

    #[test]
    fn a_key_without_its_secret_is_refused() {
        let context = Hash([1; 32]);
        let secret = DeliverySecret::from_seed(&[4; 32]);
        let key = DeliveryKey::make(&secret, &context, &[5; 32]);
        // A rogue key: another party's point shifted by the attacker's own, with the other party's proof.
        let shifted = curve::point(&key.point, "").unwrap() + curve::second_base();
        let rogue = DeliveryKey { point: shifted.compress().0, ..key.clone() };
        assert_eq!(rogue.verify(&context), Err(CustodyError::Proof { what: "delivery key" }));
        let identity = DeliveryKey { point: [0; 32], ..key };
        assert!(matches!(identity.verify(&context), Err(CustodyError::Identity { .. })));
    }
}
