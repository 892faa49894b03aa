//! What the content pipeline costs, each stage beside its floor: the raw primitive over the same
//! bytes in the same run. Throughput counts plain bytes, one core, buffers made beforehand.

#![allow(clippy::unwrap_used, reason = "a benchmark")]

use std::{hint::black_box, time::Duration};

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, Key, KeyInit, Nonce};
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use reed_solomon_erasure::galois_8::ReedSolomon;
use symbolon_protocol::{
    content::{
        FileKey, Layout, MaskMode, Scheme, SegmentCoder, SegmentLayout, erasure::Code, mask::Mask,
        seal,
    },
    id::Hash,
    limits::{CELL_BYTES, CELL_PLAIN_BYTES},
    merkle::Builder,
};

const SCHEMES: [(u8, u8); 6] = [(1, 2), (2, 3), (3, 5), (4, 8), (16, 32), (32, 72)];

fn group<'a>(c: &'a mut Criterion, name: &str, bytes: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64));
    group.sample_size(20).measurement_time(Duration::from_secs(1));
    group.warm_up_time(Duration::from_millis(300));
    group
}

fn data(length: usize) -> Vec<u8> {
    (0..=250).cycle().take(length).collect()
}

fn seal_one(c: &mut Criterion) {
    let mut group = group(c, "seal", CELL_PLAIN_BYTES);
    let mut cell = data(CELL_PLAIN_BYTES);
    group.bench_function("cell", |b| b.iter(|| seal::seal(&[7; 32], None, black_box(&mut cell))));
    let mut sealed = data(CELL_PLAIN_BYTES);
    let tag = seal::seal(&[7; 32], None, &mut sealed);
    sealed.extend_from_slice(&tag);
    group.bench_function("open", |b| {
        b.iter(|| seal::open(&[7; 32], None, black_box(&sealed), &mut cell));
    });
    let cipher = ChaCha20Poly1305::new(&Key::from([7; 32]));
    group.bench_function("floor: chacha20-poly1305", |b| {
        b.iter(|| {
            let buffer = black_box(&mut cell[..]).into();
            cipher.encrypt_inout_detached(&Nonce::default(), &[], buffer)
        });
    });
    group.finish();
}

fn code(c: &mut Criterion) {
    for (required, total) in [(4, 8), (16, 32)] {
        let scheme = Scheme { required, total };
        let (data, parity) = (usize::from(required), usize::from(total - required));
        let mut group = group(c, &format!("code {scheme}"), data * CELL_BYTES);
        let code = Code::new(scheme).expect("a scheme");
        let mut input = self::data((data + parity) * CELL_BYTES);
        group.bench_function("stripe", |b| {
            b.iter(|| code.encode(black_box(&mut input), CELL_BYTES));
        });
        let codec = ReedSolomon::new(data, parity).expect("a scheme");
        for (name, cell_bytes) in
            [("floor: whole cells at once", CELL_BYTES), ("floor: 4 KiB, all in cache", 4096)]
        {
            let inputs: Vec<&[u8]> = input.chunks_exact(cell_bytes).take(data).collect();
            let mut outputs = vec![vec![0; cell_bytes]; parity];
            group.bench_function(name, |b| {
                b.iter(|| {
                    for _ in 0..CELL_BYTES / cell_bytes {
                        codec.encode_sep(black_box(&inputs), &mut outputs).expect("sizes fit");
                    }
                });
            });
        }
        group.finish();
    }
}

fn mask(c: &mut Criterion) {
    let mut group = group(c, "mask", CELL_BYTES);
    let key = FileKey::from_bytes([7; 32]).mask_key();
    let mask = Mask::new(MaskMode::ChaCha20, &key, 9);
    let mut cell = data(CELL_BYTES);
    group.bench_function("cell", |b| {
        b.iter(|| mask.shard(3).apply(black_box(65_536), &mut cell));
    });
    use chacha20::cipher::{KeyIvInit, StreamCipher};
    group.bench_function("floor: chacha20", |b| {
        b.iter(|| {
            chacha20::ChaCha20::new(&[7; 32].into(), &[0; 12].into())
                .apply_keystream(black_box(&mut cell));
        });
    });
    group.finish();
}

fn hash(c: &mut Criterion) {
    let mut group = group(c, "hash", CELL_PLAIN_BYTES);
    let (plain, sealed) = (data(CELL_PLAIN_BYTES), data(CELL_BYTES));
    let mut builder = Builder::new();
    group.bench_function("leaf and tree", |b| {
        b.iter(|| {
            let parts = seal::LeafParts::new(&[7; 32], black_box(&sealed), &plain);
            builder.push(parts.leaf(builder.count()));
        });
    });
    group.bench_function("floor: blake3 twice", |b| {
        b.iter(|| (blake3::hash(black_box(&sealed)), blake3::hash(&plain)));
    });
    group.finish();
}

/// One full stripe of a scheme and what it takes to code it.
struct Stripe {
    coder: SegmentCoder,
    plain: Vec<u8>,
    cells: Vec<u8>,
    leaves: Vec<Hash>,
}

impl Stripe {
    fn new(scheme: Scheme) -> Self {
        let layout: SegmentLayout = Layout::full_segment(scheme, 0).expect("a scheme");
        let key = FileKey::from_bytes([7; 32]);
        let coder = SegmentCoder::new(&key, MaskMode::ChaCha20, layout);
        let plain = data(usize::from(scheme.required) * CELL_PLAIN_BYTES);
        let mut cells = vec![0; usize::from(scheme.total) * CELL_BYTES];
        let mut leaves = Vec::new();
        coder.encode(0, &plain, &mut cells, &mut leaves).expect("sizes fit");
        Self { coder, plain, cells, leaves }
    }

    fn there(&self, from: usize) -> Vec<Option<&[u8]>> {
        let cells = self.cells.chunks_exact(CELL_BYTES).enumerate();
        cells.map(|(index, cell)| (from <= index).then_some(cell)).collect()
    }
}

fn encode(c: &mut Criterion) {
    for (required, total) in SCHEMES {
        let scheme = Scheme { required, total };
        let mut stripe = Stripe::new(scheme);
        let mut group = group(c, &format!("encode {scheme}"), stripe.plain.len());
        group.bench_function("stripe", |b| {
            b.iter(|| {
                stripe.leaves.clear();
                let plain = black_box(&stripe.plain);
                stripe.coder.encode(0, plain, &mut stripe.cells, &mut stripe.leaves)
            });
        });
        // The same bytes through the primitives, one after the other: what the stages alone cost.
        let (data, total) = (usize::from(required), usize::from(total));
        let codec = ReedSolomon::new(data, total - data).expect("a scheme");
        let cipher = ChaCha20Poly1305::new(&Key::from([7; 32]));
        let mut cells = vec![vec![0; CELL_BYTES]; total];
        group.bench_function("floor: seal, blake3 twice, code, chacha20", |b| {
            use chacha20::cipher::{KeyIvInit, StreamCipher};
            b.iter(|| {
                for (cell, plain) in cells.iter_mut().zip(stripe.plain.chunks(CELL_PLAIN_BYTES)) {
                    cell[..CELL_PLAIN_BYTES].copy_from_slice(black_box(plain));
                    let buffer = cell[..CELL_PLAIN_BYTES].as_mut().into();
                    black_box(blake3::hash(plain));
                    let tag = cipher.encrypt_inout_detached(&Nonce::default(), &[], buffer);
                    cell[CELL_PLAIN_BYTES..].copy_from_slice(&tag.expect("it is short"));
                    black_box(blake3::hash(cell));
                }
                codec.encode(&mut cells).expect("sizes fit");
                for cell in &mut cells {
                    chacha20::ChaCha20::new(&[7; 32].into(), &[0; 12].into()).apply_keystream(cell);
                }
            });
        });
        group.finish();
    }
}

fn decode(c: &mut Criterion) {
    for (required, total) in SCHEMES {
        let stripe = Stripe::new(Scheme { required, total });
        let name = format!("decode {required}/{total}");
        let mut group = group(c, &name, stripe.plain.len());
        let mut out = vec![0; stripe.plain.len()];
        let lost = usize::from((total - required).min(required));
        for (name, from) in
            [("nothing lost", 0), ("one data shard lost", 1), ("as many as may be", lost)]
        {
            let cells = stripe.there(from);
            group.bench_function(name, |b| {
                b.iter(|| stripe.coder.decode(0, black_box(&cells), &mut out).expect("enough"));
            });
        }
        let mut leaves = Vec::new();
        let cells = stripe.there(0);
        group.bench_function("nothing lost, with leaves", |b| {
            b.iter(|| {
                leaves.clear();
                stripe.coder.decode_with_leaves(0, black_box(&cells), &mut out, &mut leaves)
            });
        });
        let mut cell = vec![0; CELL_BYTES];
        let cells = stripe.there(1);
        group.bench_function("rebuild one shard", |b| {
            b.iter(|| stripe.coder.rebuild(0, black_box(&cells), 0, &mut cell));
        });
        let cipher = ChaCha20Poly1305::new(&Key::from([7; 32]));
        group.bench_function("floor: chacha20, open", |b| {
            use chacha20::cipher::{KeyIvInit, StreamCipher};
            b.iter(|| {
                for (cell, out) in
                    stripe.cells.chunks(CELL_BYTES).zip(out.chunks_mut(CELL_PLAIN_BYTES))
                {
                    chacha20::ChaCha20::new(&[7; 32].into(), &[0; 12].into())
                        .apply_keystream_b2b(black_box(&cell[..CELL_PLAIN_BYTES]), out);
                    // Sealing costs what opening a genuine cell does.
                    let buffer = out.into();
                    black_box(
                        cipher.encrypt_inout_detached(&Nonce::default(), &[], buffer).is_ok(),
                    );
                }
            });
        });
        group.finish();
    }
}

fn setup(c: &mut Criterion) {
    let mut group = group(c, "set up", 1);
    for (required, total) in SCHEMES {
        let layout = Layout::full_segment(Scheme { required, total }, 0).expect("a scheme");
        let key = FileKey::from_bytes([7; 32]);
        group.bench_function(format!("coder {required}/{total}"), |b| {
            b.iter(|| SegmentCoder::new(&key, MaskMode::ChaCha20, layout));
        });
    }
    group.finish();
}

criterion_group!(benches, seal_one, code, mask, hash, encode, decode, setup);
criterion_main!(benches);
