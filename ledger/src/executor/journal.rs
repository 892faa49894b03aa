//! What a validator writes down before it speaks: the log of the height that is being decided, and the guard.
//!
//! It is a file of its own beside the ledger's, because it says what this machine's key has signed, and not what the ledger
//! is. See `symbolon_consensus::guard`.

use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use symbolon_consensus::{Guard, Restored, message::Step};
use symbolon_net::Host;
use symbolon_protocol::{
    codec::{Decode, Encode},
    id::Hash,
};

use super::{opened, rows::disk};
use crate::error::LedgerError;

/// Entries by number, in their order.
const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// The guard's one row.
const GUARD: TableDefinition<'_, (), &[u8]> = TableDefinition::new("guard");

/// The open file.
pub(crate) struct Journal {
    database: Database,
    /// The number of the next entry.
    next: u64,
    /// Entries of heights below this one are dropped with the next flush.
    from_height: u64,
    entries: Vec<Vec<u8>>,
    guard: Option<Guard>,
}

impl Journal {
    /// Opens the file in a folder, and reads what is in it, for a ledger whose next block has this height.
    ///
    /// If the ledger's file was lost and this one was not, the log is of a later height. Then it is of no use, and the guard
    /// keeps this machine from signing before the others have taken the ledger beyond that height.
    pub(crate) fn open(folder: &Path, next: u64) -> Result<(Self, Restored), LedgerError> {
        let (journal, mut restored) = Self::read(folder)?;
        if restored.log.iter().any(|entry| next < height_of(entry)) {
            tracing::warn!(
                "the ledger is older than what this validator has signed: it has to catch up first"
            );
            restored.log.clear();
        }
        Ok((journal, restored))
    }

    fn read(folder: &Path) -> Result<(Self, Restored), LedgerError> {
        let database =
            symbolon_store::open_database(&folder.join(FILE), CACHE_BYTES).map_err(disk)?;
        let write = database.begin_write().map_err(disk)?;
        write.open_table(LOG).map_err(disk)?;
        write.open_table(GUARD).map_err(disk)?;
        write.commit().map_err(disk)?;
        let read = database.begin_read().map_err(disk)?;
        let (next, restored) = read_all(&read)?;
        drop(read);
        let journal = Self { database, next, from_height: 0, entries: Vec::new(), guard: None };
        Ok((journal, restored))
    }

    /// Appends an entry, with the next flush.
    pub(crate) fn log(&mut self, entry: Vec<u8>) {
        self.entries.push(entry);
    }

    /// Replaces the guard, with the next flush.
    pub(crate) fn guard(&mut self, guard: Guard) {
        self.guard = Some(guard);
    }

    /// Drops what is of heights below this one, with the next flush: it costs no write of its own.
    pub(crate) fn forget(&mut self, height: u64) {
        self.from_height = height;
    }

    /// Puts entries and guard on the disk together.
    pub(crate) fn flush(&mut self) -> Result<(), LedgerError> {
        if self.entries.is_empty() && self.guard.is_none() {
            return Ok(());
        }
        let write = self.database.begin_write().map_err(disk)?;
        {
            let mut log = write.open_table(LOG).map_err(disk)?;
            let from_height = self.from_height;
            log.retain(|_, entry| from_height <= height_of(entry)).map_err(disk)?;
            for entry in self.entries.drain(..) {
                if from_height <= height_of(&entry) {
                    log.insert(self.next, entry.as_slice()).map_err(disk)?;
                    self.next += 1;
                }
            }
            if let Some(guard) = self.guard.take() {
                let mut table = write.open_table(GUARD).map_err(disk)?;
                table.insert((), guard.to_bytes().as_slice()).map_err(disk)?;
            }
        }
        write.commit().map_err(disk)
    }
}

/// The number of the next entry, and what is there.
fn read_all(read: &redb::ReadTransaction) -> Result<(u64, Restored), LedgerError> {
    let (mut next, mut log) = (0, Vec::new());
    for entry in read.open_table(LOG).map_err(disk)?.iter().map_err(disk)? {
        let (number, bytes) = entry.map_err(disk)?;
        next = number.value() + 1;
        log.push(bytes.value().to_vec());
    }
    let guards = read.open_table(GUARD).map_err(disk)?;
    let guard = ReadableTable::get(&guards, ()).map_err(disk)?;
    let guard = guard.map(|bytes| Guard::from_bytes(bytes.value())).transpose();
    let guard = guard.map_err(|error| LedgerError::Damaged(format!("the guard: {error}")))?;
    Ok((next, Restored { guard, log }))
}

/// What a validator has signed last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The height.
    pub height: u64,
    /// The round.
    pub round: u32,
    /// The last height of its log; `None` if that is empty.
    pub log: Option<u64>,
}

/// Looks at the journal of a folder, without writing. `None` if there is none, or if it says nothing was signed.
pub(super) fn look(folder: &Path) -> Result<Option<Signed>, LedgerError> {
    let path = folder.join(FILE);
    if !path.try_exists().map_err(disk)? {
        return Ok(None);
    }
    let database = opened::looked_at(&path, CACHE_BYTES)?;
    let read = database.begin_read().map_err(disk)?;
    // It was made, and the power went before there was anything in it.
    if matches!(read.open_table(GUARD), Err(redb::TableError::TableDoesNotExist(_))) {
        return Ok(None);
    }
    let (_, Restored { guard, log }) = read_all(&read)?;
    let log = log.iter().map(|entry| height_of(entry)).max();
    Ok(guard.map(|guard| Signed { height: guard.height, round: guard.round, log }))
}

/// Whether the journal of a folder says what was signed last.
pub fn has_guard(folder: &Path) -> Result<bool, LedgerError> {
    Ok(look(folder)?.is_some())
}

/// Makes the journal of a validator that has never signed, if its folder has none. So a journal that is lost is missed.
pub fn begin_guard(folder: &Path) -> Result<(), LedgerError> {
    match folder.join(FILE).try_exists().map_err(disk)? {
        true => Ok(()),
        false => put_guard(folder, 0),
    }
}

/// Lets the validator of a folder sign above a height only, whatever its journal says: what it may have signed before, the
/// journal of a copy does not know. It must not run.
pub async fn sign_after(host: &Host, folder: PathBuf, height: u64) -> Result<(), LedgerError> {
    host.blocking(move || put_guard(&folder, height)).await
}

fn put_guard(folder: &Path, height: u64) -> Result<(), LedgerError> {
    let (mut journal, restored) = Journal::read(folder)?;
    // No statement has this digest, so the log does not have it, and nothing is signed at this height.
    let (step, digest) = (Step::Precommit, Hash([0; 32]));
    let guard = Guard { height, round: u32::MAX, step, digest };
    if restored.guard.is_none_or(|known| known.place() < guard.place()) {
        journal.guard(guard);
        journal.forget(height.saturating_add(1));
    }
    journal.flush()
}

/// An entry begins with its height. One that is too short for that is kept, and damaged.
fn height_of(entry: &[u8]) -> u64 {
    entry.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}

/// The name of the file.
const FILE: &str = "validator.redb";
/// Memory of redb's cache: the log of one height has a few blocks at most.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use symbolon_consensus::message::Step;
    use symbolon_protocol::id::Hash;

    use super::*;

    fn entry(height: u64, text: u8) -> Vec<u8> {
        [&height.to_le_bytes()[..], &[text]].concat()
    }

    fn guard(height: u64) -> Guard {
        Guard { height, round: 0, step: Step::Prevote, digest: Hash([1; 32]) }
    }

    #[test]
    fn what_was_flushed_is_there_in_its_order_and_old_heights_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (mut journal, restored) = Journal::open(folder.path(), 8).unwrap();
        assert!(restored.log.is_empty() && restored.guard.is_none());
        journal.log(entry(7, 1));
        journal.log(entry(7, 2));
        journal.guard(guard(7));
        journal.flush().unwrap();
        journal.log(entry(7, 3));
        journal.guard(guard(9));
        // The power goes before the flush.
        drop(journal);
        let (mut journal, restored) = Journal::open(folder.path(), 8).unwrap();
        assert_eq!(restored.log, [entry(7, 1), entry(7, 2)]);
        assert_eq!(restored.guard, Some(guard(7)));
        journal.forget(8);
        journal.log(entry(8, 4));
        journal.flush().unwrap();
        journal.log(entry(8, 5));
        journal.flush().unwrap();
        drop(journal);
        let (journal, restored) = Journal::open(folder.path(), 8).unwrap();
        drop(journal);
        assert_eq!(restored.log, [entry(8, 4), entry(8, 5)]);
        assert_eq!(restored.guard, Some(guard(7)), "the guard stays until there is a newer one");
        let (_, restored) = Journal::open(folder.path(), 3).unwrap();
        assert!(restored.log.is_empty(), "the ledger was lost");
        assert_eq!(restored.guard, Some(guard(7)));
        assert_eq!(
            look(folder.path()).unwrap(),
            Some(Signed { height: 7, round: 0, log: Some(8) })
        );
    }

    #[tokio::test]
    async fn a_copy_signs_above_a_height_only() {
        let (folder, host) = (tempfile::tempdir().unwrap(), Host::system());
        let path = folder.path().to_path_buf();
        assert_eq!(look(&path).unwrap(), None);
        assert!(!path.join(FILE).exists(), "a look makes no file");
        let (mut journal, _) = Journal::open(&path, 8).unwrap();
        journal.log(entry(9, 1));
        journal.guard(guard(9));
        journal.flush().unwrap();
        drop(journal);
        sign_after(&host, path.clone(), 12).await.unwrap();
        let (journal, restored) = Journal::open(&path, 13).unwrap();
        drop(journal);
        let held = restored.guard.unwrap();
        assert_eq!((held.height, held.round, restored.log), (12, u32::MAX, vec![]));
        // It never goes back.
        sign_after(&host, path.clone(), 3).await.unwrap();
        assert_eq!(look(&path).unwrap().unwrap().height, 12);
    }
}
