//! The executor: the file of a ledger, and what the rules make of the transactions that somebody ordered.
//!
//! It knows no queue, no clock and no key. A sequencer hands it a batch with the facts of its block, gets a
//! [`Draft`] back, seals that as a block, and has it committed: rows, block and history in one durable
//! transaction. Everybody else reads what is committed, through a [`Replica`].

mod blocks;
mod rows;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};
use symbolon_net::{Host, watch};
use symbolon_protocol::{
    codec::Encode,
    id::{AccountId, Hash},
    ledger::{
        Status,
        block::{Block, Facts, SignedHeader},
        execute::{self, BlockBuilder, Executed, Pushed},
        rows::{Chain, Chains},
        state::{State, StateExt, Update},
        transaction::Transaction,
        tree,
    },
    wire::ledger::{HistoryLine, HistoryPlace, ProvenRow},
};

use crate::{
    error::LedgerError,
    port::{Outcome, Snapshot},
};
use blocks::BLOCKS;
pub(crate) use blocks::Blocks;
pub(crate) use rows::Rows;
use rows::{META, Meta, disk};

/// A ledger's file that is open.
pub(crate) struct File(Database);

impl File {
    /// Opens the file in a folder. One that was let go of a moment ago, by an engine that is just stopping, is
    /// waited for.
    pub(crate) async fn open(host: &Host, folder: PathBuf) -> Result<Self, LedgerError> {
        for _ in 0..OPEN_ATTEMPTS {
            let folder = folder.clone();
            let opened = host.blocking(move || -> Result<_, LedgerError> {
                std::fs::create_dir_all(&folder).map_err(disk)?;
                let path = folder.join("ledger.redb");
                Ok(symbolon_store::open_database(&path, CACHE_BYTES))
            });
            match opened.await? {
                Ok(database) => return Ok(Self(database)),
                Err(redb::DatabaseError::DatabaseAlreadyOpen) => {
                    tokio::time::sleep(OPEN_PAUSE).await
                }
                Err(error) => return Err(disk(error)),
            }
        }
        Err(LedgerError::Disk("another process has this ledger open".into()))
    }

    /// Whether a ledger is in it.
    pub(crate) fn is_founded(&self) -> Result<bool, LedgerError> {
        let read = self.0.begin_read().map_err(disk)?;
        match read.open_table(BLOCKS) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
            Err(error) => Err(disk(error)),
            Ok(_) => Ok(true),
        }
    }

    /// Writes the genesis block, and the salt that keeps this ledger's onions apart from those of another.
    pub(crate) fn found(
        &self,
        genesis: &Block,
        update: &Update,
        salt: &[u8; 32],
    ) -> Result<(), LedgerError> {
        let meta: [(&str, &[u8]); 2] = [(Meta::VERSION, &[VERSION]), (Meta::SALT, salt)];
        rows::commit(&self.0, update, genesis, &meta)
    }

    /// What is in it, when this program can continue it.
    pub(crate) fn check(&self) -> Result<Found, LedgerError> {
        let damaged = |what: &str| LedgerError::Damaged(what.into());
        let read = self.0.begin_read().map_err(disk)?;
        let meta = read.open_table(META).map_err(disk)?;
        let version = ReadableTable::get(&meta, Meta::VERSION).map_err(disk)?;
        if version.is_none_or(|version| version.value() != [VERSION]) {
            return Err(damaged("its layout is not one this program knows"));
        }
        let salt = ReadableTable::get(&meta, Meta::SALT).map_err(disk)?;
        let salt = salt.and_then(|salt| salt.value().try_into().ok());
        let salt = salt.ok_or_else(|| damaged("the onion salt is missing"))?;
        let rows = Rows::open(&read)?;
        let chain = rows.get(Chains, &()).ok_or_else(|| damaged("it has no chain row"))?;
        let tip = blocks::last(&read)?;
        let header = &tip.header.header;
        let root = tree::root(&rows);
        if (header.chain, header.height, header.state_root) != (chain.id, chain.height, root) {
            return Err(damaged("its rows are not those of its last block"));
        }
        rows.checked(Found { chain, tip, salt })
    }
}

/// What a ledger's file holds.
pub(crate) struct Found {
    /// The ledger's row about itself.
    pub(crate) chain: Chain,
    /// Its last block.
    pub(crate) tip: Block,
    /// What its onions are salted with.
    pub(crate) salt: [u8; 32],
}

/// The only one that writes. It belongs to the sequencer; followers end when it goes.
pub(crate) struct Executor {
    replica: Replica,
    tip: watch::Sender<Arc<Block>>,
}

/// A batch that was executed and is not sealed yet.
pub(crate) struct Draft {
    /// What came of each transaction; of one that has to wait for the next block nothing.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    /// What the block will hold, when there is to be one.
    pub(crate) block: Option<(Vec<Transaction>, Executed)>,
}

impl Executor {
    pub(crate) fn new(file: File, tip: Block, host: Host) -> Self {
        let (sender, tip) = watch::channel(Arc::new(tip));
        let inner = Arc::new(Inner { database: file.0, host, tip });
        Self { replica: Replica { inner }, tip: sender }
    }

    pub(crate) fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The last block.
    pub(crate) fn tip(&self) -> Arc<Block> {
        self.tip.borrow().clone()
    }

    /// When the rules have something due, in milliseconds since the Unix epoch.
    pub(crate) fn next_due(&self) -> Result<Option<u64>, LedgerError> {
        let rows = self.rows()?;
        let due_ms = execute::next_due(&rows);
        rows.checked(due_ms)
    }

    /// Executes transactions, each with its size, on the last block. Nothing is written.
    pub(crate) fn execute<'a>(
        &self,
        facts: &Facts,
        batch: impl Iterator<Item = (&'a Transaction, usize)>,
    ) -> Result<Draft, LedgerError> {
        let state = self.rows()?;
        let last = self.tip().header.header.height;
        let height = last + 1;
        let damaged = |error: execute::BlockError| LedgerError::Damaged(error.to_string());
        let mut builder = BlockBuilder::new(&state, facts).map_err(damaged)?;
        let is_due = execute::next_due(&state).is_some_and(|due_ms| due_ms <= facts.time_ms);
        let (mut applied, mut outcomes) = (Vec::new(), Vec::new());
        for (transaction, bytes) in batch {
            if !builder.fits(bytes) {
                outcomes.push(None);
                continue;
            }
            outcomes.push(Some(match builder.push(transaction) {
                Ok(Pushed::Applied) => {
                    applied.push(transaction.clone());
                    Outcome { height, status: Status::Applied }
                }
                Ok(Pushed::Already { height }) => Outcome { height, status: Status::Applied },
                Err(status) => Outcome { height: last, status },
            }));
        }
        let is_made = !applied.is_empty() || is_due;
        let block = is_made.then(|| (applied, builder.finish()));
        state.checked(Draft { outcomes, block })
    }

    /// Keeps a block and what it changed. When this returns they are on the disk.
    pub(crate) fn commit(&self, block: &Block, update: &Update) -> Result<(), LedgerError> {
        rows::commit(&self.replica.inner.database, update, block, &[])
    }

    /// Shows followers a block that was committed.
    pub(crate) fn announce(&self, block: Block) {
        self.tip.send_replace(Arc::new(block));
    }

    fn rows(&self) -> Result<Rows, LedgerError> {
        Rows::open(&self.replica.inner.database.begin_read().map_err(disk)?)
    }
}

/// What is committed, for whoever reads: clones are the same one, and none keeps a sequencer running.
#[derive(Clone)]
pub struct Replica {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    host: Host,
    tip: watch::Receiver<Arc<Block>>,
}

impl Replica {
    /// The header of the last block: of the same one that rows are read from, which is committed a moment
    /// before followers see it.
    pub(crate) async fn head(&self) -> Result<SignedHeader, LedgerError> {
        self.read(blocks::last_header).await
    }

    /// Rows by key, all from one block: as many, from the first on, as fit into `bytes_max`; at least one.
    pub(crate) async fn rows(
        &self,
        keys: Vec<Vec<u8>>,
        bytes_max: usize,
    ) -> Result<Snapshot, LedgerError> {
        self.read(move |read| {
            let rows = Rows::open(read)?;
            let asked = keys.len();
            let found = keys.into_iter().map(|key| {
                let value = rows.row(&key);
                ProvenRow { path: tree::prove(&rows, &key), value, key }
            });
            let found = fitting(found, bytes_max);
            let (header, more) = (blocks::last_header(read)?, found.len() < asked);
            rows.checked(Snapshot { header, rows: found, more })
        })
        .await
    }

    /// Values by key, all from one block, for those who trust this process.
    pub(crate) async fn values(
        &self,
        keys: Vec<Vec<u8>>,
    ) -> Result<Vec<Option<Vec<u8>>>, LedgerError> {
        self.read(move |read| {
            let rows = Rows::open(read)?;
            let values = keys.iter().map(|key| rows.row(key)).collect();
            rows.checked(values)
        })
        .await
    }

    /// Rows by prefix, with or without their paths.
    pub(crate) async fn scan(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
        paths: Paths,
    ) -> Result<Snapshot, LedgerError> {
        self.read(move |read| {
            let rows = Rows::open(read)?;
            let mut found = rows.scan(&prefix, after.as_deref(), limit.saturating_add(1));
            let more = limit < found.len();
            found.truncate(limit);
            let count = found.len();
            let bare = |(key, value)| ProvenRow { path: Vec::new(), value: Some(value), key };
            let found: Vec<_> = match paths {
                Paths::Without => found.into_iter().map(bare).collect(),
                Paths::With(bytes_max) => {
                    let proven = found
                        .into_iter()
                        .map(bare)
                        .map(|row| ProvenRow { path: tree::prove(&rows, &row.key), ..row });
                    fitting(proven, bytes_max)
                }
            };
            let more = more || found.len() < count;
            let header = blocks::last_header(read)?;
            rows.checked(Snapshot { header, rows: found, more })
        })
        .await
    }

    pub(crate) async fn history(
        &self,
        account: AccountId,
        before: HistoryPlace,
        limit: usize,
    ) -> Result<Vec<HistoryLine>, LedgerError> {
        self.read(move |read| rows::history(read, &account, before, limit)).await
    }

    /// What somebody makes of the rows of the last block, and that block's hash.
    pub(crate) async fn with_rows<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Rows) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<(T, Hash), LedgerError> {
        self.read(move |read| {
            let rows = Rows::open(read)?;
            let made = work(&rows);
            let block = blocks::last_header(read)?.header.digest();
            rows.checked((made?, block))
        })
        .await
    }

    /// Blocks from `height` on, and of the first one the events that follow the `known` ones.
    pub(crate) fn follow(&self, height: u64, known: u64) -> Blocks {
        Blocks::new(self.clone(), height, known)
    }

    /// Reads on a thread that may wait for a disk.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let inner = self.inner.clone();
        let host = inner.host.clone();
        host.blocking(move || work(&inner.database.begin_read().map_err(disk)?)).await
    }
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica").finish_non_exhaustive()
    }
}

/// Whether a scan comes with paths.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paths {
    /// For somebody else, and as many rows, from the first on, as fit into so many bytes; at least one.
    With(usize),
    /// For this process.
    Without,
}

/// The first of the rows that fit into so many bytes together; at least one. No more of them are made than
/// that takes.
fn fitting(rows: impl Iterator<Item = ProvenRow>, bytes_max: usize) -> Vec<ProvenRow> {
    let (mut fit, mut bytes) = (Vec::new(), 0);
    for row in rows {
        bytes += row.to_bytes().len();
        if !fit.is_empty() && bytes_max < bytes {
            break;
        }
        fit.push(row);
    }
    fit
}

/// Version of the database layout.
const VERSION: u8 = 2;
/// What redb may keep in memory: hot rows and tree nodes, not the ledger.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
const OPEN_ATTEMPTS: u32 = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(20);
