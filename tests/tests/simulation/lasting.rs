//! A file that was put for ten epochs is still there after a hundred: its owner looks now and then, renews it, and
//! gives the shards of nodes that died to others. The dead are not paid, and pay for their own replacement.

use symbolon_client::{
    Client, Depth, GetOptions, KeepOptions, Progress, PutOptions, PutOutcome, Readable, Renewing,
    ShardHealth, Sink, Source,
};
use symbolon_protocol::{
    Amount,
    ledger::{
        Params,
        rows::{Deal, Deals, HoldKey, Holds, Table as _},
    },
};
use symbolon_tests::sim::{Trace, World, called, params};

use super::put_options;

const NODES: usize = 10;
const EPOCHS: u64 = 10;

/// What was marked, within what was agreed.
const AGREED: KeepOptions = KeepOptions { renewing: Renewing::Agreed, cost_max: None };

async fn deal(world: &World) -> Deal {
    world.ledger().scan(Deals, &[], None, 1).await.unwrap().remove(0).1
}

/// Whether the file is whole and every shard of it has a node that has it.
async fn is_whole(owner: &Client, data: &[u8]) {
    let checked = owner.verify(&called("file"), Depth::Deep, &Progress::silent()).await.unwrap();
    assert!(checked.readable && checked.shards.iter().all(|shard| shard.fault.is_none()));
    let (name, options) = (Readable::Name(called(b"file")), GetOptions::default());
    let read = owner.get(&name, Sink::Memory, &options, &Progress::silent()).await.unwrap();
    assert!(read.bytes.unwrap() == data, "the file is whole");
}

pub(super) async fn lasting(seed: u64) -> Trace {
    let params = Params { dead_after_epochs: 3, ..params() };
    let mut world = World::found_with(seed, NODES, params).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let data = world.bytes("file", 900_000);
    let put = async |epochs| {
        let (source, quiet) = (Source::Bytes(data.clone().into()), Progress::silent());
        let options = PutOptions { least: Some(epochs), ..put_options(epochs) };
        owner.put(source, &called("file"), &options, &quiet).await.unwrap()
    };
    assert_eq!(put(EPOCHS).await.outcome, PutOutcome::Stored);
    let first = deal(&world).await;
    let quiet = Progress::silent();
    let nothing = owner.keep(&AGREED, &quiet).await.unwrap();
    assert_eq!((nothing.objects, nothing.renewed, nothing.repaired), (1, 0, 0));
    assert_eq!(nothing.cost, Amount::ZERO);

    let lost = nodes_die(&mut world, &owner, &first).await;
    repaired(&mut world, &owner, &first, &lost).await;
    is_whole(&owner, &data).await;

    // A hundred epochs on, with a look now and then.
    let limit = Amount::credits(1_000);
    owner.agree(&[called("file")], EPOCHS, Some(limit)).await.unwrap();
    for _ in 0..25 {
        let kept = owner.keep(&AGREED, &quiet).await.unwrap();
        assert_eq!((kept.over, kept.lost, kept.limited), (0, 0, 0));
        world.pass_epochs(4).await;
    }
    assert!(100 < world.epoch().await);
    let agreed = owner.agreement().await.unwrap();
    assert!(Amount::ZERO < agreed.spent && agreed.spent < limit, "{agreed:?}");
    world.audit().await;
    world.audit_disks();
    is_whole(&owner, &data).await;
    assert_eq!(world.auditor.deals_opened(), 1, "no byte was sent again for a longer term");
    // The same put for longer extends too.
    assert_eq!(put(60).await.outcome, PutOutcome::Renewed);
    assert_eq!(put(60).await.outcome, PutOutcome::Already);
    assert!(world.epoch().await + 60 <= deal(&world).await.end);
    world.audit().await;
    owner.close().await;
    // The dead begin again, with nothing.
    for (_, number) in lost {
        world.start_node(number).await;
    }
    world.pass_epochs(2).await;
    world.finish().await
}

/// Two of the file's nodes die, one after the other: gives their shards and numbers.
async fn nodes_die(world: &mut World, owner: &Client, first: &Deal) -> Vec<(u8, usize)> {
    // Two of its nodes die, one after the other.
    let keepers: Vec<_> = first.kept().map(|(index, shard)| (index, shard.node)).collect();
    let mut lost = Vec::new();
    for round in 0..2 {
        let (index, node) =
            keepers[round * 3 + usize::try_from(world.dice(&format!("dies {round}"), 3)).unwrap()];
        let number = world.number_of(&node);
        world.pass_epochs(1).await;
        world.kill_node(number).await;
        lost.push((index, number));
        world.note(format!("node {number} with shard {index} dies"));
    }
    world.pass_epochs(5).await;
    world.audit().await;
    let stat = owner.stat(&called("file")).await.unwrap();
    let gone = stat.segments[0].shards.iter().filter(|shard| shard.health == ShardHealth::Lost);
    assert_eq!(gone.count(), 2);
    let now = deal(world).await;
    assert_eq!(now.spare() + 2, first.spare());
    assert!(now.rate < first.rate, "what no node keeps costs nothing");
    for (_, number) in &lost {
        let row = world.row(*number).await;
        assert!(row.dead && row.used == 0 && row.slots == 0 && row.missed == 3);
    }
    lost
}

/// The owner's next look gives the lost shards to other nodes, and pays nothing for that.
async fn repaired(world: &mut World, owner: &Client, first: &Deal, lost: &[(u8, usize)]) {
    // What the dead are not paid any more lies in the deal's hold.
    let id = Deals::parse(&world.ledger().scan(Deals, &[], None, 1).await.unwrap()[0].0).unwrap();
    let held = async |world: &World| {
        let key = HoldKey::Deal { deal: id };
        world.ledger().row(Holds, &key).await.unwrap().unwrap().amount
    };
    let before = held(world).await;
    let balance = owner.account().await.unwrap().balance;

    let repaired = owner.keep(&AGREED, &Progress::silent()).await.unwrap();
    world.note(format!("kept: {repaired:?}"));
    assert_eq!((repaired.repaired, repaired.lost, repaired.renewed), (2, 0, 0));
    assert_eq!(repaired.cost, Amount::ZERO, "the dead pay for those who come after them");
    assert_eq!(owner.account().await.unwrap().balance, balance);
    assert!(held(world).await < before);
    let now = deal(world).await;
    for (index, number) in lost {
        let shard = now.shards[usize::from(*index)].unwrap();
        assert!(shard.is_kept() && world.number_of(&shard.node) != *number);
        assert_eq!(shard.root, first.shards[usize::from(*index)].unwrap().root);
    }
    world.audit().await;
}
