//! A ledger that stands still for longer than a node may be silent, a caretaker may take and custodians have for a key. When
//! it is back, each of these goes on with the time that it had left: no node has missed, no claim has ended, no buyer is
//! refunded, and the owner has lost no epoch. While it runs, the same silence costs a node its pay.

use symbolon_client::{GetOptions, Progress, Readable, Sink, Source, Stored};
use symbolon_protocol::{
    Amount,
    id::DealId,
    ledger::{
        Params, Status,
        rows::{Care, Cares, Chains, Deal, Deals, OrderState, Orders, Repairs, Table as _, Vaults},
        transaction::{Action, CaredDeal, LostShard},
    },
};
use symbolon_tests::{
    party::Party,
    sim::{Trace, World, called, params},
};
use tokio::time::{Duration, sleep};

use super::{put_options, sell_options};

const NODES: usize = 12;
const PRICE: Amount = Amount(2_000_000_001);
/// Seven epochs: a node is dead after three, a claim ends after three, and custodians have less than one.
const STALL: Duration = Duration::from_secs(140);

pub(super) async fn stalled(seed: u64) -> Trace {
    let params = Params { dead_after_epochs: 3, ..params() };
    let mut world = World::found_with(seed, NODES, params).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let source = Source::Bytes(world.bytes("file", 300_000).into());
    owner.put(source, &called("file"), &put_options(100), &Progress::silent()).await.unwrap();
    let id = Deals::parse(&world.ledger().scan(Deals, &[], None, 1).await.unwrap()[0].0).unwrap();
    let options = sell_options("file", PRICE);
    let sold = owner.sell(&called("file"), &options, &Progress::silent()).await.unwrap();
    world.pass_epochs(2).await;
    let claimant = claimed(&mut world, &owner, id).await;
    let before = (world.ledger().row(Deals, &id).await.unwrap().unwrap(), world.epoch().await);
    let missed = misses(&world, claimant).await;
    stands_still(&mut world, sold.listing).await;
    goes_on(&mut world, id, &before, (claimant, &missed)).await;

    // The claim ends in its own time, for which no node was dead.
    let until = world.ledger().row(Repairs, &id).await.unwrap().unwrap().claim.unwrap().until;
    assert_eq!(until, before.1 + 3, "it was claimed in the epoch before");
    while world.epoch().await < until {
        sleep(Duration::from_millis(500)).await;
    }
    let claimant = Party::of_node(&world, claimant);
    let again = claimant.claim(id, &lost(&before.0), &read(&before.0)).await;
    assert_eq!(again, Status::TooEarly, "it rests as long as if there had been no gap");
    // The same silence of one node while the ledger runs.
    let keeper = before.0.kept().map(|(_, shard)| world.number_of(&shard.node));
    let keeper = keeper.filter(|number| world.stations[*number].runs()).last().unwrap();
    world.kill_node(keeper).await;
    world.pass_epochs(2).await;
    assert!(0 < world.row(keeper).await.missed, "a node that is silent misses");
    world.start_node(keeper).await;
    world.pass_epochs(2).await;
    let (name, all) = (Readable::Name(called("file")), GetOptions::default());
    let got = owner.get(&name, Sink::Memory, &all, &Progress::silent()).await.unwrap();
    assert!(got.bytes.unwrap() == world.bytes("file", 300_000));
    owner.close().await;
    world.audit().await;
    world.end()
}

fn lost(deal: &Deal) -> Vec<u8> {
    deal.lost().map(|(index, _)| index).collect()
}

fn read(deal: &Deal) -> Vec<u8> {
    deal.kept().map(|(index, _)| index).take(usize::from(deal.required)).collect()
}

/// A caretaker has claimed a lost shard, and does not run.
async fn claimed(world: &mut World, owner: &symbolon_client::Client, id: DealId) -> usize {
    let deal = world.ledger().row(Deals, &id).await.unwrap().unwrap();
    let vaults = world.ledger().scan(Vaults, &[], None, 10).await.unwrap();
    let is_custodian = |node: &_| vaults.iter().any(|(_, vault)| vault.custodians.contains(node));
    let mut outside = (0..NODES).filter(|number| {
        let node = &world.stations[*number].id;
        deal.kept_by(node).is_none()
    });
    let number = outside.next().unwrap();
    world.offer_care(number).await;
    owner.care(Stored::All, None, &Progress::silent()).await.unwrap();
    let care = world.ledger().row(Cares, &id).await.unwrap().unwrap();
    let Care { vault, opening, caretakers, fee, price_max, pads, .. } = care;
    assert_eq!(caretakers, [world.stations[number].id]);
    let deals = vec![CaredDeal { opening, pads }];
    let account = Party::new(world, world.identity("owner").account_key().to_bytes());
    let care = Action::SetCare { vault, caretakers, spare: 8, fee, price_max, deals };
    assert_eq!(account.send(care).await, Status::Applied);
    world.kill_node(number).await;
    let (index, shard) = deal.kept().find(|(_, shard)| !is_custodian(&shard.node)).unwrap();
    let keeper = Party::of_node(world, world.number_of(&shard.node));
    let gone = LostShard { deal: id, index };
    while keeper.send(Action::DeclareLost { shards: vec![gone] }).await != Status::Applied {
        sleep(Duration::from_millis(20)).await;
    }
    let deal = world.ledger().row(Deals, &id).await.unwrap().unwrap();
    world.note(format!("node {} has lost shard {index}", world.number_of(&shard.node)));
    let claimant = Party::of_node(world, number);
    assert_eq!(claimant.claim(id, &lost(&deal), &read(&deal)).await, Status::Applied);
    number
}

/// What each node but one has missed. That one does not run.
async fn misses(world: &World, but: usize) -> Vec<u64> {
    let mut missed = Vec::new();
    for number in (0..NODES).filter(|number| *number != but) {
        let row = world.row(number).await;
        assert!(!row.dead);
        missed.push(row.missed);
    }
    missed
}

/// Somebody buys and is silent, and the ledger is away before a key is posted.
async fn stands_still(world: &mut World, listing: symbolon_protocol::id::ListingId) {
    let buyer = world.client("buyer");
    buyer.faucet().await.unwrap();
    let buying = tokio::spawn(async move { buyer.buy(&listing, PRICE, &Progress::silent()).await });
    while world.ledger().scan(Orders, &[], None, 10).await.unwrap().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    buying.abort();
    world.kill_client("buyer").await;
    world.kill_ledger().await;
    sleep(STALL).await;
    world.start_ledger().await;
}

/// What each party has after the gap.
async fn goes_on(
    world: &mut World,
    id: DealId,
    before: &(Deal, u64),
    (claimant, missed): (usize, &[u64]),
) {
    // Nodes find the ledger again.
    sleep(Duration::from_secs(10)).await;
    let chain = world.ledger().row(Chains, &()).await.unwrap().unwrap();
    let (deal, epoch) = before;
    world.note(format!("epoch {} after the gap, {epoch} before it", chain.epoch));
    assert!(chain.epoch <= epoch + 1, "the gap is no time");
    let now = world.ledger().row(Deals, &id).await.unwrap().unwrap();
    assert_eq!((now.end, now.rate), (deal.end, deal.rate), "the owner has all its epochs");
    let repair = world.ledger().row(Repairs, &id).await.unwrap().unwrap();
    assert!(repair.running(chain.epoch).is_some(), "the claim runs on");
    world.pass_epochs(1).await;
    assert_eq!(misses(world, claimant).await, missed, "no node has missed");
    let orders = world.ledger().scan(Orders, &[], None, 10).await.unwrap();
    let came = |state| matches!(state, OrderState::Delivered | OrderState::Settled);
    assert!(orders.len() == 1 && came(orders[0].1.state), "the key came in time: {orders:?}");
}
