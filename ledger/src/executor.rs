//! The executor: it owns the file of a ledger, and applies the rules to transactions that a
//! sequencer has ordered.
//!
//! It has no queue, no clock and no key. A sequencer hands it a batch with the facts of its block
//! and gets a [`Draft`] back. It seals the draft as a block and lets the executor commit it: rows,
//! block and history in one durable transaction. All readers use a [`Replica`], which shows
//! committed blocks.

mod apply;
mod blocks;
mod checkpoints;
mod joining;
mod journal;
mod opened;
mod proposed;
mod prune;
mod rows;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};
use symbolon_net::{Host, PeerAddress, watch};
use symbolon_protocol::{
    LedgerTime,
    codec::{Decode as _, Encode},
    id::{AccountId, ChainId, Hash, PeerId},
    ledger::{
        Status,
        admission::Signatures,
        beacon::Onions,
        block::{Block, BlockInputs, Genesis, SignedHeader},
        commit::{Validator, Validators},
        execute::{self, BlockBuilder, BlockError, Executed, Pushed},
        rows::{Chain, Chains, DutiesTable, PastSets, Table as _, ValidatorsTable},
        state::{RowBytes, State, StateExt as _, Update},
        transaction::Transaction,
        tree::{self, Range},
    },
    limits::LIST_MAX,
    wire::ledger::{HistoryPlace, Row, SetChange},
};

use crate::{
    error::LedgerError,
    port::{History, Outcome, Snapshot},
};
use blocks::BLOCKS;
pub(crate) use blocks::Blocks;
use checkpoints::Checkpoints;
pub(crate) use joining::{Found, Joining, Progress, Span};
pub(crate) use journal::Journal;
pub use journal::{Signed, begin_guard, has_guard, sign_after};
pub use opened::{CheckedBlocks, Opened};
pub(crate) use proposed::{Judged, Proposed};
pub use prune::EPOCHS_KEPT;
pub(crate) use rows::Rows;
use rows::{META, Meta, disk};

/// The open file of a ledger.
pub(crate) struct File(Database);

impl File {
    /// Opens the file in a folder, or makes an empty one.
    pub(crate) async fn open(host: &Host, folder: PathBuf) -> Result<Self, LedgerError> {
        let path = folder.join(NAME);
        let looking = folder.clone();
        match host.blocking(move || joining::is_unfinished(&looking)).await.map_err(disk)? {
            true => Err(LedgerError::Unfinished { folder }),
            false => Self::open_at(host, path).await,
        }
    }

    /// Whether the folder has the file of a ledger.
    pub(crate) async fn is_there(host: &Host, folder: &Path) -> Result<bool, LedgerError> {
        let path = folder.join(NAME);
        host.blocking(move || path.try_exists()).await.map_err(disk)
    }

    /// The same with the path of the file. Waits a moment if an engine that is just stopping still has it open.
    async fn open_at(host: &Host, path: PathBuf) -> Result<Self, LedgerError> {
        for _ in 0..OPEN_ATTEMPTS {
            let path = path.clone();
            let opened = host.blocking(move || -> Result<_, LedgerError> {
                std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(disk)?;
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

    /// Whether the file holds a ledger.
    pub(crate) fn is_founded(&self) -> Result<bool, LedgerError> {
        let read = self.0.begin_read().map_err(disk)?;
        match read.open_table(BLOCKS) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
            Err(error) => Err(disk(error)),
            Ok(_) => Ok(true),
        }
    }

    /// Writes the genesis with its block, and the salt that keeps this ledger's onions apart from those of
    /// other ledgers.
    pub(crate) fn write_genesis(
        &self,
        genesis: &Genesis,
        block: &Block,
        update: &Update,
        salt: &[u8; 32],
    ) -> Result<(), LedgerError> {
        let genesis = genesis.to_bytes();
        let meta: [(&str, &[u8]); 3] =
            [(Meta::VERSION, &[VERSION]), (Meta::SALT, salt), (Meta::GENESIS, &genesis)];
        rows::commit(&self.0, update, block, &meta, u64::MAX)
    }

    /// The contents of the file, if this program can continue the ledger.
    pub(crate) fn check(&self) -> Result<Contents, LedgerError> {
        let damaged = |what: &str| LedgerError::Damaged(what.into());
        let read = self.0.begin_read().map_err(disk)?;
        let meta = read.open_table(META).map_err(disk)?;
        let version = ReadableTable::get(&meta, Meta::VERSION).map_err(disk)?;
        match version.as_ref().map(redb::AccessGuard::value) {
            Some([VERSION]) => {}
            Some(&[found]) => return Err(LedgerError::OtherLayout { found, known: VERSION }),
            _ => return Err(damaged("the version of its layout is missing")),
        }
        let salt = ReadableTable::get(&meta, Meta::SALT).map_err(disk)?;
        let salt = salt.and_then(|salt| salt.value().try_into().ok());
        let salt = salt.ok_or_else(|| damaged("the onion salt is missing"))?;
        let rows = Rows::open(&read)?;
        let chain = rows.row(&Chains::key(&()));
        if let Some(chain) = &chain {
            check_rules(chain)?;
        }
        let chain = chain.and_then(|row| Chain::from_bytes(&row).ok());
        let chain = chain.ok_or_else(|| damaged("it has no chain row"))?;
        let tip = blocks::last(&read)?;
        let header = &tip.header.header;
        let root = tree::root(&rows);
        if genesis(&read)?.chain() != chain.id {
            return Err(damaged("its rows are not those of its genesis"));
        }
        if (header.chain, header.height, header.state_root) != (chain.id, chain.height, root) {
            return Err(damaged("its rows do not match its last block"));
        }
        rows.checked(Contents { chain, tip, salt })
    }
}

/// Whether this program knows the rules of a ledger with this row about itself.
pub(crate) fn check_rules(row: &[u8]) -> Result<(), LedgerError> {
    let known = execute::RULES_VERSION;
    match Chain::rules_of(row) {
        Some(version) if known < version => {
            Err(LedgerError::UnknownRules { height: None, version, known })
        }
        _ => Ok(()),
    }
}

impl File {
    /// Whether the ledger says that a validator has signed blocks together with others.
    pub(crate) fn has_signed(&self, chain: &Chain, key: AccountId) -> Result<bool, LedgerError> {
        let rows = Rows::open(&self.0.begin_read().map_err(disk)?)?;
        let (row, duties) = (rows.get(ValidatorsTable, &key), rows.get(DutiesTable, &()));
        let members = &chain.validators.members;
        let place = members.binary_search_by_key(&key, |member| member.key).ok();
        let duty = place.and_then(|place| duties?.members.get(place).copied());
        let lately = duty.is_some_and(|duty| 0 < duty.signed);
        rows.checked(lately || row.is_some_and(|row| 0 < row.signed))
    }
}

fn genesis(read: &ReadTransaction) -> Result<Genesis, LedgerError> {
    let meta = read.open_table(META).map_err(disk)?;
    let bytes = ReadableTable::get(&meta, Meta::GENESIS).map_err(disk)?;
    let genesis = bytes.and_then(|bytes| Genesis::from_bytes(bytes.value()).ok());
    genesis.ok_or_else(|| LedgerError::Damaged("its genesis is missing".into()))
}

/// The contents of a ledger's file.
pub(crate) struct Contents {
    /// The ledger's row about itself.
    pub(crate) chain: Chain,
    /// The last block.
    pub(crate) tip: Block,
    /// The salt of the ledger's onions.
    pub(crate) salt: [u8; 32],
}

/// The only writer of the file. It belongs to the sequencer. When it is dropped, followers end.
pub(crate) struct Executor {
    replica: Replica,
    tip: watch::Sender<Arc<Block>>,
    epochs_kept: u64,
    /// The newest version of the rules that it knows.
    known_rules: u32,
}

/// An executed batch that is not sealed yet.
pub(crate) struct Draft {
    /// The outcome of each transaction; `None` for one that must wait for the next block.
    pub(crate) outcomes: Vec<Option<Outcome>>,
    /// The contents of the block, if one is to be made.
    pub(crate) block: Option<(Vec<Transaction>, Executed)>,
}

impl Executor {
    /// `epochs_kept` is the number of epochs before the current one whose blocks are kept.
    pub(crate) fn new(file: File, tip: Block, host: Host, epochs_kept: u64) -> Self {
        let (sender, tip) = watch::channel(Arc::new(tip));
        let checkpoints = Checkpoints::default();
        let inner = Arc::new(Inner { checkpoints, database: file.0, host, tip });
        let known_rules = execute::RULES_VERSION;
        Self { replica: Replica { inner }, tip: sender, epochs_kept, known_rules }
    }

    /// The same as software that knows the rules up to another version.
    #[cfg(test)]
    pub(crate) fn knowing(self, known_rules: u32) -> Self {
        Self { known_rules, ..self }
    }

    pub(crate) fn replica(&self) -> &Replica {
        &self.replica
    }

    /// The last block.
    pub(crate) fn tip(&self) -> Arc<Block> {
        self.tip.borrow().clone()
    }

    /// The ledger's row about itself.
    pub(crate) fn chain_row(&self) -> Result<Chain, LedgerError> {
        let rows = self.rows()?;
        let chain = rows.get(Chains, &());
        rows.checked(chain)?.ok_or_else(|| LedgerError::Damaged("it has no chain row".into()))
    }

    /// Where validators say that they are, as far as they say it.
    pub(crate) fn addresses(&self, set: &Validators) -> Result<Vec<PeerAddress>, LedgerError> {
        let rows = self.rows()?;
        let read = |member: &Validator| rows.get(ValidatorsTable, &member.key);
        let found = set.members.iter().filter_map(|member| Some((member.key, read(member)?)));
        let addresses = found.map(|(key, row)| PeerAddress {
            // A validator speaks under the key with which it signs.
            id: PeerId(key.0),
            addresses: row.addresses,
        });
        let addresses = addresses.filter(|peer| !peer.addresses.is_empty()).collect();
        rows.checked(addresses)
    }

    /// The validators that committed the last block.
    pub(crate) fn parents(&self) -> Result<Validators, LedgerError> {
        let rows = self.rows()?;
        let past = rows.get(PastSets, &self.tip().header.header.height);
        match rows.checked(past)? {
            Some(past) => Ok(past.validators),
            None => Ok(self.chain_row()?.validators),
        }
    }

    /// When the next rule is due, in milliseconds since the Unix epoch.
    pub(crate) fn next_due(&self) -> Result<Option<LedgerTime>, LedgerError> {
        let rows = self.rows()?;
        let due_ms = guarded(|| execute::next_due(&rows)).ok_or_else(|| self.broken())?;
        rows.checked(due_ms)
    }

    /// The facts of the next block that validator `proposer` of the set makes, at this time.
    pub(crate) fn inputs(
        &self,
        onions: &mut Onions,
        proposer: u16,
        time_ms: LedgerTime,
    ) -> Result<BlockInputs, LedgerError> {
        let rows = self.rows()?;
        let inputs = guarded(|| onions.inputs(&rows, proposer, time_ms));
        let inputs = inputs.ok_or_else(|| self.broken())?;
        rows.checked(inputs)?.ok_or_else(|| LedgerError::Damaged("it has no chain row".into()))
    }

    /// Executes transactions on top of the last block. Each comes with its size and its signatures, as far as they
    /// were checked. Writes nothing. With `even_empty` there is a block even if nothing has changed.
    ///
    /// If the rules break at a transaction, it is refused, and those after it wait for the next block. No validator has it
    /// in a block, so all go on from the same state. If the rules break at what is due, no block can be made.
    pub(crate) fn execute<'a>(
        &self,
        facts: &BlockInputs,
        batch: impl Iterator<Item = (&'a Transaction, usize, &'a Signatures)>,
        even_empty: bool,
    ) -> Result<Draft, LedgerError> {
        let batch: Vec<_> = batch.collect();
        let first = |count: usize| guarded(|| self.try_execute(facts, &batch[..count], even_empty));
        if let Some(draft) = first(batch.len()) {
            return draft;
        }
        let height = self.tip().header.header.height;
        let mut draft = first(0).ok_or_else(|| self.broken())?;
        // The longest part that holds, and the shortest that breaks.
        let (mut sound, mut broken) = (0, batch.len());
        while 1 < broken - sound {
            let middle = usize::midpoint(sound, broken);
            match first(middle) {
                Some(longer) => (sound, draft) = (middle, longer),
                None => broken = middle,
            }
        }
        let mut draft = draft?;
        draft.outcomes.push(Some(Outcome { height, status: Status::RuleBroken }));
        draft.outcomes.resize(batch.len(), None);
        Ok(draft)
    }

    /// The same, but a rule that breaks is a panic.
    fn try_execute(
        &self,
        facts: &BlockInputs,
        batch: &[(&Transaction, usize, &Signatures)],
        even_empty: bool,
    ) -> Result<Draft, LedgerError> {
        let state = self.rows()?;
        let last = self.tip().header.header.height;
        let height = last + 1;
        let builder = BlockBuilder::knowing(&state, facts, self.known_rules);
        let mut builder = builder.map_err(|error| self.no_block(&error))?;
        let is_due = execute::next_due(&state).is_some_and(|due_ms| due_ms <= facts.time_ms);
        let (mut applied, mut outcomes) = (Vec::new(), Vec::new());
        for (transaction, bytes, signatures) in batch {
            if !builder.fits(transaction, *bytes) {
                outcomes.push(None);
                continue;
            }
            outcomes.push(Some(match builder.push_checked(transaction, signatures) {
                Ok(Pushed::Applied) => {
                    applied.push(Transaction::clone(transaction));
                    Outcome { height, status: Status::Applied }
                }
                Ok(Pushed::Already { height }) => Outcome { height, status: Status::Applied },
                Err(status) => Outcome { height: last, status },
            }));
        }
        let is_made = !applied.is_empty() || is_due || even_empty;
        let block = is_made.then(|| (applied, builder.finish()));
        state.checked(Draft { outcomes, block })
    }

    /// The error of facts that no block can be made of.
    fn no_block(&self, error: &BlockError) -> LedgerError {
        let height = Some(self.tip().header.header.height + 1);
        match *error {
            BlockError::UnknownRules { version, known } => {
                LedgerError::UnknownRules { height, version, known }
            }
            _ => LedgerError::Damaged(error.to_string()),
        }
    }

    /// The error of rules that break where no transaction is at fault: there is no next block.
    fn broken(&self) -> LedgerError {
        LedgerError::Broken { height: self.tip().header.header.height + 1 }
    }

    /// Stores a block and its changes. They are on disk when this returns.
    pub(crate) fn commit(&self, block: &Block, update: &Update) -> Result<(), LedgerError> {
        let inner = &self.replica.inner;
        rows::commit(&inner.database, update, block, &[], self.epochs_kept)?;
        inner.checkpoints.changed(update.rows.len());
        Ok(())
    }

    /// Shows a committed block to the followers.
    pub(crate) fn announce(&self, block: Block) {
        self.tip.send_replace(Arc::new(block));
    }

    fn rows(&self) -> Result<Rows, LedgerError> {
        Rows::open(&self.replica.inner.database.begin_read().map_err(disk)?)
    }
}

/// Runs rules that assert what they need. Returns `None` if an assertion failed.
pub(crate) fn guarded<T>(rules: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(rules)).ok()
}

/// The committed blocks and rows, for readers. Clones are the same replica. A replica does not keep
/// a sequencer running.
#[derive(Clone)]
pub struct Replica {
    inner: Arc<Inner>,
}

struct Inner {
    checkpoints: Checkpoints,
    database: Database,
    host: Host,
    tip: watch::Receiver<Arc<Block>>,
}

impl Replica {
    /// The header of the last committed block. It is read from the file like the rows, because
    /// followers see a block a moment after its commit.
    pub(crate) async fn head(&self) -> Result<SignedHeader, LedgerError> {
        self.read(blocks::last_header).await
    }

    /// The ledger's id.
    pub(crate) fn chain(&self) -> ChainId {
        self.inner.tip.borrow().header.header.chain
    }

    /// Rows by key, all from one block and with their proof: the first ones that fit into `bytes_max` together, and at
    /// least one.
    pub(crate) async fn proven_rows(
        &self,
        keys: Vec<Vec<u8>>,
        bytes_max: usize,
    ) -> Result<Snapshot, LedgerError> {
        self.read(move |read| {
            let rows = Rows::open(read)?;
            let requested = keys.len();
            let found = keys.into_iter().map(|key| Row { value: rows.row(&key), key });
            let mut found = fitting(found, bytes_max);
            let mut proof = prove_rows(&rows, &found);
            // Keys that share little have long proofs. A single one always fits.
            while PROOF_BYTES_MAX < proof.len() && 1 < found.len() {
                found.truncate(found.len() / 2);
                proof = prove_rows(&rows, &found);
            }
            let (header, more) = (blocks::last_header(read)?, found.len() < requested);
            rows.checked(Snapshot { header, rows: found, proof, more })
        })
        .await
    }

    /// Values by key, all from one block and without proofs, for callers in this process.
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

    /// Rows by prefix, without proof, for callers in this process.
    pub(crate) async fn scan(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<RowBytes>, LedgerError> {
        self.read(move |read| {
            let rows = Rows::open(read)?;
            let found = rows.scan(&prefix, after.as_deref(), limit);
            rows.checked(found)
        })
        .await
    }

    /// The first rows by prefix, and the proof that none of them is left out: those that fit into `bytes_max` together,
    /// and at least one.
    pub(crate) async fn proven_scan(
        &self,
        prefix: Vec<u8>,
        after: Option<Vec<u8>>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Snapshot, LedgerError> {
        self.read(move |read| {
            let rows = Rows::open(read)?;
            let range = Range { prefix: &prefix, after: after.as_deref(), until: None };
            let (found, proof, more) = proven_page(&rows, &range, limit, bytes_max);
            let header = blocks::last_header(read)?;
            rows.checked(Snapshot { header, rows: found, proof, more })
        })
        .await
    }

    pub(crate) async fn history(
        &self,
        account: AccountId,
        before: HistoryPlace,
        limit: usize,
    ) -> Result<History, LedgerError> {
        self.read(move |read| {
            let lines = rows::history(read, &account, before, limit)?;
            match rows::base(read)? {
                // There may be earlier lines.
                Some(height) if lines.len() < limit => Err(LedgerError::NoHistory { height }),
                _ => Ok(History { lines, oldest: prune::oldest(read)? }),
            }
        })
        .await
    }

    /// Runs `work` on the rows of the last block. Returns its result and that block's hash.
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

    /// The first changes of the validators after a height, at most so many, and whether there are more.
    pub(crate) async fn set_changes(
        &self,
        after: u64,
        count: usize,
    ) -> Result<(Vec<SetChange>, bool), LedgerError> {
        self.read(move |read| blocks::changes(read, after, count)).await
    }

    /// Blocks from `height` on.
    pub(crate) fn follow(&self, height: u64) -> Blocks {
        Blocks::new(self.clone(), height)
    }

    /// The genesis.
    pub(crate) async fn genesis(&self) -> Result<Genesis, LedgerError> {
        self.read(genesis).await
    }

    /// Runs `work` on a thread that may wait for the disk.
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

fn prove_rows(state: &Rows, rows: &[Row]) -> Vec<u8> {
    tree::prove_rows(state, rows.iter().map(|row| row.key.as_slice()))
}

/// The first rows of a range, their proof, and whether there are more: see [`Rows::page`].
fn proven_page(
    rows: &Rows,
    range: &Range<'_>,
    limit: usize,
    bytes_max: usize,
) -> (Vec<Row>, Vec<u8>, bool) {
    let (found, more) = rows.page(range, limit, bytes_max);
    let last = found.last().filter(|_| more).map(|row| row.key.as_slice());
    let proof = tree::prove_range(rows, &Range { until: last.or(range.until), ..*range });
    (found, proof, more)
}

/// The first rows that fit into `bytes_max` bytes together, and at least one. Takes at most one row
/// more from the iterator.
fn fitting(rows: impl Iterator<Item = Row>, bytes_max: usize) -> Vec<Row> {
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

/// Bytes of a proof at most: as a list on the wire may have. That of a scan has four bytes for each of its rows, and
/// those of the way to its ends.
const PROOF_BYTES_MAX: usize = LIST_MAX as usize;
/// Name of the file in the folder of the ledger.
const NAME: &str = "ledger.redb";
/// Version of the database layout: of the tables here, and of the rows as the rules write them.
const VERSION: u8 = 13;
/// Memory of redb's cache: enough for hot rows and tree nodes, not for the whole ledger.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
const OPEN_ATTEMPTS: u32 = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(20);
