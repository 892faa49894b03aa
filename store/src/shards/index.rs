//! The index in redb: its tables, and the changes that keep them consistent.

use std::{
    path::{Path, PathBuf},
    sync::{RwLock, RwLockReadGuard},
};

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, WriteTransaction,
};
use symbolon_protocol::{
    LedgerTime,
    codec::{Decode, Encode, Reader},
    id::DealId,
};

use super::{
    damage::{DAMAGED, SCRUB},
    rows::{Row, ShardKey, ShardState},
    slots::{HEAD, PLACES, SLOTS, WAITING},
    sums::{self, UNPAID},
};
use crate::StoreError;

pub(super) type Table<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

/// Shards: `deal | index` to [`Row`].
pub(super) const SHARDS: Table<'_> = TableDefinition::new("shards");
/// The shard of each file: file number to `deal | index`.
const FILES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("files");
/// Files of removed shards.
const GARBAGE: TableDefinition<'_, u64, ()> = TableDefinition::new("garbage");
/// Shards that may be removed: `time in ms | deal | index`.
const DUE: TableDefinition<'_, &[u8], ()> = TableDefinition::new("due");
/// Single numbers.
pub(super) const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
/// Custody shares: `vault | index` to bytes.
pub(super) const CUSTODY: Table<'_> = TableDefinition::new("custody");
/// Custody shares whose vault is not open yet: `vault | index` to
/// [`CustodyWaits`](super::CustodyWaits).
pub(super) const CUSTODY_WAITS: Table<'_> = TableDefinition::new("custody waits");
/// The store's owner: one row in the caller's encoding.
const MARKER: TableDefinition<'_, (), &[u8]> = TableDefinition::new("marker");
/// Revoked links: `link | by`.
pub(super) const REVOKED: TableDefinition<'_, &[u8], ()> = TableDefinition::new("revoked");
/// Refunded orders.
pub(super) const REFUNDED: TableDefinition<'_, &[u8], ()> = TableDefinition::new("refunded");
/// What was read under each grant.
pub(super) const COUNTERS: Table<'_> = TableDefinition::new("counters");

/// Who read what: `day | owner | object | who` to [`Counter`](super::Counter).
pub(super) const READS: Table<'_> = TableDefinition::new("reads");

/// Height of the last block that was followed.
pub(super) const HEIGHT: &str = "height";
/// 1 once the operator has accepted that shards are lost.
pub(super) const LOSS: &str = "loss accepted";
/// A number above that of every file so far.
const NEXT_FILE: &str = "next file";
/// The layout of the tables.
const VERSION: &str = "version";

/// The layout that this program writes.
const LAYOUT: u64 = 2;

/// The layout before, which had no sums of shards and of unpaid ones.
const LAYOUT_WITHOUT_SUMS: u64 = 1;

/// Memory for pages of the index. A million shards take about 300 MB; the part in frequent use is
/// far smaller.
const CACHE_BYTES: usize = 64 << 20;

/// The index. After an IO error, such as a full disk, a redb database refuses all further work. The
/// index then opens it again, so a node continues once there is space.
#[derive(Debug)]
pub(super) struct Index {
    path: PathBuf,
    database: RwLock<Option<Database>>,
}

impl Index {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let database = RwLock::new(Some(open_database(path)?));
        let index = Self { path: path.to_owned(), database };
        index.write(create_tables)?;
        Ok(index)
    }

    /// Runs `work` in a transaction. When this returns, the transaction is on disk or has not
    /// happened.
    pub(super) fn write<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.change(Durability::Immediate, work)
    }

    /// Runs `work` in a transaction that reaches the disk with the next [`write`](Self::write).
    pub(super) fn write_soon<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.change(Durability::None, work)
    }

    pub(super) fn change<T>(
        &self,
        durability: Durability,
        work: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let outcome = self.with(|database| {
            let mut transaction = database.begin_write()?;
            transaction
                .set_durability(durability)
                .map_err(|error| StoreError::index(error.into()))?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        if outcome.as_ref().is_err_and(is_broken) {
            self.reopen();
        }
        outcome
    }

    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&redb::ReadTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let outcome = self.with(|database| work(&database.begin_read()?));
        if outcome.as_ref().is_err_and(is_broken) {
            self.reopen();
        }
        outcome
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match self.database().as_ref() {
            Some(database) => work(database),
            None => Err(StoreError::index(redb::Error::DatabaseClosed)),
        }
    }

    fn database(&self) -> RwLockReadGuard<'_, Option<Database>> {
        // A thread that panicked with the lock was using the database, not replacing it.
        self.database.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Opens the database again after an IO error. If that fails, the next use fails too and tries
    /// again.
    fn reopen(&self) {
        let mut database = self.database.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        // The old database holds the file's lock until it is dropped.
        *database = None;
        *database = open_database(&self.path).ok();
    }

    pub(super) fn number(&self, name: &str) -> Result<u64, StoreError> {
        Ok(self.number_if_any(name)?.unwrap_or(0))
    }

    pub(super) fn number_if_any(&self, name: &str) -> Result<Option<u64>, StoreError> {
        self.read(|transaction| {
            let number = transaction.open_table(NUMBERS)?.get(name)?;
            Ok(number.map(|number| number.value()))
        })
    }

    pub(super) fn marker(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|transaction| {
            let marker = transaction.open_table(MARKER)?.get(())?;
            Ok(marker.map(|marker| marker.value().to_vec()))
        })
    }

    pub(super) fn set_marker(&self, marker: &[u8]) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.open_table(MARKER)?.insert((), marker)?;
            Ok(())
        })
    }

    pub(super) fn next_file(&self) -> Result<u64, StoreError> {
        self.number(NEXT_FILE)
    }

    pub(super) fn row(&self, key: &ShardKey) -> Result<Option<Row>, StoreError> {
        self.read(|transaction| {
            let row = transaction.open_table(SHARDS)?.get(key.bytes())?;
            Ok(row.map(|row| Row::from_bytes(row.value())).transpose()?)
        })
    }

    pub(super) fn value(
        &self,
        table: Table<'_>,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|transaction| {
            let value = transaction.open_table(table)?.get(key)?;
            Ok(value.map(|value| value.value().to_vec()))
        })
    }

    pub(super) fn contains(
        &self,
        table: TableDefinition<'_, &'static [u8], ()>,
        key: &[u8],
    ) -> Result<bool, StoreError> {
        self.read(|transaction| Ok(transaction.open_table(table)?.get(key)?.is_some()))
    }

    pub(super) fn rows_after(
        &self,
        after: Option<&ShardKey>,
        limit: usize,
    ) -> Result<Vec<Row>, StoreError> {
        let from = after.map_or(&[][..], ShardKey::bytes);
        self.read(|transaction| {
            let shards = transaction.open_table(SHARDS)?;
            let mut out = Vec::new();
            for row in shards.range(from..)? {
                let (key, row) = row?;
                if out.len() == limit {
                    break;
                }
                if key.value() != from {
                    out.push(Row::from_bytes(row.value())?);
                }
            }
            Ok(out)
        })
    }

    pub(super) fn due(
        &self,
        now_ms: LedgerTime,
        limit: usize,
    ) -> Result<Vec<(DealId, u8)>, StoreError> {
        self.read(|transaction| {
            let due = transaction.open_table(DUE)?;
            let mut out = Vec::new();
            for row in due.range::<&[u8]>(..)? {
                let (key, _) = row?;
                let mut key = Reader::new(key.value());
                let due_ms = LedgerTime(u64::from_be_bytes(key.array()?));
                if due_ms > now_ms || out.len() == limit {
                    break;
                }
                out.push((DealId::decode(&mut key)?, u8::decode(&mut key)?));
            }
            Ok(out)
        })
    }

    pub(super) fn knows_file(&self, file: u64) -> Result<bool, StoreError> {
        self.read(|transaction| Ok(transaction.open_table(FILES)?.get(file)?.is_some()))
    }

    pub(super) fn garbage(&self) -> Result<Vec<u64>, StoreError> {
        self.read(|transaction| {
            let garbage = transaction.open_table(GARBAGE)?;
            garbage.iter()?.map(|row| Ok(row?.0.value())).collect()
        })
    }

    /// Does not wait for the disk: removing a file a second time does no harm.
    pub(super) fn forget_garbage(&self, files: &[u64]) -> Result<(), StoreError> {
        self.write_soon(|transaction| {
            let mut garbage = transaction.open_table(GARBAGE)?;
            for file in files {
                garbage.remove(file)?;
            }
            Ok(())
        })
    }
}

/// Enters a shard. Refuses it if a shard with its key exists.
pub(super) fn insert(transaction: &WriteTransaction, row: &Row) -> Result<(), StoreError> {
    let key = row.info.key();
    let mut shards = transaction.open_table(SHARDS)?;
    if shards.get(key.bytes())?.is_some() {
        return Err(StoreError::Exists { deal: row.info.deal, index: row.info.index });
    }
    shards.insert(key.bytes(), row.to_bytes().as_slice())?;
    transaction.open_table(FILES)?.insert(row.file, key.bytes())?;
    set_due(transaction, &key, None, Some(row.state))?;
    sums::count(transaction, None, Some(row))?;
    let mut numbers = transaction.open_table(NUMBERS)?;
    let next = numbers.get(NEXT_FILE)?.map_or(0, |next| next.value());
    numbers.insert(NEXT_FILE, next.max(row.file + 1))?;
    Ok(())
}

/// Drops a shard's row and notes its file as garbage. Returns the row, or `None` if there was none.
pub(super) fn remove(
    transaction: &WriteTransaction,
    key: &ShardKey,
) -> Result<Option<Row>, StoreError> {
    let mut shards = transaction.open_table(SHARDS)?;
    let row = shards.remove(key.bytes())?.map(|row| Row::from_bytes(row.value())).transpose()?;
    let Some(row) = row else { return Ok(None) };
    transaction.open_table(FILES)?.remove(row.file)?;
    transaction.open_table(GARBAGE)?.insert(row.file, ())?;
    set_due(transaction, key, Some(row.state), None)?;
    sums::count(transaction, Some(&row), None)?;
    transaction.open_table(DAMAGED)?.remove(key.bytes())?;
    Ok(Some(row))
}

/// A shard's row; `None` if the shard is not stored.
pub(super) fn row(
    transaction: &WriteTransaction,
    key: &ShardKey,
) -> Result<Option<Row>, StoreError> {
    let shards = transaction.open_table(SHARDS)?;
    Ok(shards.get(key.bytes())?.map(|row| Row::from_bytes(row.value())).transpose()?)
}

/// The state of a shard; `None` if the shard is not stored.
pub(super) fn state(
    transaction: &WriteTransaction,
    key: &ShardKey,
) -> Result<Option<ShardState>, StoreError> {
    Ok(row(transaction, key)?.map(|row| row.state))
}

/// Replaces a shard's acceptance. Returns `None` if the shard is not stored.
pub(super) fn set_acceptance(
    transaction: &WriteTransaction,
    key: &ShardKey,
    acceptance: &[u8],
) -> Result<Option<()>, StoreError> {
    let mut shards = transaction.open_table(SHARDS)?;
    let row = shards.get(key.bytes())?.map(|row| Row::from_bytes(row.value())).transpose()?;
    let Some(row) = row else { return Ok(None) };
    let row = Row { acceptance: acceptance.to_vec(), ..row };
    shards.insert(key.bytes(), row.to_bytes().as_slice())?;
    Ok(Some(()))
}

/// Sets the state of a shard. Returns `None` if the shard is not stored.
pub(super) fn mark(
    transaction: &WriteTransaction,
    key: &ShardKey,
    state: ShardState,
) -> Result<Option<()>, StoreError> {
    let mut shards = transaction.open_table(SHARDS)?;
    let row = shards.get(key.bytes())?.map(|row| Row::from_bytes(row.value())).transpose()?;
    let Some(row) = row else { return Ok(None) };
    let after = Row { state, ..row.clone() };
    shards.insert(key.bytes(), after.to_bytes().as_slice())?;
    set_due(transaction, key, Some(row.state), Some(state))?;
    sums::count(transaction, Some(&row), Some(&after))?;
    Ok(Some(()))
}

pub(super) fn set_number(
    transaction: &WriteTransaction,
    name: &str,
    number: u64,
) -> Result<(), StoreError> {
    transaction.open_table(NUMBERS)?.insert(name, number)?;
    Ok(())
}

/// The stored shards of a deal.
pub(super) fn keys_of_deal(
    transaction: &WriteTransaction,
    deal: &DealId,
) -> Result<Vec<ShardKey>, StoreError> {
    let (first, last) = (ShardKey::new(deal, 0), ShardKey::new(deal, u8::MAX));
    let shards = transaction.open_table(SHARDS)?;
    let rows = shards.range(first.bytes()..=last.bytes())?;
    rows.map(|row| Ok(Row::from_bytes(row?.1.value())?.info.key())).collect()
}

fn set_due(
    transaction: &WriteTransaction,
    key: &ShardKey,
    before: Option<ShardState>,
    after: Option<ShardState>,
) -> Result<(), StoreError> {
    let mut due = transaction.open_table(DUE)?;
    if let Some(due_ms) = before.and_then(ShardState::due_ms) {
        due.remove(key.due(due_ms).as_slice())?;
    }
    if let Some(due_ms) = after.and_then(ShardState::due_ms) {
        due.insert(key.due(due_ms).as_slice(), ())?;
    }
    Ok(())
}

/// Whether the database refuses all further work after this error.
fn is_broken(error: &StoreError) -> bool {
    match error {
        StoreError::Full(_) => true,
        StoreError::Index(error) => matches!(
            **error,
            redb::Error::DatabaseClosed | redb::Error::Io(_) | redb::Error::PreviousIo
        ),
        _ => false,
    }
}

fn open_database(path: &Path) -> Result<Database, StoreError> {
    match crate::open_database(path, CACHE_BYTES) {
        Err(DatabaseError::DatabaseAlreadyOpen) => Err(StoreError::InUse { path: path.to_owned() }),
        Err(DatabaseError::Storage(StorageError::Io(error))) => {
            Err(StoreError::io("open", path, error))
        }
        opened => opened.map_err(|error| StoreError::index(error.into())),
    }
}

fn create_tables(transaction: &WriteTransaction) -> Result<(), StoreError> {
    for table in [SHARDS, CUSTODY, CUSTODY_WAITS, COUNTERS, READS, UNPAID, DAMAGED] {
        transaction.open_table(table)?;
    }
    for table in [DUE, REVOKED, REFUNDED] {
        transaction.open_table(table)?;
    }
    transaction.open_table(FILES)?;
    transaction.open_table(GARBAGE)?;
    transaction.open_table(SLOTS)?;
    transaction.open_table(PLACES)?;
    transaction.open_table(WAITING)?;
    transaction.open_table(HEAD)?;
    transaction.open_table(MARKER)?;
    transaction.open_table(SCRUB)?;
    let found = transaction.open_table(NUMBERS)?.get(VERSION)?.map(|version| version.value());
    match found {
        None => set_number(transaction, VERSION, LAYOUT),
        Some(LAYOUT) => Ok(()),
        Some(LAYOUT_WITHOUT_SUMS) => {
            sums::add_up(transaction)?;
            set_number(transaction, VERSION, LAYOUT)
        }
        Some(found) => Err(StoreError::Version { expected: LAYOUT, found }),
    }
}

/// Takes an index back to the layout before.
#[cfg(test)]
pub(super) fn without_sums(transaction: &WriteTransaction) -> Result<(), StoreError> {
    transaction.delete_table(UNPAID)?;
    transaction.open_table(UNPAID)?;
    transaction.open_table(NUMBERS)?.remove(sums::COUNT)?;
    set_number(transaction, VERSION, LAYOUT_WITHOUT_SUMS)
}
