//! A device of the identity publishes false names: its program has a fault, or an attacker uses it. The other
//! devices can open the record, because it is sealed with the identity's own key. They still refuse what does not
//! fit: a range outside its object, a content root of other bytes, a run whose parts are out of order or hold other
//! rows than it says. And a device that keeps changing an unreadable record does not keep the others trying for ever.

use std::{
    collections::BTreeSet,
    fs,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use symbolon_client::{
    Client, ClientError, FolderOptions, GetOptions, Progress, Readable, SellOptions, Sink, Source,
};
use symbolon_protocol::{
    Amount,
    content::{FileKey, Manifest},
    id::{Hash, ObjectId, TransactionId},
    ledger::{
        Status,
        rows::{Listings, Root, Roots, Table},
        transaction::{Action, Transaction},
    },
    names::{Change, Part, Place, RootRecord, Run, encode_run, open, seal},
    wire::ledger::Request,
};
use symbolon_tests::{
    between::LedgerTwist,
    sim::{Trace, World, called, derive},
};

use super::{put_options, sell_options};

const PRICE: Amount = Amount(1_000_000_001);
const LENGTH: u64 = 100_000;

/// Small files that share a pack, and bytes of each: two of them are more than half of it.
const FILES: usize = 3;
const FILE_BYTES: u64 = 300_000;

/// More records than are published while one is read three times.
const PUBLICATIONS: u64 = 400;

pub(super) async fn rows(seed: u64) -> Trace {
    // An answer takes longer than the ledger takes for a block: what is asked twice may have changed meanwhile.
    let mut world = World::found_apart(seed, 8, 10..=15).await;
    let owner = world.device("owner", "desk");
    owner.faucet().await.unwrap();
    put(&world, &owner, "file").await;
    tell(&owner).await;
    let truth = record(&world, "owner").await;
    let stat = owner.stat(&called("file")).await.unwrap();
    let (object, root) = (stat.file.object, stat.content_root);
    ranges(&mut world, &truth, &object).await;
    content_root(&mut world, &truth, (&object, &root)).await;
    let part = runs(&mut world, &owner, &truth).await;
    owner.close().await;
    for changes in [false, true] {
        again_and_again(&mut world, &part, changes).await;
    }
    packed(&mut world).await;
    world.finish().await
}

async fn put(world: &World, client: &Client, name: &str) {
    let source = Source::Bytes(world.bytes(name, LENGTH).into());
    client.put(source, &called(name), &put_options(300), &Progress::silent()).await.unwrap();
}

async fn tell(client: &Client) {
    client.publish_names(None, &Progress::silent()).await.unwrap();
}

async fn get(client: &Client, name: &str) -> Result<Vec<u8>, ClientError> {
    let (name, all) = (Readable::Name(called(name)), GetOptions::default());
    let got = client.get(&name, Sink::Memory, &all, &Progress::silent()).await?;
    Ok(got.bytes.unwrap())
}

async fn row(world: &World, who: &str) -> Root {
    let account = world.identity(who).account();
    world.ledger().row(Roots, &account).await.unwrap().unwrap()
}

fn place(world: &World, who: &str, version: u64) -> Place {
    Place { chain: world.ledger().chain(), account: world.identity(who).account(), version }
}

/// What the ledger has of somebody's names.
async fn record(world: &World, who: &str) -> RootRecord {
    let Root { version, blob } = row(world, who).await;
    open(&world.identity(who).names_key(), &place(world, who, version), &blob).unwrap()
}

/// Publishes a record as a device of the identity would.
async fn forge(world: &World, who: &str, mut record: RootRecord) {
    let (identity, ledger) = (world.identity(who), world.ledger());
    let expected_version = row(world, who).await.version;
    record.mark(7, expected_version);
    let nonce = derive(expected_version, "nonce")[..24].try_into().unwrap();
    let place = place(world, who, expected_version + 1);
    let blob = seal(&identity.names_key(), &place, &record, &nonce).unwrap();
    let until = ledger.head().await.unwrap().header.height + 100;
    let id = TransactionId(derive(expected_version, "forged")[..16].try_into().unwrap());
    let action = Action::SetRoot { expected_version, blob };
    let set = Transaction::build(ledger.chain(), &identity.account_key(), id, until, action);
    assert_eq!(ledger.submit(set).await.unwrap().status, Status::Applied);
}

/// A device that knows nothing yet.
fn device(world: &mut World, who: &str, name: &str) -> Client {
    world.device_beside(who, &format!("{who}, {name}"))
}

/// Where some bytes lie in a row that has them, and that row.
fn find<'a>(record: &'a mut RootRecord, key: &[u8], wanted: &[u8]) -> (&'a mut Vec<u8>, usize) {
    let rows = record.tail.iter_mut().filter(|change| change.key == key);
    let mut found = rows.filter_map(|change| {
        let value = change.value.as_mut()?;
        let at = value.windows(wanted.len()).position(|bytes| bytes == wanted)?;
        Some((value, at))
    });
    let only = found.next().expect("the record has that row");
    assert!(found.next().is_none(), "and no other");
    only
}

/// Lets a name stand for a range of its object that begins elsewhere.
fn begin_at(record: &mut RootRecord, name: &str, object: &ObjectId, first: u64) {
    let (value, at) = find(record, name.as_bytes(), &object.0);
    let first_at = at + object.0.len();
    value[first_at..first_at + 8].copy_from_slice(&first.to_le_bytes());
}

fn not_in_it(error: &ClientError) -> bool {
    matches!(error, ClientError::Index(why) if why.contains("lies outside its object"))
}

/// A name stands for bytes that its object does not have.
async fn ranges(world: &mut World, truth: &RootRecord, object: &ObjectId) {
    for (number, first) in [1, LENGTH, u64::MAX].into_iter().enumerate() {
        let mut forged = truth.clone();
        begin_at(&mut forged, "file", object, first);
        forge(world, "owner", forged).await;
        let told = device(world, "owner", &format!("range {number}"));
        told.pull_names(&Progress::silent()).await.unwrap();
        let error = get(&told, "file").await.unwrap_err();
        world.note(format!("a range from {first}: {error}"));
        assert!(not_in_it(&error), "{error:?}");
        told.close().await;
    }
}

/// The content root of a file is another one: it is not listed, for no leaf list leads to that root.
async fn content_root(world: &mut World, truth: &RootRecord, (object, root): (&ObjectId, &Hash)) {
    let mut forged = truth.clone();
    let (value, at) = find(&mut forged, &object.0, &root.0);
    value[at..at + root.0.len()].copy_from_slice(&[7; 32]);
    forge(world, "owner", forged).await;
    let told = device(world, "owner", "root");
    told.pull_names(&Progress::silent()).await.unwrap();
    let options = SellOptions { preview_cells: 1, ..sell_options("File", PRICE) };
    let error = told.sell(&called("file"), &options, &Progress::silent()).await.unwrap_err();
    world.note(format!("another content root: {error}"));
    assert!(matches!(error, ClientError::Corrupt { .. }), "{error:?}");
    assert!(told.listing_ids().await.unwrap().is_empty(), "nothing is listed");
    assert!(world.ledger().scan(Listings, &[], None, 1).await.unwrap().is_empty());
    told.close().await;
}

/// Stores changes as a part of a run, and publishes nothing.
async fn part(world: &World, owner: &Client, number: usize, changes: &[Change]) -> Part {
    let (name, friend) = (format!("part {number}"), world.identity("friend"));
    let source = Source::Bytes(encode_run(changes).into());
    owner.put(source, &called(&name), &put_options(300), &Progress::silent()).await.unwrap();
    let to = friend.recipient();
    let shared = owner.share(&called(&name), &to, Vec::new(), None, &Progress::silent()).await;
    let token = shared.unwrap();
    let key = FileKey::from_bytes(*token.open(&friend.wrap_secret()).unwrap());
    Part { key, manifest: token.manifest }
}

/// Rows are taken from a run whose parts follow one another and hold as many as it says, and from no other.
async fn runs(world: &mut World, owner: &Client, truth: &RootRecord) -> Part {
    let (one, other) = truth.tail.split_at(1);
    assert!(!other.is_empty());
    let parts = [part(world, owner, 0, one).await, part(world, owner, 1, other).await];
    let [one, other] = &parts;
    let count = truth.tail.len() as u64;
    let end = world.epoch().await + 100;
    let cases = [
        ("whole", vec![one, other], count, None),
        ("turned round", vec![other, one], count, Some("its parts are not in order")),
        ("twice", vec![one, one, other], count + 1, Some("its parts are not in order")),
        ("fewer", vec![one, other], count - 1, Some("it has another number of rows")),
        ("more", vec![one, other], count + 1, Some("it has another number of rows")),
    ];
    for (what, parts, entries, why) in cases {
        let parts = parts.into_iter().cloned().collect();
        let runs = vec![Run { end, entries, parts }];
        forge(world, "owner", RootRecord { runs, tail: Vec::new(), ..truth.clone() }).await;
        let told = device(world, "owner", &format!("run {what}"));
        let pulled = told.pull_names(&Progress::silent()).await;
        world.note(format!("a run, {what}: {pulled:?}"));
        match why {
            None => {
                pulled.unwrap();
                assert!(get(&told, "file").await.unwrap() == world.bytes("file", LENGTH));
            }
            Some(why) => {
                let error = pulled.unwrap_err();
                let said = matches!(&error, ClientError::Index(said) if said.contains(why));
                assert!(said, "{what}: {error:?}");
                assert!(told.names(None, false).await.unwrap().is_empty(), "{what}");
            }
        }
        told.close().await;
    }
    one.clone()
}

/// A record whose run is not there. Where it stays as it is, it is read once. Where it is another one each time,
/// its runs may have been merged meanwhile: it is read again, and not for ever.
async fn again_and_again(world: &mut World, part: &Part, changes: bool) {
    let lost = |number: u64| {
        let key = FileKey::from_bytes(derive(number, "a key of nothing that is stored"));
        let (layout, root) = (part.manifest.layout().unwrap(), part.manifest.content_root);
        let manifest = Manifest::new(&key, part.manifest.mask, &layout, root);
        let runs = vec![Run { end: u64::MAX, entries: 1, parts: vec![Part { key, manifest }] }];
        RootRecord { runs, ..RootRecord::default() }
    };
    forge(world, "owner", lost(0)).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, key) = (asked.clone(), Roots::key(&world.identity("owner").account()));
    let counts: LedgerTwist = Arc::new(move |request, answer| {
        if matches!(request, Request::Rows { keys } if *keys == [key.clone()]) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        answer
    });
    let ticket = world.lying_ledger(&format!("a ledger that counts, {changes}"), counts);
    let told = world.device_told("owner", &format!("owner, again {changes}"), ticket);
    let quiet = Progress::silent();
    let others = async {
        if !changes {
            pending::<()>().await;
        }
        for number in 1..=PUBLICATIONS {
            forge(world, "owner", lost(number)).await;
        }
    };
    let error = tokio::select! {
        biased;
        pulled = told.pull_names(&quiet) => pulled.unwrap_err(),
        () = others => panic!("after {PUBLICATIONS} records it still reads"),
    };
    let asked = asked.load(Ordering::Relaxed);
    world.note(format!("a run that is not there, changing {changes}: {asked} looks, {error}"));
    // One look to see whether there is anything new, and then two for every time that it is read.
    assert_eq!(asked, if changes { 7 } else { 3 });
    told.close().await;
}

/// A name stands for bytes outside its pack. Removing the others would compact the pack. The command fails with an error
/// that says why it cannot.
async fn packed(world: &mut World) {
    let folder = world.folder().join("small");
    fs::create_dir_all(&folder).unwrap();
    for number in 0..FILES {
        let bytes = world.bytes(&format!("small {number}"), FILE_BYTES);
        super::changing::write(&folder.join(number.to_string()), &bytes);
    }
    // Times are stored too, and a seed decides everything.
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::open(&folder).unwrap().set_modified(time).unwrap();
    let packer = world.device("packer", "packer");
    packer.faucet().await.unwrap();
    let to = called("box");
    let plan = packer.plan_folder(&folder, Some(&to), &FolderOptions::default()).await.unwrap();
    let options = put_options(300);
    let quote = packer.quote_folder(&plan, &options).await.unwrap();
    let stored = packer.store_folder(plan, &quote, &options, &Progress::silent()).await.unwrap();
    assert_eq!((stored.files, stored.packs), (FILES as u64, 1));
    tell(&packer).await;
    let objects: BTreeSet<_> =
        packer.list().await.unwrap().into_iter().map(|file| file.object).collect();
    packer.close().await;
    let [pack] = objects.into_iter().collect::<Vec<_>>()[..] else { panic!("there is one pack") };

    let truth = record(world, "packer").await;
    let mut forged = truth.clone();
    begin_at(&mut forged, "box/0", &pack, FILES as u64 * FILE_BYTES);
    forge(world, "packer", forged).await;
    let told = device(world, "packer", "compacts");
    told.pull_names(&Progress::silent()).await.unwrap();
    let names = [called("box/1"), called("box/2")];
    let error = told.remove(&names, false, &Progress::silent()).await.unwrap_err();
    world.note(format!("a pack that cannot be compacted: {error}"));
    assert!(not_in_it(&error), "{error:?}");
    told.close().await;
    // What was there before it was touched is there.
    forge(world, "packer", truth).await;
    let told = device(world, "packer", "reads");
    told.pull_names(&Progress::silent()).await.unwrap();
    assert!(get(&told, "box/0").await.unwrap() == world.bytes("small 0", FILE_BYTES));
    told.close().await;
}
