//! How many MB/s one iroh stream carries over loopback, beside plain UDP-free memory copying.
//!
//! `cargo run --release -p symbolon-net --example throughput`

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measuring tool for developers")]

use std::time::Instant;

use bytes::Bytes;
use symbolon_net::{Alpn, BindOptions, Endpoint, MemoryNetwork};

const BYTES: usize = 512 << 20;
const PIECE: usize = 1 << 20;

async fn measure(name: &str, server: Endpoint, client: Endpoint) {
    let address = server.address();
    let (ours, theirs) = tokio::join!(client.connect(&address, Alpn::Storage), server.accept());
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    let reading = tokio::spawn(async move {
        let (mut sender, mut receiver) = theirs.accept().await.unwrap();
        let mut count = 0;
        while let Some(piece) = receiver.read(PIECE).await.unwrap() {
            count += piece.len();
        }
        sender.send(&(count as u64)).await.unwrap();
        sender.delivered().await.unwrap();
    });
    let (mut sender, mut receiver) = ours.open().await.unwrap();
    let piece = Bytes::from(vec![0x5a; PIECE]);
    let began = Instant::now();
    for _ in 0..BYTES / PIECE {
        sender.write(piece.clone()).await.unwrap();
    }
    sender.finish();
    assert_eq!(receiver.receive::<u64>().await.unwrap(), BYTES as u64);
    let seconds = began.elapsed().as_secs_f64();
    reading.await.unwrap();
    println!(
        "{name:>8}: {:7.0} MB/s, {} MiB in one stream",
        BYTES as f64 / 1e6 / seconds,
        BYTES >> 20
    );
    server.close().await;
    client.close().await;
}

#[tokio::main]
async fn main() {
    let bind = |number| Endpoint::iroh(BindOptions::new([number; 32]));
    measure("iroh", bind(1).await.unwrap(), bind(2).await.unwrap()).await;
    let network = MemoryNetwork::new();
    measure("memory", network.endpoint([1; 32]), network.endpoint([2; 32])).await;
}
