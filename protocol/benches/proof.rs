//! Storage proofs and the state tree, each beside the bare hash over the same bytes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use symbolon_protocol::{
    id::Hash,
    ledger::{
        state::{MemoryState, State as _, Update},
        tree,
    },
    limits::{CELL_BYTES, SHARD_BYTES_MAX, SLICE_BYTES},
    proof::{
        ShardHasher, cell_path, challenges, group_range, leaf_count, leaf_proof, slice_path,
        verify_cell, verify_leaf, verify_slice,
    },
};

const SHARD: usize = 64 << 20;

fn bytes(length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

fn whole_shards(c: &mut Criterion) {
    let data = bytes(SHARD);
    let mut group = c.benchmark_group("hash a shard of 64 MiB");
    group.throughput(Throughput::Bytes(SHARD as u64)).sample_size(20);
    group.bench_function("floor: blake3", |b| b.iter(|| blake3::hash(black_box(&data))));
    for piece in [1 << 20, 1 << 16, 1400] {
        group.bench_function(format!("with outboard, in pieces of {piece}"), |b| {
            b.iter(|| {
                let mut hasher = ShardHasher::new();
                black_box(&data).chunks(piece).for_each(|piece| hasher.update(piece));
                hasher.finish()
            });
        });
    }
    group.finish();
}

fn leaves(c: &mut Criterion) {
    let data = bytes(SHARD);
    let length = SHARD_BYTES_MAX;
    let mut hasher = ShardHasher::new();
    hasher.update(&data);
    let (root, outboard) = hasher.finish();
    let leaf = leaf_count(length) / 3;
    let range = group_range(length, leaf).expect("inside");
    let place = |at: u64| usize::try_from(at).expect("inside the shard");
    let group_bytes = &data[place(range.start)..place(range.end)];
    let proof = leaf_proof(&outboard, length, leaf, group_bytes).expect("inside");

    let mut group = c.benchmark_group("one leaf of 64 MiB");
    group.bench_function("floor: blake3 of its group", |b| {
        b.iter(|| blake3::hash(black_box(group_bytes)));
    });
    group.bench_function("prove", |b| {
        b.iter(|| leaf_proof(&outboard, length, leaf, black_box(group_bytes)));
    });
    group.bench_function("floor: blake3 of the leaf", |b| {
        b.iter(|| blake3::hash(black_box(&proof.leaf)));
    });
    group.bench_function("verify", |b| {
        b.iter(|| verify_leaf(&root, length, leaf, black_box(&proof)));
    });
    group.finish();

    let mut group = c.benchmark_group("parts of 64 MiB");
    for (name, size) in [("cell", CELL_BYTES), ("slice", SLICE_BYTES)] {
        let part = &data[7 * size..8 * size];
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("floor: blake3 of a {name}"), |b| {
            b.iter(|| blake3::hash(black_box(part)));
        });
        let is_cell = size == CELL_BYTES;
        let path = if is_cell { cell_path } else { slice_path };
        let path = path(&outboard, length, 7).expect("inside");
        let verify = if is_cell { verify_cell } else { verify_slice };
        group.bench_function(format!("verify a {name}"), |b| {
            b.iter(|| verify(&root, length, 7, black_box(part), &path));
        });
    }
    group.finish();
}

fn picks(c: &mut Criterion) {
    let mut group = c.benchmark_group("40 challenges of a 1 TiB node");
    let pick = |length_of: fn(u32) -> u64| {
        move || challenges(&Hash([1; 32]), 65_536, SHARD_BYTES_MAX, 1 << 40, length_of)
    };
    let (full, mixed) = (pick(|_| SHARD_BYTES_MAX), pick(|slot| 1024 << (slot % 17)));
    group.bench_function("shards all of one length", |b| b.iter(&full));
    group.bench_function("lengths from 1 KiB to 64 MiB", |b| b.iter(&mixed));
    group.finish();
}

fn state_tree(c: &mut Criterion) {
    let key = |number: u32| [&[3][..], blake3::hash(&number.to_le_bytes()).as_bytes()].concat();
    let rows = |from: u32, count: u32, value: u8| -> tree::Rows {
        (from..from + count).map(|number| (key(number), Some(vec![value; 24]))).collect()
    };
    let mut state = MemoryState::default();
    let mut all = rows(0, 100_000, 1);
    let (_, nodes) = tree::update(&state, &all);
    all.extend(nodes);
    state.commit(&Update { rows: all });
    let changes: tree::Rows = rows(500, 900, 2).into_iter().chain(rows(200_000, 100, 3)).collect();
    let (_, nodes) = tree::update(&state, &changes);
    let branches = nodes.len() as u64;

    let mut group = c.benchmark_group("state tree of 100 000 rows");
    group.throughput(Throughput::Elements(1000)).sample_size(50);
    group.bench_function(format!("floor: {branches} branch hashes"), |b| {
        b.iter(|| {
            for _ in 0..branches {
                black_box(blake3::hash(black_box(&[7; 64])));
            }
        });
    });
    group.bench_function("update of 1000 rows", |b| {
        b.iter(|| tree::update(&state, black_box(&changes)));
    });
    group.throughput(Throughput::Elements(1));
    let (key, value, root) = (key(7), [1; 24], tree::root(&state));
    let prove = || tree::prove_rows(&state, [black_box(&key[..])]);
    let proof = prove();
    let verify = || tree::verify_rows(&root, [(black_box(&key[..]), Some(&value[..]))], &proof);
    verify().expect("the proof of this row");
    println!("bytes of a proof of one row: {}", proof.len());
    group.bench_function("prove a row", |b| b.iter(prove));
    group.bench_function("verify a row", |b| b.iter(verify));

    let found = state.scan(&[3], None, 1000);
    let rows: Vec<_> = found.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    let until = rows.last().map(|(key, _)| *key);
    let range = tree::Range { prefix: &[3], after: None, until };
    let prove = || tree::prove_range(&state, black_box(&range));
    let proof = prove();
    let verify = || tree::verify_range(&root, black_box(&range), &rows, &proof);
    verify().expect("the proof of these rows");
    println!("bytes of a proof of a scan of 1,000 rows: {}", proof.len());
    group.throughput(Throughput::Elements(1000));
    group.bench_function("prove a scan of 1000 rows", |b| b.iter(prove));
    group.bench_function("verify a scan of 1000 rows", |b| b.iter(verify));
    group.finish();
}

criterion_group!(benches, whole_shards, leaves, picks, state_tree);
criterion_main!(benches);
