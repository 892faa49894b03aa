//! Two devices of one identity that do not see one another at once. What one has begun the other ends, or
//! lets go; what one gave another name is found though the other stored it once more elsewhere; and what
//! one has removed is said to be lost, and stops nothing else.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use symbolon_client::{
    Client, ClientError, FolderOptions, GetOptions, NameKind, Pattern, Progress, PutOutcome,
    PutReport, Readable, Sink, Source,
};
use symbolon_protocol::ledger::rows::{DealState, Deals};
use symbolon_tests::sim::{Trace, World, called};
use tokio::time::sleep;

use super::{
    at_once::{at_once, lengths},
    put_options,
};

/// Files of the folder, and bytes of each: together a pack of 800 kB.
const FILES: usize = 40;
const FILE_BYTES: usize = 20_000;

pub(super) async fn devices(seed: u64) -> Trace {
    let mut world = World::found(seed, 8).await;
    let desk = desk(&mut world);
    desk.faucet().await.unwrap();
    tell(&desk).await;
    desk.close().await;
    lose(&mut world).await;
    compact(&mut world).await;
    begin_here_and_end_there(&mut world).await;
    begin_here_and_let_go_there(&mut world).await;
    end_what_was_finished_there(&mut world).await;
    told_while_it_goes_on(&mut world).await;
    at_once(&mut world).await;
    // A shard that was sent and not paid for is swept when a block is later than its acceptance and the grace.
    sleep(Duration::from_secs(140)).await;
    world.finish().await
}

fn desk(world: &mut World) -> Client {
    world.device("owner", "desk")
}

async fn phone(world: &mut World) -> Client {
    let phone = world.device("owner", "phone");
    phone.pull_names(&Progress::silent()).await.unwrap();
    phone
}

async fn tell(client: &Client) {
    client.publish_names(None, &Progress::silent()).await.unwrap();
}

/// The phone learns what the desk has; the desk again.
async fn both_know(world: &mut World, desk: Client) -> Client {
    tell(&desk).await;
    desk.close().await;
    phone(world).await.close().await;
    self::desk(world)
}

async fn put(client: &Client, name: &str, data: &[u8]) -> Result<PutReport, ClientError> {
    let source = Source::Bytes(data.to_vec().into());
    client.put(source, &called(name), &put_options(500), &Progress::silent()).await
}

pub(super) async fn get(client: &Client, name: &str) -> Result<Vec<u8>, ClientError> {
    let (name, options) = (Readable::Name(called(name)), GetOptions::default());
    let read = client.get(&name, Sink::Memory, &options, &Progress::silent()).await?;
    Ok(read.bytes.unwrap())
}

async fn remove(client: &Client, name: &str) -> symbolon_client::Removed {
    let names = client.select(&Pattern::whole(name.as_bytes()), false).await.unwrap().names;
    client.remove(&names, false, &Progress::silent()).await.unwrap()
}

/// One gives a file another name while the other removes it: what the later one does not know of counts.
async fn lose(world: &mut World) {
    let data = world.bytes("kept", 50_000);
    let desk = desk(world);
    for name in ["kept", "gone"] {
        put(&desk, name, &data).await.unwrap();
    }
    let desk = both_know(world, desk).await;
    // The new name is on the network before the other device lets the bytes go.
    desk.rename(&called(b"kept"), &called(b"still kept")).await.unwrap();
    tell(&desk).await;
    desk.rename(&called(b"gone"), &called(b"also gone")).await.unwrap();
    desk.close().await;
    let phone = world.device("owner", "phone");
    assert_eq!(remove(&phone, "kept").await.deals, 0, "another name stands for it by now");
    assert_eq!(remove(&phone, "gone").await.deals, 1);
    tell(&phone).await;
    assert!(get(&phone, "still kept").await.unwrap() == data);
    phone.close().await;

    let desk = self::desk(world);
    tell(&desk).await;
    assert!(get(&desk, "still kept").await.unwrap() == data);
    let error = get(&desk, "also gone").await.unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error}");
    let views = desk.names(None, false).await.unwrap();
    let lost = |kind: &NameKind| matches!(kind, NameKind::Lost { length: 50_000 });
    assert_eq!(views.iter().filter(|view| lost(&view.kind)).count(), 1, "{views:?}");
    assert_eq!(desk.list().await.unwrap().len(), 1, "the others are listed");
    assert_eq!(desk.usage(&Pattern::whole(b"")).await.unwrap().1.files, 1);
    put(&desk, "also gone", &data).await.unwrap();
    assert!(get(&desk, "also gone").await.unwrap() == data);
    remove(&desk, "still kept").await;
    remove(&desk, "also gone").await;
    tell(&desk).await;
    desk.close().await;
    world.audit().await;
}

async fn put_folder(client: &Client, root: &Path) {
    let plan =
        client.plan_folder(root, Some(&called("box")), &FolderOptions::default()).await.unwrap();
    let options = put_options(500);
    let quote = client.quote_folder(&plan, &options).await.unwrap();
    let stored = client.store_folder(plan, &quote, &options, &Progress::silent()).await.unwrap();
    assert_eq!((stored.files, stored.packs), (FILES as u64, 1));
}

/// Times are stored too, and a seed decides everything.
fn set_time(path: &Path) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

/// One compacts a pack while the other gives a file in it another name.
async fn compact(world: &mut World) {
    let folder = tempfile::tempdir().unwrap();
    let content =
        |world: &World, number: usize| world.bytes(&format!("small {number}"), FILE_BYTES as u64);
    for number in 0..FILES {
        let path = folder.path().join(format!("{number:02}"));
        fs::write(&path, content(world, number)).unwrap();
        set_time(&path);
    }
    set_time(folder.path());
    let desk = desk(world);
    put_folder(&desk, folder.path()).await;
    let desk = both_know(world, desk).await;
    desk.rename(&called(b"box/03"), &called(b"other")).await.unwrap();
    desk.close().await;

    let phone = world.device("owner", "phone");
    let before = phone.list().await.unwrap();
    let removed: Vec<_> = (10..FILES).map(|number| format!("box/{number:02}")).collect();
    let names: Vec<_> = removed.iter().map(called).collect();
    phone.remove(&names, false, &Progress::silent()).await.unwrap();
    tell(&phone).await;
    let after = phone.list().await.unwrap();
    assert_ne!(before[0].object, after[0].object, "the pack was compacted");
    phone.close().await;

    let desk = self::desk(world);
    tell(&desk).await;
    assert!(get(&desk, "other").await.unwrap() == content(world, 3));
    // What comes after finds it too: the pack it lies in stays, as long as somebody stands for it.
    let all: Vec<_> = (0..10).filter(|number| *number != 3).collect();
    for number in &all {
        assert!(get(&desk, &format!("box/{number:02}")).await.unwrap() == content(world, *number));
        remove(&desk, &format!("box/{number:02}")).await;
    }
    assert!(get(&desk, "other").await.unwrap() == content(world, 3));
    tell(&desk).await;
    desk.close().await;
    let phone = self::phone(world).await;
    assert!(get(&phone, "other").await.unwrap() == content(world, 3));
    remove(&phone, "other").await;
    remove(&phone, "box").await;
    assert!(phone.names(None, false).await.unwrap().is_empty());
    tell(&phone).await;
    phone.close().await;
    world.audit().await;
    let deals = world.ledger().scan(Deals, &[], None, 1000).await.unwrap();
    let open = |state| state == DealState::Open;
    let live = deals.iter().filter(|(_, deal)| open(deal.state)).count();
    let desk = self::desk(world);
    desk.pull_names(&Progress::silent()).await.unwrap();
    let index = desk.index().await.unwrap();
    world.note(format!("{live} deals live of {}, {index:?}", deals.len()));
    assert_eq!(live, index.runs, "nothing is paid for but the index");
}

/// Begins a put and kills the program when its deal is open.
async fn begin(world: &mut World, name: &str, data: &[u8]) {
    let ledger = world.ledger();
    let before = ledger.scan(Deals, &[], None, 1000).await.unwrap().len();
    let (desk, bytes, own) = (desk(world), data.to_vec(), name.to_owned());
    let putting = tokio::spawn(async move { put(&desk, &own, &bytes).await });
    while ledger.scan(Deals, &[], None, 1000).await.unwrap().len() == before {
        assert!(!putting.is_finished(), "the put is cut off before it ends");
        sleep(Duration::from_millis(1)).await;
    }
    putting.abort();
    world.kill_client("owner").await;
    let desk = self::desk(world);
    assert_eq!(desk.unfinished().await.unwrap(), [name]);
    // What the next command does, and what a put does that is stopped with Ctrl-C.
    tell(&desk).await;
    desk.close().await;
    world.audit().await;
}

async fn begin_here_and_end_there(world: &mut World) {
    let data = world.bytes("begun", 300_000);
    let opened = world.auditor.deals_opened();
    begin(world, "begun", &data).await;
    let phone = phone(world).await;
    assert_eq!(phone.unfinished().await.unwrap(), ["begun"]);
    let stored = put(&phone, "begun", &data).await.unwrap();
    world.note(format!("ended there: {stored:?}"));
    assert_eq!(stored.outcome, PutOutcome::Resumed);
    assert!(phone.unfinished().await.unwrap().is_empty());
    tell(&phone).await;
    phone.close().await;
    world.audit().await;
    assert_eq!(world.auditor.deals_opened(), opened + 1, "one deal, and one bill");

    // The device that began it has nothing left to do, and lets nothing go that is stored.
    let desk = desk(world);
    desk.pull_names(&Progress::silent()).await.unwrap();
    assert!(desk.unfinished().await.unwrap().is_empty());
    assert_eq!(put(&desk, "begun", &data).await.unwrap().outcome, PutOutcome::Already);
    assert!(matches!(put(&desk, "begun", b"other").await, Err(ClientError::Exists { .. })));
    assert!(get(&desk, "begun").await.unwrap() == data);
    tell(&desk).await;
    desk.close().await;
}

/// One device lets an upload go, in either way there is, that another one has finished meanwhile. What the
/// other calls stored stays stored, also where this one stores something else under its name.
async fn end_what_was_finished_there(world: &mut World) {
    for (name, by_put) in [("removed late", false), ("put otherwise late", true)] {
        let data = world.bytes(name, 300_000);
        begin(world, name, &data).await;
        let phone = phone(world).await;
        assert_eq!(put(&phone, name, &data).await.unwrap().outcome, PutOutcome::Resumed);
        tell(&phone).await;
        phone.close().await;
        // It was not told.
        let desk = desk(world);
        assert_eq!(desk.unfinished().await.unwrap(), [name]);
        let mut expected = BTreeSet::from([data.len() as u64]);
        if by_put {
            let stored = put(&desk, name, b"something else").await.unwrap();
            assert_eq!(stored.outcome, PutOutcome::Stored);
            expected.insert(14);
        } else {
            assert_eq!(remove(&desk, name).await.deals, 0, "it ends nothing that is a file by now");
        }
        assert!(desk.unfinished().await.unwrap().is_empty());
        tell(&desk).await;
        desk.close().await;
        for device in ["desk", "phone"] {
            let client = world.device("owner", device);
            client.pull_names(&Progress::silent()).await.unwrap();
            assert_eq!(lengths(&client, name).await, expected, "{name} on the {device}");
            let versions = client.versions(&called(name)).await.unwrap();
            let whole = versions.iter().find(|version| version.length == Some(300_000)).unwrap();
            let what = Readable::Version(called(name), whole.number);
            let (all, silent) = (GetOptions::default(), Progress::silent());
            let got = client.get(&what, Sink::Memory, &all, &silent).await.unwrap();
            assert!(got.bytes.unwrap() == data, "{name} on the {device}");
            client.close().await;
        }
        world.audit().await;
    }
}

async fn begin_here_and_let_go_there(world: &mut World) {
    let data = world.bytes("given up", 300_000);
    begin(world, "given up", &data).await;
    let phone = phone(world).await;
    let removed = remove(&phone, "given up").await;
    assert_eq!((removed.uploads, removed.deals), (1, 1));
    assert!(removed.refunded.0 > 0, "{removed:?}");
    assert!(phone.unfinished().await.unwrap().is_empty());
    tell(&phone).await;
    phone.close().await;
    let desk = desk(world);
    desk.pull_names(&Progress::silent()).await.unwrap();
    let again = put(&desk, "given up", &data).await.unwrap();
    assert_eq!(again.outcome, PutOutcome::Stored, "what was let go is begun anew");
    assert!(get(&desk, "given up").await.unwrap() == data);
    tell(&desk).await;
    desk.close().await;
    world.audit().await;
}

/// Nodes that hang let a put wait, and it tells the other devices while it does.
async fn told_while_it_goes_on(world: &mut World) {
    let data = world.bytes("long", 300_000);
    let desk = desk(world);
    // From the moment the nodes are chosen, connections to them are accepted and never answered.
    let silent = Arc::new(Mutex::new(Vec::new()));
    let (network, taking) = (world.network.clone(), silent.clone());
    let secrets: Vec<_> = world.stations.iter().take(4).map(|station| station.secret).collect();
    let progress = Progress::new(move |step| {
        if matches!(step, symbolon_client::Step::Planned { .. }) {
            let mut taking = taking.lock().unwrap();
            if taking.is_empty() {
                taking.extend(secrets.iter().map(|secret| network.endpoint(*secret)));
            }
        }
    });
    let (bytes, source) = (data.clone(), desk.clone());
    let putting = tokio::spawn(async move {
        let source_bytes = Source::Bytes(bytes.into());
        source.put(source_bytes, &called("long"), &put_options(500), &progress).await
    });
    sleep(Duration::from_secs(15)).await;
    assert_eq!(silent.lock().unwrap().len(), 4);
    assert!(!putting.is_finished(), "it waits for the nodes");
    putting.abort();
    world.kill_client("owner").await;
    drop((silent, desk));
    for number in 0..4 {
        world.kill_node(number).await;
        world.start_node(number).await;
    }
    let phone = phone(world).await;
    assert_eq!(phone.unfinished().await.unwrap(), ["long"]);
    let stored = put(&phone, "long", &data).await.unwrap();
    world.note(format!("told while it went on: {stored:?}"));
    assert_eq!(stored.outcome, PutOutcome::Resumed);
    assert!(get(&phone, "long").await.unwrap() == data);
    tell(&phone).await;
    phone.close().await;
    world.audit().await;
}
