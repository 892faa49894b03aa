//! Measures how many MB/s one iroh stream carries over loopback with each cipher. Also measures the
//! processor time of both ends together. For comparison it measures the in-memory transport, which
//! copies nothing.
//!
//! `cargo run --release -p symbolon-net --example throughput`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool for developers")]

use std::time::Instant;

use bytes::Bytes;
use symbolon_net::{Alpn, BindOptions, Cipher, Endpoint, MemoryNetwork};

const BYTES: usize = 512 << 20;
const PIECE: usize = 1 << 20;

async fn measure(name: &str, server: Endpoint, client: Endpoint) {
    let address = server.address();
    let (ours, theirs) = tokio::join!(client.connect(&address, Alpn::Storage), server.accept());
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    let reading = tokio::spawn(async move {
        let (mut sender, mut receiver) = theirs.accept().await.unwrap();
        let mut count = 0;
        let mut into = vec![0; PIECE];
        loop {
            match receiver.read_into(&mut into).await.unwrap() {
                0 => break,
                more => count += more,
            }
        }
        sender.send(&(count as u64)).await.unwrap();
        sender.delivered().await.unwrap();
    });
    let (mut sender, mut receiver) = ours.open().await.unwrap();
    let piece = Bytes::from(vec![0x5a; PIECE]);
    let (began, cpu) = (Instant::now(), cpu_seconds());
    for _ in 0..BYTES / PIECE {
        sender.write(piece.clone()).await.unwrap();
    }
    sender.finish();
    assert_eq!(receiver.receive::<u64>().await.unwrap(), BYTES as u64);
    let seconds = began.elapsed().as_secs_f64();
    reading.await.unwrap();
    println!(
        "{name:>8}: {:7.0} MB/s, {:5.2} ns of processor time per byte, {} MiB in one stream",
        BYTES as f64 / 1e6 / seconds,
        (cpu_seconds() - cpu) / BYTES as f64 * 1e9,
        BYTES >> 20
    );
    server.close().await;
    client.close().await;
}

/// Processor time of this process so far. Linux counts it in hundredths of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    ticks(11).zip(ticks(12)).map_or(f64::NAN, |(user, system)| (user + system) / 100.0)
}

#[tokio::main]
async fn main() {
    let bind =
        |number, cipher| Endpoint::iroh(BindOptions { cipher, ..BindOptions::new([number; 32]) });
    for (name, cipher) in [("aes", Cipher::Aes128Gcm), ("chacha20", Cipher::ChaCha20Poly1305)] {
        measure(name, bind(1, cipher).await.unwrap(), bind(2, cipher).await.unwrap()).await;
    }
    let network = MemoryNetwork::new();
    measure("memory", network.endpoint([1; 32]), network.endpoint([2; 32])).await;
}
