//! A third of the nodes leave at once. They hand on what they keep, get their own back, and no file is unreadable for a
//! moment.

use symbolon_client::{Client, Depth, GetOptions, Progress, Readable, Sink, Source};
use symbolon_protocol::{
    Amount,
    ledger::{
        Params,
        block::Event,
        rows::{Deals, Nodes},
    },
};
use symbolon_tests::sim::{Trace, World, called, params};
use tokio::time::{Duration, sleep};

use super::put_options;

const NODES: usize = 12;
const LEAVE: usize = 4;
const FILES: usize = 3;
/// Seconds in which all have left.
const SECONDS_MAX: u64 = 600;

/// A node needs collateral. Its allowance covers these files, and a part of its pay is withheld meanwhile.
fn strangers() -> Params {
    Params {
        collateral_epochs: 3,
        repair_price: Amount::credits(100),
        allowance: Amount::credits(1),
        miss_penalty_bp: 1_000,
        // So each node's own account has what it may need to pay one that asks more.
        capacity_deposit: Amount::credits(2),
        dead_after_epochs: 5,
        ..params()
    }
}

pub(super) async fn exodus(seed: u64) -> Trace {
    let mut world = World::found_with(seed, NODES, strangers()).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let files: Vec<_> = (0..FILES).map(|at| world.bytes(&format!("file {at}"), 300_000)).collect();
    for (at, data) in files.iter().enumerate() {
        let (source, name) = (Source::Bytes(data.clone().into()), called(format!("file {at}")));
        owner.put(source, &name, &put_options(500), &Progress::silent()).await.unwrap();
    }
    world.pass_epochs(2).await;
    let first = usize::try_from(world.dice("who leaves", NODES as u64)).unwrap();
    let leaving: Vec<usize> = (first..first + LEAVE).map(|number| number % NODES).collect();
    let mut withheld = Vec::new();
    for number in &leaving {
        withheld.push(world.row(*number).await.backing());
        let settings = world.stations[*number].dir.join("settings");
        std::fs::write(settings, "leaving yes\n").unwrap();
    }
    assert!(withheld.iter().any(|amount| Amount::ZERO < *amount), "they had something to lose");
    world.note(format!("{leaving:?} leave at once"));
    let mut seconds = 0;
    while !have_left(&world, &leaving).await {
        are_whole(&owner, &files).await;
        world.audit().await;
        seconds += 5;
        assert!(seconds < SECONDS_MAX, "some do not leave");
        sleep(Duration::from_secs(5)).await;
    }
    are_whole(&owner, &files).await;
    world.note(format!("all have left after {seconds} s"));
    world.audit().await;
    let lost = world.blocks.iter().flat_map(|block| &block.events);
    let lost = lost.filter(|event| matches!(event, Event::ShardLost { .. })).count();
    assert_eq!(lost, 0, "no shard was without a node");
    for (_, deal) in world.ledger().scan(Deals, &[], None, 100).await.unwrap() {
        let kept: Vec<_> = deal.kept().map(|(_, shard)| world.number_of(&shard.node)).collect();
        assert!(kept.len() == 8 && kept.iter().all(|number| !leaving.contains(number)));
    }
    for (number, withheld) in leaving.iter().zip(withheld) {
        let paid = world.auditor.balance(&world.stations[*number].payout);
        assert!(withheld.0 <= paid, "node {number} has what was withheld");
        world.kill_node(*number).await;
    }
    world.pass_epochs(2).await;
    for number in (0..NODES).filter(|number| !leaving.contains(number)) {
        let row = world.row(number).await;
        assert_eq!((row.missed, row.dead), (0, false), "node {number}, which stays");
    }
    for at in 0..FILES {
        let name = called(format!("file {at}"));
        let checked = owner.verify(&name, Depth::Deep, &Progress::silent()).await.unwrap();
        assert!(checked.readable && checked.shards.iter().all(|shard| shard.fault.is_none()));
    }
    owner.close().await;
    world.audit_disks();
    world.end()
}

async fn have_left(world: &World, leaving: &[usize]) -> bool {
    let ids: Vec<_> = leaving.iter().map(|number| world.stations[*number].id).collect();
    world.ledger().rows(Nodes, &ids).await.unwrap().iter().all(Option::is_none)
}

async fn are_whole(owner: &Client, files: &[Vec<u8>]) {
    for (at, data) in files.iter().enumerate() {
        let (name, all) = (Readable::Name(called(format!("file {at}"))), GetOptions::default());
        let read = owner.get(&name, Sink::Memory, &all, &Progress::silent()).await.unwrap();
        assert!(read.bytes.unwrap() == *data, "file {at} is whole");
    }
}
