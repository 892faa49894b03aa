//! All nodes are slow: every answer takes seconds. No node is taken for dead or dropped for that, because no
//! other node is faster.

use std::time::Duration;

use symbolon_client::{GetOptions, Progress, PutOutcome, ReadFault, Readable, Sink, Source};
use symbolon_protocol::session::NodeFault;
use symbolon_tests::sim::{Faults, Trace, World, called};
use tokio::time::sleep;

use super::put_options;

pub(super) async fn far(seed: u64) -> Trace {
    let mut world = World::found_apart(seed, 8, 700..=1_200).await;
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    let data = world.bytes("file", 2_300_000 + world.dice("length", 90_000));
    let source = Source::Bytes(data.clone().into());
    let heard = Faults::default();
    let stored =
        owner.put(source, &called("file"), &put_options(500), &heard.progress()).await.unwrap();
    assert_eq!(
        (stored.outcome, stored.shards),
        (PutOutcome::Stored, 8),
        "every node takes its part"
    );
    assert!(heard.take().is_empty(), "and no node is at fault");
    world.note(format!("put {stored:?}"));
    let name = Readable::Name(called(b"file"));
    for range in [None, Some((65_000, 400_001)), Some((2_200_000, u64::MAX))] {
        let options = GetOptions { range, ..GetOptions::default() };
        let read = owner.get(&name, Sink::Memory, &options, &Progress::silent()).await.unwrap();
        let (first, end) = range.unwrap_or((0, u64::MAX));
        let at = |place: u64| usize::try_from(place).unwrap_or(data.len()).min(data.len());
        assert!(read.bytes.unwrap() == data[at(first)..at(end)], "{range:?}");
        // Others are asked too when one does not answer soon; no node is taken for dead.
        let slow = |fault: &ReadFault| fault.fault == NodeFault::Slow;
        assert!(read.faults.iter().all(slow), "{:?}", read.faults);
        world.note(format!("read {range:?}"));
    }
    world.audit().await;
    owner.close().await;
    sleep(Duration::from_secs(30)).await;
    world.finish().await
}
