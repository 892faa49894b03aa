//! Inconsistent states: a key without its store, a store of another node, a capacity below the
//! stored bytes, a wrong row on the ledger, and a clock that jumps. Also unpaid shards of a deal
//! that ended without them.

use symbolon_net::{Endpoint, Host};
use symbolon_node::{Node, NodeError, NodeOptions};
use symbolon_protocol::{
    Amount,
    id::{AccountId, PeerId},
    ledger::{rows::Nodes, transaction::Action},
    wire::storage::RefusalCode,
};

use crate::world::{NODE_SECRET, PRICE, START_MS, World, code, deal_id, shard};

const EPOCH_MS: u64 = 60_000;
const HOUR_MS: i64 = 60 * 60 * 1000;

/// The node of these tests.
fn node_id() -> PeerId {
    let key = ed25519_dalek::SigningKey::from_bytes(&NODE_SECRET);
    PeerId(key.verifying_key().to_bytes())
}

impl World {
    async fn start(&self, options: NodeOptions, host: Host) -> Result<Node, NodeError> {
        let endpoint: Endpoint = self.network.endpoint(NODE_SECRET);
        Node::start(options, NODE_SECRET, endpoint, self.ledger.clone(), host).await
    }

    /// Runs a node until it has proven a shard, then stops it.
    async fn had_a_node(&self) {
        let node = self.node().await;
        let owner = self.peer(&self.owner, &node).await;
        let (terms, grant) = (self.terms(1, 4096), self.own_grant());
        let accepted = owner.store(&terms, 1, PRICE, &grant, &shard(4096)).await.unwrap();
        self.open_deal(&terms, accepted).await;
        self.opened(&node).await;
        assert_eq!(node.status().await.unwrap().passed, 1);
        node.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_without_its_store_does_not_start_unless_that_is_accepted() {
    let world = World::new().await;
    world.had_a_node().await;
    let dir = world.dir.path().join("node");
    let again = |options| world.start(options, world.host.clone());

    // First only the index is gone, then everything.
    std::fs::rename(dir.join("index.redb"), dir.join("away")).unwrap();
    let gone = again(world.options("node")).await.err().unwrap();
    assert!(matches!(gone, NodeError::StoreGone { slots: 1, bytes: 4096, .. }), "{gone}");
    assert!(gone.is_loss());
    // A failed start changes nothing.
    let gone = again(world.options("node")).await.err().unwrap();
    assert!(matches!(gone, NodeError::StoreGone { .. }), "{gone}");
    std::fs::rename(dir.join("away"), dir.join("index.redb")).unwrap();
    again(world.options("node")).await.unwrap().stop().await;
    std::fs::rename(&dir, world.dir.path().join("away")).unwrap();
    let gone = again(world.options("node")).await.err().unwrap();
    assert!(matches!(gone, NodeError::StoreGone { .. }), "{gone}");

    // The operator accepts the loss, and the node continues with the rest.
    let accepting = NodeOptions { accept_loss: true, ..world.options("node") };
    let node = again(accepting).await.unwrap();
    world.pass(2 * EPOCH_MS).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.passed, status.missed, status.shards), (1, 1, 0));
    node.stop().await;
    // The next start need not accept the loss again.
    again(world.options("node")).await.unwrap().stop().await;
}

#[tokio::test(start_paused = true)]
async fn lost_shards_are_missed_and_a_store_belongs_to_one_node() {
    let world = World::new().await;
    world.had_a_node().await;
    let (dir, away) = (world.dir.path().join("node"), world.dir.path().join("away"));
    let again = |options| world.start(options, world.host.clone());
    std::fs::rename(dir.join("shards"), &away).unwrap();
    for _ in 0..2 {
        let gone = again(world.options("node")).await.err().unwrap();
        assert!(gone.is_loss(), "{gone}");
    }
    std::fs::rename(&away, dir.join("shards")).unwrap();
    again(world.options("node")).await.unwrap().stop().await;
    std::fs::rename(dir.join("shards"), &away).unwrap();
    let accepting = NodeOptions { accept_loss: true, ..world.options("node") };
    let node = again(accepting).await.unwrap();
    let status = node.status().await.unwrap();
    assert_eq!((status.shards, status.used), (0, 0));
    node.stop().await;

    // A store of another node lies in this node's folder, first with this node's marker file, then
    // without.
    world.node_with(world.options("other"), [12; 32]).await.stop().await;
    std::fs::copy(world.dir.path().join("other/index.redb"), dir.join("index.redb")).unwrap();
    for note in [true, false] {
        if !note {
            std::fs::remove_file(dir.join("node")).unwrap();
        }
        let wrong = again(world.options("node")).await.err().unwrap();
        assert!(matches!(wrong, NodeError::WrongFolder { .. }), "{wrong}");
    }
}

/// Takes the shard of the node out of its store, as an old copy of the folder would not have it.
fn empty(world: &World) {
    let store = symbolon_store::Shards::open(&world.dir.path().join("node")).unwrap();
    assert!(store.remove(&deal_id(1), 1).unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_store_without_a_shard_is_not_that_of_a_node_that_has_to_prove_some() {
    let world = World::new().await;
    world.had_a_node().await;
    empty(&world);
    let again = |options| world.start(options, world.host.clone());
    for _ in 0..2 {
        let gone = again(world.options("node")).await.err().unwrap();
        assert!(matches!(gone, NodeError::NoShards { slots: 1, bytes: 4096, .. }), "{gone}");
        assert!(gone.is_loss());
    }
    let accepting = NodeOptions { accept_loss: true, ..world.options("node") };
    again(accepting).await.unwrap().stop().await;
    again(world.options("node")).await.unwrap().stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_whose_only_shard_went_with_its_deal_is_whole() {
    let world = World::new().await;
    world.had_a_node().await;
    let owner = world.owner.account_key();
    world.apply(&owner, Action::EndDeal { deal: deal_id(1) }).await;
    // The node deleted it at its owner's request, and the slot table has it until the next turn.
    empty(&world);
    let row = world.ledger.row(Nodes, &node_id()).await.unwrap().unwrap();
    assert_eq!(row.slots, 1);
    world.start(world.options("node"), world.host.clone()).await.unwrap().stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_must_offer_at_least_what_it_has_accepted() {
    let world = World::new().await;
    world.had_a_node().await;
    let with = |capacity| NodeOptions { capacity, ..world.options("node") };
    let small = world.start(with(4095), world.host.clone()).await.err().unwrap();
    assert!(
        matches!(small, NodeError::CapacityTooSmall { capacity: 4095, bound: 4096 }),
        "{small}"
    );
    let node = world.start(with(4096), world.host.clone()).await.unwrap();
    node.registered().await;
    let owner = world.peer(&world.owner, &node).await;
    let (terms, grant) = (world.terms(2, 1024), world.own_grant());
    let full = owner.store(&terms, 1, PRICE, &grant, &shard(1024)).await;
    assert_eq!(code(full), RefusalCode::Full, "exactly full, it accepts nothing new");
    world.pass(EPOCH_MS).await;
    assert_eq!(node.status().await.unwrap().passed, 2);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_row_is_corrected() {
    let world = World::new().await;
    let node = world.node().await;
    let key = ed25519_dalek::SigningKey::from_bytes(&NODE_SECRET);
    let other = Action::RegisterNode {
        payout: AccountId([6; 32]),
        addresses: vec!["192.0.2.1:1".into()],
        custody_key: None,
        caretaker: false,
        price: Amount::credits(9),
        capacity: 5,
        operator: None,
        agrees_until: 0,
        leaving: false,
    };
    world.apply(&key, other).await;
    world.pass(100).await;
    assert!(!node.status().await.unwrap().registered, "the node sees it with the block");
    world.pass(4_000).await;
    let row = world.ledger.row(Nodes, &node.id()).await.unwrap().unwrap();
    assert_eq!((row.payout, row.price), (AccountId([77; 32]), PRICE));
    assert!(node.status().await.unwrap().registered);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_ahead_does_not_delete_a_shard_that_may_still_be_paid() {
    let world = World::new().await;
    let host = Host::seeded(8, START_MS);
    let node = world.start(world.options("node"), host.clone()).await.unwrap();
    node.registered().await;
    let owner = world.peer(&world.owner, &node).await;
    let (terms, grant) = (world.terms(1, 4096), world.own_grant());
    let accepted = owner.store(&terms, 0, PRICE, &grant, &shard(4096)).await.unwrap();
    // The clock of the node's machine jumps ahead. On the ledger no time has passed.
    host.set_clock(5 * HOUR_MS);
    world.pass(5 * EPOCH_MS).await;
    assert_eq!(node.status().await.unwrap().shards, 1);
    // The clock is set back. A new acceptance does not shorten the time that was promised before.
    host.set_clock(-10 * HOUR_MS);
    let dearer = Amount(PRICE.0 + 1);
    owner.store(&terms, 0, dearer, &world.own_grant(), &[]).await.unwrap();
    world.pass(10 * EPOCH_MS).await;
    world.open_deal(&terms, accepted).await;
    world.opened(&node).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.passed, status.missed, status.unpaid_bytes), (1, 0, 0));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_deal_that_ends_without_a_shard_leaves_it_unpaid() {
    let world = World::new().await;
    let node = world.node().await;
    let second = world.node_with(world.options("second"), [12; 32]).await;
    let grant = world.own_grant();
    let terms = world.terms(1, 4096);
    let ours = world.peer(&world.owner, &node).await;
    ours.store(&terms, 0, PRICE, &grant, &shard(4096)).await.unwrap();
    let theirs = world.peer(&world.owner, &second).await;
    let accepted = theirs.store(&terms, 1, PRICE, &grant, &shard(4096)).await.unwrap();
    // The owner used the second node's acceptance and not this one's, and has ended the deal.
    world.open_deal(&terms, accepted).await;
    world.apply(&world.owner.account_key(), Action::EndDeal { deal: terms.deal() }).await;
    world.pass(2 * EPOCH_MS).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.unpaid_shards, status.unpaid_bytes), (1, 4096));
    world.pass(75 * EPOCH_MS).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.shards, status.used, status.unpaid_bytes), (0, 0, 0), "no bytes leak");
    assert_eq!(second.status().await.unwrap().unpaid_bytes, 0);
    second.stop().await;
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_folder_has_one_node_at_a_time() {
    let world = World::new().await;
    let node = world.node().await;
    let second = world.start(world.options("node"), world.host.clone()).await.err().unwrap();
    assert!(second.is_in_use(), "{second}");
    assert!(!second.is_disk_full() && !second.is_loss());
    node.stop().await;
    world.start(world.options("node"), world.host.clone()).await.unwrap().stop().await;
}

#[test]
fn a_full_disk_is_recognised() {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let full = NodeError::from(symbolon_store::StoreError::Full(full));
    assert!(full.is_disk_full() && !full.is_in_use() && !full.is_loss(), "{full}");
}
