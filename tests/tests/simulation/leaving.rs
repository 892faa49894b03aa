//! Nodes among strangers: they stake, one leaves while its shards are read, one dies and pays for its repair, and owners
//! get nothing of what nodes lose.

use symbolon_client::{
    Client, GetOptions, KeepOptions, Progress, Readable, Renewing, Sink, Source,
};
use symbolon_protocol::{
    Amount,
    id::TransactionId,
    ledger::{
        Params, Status,
        rows::{Deal, Deals, HoldKey, Holds, Nodes, PoolsTable, Table as _},
        transaction::{Action, Transaction},
    },
};
use symbolon_tests::sim::{Trace, World, called, params};
use tokio::time::{Duration, sleep};

use super::put_options;

const NODES: usize = 11;
const EPOCHS: u64 = 200;

fn strangers() -> Params {
    Params {
        collateral_epochs: 3,
        repair_price: Amount::credits(100),
        // About two shards of the file without a stake.
        allowance: Amount(80_000_000),
        allowance_growth_bp: 200,
        miss_penalty_bp: 1_000,
        capacity_deposit: Amount::credits(2),
        dead_after_epochs: 5,
        ..params()
    }
}

async fn deal(world: &World) -> Deal {
    world.ledger().scan(Deals, &[], None, 1).await.unwrap().remove(0).1
}

async fn forfeited(world: &World) -> Amount {
    let (key, _) = world.ledger().scan(Deals, &[], None, 1).await.unwrap().remove(0);
    let hold = HoldKey::Deal { deal: Deals::parse(&key).unwrap() };
    world.ledger().row(Holds, &hold).await.unwrap().unwrap().forfeited
}

async fn repair_pool(world: &World) -> Amount {
    world.ledger().row(PoolsTable, &()).await.unwrap().unwrap().repair
}

/// An action under a person's key.
async fn send(world: &World, name: &str, number: u8, action: Action) -> Status {
    let ledger = world.ledger();
    let (key, id) = (world.identity(name).account_key(), TransactionId([number; 16]));
    let valid_until = ledger.head().await.unwrap().header.height + 500;
    let signed = Transaction::build(ledger.chain(), &key, id, valid_until, action);
    ledger.submit(signed).await.unwrap().status
}

async fn is_whole(owner: &Client, data: &[u8]) {
    let (name, options) = (Readable::Name(called(b"file")), GetOptions::default());
    let read = owner.get(&name, Sink::Memory, &options, &Progress::silent()).await.unwrap();
    assert!(read.bytes.unwrap() == data, "the file is whole");
}

/// Tells a running node to leave, or to stay.
fn tell(world: &World, number: usize, leaves: bool) {
    let text = if leaves { "leaving yes\n" } else { "" };
    std::fs::write(world.stations[number].dir.join("settings"), text).unwrap();
}

pub(super) async fn leaving(seed: u64) -> Trace {
    let mut world = World::found_with(seed, NODES, strangers()).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let helper = world.client("helper");
    helper.faucet().await.unwrap();
    helper.close().await;
    let data = world.bytes("file", 900_000);
    let (source, quiet) = (Source::Bytes(data.clone().into()), Progress::silent());
    owner.put(source, &called("file"), &put_options(EPOCHS), &quiet).await.unwrap();
    let first = deal(&world).await;
    let keepers: Vec<usize> = first.kept().map(|(_, shard)| world.number_of(&shard.node)).collect();
    // All that keep a shard have staked, some by pay that is withheld.
    for (number, keeper) in (10..).zip(&keepers[..5]) {
        let node = world.stations[*keeper].id;
        let amount = Amount(300_000_000 + u128::from(number) * 1_000);
        let staked = send(&world, "helper", number, Action::Stake { node, amount }).await;
        assert_eq!(staked, Status::Applied);
    }
    world.pass_epochs(3).await;
    assert!(Amount::ZERO < world.row(keepers[6]).await.withheld, "it has no stake");

    leaves(&mut world, &owner, keepers[0], &data).await;
    dies(&mut world, &owner, keepers[1]).await;
    is_whole(&owner, &data).await;
    // Nothing of what the dead node has lost is the owner's.
    let (pool, lost) = (repair_pool(&world).await, forfeited(&world).await);
    owner.remove(&[called("file")], true, &quiet).await.unwrap();
    world.audit().await;
    assert_eq!(repair_pool(&world).await, pool.checked_add(lost).unwrap());
    owner.close().await;
    world.pass_epochs(2).await;
    world.audit().await;
    world.end()
}

/// A node leaves, is killed on its way, and goes on. The file is read all the time.
async fn leaves(world: &mut World, owner: &Client, number: usize, data: &[u8]) {
    let node = world.stations[number].id;
    let before = world.row(number).await;
    tell(world, number, true);
    let until = 5 + world.dice("killed after", 12);
    let mut seconds = 0;
    while world.ledger().row(Nodes, &node).await.unwrap().is_some() {
        if seconds == until {
            world.kill_node(number).await;
            world.start_node(number).await;
        }
        if seconds % 10 == 0 {
            is_whole(owner, data).await;
        }
        seconds += 1;
        assert!(seconds < 400, "the node does not leave");
        sleep(Duration::from_secs(1)).await;
    }
    world.audit().await;
    world.note(format!("node {number} has left after {seconds} s"));
    is_whole(owner, data).await;
    let now = deal(world).await;
    assert!(now.kept_by(&node).is_none() && now.kept().count() == 8, "another node has its shard");
    // What it had is back: stake and deposit, less what the next node asks more.
    let account = node.into();
    let own = world.auditor.balance(&account);
    assert!(strangers().faucet.0 - 40_000_000_000 < own && own <= strangers().faucet.0);
    let paid = world.auditor.balance(&world.stations[number].payout);
    assert!(before.backing().0 <= paid);
    world.kill_node(number).await;
}

/// A node dies. Its collateral pays for the next node, and what is left is for repair.
async fn dies(world: &mut World, owner: &Client, number: usize) {
    let backing = world.row(number).await.backing();
    let (pool, payout) = (repair_pool(world).await, world.stations[number].payout);
    let had = world.auditor.balance(&payout);
    world.kill_node(number).await;
    world.pass_epochs(7).await;
    let row = world.row(number).await;
    assert!(row.dead && row.backing() == Amount::ZERO && row.used == 0);
    let lost = forfeited(world).await;
    let share = lost.0;
    assert!(0 < share && share < backing.0, "what its repair costs and a tenth more");
    assert!(pool.0 + backing.0 - share <= repair_pool(world).await.0);
    assert_eq!(world.auditor.balance(&payout), had, "the dead get nothing back");
    let keep = KeepOptions { renewing: Renewing::Agreed, cost_max: None };
    let repaired = owner.keep(&keep, &Progress::silent()).await.unwrap();
    assert_eq!((repaired.repaired, repaired.cost), (1, Amount::ZERO));
    assert!(forfeited(world).await < lost, "it has paid for the next node");
    world.pass_epochs(2).await;
    world.note(format!("node {number} died and lost {backing}, of which {lost} went to the deal"));
}
