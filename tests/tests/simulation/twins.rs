//! Two names on one disk: with one of two shards enough for the file, both shards are made from the same cells, and their
//! masks make them different bytes. The name that answers from the other one's shard is refused; once it has its own on the
//! disk too, it proves.

use std::fs;

use symbolon_client::{Progress, PutOptions, Source};
use symbolon_protocol::{
    content::Scheme,
    id::DealId,
    ledger::rows::{Deal, Deals, Table as _},
};
use symbolon_tests::{
    auditor::find_file,
    party::{Party, Proved, Prover},
    sim::{Trace, World, called},
};
use tokio::time::{Duration, sleep};

use super::put_options;

async fn deal(world: &World) -> (DealId, Deal) {
    let (key, row) = world.ledger().scan(Deals, &[], None, 1).await.unwrap().remove(0);
    (Deals::parse(&key).unwrap(), row)
}

/// The answer to the next window, an epoch after it was given.
async fn answers(world: &World, node: &mut Prover) -> Proved {
    loop {
        match node.prove().await {
            Proved::Nothing => sleep(Duration::from_millis(100)).await,
            proved => {
                let next = world.epoch().await + 1;
                while world.epoch().await < next {
                    sleep(Duration::from_millis(500)).await;
                }
                return proved;
            }
        }
    }
}

pub(super) async fn twins(seed: u64) -> Trace {
    let mut world = World::found(seed, 2).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let source = Source::Bytes(world.bytes("file", 200_000).into());
    let options = PutOptions { scheme: Some(Scheme::new(1, 2).unwrap()), ..put_options(200) };
    owner.put(source, &called("file"), &options, &Progress::silent()).await.unwrap();
    owner.close().await;
    let (id, row) = deal(&world).await;
    let shards: Vec<_> = row.kept().map(|(index, shard)| (index, *shard)).collect();
    assert_eq!(shards.len(), 2);
    assert_ne!(shards[0].1.root, shards[1].1.root, "the masks differ");
    let numbers = [0, 1].map(|at| world.number_of(&shards[at].1.node));
    let on_disk = [0, 1].map(|at: usize| {
        let dir = &world.stations[numbers[at]].dir;
        let path = find_file(dir, &shards[at].1.root, row.length).unwrap();
        let mut bytes = fs::read(path).unwrap();
        // What a node needs to prove them comes after them.
        bytes.truncate(usize::try_from(row.length).unwrap());
        bytes
    });
    assert!(on_disk[0] != on_disk[1]);
    world.pass_epochs(2).await;
    for number in numbers {
        assert!(0 < world.row(number).await.passed, "both prove from their own disks");
    }

    world.kill_node(numbers[1]).await;
    let payout = world.stations[numbers[1]].payout;
    let mut twin = Prover::new(Party::of_node(&world, numbers[1]), payout);
    twin.write(id, shards[0].0, on_disk[0].clone());
    // The window that is open now may be proven already.
    let mut before = world.row(numbers[1]).await;
    while before.window.is_none_or(|window| before.passed_epoch == Some(window.epoch)) {
        sleep(Duration::from_millis(100)).await;
        before = world.row(numbers[1]).await;
    }
    world.audit().await;
    let paid = world.auditor.balance(&payout);
    for _ in 0..3 {
        assert_eq!(answers(&world, &mut twin).await, Proved::Lacks);
    }
    world.audit().await;
    let row = world.row(numbers[1]).await;
    assert_eq!(row.passed, before.passed);
    assert!(before.missed + 2 <= row.missed, "a name for which nothing is kept is caught at once");
    assert_eq!(world.auditor.balance(&payout), paid, "and not paid");
    assert_eq!(world.row(numbers[0]).await.missed, 0, "the name whose shard it is proves");
    // Both shards on the disk.
    twin.write(id, shards[1].0, on_disk[1].clone());
    assert_eq!(answers(&world, &mut twin).await, Proved::All);
    world.audit().await;
    let line = format!("missed {}, then proven {}", row.missed, world.row(numbers[1]).await.passed);
    world.note(line);
    world.finish().await
}
