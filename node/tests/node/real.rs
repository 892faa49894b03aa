//! The same node on a real machine: QUIC over loopback, the system clock, and blocking threads.

use std::time::Duration;

use symbolon_ledger::{Embedded, Options};
use symbolon_net::{Alpn, BindOptions, Endpoint, Host, MemoryNetwork};
use symbolon_node::Node;
use symbolon_protocol::{
    Millis,
    identity::Identity,
    ledger::{Params, rows::Nodes, transaction::Action},
    limits::SLICE_BYTES,
    wire::storage::Request,
};

use crate::world::{NODE_SECRET, PRICE, Peer, World, shard, verify};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_serves_and_proves_over_quic() {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::system();
    let params = Params { epoch_ms: Millis(1000), ..Params::development() };
    let options = Options { key: [1; 32], params, host: host.clone() };
    let ledger = Embedded::open(&dir.path().join("ledger"), options).await.unwrap().into();
    let owner = Identity::from_seed(&[21; 64]);
    let world = World { dir, host, network: MemoryNetwork::new(), ledger, owner };
    world.apply(&world.owner.account_key(), Action::Faucet).await;

    let endpoint = Endpoint::iroh(BindOptions::new(NODE_SECRET)).await.unwrap();
    let (ledger, host) = (world.ledger.clone(), world.host.clone());
    let node = Node::start(world.options("node"), NODE_SECRET, endpoint, ledger, host);
    let node = node.await.unwrap();
    node.registered().await;
    let row = world.ledger.row(Nodes, &node.id()).await.unwrap().unwrap();
    assert!(!row.addresses.is_empty());

    let secret = world.owner.access_key().to_bytes();
    let endpoint = Endpoint::iroh(BindOptions::new(secret)).await.unwrap();
    let address = symbolon_net::PeerAddress { id: node.id(), addresses: row.addresses };
    let connection = endpoint.connect(&address, Alpn::Storage).await.unwrap();
    let peer = Peer { endpoint, connection };

    let length = 3 * SLICE_BYTES as u64 + 1024;
    let (terms, grant) = (world.terms(1, length), world.own_grant());
    let accepted = peer.store(&terms, 0, PRICE, &grant, &shard(length)).await.unwrap();
    world.open_deal(&terms, accepted.clone()).await;
    let request =
        Request::Read { deal: terms.deal(), index: 0, first: 0, count: 4, grant: Some(grant) };
    let pieces = peer.read(&request).await.unwrap();
    verify(&accepted, length, SLICE_BYTES, 0, &pieces);
    let proven = async {
        while node.status().await.unwrap().passed < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), proven).await.unwrap();
    peer.endpoint.close().await;
    tokio::time::timeout(Duration::from_secs(10), node.stop()).await.unwrap();
}
