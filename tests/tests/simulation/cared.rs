//! Nodes die one after another while no program of the owner runs: caretakers rebuild what is lost, and are paid for it.
//! More nodes die than the file has spare shards, and it is whole when its owner is back.

use std::collections::BTreeSet;

use symbolon_client::{
    Client, DealOutcome, Depth, GetOptions, Progress, Readable, Rotation, ShardEvent,
    ShardEventKind, Sink, Source, Stored,
};
use symbolon_node::Settings;
use symbolon_protocol::{
    id::NodeId,
    ledger::{
        Params,
        block::{Event, Reason},
        rows::{Cares, Deal, Deals, Repairs, Vaults},
        transaction::Action,
    },
};
use symbolon_tests::sim::{Trace, World, called, params};

use super::put_options;

const NODES: usize = 16;
/// Enough to be done in time, and little enough that cells are read one by one.
const SETTINGS: &str = "send 1048576\nreceive 1048576\n";
/// More than the four spare shards of a file on so many nodes.
const DEATHS: usize = 6;

async fn deal(world: &World) -> Deal {
    world.ledger().scan(Deals, &[], None, 1).await.unwrap().remove(0).1
}

fn keepers(deal: &Deal) -> Vec<NodeId> {
    deal.kept().map(|(_, shard)| shard.node).collect()
}

pub(super) async fn cared(seed: u64) -> Trace {
    let params = Params { dead_after_epochs: 2, ..params() };
    let mut world = World::found_with(seed, NODES, params).await;
    for number in 0..NODES {
        world.offer_care(number).await;
    }
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let data = world.bytes("file", 2_500_000);
    let (source, quiet) = (Source::Bytes(data.clone().into()), Progress::silent());
    owner.put(source, &called("file"), &put_options(500), &quiet).await.unwrap();
    // Nothing was agreed, and naming costs nothing here.
    let report = owner.care_agreed(None, &quiet).await.unwrap();
    assert_eq!((report.cared, report.new, report.without), (1, 1, 0));
    taken_back(&world, &owner).await;
    let again = owner.care(Stored::All, None, &quiet).await.unwrap();
    assert_eq!((again.cared, again.new), (1, 0), "what has care needs no more");
    let first = deal(&world).await;
    let care = world.ledger().scan(Cares, &[], None, 10).await.unwrap().remove(0).1;
    assert!(care.caretakers.iter().any(|node| first.kept_by(node).is_none()));
    // The key is dealt anew among the same nodes: what is sealed to the vault, and so the care, goes on.
    let rotation = Rotation { anew: true, ..Rotation::default() };
    let dealt = owner.rotate_vault(&rotation, None, &quiet).await.unwrap();
    assert_eq!((dealt.outcome, dealt.vault.dealing), (DealOutcome::Rotated, 2));
    owner.close().await;
    world.note("the owner is away");
    for station in &world.stations {
        std::fs::write(station.dir.join(Settings::FILE), SETTINGS).unwrap();
    }

    // Where fewer custodians live than a vault needs, no caretaker gets a key: they stay here.
    let vaults = world.ledger().scan(Vaults, &[], None, 10).await.unwrap();
    for death in 0..DEATHS {
        let mut now = keepers(&deal(&world).await);
        now.retain(|node| vaults.iter().all(|(_, vault)| !vault.custodians.contains(node)));
        let at = usize::try_from(world.dice(&format!("death {death}"), now.len() as u64)).unwrap();
        world.kill_node(world.number_of(&now[at])).await;
        // Two missed epochs, an eviction, a claim, and time for all of it to fail once.
        world.pass_epochs(9).await;
        let deal = deal(&world).await;
        let limit = deal.spare() > care.spare || deal.lost().count() == 0;
        assert!(limit, "{} are lost, {} to spare", deal.lost().count(), deal.spare());
    }
    world.pass_epochs(4).await;
    world.audit().await;
    paid(&world);
    bounded(&world, &first).await;
    let repairs = world.ledger().scan(Repairs, &[], None, 10).await.unwrap();
    assert!(repairs.iter().all(|(_, repair)| repair.rewards.is_empty()), "all is collected");

    let owner = world.client("owner");
    let views = owner.cared(Stored::All).await.unwrap();
    assert!(views.len() == 1 && 0 < views[0].moved && views[0].is_whole(), "{views:?}");
    let history = owner.shard_events(&called("file")).await.unwrap();
    let rebuilt = |event: &&ShardEvent| event.kind == ShardEventKind::Rebuilt;
    assert!(history.events.iter().any(|event| rebuilt(&event)), "{history:?}");
    for event in history.events.iter().filter(rebuilt) {
        let by = NodeId::from(event.by.unwrap());
        assert!(care.caretakers.contains(&by), "a caretaker has placed it");
    }
    let checked = owner.verify(&called("file"), Depth::Deep, &quiet).await.unwrap();
    assert!(checked.readable);
    let (name, options) = (Readable::Name(called(b"file")), GetOptions::default());
    let read = owner.get(&name, Sink::Memory, &options, &quiet).await.unwrap();
    assert!(read.bytes.unwrap() == data, "the file is whole");
    owner.close().await;
    world.finish().await
}

/// Care is taken back, stays away, and is given again.
async fn taken_back(world: &World, owner: &Client) {
    let quiet = Progress::silent();
    let back = owner.uncare(Stored::All, None).await.unwrap();
    assert_eq!(back.segments, 1);
    assert_eq!(world.ledger().scan(Cares, &[], None, 10).await.unwrap(), []);
    let kept = owner.care(Stored::All, None, &quiet).await.unwrap();
    assert_eq!((kept.cared, kept.new), (0, 0), "its owner wants none");
    let sums = owner.care_sums().await.unwrap();
    assert_eq!((sums.objects, sums.cared, sums.unwanted), (1, 0, 1));
    owner.allow_care(&Stored::All, true).await.unwrap();
    let given = owner.care(Stored::All, None, &quiet).await.unwrap();
    assert_eq!((given.cared, given.new), (1, 1));
}

/// What caretakers read and send went through the limits that their operators have set.
async fn bounded(world: &World, deal: &Deal) {
    let placed = world.blocks.iter().flat_map(|block| &block.transactions);
    let placed = placed.filter(|one| matches!(one.action, Action::PlaceShards { .. }));
    let caretakers: BTreeSet<NodeId> = placed.map(|one| one.sender.into()).collect();
    let mut looked = 0;
    for number in caretakers.iter().map(|node| world.number_of(node)) {
        let Some(health) = world.health(number).await else { continue };
        assert_ne!(health.settings.receive, None, "it has taken over its settings");
        let (read, rebuilt) = (deal.length * u64::from(deal.required), deal.length);
        assert!(read <= health.received && rebuilt <= health.sent, "{health:?}");
        looked += 1;
    }
    assert!(0 < looked, "no caretaker is left");
}

/// Each rebuilt shard was placed by a caretaker that kept none, and paid once.
fn paid(world: &World) {
    let mut fees = 0;
    for event in world.blocks.iter().flat_map(|block| &block.events) {
        if let Event::Moved { reason: Reason::Repaired { .. }, .. } = event {
            fees += 1;
        }
    }
    let mut placed = 0;
    for one in world.blocks.iter().flat_map(|block| &block.transactions) {
        if let Action::PlaceShards { acceptances, .. } = &one.action {
            placed += acceptances.len();
        }
    }
    // A shard whose new node is killed before it has proven is not paid.
    assert!(0 < fees && fees <= placed, "{placed} shards placed, {fees} payments");
}
