//! A shard is damaged on its node's disk: a check finds it, the same put again stores the file anew and lets
//! the old deals end, and then the check finds all of it well. What is well is not stored again, and a node
//! that is only away is no damage.

use symbolon_client::{Client, Depth, Progress, PutOutcome, PutReport, Source, VerifyReport};
use symbolon_protocol::ledger::rows::{Deal, DealState, Deals};
use symbolon_tests::{
    liars::spoil,
    sim::{Trace, World, called},
};

use super::put_options;

const NODES: usize = 9;

pub(super) async fn mended(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let data = world.bytes("file", 700_000);
    assert_eq!(put(&owner, &data).await.outcome, PutOutcome::Stored);
    let well = verify(&owner, Depth::Deep).await;
    assert!(!well.damaged && well.shards.iter().all(|shard| shard.fault.is_none()));
    assert_eq!(put(&owner, &data).await.outcome, PutOutcome::Already);

    // Away is not damaged: nothing is stored anew for that.
    let away = world.number_of(&well.shards[0].node);
    world.kill_node(away).await;
    let checked = verify(&owner, Depth::Deep).await;
    assert!(checked.shards[0].fault.is_some() && !checked.damaged);
    assert_eq!(put(&owner, &data).await.outcome, PutOutcome::Already);
    world.start_node(away).await;
    // Who was away a moment ago is not asked again at once.
    world.pass_epochs(2).await;

    for (round, depth) in [Depth::Deep, Depth::Sample].into_iter().enumerate() {
        let deal = live_deal(&mut world).await;
        let index = usize::try_from(world.dice(&format!("damaged {round}"), 8)).unwrap();
        let shard = deal.shards[index].unwrap();
        let holder = world.number_of(&shard.node);
        // Every byte, so that a sample cannot miss it.
        drop(spoil(&world.stations[holder].dir, &shard.root, deal.length).unwrap());
        let checked = verify(&owner, depth).await;
        assert!(checked.damaged && checked.readable, "{checked:?}");
        let bad: Vec<_> = checked.shards.iter().filter(|shard| shard.damaged).collect();
        assert_eq!(bad.len(), 1);
        assert_eq!((usize::from(bad[0].index), bad[0].node), (index, shard.node));

        let again = put(&owner, &data).await;
        world.note(format!("put again: {again:?}"));
        assert_eq!(again.outcome, PutOutcome::Stored, "damaged is not unchanged");
        let well = verify(&owner, Depth::Deep).await;
        assert!(!well.damaged && well.shards.iter().all(|shard| shard.fault.is_none()));
        assert_eq!(put(&owner, &data).await.outcome, PutOutcome::Already, "well is");
        world.audit().await;
    }
    assert_eq!(world.auditor.deals_opened(), 3, "stored, and stored anew twice");
    live_deal(&mut world).await;
    owner.close().await;
    // What has been ended leaves with each node's next turn, and then the node deletes it.
    world.pass_epochs(2).await;
    world.finish().await
}

/// The only deal that runs.
async fn live_deal(world: &mut World) -> Deal {
    let deals = world.ledger().scan(Deals, &[], None, 100).await.unwrap();
    let runs = |deal: &Deal| deal.state == DealState::Open;
    let live: Vec<_> = deals.into_iter().map(|(_, deal)| deal).filter(runs).collect();
    assert_eq!(live.len(), 1, "the old ones were ended");
    live[0].clone()
}

async fn put(owner: &Client, data: &[u8]) -> PutReport {
    let source = Source::Bytes(data.to_vec().into());
    owner.put(source, &called("file"), &put_options(500), &Progress::silent()).await.unwrap()
}

async fn verify(owner: &Client, depth: Depth) -> VerifyReport {
    owner.verify(&called("file"), depth, &Progress::silent()).await.unwrap()
}
