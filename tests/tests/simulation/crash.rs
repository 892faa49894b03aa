//! Cut short: a node, the ledger and the client itself die in the middle of a put, one after another
//! and together. The same put again goes on, and what it stores is paid for once.

use std::time::Duration;

use symbolon_client::{
    ClientError, GetOptions, Progress, PutOutcome, PutReport, Readable, Sink, Source,
};
use symbolon_tests::sim::{Trace, World, called};
use tokio::time::sleep;

use super::put_options;

/// How many puts are cut short.
const ROUNDS: usize = 6;

/// Longest time before the cut, in milliseconds: a put of this size takes about this long here.
const CUT_MS_MAX: u64 = 400;

pub(super) async fn crash(seed: u64) -> Trace {
    let mut world = World::found(seed, 9).await;
    world.client("owner").faucet().await.unwrap();
    let mut files = Vec::new();
    for round in 0..ROUNDS {
        files.push(cut_short(&mut world, round).await);
        world.audit().await;
        assert_eq!(world.auditor.deals_opened(), round + 1, "one deal per file, however often put");
    }
    world.pass_epochs(2).await;
    // A shard that was sent and not paid for is swept when a block is later than its acceptance and the grace.
    sleep(Duration::from_secs(140)).await;
    world.audit().await;
    let owner = world.client("owner");
    for (round, data) in files.iter().enumerate() {
        let (name, options) = (Readable::Name(called(name(round))), GetOptions::default());
        let read = owner.get(&name, Sink::Memory, &options, &Progress::silent()).await.unwrap();
        assert!(read.bytes.unwrap() == *data, "file {round} is whole");
    }
    assert!(owner.unfinished().await.unwrap().is_empty());
    let spent: u128 = owner.list().await.unwrap().iter().map(|file| file.cost.0).sum();
    let left = owner.account().await.unwrap().balance.0;
    let faucet = symbolon_tests::sim::params().faucet.0;
    assert_eq!(left + spent, faucet, "every file was paid for once, at the price it says");
    owner.close().await;
    world.finish().await
}

fn name(round: usize) -> String {
    format!("file {round}")
}

async fn put(world: &mut World, round: usize, data: &[u8]) -> Result<PutReport, ClientError> {
    let owner = world.client("owner");
    let source = Source::Bytes(data.to_vec().into());
    let report =
        owner.put(source, &called(name(round)), &put_options(500), &Progress::silent()).await;
    owner.close().await;
    report
}

/// Begins a put, kills who is to be killed, and puts again.
async fn cut_short(world: &mut World, round: usize) -> Vec<u8> {
    let data = world.bytes(&name(round), 400_000 + world.dice(&name(round), 900_000));
    let owner = world.client("owner");
    let (source, file) = (Source::Bytes(data.clone().into()), name(round));
    let first = tokio::spawn(async move {
        owner.put(source, &called(&file), &put_options(500), &Progress::silent()).await
    });
    sleep(Duration::from_millis(world.dice(&format!("cut {round}"), CUT_MS_MAX))).await;
    let victim = usize::try_from(world.dice(&format!("victim {round}"), 9)).unwrap();
    let (node, ledger, client) = (round % 3 != 1, !round.is_multiple_of(3), round % 2 == 1);
    if node {
        world.kill_node(victim).await;
    }
    if ledger {
        world.kill_ledger().await;
    }
    if client {
        first.abort();
        world.kill_client("owner").await;
    }
    sleep(Duration::from_millis(world.dice(&format!("down {round}"), 3_000))).await;
    if ledger {
        world.start_ledger().await;
    }
    if node {
        world.start_node(victim).await;
    }
    // Commands that were not killed end by themselves, with success or an error.
    let ended = match first.await {
        Ok(Ok(report)) => format!("stored: {report:?}"),
        Ok(Err(error)) => format!("failed: {error}"),
        Err(_) => "killed".into(),
    };
    world.note(format!("put {round} {ended}"));
    let again = put(world, round, &data).await.unwrap();
    world.note(format!("put {round} again: {again:?}"));
    let third = put(world, round, &data).await.unwrap();
    assert_eq!(third.outcome, PutOutcome::Already);
    data
}
