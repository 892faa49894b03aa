//! Readers and short ranges, over nodes in memory and in virtual time: every border, every kind of
//! fault, and how much is asked of whom.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::SeekFrom;

use symbolon_client::{
    Client, GetOptions, Progress, PutOptions, ReadCost, Readable, Reader, Replace, Sink, Source,
};
use symbolon_protocol::{content::Scheme, session::NodeFault};
use symbolon_tests::{
    liars::{Habit, Liar},
    sim::{World, called, run},
};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

/// Plain bytes of a full cell.
const CELL: u64 = 65_520;

fn named(name: &str) -> Readable {
    Readable::Name(called(name))
}

/// Stores bytes that follow from the name, and gives them.
async fn put(world: &World, owner: &Client, scheme: (u8, u8), length: u64) -> Vec<u8> {
    let data = world.bytes("file", length);
    let scheme = Some(Scheme::new(scheme.0, scheme.1).unwrap());
    let options = PutOptions {
        epochs: Some(10),
        least: Some(0),
        cost_max: None,
        scheme,
        replace: Replace::Overwrite,
        keep: None,
    };
    let source = Source::Bytes(data.clone().into());
    owner.put(source, &called("file"), &options, &Progress::silent()).await.unwrap();
    data
}

async fn open(client: &Client) -> Reader {
    client.open(&named("file"), &Progress::silent()).await.unwrap()
}

async fn owner(world: &mut World) -> Client {
    let owner = world.client("owner");
    owner.faucet().await.unwrap();
    owner
}

/// The bytes from `from` up to `to`, by seeking and reading.
async fn read(reader: &mut Reader, from: u64, to: u64) -> Vec<u8> {
    assert_eq!(reader.seek(SeekFrom::Start(from)).await.unwrap(), from);
    let mut out = Vec::new();
    let count = reader.take(to - from).read_to_end(&mut out).await.unwrap();
    assert_eq!(count, out.len());
    out
}

fn part(data: &[u8], from: u64, to: u64) -> &[u8] {
    let inside = |at: u64| usize::try_from(at).unwrap().min(data.len());
    &data[inside(from)..inside(to)]
}

#[test]
fn every_border_reads_right() {
    run(|| async {
        let mut world = World::found(3, 3).await;
        let owner = owner(&mut world).await;
        let stripe = 2 * CELL;
        for length in [0, 1, CELL - 1, CELL, CELL + 1, stripe, 5 * stripe - 1, 20 * CELL + 7] {
            let data = put(&world, &owner, (2, 3), length).await;
            let mut reader = open(&owner).await;
            assert_eq!(reader.length(), length);
            let mut all = Vec::new();
            reader.read_to_end(&mut all).await.unwrap();
            assert!(all == data, "{length} bytes in order");
            let borders = [0, 1, 1023, 1024, CELL - 1, CELL, CELL + 1, stripe - 1, stripe, length];
            let ends = borders.map(|border| length.saturating_sub(border));
            let ends: std::collections::BTreeSet<u64> = ends.into_iter().chain(borders).collect();
            for from in &ends {
                for to in ends.iter().filter(|to| from <= *to) {
                    let expected = part(&data, *from, *to);
                    let got = read(&mut reader, *from, *to).await;
                    assert!(got == expected, "{from} to {to} of {length}, read");
                    let got = reader.read_at(*from, *to).await.unwrap();
                    assert!(got == expected, "{from} to {to} of {length}, at once");
                }
            }
            assert_eq!(reader.faults(), []);
        }
    });
}

#[test]
fn seeking_goes_where_it_says() {
    run(|| async {
        let mut world = World::found(4, 3).await;
        let owner = owner(&mut world).await;
        let data = put(&world, &owner, (2, 3), 200_000).await;
        let mut reader = open(&owner).await;
        assert_eq!(reader.seek(SeekFrom::End(-10)).await.unwrap(), 199_990);
        let mut tail = Vec::new();
        reader.read_to_end(&mut tail).await.unwrap();
        assert_eq!(tail, data[199_990..]);
        assert_eq!(reader.seek(SeekFrom::Current(-150_000)).await.unwrap(), 50_000);
        assert_eq!(reader.read_u8().await.unwrap(), data[50_000]);
        assert_eq!(reader.seek(SeekFrom::Current(100)).await.unwrap(), 50_101);
        assert_eq!(reader.read_u8().await.unwrap(), data[50_101]);
        // Behind the end there is nothing, and that is no error.
        assert_eq!(reader.seek(SeekFrom::Start(1 << 60)).await.unwrap(), 1 << 60);
        assert_eq!(reader.read(&mut [0; 10]).await.unwrap(), 0);
        assert!(reader.read_at(200_000, u64::MAX).await.unwrap().is_empty());
        // Before the beginning there is nowhere to stand; the reader stays where it was.
        let error = reader.seek(SeekFrom::End(-200_001)).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert_eq!(reader.stream_position().await.unwrap(), 1 << 60);
    });
}

#[test]
fn a_short_read_is_one_request() {
    run(|| async {
        let mut world = World::found(5, 8).await;
        let owner = owner(&mut world).await;
        let data = put(&world, &owner, (4, 8), 40 * CELL).await;
        let mut reader = open(&owner).await;
        assert_eq!(reader.cost(), ReadCost::default(), "opening asks no node");
        let mut kilobyte = vec![0; 1024];
        reader.seek(SeekFrom::Start(7 * CELL + 3)).await.unwrap();
        reader.read_exact(&mut kilobyte).await.unwrap();
        assert_eq!(kilobyte, part(&data, 7 * CELL + 3, 7 * CELL + 1027));
        // The deal and its nodes are looked up once; then every cell is one request to one node.
        assert_eq!(reader.cost(), ReadCost { node_requests: 1, ledger_requests: 2 });
        reader.read_exact(&mut kilobyte).await.unwrap();
        assert_eq!(reader.cost().node_requests, 1, "the cell is still here");
        assert_eq!(reader.read_at(30 * CELL, 31 * CELL).await.unwrap().len(), 65_520);
        assert_eq!(reader.cost(), ReadCost { node_requests: 2, ledger_requests: 2 });
        assert_eq!(reader.read_at(31 * CELL - 1, 31 * CELL + 1).await.unwrap().len(), 2);
        assert_eq!(reader.cost(), ReadCost { node_requests: 4, ledger_requests: 2 });
        // Reading on in order asks ahead, and for no cell twice.
        let mut whole = open(&owner).await;
        let mut all = Vec::new();
        whole.read_to_end(&mut all).await.unwrap();
        assert!(all == data);
        assert_eq!(whole.cost(), ReadCost { node_requests: 40, ledger_requests: 2 });
    });
}

#[test]
fn segment_borders_are_crossed() {
    run(|| async {
        let mut world = World::found(6, 2).await;
        let owner = owner(&mut world).await;
        let segment = 1024 * CELL;
        let data = put(&world, &owner, (1, 2), segment + 70_000).await;
        let mut reader = open(&owner).await;
        for (from, to) in [
            (segment - 1, segment + 1),
            (segment - 100_000, segment + 65_520),
            (segment, segment + 70_000),
            (segment + 65_520, segment + 90_000),
        ] {
            assert!(read(&mut reader, from, to).await == part(&data, from, to), "{from} to {to}");
            assert!(reader.read_at(from, to).await.unwrap() == part(&data, from, to));
        }
        assert_eq!(reader.cost().ledger_requests, 4, "two for each segment");
    });
}

/// Where a node stands among the shards of the only segment.
async fn index_of(world: &World, client: &Client, node: usize) -> u8 {
    let stat = client.stat(&called("file")).await.unwrap();
    let id = world.stations[node].id;
    stat.segments[0].shards.iter().find(|shard| shard.node == id).unwrap().index
}

/// The number of the node that keeps shard `index`.
async fn keeper(world: &World, client: &Client, index: u8) -> usize {
    let stat = client.stat(&called("file")).await.unwrap();
    let shard = stat.segments[0].shards.iter().find(|shard| shard.index == index).unwrap();
    world.number_of(&shard.node)
}

async fn misbehaving(habit: Habit, fault: impl Fn(NodeFault) -> bool) {
    let mut world = World::found(7, 8).await;
    let owner = owner(&mut world).await;
    let data = put(&world, &owner, (4, 8), 30 * CELL).await;
    let liar = keeper(&world, &owner, 2).await;
    world.kill_node(liar).await;
    let lying = Liar::start(&world, &world.stations[liar], habit);
    let mut reader = open(&owner).await;
    // Cell 6 is in shard 2: what its node does not give is made from others.
    assert!(
        reader.read_at(6 * CELL, 6 * CELL + 1000).await.unwrap()
            == part(&data, 6 * CELL, 6 * CELL + 1000)
    );
    let faults = reader.faults();
    assert_eq!(faults.len(), 1, "{habit:?}: {faults:?}");
    assert_eq!((faults[0].node, faults[0].index), (world.stations[liar].id, 2));
    assert!(fault(faults[0].fault), "{habit:?}: {faults:?}");
    assert_eq!(reader.cost().node_requests, 5, "{habit:?}: the node, and four others");
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.unwrap();
    assert!(all == data, "{habit:?}");
    assert_eq!(reader.faults().len(), 1, "{habit:?}: no other node is blamed");
    // The range of a get goes the same way and names the node.
    let options = GetOptions { range: Some((6 * CELL, 6 * CELL + 9)), ..GetOptions::default() };
    let got = owner.get(&named("file"), Sink::Memory, &options, &Progress::silent()).await.unwrap();
    assert_eq!(got.bytes.unwrap(), part(&data, 6 * CELL, 6 * CELL + 9));
    assert_eq!(got.faults.len(), 1, "{habit:?}");
    lying.stop().await;
}

#[test]
fn nodes_that_lie_are_named_and_gone_around() {
    run(|| misbehaving(Habit::Flips, |fault| fault == NodeFault::Corrupt));
    run(|| misbehaving(Habit::Refuses, |fault| matches!(fault, NodeFault::Refused { .. })));
    run(|| misbehaving(Habit::Truncates, |fault| fault == NodeFault::Offline));
    run(|| misbehaving(Habit::Stalls, |fault| fault == NodeFault::Slow));
}

#[test]
fn nodes_that_are_gone_do_not_matter_until_too_few_are_left() {
    run(|| async {
        let mut world = World::found(8, 8).await;
        let owner = owner(&mut world).await;
        let data = put(&world, &owner, (4, 8), 12 * CELL).await;
        for gone in 0..4 {
            let victim = keeper(&world, &owner, gone).await;
            world.kill_node(victim).await;
            let mut all = Vec::new();
            open(&owner).await.read_to_end(&mut all).await.unwrap();
            assert!(all == data, "{} nodes are gone", gone + 1);
        }
        let last = (0..8).find(|number| world.stations[*number].runs()).unwrap();
        let index = index_of(&world, &owner, last).await;
        world.kill_node(last).await;
        let reader = open(&owner).await;
        let error = reader.read_at(0, 10).await.unwrap_err().to_string();
        assert!(error.contains("3 of the 4 shards needed"), "shard {index} went last: {error}");
    });
}
