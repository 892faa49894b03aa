//! One custodian's part of a key, made for one order or one claim. Anyone can check it, and the party that it was made for
//! combines the parts.

use alloc::vec::Vec;

use curve25519_dalek::{
    RistrettoPoint,
    scalar::Scalar as Number,
    traits::{Identity, MultiscalarMul, VartimeMultiscalarMul},
};
use zeroize::{Zeroize, Zeroizing};

use super::{
    Capsule, CustodyError, DeliveryKey, DeliverySecret, Point, PostedRelease, Release, Share,
    VaultKey, capsule::key_point, curve, sharing::check_index,
};
use crate::{codec::Encode, id::Hash};

/// What a buyer asks a custodian to release. Everything comes from the ledger's rows of the order, its
/// listing and its vault.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseRequest<'a> {
    /// The vault's public side.
    pub vault: &'a VaultKey,
    /// The listing's capsule.
    pub capsule: &'a Capsule,
    /// The listing's [`label`](super::label), computed from its rows.
    pub label: &'a Hash,
    /// The order's delivery key.
    pub delivery: &'a DeliveryKey,
    /// The order's [`release_context`](super::release_context), computed from its rows.
    pub context: &'a Hash,
}

/// What a caretaker asks a custodian to release, for one shard of a claim. Everything comes from the ledger's rows of the
/// deal, its care, its claim and its vault.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest<'a> {
    /// The vault's public side.
    pub vault: &'a VaultKey,
    /// The shard's [`care_point`](super::care_point).
    pub point: &'a Point,
    /// The claim's delivery key.
    pub delivery: &'a DeliveryKey,
    /// The claim's [`claim_context`](super::claim_context).
    pub context: &'a Hash,
}

impl Release {
    /// Makes the part of one custodian. It first checks capsule, delivery key and its own share, although
    /// the ledger has checked them too: a custodian cannot take back a release for a copied capsule.
    pub fn make(
        share: &Share,
        request: &ReleaseRequest<'_>,
        entropy: &[u8; 32],
    ) -> Result<Self, CustodyError> {
        request.capsule.verify(request.label)?;
        request.delivery.verify(request.context)?;
        request.vault.verify_share(share)?;
        let ReleaseRequest { vault, capsule, delivery, context, .. } = *request;
        let statement = Statement::new(vault, capsule, delivery, context);
        Self::make_of(share, &capsule.r, delivery, &statement, entropy)
    }

    /// Makes the part of one custodian for a shard of a claim. It first checks delivery key and its own share.
    pub fn make_claimed(
        share: &Share,
        request: &ClaimRequest<'_>,
        entropy: &[u8; 32],
    ) -> Result<Self, CustodyError> {
        request.delivery.verify(request.context)?;
        request.vault.verify_share(share)?;
        let statement = Statement::of_claim(request);
        Self::make_of(share, request.point, request.delivery, &statement, entropy)
    }

    fn make_of(
        share: &Share,
        base: &Point,
        delivery: &DeliveryKey,
        statement: &Statement,
        entropy: &[u8; 32],
    ) -> Result<Self, CustodyError> {
        let r = curve::point(base, "R")?;
        let delivery = curve::point(&delivery.point, "delivery key")?;
        let mut nonces = curve::Stream::new(
            "symbolon 2026 release nonces v1",
            &[share.as_bytes(), &[share.index()], entropy, &statement.0],
        );
        let mut blind = nonces.number();
        let mut a = nonces.number();
        let mut b = nonces.number();
        let u = RistrettoPoint::mul_base(&blind).compress().to_bytes();
        let v = RistrettoPoint::multiscalar_mul([share.number, blind], [r, delivery]);
        let v = v.compress().to_bytes();
        let first = [
            RistrettoPoint::mul_base(&a),
            RistrettoPoint::mul_base(&b),
            RistrettoPoint::multiscalar_mul([a, b], [r, delivery]),
        ];
        let e = statement.challenge(share.index(), &u, &v, &first);
        let z_share = (a + e * share.number).to_bytes();
        let z_blind = (b + e * blind).to_bytes();
        blind.zeroize();
        a.zeroize();
        b.zeroize();
        Ok(Self { index: share.index(), u, v, e: e.to_bytes(), z_share, z_blind })
    }

    /// Whether this is custodian `index`'s true part for this order. The caller must have verified capsule
    /// and delivery key before: this check does not cover them.
    pub fn verify(
        &self,
        vault: &VaultKey,
        capsule: &Capsule,
        delivery: &DeliveryKey,
        context: &Hash,
    ) -> Result<(), CustodyError> {
        let statement = Statement::new(vault, capsule, delivery, context);
        self.verify_of(vault, &capsule.r, delivery, &statement)
    }

    /// Whether this is custodian `index`'s true part for this shard of a claim. The caller must have verified the delivery
    /// key before.
    pub fn verify_claimed(&self, request: &ClaimRequest<'_>) -> Result<(), CustodyError> {
        let statement = Statement::of_claim(request);
        self.verify_of(request.vault, request.point, request.delivery, &statement)
    }

    fn verify_of(
        &self,
        vault: &VaultKey,
        base: &Point,
        delivery: &DeliveryKey,
        statement: &Statement,
    ) -> Result<(), CustodyError> {
        let share_point = vault.share_point(self.index)?;
        let u = curve::point(&self.u, "U")?;
        let v = curve::point(&self.v, "V")?;
        let r = curve::point(base, "R")?;
        let yb = curve::point(&delivery.point, "delivery key")?;
        let e = curve::number(&self.e, "e")?;
        let z_share = curve::number(&self.z_share, "z_share")?;
        let z_blind = curve::number(&self.z_blind, "z_blind")?;
        let first = [
            RistrettoPoint::vartime_double_scalar_mul_basepoint(&-e, &share_point, &z_share),
            RistrettoPoint::vartime_double_scalar_mul_basepoint(&-e, &u, &z_blind),
            RistrettoPoint::vartime_multiscalar_mul([z_share, z_blind, -e], [r, yb, v]),
        ];
        if statement.challenge(self.index, &self.u, &self.v, &first) == e {
            Ok(())
        } else {
            Err(CustodyError::Proof { what: "release" })
        }
    }
}

/// A hash of everything that a release is about.
struct Statement([u8; 32]);

impl Statement {
    fn new(vault: &VaultKey, capsule: &Capsule, delivery: &DeliveryKey, context: &Hash) -> Self {
        let mut bytes = context.to_bytes();
        vault.encode(&mut bytes);
        capsule.encode(&mut bytes);
        delivery.encode(&mut bytes);
        Self(blake3::derive_key("symbolon 2026 release statement v1", &bytes))
    }

    fn of_claim(request: &ClaimRequest<'_>) -> Self {
        let mut bytes = request.context.to_bytes();
        request.vault.encode(&mut bytes);
        request.point.encode(&mut bytes);
        request.delivery.encode(&mut bytes);
        Self(blake3::derive_key("symbolon 2026 claim statement v1", &bytes))
    }

    fn challenge(&self, index: u8, u: &Point, v: &Point, first: &[RistrettoPoint; 3]) -> Number {
        let [a, b, c] = first.map(|point| point.compress().to_bytes());
        curve::challenge("symbolon 2026 release proof v1", &[&self.0, &[index], u, v, &a, &b, &c])
    }
}

/// The key point of a capsule, from enough releases. The caller must have verified each. A false release
/// gives a false point. The manifest's commitment reveals that, but not which release was false.
pub fn combine(
    capsule: &Capsule,
    releases: &[Release],
    secret: &DeliverySecret,
    vault: &VaultKey,
) -> Result<Zeroizing<Point>, CustodyError> {
    let parts: Vec<Part<'_>> = releases.iter().map(|one| (one.index, &one.u, &one.v)).collect();
    combine_parts(capsule, &parts, secret, vault.required())
}

/// [`combine`] for releases on the ledger, which has verified them. `required` of them open the capsule: of a delivered
/// order all, whatever the vault needs after a rotation.
pub fn combine_posted(
    capsule: &Capsule,
    releases: &[PostedRelease],
    secret: &DeliverySecret,
    required: usize,
) -> Result<Zeroizing<Point>, CustodyError> {
    let parts: Vec<Part<'_>> = releases.iter().map(|one| (one.index, &one.u, &one.v)).collect();
    combine_parts(capsule, &parts, secret, required)
}

/// `xP`, from verified releases for one shard of a claim.
pub(super) fn combine_claimed(
    releases: &[Release],
    secret: &DeliverySecret,
    vault: &VaultKey,
) -> Result<Zeroizing<Point>, CustodyError> {
    let parts: Vec<Part<'_>> = releases.iter().map(|one| (one.index, &one.u, &one.v)).collect();
    key_point(shared(&parts, secret, vault.required())?)
}

type Part<'a> = (u8, &'a Point, &'a Point);

/// `K = C - xR`.
fn combine_parts(
    capsule: &Capsule,
    parts: &[Part<'_>],
    secret: &DeliverySecret,
    required: usize,
) -> Result<Zeroizing<Point>, CustodyError> {
    let shared = shared(parts, secret, required)?;
    key_point(curve::point(&capsule.c, "C")? - shared)
}

/// `xR = sum l_i V_i - yb sum l_i U_i`, with `l_i` the Lagrange coefficients at zero.
fn shared(
    parts: &[Part<'_>],
    secret: &DeliverySecret,
    required: usize,
) -> Result<RistrettoPoint, CustodyError> {
    for (place, (index, ..)) in parts.iter().enumerate() {
        check_index(*index)?;
        if parts[..place].iter().any(|(before, ..)| before == index) {
            return Err(CustodyError::Repeated { index: *index });
        }
    }
    let used = parts
        .get(..required)
        .filter(|used| !used.is_empty())
        .ok_or(CustodyError::TooFew { found: parts.len(), required })?;
    let mut u_sum = RistrettoPoint::identity();
    let mut v_sum = RistrettoPoint::identity();
    for (index, u, v) in used {
        let coefficient = lagrange(*index, used.iter().map(|(other, ..)| *other));
        u_sum += curve::point(u, "U")? * coefficient;
        v_sum += curve::point(v, "V")? * coefficient;
    }
    Ok(v_sum - u_sum * secret.0)
}

/// The product of `j / (j - index)` over the other indices `j`, which are all different.
pub(super) fn lagrange(index: u8, indexes: impl Iterator<Item = u8>) -> Number {
    let own = Number::from(index);
    let others = indexes.filter(|other| *other != index);
    let (above, below) =
        others.map(Number::from).fold((Number::ONE, Number::ONE), |(above, below), other| {
            (above * other, below * (other - own))
        });
    above * below.invert()
}

#[cfg(test)]
mod tests;
