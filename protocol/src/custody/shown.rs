//! What the releases of an order open, shown to everyone: by this a buyer proves that a key is not the listed one.

use alloc::vec::Vec;

use curve25519_dalek::{
    RistrettoPoint, Scalar as Number,
    ristretto::CompressedRistretto,
    traits::{Identity, VartimeMultiscalarMul},
};
use zeroize::{Zeroize, Zeroizing};

use super::{
    Capsule, CustodyError, DeliveryKey, DeliverySecret, Point, PostedRelease, ShownKey,
    capsule::key_point, curve, release::lagrange,
};
use crate::id::Hash;

impl ShownKey {
    /// Shows what these releases open. The first `required` of them count, as for [`Self::open`].
    pub fn make(
        releases: &[PostedRelease],
        required: usize,
        secret: &DeliverySecret,
        context: &Hash,
        entropy: &[u8; 32],
    ) -> Result<Self, CustodyError> {
        let (blinds, _) = sums(releases, required)?;
        let shared = (blinds * secret.0).compress().to_bytes();
        let public = RistrettoPoint::mul_base(&secret.0).compress().to_bytes();
        let statement = [&context.0, &public, &blinds.compress().to_bytes(), &shared];
        let parts: Vec<&[u8]> = [secret.0.as_bytes(), entropy]
            .into_iter()
            .chain(statement)
            .map(|part| &part[..])
            .collect();
        let mut nonce = curve::Stream::new("symbolon 2026 shown key nonce v1", &parts).number();
        let first = [RistrettoPoint::mul_base(&nonce), blinds * nonce];
        let e = challenge(&statement, &first);
        let z = nonce + e * secret.0;
        nonce.zeroize();
        Ok(Self { shared, e: e.to_bytes(), z: z.to_bytes() })
    }

    /// The key point that these releases open, after a check that the delivery key's maker has shown the truth. The
    /// ledger has verified the releases.
    pub fn open(
        &self,
        capsule: &Capsule,
        releases: &[PostedRelease],
        required: usize,
        delivery: &DeliveryKey,
        context: &Hash,
    ) -> Result<Zeroizing<Point>, CustodyError> {
        let (blinds, values) = sums(releases, required)?;
        let yb = curve::point(&delivery.point, "delivery key")?;
        // Custodians who work together can make a sum the identity. The buyer can show that too.
        let shared = CompressedRistretto(self.shared).decompress();
        let shared = shared.ok_or(CustodyError::Point { what: "shared point" })?;
        let e = curve::number(&self.e, "e")?;
        let z = curve::number(&self.z, "z")?;
        let statement = [&context.0, &delivery.point, &blinds.compress().to_bytes(), &self.shared];
        let first = [
            RistrettoPoint::vartime_double_scalar_mul_basepoint(&-e, &yb, &z),
            RistrettoPoint::vartime_multiscalar_mul([z, -e], [blinds, shared]),
        ];
        if challenge(&statement, &first) != e {
            return Err(CustodyError::Proof { what: "shown key" });
        }
        key_point(curve::point(&capsule.c, "C")? - (values - shared))
    }
}

fn challenge(statement: &[&[u8; 32]; 4], first: &[RistrettoPoint; 2]) -> Number {
    let [a, b] = first.map(|point| point.compress().to_bytes());
    let [context, public, blinds, shared] = *statement;
    curve::challenge("symbolon 2026 shown key proof v1", &[context, public, blinds, shared, &a, &b])
}

/// `sum l_i U_i` and `sum l_i V_i` of the first `required` releases, with `l_i` the Lagrange coefficients at zero.
fn sums(
    releases: &[PostedRelease],
    required: usize,
) -> Result<(RistrettoPoint, RistrettoPoint), CustodyError> {
    let used = releases.get(..required).filter(|used| !used.is_empty());
    let used = used.ok_or(CustodyError::TooFew { found: releases.len(), required })?;
    let indexes: Vec<u8> = used.iter().map(|one| one.index).collect();
    let mut sums = (RistrettoPoint::identity(), RistrettoPoint::identity());
    for one in used {
        let coefficient = lagrange(one.index, indexes.iter().copied());
        sums.0 += curve::point(&one.u, "U")? * coefficient;
        sums.1 += curve::point(&one.v, "V")? * coefficient;
    }
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        custody::{combine_posted, released::ReleasedOrder},
        id::{ChainId, ListingId, OrderId},
    };

    fn world() -> ReleasedOrder {
        let of = (OrderId([8; 16]), ListingId([9; 16]));
        ReleasedOrder::of(ChainId([3; 32]), &Hash([6; 32]), of)
    }

    #[test]
    fn it_opens_what_the_buyer_opens() {
        let ReleasedOrder { capsule, posted, secret, delivery, context, vault, .. } = world();
        let shown = ShownKey::make(&posted, 2, &secret, &context, &[13; 32]).unwrap();
        let opened = shown.open(&capsule, &posted, 2, &delivery, &context).unwrap();
        assert_eq!(*opened, *combine_posted(&capsule, &posted, &secret, vault.required()).unwrap());
    }

    #[test]
    fn nothing_else_can_be_shown() {
        let ReleasedOrder { capsule, posted, secret, delivery, context, .. } = world();
        let shown = ShownKey::make(&posted, 2, &secret, &context, &[13; 32]).unwrap();
        let refused = Err(CustodyError::Proof { what: "shown key" });
        // Another point, another order, other releases, another buyer.
        let mut other = shown.clone();
        other.shared = RistrettoPoint::mul_base(&Number::from(9_u8)).compress().to_bytes();
        assert_eq!(other.open(&capsule, &posted, 2, &delivery, &context), refused);
        assert_eq!(shown.open(&capsule, &posted, 2, &delivery, &Hash([1; 32])), refused);
        assert_eq!(shown.open(&capsule, &posted[1..], 2, &delivery, &context), refused);
        let mallory = DeliverySecret::from_seed(&[99; 32]);
        let forged = ShownKey::make(&posted, 2, &mallory, &context, &[13; 32]).unwrap();
        assert_eq!(forged.open(&capsule, &posted, 2, &delivery, &context), refused);
        let few = Err(CustodyError::TooFew { found: 1, required: 2 });
        assert_eq!(shown.open(&capsule, &posted[..1], 2, &delivery, &context), few);
    }
}
