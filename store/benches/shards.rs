//! A node's disk: storing and reading shards, compared with the bare file system.

use std::{cell::Cell, fs::File, hint::black_box, io::Write};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use symbolon_protocol::{
    id::{AccountId, DealId, ObjectId},
    ledger::rows::Access,
};
use symbolon_store::{ShardInfo, ShardState, Shards};

fn info(number: u64, length: u64) -> ShardInfo {
    let mut deal = [0; 16];
    deal[..8].copy_from_slice(&number.to_le_bytes());
    ShardInfo {
        deal: DealId(deal),
        index: 0,
        owner: AccountId([1; 32]),
        object: ObjectId([2; 16]),
        access: Access::Granted,
        length,
        terms: Vec::new(),
    }
}

fn store(shards: &Shards, number: u64, data: &[u8]) -> DealId {
    let info = info(number, data.len() as u64);
    let deal = info.deal;
    let mut writer = shards.begin(info).expect("a new shard");
    for piece in data.chunks(1 << 20) {
        writer.write(piece).expect("space");
    }
    writer.finish(ShardState::Active).expect("space");
    deal
}

fn disk(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a directory");
    let shards = Shards::open(dir.path()).expect("a new store");
    let number = Cell::new(0);
    let next = || number.replace(number.get() + 1);
    for (name, length) in [("1 KiB", 1 << 10), ("8 MiB", 8 << 20)] {
        let data = vec![7; length];
        let mut group = c.benchmark_group(format!("a shard of {name}"));
        group.throughput(Throughput::Bytes(length as u64)).sample_size(20);
        group.bench_function("floor: write and sync a file", |b| {
            b.iter(|| {
                let path = dir.path().join("floor");
                let mut file = File::create(&path).expect("space");
                file.write_all(black_box(&data)).expect("space");
                file.sync_all().expect("a disk");
            });
        });
        group.bench_function("store and remove", |b| {
            b.iter(|| {
                let deal = store(&shards, next(), black_box(&data));
                shards.remove(&deal, 0).expect("it is there");
            });
        });
        let deal = store(&shards, next(), &data);
        group.bench_function("floor: read the file", |b| {
            b.iter(|| std::fs::read(dir.path().join("floor")));
        });
        group.bench_function("open and read in slices with paths", |b| {
            b.iter(|| {
                let file = shards.open_shard(&deal, 0).expect("it is there");
                for slice in 0..length.div_ceil(1 << 20) as u64 {
                    black_box(file.unit(1 << 20, slice).expect("inside"));
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, disk);
criterion_main!(benches);
