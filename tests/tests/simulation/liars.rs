//! Liars: a disk that lost its bytes, nodes that send wrong bytes, too few, none, or never prove. The
//! file is read whole in spite of each, each is named with what it did, and none is paid for it.

use std::collections::BTreeMap;

use symbolon_client::{Client, Depth, GetOptions, Progress, Readable, Sink, Source};
use symbolon_protocol::{
    id::{Hash, NodeId},
    ledger::Status,
    session::NodeFault,
    wire::storage::RefusalCode,
};
use symbolon_tests::{
    liars::{Habit, Liar, prove_again, spoil},
    sim::{Faults, Trace, World, called, short},
};

use super::put_options;

/// What the scenario is about: a file, and the nodes that keep its first two shards. Reading asks for
/// the first shards first, and cannot end without noticing when two of them are bad.
struct Stage {
    owner: Client,
    data: Vec<u8>,
    suspects: [(usize, Hash); 2],
    shard_length: u64,
}

pub(super) async fn liars(seed: u64) -> Trace {
    let mut world = World::found(seed, 8).await;
    let stage = stage(&mut world).await;
    world.pass_epochs(2).await;

    spoiled_disks(&mut world, &stage).await;
    let corrupt = NodeFault::Corrupt;
    impostors(&mut world, &stage, Habit::Flips, &[corrupt]).await;
    // A node that sends one byte too few is noticed when its stream ends.
    impostors(&mut world, &stage, Habit::Truncates, &[NodeFault::Offline, corrupt]).await;
    let refused = NodeFault::Refused { code: RefusalCode::NotAllowed };
    impostors(&mut world, &stage, Habit::Refuses, &[refused]).await;
    impostors(&mut world, &stage, Habit::Idles, &[]).await;

    world.pass_epochs(2).await;
    for (number, _) in stage.suspects {
        let row = world.row(number).await;
        assert_eq!(row.missed_in_row, 0, "node {number} proves again");
    }
    let report =
        stage.owner.verify(&called("data"), Depth::Deep, &Progress::silent()).await.unwrap();
    assert!(report.readable && report.shards.iter().all(|shard| shard.fault.is_none()));
    stage.owner.close().await;
    world.finish().await
}

async fn stage(world: &mut World) -> Stage {
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let length = 900_000 + world.dice("length", 200_000);
    let data = world.bytes("data", length);
    let source = Source::Bytes(data.clone().into());
    owner.put(source, &called("data"), &put_options(100), &Progress::silent()).await.unwrap();
    let stat = owner.stat(&called("data")).await.unwrap();
    let segment = &stat.segments[0];
    let suspect = |index: usize| {
        let shard = &segment.shards[index];
        assert_eq!(usize::from(shard.index), index, "all shards were placed");
        (world.number_of(&shard.node), shard.root)
    };
    let suspects = [suspect(0), suspect(1)];
    let shard_length = segment.shard_length;
    Stage { owner, data, suspects, shard_length }
}

/// Reads the file, and what was told of nodes meanwhile.
async fn read(world: &mut World, stage: &Stage, what: &str) -> BTreeMap<NodeId, NodeFault> {
    let faults = Faults::default();
    let (name, options) = (Readable::Name(called("data")), GetOptions::default());
    let report = stage.owner.get(&name, Sink::Memory, &options, &faults.progress()).await;
    let bytes = report.unwrap().bytes.unwrap();
    assert!(bytes == stage.data, "{what}: what was read is what was put");
    let told: BTreeMap<_, _> = faults.take().into_iter().collect();
    for (node, fault) in &told {
        world.note(format!("{what}: {} {fault}", short(node)));
        let named = stage.suspects.iter().any(|(number, _)| world.stations[*number].id == *node);
        assert!(named, "{what}: an honest node is blamed: {node} {fault}");
    }
    told
}

/// Who a deep check of all shards blames.
async fn blamed(world: &mut World, stage: &Stage) -> Vec<usize> {
    let report =
        stage.owner.verify(&called("data"), Depth::Deep, &Progress::silent()).await.unwrap();
    assert!(report.readable, "six good shards are enough");
    let bad = report.shards.iter().filter(|shard| shard.fault.is_some());
    bad.map(|shard| world.number_of(&shard.node)).collect()
}

async fn suspects_miss(world: &mut World, stage: &Stage, what: &str) {
    let mut before = Vec::new();
    // What was proven of this epoch is proven.
    world.pass_epochs(1).await;
    for (number, _) in stage.suspects {
        let earned = world.auditor.balance(&world.stations[number].payout);
        let row = world.row(number).await;
        before.push((row.missed, row.passed, earned));
    }
    // A window that has just opened when the first epoch is over is missed in the second one.
    world.pass_epochs(2).await;
    for ((number, _), (missed, passed, earned)) in stage.suspects.into_iter().zip(before) {
        let row = world.row(number).await;
        assert!(missed < row.missed, "{what}: node {number} has missed no epoch");
        assert_eq!(row.passed, passed, "{what}: node {number} has proven nothing");
        let now = world.auditor.balance(&world.stations[number].payout);
        assert_eq!(now, earned, "{what}: node {number} is not paid");
    }
}

/// The nodes are honest, their disks are not.
async fn spoiled_disks(world: &mut World, stage: &Stage) {
    let mut mend = Vec::new();
    for (number, root) in &stage.suspects {
        let dir = world.stations[*number].dir.clone();
        mend.push(spoil(&dir, root, stage.shard_length).unwrap());
    }
    let told = read(world, stage, "spoiled disk").await;
    assert!(!told.is_empty(), "reading has met a spoiled disk");
    let damaged = NodeFault::Refused { code: RefusalCode::Damaged };
    assert!(told.values().all(|fault| *fault == damaged), "{told:?}");
    assert_eq!(blamed(world, stage).await, stage.suspects.map(|(number, _)| number));
    suspects_miss(world, stage, "spoiled disk").await;
    for mend in mend {
        mend().unwrap();
    }
    // The nodes look again at what was damaged after ten minutes.
    world.pass_epochs(31).await;
    let blamed = blamed(world, stage).await;
    assert!(blamed.is_empty(), "{blamed:?}");
}

/// The nodes are replaced by programs that answer in their names.
async fn impostors(world: &mut World, stage: &Stage, habit: Habit, faults: &[NodeFault]) {
    let what = format!("{habit:?}");
    let mut liars = Vec::new();
    for (number, _) in stage.suspects {
        world.kill_node(number).await;
        liars.push(Liar::start(world, &world.stations[number], habit));
    }
    let told = read(world, stage, &what).await;
    assert_eq!(told.is_empty(), faults.is_empty(), "{what}: {told:?}");
    assert!(told.values().all(|fault| faults.contains(fault)), "{what}: {told:?}");
    let blamed = blamed(world, stage).await;
    match faults.is_empty() {
        true => assert!(blamed.is_empty(), "{blamed:?}"),
        false => assert_eq!(blamed, stage.suspects.map(|(number, _)| number), "{what}"),
    }
    suspects_miss(world, stage, &what).await;
    for (number, _) in stage.suspects {
        let status = prove_again(world, &world.stations[number]).await;
        assert_eq!(status, Status::BadProof, "an old proof answers other challenges");
    }
    for liar in liars {
        liar.stop().await;
    }
    for (number, _) in stage.suspects {
        world.start_node(number).await;
    }
    world.pass_epochs(1).await;
}
