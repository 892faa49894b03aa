//! A vault's secret, its shares and the commitments that verify them (Shamir, Feldman).

use alloc::vec::Vec;
use core::fmt;

use curve25519_dalek::{RistrettoPoint, scalar::Scalar as Number};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{CustodyError, Point, VaultKey, curve};
use crate::limits::CUSTODIANS_MAX;

/// A vault's secret `x`. It opens every capsule made for the vault.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct VaultSecret(pub(super) Number);

impl VaultSecret {
    /// The secret from 32 secret uniform bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(curve::Stream::new("symbolon 2026 vault secret v1", &[seed]).number())
    }

    /// `Y = xB`.
    #[must_use]
    pub fn public(&self) -> Point {
        RistrettoPoint::mul_base(&self.0).compress().to_bytes()
    }
}

impl fmt::Debug for VaultSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VaultSecret(..)")
    }
}

/// One custodian's share: the sharing polynomial at its index.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Share {
    index: u8,
    pub(super) number: Number,
}

impl Share {
    /// A share from its bytes.
    pub fn from_bytes(index: u8, bytes: &[u8; 32]) -> Result<Self, CustodyError> {
        check_index(index)?;
        Ok(Self { index, number: curve::number(bytes, "share")? })
    }

    /// Which share, from 1.
    #[must_use]
    pub fn index(&self) -> u8 {
        self.index
    }

    /// The secret bytes, for the custodian's own disk or a sealed envelope.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.number.as_bytes()
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({}, ..)", self.index)
    }
}

/// The most releases that a vault with so many custodians may need. Fewer custodians than it needs can then neither open it nor
/// keep the others from opening it.
#[must_use]
pub const fn required_max(total: usize) -> usize {
    total.div_ceil(2)
}

/// Deals a secret to `total` custodians; any `required` of them can use it. Dealing the same secret again
/// with other entropy gives new shares of the same `Y`: old capsules stay valid.
pub fn share(
    secret: &VaultSecret,
    required: u8,
    total: u8,
    entropy: &[u8; 32],
) -> Result<(VaultKey, Vec<Share>), CustodyError> {
    let too_many = usize::from(required) > required_max(total.into());
    if required == 0 || too_many || usize::from(total) > CUSTODIANS_MAX {
        return Err(CustodyError::Sharing { required: required.into(), total: total.into() });
    }
    let mut stream = curve::Stream::new(
        "symbolon 2026 vault sharing v1",
        &[secret.0.as_bytes(), entropy, &[required, total]],
    );
    let mut polynomial = Vec::with_capacity(usize::from(required));
    polynomial.push(secret.0);
    polynomial.extend((1..required).map(|_| stream.number()));
    let commitments = polynomial
        .iter()
        .map(|coefficient| RistrettoPoint::mul_base(coefficient).compress().to_bytes())
        .collect();
    let shares = (1..=total)
        .map(|index| {
            let at = Number::from(index);
            let number = polynomial.iter().rev().fold(Number::ZERO, |sum, next| sum * at + next);
            Share { index, number }
        })
        .collect();
    polynomial.zeroize();
    Ok((VaultKey { commitments }, shares))
}

impl VaultKey {
    /// How many releases open a capsule.
    #[must_use]
    pub fn required(&self) -> usize {
        self.commitments.len()
    }

    /// Whether this can be the public side of a vault with `total` custodians.
    pub fn verify(&self, total: usize) -> Result<(), CustodyError> {
        let required = self.required();
        if required == 0 || required > required_max(total) || total > CUSTODIANS_MAX {
            return Err(CustodyError::Sharing { required, total });
        }
        // An identity among them would mean that the polynomial has a lower degree than it seems to have.
        self.commitments.iter().try_for_each(|bytes| curve::point(bytes, "commitment").map(|_| ()))
    }

    /// `Y = xB`: capsules are encrypted to it. `None` if there is no commitment.
    #[must_use]
    pub fn public(&self) -> Option<Point> {
        self.commitments.first().copied()
    }

    /// Checks a share against the commitments.
    pub fn verify_share(&self, share: &Share) -> Result<(), CustodyError> {
        let expected = self.share_point(share.index)?;
        if RistrettoPoint::mul_base(&share.number) == expected {
            Ok(())
        } else {
            Err(CustodyError::Share { index: share.index })
        }
    }

    /// `Y_i = x_i B`, from the commitments.
    pub(super) fn share_point(&self, index: u8) -> Result<RistrettoPoint, CustodyError> {
        check_index(index)?;
        let mut points = self.commitments.iter().rev();
        let required = self.required();
        let last = points.next().ok_or(CustodyError::Sharing { required, total: 0 })?;
        if required > CUSTODIANS_MAX {
            return Err(CustodyError::Sharing { required, total: CUSTODIANS_MAX });
        }
        points.try_fold(curve::point(last, "commitment")?, |sum, bytes| {
            Ok(curve::small_multiple(&sum, index) + curve::point(bytes, "commitment")?)
        })
    }
}

pub(super) fn check_index(index: u8) -> Result<(), CustodyError> {
    if index == 0 || usize::from(index) > CUSTODIANS_MAX {
        return Err(CustodyError::Index { index });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_share_lies_on_the_committed_polynomial() {
        let secret = VaultSecret::from_seed(&[7; 32]);
        let (key, shares) = share(&secret, 3, 5, &[1; 32]).unwrap();
        key.verify(5).unwrap();
        assert_eq!(key.public(), Some(secret.public()));
        assert_eq!(shares.len(), 5);
        for share in &shares {
            key.verify_share(share).unwrap();
            // The same number under another index is refused.
            let moved = Share::from_bytes(share.index() % 5 + 1, share.as_bytes()).unwrap();
            let index = moved.index();
            assert_eq!(key.verify_share(&moved), Err(CustodyError::Share { index }));
        }
    }

    #[test]
    fn dealing_again_keeps_the_public_key_and_changes_the_shares() {
        let secret = VaultSecret::from_seed(&[7; 32]);
        let (key, shares) = share(&secret, 2, 3, &[1; 32]).unwrap();
        let (again, others) = share(&secret, 2, 3, &[2; 32]).unwrap();
        assert_eq!(key.public(), again.public());
        assert_ne!(shares[0].as_bytes(), others[0].as_bytes());
        assert!(key.verify_share(&others[0]).is_err());
    }

    #[test]
    fn impossible_sharings_are_refused() {
        let secret = VaultSecret::from_seed(&[7; 32]);
        for (required, total) in [(0, 1), (2, 1), (1, 33), (2, 2), (3, 4)] {
            assert!(matches!(
                share(&secret, required, total, &[0; 32]),
                Err(CustodyError::Sharing { .. })
            ));
        }
        let (mut key, _) = share(&secret, 2, 3, &[0; 32]).unwrap();
        assert!(matches!(key.verify(2), Err(CustodyError::Sharing { .. })));
        assert_eq!((key.verify(3), key.verify(4)), (Ok(()), Ok(())));
        key.commitments[1] = [0; 32];
        assert_eq!(key.verify(3), Err(CustodyError::Identity { what: "commitment" }));
        key.commitments.clear();
        assert!(key.verify(0).is_err());
        assert!(key.share_point(1).is_err());
        assert!(Share::from_bytes(0, &[1; 32]).is_err());
    }
}
