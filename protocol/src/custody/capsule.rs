//! A listing's key, encrypted to a vault and bound to the listed content (after TDH2).

use alloc::vec::Vec;

use curve25519_dalek::{
    RistrettoPoint,
    scalar::Scalar as Number,
    traits::{IsIdentity, VartimeMultiscalarMul},
};
use zeroize::{Zeroize, Zeroizing};

use super::{Capsule, CustodyError, Point, VaultSecret, curve};
use crate::id::{AccountId, ChainId, Hash, VaultId};

/// The label that a capsule is bound to. Without it anyone could copy a capsule into a listing of their
/// own, at a price of zero, or onto a ledger where money is free, and have the custodians open it.
#[must_use]
pub fn label(chain: &ChainId, seller: &AccountId, vault: &VaultId, content_root: &Hash) -> Hash {
    let mut bytes = Vec::with_capacity(32 + 32 + 16 + 32);
    bytes.extend_from_slice(&chain.0);
    bytes.extend_from_slice(&seller.0);
    bytes.extend_from_slice(&vault.0);
    bytes.extend_from_slice(&content_root.0);
    Hash(blake3::derive_key("symbolon 2026 capsule label v2", &bytes))
}

/// The listing key of a key point. It makes a listing's pad.
#[must_use]
pub fn listing_key(point: &Point) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(blake3::derive_key("symbolon 2026 listing key v1", point))
}

/// `file_key XOR listing_key`. A listing shows it, so that a seller can list a file that was stored
/// earlier.
#[must_use]
pub fn pad(file_key: &[u8; 32], listing_key: &[u8; 32]) -> [u8; 32] {
    core::array::from_fn(|i| file_key[i] ^ listing_key[i])
}

/// The file key from a listing's pad. A buyer accepts it only if it matches the manifest's commitment.
#[must_use]
pub fn unpad(pad: &[u8; 32], listing_key: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(self::pad(pad, listing_key))
}

impl Capsule {
    /// Encrypts a fresh key point to the vault, and gives the point too.
    #[must_use]
    pub fn seal(vault: &VaultSecret, label: &Hash, entropy: &[u8; 32]) -> (Self, Zeroizing<Point>) {
        let mut stream = nonces(vault, label, entropy);
        let key = stream.point();
        Self::of_point(vault, label, key, stream)
    }

    /// A capsule with the identity in it, as a seller could make who means to sell nothing.
    #[cfg(test)]
    pub(crate) fn seal_nothing(vault: &VaultSecret, label: &Hash, entropy: &[u8; 32]) -> Self {
        let nothing = curve25519_dalek::traits::Identity::identity();
        Self::of_point(vault, label, nothing, nonces(vault, label, entropy)).0
    }

    fn of_point(
        vault: &VaultSecret,
        label: &Hash,
        mut key: RistrettoPoint,
        mut stream: curve::Stream,
    ) -> (Self, Zeroizing<Point>) {
        let mut s = stream.number();
        let mut w = stream.number();
        let r = RistrettoPoint::mul_base(&s).compress().to_bytes();
        let r2 = (curve::second_base() * s).compress().to_bytes();
        let c = (key + RistrettoPoint::mul_base(&(vault.0 * s))).compress().to_bytes();
        let w1 = RistrettoPoint::mul_base(&w).compress().to_bytes();
        let w2 = (curve::second_base() * w).compress().to_bytes();
        let mut capsule = Self { r, r2, c, e: [0; 32], f: [0; 32] };
        let e = capsule.challenge(label, &w1, &w2);
        capsule.e = e.to_bytes();
        capsule.f = (w + s * e).to_bytes();
        let point = Zeroizing::new(key.compress().to_bytes());
        key.zeroize();
        s.zeroize();
        w.zeroize();
        (capsule, point)
    }

    /// Opens a capsule with the whole secret, as a seller can with the seller's own vault.
    pub fn open(&self, vault: &VaultSecret) -> Result<Zeroizing<Point>, CustodyError> {
        let shared = curve::point(&self.r, "R")? * vault.0;
        key_point(curve::point(&self.c, "C")? - shared)
    }

    /// Whether a party that knew `s` made the capsule for this label.
    pub fn verify(&self, label: &Hash) -> Result<(), CustodyError> {
        let r = curve::point(&self.r, "R")?;
        let r2 = curve::point(&self.r2, "R2")?;
        curve::point(&self.c, "C")?;
        let e = curve::number(&self.e, "e")?;
        let f = curve::number(&self.f, "f")?;
        let w1 = RistrettoPoint::vartime_double_scalar_mul_basepoint(&-e, &r, &f);
        let w2 = RistrettoPoint::vartime_multiscalar_mul([f, -e], [curve::second_base(), r2]);
        let expected = self.challenge(label, &w1.compress().0, &w2.compress().0);
        if expected == e { Ok(()) } else { Err(CustodyError::Proof { what: "capsule" }) }
    }

    fn challenge(&self, label: &Hash, w1: &Point, w2: &Point) -> Number {
        curve::challenge(
            "symbolon 2026 capsule proof v1",
            &[&label.0, &self.c, &self.r, &self.r2, w1, w2],
        )
    }
}

fn nonces(vault: &VaultSecret, label: &Hash, entropy: &[u8; 32]) -> curve::Stream {
    let parts: [&[u8]; 3] = [vault.0.as_bytes(), entropy, &label.0];
    curve::Stream::new("symbolon 2026 capsule nonces v1", &parts)
}

/// A recovered key point's bytes. No seller would choose the identity as a key.
pub(super) fn key_point(mut point: RistrettoPoint) -> Result<Zeroizing<Point>, CustodyError> {
    if point.is_identity() {
        return Err(CustodyError::Identity { what: "key point" });
    }
    let bytes = Zeroizing::new(point.compress().to_bytes());
    point.zeroize();
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;

    use super::*;

    /// The label of chain, seller, vault and content, each of one repeated byte.
    fn bound([chain, seller, vault, content]: [u8; 4]) -> Hash {
        let (chain, seller) = (ChainId([chain; 32]), AccountId([seller; 32]));
        label(&chain, &seller, &VaultId([vault; 16]), &Hash([content; 32]))
    }

    fn example() -> (VaultSecret, Hash, Capsule, Zeroizing<Point>) {
        let vault = VaultSecret::from_seed(&[1; 32]);
        let label = bound([6, 2, 3, 4]);
        let (capsule, key) = Capsule::seal(&vault, &label, &[5; 32]);
        (vault, label, capsule, key)
    }

    #[test]
    fn a_capsule_opens_and_proves_its_label() {
        let (vault, label, capsule, key) = example();
        capsule.verify(&label).unwrap();
        assert_eq!(*capsule.open(&vault).unwrap(), *key);
        // The same capsule on another ledger, in another seller's listing, in another vault, or for other
        // content.
        for other in [[9, 2, 3, 4], [6, 9, 3, 4], [6, 2, 9, 4], [6, 2, 3, 9]] {
            let refused = Err(CustodyError::Proof { what: "capsule" });
            assert_eq!(capsule.verify(&bound(other)), refused, "{other:?}");
        }
    }

    #[test]
    fn every_field_is_bound() {
        let (_, label, capsule, _) = example();
        let other = curve::second_base().compress().to_bytes();
        for change in [
            Capsule { r: other, ..capsule.clone() },
            Capsule { r2: other, ..capsule.clone() },
            Capsule { c: other, ..capsule.clone() },
            Capsule { e: [1; 32], ..capsule.clone() },
            Capsule { f: [1; 32], ..capsule.clone() },
        ] {
            assert!(change.verify(&label).is_err());
        }
        // R = R2 = 0 would prove itself with any e, and show K in the clear.
        let nothing = Capsule { r: [0; 32], r2: [0; 32], ..capsule };
        assert_eq!(nothing.verify(&label), Err(CustodyError::Identity { what: "R" }));
    }

    /// An attack that plain ElGamal would allow: the same key under a fresh `s`, for the attacker's own
    /// label.
    #[test]
    fn a_capsule_cannot_be_made_ones_own() {
        let (vault, bound, capsule, _) = example();
        let y = curve::point(&vault.public(), "").unwrap();
        let shift = Number::from(7_u8);
        let add = |bytes: &Point, base: RistrettoPoint| {
            (curve::point(bytes, "").unwrap() + base * shift).compress().0
        };
        let mut shifted = Capsule {
            r: add(&capsule.r, RISTRETTO_BASEPOINT_POINT),
            r2: add(&capsule.r2, curve::second_base()),
            c: add(&capsule.c, y),
            ..capsule.clone()
        };
        assert_eq!(*shifted.open(&vault).unwrap(), *capsule.open(&vault).unwrap());
        assert!(shifted.verify(&bound).is_err());
        // The response moves with `s`, but the challenge covered the old points.
        let (e, f) =
            (Number::from_bytes_mod_order(capsule.e), Number::from_bytes_mod_order(capsule.f));
        shifted.f = (f + e * shift).to_bytes();
        assert!(shifted.verify(&bound).is_err());
    }

    /// A second point with another logarithm would let an attacker copy `R` without knowing its logarithm.
    #[test]
    fn both_points_must_share_one_logarithm() {
        let (_, bound, capsule, _) = example();
        let [s, w] = [3_u8, 4].map(Number::from);
        let prove = |r: RistrettoPoint, r2: RistrettoPoint| {
            let points = [r, r2].map(|point| point.compress().to_bytes());
            let mut made = Capsule { r: points[0], r2: points[1], ..capsule.clone() };
            let w1 = RistrettoPoint::mul_base(&w).compress().to_bytes();
            let w2 = (curve::second_base() * w).compress().to_bytes();
            let e = made.challenge(&bound, &w1, &w2);
            (made.e, made.f) = (e.to_bytes(), (w + s * e).to_bytes());
            made.verify(&bound)
        };
        let (r, r2) = (RistrettoPoint::mul_base(&s), curve::second_base() * s);
        let refused = Err(CustodyError::Proof { what: "capsule" });
        assert_eq!(prove(r, r2), Ok(()));
        assert_eq!(prove(r, r2 + r), refused);
        assert_eq!(prove(r + r2, r2), refused);
    }

    /// The worked example of `spec/market.md`.
    #[test]
    fn the_example_of_the_spec() {
        let (_, label, capsule, key) = example();
        let shown = [&label.0, &capsule.r, &capsule.e, &*listing_key(&key)];
        assert_eq!(
            shown.map(|bytes| crate::id::hex(bytes)),
            [
                "c0dbf388ecf0271e4e20e4a2b345ab9e9b34c169871a4b7718dbd6d0b22934f5",
                "7c0466ba327c4dd3d3b33745688ef6117c7f0604fed3a34fb592a3fa11100e70",
                "5219e4ab4f5f34fdf4ca0dd376e614e26992f93a2b370bbc7f1f42b8d293b004",
                "fb53ea727017fa038b35666e0597e64d46fb1ddf8d49255a3a0732681fc5e75c",
            ]
        );
    }

    #[test]
    fn pads_come_off() {
        let key = listing_key(&[7; 32]);
        assert_ne!(pad(&[9; 32], &key), [9; 32]);
        assert_eq!(*unpad(&pad(&[9; 32], &key), &key), [9; 32]);
    }

    #[test]
    fn entropy_makes_another_capsule() {
        let (vault, label, capsule, key) = example();
        let (second, other) = Capsule::seal(&vault, &label, &[6; 32]);
        assert_ne!(capsule.r, second.r);
        assert_ne!(*key, *other);
    }
}
