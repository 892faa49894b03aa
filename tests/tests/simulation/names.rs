//! The names index: changed on two devices in turn, and cut short while it is published. Nothing that was
//! stored or given is lost, every device ends with the same rows, and only runs that the last record names
//! are still paid for.

use std::time::Duration;

use symbolon_client::{Client, Progress, Source};
use symbolon_protocol::{
    id::ObjectId,
    ledger::rows::{DealState, Deals},
};
use symbolon_tests::sim::{Trace, World, called};
use tokio::time::sleep;

use super::put_options;

const ROUNDS: usize = 14;

/// Longest time before the cut, in milliseconds: publishing a run takes about this long here.
const CUT_MS_MAX: u64 = 500;

pub(super) async fn names(seed: u64) -> Trace {
    let mut world = World::found(seed, 9).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let file = Source::Bytes(world.bytes("file", 100_000).into());
    owner.put(file, &called("file"), &put_options(500), &Progress::silent()).await.unwrap();
    owner.publish_names(None, &Progress::silent()).await.unwrap();
    owner.close().await;
    let mut given = 0;
    for round in 0..ROUNDS {
        given += change_and_cut(&mut world, round).await;
        world.audit().await;
    }
    let phone = world.device("owner", "phone");
    phone.pull_names(&Progress::silent()).await.unwrap();
    let here = rows(&phone).await;
    let index = phone.index().await.unwrap();
    assert_eq!((index.names, index.grants, index.unpublished), (1, given, 0));
    assert!(index.runs > 0, "{index:?}");
    phone.close().await;
    let owner = world.device("owner", "owner");
    owner.pull_names(&Progress::silent()).await.unwrap();
    assert_eq!(rows(&owner).await, here);
    assert_eq!(
        owner.pull_names(&Progress::silent()).await.unwrap(),
        None,
        "there is nothing newer"
    );
    assert_eq!(owner.publish_names(None, &Progress::silent()).await.unwrap(), None);
    owner.close().await;

    let deals = world.ledger().scan(Deals, &[], None, 1000).await.unwrap();
    let open = |state| state == DealState::Open;
    let live = deals.iter().filter(|(_, deal)| open(deal.state)).count();
    world.note(format!("{} deals, {live} of them live, {index:?}", deals.len()));
    assert_eq!(live, 1 + index.runs, "the file, and what the record names");
    // A shard that was sent and not paid for is swept when a block is later than its acceptance and the grace.
    sleep(Duration::from_secs(140)).await;
    world.finish().await
}

/// What an index says: labels and objects of grants.
async fn rows(client: &Client) -> Vec<(String, ObjectId)> {
    let grants = client.grants().await.unwrap().into_iter();
    let mut rows: Vec<_> = grants.map(|(label, token)| (label, token.manifest.object)).collect();
    rows.sort();
    rows
}

/// Gives grants on one of two devices, kills it while it publishes, and publishes again.
async fn change_and_cut(world: &mut World, round: usize) -> usize {
    let device = if round.is_multiple_of(3) { "phone" } else { "owner" };
    let friend = world.identity("friend").recipient();
    let client = world.device("owner", device);
    client.pull_names(&Progress::silent()).await.unwrap();
    let count = 1 + usize::try_from(world.dice(&format!("count {round}"), 5)).unwrap();
    for _ in 0..count {
        client
            .share(&called("file"), &friend, Vec::new(), None, &Progress::silent())
            .await
            .unwrap();
    }
    let publishing =
        tokio::spawn(async move { client.publish_names(None, &Progress::silent()).await });
    sleep(Duration::from_millis(world.dice(&format!("cut {round}"), CUT_MS_MAX))).await;
    publishing.abort();
    world.kill_client("owner").await;
    let ended = match publishing.await {
        Ok(Ok(report)) => format!("done: {report:?}"),
        Ok(Err(error)) => format!("failed: {error}"),
        Err(_) => "killed".into(),
    };
    let client = world.device("owner", device);
    let again = client.publish_names(None, &Progress::silent()).await.unwrap();
    world.note(format!("round {round} on the {device}: {ended}; again: {again:?}"));
    client.close().await;
    count
}
