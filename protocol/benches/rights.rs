//! Grants and releases beside the raw signatures and scalar multiplications under them.

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use curve25519_dalek::{
    RistrettoPoint,
    constants::RISTRETTO_BASEPOINT_POINT,
    scalar::Scalar,
    traits::{MultiscalarMul, VartimeMultiscalarMul},
};
use ed25519_dalek::{Signature, Signer, SigningKey};
use std::hint::black_box;
use symbolon_protocol::{
    Decode, Encode, LedgerTime,
    content::{
        FileKey, Layout, Manifest, MaskMode, Scheme,
        seal::{self, LeafParts},
    },
    custody::{
        Capsule, DeliveryKey, DeliverySecret, Release, ReleaseRequest, VaultSecret, combine, label,
        release_context, share,
    },
    dispute::{LeafOpening, judge_cell},
    grant::{Access, Caveat, Grant, ability},
    id::{AccountId, ChainId, Hash, ListingId, ObjectId, OrderId, VaultId},
    identity::Identity,
    merkle,
};

fn grants(criterion: &mut Criterion) {
    let [owner, one, two, three] = [1, 2, 3, 4].map(|seed| Identity::from_seed(&[seed; 64]));
    let object = ObjectId([7; 16]);
    let caveats = vec![
        Caveat::Object { object },
        Caveat::Abilities { set: ability::READ },
        Caveat::NotAfter { time_ms: LedgerTime(1 << 50) },
    ];
    let chain = ChainId([1; 32]);
    let grant = Grant::issue(&chain, &owner.account_key(), one.peer(), caveats, &[1; 32])
        .and_then(|grant| grant.delegate(&chain, &one.access_key(), two.peer(), vec![], &[1; 32]))
        .and_then(|grant| grant.delegate(&chain, &two.access_key(), three.peer(), vec![], &[1; 32]))
        .expect("the chain is well formed");
    let bytes = grant.to_bytes();
    let verified = grant.verify(&chain).expect("the chain was just made");
    let access = Access {
        owner: owner.account(),
        object,
        peer: three.peer(),
        ability: ability::READ,
        cells: Some(0..16),
        now_ms: LedgerTime::ZERO,
        paid: None,
        redeemed: None,
    };
    let keys = [1, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let signed: Vec<Signature> = keys.iter().map(|key| key.sign(&[9; 32])).collect();

    let mut group = criterion.benchmark_group(format!("grant of 3 links, {} bytes", bytes.len()));
    group.throughput(Throughput::Elements(1));
    group.bench_function("floor: 3 ed25519 verify_strict, keys decoded", |bencher| {
        let publics: Vec<[u8; 32]> =
            keys.iter().map(|key| key.verifying_key().to_bytes()).collect();
        bencher.iter(|| {
            for (public, signature) in publics.iter().zip(&signed) {
                let key = ed25519_dalek::VerifyingKey::from_bytes(black_box(public));
                let key = key.expect("it is a key");
                key.verify_strict(&[9; 32], signature).expect("it was just signed");
            }
        });
    });
    group.bench_function("decode and verify", |bencher| {
        bencher.iter(|| {
            Grant::from_bytes(black_box(&bytes)).expect("it was just encoded").verify(&chain)
        });
    });
    group.bench_function("authorize, once verified", |bencher| {
        bencher.iter(|| verified.authorize(black_box(&access)));
    });
    group.finish();
}

fn floors(criterion: &mut Criterion) {
    let number = Scalar::from_bytes_mod_order([0x5a; 32]);
    let point = RistrettoPoint::mul_base(&Scalar::from(77_u8));
    let mut group = criterion.benchmark_group("floor: ristretto255");
    group.throughput(Throughput::Elements(1));
    group.bench_function("base point times scalar, constant time", |bencher| {
        bencher.iter(|| RistrettoPoint::mul_base(black_box(&number)));
    });
    group.bench_function("point times scalar, constant time", |bencher| {
        bencher.iter(|| black_box(&point) * black_box(&number));
    });
    group.bench_function("aB + bP, variable time", |bencher| {
        bencher.iter(|| {
            RistrettoPoint::vartime_double_scalar_mul_basepoint(
                black_box(&number),
                black_box(&point),
                &number,
            )
        });
    });
    group.bench_function("capsule verify: aB + bP and aP + bQ", |bencher| {
        bencher.iter(|| {
            let first = RistrettoPoint::vartime_double_scalar_mul_basepoint(
                black_box(&number),
                &point,
                &number,
            );
            let second = RistrettoPoint::vartime_multiscalar_mul(
                [number, number],
                [point, RISTRETTO_BASEPOINT_POINT],
            );
            (first, second)
        });
    });
    group.bench_function("release verify: 2 (aB + bP) and aP + bQ + cR", |bencher| {
        bencher.iter(|| {
            let two = [point, RISTRETTO_BASEPOINT_POINT].map(|point| {
                RistrettoPoint::vartime_double_scalar_mul_basepoint(
                    black_box(&number),
                    &point,
                    &number,
                )
            });
            let third = RistrettoPoint::vartime_multiscalar_mul(
                [number, number, number],
                [point, RISTRETTO_BASEPOINT_POINT, point],
            );
            (two, third)
        });
    });
    group.bench_function("release make: 3 aB and 2 (aP + bQ), constant time", |bencher| {
        bencher.iter(|| {
            let three = [number; 3].map(|number| RistrettoPoint::mul_base(black_box(&number)));
            let two = [number; 2].map(|number| {
                RistrettoPoint::multiscalar_mul(
                    [number, number],
                    [point, RISTRETTO_BASEPOINT_POINT],
                )
            });
            (three, two)
        });
    });
    group.finish();
}

fn custody(criterion: &mut Criterion) {
    let secret = VaultSecret::from_seed(&[1; 32]);
    let (vault, shares) = share(&secret, 3, 5, &[2; 32]).expect("3 of 5 is a sharing");
    let label = label(&ChainId([1; 32]), &AccountId([3; 32]), &VaultId([4; 16]), &Hash([5; 32]));
    let (capsule, _) = Capsule::seal(&secret, &label, &[6; 32]);
    let context = release_context(&ChainId([1; 32]), &OrderId([2; 16]), &ListingId([3; 16]));
    let buyer = DeliverySecret::from_seed(&[7; 32]);
    let delivery = DeliveryKey::make(&buyer, &context, &[8; 32]);
    let request = ReleaseRequest {
        vault: &vault,
        capsule: &capsule,
        label: &label,
        delivery: &delivery,
        context: &context,
    };
    let make = |place: usize| {
        Release::make(&shares[place], &request, &[9; 32]).expect("the request is good")
    };
    let releases = [make(0), make(2), make(4)];

    let mut group = criterion.benchmark_group("custody, 3 of 5");
    group.throughput(Throughput::Elements(1));
    group.bench_function("share check", |bencher| {
        bencher.iter(|| vault.verify_share(black_box(&shares[4])));
    });
    group.bench_function("capsule seal", |bencher| {
        bencher.iter(|| Capsule::seal(&secret, black_box(&label), &[6; 32]));
    });
    group.bench_function("capsule verify", |bencher| {
        bencher.iter(|| capsule.verify(black_box(&label)));
    });
    group.bench_function("delivery key verify", |bencher| {
        bencher.iter(|| delivery.verify(black_box(&context)));
    });
    group.bench_function("release make, with capsule, delivery and share checked", |bencher| {
        bencher.iter(|| make(black_box(4)));
    });
    group.bench_function("release verify", |bencher| {
        bencher.iter(|| releases[2].verify(&vault, &capsule, &delivery, black_box(&context)));
    });
    group.bench_function("combine", |bencher| {
        bencher.iter(|| combine(&capsule, black_box(&releases), &buyer, &vault));
    });
    group.finish();
}

/// A sealed cell of 64 KiB, one of the 16,384 of a file of 1 GiB.
fn disputes(criterion: &mut Criterion) {
    let key = FileKey::from_bytes([9; 32]);
    let layout = Layout::new(Scheme::for_nodes(8), 1 << 30).expect("a file of 1 GiB");
    let place = layout.cell(5_000).expect("the file has more");
    let cell_key = key.cell_key(place.segment, place.in_segment);
    let mut sealed = vec![7; place.room()];
    let tag = seal::seal(&cell_key, place.end, &mut sealed);
    sealed.extend_from_slice(&tag);
    let parts = LeafParts::new(&cell_key, &sealed, &vec![7; place.room()]);
    let mut leaves = vec![Hash([1; 32]); usize::try_from(layout.cells()).expect("16,384 or so")];
    leaves[5_000] = parts.leaf(5_000);
    let mut tree = merkle::Builder::new();
    tree.extend(leaves.iter().copied());
    let manifest = Manifest::new(&key, MaskMode::ChaCha20, &layout, tree.finish());
    let leaf = LeafOpening { cell: 5_000, parts, path: merkle::path(&leaves, 5_000) };

    let mut group = criterion.benchmark_group("dispute about a cell of 64 KiB");
    group.throughput(Throughput::Elements(1));
    group.bench_function("floor: hash the sealed cell, open it, hash the plain cell", |bencher| {
        let mut plain = vec![0; place.room()];
        bencher.iter(|| {
            let hash = blake3::hash(black_box(&sealed));
            let opened = seal::open(&cell_key, place.end, &sealed, &mut plain);
            (hash, opened, blake3::hash(&plain))
        });
    });
    group.bench_function("BadCell", |bencher| {
        bencher.iter(|| judge_cell(&manifest, black_box(&leaf), &cell_key, &sealed));
    });
    group.finish();
}

criterion_group!(benches, grants, floors, custody, disputes);
criterion_main!(benches);
