//! A put that was cut off when its deal was open already, and that goes on when the deal has ended: the
//! nodes have deleted the shards, so it begins anew and is paid for anew. So does a file whose time is over.

use std::time::Duration;

use symbolon_client::{
    ClientError, Depth, GetOptions, Progress, PutOutcome, Readable, Sink, Source,
};
use symbolon_protocol::ledger::rows::Deals;
use symbolon_tests::sim::{Trace, World, called};
use tokio::time::sleep;

use super::put_options;

const EPOCHS: u64 = 2;

pub(super) async fn lapsed(seed: u64) -> Trace {
    let mut world = World::found(seed, 8).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let data = world.bytes("file", 300_000 + world.dice("length", 90_000));
    let bytes = data.clone();
    let put = tokio::spawn(async move {
        let source = Source::Bytes(bytes.into());
        owner.put(source, &called("file"), &put_options(EPOCHS), &Progress::silent()).await
    });
    // The deal stands on the ledger before the client hears of it.
    let ledger = world.ledger();
    while ledger.scan(Deals, &[], None, 1).await.unwrap().is_empty() {
        assert!(!put.is_finished(), "the put is cut off before it ends");
        sleep(Duration::from_millis(1)).await;
    }
    put.abort();
    world.kill_client("owner").await;
    assert!(put.await.is_err());
    world.pass_epochs(EPOCHS + 2).await;
    world.audit().await;

    let owner = world.client("owner");
    assert_eq!(owner.unfinished().await.unwrap(), ["file"]);
    let source = Source::Bytes(data.clone().into());
    let again =
        owner.put(source, &called("file"), &put_options(9), &Progress::silent()).await.unwrap();
    world.note(format!("put again: {again:?}"));
    assert_eq!(again.outcome, PutOutcome::Stored);
    assert_eq!(again.shards, 8);
    world.audit().await;
    assert_eq!(world.auditor.deals_opened(), 2);
    let (name, options) = (Readable::Name(called(b"file")), GetOptions::default());
    let read = owner.get(&name, Sink::Memory, &options, &Progress::silent()).await.unwrap();
    assert!(read.bytes.unwrap() == data, "the file is whole");
    assert!(owner.unfinished().await.unwrap().is_empty());

    // The same again is nothing to do while it is paid for, and stored anew when that is over.
    let put = async || {
        let source = Source::Bytes(data.clone().into());
        owner.put(source, &called("file"), &put_options(9), &Progress::silent()).await.unwrap()
    };
    assert_eq!(put().await.outcome, PutOutcome::Already);
    world.pass_epochs(11).await;
    world.audit().await;
    // Nodes may still have all of it, but they are not paid for it any more, so it does not count as healthy.
    let checked = owner.verify(&called("file"), Depth::Deep, &Progress::silent()).await;
    assert!(matches!(checked, Err(ClientError::Over { .. })), "{checked:?}");
    assert_eq!(put().await.outcome, PutOutcome::Stored);
    let read = owner.get(&name, Sink::Memory, &options, &Progress::silent()).await.unwrap();
    assert!(read.bytes.unwrap() == data, "the file is whole again");
    owner.close().await;
    world.finish().await
}
