//! An owner without money is away, and has promised its caretakers more than half of a reserve for each shard. They rebuild as far as
//! the reserve goes, and the rest stays lost; the file is still read, and no money is made or lost. A file with the usual
//! promise is repaired whole.

use symbolon_client::{GetOptions, Progress, Readable, Sink, Source, Stored};
use symbolon_protocol::{
    Amount,
    id::DealId,
    ledger::{
        Status,
        block::{Event, Reason},
        rows::{Care, Cares, Deal, Deals, HoldKey, Holds, Nodes, Table as _, Vaults},
        slot_rate,
        transaction::{Action, CaredDeal, LostShard},
    },
};
use symbolon_tests::{
    party::Party,
    sim::{Trace, World, called, derive, params},
};
use tokio::time::{Duration, sleep};

use super::put_options;

const NODES: usize = 14;
/// So many shards of each file are lost at once.
const LOST: usize = 3;
/// Epochs in which all is repaired that can be.
const EPOCHS: u64 = 8;

async fn row(world: &World, id: &DealId) -> Deal {
    world.ledger().row(Deals, id).await.unwrap().unwrap()
}

async fn held(world: &World, id: &DealId) -> Amount {
    let key = HoldKey::Deal { deal: *id };
    world.ledger().row(Holds, &key).await.unwrap().unwrap().amount
}

async fn deals(world: &World) -> Vec<DealId> {
    let rows = world.ledger().scan(Deals, &[], None, 10).await.unwrap();
    rows.into_iter().map(|(key, _)| Deals::parse(&key).unwrap()).collect()
}

pub(super) async fn poor(seed: u64) -> Trace {
    let mut world = World::found_with(seed, NODES, params()).await;
    for number in 0..NODES {
        world.offer_care(number).await;
    }
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let mut ids = Vec::new();
    for name in ["poor", "rich"] {
        let source = Source::Bytes(world.bytes(name, 300_000).into());
        owner.put(source, &called(name), &put_options(500), &Progress::silent()).await.unwrap();
        let known = deals(&world).await;
        ids.extend(known.into_iter().find(|id| !ids.contains(id)));
    }
    let [poor, rich] = <[DealId; 2]>::try_from(ids).unwrap();
    owner.care(Stored::All, None, &Progress::silent()).await.unwrap();
    owner.close().await;
    let account = Party::new(&world, world.identity("owner").account_key().to_bytes());
    promise(&world, &account, poor, |reserve, _| reserve.fraction(3, 5).unwrap()).await;
    promise(&world, &account, rich, |_, fee| fee).await;
    has_nothing_left(&mut world, &account).await;

    let fee = world.ledger().row(Cares, &poor).await.unwrap().unwrap().fee;
    for id in [poor, rich] {
        loses(&world, id).await;
    }
    let budget = held(&world, &poor).await;
    world.pass_epochs(EPOCHS).await;
    let (left, lost) = (held(&world, &poor).await, row(&world, &poor).await.lost().count());
    world.note(format!(
        "{lost} of {LOST} stay lost: of {budget}, {left} are left, and {fee} is the fee"
    ));
    assert!((1..LOST).contains(&lost), "as far as the reserve goes");
    assert_eq!(row(&world, &rich).await.lost().count(), 0, "the usual promise is enough");
    assert!(cannot_pay(&world, &poor, fee, left).await);
    refused(&world, &poor).await;
    assert_eq!(paid(&world, &poor), fee.0 * (LOST - lost) as u128, "each rebuilt shard once");
    let usual = world.ledger().row(Cares, &rich).await.unwrap().unwrap().fee;
    assert_eq!(paid(&world, &rich), usual.0 * LOST as u128);

    let owner = world.client("owner");
    for name in ["poor", "rich"] {
        let (what, all) = (Readable::Name(called(name)), GetOptions::default());
        let read = owner.get(&what, Sink::Memory, &all, &Progress::silent()).await.unwrap();
        assert!(read.bytes.unwrap() == world.bytes(name, 300_000), "{name} is whole");
    }
    owner.close().await;
    world.pass_epochs(2).await;
    world.finish().await
}

/// Says what caretakers get, and lets them claim each loss.
async fn promise(world: &World, owner: &Party, id: DealId, fee: impl Fn(Amount, Amount) -> Amount) {
    let care = world.ledger().row(Cares, &id).await.unwrap().unwrap();
    let fee = fee(held(world, &id).await, care.fee);
    let Care { vault, opening, caretakers, price_max, pads, .. } = care;
    let deals = vec![CaredDeal { opening, pads }];
    let care = Action::SetCare { vault, caretakers, spare: 8, fee, price_max, deals };
    assert_eq!(owner.send(care).await, Status::Applied);
}

/// All that the owner's account has goes to another one.
async fn has_nothing_left(world: &mut World, owner: &Party) {
    world.audit().await;
    let amount = Amount(world.auditor.balance(&owner.account()));
    let to = symbolon_protocol::id::AccountId(derive(world.seed, "another account"));
    assert_eq!(owner.send(Action::Transfer { to, amount }).await, Status::Applied);
    world.audit().await;
    assert_eq!(world.auditor.balance(&owner.account()), 0);
}

/// Nodes that are no custodians say that they have lost their shards.
async fn loses(world: &World, id: DealId) {
    let vaults = world.ledger().scan(Vaults, &[], None, 10).await.unwrap();
    let deal = row(world, &id).await;
    let apart = deal.kept().filter(|(_, shard)| {
        vaults.iter().all(|(_, vault)| !vault.custodians.contains(&shard.node))
    });
    for (index, shard) in apart.take(LOST) {
        let node = Party::of_node(world, world.number_of(&shard.node));
        let lost = LostShard { deal: id, index };
        // It is too late for a moment in which its window opens.
        while node.send(Action::DeclareLost { shards: vec![lost] }).await != Status::Applied {
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Whether what is left may not pay one more caretaker and the new node.
async fn cannot_pay(world: &World, id: &DealId, fee: Amount, left: Amount) -> bool {
    let deal = row(world, id).await;
    let epochs = deal.end - world.epoch().await - 1;
    let nodes = world.ledger().scan(Nodes, &[], None, 100).await.unwrap();
    let dearest = nodes.iter().map(|(_, node)| node.price).max().unwrap();
    let pay = slot_rate(dearest, deal.length).unwrap().checked_mul(epochs).unwrap();
    left < pay.checked_add(fee).unwrap()
}

/// The ledger refuses a claim whose fee is not there.
async fn refused(world: &World, id: &DealId) {
    let deal = row(world, id).await;
    let care = world.ledger().row(Cares, id).await.unwrap().unwrap();
    let lost: Vec<u8> = deal.lost().map(|(index, _)| index).collect();
    let read: Vec<u8> =
        deal.kept().map(|(index, _)| index).take(usize::from(deal.required)).collect();
    let free = care.caretakers.iter().find(|node| deal.kept_by(node).is_none()).unwrap();
    let caretaker = Party::of_node(world, world.number_of(free));
    assert_eq!(caretaker.claim(*id, &lost, &read).await, Status::ReserveTooLow);
}

/// What caretakers were paid for a deal.
fn paid(world: &World, id: &DealId) -> u128 {
    let mut sum = 0;
    for event in world.blocks.iter().flat_map(|block| &block.events) {
        if let Event::Moved { amount, reason: Reason::Repaired { deal }, .. } = event
            && deal == id
        {
            sum += amount.0;
        }
    }
    sum
}
