//! What a node does by itself: it proves and earns, starts again, and deletes shards of ended
//! deals.

use symbolon_net::Host;
use symbolon_node::{Node, NodeError, NodeOptions};
use symbolon_protocol::{
    Amount, Millis,
    id::AccountId,
    ledger::{
        Params,
        rows::{DealState, Nodes},
        slot_rate,
        transaction::Action,
    },
    limits::SLICE_BYTES,
    wire::storage::{Request, Response},
};

use crate::world::{NODE_SECRET, PRICE, World, shard, verify};

const EPOCH_MS: u64 = 60_000;

/// Damages the node's only shard file.
pub(crate) fn damage(world: &World, offset: u64) {
    use std::os::unix::fs::FileExt;
    let shards = world.dir.path().join("node/shards");
    let files = std::fs::read_dir(shards).unwrap().flat_map(|dir| {
        std::fs::read_dir(dir.unwrap().path()).unwrap().map(|file| file.unwrap().path())
    });
    let files: Vec<_> = files.collect();
    assert_eq!(files.len(), 1);
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&files[0]).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[tokio::test(start_paused = true)]
async fn proofs_are_accepted_and_paid_epoch_after_epoch() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let payout = AccountId([77; 32]);
    let grant = world.own_grant();
    let mut rate = Amount::ZERO;
    for (deal, length) in [(1, 4096), (2, 2 * SLICE_BYTES as u64 + 3072), (3, 1024)] {
        let terms = world.terms(deal, length);
        let accepted = owner.store(&terms, 1, PRICE, &grant, &shard(length)).await.unwrap();
        world.open_deal(&terms, accepted).await;
        rate = rate.checked_add(slot_rate(PRICE, length).unwrap()).unwrap();
    }
    assert_eq!(world.balance(&payout).await, Amount::ZERO);
    world.opened(&node).await;
    for epochs in 1..=4 {
        let status = node.status().await.unwrap();
        assert_eq!((status.passed_epoch, status.passed, status.missed), (Some(epochs), epochs, 0));
        assert_eq!((status.slots, status.rate), (3, rate));
        let earned = rate.checked_mul(epochs).unwrap();
        assert_eq!((status.earned, world.balance(&payout).await), (earned, earned));
        world.pass(EPOCH_MS).await;
    }
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_window_of_a_long_epoch_is_proven_as_soon_as_it_opens() {
    let params = Params { epoch_ms: Millis::DAY, ..Params::development() };
    let world = World::with(params).await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let terms = world.terms(1, 4096);
    let grant = world.own_grant();
    let accepted = owner.store(&terms, 1, PRICE, &grant, &shard(4096)).await.unwrap();
    world.open_deal(&terms, accepted).await;
    while node.status().await.unwrap().slots == 0 {
        world.pass(60_000).await;
    }
    world.pass(2_000).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.passed, status.missed), (1, 0));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_shard_is_not_paid() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let terms = world.terms(1, 1024);
    let grant = world.own_grant();
    let accepted = owner.store(&terms, 1, PRICE, &grant, &shard(1024)).await.unwrap();
    world.open_deal(&terms, accepted).await;
    world.opened(&node).await;
    assert_eq!(node.status().await.unwrap().passed, 1);
    damage(&world, 100);
    world.pass(2 * EPOCH_MS).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.passed, status.missed), (1, 1));
    // Once the shard is whole again, the node proves it in the same epoch.
    damage(&world, 100);
    world.pass(EPOCH_MS / 2).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.passed, status.passed_epoch), (2, Some(3)));
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_again_goes_on() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let grant = world.own_grant();
    let (kept, late) = (world.terms(1, 4096), world.terms(2, 2048));
    let accepted = owner.store(&kept, 1, PRICE, &grant, &shard(4096)).await.unwrap();
    let unpaid = owner.store(&late, 1, PRICE, &grant, &shard(2048)).await.unwrap();
    world.open_deal(&kept, accepted.clone()).await;
    world.opened(&node).await;
    let before = node.status().await.unwrap();
    node.stop().await;

    // While it is down a deal opens and an epoch passes.
    world.open_deal(&late, unpaid.clone()).await;
    world.pass(EPOCH_MS).await;
    let mut options = world.options("node");
    options.price = Amount::credits(3);
    let node = world.node_with(options, NODE_SECRET).await;
    world.pass(1000).await;
    let after = node.status().await.unwrap();
    assert_eq!((after.used, after.shards, after.unpaid_shards), (4096 + 2048, 2, 0));
    assert_eq!(after.unpaid_bytes, 0);
    assert!(before.height < after.height);
    assert_eq!(after.passed, before.passed + 1, "the epoch it came back in is proven");
    let row = world.ledger.row(Nodes, &node.id()).await.unwrap().unwrap();
    assert_eq!(row.price, Amount::credits(3));

    let owner = world.peer(&world.owner, &node).await;
    assert_eq!(owner.store(&kept, 1, PRICE, &grant, &[]).await.unwrap(), accepted);
    let request =
        Request::Read { deal: kept.deal(), index: 1, first: 0, count: 1, grant: Some(grant) };
    let pieces = owner.read(&request).await.unwrap();
    verify(&accepted, 4096, SLICE_BYTES, 0, &pieces);
    world.pass(EPOCH_MS).await;
    assert_eq!(node.status().await.unwrap().passed, after.passed + 1);
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn shards_of_ended_deals_are_deleted_and_their_room_is_free() {
    let world = World::new().await;
    let node = world.node().await;
    let owner = world.peer(&world.owner, &node).await;
    let grant = world.own_grant();
    let mut short = world.terms(1, 4096);
    short.epochs = 2;
    let (cancelled, running) = (world.terms(2, 2048), world.terms(3, 1024));
    for terms in [&short, &cancelled, &running] {
        let bytes = shard(terms.length);
        let accepted = owner.store(terms, 0, PRICE, &grant, &bytes).await.unwrap();
        world.open_deal(terms, accepted).await;
    }
    world.opened(&node).await;
    world.apply(&world.owner.account_key(), Action::EndDeal { deal: cancelled.deal() }).await;
    world.pass(1000).await;
    assert_eq!(node.status().await.unwrap().shards, 3, "the window is still open");
    world.pass(EPOCH_MS).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.shards, status.used, status.missed), (2, 4096 + 1024, 0));
    world.pass(EPOCH_MS).await;
    let status = node.status().await.unwrap();
    assert_eq!((status.shards, status.used, status.missed), (1, 1024, 0));
    assert_eq!(world.deal(&short.deal()).await.state, DealState::Completed);
    let gone = owner.ask(&Request::Check { deal: short.deal(), index: 0, grant: None }).await;
    assert_eq!(gone.unwrap(), Response::Held { length: None, root: None });
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_folder_belongs_to_one_node_and_one_ledger() {
    let world = World::new().await;
    world.node().await.stop().await;
    let start = |secret: [u8; 32], key: [u8; 32], options: NodeOptions| {
        let (endpoint, ledger) = (world.network.endpoint(key), world.ledger.clone());
        let host: Host = world.host.clone();
        async move { Node::start(options, secret, endpoint, ledger, host).await }
    };
    let other = start([12; 32], [12; 32], world.options("node")).await;
    assert!(matches!(other, Err(NodeError::WrongFolder { .. })));
    let mixed = start([12; 32], [13; 32], world.options("other")).await;
    assert!(matches!(mixed, Err(NodeError::WrongEndpoint { .. })));
    let again = start(NODE_SECRET, NODE_SECRET, world.options("node")).await.unwrap();
    again.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopper_stops_a_node() {
    let world = World::new().await;
    let node = world.node().await;
    let stopper = node.stopper();
    let running = tokio::spawn(node.run_until_stopped());
    world.pass(1000).await;
    assert!(!running.is_finished());
    stopper.stop();
    running.await.unwrap();
}
