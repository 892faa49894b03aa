//! Away for long: a node comes back after its ledger has dropped the blocks that it did not see. In the
//! meantime the deals of a file have ended, and another file was removed. The node learns both from
//! rows, deletes what is over, and proves what goes on.

use symbolon_client::{Client, GetOptions, Progress, Readable, Sink, Source};
use symbolon_ledger::LedgerError;
use symbolon_protocol::Amount;
use symbolon_tests::sim::{Trace, World, called};

use super::{put_options, sell_options};

const NODES: usize = 8;
const PRICE: Amount = Amount(3_000_000_001);
/// Epochs for which the short file is paid.
const SHORT: u64 = 3;
/// Epochs that a node is away, and that a ledger keeps before the current one.
const AWAY: u64 = 6;
const KEPT: u64 = 2;

pub(super) async fn away(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    world.keep_epochs(KEPT).await;
    let (owner, buyer) = (world.client("owner"), world.client("buyer"));
    owner.faucet().await.unwrap();
    buyer.faucet().await.unwrap();
    for (name, epochs) in [("short", SHORT), ("removed", 500), ("long", 500)] {
        put(&world, &owner, name, epochs).await;
    }
    world.pass_epochs(1).await;
    let options = sell_options("long", PRICE);
    let sold = owner.sell(&called("long"), &options, &Progress::silent()).await.unwrap();
    let gone = world.number_of(&sold.custodians[0]);
    let height = world.ledger().head().await.unwrap().header.height;
    let before = world.row(gone).await;
    world.kill_node(gone).await;
    for epoch in 0..AWAY {
        if epoch == 1 {
            owner.remove(&[called("removed")], true, &Progress::silent()).await.unwrap();
        }
        world.pass_epochs(1).await;
    }
    let next = world.ledger().follow(height + 1).next().await;
    assert!(matches!(next, Err(LedgerError::Pruned { .. })), "{next:?}");
    world.start_node(gone).await;
    world.pass_epochs(1).await;
    world.audit_disks();
    let back = world.row(gone).await;
    assert!(before.missed < back.missed, "it missed what came while it was away");
    for _ in 0..3 {
        // The ledger keeps few blocks, and the auditor wants to see them all.
        world.pass_epochs(1).await;
    }
    let after = world.row(gone).await;
    assert_eq!((after.missed, after.passed), (back.missed, back.passed + 3));
    world.audit_disks();

    let bought = buyer.buy(&sold.listing, PRICE, &Progress::silent()).await.unwrap();
    let token = Readable::Token(bought.token);
    let all = GetOptions::default();
    let got = buyer.get(&token, Sink::Memory, &all, &Progress::silent()).await.unwrap();
    assert!(got.bytes.unwrap() == world.bytes("long", 300_000));
    owner.close().await;
    buyer.close().await;
    world.finish().await
}

async fn put(world: &World, owner: &Client, name: &str, epochs: u64) {
    let source = Source::Bytes(world.bytes(name, 300_000).into());
    let options = put_options(epochs);
    owner.put(source, &called(name), &options, &Progress::silent()).await.unwrap();
}
