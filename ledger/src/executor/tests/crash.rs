//! Crashes of the machine under the real engine: of what was not synced the disk has kept any part, and the ledger goes
//! on from its last acknowledged block.
//!
//! Each seed is a chain of lives. In a life the engine works on a [`Disk`] that notes all operations. The test then
//! rebuilds, for many moments of the life, a file that a crash at this moment could leave, and opens it. One of these
//! files begins the next life. `SYMBOLON_SEED=7` runs one seed only, `SYMBOLON_SEEDS=100` so many.

mod disk;
#[path = "../../../tests/engine/common/shards.rs"]
mod shards;
mod work;

use std::sync::{Mutex, PoisonError};

use redb::TableDefinition;
use symbolon_protocol::{
    Millis,
    ledger::{rows::SeenTable, sheet, state::StateExt as _},
};
use tokio::task::JoinHandle;

use super::*;
use crate::serve::Engine as _;
use disk::Disk;
use work::{Answered, Work};

/// Seeds that are run when nothing else is asked for.
const SEEDS: u64 = 3;
/// Lives of a seed: the first begins with an empty disk, each other one after a crash.
const LIVES: usize = 6;
/// Crashes that are tried after each life.
const CRASHES: usize = 30;
/// What is done in a life.
const STEPS: usize = 25;
const START_MS: u64 = 1_000_000;
const EPOCH_MS: u64 = 10_000;
/// Epochs before the current one whose blocks are kept: few, so that blocks go in every life.
const KEPT: u64 = 1;

/// A random number below `limit`.
fn below(host: &Host, limit: u64) -> u64 {
    u64::from_le_bytes(host.random()) % limit
}

/// A committed block, and what the file held after it.
#[derive(Clone)]
struct Committed {
    /// How many operations the disk had done when followers saw the block.
    after: usize,
    block: Block,
    contents: Hash,
}

/// What one life has done.
struct Life {
    disk: Disk,
    /// The first moment at which a crash leaves a file: one that is not created whole has no name yet.
    created: usize,
    /// Of this life and of those before it, from the genesis on.
    blocks: Vec<Committed>,
    answered: Vec<Answered>,
}

fn opened(disk: &Disk) -> Database {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).create_with_backend(disk.clone()).unwrap()
}

async fn start(database: Database, host: &Host) -> Embedded {
    let params = Params { epoch_ms: Millis(EPOCH_MS), faucet_blocks: 3, ..Params::development() };
    let options = Options { key: KEY, params, host: host.clone() };
    Embedded::start(File(database), options, KEPT, None).await.unwrap()
}

/// A hash over all tables of a file.
fn contents(read: &ReadTransaction) -> Hash {
    let mut hasher = blake3::Hasher::new();
    add(&mut hasher, read, rows::ROWS);
    add(&mut hasher, read, rows::HISTORY);
    add(&mut hasher, read, META);
    add(&mut hasher, read, BLOCKS);
    add(&mut hasher, read, prune::EPOCHS);
    Hash(hasher.finalize().into())
}

fn add<K: redb::Key + 'static, V: redb::Value + 'static>(
    hasher: &mut blake3::Hasher,
    read: &ReadTransaction,
    table: TableDefinition<'_, K, V>,
) {
    for entry in read.open_table(table).unwrap().iter().unwrap() {
        let (key, value) = entry.unwrap();
        let (key, value) = (key.value(), value.value());
        let (key, value) = (K::as_bytes(&key), V::as_bytes(&value));
        for part in [key.as_ref(), value.as_ref()] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
    }
}

/// Notes each block from `height` on as soon as it is committed.
fn watch_blocks(
    embedded: &Embedded,
    height: u64,
    disk: &Disk,
) -> (Arc<Mutex<Vec<Committed>>>, JoinHandle<()>) {
    let (mut follow, replica) = (Ledger::from(embedded.clone()).follow(height), embedded.replica());
    let (replica, disk) = (replica.clone(), disk.clone());
    let noted = Arc::<Mutex<Vec<Committed>>>::default();
    let seen = noted.clone();
    let task = tokio::spawn(async move {
        while let Ok(block) = follow.next().await {
            let after = disk.operations();
            let read = |read: &ReadTransaction| Ok((blocks::last_header(read)?, contents(read)));
            let (head, contents) = replica.read(read).await.unwrap();
            assert_eq!(head, block.header, "each block is seen before the next one is committed");
            let committed = Committed { after, block, contents };
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(committed);
        }
    });
    (noted, task)
}

impl Life {
    /// Works on a file from its last block on. `blocks` are those that it holds.
    async fn live(file: Vec<u8>, mut blocks: Vec<Committed>, host: &Host) -> Self {
        for committed in &mut blocks {
            committed.after = 0;
        }
        let is_new = file.is_empty();
        let disk = Disk::new(file);
        let database = opened(&disk);
        let created = if is_new { disk.operations() } else { 0 };
        let embedded = start(database, host).await;
        let next = blocks.last().map_or(0, |last| last.block.header.header.height + 1);
        let (noted, task) = watch_blocks(&embedded, next, &disk);
        let (ledger, host) = (Ledger::from(embedded.clone()), host.clone());
        let mut work = Work { ledger, host, disk: disk.clone(), answered: Vec::new() };
        work.run(STEPS).await;
        let Work { ledger, answered, .. } = work;
        drop(ledger);
        embedded.close().await;
        task.await.unwrap();
        blocks.append(&mut noted.lock().unwrap_or_else(PoisonError::into_inner));
        Self { disk, created, blocks, answered }
    }

    /// A moment to crash at: often right after an answer.
    fn moment(&self, host: &Host) -> usize {
        let number = usize::try_from(below(host, 1 << 32)).unwrap();
        match below(host, 3) {
            0 => self.answered[number % self.answered.len()].after,
            _ => self.created + number % (self.disk.operations() + 1 - self.created),
        }
    }

    /// Checks that the ledger on a file is the one that a crash at a moment must leave. Returns the blocks that it holds.
    async fn check(&self, file: Vec<u8>, moment: usize, host: &Host) -> Vec<Committed> {
        let mut pages = opened(&Disk::new(file.clone()));
        assert!(pages.check_integrity().unwrap(), "the pages and their lists are whole");
        let embedded = start(opened(&Disk::new(file)), host).await;
        let replica = embedded.replica();
        let head = replica.head().await.unwrap();
        let before = |committed: &&Committed| committed.after <= moment;
        let returned = self.blocks.iter().take_while(before).count();
        let Some(oldest) = self.blocks.first().filter(|_| 0 < returned) else {
            // The genesis was not committed: it may be made anew.
            assert_eq!(head.header.height, 0);
            embedded.close().await;
            return Vec::new();
        };
        let first = oldest.block.header.header.height;
        let count = usize::try_from(head.header.height + 1 - first).unwrap();
        assert!((returned..=returned + 1).contains(&count), "{returned} blocks, and not {count}");
        let held = &self.blocks[..count];
        let last = held.last().unwrap();
        assert_eq!(head, last.block.header);
        assert_eq!(replica.read(|read| Ok(contents(read))).await.unwrap(), last.contents);

        self.check_rows(&embedded, count, moment).await;
        self.go_on(&embedded, &head, moment).await;
        embedded.close().await;
        held.to_vec()
    }

    /// Checks money, acknowledged transactions and the state root, and that the next block follows from these rows.
    async fn check_rows(&self, embedded: &Embedded, count: usize, moment: usize) {
        let header = self.blocks[count - 1].block.header.header.clone();
        let next = self.blocks.get(count).map(|next| next.block.clone());
        let acknowledged = self.acknowledged(moment);
        let due = acknowledged.filter(|one| header.height <= one.transaction.valid_until);
        let due: Vec<_> = due.map(|one| (one.transaction.clone(), one.outcome.height)).collect();
        let look = move |rows: &Rows| {
            assert!(sheet(rows).unwrap().balanced());
            assert_eq!(tree::root(rows), header.state_root);
            for (transaction, height) in due {
                let seen = rows.get(SeenTable, &(transaction.sender, transaction.id)).unwrap();
                assert_eq!((seen.digest, seen.height), (transaction.digest(), height));
            }
            if let Some(Block { header, transactions, .. }) = next {
                let replayed = execute::replay(rows, &header.header.facts, &transactions).unwrap();
                assert_eq!(replayed.state_root, header.header.state_root);
            }
            Ok(())
        };
        embedded.replica().with_rows(look).await.unwrap();
    }

    /// Checks that the engine knows what it has acknowledged, and makes the next block.
    async fn go_on(&self, embedded: &Embedded, head: &SignedHeader, moment: usize) {
        let ledger = Ledger::from(embedded.clone());
        let height = head.header.height;
        let mut follow = ledger.follow(height + 1);
        let last = self.acknowledged(moment).last();
        if let Some(last) = last.filter(|last| height < last.transaction.valid_until) {
            assert_eq!(ledger.submit(last.transaction.clone()).await.unwrap(), last.outcome);
        }
        let (key, id) = (work::key(99), TransactionId([9; 16]));
        let fresh = Transaction::build(ledger.chain(), &key, id, height + 100, Action::Faucet);
        assert_eq!(ledger.submit(fresh).await.unwrap().status, Status::Applied);
        let next = follow.next().await.unwrap().header;
        let validators = ledger.row(Chains, &()).await.unwrap().unwrap().validators;
        next.commit.verify(&next.header, &validators).unwrap();
        assert_eq!((next.header.height, next.header.parent), (height + 1, head.header.digest()));
    }

    /// What was applied, and answered before a moment.
    fn acknowledged(&self, moment: usize) -> impl Iterator<Item = &Answered> {
        let is_one =
            move |one: &&Answered| one.after <= moment && one.outcome.status == Status::Applied;
        self.answered.iter().filter(is_one)
    }
}

/// Runs the lives of one seed.
async fn lives(seed: u64) {
    let host = Host::seeded(seed, START_MS);
    let (mut file, mut blocks) = (Vec::new(), Vec::new());
    for number in 0..LIVES {
        let life = Life::live(file, blocks, &host).await;
        let applied = life.acknowledged(usize::MAX).count();
        assert!(STEPS / 2 < applied, "{applied} transactions were applied");
        (file, blocks) = (Vec::new(), Vec::new());
        for _ in 0..CRASHES {
            let moment = life.moment(&host);
            let crashed = life.disk.crashed(moment, &host);
            let held = life.check(crashed.clone(), moment, &host).await;
            // The ledger of the next life is the longest of these.
            if blocks.len() <= held.len() {
                (file, blocks) = (crashed, held);
            }
        }
        assert!(!blocks.is_empty(), "no crash of life {number} has left a ledger");
    }
    let database = opened(&Disk::new(file));
    let oldest = prune::oldest(&database.begin_read().unwrap()).unwrap();
    assert!(0 < oldest.height, "old blocks have gone");
}

fn seeds() -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse().expect(name));
    match number("SYMBOLON_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("SYMBOLON_SEEDS").unwrap_or(SEEDS)).collect(),
    }
}

#[test]
fn a_ledger_goes_on_after_any_crash() {
    for seed in seeds() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let run = AssertUnwindSafe(|| runtime.block_on(lives(seed)));
        if catch_unwind(run).is_err() {
            panic!("again: SYMBOLON_SEED={seed} cargo test -p symbolon-ledger any_crash");
        }
    }
}
