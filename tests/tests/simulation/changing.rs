//! A file that changes while it is stored: at any byte of any pass, with its length and time as they were,
//! while nodes fail, the program is killed, and the next put comes from another device whose file of that
//! name, length and time may be another one. No place of any shard is ever given with two contents, and what
//! is stored in the end is one state of the file, whole.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use symbolon_client::{
    Client, ClientError, GetOptions, Progress, PutOptions, PutOutcome, PutReport, Readable,
    Replace, Sink, Source,
};
use symbolon_protocol::{content::Scheme, ledger::rows::Deals};
use symbolon_tests::{
    sim::{Trace, World, called},
    witness::Given,
};
use tokio::time::sleep;

/// Files that are stored, one after the other, and how often each put is disturbed at most.
const ROUNDS: usize = 6;
const TRIES: usize = 4;

/// Two batches of cells and a bit: a pass has read some when the first bytes arrive.
const LENGTH: u64 = 9_000_000;

const NODES: usize = 7;

fn options() -> PutOptions {
    let scheme = Some(Scheme::new(2, 3).unwrap());
    PutOptions {
        epochs: Some(60),
        least: Some(0),
        cost_max: None,
        scheme,
        replace: Replace::Refuse,
        keep: None,
    }
}

pub(super) async fn changing(seed: u64) -> Trace {
    let mut world = World::found(seed, NODES).await;
    world.client("owner").faucet().await.unwrap();
    let given = Given::default();
    for number in 0..NODES {
        world.kill_node(number).await;
        given.stand_in(&world, &world.stations[number]);
    }
    for round in 0..ROUNDS {
        disturbed(&mut world, &given, round).await;
    }
    for same in [true, false] {
        ended_elsewhere(&mut world, &given, same).await;
    }
    world.note(format!("{} bytes given, {} of them again", given.bytes(), given.twice()));
    assert!(given.twice() > 0, "something was given to a second node");
    world.finish().await
}

/// A file of this device, with the time that all of its name have.
pub(super) fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    set_time(&File::open(path).unwrap());
}

fn set_time(file: &File) {
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
}

/// Changes some bytes of a file in its place, and nothing else of it that can be set back.
pub(super) fn change(path: &Path, at: u64, bytes: &[u8], states: &States) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let changed_at = || {
        let data = file.metadata().unwrap();
        (data.ctime(), data.ctime_nsec())
    };
    let before = changed_at();
    // The system's clock has ticks: what is written within one is not seen to change anything.
    while changed_at() == before {
        file.write_all_at(bytes, at).unwrap();
        set_time(&file);
    }
    states.lock().unwrap().insert(blake3::hash(&fs::read(path).unwrap()).into());
}

/// What a file was at any time.
pub(super) type States = Arc<Mutex<BTreeSet<[u8; 32]>>>;

struct Round<'a> {
    world: &'a mut World,
    given: &'a Given,
    name: String,
    states: States,
}

async fn disturbed(world: &mut World, given: &Given, number: usize) {
    let name = format!("changing {number}");
    let mut round = Round { world, given, name, states: States::default() };
    let content = round.world.bytes(&round.name, LENGTH);
    round.states.lock().unwrap().insert(blake3::hash(&content).into());
    for device in ["owner", "phone"] {
        write(&round.path(device), &content);
    }
    let mut stored = false;
    for attempt in 0..TRIES {
        let device = ["owner", "phone"][round.dice(attempt, "device", 2)];
        stored = round.put_disturbed(attempt, device).await;
        round.check_given();
        if stored {
            break;
        }
    }
    // The file is left alone now; a change during the last try is reported once.
    given.nothing_more();
    let client = round.device("phone").await;
    let mut tries = 0;
    while !stored {
        let ended = put(&client, &round.path("phone"), &round.name).await;
        stored = ended.is_ok();
        round.world.note(format!("{} undisturbed: {ended:?}", round.name));
        tries += 1;
        assert!(tries < 3, "what does not change any more is stored");
    }
    round.check_given();
    let (what, whole) = (Readable::Name(called(&round.name)), GetOptions::default());
    let read = client.get(&what, Sink::Memory, &whole, &Progress::silent()).await.unwrap();
    let read: [u8; 32] = blake3::hash(&read.bytes.unwrap()).into();
    assert!(round.states.lock().unwrap().contains(&read), "{} is one state of it", round.name);
    client.publish_names(None, &Progress::silent()).await.unwrap();
    client.close().await;
    round.world.audit().await;
}

/// All of an upload stands on the ledger when its device dies. Another one whose file is the same ends it, and
/// sends nothing; one whose file only has the same length and time stores its own.
async fn ended_elsewhere(world: &mut World, given: &Given, same: bool) {
    let name = format!("ended elsewhere {same}");
    let path = |world: &World, device: &str| world.folder().join("files").join(device).join(&name);
    let content = world.bytes(&name, LENGTH);
    write(&path(world, "owner"), &content);
    let mut other = content.clone();
    other[5_000_000] ^= u8::from(!same);
    write(&path(world, "phone"), &other);
    let ledger = world.ledger();
    let deals = async || ledger.scan(Deals, &[], None, 1000).await.unwrap().len();
    let before = deals().await;
    let owner = world.device("owner", "owner");
    let (there, own) = (path(world, "owner"), name.clone());
    let putting = tokio::spawn(async move { put(&owner, &there, &own).await });
    while deals().await == before {
        assert!(!putting.is_finished(), "it is cut off before it ends");
        sleep(Duration::from_millis(1)).await;
    }
    putting.abort();
    world.kill_client("owner").await;
    let owner = world.device("owner", "owner");
    owner.publish_names(None, &Progress::silent()).await.unwrap();
    owner.close().await;

    let phone = world.device("owner", "phone");
    phone.pull_names(&Progress::silent()).await.unwrap();
    let sent = given.bytes();
    let stored = put(&phone, &path(world, "phone"), &name).await.unwrap();
    world.note(format!("{name}: {stored:?}"));
    let expected = if same { PutOutcome::Resumed } else { PutOutcome::Stored };
    assert_eq!(stored.outcome, expected);
    assert_eq!(given.bytes() == sent, same, "what is paid for is not sent again");
    assert!(given.findings().is_empty(), "{:?}", given.findings());
    let (what, whole) = (Readable::Name(called(&name)), GetOptions::default());
    let read = phone.get(&what, Sink::Memory, &whole, &Progress::silent()).await.unwrap();
    assert!(read.bytes.unwrap() == other, "{name}");
    phone.publish_names(None, &Progress::silent()).await.unwrap();
    phone.close().await;
    world.audit().await;
}

pub(super) async fn put(
    client: &Client,
    path: &Path,
    name: &str,
) -> Result<PutReport, ClientError> {
    client.put(Source::File(path.to_owned()), &called(name), &options(), &Progress::silent()).await
}

impl Round<'_> {
    fn path(&self, device: &str) -> PathBuf {
        self.world.folder().join("files").join(device).join(&self.name)
    }

    fn dice(&self, attempt: usize, what: &str, below: u64) -> usize {
        let what = format!("{} {attempt} {what}", self.name);
        usize::try_from(self.world.dice(&what, below)).unwrap()
    }

    async fn device(&mut self, device: &str) -> Client {
        let client = self.world.device("owner", device);
        client.pull_names(&Progress::silent()).await.unwrap();
        client
    }

    fn check_given(&self) {
        let findings = self.given.findings();
        assert!(findings.is_empty(), "{} findings: {}", findings.len(), findings[0]);
    }

    /// A put during which the file changes, a node fails, and the program may be killed. Says whether it
    /// came through.
    async fn put_disturbed(&mut self, attempt: usize, device: &str) -> bool {
        let client = self.device(device).await;
        let all = 3 * LENGTH / 2;
        let (path, name) = (self.path(device), self.name.clone());
        self.given.nothing_more();
        for node in 0..self.dice(attempt, "failing nodes", 3) {
            let (given, failing) = (self.given.clone(), self.dice(attempt, "which", NODES as u64));
            let id = self.world.stations[(failing + node) % NODES].id;
            let at = self.dice(attempt, &format!("fails {node}"), all);
            self.given.after(at as u64, Box::new(move || given.fail(id)));
        }
        if self.dice(attempt, "changes", 3) > 0 {
            let at = self.dice(attempt, "changes at", all + all / 4) as u64;
            let place = self.dice(attempt, "place", LENGTH - 100_000) as u64;
            let bytes = self.world.bytes(&format!("{name} {attempt} change"), 100_000);
            let (path, states) = (path.clone(), self.states.clone());
            self.given.after(at, Box::new(move || change(&path, place, &bytes, &states)));
        }
        let killed = Arc::new(AtomicBool::new(false));
        if self.dice(attempt, "killed", 3) > 0 {
            let at = self.dice(attempt, "killed at", all) as u64;
            let killed = killed.clone();
            let act = move || killed.store(true, Ordering::Relaxed);
            self.given.after(at, Box::new(act));
        }
        let putting = tokio::spawn(async move { (put(&client, &path, &name).await, client) });
        while !putting.is_finished() && !killed.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(1)).await;
        }
        let ended = if putting.is_finished() {
            let (ended, client) = putting.await.unwrap();
            self.given.nothing_more();
            // What a put that failed does in the end.
            client.publish_names(None, &Progress::silent()).await.unwrap();
            client.close().await;
            ended.map_err(|error| error.to_string())
        } else {
            putting.abort();
            self.world.kill_client("owner").await;
            Err("killed".into())
        };
        self.world.note(format!("{} on {device}: {ended:?}", self.name));
        ended.is_ok()
    }
}
