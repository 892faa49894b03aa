//! Releases: what combines, and every way to cheat.

use std::{vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    custody::{VaultSecret, label, release_context, share},
    id::{AccountId, ChainId, ListingId, OrderId, PeerId, VaultId},
};

struct Sale {
    vault: VaultKey,
    shares: Vec<Share>,
    capsule: Capsule,
    key: Zeroizing<Point>,
    label: Hash,
    buyer: DeliverySecret,
    delivery: DeliveryKey,
    context: Hash,
}

fn context(order: u8) -> Hash {
    release_context(&ChainId([1; 32]), &OrderId([order; 16]), &ListingId([3; 16]))
}

fn sale(required: u8, total: u8) -> Sale {
    let secret = VaultSecret::from_seed(&[1; 32]);
    let (vault, shares) = share(&secret, required, total, &[2; 32]).unwrap();
    let label = label(&ChainId([1; 32]), &AccountId([3; 32]), &VaultId([4; 16]), &Hash([5; 32]));
    let (capsule, key) = Capsule::seal(&secret, &label, &[6; 32]);
    let context = context(2);
    let buyer = DeliverySecret::from_seed(&[7; 32]);
    let delivery = DeliveryKey::make(&buyer, &context, &[8; 32]);
    Sale { vault, shares, capsule, key, label, buyer, delivery, context }
}

impl Sale {
    fn request(&self) -> ReleaseRequest<'_> {
        ReleaseRequest {
            vault: &self.vault,
            capsule: &self.capsule,
            label: &self.label,
            delivery: &self.delivery,
            context: &self.context,
        }
    }

    fn release(&self, index: u8) -> Release {
        let share = &self.shares[usize::from(index) - 1];
        Release::make(share, &self.request(), &[index; 32]).unwrap()
    }

    fn verify(&self, release: &Release) -> Result<(), CustodyError> {
        release.verify(&self.vault, &self.capsule, &self.delivery, &self.context)
    }
}

#[test]
fn one_custodian_is_a_sharing_too() {
    let sale = sale(1, 1);
    let release = sale.release(1);
    sale.verify(&release).unwrap();
    let key = combine(&sale.capsule, &[release], &sale.buyer, &sale.vault).unwrap();
    assert_eq!(*key, *sale.key);
}

#[test]
fn too_few_repeated_or_strange_releases_do_not_combine() {
    let sale = sale(2, 3);
    let (first, second) = (sale.release(1), sale.release(2));
    let open = |releases: &[Release]| {
        combine(&sale.capsule, releases, &sale.buyer, &sale.vault).map(|key| *key)
    };
    assert_eq!(open(&[]), Err(CustodyError::TooFew { found: 0, required: 2 }));
    assert_eq!(
        open(core::slice::from_ref(&first)),
        Err(CustodyError::TooFew { found: 1, required: 2 })
    );
    assert_eq!(open(&[first.clone(), first.clone()]), Err(CustodyError::Repeated { index: 1 }));
    let strange = Release { index: 0, ..second.clone() };
    assert_eq!(open(&[first.clone(), strange]), Err(CustodyError::Index { index: 0 }));
    // Moved to another index, or opened with another's secret, it is not the key.
    let moved = Release { index: 3, ..second.clone() };
    assert_ne!(open(&[first.clone(), moved]), Ok(*sale.key));
    let other = DeliverySecret::from_seed(&[99; 32]);
    let stolen = combine(&sale.capsule, &[first.clone(), second.clone()], &other, &sale.vault);
    assert_ne!(*stolen.unwrap(), *sale.key);
    assert_eq!(open(&[first, second]), Ok(*sale.key));
}

#[test]
fn a_release_is_for_one_order_buyer_capsule_and_custodian() {
    let sale = sale(2, 3);
    let release = sale.release(1);
    let refused = Err(CustodyError::Proof { what: "release" });
    // Another order of the same buyer.
    let (vault, capsule, delivery) = (&sale.vault, &sale.capsule, &sale.delivery);
    assert_eq!(release.verify(vault, capsule, delivery, &context(9)), refused);
    // Another buyer.
    let other = DeliverySecret::from_seed(&[99; 32]);
    let other = DeliveryKey::make(&other, &sale.context, &[0; 32]);
    assert_eq!(release.verify(vault, capsule, &other, &sale.context), refused);
    // Another capsule under the same label.
    let secret = VaultSecret::from_seed(&[1; 32]);
    let (second, _) = Capsule::seal(&secret, &sale.label, &[77; 32]);
    assert_eq!(release.verify(vault, &second, delivery, &sale.context), refused);
    // The same vault, dealt again.
    let (dealt, _) = share(&secret, 2, 3, &[55; 32]).unwrap();
    assert_eq!(release.verify(&dealt, capsule, delivery, &sale.context), refused);
    // Another custodian's name.
    assert_eq!(sale.verify(&Release { index: 2, ..release.clone() }), refused);
    assert_eq!(sale.verify(&release), Ok(()));
}

#[test]
fn every_field_is_bound() {
    let sale = sale(1, 2);
    let good = sale.release(2);
    let point = sale.release(1).v;
    for bad in [
        Release { u: point, ..good.clone() },
        Release { v: point, ..good.clone() },
        Release { e: [1; 32], ..good.clone() },
        Release { z_share: [1; 32], ..good.clone() },
        Release { z_blind: [1; 32], ..good.clone() },
        Release { index: 33, ..good.clone() },
    ] {
        assert!(sale.verify(&bad).is_err());
    }
    // Without a blind, V would be the bare share of the key for everyone to see.
    assert_eq!(
        sale.verify(&Release { u: [0; 32], ..good.clone() }),
        Err(CustodyError::Identity { what: "U" })
    );
    assert_eq!(
        sale.verify(&Release { v: [0; 32], ..good }),
        Err(CustodyError::Identity { what: "V" })
    );
}

/// A custodian who knows everything a custodian knows, but releases something else and proves it as well
/// as can be: the challenge is over the false points, only the relation is not true.
#[test]
fn a_cheating_custodian_is_found() {
    let sale = sale(2, 3);
    let [blind, a, b, lie] = [11_u8, 12, 13, 14].map(Number::from);
    let r = curve::point(&sale.capsule.r, "").unwrap();
    let yb = curve::point(&sale.delivery.point, "").unwrap();
    let statement = Statement::new(&sale.vault, &sale.capsule, &sale.delivery, &sale.context);
    let first = [
        RistrettoPoint::mul_base(&a),
        RistrettoPoint::mul_base(&b),
        RistrettoPoint::multiscalar_mul([a, b], [r, yb]),
    ];
    let prove = |share: Number, u: RistrettoPoint, v: RistrettoPoint| {
        let (u, v) = (u.compress().to_bytes(), v.compress().to_bytes());
        let e = statement.challenge(1, &u, &v, &first);
        let (z_share, z_blind) = ((a + e * share).to_bytes(), (b + e * blind).to_bytes());
        Release { index: 1, u, v, e: e.to_bytes(), z_share, z_blind }
    };
    let share = sale.shares[0].number;
    let u = RistrettoPoint::mul_base(&blind);
    let v = r * share + yb * blind;
    let refused = Err(CustodyError::Proof { what: "release" });
    assert_eq!(sale.verify(&prove(share, u, v)), Ok(()));
    // Junk instead of the share of the key.
    assert_eq!(sale.verify(&prove(share, u, v + r * lie)), refused);
    // A true relation, but for a share that was never dealt.
    assert_eq!(sale.verify(&prove(share + lie, u, r * (share + lie) + yb * blind)), refused);
    // A blind the buyer cannot take off.
    assert_eq!(sale.verify(&prove(share, u + r * lie, v)), refused);
}

#[test]
fn a_custodian_does_not_release_what_it_should_not() {
    let sale = sale(2, 3);
    let make = |request: &ReleaseRequest<'_>| {
        Release::make(&sale.shares[0], request, &[0; 32]).map(|_| ())
    };
    // A capsule copied into a thief's listing.
    let stolen = label(&ChainId([1; 32]), &AccountId([66; 32]), &VaultId([4; 16]), &Hash([5; 32]));
    assert_eq!(
        make(&ReleaseRequest { label: &stolen, ..sale.request() }),
        Err(CustodyError::Proof { what: "capsule" })
    );
    // A delivery key from another order.
    assert_eq!(
        make(&ReleaseRequest { context: &context(9), ..sale.request() }),
        Err(CustodyError::Proof { what: "delivery key" })
    );
    // A share of another vault.
    let (other, _) = share(&VaultSecret::from_seed(&[5; 32]), 2, 3, &[2; 32]).unwrap();
    assert_eq!(
        make(&ReleaseRequest { vault: &other, ..sale.request() }),
        Err(CustodyError::Share { index: 1 })
    );
    assert_eq!(make(&sale.request()), Ok(()));
}

#[test]
fn equal_entropy_for_two_orders_gives_different_blinds() {
    let sale = sale(1, 1);
    let first = sale.release(1);
    let context = context(9);
    let delivery = DeliveryKey::make(&sale.buyer, &context, &[8; 32]);
    let request = ReleaseRequest { delivery: &delivery, context: &context, ..sale.request() };
    let second = Release::make(&sale.shares[0], &request, &[1; 32]).unwrap();
    assert_ne!(first.u, second.u);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_enough_releases_open_and_all_verify(
        (required, total) in (1_u8..=7).prop_flat_map(|total| (1..=total.div_ceil(2), Just(total))),
        shuffle in any::<u8>(),
    ) {
        let sale = sale(required, total);
        let mut releases: Vec<Release> = (1..=total).map(|index| sale.release(index)).collect();
        for release in &releases {
            prop_assert_eq!(sale.verify(release), Ok(()));
        }
        let places = usize::from(shuffle) % releases.len();
        releases.rotate_left(places);
        releases[..].reverse();
        releases.truncate(required.into());
        let key = combine(&sale.capsule, &releases, &sale.buyer, &sale.vault).unwrap();
        prop_assert_eq!(*key, *sale.key);
        let posted: Vec<PostedRelease> = releases
            .iter()
            .map(|one| PostedRelease {
                index: one.index,
                node: PeerId([one.index; 32]),
                u: one.u,
                v: one.v,
            })
            .collect();
        let key = combine_posted(&sale.capsule, &posted, &sale.buyer, sale.vault.required()).unwrap();
        prop_assert_eq!(*key, *sale.key);
    }

    #[test]
    fn arbitrary_bytes_are_refused_and_never_panic(bytes in prop::array::uniform32(any::<u8>())) {
        let sale = sale(2, 3);
        let release = Release {
            index: bytes[0] % 3, u: bytes, v: bytes, e: bytes, z_share: bytes, z_blind: bytes,
        };
        prop_assert!(sale.verify(&release).is_err());
        let capsule = Capsule { r: bytes, r2: bytes, c: bytes, e: bytes, f: bytes };
        prop_assert!(capsule.verify(&sale.label).is_err());
        let delivery = DeliveryKey { point: bytes, e: bytes, z: bytes };
        prop_assert!(delivery.verify(&sale.context).is_err());
        let vault = VaultKey { commitments: vec![bytes; 2] };
        prop_assert!(release.verify(&vault, &capsule, &delivery, &sale.context).is_err());
    }
}
