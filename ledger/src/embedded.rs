//! The embedded engine: one process orders, executes and keeps the ledger in one redb file.
//!
//! ```text
//! submit ─▶ queue ─▶ writer task: gather ─▶ execute on the tip ─▶ one durable commit ─▶ answers
//!                        ▲ timer: the next time the rules have something due          └─▶ followers
//! ```
//!
//! The writer is the only one that writes. It takes what is waiting, for up to [`GATHER`] or a full
//! block, executes it on the rows of the last committed block, and commits rows, block and history in
//! one transaction that is on disk before anyone is answered: what was acknowledged survives a crash,
//! and what was not leaves no trace. Readers see committed blocks only. A block without transactions
//! is made exactly when `next_due` asks for one. After an error of the disk the engine stops; nothing
//! is answered that might not be kept.

mod blocks;
mod onion;
mod queue;
mod rows;
mod sale;
mod writer;

use std::{fmt, path::Path, sync::Arc, time::Duration};

use ed25519_dalek::SigningKey;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};
use symbolon_net::{Host, watch};
use symbolon_protocol::{
    codec::Encode,
    grant::Link,
    id::{AccountId, ChainId, Hash, OrderId},
    ledger::{
        Params, Status,
        block::{Block, Facts, Genesis, Header, SignedHeader, transactions_root, validators_hash},
        execute::{self, Executed},
        rows::Chains,
        state::{State, StateExt, Update},
        transaction::Transaction,
        tree,
    },
    limits::TRANSACTION_BYTES_MAX,
    wire::ledger::{HistoryLine, HistoryPlace, ProvenRow},
};
use zeroize::Zeroizing;

use crate::{
    error::LedgerError,
    port::{Outcome, Snapshot},
};
use blocks::BLOCKS;
pub(crate) use blocks::Blocks;
use onion::Onions;
use queue::Queue;
use rows::{META, Meta, Rows, disk};
use writer::Writer;

/// How to open an embedded ledger.
pub struct Options {
    /// The authority's ed25519 secret: signs blocks and sales, and seeds the onions.
    pub key: [u8; 32],
    /// Parameters of a new ledger. One that exists keeps those of its genesis.
    pub params: Params,
    /// The machine.
    pub host: Host,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("params", &self.params).finish_non_exhaustive()
    }
}

/// A ledger in this process. Clones are the same one; it stops when the last is dropped.
#[derive(Clone)]
pub struct Embedded {
    core: Arc<Core>,
    queue: Queue,
    // Every clone holds one; the writer holds the other end and says when it is done.
    stopped: watch::Receiver<()>,
}

/// What readers and the writer share.
struct Core {
    database: Database,
    chain: ChainId,
    authority: AccountId,
    key: SigningKey,
    host: Host,
    tip: watch::Receiver<Arc<Block>>,
}

impl Embedded {
    /// Opens the ledger in a folder, or founds one when there is none.
    pub async fn open(folder: &Path, options: Options) -> Result<Self, LedgerError> {
        let folder = folder.to_path_buf();
        let Options { key, params, host } = options;
        let key = Zeroizing::new(key);
        let database = open_database(&host, folder).await?;
        let salt = host.random();
        let now_ms = host.now_ms();
        let opening = move || -> Result<_, LedgerError> {
            let signing = SigningKey::from_bytes(&key);
            if !is_founded(&database)? {
                found(&database, &signing, &key, params, salt, now_ms)?;
            }
            let (chain, block, salt) = check(&database, &signing)?;
            let onions = Onions::new(&key, salt);
            let due_ms = next_due(&database)?;
            Ok((database, signing, onions, chain, block, due_ms))
        };
        let (database, key, onions, chain, block, due_ms) = host.blocking(opening).await?;
        let authority = AccountId(key.verifying_key().to_bytes());
        let (tip_sender, tip) = watch::channel(Arc::new(block));
        let core = Arc::new(Core { database, chain, authority, key, host, tip });
        let (queue, submissions) = Queue::new();
        let (done, stopped) = watch::channel(());
        let writer = Writer::new(core.clone(), onions, tip_sender, submissions, due_ms);
        tokio::spawn(async move {
            writer.run().await;
            drop(done);
        });
        Ok(Self { core, queue, stopped })
    }

    /// Which ledger it is.
    #[must_use]
    pub fn chain(&self) -> ChainId {
        self.core.chain
    }

    /// Whose signature stands under its blocks.
    #[must_use]
    pub fn authority(&self) -> AccountId {
        self.core.authority
    }

    /// Finishes what was submitted and lets go of the file, as soon as no other clone is left.
    pub async fn close(self) {
        let Self { core, queue, mut stopped } = self;
        drop((core, queue));
        // Fails when the writer is gone, which is what is waited for.
        while stopped.changed().await.is_ok() {}
    }

    /// Waits until the engine has stopped by itself, which it does when its disk fails.
    pub async fn stopped(&self) {
        let mut stopped = self.stopped.clone();
        while stopped.changed().await.is_ok() {}
    }

    pub(crate) async fn submit(&self, transaction: Transaction) -> Result<Outcome, LedgerError> {
        let bytes = size(&transaction);
        if TRANSACTION_BYTES_MAX < bytes {
            // It would wait in the queue at its full size.
            let height = self.reader().head().await?.header.height;
            return Ok(Outcome { height, status: Status::TooLarge });
        }
        self.queue.submit(transaction, bytes).await
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader { core: self.core.clone() }
    }

    /// Blocks from `height` on, and of the first one the events that follow the `known` ones.
    pub(crate) fn follow(&self, height: u64, known: u64) -> Blocks {
        Blocks::new(self.core.clone(), height, known)
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("chain", &self.core.chain).finish_non_exhaustive()
    }
}

/// Reads without keeping the engine running.
#[derive(Clone)]
pub(crate) struct Reader {
    core: Arc<Core>,
}

impl Reader {
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

    /// Link 1 of an order's grant, and the block it is signed after.
    pub(crate) async fn sale(&self, order: OrderId) -> Result<(Link, Hash), LedgerError> {
        let core = self.core.clone();
        self.read(move |read| {
            let rows = Rows::open(read)?;
            let link = sale::link(&core.chain, &rows, &core.key, order);
            let block = blocks::last_header(read)?.header.digest();
            rows.checked((link?, block))
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let core = self.core.clone();
        let host = core.host.clone();
        host.blocking(move || work(&core.database.begin_read().map_err(disk)?)).await
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

/// Opens the file. One that was let go of a moment ago, by an engine that is just stopping, is waited
/// for.
async fn open_database(host: &Host, folder: std::path::PathBuf) -> Result<Database, LedgerError> {
    for _ in 0..OPEN_ATTEMPTS {
        let folder = folder.clone();
        let opened = host.blocking(move || -> Result<_, LedgerError> {
            std::fs::create_dir_all(&folder).map_err(disk)?;
            let path = folder.join("ledger.redb");
            Ok(symbolon_store::open_database(&path, CACHE_BYTES))
        });
        match opened.await? {
            Ok(database) => return Ok(database),
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => tokio::time::sleep(OPEN_PAUSE).await,
            Err(error) => return Err(disk(error)),
        }
    }
    Err(LedgerError::Disk("another process has this ledger open".into()))
}

/// Whether the database holds a ledger.
fn is_founded(database: &Database) -> Result<bool, LedgerError> {
    let read = database.begin_read().map_err(disk)?;
    match read.open_table(BLOCKS) {
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
        Err(error) => Err(disk(error)),
        Ok(_) => Ok(true),
    }
}

/// Makes the genesis block.
fn found(
    database: &Database,
    signing: &SigningKey,
    key: &[u8; 32],
    params: Params,
    salt: [u8; 32],
    time_ms: u64,
) -> Result<(), LedgerError> {
    params.check().map_err(|error| LedgerError::Params(error.to_string()))?;
    let authority = AccountId(signing.verifying_key().to_bytes());
    let onion = Onions::new(key, salt).first();
    let genesis = Genesis { params, authority, time_ms, onion };
    let facts = Facts { time_ms, reveal: Hash([0; 32]), onion_next: Some(onion) };
    let executed = execute::genesis(&genesis);
    let place = Position { chain: genesis.chain(), height: 0, parent: Hash([0; 32]) };
    let (block, update) = seal(signing, place, facts, Vec::new(), executed);
    let meta: [(&str, &[u8]); 2] = [(Meta::VERSION, &[VERSION]), (Meta::SALT, &salt)];
    rows::commit(database, &update, &block, &meta)
}

/// Where a block stands.
struct Position {
    chain: ChainId,
    height: u64,
    parent: Hash,
}

/// Signs what was executed as a block.
fn seal(
    key: &SigningKey,
    place: Position,
    facts: Facts,
    transactions: Vec<Transaction>,
    executed: Executed,
) -> (Block, Update) {
    let header = Header {
        chain: place.chain,
        height: place.height,
        parent: place.parent,
        facts,
        transactions_root: transactions_root(&transactions),
        state_root: executed.state_root,
        validators: validators_hash(&[AccountId(key.verifying_key().to_bytes())]),
    };
    let header = SignedHeader::build(header, key);
    (Block { header, transactions, events: executed.events }, executed.update)
}

/// Whether the database is one this program with this key can continue.
fn check(database: &Database, key: &SigningKey) -> Result<(ChainId, Block, [u8; 32]), LedgerError> {
    let damaged = |what: &str| LedgerError::Damaged(what.into());
    let read = database.begin_read().map_err(disk)?;
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
    if chain.authority.0 != key.verifying_key().to_bytes() {
        return Err(LedgerError::WrongKey { authority: chain.authority });
    }
    let block = blocks::last(&read)?;
    let header = &block.header.header;
    let root = tree::root(&rows);
    if (header.chain, header.height, header.state_root) != (chain.id, chain.height, root) {
        return Err(damaged("its rows are not those of its last block"));
    }
    rows.checked((chain.id, block, salt))
}

fn next_due(database: &Database) -> Result<Option<u64>, LedgerError> {
    let rows = Rows::open(&database.begin_read().map_err(disk)?)?;
    let due_ms = execute::next_due(&rows);
    rows.checked(due_ms)
}

/// Bytes of a transaction, as they count in a block.
fn size(transaction: &Transaction) -> usize {
    transaction.to_bytes().len()
}

/// Version of the database layout.
const VERSION: u8 = 2;
/// How long a block waits for company.
const GATHER: Duration = Duration::from_millis(5);
/// What redb may keep in memory: hot rows and tree nodes, not the ledger.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
const OPEN_ATTEMPTS: u32 = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(20);
