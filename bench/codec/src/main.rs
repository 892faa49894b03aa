//! Reed-Solomon codecs of the same code, side by side on one core: the same parity, checked, and how
//! fast each makes it.
//!
//! `RUSTFLAGS= cargo run --release --manifest-path bench/codec/Cargo.toml --features kernel`

use std::time::Instant;

use reed_solomon_erasure::galois_8;

/// Bytes of every shard that are coded at once: a block in the first-level cache, a cell, a whole
/// shard's worth.
const BLOCKS: [usize; 3] = [4 << 10, 64 << 10, 4 << 20];
const SCHEMES: [(usize, usize); 4] = [(2, 3), (4, 8), (16, 32), (32, 72)];
/// Data bytes per measurement.
const BYTES: usize = 128 << 20;

fn shards((required, total): (usize, usize), block: usize) -> Vec<Vec<u8>> {
    let mut seed = 1_u64;
    let mut byte = || {
        // xorshift64: any bytes do, zeros would not.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed as u8
    };
    let data = (0..required).map(|_| (0..block).map(|_| byte()).collect());
    data.chain((required..total).map(|_| vec![0; block])).collect()
}

fn rate(data: usize, mut encode: impl FnMut()) -> f64 {
    encode();
    let rounds = (BYTES / data).max(1);
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let began = Instant::now();
        (0..rounds).for_each(|_| encode());
        best = best.min(began.elapsed().as_secs_f64());
    }
    (rounds * data) as f64 / 1e6 / best
}

fn main() {
    let kernel = if cfg!(feature = "kernel") { "C kernel" } else { "no kernel" };
    println!("MB of data per second, one core; reed-solomon-erasure with {kernel}");
    for scheme in SCHEMES {
        let (required, total) = scheme;
        let ours = galois_8::ReedSolomon::new(required, total - required).expect("a scheme");
        let sia = sia_reed_solomon::ReedSolomon::new(required, total - required).expect("a scheme");
        for block in BLOCKS {
            let (mut one, mut other) = (shards(scheme, block), shards(scheme, block));
            let data = required * block;
            let first = rate(data, || ours.encode(&mut one).expect("encodes"));
            let second = rate(data, || sia.encode(&mut other).expect("encodes"));
            assert!(one == other, "the codecs make the same parity");
            println!(
                "{required:>2}/{total:<2} {:>5} KiB: reed-solomon-erasure {first:>7.0}  \
                 sia_reed_solomon {second:>7.0}  ratio {:>5.2}",
                block >> 10,
                second / first
            );
        }
    }
}
