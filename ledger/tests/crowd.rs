//! Strangers that hold connections and ask nothing.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::time::Duration;

use common::{answer, open};
use symbolon_ledger::{Ledger, Remote};
use symbolon_net::{Alpn, Connection, Endpoint, Host, MemoryNetwork};
use tokio::time::sleep;

fn secret(number: u16) -> [u8; 32] {
    let mut secret = [3; 32];
    secret[..2].copy_from_slice(&number.to_le_bytes());
    secret
}

/// How many of them are still open.
fn open_ones(connections: &[(Endpoint, Connection)]) -> usize {
    connections.iter().filter(|(_, connection)| connection.close_reason().is_none()).count()
}

#[tokio::test(start_paused = true)]
async fn who_asks_gets_a_place_from_a_thousand_who_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(folder.path(), Host::seeded(1, 1_000_000)).await;
    let network = MemoryNetwork::new();
    let ticket = answer(embedded.clone(), network.endpoint([1; 32]));
    // One who follows, and so has been given something when the strangers come.
    let follower = Remote::new(network.endpoint([2; 32]), ticket.clone());
    let mut follow = Ledger::from(follower).follow(0);
    follow.next().await.unwrap();
    let mut strangers = Vec::new();
    for number in 0..1_100 {
        let stranger = network.endpoint(secret(number));
        let connection = stranger.connect(&ticket.address, Alpn::Ledger).await.unwrap();
        strangers.push((stranger, connection));
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(open_ones(&strangers), 1_023, "all places but one are theirs");
    sleep(Duration::from_secs(6)).await;
    let mut honest = Vec::new();
    for number in 0..40 {
        let asks = Ledger::from(Remote::new(network.endpoint([100 + number; 32]), ticket.clone()));
        assert_eq!(asks.head().await.unwrap().header.chain, embedded.chain());
        honest.push(asks);
    }
    assert_eq!(open_ones(&strangers), 1_023 - 40);
    // Who asks nothing for long is sent away without need.
    sleep(Duration::from_secs(5 * 60)).await;
    assert_eq!(open_ones(&strangers), 0);
    assert_eq!(follow.next().await.unwrap().header.header.height, 1, "a follower waits, and stays");
}

#[tokio::test(start_paused = true)]
async fn one_peer_has_so_many_connections() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(folder.path(), Host::seeded(1, 1_000_000)).await;
    let network = MemoryNetwork::new();
    let ticket = answer(embedded, network.endpoint([1; 32]));
    let peer = network.endpoint([2; 32]);
    let mut connections = Vec::new();
    for _ in 0..20 {
        let connection = peer.connect(&ticket.address, Alpn::Ledger).await.unwrap();
        connections.push((peer.clone(), connection));
    }
    sleep(Duration::from_millis(1)).await;
    assert_eq!(open_ones(&connections), 16);
}
