//! Clocks that are wrong, and clocks that jump: durations are measured by none of them, and a node whose
//! clock is behind goes by the ledger's. Nothing is late, nothing is refused, nothing is paid twice.

use std::time::Duration;

use symbolon_client::{
    Client, ClientError, GetOptions, Progress, PutOutcome, PutReport, Readable, SellOptions, Sink,
    Source,
};
use symbolon_protocol::{
    Amount, Millis,
    ledger::rows::{OrderState, Orders},
};
use symbolon_tests::sim::{Trace, World, called};
use tokio::{task::JoinHandle, time::sleep};

use super::{put_options, sell_options};

const NODES: usize = 8;
const HOUR_MS: i64 = 3_600_000;

/// How the machines' clocks jump, one round after another.
const JUMPS: [i64; 4] = [HOUR_MS, -2 * HOUR_MS, 24 * 365 * HOUR_MS, -3 * 24 * 365 * HOUR_MS];

pub(super) async fn clocks(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    for (number, wrong) in [(0, 2), (1, -2), (2, -24 * 30), (3, 24 * 30)] {
        world.set_clock(&format!("node {number}"), wrong * HOUR_MS);
    }
    for (round, by_ms) in JUMPS.into_iter().enumerate() {
        there_and_back(&mut world, &owner, round, by_ms).await;
    }
    world.pass_epochs(3).await;
    for number in 0..NODES {
        let row = world.row(number).await;
        assert_eq!((row.missed, row.missed_in_row), (0, 0), "node {number} proves in time");
        assert!(row.passed >= 3, "node {number} proves what it keeps");
    }
    sell_to_somebody_silent(&mut world, &owner).await;
    owner.close().await;
    // A shard that was sent and not paid for is swept when a block is later than its acceptance and the grace.
    sleep(Duration::from_secs(140)).await;
    world.finish().await
}

fn put(owner: &Client, data: &[u8], name: String) -> JoinHandle<Result<PutReport, ClientError>> {
    let (owner, source) = (owner.clone(), Source::Bytes(data.to_vec().into()));
    tokio::spawn(async move {
        owner.put(source, &called(&name), &put_options(500), &Progress::silent()).await
    })
}

/// A file is stored and read while the clocks of its owner and of a node jump.
async fn there_and_back(world: &mut World, owner: &Client, round: usize, by_ms: i64) {
    let (name, node) = (format!("file {round}"), format!("node {}", 4 + round));
    let data = world.bytes(&name, 400_000 + world.dice(&name, 400_000));
    let putting = put(owner, &data, name.clone());
    sleep(Duration::from_millis(world.dice(&format!("jump {round}"), 200))).await;
    let early = putting.is_finished();
    world.set_clock("owner", by_ms);
    world.set_clock(&node, by_ms);
    let stored = putting.await.unwrap().unwrap();
    assert_eq!(
        (stored.outcome, stored.shards),
        (PutOutcome::Stored, 8),
        "every node takes its part"
    );
    let again = put(owner, &data, name.clone()).await.unwrap().unwrap();
    assert_eq!(again.outcome, PutOutcome::Already);
    let (what, options) = (Readable::Name(called(name)), GetOptions::default());
    let reader = owner.clone();
    let getting = tokio::spawn(async move {
        reader.get(&what, Sink::Memory, &options, &Progress::silent()).await
    });
    sleep(Duration::from_millis(world.dice(&format!("jump back {round}"), 60))).await;
    world.set_clock("owner", -by_ms);
    let read = getting.await.unwrap().unwrap();
    assert!(read.faults.is_empty() && read.bytes.unwrap() == data, "{:?}", read.faults);
    world.note(format!("round {round}, done before the jump: {early}"));
    world.audit().await;
}

/// The buyer pays and is never heard of again: custodians post the key in time, whatever their clocks show.
async fn sell_to_somebody_silent(world: &mut World, owner: &Client) {
    let options = SellOptions {
        licence_text: "As you like.".into(),
        access_ms: Some(Millis(3_600_000)),
        window_ms: Some(Millis(30_000)),
        epochs: Some(400),
        ..sell_options("Readings", Amount(1_000_000_000))
    };
    let listing =
        owner.sell(&called("file 0"), &options, &Progress::silent()).await.unwrap().listing;
    let buyer = world.client("buyer");
    buyer.faucet().await.unwrap();
    let buying = tokio::spawn(async move {
        buyer.buy(&listing, Amount(1_000_000_000), &Progress::silent()).await
    });
    let ledger = world.ledger();
    while ledger.scan(Orders, &[], None, 10).await.unwrap().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    buying.abort();
    world.kill_client("buyer").await;
    sleep(Duration::from_secs(20)).await;
    let orders = ledger.scan(Orders, &[], None, 10).await.unwrap();
    let (_, order) = &orders[0];
    world.note(format!("the order is {:?}", order.state));
    assert_eq!(order.state, OrderState::Delivered, "the key came in time");
    world.audit().await;
}
