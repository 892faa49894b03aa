//! Two devices of one identity at the same moment, and a ledger that is set back between them. Whatever a
//! command said is stored is there in the end, on both, as a version if need be.

use std::{collections::BTreeSet, time::Duration};

use symbolon_client::{Client, ClientError, Pattern, Progress, PutOptions, Replace, Source};
use symbolon_tests::sim::{Trace, World, called};
use tokio::time::sleep;

use super::put_options;

/// One command may begin so many milliseconds after the other: longer than publishing takes.
const APART_MS: u64 = 400;

/// What a device does in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Put,
    Remove,
    Move,
}

const PAIRS: [[Act; 2]; 6] = [
    [Act::Put, Act::Put],
    [Act::Put, Act::Remove],
    [Act::Remove, Act::Put],
    [Act::Move, Act::Put],
    [Act::Put, Act::Move],
    [Act::Move, Act::Remove],
];

/// Files by their length: what is stored, and what was let go by somebody who knew of it.
#[derive(Clone, Debug, Default)]
struct Said {
    stored: BTreeSet<u64>,
    gone: BTreeSet<u64>,
}

async fn put(client: &Client, name: &str, data: Vec<u8>) -> Result<(), ClientError> {
    let options = PutOptions { replace: Replace::Overwrite, ..put_options(500) };
    let source = Source::Bytes(data.into());
    client.put(source, &called(name), &options, &Progress::silent()).await.map(drop)
}

async fn tell(client: &Client) {
    client.publish_names(None, &Progress::silent()).await.unwrap();
}

/// Lengths of all versions of a name.
pub(super) async fn lengths(client: &Client, name: &str) -> BTreeSet<u64> {
    let versions = client.versions(&called(name)).await.unwrap_or_default();
    versions.iter().filter_map(|version| version.length).collect()
}

/// A name, and the number and length of each of its versions.
type Versions = (String, Vec<(u64, Option<u64>)>);

/// All versions of all names, with what is current.
async fn all(client: &Client) -> Vec<Versions> {
    let mut all = Vec::new();
    for view in client.names(None, false).await.unwrap() {
        let versions = client.versions(&view.name).await.unwrap();
        let versions = versions.iter().map(|version| (version.number, version.length));
        all.push((view.name.to_string(), versions.collect()));
    }
    all
}

/// Does something and publishes, as a command does; whether it said that it is done.
async fn command(
    client: &Client,
    (act, name): (Act, &str),
    data: Vec<u8>,
    after_ms: u64,
) -> (Said, Result<(), ClientError>) {
    sleep(Duration::from_millis(after_ms)).await;
    let (mut said, before) = (Said::default(), lengths(client, name).await);
    let length = data.len() as u64;
    let moved = format!("{name}, moved");
    let done = match act {
        Act::Put => put(client, name, data).await,
        Act::Remove => match client.select(&Pattern::whole(name.as_bytes()), false).await {
            Ok(chosen) => client.remove(&chosen.names, false, &Progress::silent()).await.map(drop),
            Err(error) => Err(error),
        },
        Act::Move => client.rename(&called(name), &called(&moved)).await.map(drop),
    };
    if done.is_ok() {
        match act {
            Act::Put => drop((said.stored.insert(length), said.gone.extend(before))),
            Act::Remove => said.gone.extend(before),
            Act::Move => {}
        }
    }
    tell(client).await;
    // What was moved while another device let it go fails.
    let lost = !client.lost(&called(&moved)).await.unwrap().is_empty();
    let done = if lost { Err(ClientError::Lost { name: moved }) } else { done };
    (said, done)
}

/// Pairs of commands, at moments that the seed decides.
pub(super) async fn at_once(world: &mut World) {
    let desk = world.device("owner", "desk");
    desk.pull_names(&Progress::silent()).await.unwrap();
    let phone = world.device_beside("owner", "phone");
    for (round, acts) in (0_u64..).zip(PAIRS) {
        let name = format!("at once {round}");
        let content = |world: &World, who: u64| world.bytes(&name, 10_000 + 10 * round + who);
        put(&desk, &name, content(world, 0)).await.unwrap();
        tell(&desk).await;
        phone.pull_names(&Progress::silent()).await.unwrap();
        let after = |world: &World, who| world.dice(&format!("after {round} {who}"), APART_MS);
        let first = command(&desk, (acts[0], &name), content(world, 1), after(world, 0));
        let second = command(&phone, (acts[1], &name), content(world, 2), after(world, 1));
        let ((mine, one), (theirs, other)) = tokio::join!(first, second);
        for client in [&desk, &phone, &desk, &phone] {
            tell(client).await;
            client.pull_names(&Progress::silent()).await.unwrap();
        }
        world.note(format!("{acts:?}: {one:?}, {other:?}: {:?}", all(&desk).await));
        assert_eq!(all(&desk).await, all(&phone).await);
        let there = [name.clone(), format!("{name}, moved")];
        let mut there_now = lengths(&desk, &there[0]).await;
        there_now.extend(lengths(&desk, &there[1]).await);
        let there = there_now;
        let gone: BTreeSet<u64> = mine.gone.union(&theirs.gone).copied().collect();
        for length in mine.stored.union(&theirs.stored) {
            let kept = there.contains(length) || gone.contains(length);
            assert!(kept, "{acts:?}: {length} bytes are gone: {there:?}");
        }
        // What has both names and bytes can be read by both.
        for client in [&desk, &phone] {
            for view in client.names(None, false).await.unwrap() {
                let name = view.name.to_string();
                if client.lost(&view.name).await.unwrap().is_empty() && name.starts_with("at once")
                {
                    super::devices::get(client, &name).await.unwrap();
                }
            }
        }
        world.audit().await;
    }
    let names = all(&desk).await.into_iter().filter(|(name, _)| name.starts_with("at once"));
    for (name, _) in names {
        // Also what was kept because two gave it at once.
        let chosen = desk.select(&Pattern::whole(name.as_bytes()), false).await.unwrap();
        desk.remove(&chosen.names, true, &Progress::silent()).await.unwrap();
    }
    tell(&desk).await;
    desk.close().await;
    phone.close().await;
}

/// The ledger is set back: what one device had published the other cannot know, and goes on without it.
pub(super) async fn set_back(seed: u64) -> Trace {
    let mut world = World::found(seed, 8).await;
    let desk = world.device("owner", "desk");
    desk.faucet().await.unwrap();
    let content = |world: &World, length| world.bytes("set back", length);
    put(&desk, "old", content(&world, 1_000)).await.unwrap();
    tell(&desk).await;
    let phone = world.device_beside("owner", "phone");
    phone.pull_names(&Progress::silent()).await.unwrap();
    let backup = world.back_up_ledger().await;
    put(&desk, "mine", content(&world, 2_000)).await.unwrap();
    put(&desk, "both", content(&world, 3_000)).await.unwrap();
    tell(&desk).await;
    // A program that has seen blocks of the ledger before notices that they are others; the next one cannot.
    desk.close().await;
    phone.close().await;
    world.set_ledger_back(&backup).await;
    let (desk, phone) = (world.device("owner", "desk"), world.device_beside("owner", "phone"));
    // It may come to the same version, a lower or a higher one.
    let often = seed % 3;
    for number in 0..often {
        put(&phone, "both", content(&world, 3_001 + number)).await.unwrap();
        put(&phone, "theirs", content(&world, 4_001 + number)).await.unwrap();
        tell(&phone).await;
    }
    let pulled = desk.pull_names(&Progress::silent()).await.unwrap().unwrap();
    assert!(pulled.set_back, "{pulled:?}");
    world.note(format!("{pulled:?}: {:?}", all(&desk).await));
    tell(&desk).await;
    let pulled = phone.pull_names(&Progress::silent()).await.unwrap().unwrap();
    assert!(!pulled.set_back, "what the desk published was made from it: {pulled:?}");
    let restored = world.device_beside("owner", "restored");
    restored.pull_names(&Progress::silent()).await.unwrap();
    for client in [&desk, &phone, &restored] {
        assert_eq!(all(client).await, all(&desk).await);
        assert_eq!(lengths(client, "old").await, BTreeSet::from([1_000]));
        assert_eq!(lengths(client, "mine").await, BTreeSet::from([2_000]));
        let mut both = BTreeSet::from([3_000]);
        both.extend((0 < often).then_some(3_000 + often));
        assert_eq!(lengths(client, "both").await, both, "one is a version of the other");
        let theirs = (0 < often).then_some(4_000 + often);
        assert_eq!(lengths(client, "theirs").await, theirs.into_iter().collect());
        assert_eq!(client.index().await.unwrap().unpublished, 0);
    }
    // What was stored since the ledger is back can be read.
    if 0 < often {
        let theirs = super::devices::get(&desk, "theirs").await.unwrap();
        assert!(theirs == content(&world, 4_000 + often), "the key of the phone's file is here");
    }
    world.audit().await;
    world.end()
}
