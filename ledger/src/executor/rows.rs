//! The database of a ledger: its tables, and its rows as the rules read them.

use std::cell::RefCell;

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, StorageError, TableDefinition, WriteTransaction,
};
use symbolon_protocol::{
    LedgerTime,
    codec::{Decode, Encode},
    id::AccountId,
    ledger::{
        block::{Block, Event, Place, Reason},
        rows::{Chain, Chains, PastSet, PastSets, Table as _},
        state::{RowBytes, State, Update},
        tree,
    },
    wire::ledger::{HistoryLine, HistoryPlace, Row},
};

use super::{blocks, prune};
use crate::error::LedgerError;

/// Rows by key, including those of the state tree.
pub(super) const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");
/// Events of each account: `account, height, number` (big-endian) to `time_ms, event`.
pub(super) const HISTORY: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("history");
/// Values that are written once: see [`Meta`].
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");

/// Keys of [`META`].
pub(super) struct Meta;

impl Meta {
    /// Version of the layout, one byte.
    pub(super) const VERSION: &'static str = "version";
    /// Random bytes that keep the onions of this ledger apart from those of other ledgers.
    pub(super) const SALT: &'static str = "onion salt";
    /// The genesis.
    pub(super) const GENESIS: &'static str = "genesis";
    /// Height of the block from whose state this machine went on, where it has joined the ledger.
    pub(super) const BASE: &'static str = "base";
}

/// The rows of one committed block. [`State`] has no errors, so a disk error is stored here and
/// returned by [`Rows::checked`].
pub(crate) struct Rows {
    table: ReadOnlyTable<&'static [u8], &'static [u8]>,
    error: RefCell<Option<StorageError>>,
}

impl Rows {
    pub(crate) fn open(read: &ReadTransaction) -> Result<Self, LedgerError> {
        Ok(Self { table: read.open_table(ROWS).map_err(disk)?, error: RefCell::new(None) })
    }

    /// Returns `done`, unless the disk failed while it was computed.
    pub(crate) fn checked<T>(&self, done: T) -> Result<T, LedgerError> {
        match self.error.borrow_mut().take() {
            Some(error) => Err(disk(error)),
            None => Ok(done),
        }
    }

    fn noted<T>(&self, read: Result<T, StorageError>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                self.error.borrow_mut().get_or_insert(error);
                None
            }
        }
    }

    /// The first rows of a range: those that fit into `limit` and `bytes_max`, and at least one. Also whether there are
    /// more. Without a prefix these are rows of all tables, but not the tree's own.
    pub(super) fn page(
        &self,
        range: &tree::Range<'_>,
        limit: usize,
        bytes_max: usize,
    ) -> (Vec<Row>, bool) {
        let (mut rows, mut bytes, mut more) = (Vec::new(), 0, false);
        let visited = self.visit(range.prefix, range.after, |key, value| {
            if range.until.is_some_and(|until| until < key) {
                return false;
            }
            let row = Row { key: key.to_vec(), value: Some(value.to_vec()) };
            bytes += row.to_bytes().len();
            more = limit <= rows.len() || (bytes_max < bytes && !rows.is_empty());
            if !more {
                rows.push(row);
            }
            !more
        });
        self.noted(visited);
        (rows, more)
    }

    /// Visits the rows whose keys begin with `prefix` and come after `after`, as long as the visitor wants more.
    fn visit(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut wants_more: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StorageError> {
        let first = if prefix.is_empty() { &[tree::TAG + 1] } else { prefix };
        let from = after.map_or(first, |after| after.max(first));
        for entry in ReadableTable::range(&self.table, from..)? {
            let (key, value) = entry?;
            let (key, value) = (key.value(), value.value());
            if !key.starts_with(prefix) || (after != Some(key) && !wants_more(key, value)) {
                break;
            }
        }
        Ok(())
    }
}

impl State for Rows {
    fn row(&self, key: &[u8]) -> Option<Vec<u8>> {
        let read = ReadableTable::get(&self.table, key);
        self.noted(read.map(|value| value.map(|value| value.value().to_vec())))?
    }

    fn scan(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Vec<RowBytes> {
        let mut rows = Vec::new();
        if 0 < limit {
            let visited = self.visit(prefix, after, |key, value| {
                rows.push((key.to_vec(), value.to_vec()));
                rows.len() < limit
            });
            self.noted(visited);
        }
        rows
    }
}

/// Writes a block, its rows and its history in one durable transaction. Removes some of the blocks
/// that are no longer kept.
pub(super) fn commit(
    database: &redb::Database,
    update: &Update,
    block: &Block,
    meta: &[(&str, &[u8])],
    epochs_kept: u64,
) -> Result<(), LedgerError> {
    let mut write = database.begin_write().map_err(disk)?;
    // Lets the next start repair a crash at once, without reading the whole ledger.
    write.set_quick_repair(true);
    {
        let mut rows = write.open_table(ROWS).map_err(disk)?;
        for (key, value) in &update.rows {
            match value {
                Some(value) => rows.insert(key.as_slice(), value.as_slice()).map_err(disk)?,
                None => rows.remove(key.as_slice()).map_err(disk)?,
            };
        }
        let chain = rows.get(Chains::key(&()).as_slice()).map_err(disk)?;
        let chain = chain.and_then(|chain| Chain::from_bytes(chain.value()).ok());
        let chain = chain.ok_or_else(|| LedgerError::Damaged("it has no chain row".into()))?;
        blocks::put(&write, block)?;
        let height = &block.header.header.height;
        let past = rows.get(PastSets::key(height).as_slice()).map_err(disk)?;
        let past = past.and_then(|past| PastSet::from_bytes(past.value()).ok());
        let before = past.map(|past| past.validators);
        blocks::put_change(&write, &block.header, before, &chain.validators)?;
        put_history(&write, block)?;
        prune::step(&write, &chain, block, epochs_kept)?;
        let mut table = write.open_table(META).map_err(disk)?;
        for (key, value) in meta {
            table.insert(*key, *value).map_err(disk)?;
        }
    }
    write.commit().map_err(disk)
}

/// Writes the lines of history that a block adds.
pub(super) fn put_history(write: &WriteTransaction, block: &Block) -> Result<(), LedgerError> {
    let header = &block.header.header;
    let mut history = write.open_table(HISTORY).map_err(disk)?;
    for (number, event) in (0_u32..).zip(&block.events) {
        let line = (header.facts.time_ms, event);
        for account in concerned(event).into_iter().flatten() {
            let key = history_key(&account, header.height, number);
            let mut value = line.0.to_bytes();
            line.1.encode(&mut value);
            history.insert(key.as_slice(), value.as_slice()).map_err(disk)?;
        }
    }
    Ok(())
}

/// The height from which on the file has history, where this machine has joined the ledger.
pub(super) fn base(read: &ReadTransaction) -> Result<Option<u64>, LedgerError> {
    let meta = read.open_table(META).map_err(disk)?;
    let base = ReadableTable::get(&meta, Meta::BASE).map_err(disk)?;
    let height = base.map(|base| base.value().try_into().map(u64::from_le_bytes));
    height.transpose().map_err(|_| LedgerError::Damaged("its first height".into()))
}

/// The accounts in whose history an event appears: at most two, each once.
pub(super) fn concerned(event: &Event) -> [Option<AccountId>; 2] {
    let account = |place: &Place| match place {
        Place::Account { account } => Some(*account),
        _ => None,
    };
    match event {
        Event::Moved { from, to, .. } => {
            let (from, to) = (account(from), account(to));
            [from, to.filter(|_| from != to)]
        }
        Event::Revoked { by, .. } => [Some(*by), None],
        _ => [None, None],
    }
}

/// Whether an event is the pay for a storage proof. Every node has one in every epoch, also on a
/// network that is not used. So an account's history has such lines only as long as their blocks
/// are kept.
pub(super) fn is_of_proofs(event: &Event) -> bool {
    matches!(event, Event::Moved { reason: Reason::Proven { .. }, .. })
}

pub(super) fn history_key(account: &AccountId, height: u64, number: u32) -> Vec<u8> {
    let mut key = account.0.to_vec();
    key.extend_from_slice(&height.to_be_bytes());
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// Lines of an account's history before a place, newest first.
pub(super) fn history(
    read: &ReadTransaction,
    account: &AccountId,
    before: HistoryPlace,
    limit: usize,
) -> Result<Vec<HistoryLine>, LedgerError> {
    let table = read.open_table(HISTORY).map_err(disk)?;
    let from = history_key(account, 0, 0);
    let to = history_key(account, before.height, before.number);
    let mut lines = Vec::new();
    let entries = ReadableTable::range(&table, from.as_slice()..to.as_slice()).map_err(disk)?;
    for entry in entries.rev().take(limit) {
        let (key, value) = entry.map_err(disk)?;
        let damaged = || LedgerError::Damaged("a history line".into());
        let (_, place) = key.value().split_first_chunk::<32>().ok_or_else(damaged)?;
        let (height, number) = place.split_first_chunk::<8>().ok_or_else(damaged)?;
        let number = number.try_into().map_err(|_| damaged())?;
        let (time, event) = value.value().split_first_chunk::<8>().ok_or_else(damaged)?;
        lines.push(HistoryLine {
            height: u64::from_be_bytes(*height),
            number: u32::from_be_bytes(number),
            time_ms: LedgerTime(u64::from_le_bytes(*time)),
            event: Event::from_bytes(event).map_err(|_| damaged())?,
        });
    }
    Ok(lines)
}

/// Converts any error of redb.
pub(super) fn disk(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Disk(error.to_string())
}
