//! The keys of masks, for caretakers: sealed to the owner's vault without a capsule, and released for a claim on the
//! ledger. See `spec/repair.md`.
//!
//! A capsule brings its own point and a proof for it. Here the point follows from the deal and the shard's index, by a hash
//! whose logarithm no party knows. So there is nothing to prove, and nothing that could be copied to another place.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::{
    CustodyError, DeliverySecret, Point, Release, VaultKey, VaultSecret, capsule::key_point, curve,
    release,
};
use crate::id::{AccountId, ChainId, DealId, Hash, NodeId};

/// The point that a shard's key is sealed under: a hash of the shard's place.
#[must_use]
pub fn care_point(chain: &ChainId, owner: &AccountId, deal: &DealId, index: u8) -> Point {
    let parts: [&[u8]; 4] = [&chain.0, &owner.0, &deal.0, &[index]];
    curve::Stream::new("symbolon 2026 care point v1", &parts).point().compress().to_bytes()
}

/// The key that a shard's key is sealed with: its pad is this key XOR the shard's key.
#[must_use]
pub fn care_key(shared: &Point) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(blake3::derive_key("symbolon 2026 care key v1", shared))
}

/// The context that the proofs of one node's claims of one deal are bound to.
#[must_use]
pub fn claim_context(chain: &ChainId, deal: &DealId, claimant: &NodeId) -> Hash {
    let mut bytes = Vec::with_capacity(32 + 16 + 32);
    bytes.extend_from_slice(&chain.0);
    bytes.extend_from_slice(&deal.0);
    bytes.extend_from_slice(&claimant.0);
    Hash(blake3::derive_key("symbolon 2026 claim context v1", &bytes))
}

/// The care key of one shard, from verified releases of different custodians for it.
pub fn combine_care(
    releases: &[Release],
    secret: &DeliverySecret,
    vault: &VaultKey,
) -> Result<Zeroizing<[u8; 32]>, CustodyError> {
    let shared = release::combine_claimed(releases, secret, vault)?;
    Ok(care_key(&shared))
}

impl VaultSecret {
    /// The care key of one shard, as the owner of the vault computes it.
    pub fn care_key(&self, point: &Point) -> Result<Zeroizing<[u8; 32]>, CustodyError> {
        let shared = key_point(curve::point(point, "care point")? * self.0)?;
        Ok(care_key(&shared))
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::custody::{
        Capsule, ClaimRequest, DeliveryKey, ReleaseRequest, Share, combine, label, release_context,
        share,
    };
    use crate::id::{ListingId, OrderId, VaultId};

    const CHAIN: ChainId = ChainId([6; 32]);
    const OWNER: AccountId = AccountId([2; 32]);
    const DEAL: DealId = DealId([4; 16]);

    struct Claim {
        secret: VaultSecret,
        vault: VaultKey,
        shares: Vec<Share>,
        context: Hash,
        taker: DeliverySecret,
        delivery: DeliveryKey,
    }

    fn claim(deal: &DealId) -> Claim {
        let secret = VaultSecret::from_seed(&[1; 32]);
        let (vault, shares) = share(&secret, 2, 3, &[5; 32]).unwrap();
        let context = claim_context(&CHAIN, deal, &NodeId::from(AccountId([7; 32])));
        let taker = DeliverySecret::from_seed(&[8; 32]);
        let delivery = DeliveryKey::make(&taker, &context, &[9; 32]);
        Claim { secret, vault, shares, context, taker, delivery }
    }

    impl Claim {
        fn request<'a>(&'a self, point: &'a Point) -> ClaimRequest<'a> {
            let Self { vault, delivery, context, .. } = self;
            ClaimRequest { vault, point, delivery, context }
        }

        fn release(&self, which: usize, point: &Point) -> Release {
            Release::make_claimed(&self.shares[which], &self.request(point), &[3; 32]).unwrap()
        }
    }

    #[test]
    fn enough_releases_give_the_key_of_this_shard_and_of_no_other() {
        let claim = claim(&DEAL);
        let [point, other] = [3, 4].map(|index| care_point(&CHAIN, &OWNER, &DEAL, index));
        let releases = [0, 2].map(|which| claim.release(which, &point));
        for release in &releases {
            release.verify_claimed(&claim.request(&point)).unwrap();
            assert!(release.verify_claimed(&claim.request(&other)).is_err());
        }
        let key = combine_care(&releases, &claim.taker, &claim.vault).unwrap();
        assert_eq!(key, claim.secret.care_key(&point).unwrap());
        assert_ne!(key, claim.secret.care_key(&other).unwrap());
        let too_few = combine_care(&releases[..1], &claim.taker, &claim.vault);
        assert_eq!(too_few, Err(CustodyError::TooFew { found: 1, required: 2 }));
        let thief = DeliverySecret::from_seed(&[10; 32]);
        assert_ne!(combine_care(&releases, &thief, &claim.vault).unwrap(), key);
        // The secret dealt anew to others has the same keys.
        let (vault, shares) = share(&claim.secret, 1, 1, &[6; 32]).unwrap();
        let again = Claim { vault, shares, ..claim };
        let release = again.release(0, &point);
        assert_eq!(combine_care(&[release], &again.taker, &again.vault).unwrap(), key);
    }

    #[test]
    fn every_place_has_a_point_of_its_own() {
        let of = |chain: u8, owner: u8, deal: u8, index| {
            let (chain, owner) = (ChainId([chain; 32]), AccountId([owner; 32]));
            care_point(&chain, &owner, &DealId([deal; 16]), index)
        };
        let points =
            [of(1, 1, 1, 1), of(2, 1, 1, 1), of(1, 2, 1, 1), of(1, 1, 2, 1), of(1, 1, 1, 2)];
        for (at, point) in points.iter().enumerate() {
            assert!(!points[..at].contains(point));
        }
    }

    #[test]
    fn a_release_is_for_one_claim_and_no_order() {
        let first = claim(&DEAL);
        let point = care_point(&CHAIN, &OWNER, &DEAL, 0);
        let release = first.release(0, &point);
        let second = claim(&DealId([5; 16]));
        assert!(release.verify_claimed(&second.request(&point)).is_err());
        // A delivery key of another claim is refused before a release is made.
        let stolen = ClaimRequest { delivery: &second.delivery, ..first.request(&point) };
        let refused = Release::make_claimed(&first.shares[0], &stolen, &[3; 32]);
        assert_eq!(refused, Err(CustodyError::Proof { what: "delivery key" }));

        // An order whose capsule has the same point, made by one that does not know its logarithm.
        let (vault, content) = (VaultId([3; 16]), Hash([4; 32]));
        let label = label(&CHAIN, &OWNER, &vault, &content);
        let (good, _) = Capsule::seal(&first.secret, &label, &[5; 32]);
        let capsule = Capsule { r: point, ..good };
        assert!(release.verify(&first.vault, &capsule, &first.delivery, &first.context).is_err());
        let request = ReleaseRequest {
            vault: &first.vault,
            capsule: &capsule,
            label: &label,
            delivery: &first.delivery,
            context: &first.context,
        };
        let refused = Release::make(&first.shares[0], &request, &[3; 32]);
        assert_eq!(refused, Err(CustodyError::Proof { what: "capsule" }));

        // And an order's release opens nothing of a claim.
        let order = release_context(&CHAIN, &OrderId([1; 16]), &ListingId([2; 16]));
        let delivery = DeliveryKey::make(&first.taker, &order, &[9; 32]);
        let request =
            ReleaseRequest { capsule: &good, delivery: &delivery, context: &order, ..request };
        let sold = Release::make(&first.shares[0], &request, &[3; 32]).unwrap();
        assert!(combine(&good, std::slice::from_ref(&sold), &first.taker, &first.vault).is_err());
        let as_claim =
            ClaimRequest { delivery: &delivery, context: &order, ..first.request(&good.r) };
        assert!(sold.verify_claimed(&as_claim).is_err(), "the statement says what it is for");
    }
}
