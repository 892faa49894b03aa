//! Power cuts at the very moment when something was promised. What a node has signed for, what the ledger has
//! answered, what a client has given away or called done is on the disk before: whichever names the file
//! system has written by then, and though of no file more is left than was synced.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use symbolon_client::{
    Client, GetOptions, Pattern, Progress, PutOptions, PutOutcome, Readable, Replace, Sink, Source,
};
use symbolon_protocol::{
    Amount, LedgerTime,
    content::Scheme,
    id::{AccountId, DealId, ObjectId},
    ledger::rows::{Access, DealSlot, Deals, Table},
    wire::{
        ledger,
        storage::{Request, Response},
    },
};
use symbolon_store::{ShardInfo, ShardState, Shards};
use symbolon_tests::{
    auditor::find_file,
    between::{LedgerTwist, Twist},
    power::{Disk, Left},
    sim::{Trace, World, called},
    witness::Given,
};
use tokio::time::sleep;

use super::{
    changing::{States, change, put, write},
    sell_options,
};

const NODES: usize = 5;

const PRICE: Amount = Amount(1_000_000_001);

/// What a node has signed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Stored,
    InCustody,
    Deleted,
}

/// What was left of the node's folder when each word left the node: with the names that were synced, and
/// with all.
type Moments = Arc<Mutex<BTreeMap<Word, [Left; 2]>>>;

pub(super) async fn power(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    let victim = usize::try_from(world.dice("victim", NODES as u64)).unwrap();
    for number in [0, 1] {
        nodes(&mut world, victim, number).await;
    }
    first(&world);
    journal(&mut world).await;
    whole(&mut world).await;
    ledger(&mut World::found(seed + 1000, 0).await).await;
    sealed(&mut World::found(seed + 2000, NODES).await).await;
    world.finish().await
}

fn options() -> PutOptions {
    let scheme = Some(Scheme::new(2, 5).unwrap());
    PutOptions {
        epochs: Some(100),
        least: Some(0),
        cost_max: None,
        scheme,
        replace: Replace::Refuse,
        keep: None,
    }
}

/// The victim with a witness of what it promises.
async fn start(world: &mut World, victim: usize) -> (Moments, Arc<Disk>) {
    let disk = Disk::watch(&world.stations[victim].dir).unwrap();
    let moments = Moments::default();
    let (heard, watched) = (moments.clone(), disk.clone());
    let twist: Twist = Arc::new(move |request, response| {
        let word = match (request, &response) {
            (Request::Store { .. }, Response::Accepted { .. }) => Some(Word::Stored),
            (Request::KeepShare { .. }, Response::InCustody { .. }) => Some(Word::InCustody),
            (Request::Delete { .. }, Response::Deleted { .. }) => Some(Word::Deleted),
            _ => None,
        };
        if let Some(word) = word {
            let left = [watched.left(), watched.left_with_names().unwrap()];
            // The first: what is written after it makes more durable.
            heard.lock().unwrap().entry(word).or_insert(left);
        }
        response
    });
    world.start_node_behind(victim, &["seller 0", "seller 1", "owner"], twist).await;
    (moments, disk)
}

/// Makes what was left in a folder of its own.
fn made(world: &World, left: &Left) -> PathBuf {
    let number = fs::read_dir(world.folder()).unwrap().count();
    let folder = world.folder().join(format!("left {number}"));
    fs::create_dir(&folder).unwrap();
    left.restore_in(&folder).unwrap();
    folder
}

/// What was left when the victim gave its word, each in a folder of its own.
fn left(world: &World, moments: &Moments, word: Word) -> [(Left, PathBuf); 2] {
    let left = moments.lock().unwrap().remove(&word);
    let left = left.unwrap_or_else(|| panic!("it has never said {word:?}"));
    left.map(|left| {
        let folder = made(world, &left);
        (left, folder)
    })
}

/// Everything that a node signs for, one after the other.
async fn nodes(world: &mut World, victim: usize, names: usize) {
    let who = format!("seller {names}");
    let seller = world.client(&who);
    seller.faucet().await.unwrap();
    world.kill_node(victim).await;
    let (moments, _) = start(world, victim).await;

    let file = Source::Bytes(world.bytes(&who, 300_000).into());
    seller.put(file, &called("file"), &options(), &Progress::silent()).await.unwrap();
    let (deal, index, shard, length) = shard_of(world, &who, victim).await;
    let stored = left(world, &moments, Word::Stored);
    for (_, folder) in &stored {
        let store = Shards::open(folder).unwrap();
        store.open_shard(&deal, index).unwrap().check().unwrap();
    }
    // It goes on from there.
    world.kill_node(victim).await;
    stored[names].0.restore().unwrap();
    world.note(format!("the power goes when node {victim} has signed for a shard"));
    let (moments, disk) = start(world, victim).await;
    world.pass_epochs(2).await;
    assert_eq!(world.row(victim).await.missed_in_row, 0, "it proves what it has signed for");
    world.audit_disks();

    let sold = seller
        .sell(&called("file"), &sell_options("File", PRICE), &Progress::silent())
        .await
        .unwrap();
    assert!(sold.custodians.contains(&world.stations[victim].id));
    for (_, folder) in left(world, &moments, Word::InCustody) {
        let store = Shards::open(&folder).unwrap();
        assert!(!store.custody(&sold.vault).unwrap().is_empty(), "it has signed for a share");
    }

    let chosen = seller.select(&Pattern::whole(b"file"), false).await.unwrap().names;
    let removed = seller.remove(&chosen, false, &Progress::silent()).await.unwrap();
    assert_eq!(removed.deletion.receipts.len(), NODES);
    for (_, folder) in left(world, &moments, Word::Deleted) {
        let store = Shards::open(&folder).unwrap();
        assert!(store.info(&deal, index).unwrap().is_none(), "it has signed that it is gone");
        assert!(find_file(&folder, &shard.root, length).is_none(), "its bytes are gone too");
    }
    // Nor do they come back when the store has forgotten that there is something to remove.
    world.pass_epochs(1).await;
    let folder = made(world, &disk.left());
    drop(Shards::open(&folder).unwrap());
    assert!(find_file(&folder, &shard.root, length).is_none(), "they are gone for good");
    seller.close().await;
}

/// The first shard of a node that has just been made.
fn first(world: &World) {
    let dir = world.folder().join("a new node");
    fs::create_dir(&dir).unwrap();
    let disk = Disk::watch(&dir).unwrap();
    let store = Shards::open(&dir).unwrap();
    let (deal, length) = (DealId([7; 16]), 4096);
    let (owner, object) = (AccountId([7; 32]), ObjectId([7; 16]));
    let (access, terms) = (Access::Granted, Vec::new());
    let info = ShardInfo { deal, index: 0, owner, object, access, length, terms };
    let mut writer = store.begin(info).unwrap();
    writer.write(&world.bytes("first", length)).unwrap();
    writer.finish_accepted(ShardState::Unpaid { until_ms: LedgerTime::ZERO }, |_| vec![7]).unwrap();
    for left in [disk.left(), disk.left_with_names().unwrap()] {
        let store = Shards::open(&made(world, &left)).unwrap();
        store.open_shard(&deal, 0).unwrap().check().unwrap();
    }
}

/// The victim's shard of somebody's only deal that is as long as its file.
async fn shard_of(world: &World, owner: &str, victim: usize) -> (DealId, u8, DealSlot, u64) {
    let (owner, me) = (world.identity(owner).account(), world.stations[victim].id);
    let deals = world.ledger().scan(Deals, &[], None, 100).await.unwrap();
    let (key, deal) = deals.into_iter().find(|(_, deal)| deal.owner == owner).unwrap();
    let place = deal.shards.iter().position(|shard| shard.is_some_and(|one| one.node == me));
    let place = place.expect("every node has a shard");
    let shard = deal.shards[place].unwrap();
    (Deals::parse(&key).unwrap(), u8::try_from(place).unwrap(), shard, deal.length)
}

/// A client's power goes when its deal is paid: the same put goes on, and pays nothing more.
async fn journal(world: &mut World) {
    world.client("owner").faucet().await.unwrap();
    for names in [false, true] {
        let name = format!("journal {names}");
        let data = world.bytes(&name, 200_000);
        let disk = Disk::watch(&world.folder().join("owner")).unwrap();
        let deals =
            async |world: &World| world.ledger().scan(Deals, &[], None, 1000).await.unwrap().len();
        let before = deals(world).await;
        let (client, own, bytes) = (world.client("owner"), name.clone(), data.clone());
        let putting = tokio::spawn(async move {
            let source = Source::Bytes(bytes.into());
            client.put(source, &called(&own), &options(), &Progress::silent()).await
        });
        while deals(world).await == before {
            assert!(!putting.is_finished(), "the power goes before it ends");
            sleep(Duration::from_millis(1)).await;
        }
        let left = if names { disk.left_with_names().unwrap() } else { disk.left() };
        putting.abort();
        world.kill_client("owner").await;
        left.restore().unwrap();
        let client = world.client("owner");
        let source = Source::Bytes(data.clone().into());
        let again =
            client.put(source, &called(&name), &options(), &Progress::silent()).await.unwrap();
        world.note(format!("{name}: {again:?}"));
        assert_eq!(again.outcome, PutOutcome::Resumed);
        assert_eq!(deals(world).await, before + 1, "it is paid once");
        client.close().await;
    }
}

/// A get that says it is done has its file on the disk, by its name.
async fn whole(world: &mut World) {
    let client = world.client("owner");
    let out = world.folder().join("out");
    fs::create_dir(&out).unwrap();
    let disk = Disk::watch(&out).unwrap();
    for (name, replace) in
        [("journal false", Replace::Refuse), ("journal true", Replace::Overwrite)]
    {
        let target = out.canonicalize().unwrap().join("file");
        if replace == Replace::Refuse {
            assert!(!target.exists());
        }
        let options = GetOptions { range: None, replace };
        let (what, sink) = (Readable::Name(called(name)), Sink::File(target.clone()));
        client.get(&what, sink, &options, &Progress::silent()).await.unwrap();
        let stored = world.bytes(name, 200_000);
        assert!(disk.left().file(&target) == Some(stored.as_slice()), "{name}");
    }
    client.close().await;
}

/// The ledger's power goes when it has answered.
async fn ledger(world: &mut World) {
    let folder = world.folder().join("ledger");
    let disk = Disk::watch(&folder).unwrap();
    let left: Arc<Mutex<Vec<Left>>> = Arc::default();
    let heard = left.clone();
    let twist: LedgerTwist = Arc::new(move |_, response| {
        if let ledger::Response::Outcome { .. } = response {
            heard.lock().unwrap().push(disk.left());
        }
        response
    });
    let ticket = world.lying_ledger("a ledger that is watched", twist);
    let client = world.device_told("owner", "owner", ticket);
    let balance = client.faucet().await.unwrap();
    client.close().await;
    world.kill_ledger().await;
    left.lock().unwrap().pop().expect("it has answered").restore().unwrap();
    world.start_ledger().await;
    let client = world.client("owner");
    assert_eq!(client.account().await.unwrap().balance, balance);
    client.close().await;
}

/// A client's power goes when it has given away so many bytes of a file, which is another one when the power
/// is back, and looks the same. No node is given other bytes of what one has.
async fn sealed(world: &mut World) {
    world.client("owner").faucet().await.unwrap();
    let given = Given::default();
    for number in 0..NODES {
        world.kill_node(number).await;
        given.stand_in(world, &world.stations[number]);
    }
    let folder = world.folder().join("owner");
    for round in 0..3 {
        let name = format!("sealed {round}");
        let path = world.folder().join("files").join(&name);
        write(&path, &world.bytes(&name, 3_000_000));
        let disk = Disk::watch(&folder).unwrap();
        let left: Arc<Mutex<Option<Left>>> = Arc::default();
        let heard = left.clone();
        let act = move || *heard.lock().unwrap() = Some(disk.left_with_names().unwrap());
        given.after(1 + world.dice(&name, 2_000_000), Box::new(act));
        let (client, there, own) = (world.client("owner"), path.clone(), name.clone());
        let putting = tokio::spawn(async move { put(&client, &there, &own).await });
        while left.lock().unwrap().is_none() {
            assert!(!putting.is_finished(), "the power goes before it ends");
            sleep(Duration::from_millis(1)).await;
        }
        putting.abort();
        world.kill_client("owner").await;
        let left = left.lock().unwrap().take().unwrap();
        left.restore().unwrap();
        let states = States::default();
        change(&path, 0, &world.bytes("another", 1000), &states);
        let client = world.client("owner");
        let again = put(&client, &path, &name).await.unwrap();
        world.note(format!("{name}: {again:?}"));
        assert_eq!(again.outcome, PutOutcome::Stored, "under another key");
        assert!(given.findings().is_empty(), "{:?}", given.findings());
        check(&client, &name, &fs::read(&path).unwrap()).await;
        client.close().await;
    }
}

async fn check(client: &Client, name: &str, data: &[u8]) {
    let what = Readable::Name(called(name));
    let read = client.get(&what, Sink::Memory, &GetOptions::default(), &Progress::silent()).await;
    assert!(read.unwrap().bytes.unwrap() == data, "{name}");
}
