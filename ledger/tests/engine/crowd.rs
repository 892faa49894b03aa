//! Strangers that hold connections without sending requests.

use std::time::Duration;

use crate::common::{answer, open};
use bytes::Bytes;
use symbolon_ledger::{Ledger, Remote};
use symbolon_net::{Alpn, Connection, Endpoint, Host, MemoryNetwork};
use tokio::time::{sleep, timeout};

fn secret(number: u16) -> [u8; 32] {
    let mut secret = [3; 32];
    secret[..2].copy_from_slice(&number.to_le_bytes());
    secret
}

/// How many of the connections are still open.
fn open_ones(connections: &[(Endpoint, Connection)]) -> usize {
    connections.iter().filter(|(_, connection)| connection.close_reason().is_none()).count()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_gets_a_place_from_idle_strangers() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(folder.path(), Host::seeded(1, 1_000_000)).await;
    let network = MemoryNetwork::new();
    let ticket = answer(embedded.clone(), network.endpoint([1; 32]));
    // A follower that has received a block before the strangers come.
    let follower = Remote::new(network.endpoint([2; 32]), ticket.clone());
    let mut follow = Ledger::from(follower).follow(0);
    follow.next().await.unwrap();
    let mut strangers = Vec::new();
    for number in 0..1_100 {
        let stranger = network.endpoint(secret(number));
        let connection = stranger.connect(&ticket.peers[0], Alpn::Ledger).await.unwrap();
        strangers.push((stranger, connection));
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(open_ones(&strangers), 1_023, "they hold all places but one");
    sleep(Duration::from_secs(6)).await;
    let mut honest = Vec::new();
    for number in 0..40 {
        let asks = Ledger::from(Remote::new(network.endpoint([100 + number; 32]), ticket.clone()));
        assert_eq!(asks.head().await.unwrap().header.chain, embedded.chain());
        honest.push(asks);
    }
    assert_eq!(open_ones(&strangers), 1_023 - 40);
    // A connection that stays idle for long is closed even without need.
    sleep(Duration::from_secs(5 * 60)).await;
    assert_eq!(open_ones(&strangers), 0);
    assert_eq!(follow.next().await.unwrap().header.header.height, 1, "a follower keeps its place");
}

#[tokio::test(start_paused = true)]
async fn the_connections_of_one_peer_are_limited() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(folder.path(), Host::seeded(1, 1_000_000)).await;
    let network = MemoryNetwork::new();
    let ticket = answer(embedded, network.endpoint([1; 32]));
    let peer = network.endpoint([2; 32]);
    let mut connections = Vec::new();
    for _ in 0..20 {
        let connection = peer.connect(&ticket.peers[0], Alpn::Ledger).await.unwrap();
        connections.push((peer.clone(), connection));
    }
    sleep(Duration::from_millis(1)).await;
    assert_eq!(open_ones(&connections), 16);
}

#[tokio::test(start_paused = true)]
async fn requests_that_do_not_arrive_hold_up_their_own_peer_only() {
    let folder = tempfile::tempdir().unwrap();
    let embedded = open(folder.path(), Host::seeded(1, 1_000_000)).await;
    let network = MemoryNetwork::new();
    let ticket = answer(embedded, network.endpoint([1; 32]));
    let peer = network.endpoint([2; 32]);
    let mut begun = Vec::new();
    for _ in 0..4 {
        let connection = peer.connect(&ticket.peers[0], Alpn::Ledger).await.unwrap();
        for _ in 0..64 {
            let (mut sender, receiver) = connection.open().await.unwrap();
            sender.write(Bytes::from_static(&[0])).await.unwrap();
            begun.push((connection.clone(), sender, receiver));
        }
    }
    sleep(Duration::from_millis(1)).await;
    let same = Ledger::from(Remote::new(peer, ticket.clone()));
    let other = Ledger::from(Remote::new(network.endpoint([3; 32]), ticket));
    let soon = Duration::from_secs(5);
    assert!(timeout(soon, same.head()).await.is_err(), "its peer has as many as it may have");
    timeout(soon, other.head()).await.unwrap().unwrap();
    // A request must arrive in ten seconds. Then the next ones have their turn.
    sleep(soon).await;
    timeout(soon, same.head()).await.unwrap().unwrap();
    drop(begun);
}
