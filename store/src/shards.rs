//! A node's disk: a directory of shard files, and the index that describes them.
//!
//! ```text
//! index.redb            the stored shards, and the small tables of a node
//! shards/0a/<number>    a shard's bytes, then its outboard
//! temporary/<number>    a shard that is still arriving
//! ```
//!
//! The index is authoritative. A shard is stored in four steps:
//!
//! 1. Files are created under `temporary`, a few at a time, and their names are synced together.
//! 2. The shard is written to one of them, and the file is synced.
//! 3. One durable commit enters the shard in the index.
//! 4. The file moves to `shards`.
//!
//! So a stop at any moment can leave a file under `temporary`. If the index does not list it, the
//! next start removes it. If the index lists it, the next start moves it.
//!
//! Removal goes the other way. One commit drops the row and notes the file's number as garbage;
//! then the file is removed. A start looks only at `temporary` and at the garbage, never at all
//! shards.
//!
//! The file system must guarantee one thing: a crash never leaves a rename half done.

mod damage;
mod file;
mod index;
mod memory;
mod reads;
mod rows;
mod slots;
mod sums;
mod writer;

pub use damage::{DamagedShard, Scrub};
pub use file::{Checking, ShardFile};
pub use memory::{Change, Charge, Counter, Custody, CustodyLimits, CustodyWaits};
pub use reads::{ReadKey, ReadLimits};
pub use rows::{Counts, Shard, ShardInfo, ShardState, Unpaid};
pub use slots::{SlotsHead, SlotsView};
pub use writer::{ShardWriter, Stored};

use std::{
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use index::Index;
use rows::{Row, ShardKey};
use symbolon_protocol::{LedgerTime, id::DealId, proof::Outboard};

use crate::{Damage, StoreError, durable, files};

/// A node's disk. Clones share it; dropping the last one closes it.
#[derive(Clone, Debug)]
pub struct Shards {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    index: Index,
    /// The number of the next file.
    next: AtomicU64,
    /// Bytes that unfinished writers have announced.
    coming: AtomicU64,
    /// Empty files under `temporary` with their numbers. Their names are on disk.
    made: Mutex<Vec<(u64, File)>>,
}

impl Shards {
    /// Opens the directory, and creates it if there is none. No other process can open it
    /// meanwhile. Cleans up after a process that stopped half-way.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        make(dir)?;
        let shards = dir.join("shards");
        // Where the disk with the shards is not mounted, an empty folder may lie in its place.
        let has_folders = folders(&shards).all(|folder| folder.is_dir());
        let index = Index::open(&dir.join("index.redb"))?;
        if !has_folders && index.number(sums::USED)? > 0 {
            // New empty folders would look as if no shard had ever been stored.
            return Err(StoreError::ShardsGone { path: shards });
        }
        make(&dir.join("temporary"))?;
        for folder in folders(&shards) {
            make(&folder)?;
        }
        // Sync the new folders before any file is stored in them.
        for made in [&shards, dir] {
            sync_dir(made)?;
        }
        let next = AtomicU64::new(index.next_file()?);
        let (dir, coming) = (dir.to_owned(), AtomicU64::new(0));
        let inner = Inner { dir, index, next, coming, made: Mutex::default() };
        inner.finish_moves()?;
        // A file that cannot be removed must not keep a node from starting.
        inner.collect_garbage().ok();
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Opens the directory and removes the shards whose files are gone. Returns their number.
    pub fn open_without_lost(dir: &Path) -> Result<(Self, u64), StoreError> {
        for folder in folders(&dir.join("shards")) {
            make(&folder)?;
        }
        let store = Self::open(dir)?;
        let (mut lost, mut after) = (0, None);
        loop {
            let page = store.inner.index.rows_after(after.as_ref(), LOST_PAGE)?;
            let Some(last) = page.last() else { return Ok((store, lost)) };
            after = Some(last.info.key());
            for row in page {
                if !store.inner.final_path(row.file).exists() {
                    store.remove(&row.info.deal, row.info.index)?;
                    lost += 1;
                }
            }
        }
    }

    /// The bytes that name the store's owner, in the caller's encoding; `None` if it was never
    /// marked.
    pub fn marker(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.index.marker()
    }

    /// Records the owner of the store.
    pub fn set_marker(&self, marker: &[u8]) -> Result<(), StoreError> {
        self.inner.index.set_marker(marker)
    }

    /// Records that the operator has accepted a loss: from now on the store may have less than the ledger asks for.
    pub fn accept_loss(&self) -> Result<(), StoreError> {
        self.inner.index.write(|transaction| index::set_number(transaction, index::LOSS, 1))
    }

    /// Whether a loss was accepted.
    pub fn has_accepted_loss(&self) -> Result<bool, StoreError> {
        Ok(self.inner.index.number(index::LOSS)? != 0)
    }

    /// Whether the store was never used: no shard has arrived and no block was followed.
    pub fn is_new(&self) -> Result<bool, StoreError> {
        Ok(self.inner.index.next_file()? == 0 && self.height()?.is_none())
    }

    /// Starts to store a shard. No part of it is visible before [`ShardWriter::finish`].
    pub fn begin(&self, info: ShardInfo) -> Result<ShardWriter, StoreError> {
        if self.inner.row(info.key())?.is_some() {
            return Err(StoreError::Exists { deal: info.deal, index: info.index });
        }
        ShardWriter::new(Arc::clone(&self.inner), info)
    }

    /// The record of a shard; `None` if it is not stored.
    pub fn info(&self, deal: &DealId, index: u8) -> Result<Option<Shard>, StoreError> {
        Ok(self.inner.row(ShardKey::new(deal, index))?.map(Row::into_shard))
    }

    /// Opens a shard for reading. It stays readable through this handle even after its removal.
    pub fn open_shard(&self, deal: &DealId, index: u8) -> Result<ShardFile, StoreError> {
        match self.inner.row(ShardKey::new(deal, index))? {
            Some(row) => ShardFile::open(&self.inner.final_path(row.file), row.into_shard()),
            None => Err(StoreError::NotFound { deal: *deal, index }),
        }
    }

    /// The same for a shard that is to be served: one that is known to be damaged does not open.
    pub fn open_whole(&self, deal: &DealId, index: u8) -> Result<ShardFile, StoreError> {
        match self.is_damaged(deal, index)? {
            true => Err(StoreError::Damaged { deal: *deal, index, why: Damage::Known }),
            false => self.open_shard(deal, index),
        }
    }

    /// Some bytes of a shard.
    pub fn read(
        &self,
        deal: &DealId,
        index: u8,
        offset: u64,
        length: u64,
    ) -> Result<Vec<u8>, StoreError> {
        self.open_shard(deal, index)?.read(offset, length)
    }

    /// The outboard of a shard.
    pub fn outboard(&self, deal: &DealId, index: u8) -> Result<Outboard, StoreError> {
        self.open_shard(deal, index)?.outboard()
    }

    /// Removes a shard and returns its record; `None` if it is not stored. If several callers
    /// remove it at the same time, one of them gets the record.
    pub fn remove(&self, deal: &DealId, index: u8) -> Result<Option<Shard>, StoreError> {
        self.remove_if(deal, index, |_| true)
    }

    /// Removes a shard that is unpaid at `now_ms` in the sense of [`expired`](Self::expired).
    /// Returns `None` if it is paid by now or not stored.
    pub fn remove_expired(
        &self,
        deal: &DealId,
        index: u8,
        now_ms: LedgerTime,
    ) -> Result<Option<Shard>, StoreError> {
        self.remove_if(deal, index, |state| state.due_ms().is_some_and(|due_ms| due_ms <= now_ms))
    }

    fn remove_if(
        &self,
        deal: &DealId,
        index: u8,
        goes: impl Fn(ShardState) -> bool,
    ) -> Result<Option<Shard>, StoreError> {
        let key = ShardKey::new(deal, index);
        let removed = self.inner.index.write(|transaction| {
            let state = index::state(transaction, &key)?;
            match state.is_some_and(&goes) {
                true => index::remove(transaction, &key),
                false => Ok(None),
            }
        })?;
        if removed.is_some() {
            // The shard is gone whether or not its file could be removed. The removal is tried
            // again with the next shard and at the next start.
            self.inner.collect_garbage().ok();
        }
        Ok(removed.map(Row::into_shard))
    }

    /// Removes the files of all removed shards.
    pub fn clear(&self) -> Result<(), StoreError> {
        self.inner.collect_garbage()
    }

    /// Gives an unpaid shard more time and stores the new acceptance. Returns `false` if the shard
    /// is no longer unpaid.
    pub fn renew(
        &self,
        deal: &DealId,
        index: u8,
        until_ms: LedgerTime,
        acceptance: &[u8],
    ) -> Result<bool, StoreError> {
        let key = ShardKey::new(deal, index);
        self.inner.index.write(|transaction| {
            let before_ms = match index::state(transaction, &key)? {
                Some(ShardState::Unpaid { until_ms }) => until_ms,
                Some(_) => return Ok(false),
                None => return Err(StoreError::NotFound { deal: *deal, index }),
            };
            index::set_acceptance(transaction, &key, acceptance)?;
            // An acceptance that was given before stays valid for the time that it states.
            let until_ms = until_ms.max(before_ms);
            index::mark(transaction, &key, ShardState::Unpaid { until_ms })?;
            Ok(true)
        })
    }

    /// Sets the state of a shard.
    pub fn mark(&self, deal: &DealId, index: u8, state: ShardState) -> Result<(), StoreError> {
        let key = ShardKey::new(deal, index);
        self.inner.index.write(|transaction| match index::mark(transaction, &key, state)? {
            Some(()) => Ok(()),
            None => Err(StoreError::NotFound { deal: *deal, index }),
        })
    }

    /// Replaces the acceptance that answers a repeated request.
    pub fn set_acceptance(
        &self,
        deal: &DealId,
        index: u8,
        acceptance: &[u8],
    ) -> Result<(), StoreError> {
        let key = ShardKey::new(deal, index);
        self.inner.index.write(|transaction| {
            match index::set_acceptance(transaction, &key, acceptance)? {
                Some(()) => Ok(()),
                None => Err(StoreError::NotFound { deal: *deal, index }),
            }
        })
    }

    /// The sums over all shards. They are kept with the rows, so this takes the same time however many there are.
    pub fn counts(&self) -> Result<Counts, StoreError> {
        sums::counts(&self.inner.index)
    }

    /// Bytes of all stored shards, without their outboards, which take another 0.39 %.
    pub fn used_bytes(&self) -> Result<u64, StoreError> {
        self.inner.index.number(sums::USED)
    }

    /// Bytes that unfinished writers have announced.
    #[must_use]
    pub fn coming_bytes(&self) -> u64 {
        self.inner.coming.load(Ordering::Relaxed)
    }

    /// Bytes that can still be written to the file system of the shards.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        let dir = &self.inner.dir;
        files::free_bytes(dir).map_err(|error| StoreError::io("ask for the space of", dir, error))
    }

    /// Up to `limit` shards after `after`, in the order of deal and index.
    pub fn list(
        &self,
        after: Option<(DealId, u8)>,
        limit: usize,
    ) -> Result<Vec<Shard>, StoreError> {
        let after = after.map(|(deal, index)| ShardKey::new(&deal, index));
        let rows = self.inner.index.rows_after(after.as_ref(), limit)?;
        Ok(rows.into_iter().map(Row::into_shard).collect())
    }

    /// Up to `limit` shards that are not paid: their time without a deal is over, or their deal has
    /// ended. Shards of ended deals come first, then those that have been unpaid longest.
    pub fn expired(
        &self,
        now_ms: LedgerTime,
        limit: usize,
    ) -> Result<Vec<(DealId, u8)>, StoreError> {
        self.inner.index.due(now_ms, limit)
    }
}

/// The folders in which the files of shards lie.
fn folders(shards: &Path) -> impl Iterator<Item = PathBuf> {
    (0..=u8::MAX).map(|low| shards.join(format!("{low:02x}")))
}

fn make(path: &Path) -> Result<(), StoreError> {
    files::private_dir(path).map_err(|error| StoreError::io("make", path, error))
}

fn sync_dir(path: &Path) -> Result<(), StoreError> {
    durable::sync_dir(path).map_err(|error| StoreError::io("sync", path, error))
}

/// Number of files whose names are synced together.
const MADE_AT_ONCE: usize = 8;

/// Number of shards whose files are checked in one step.
const LOST_PAGE: usize = 1024;

impl Inner {
    fn row(&self, key: ShardKey) -> Result<Option<Row>, StoreError> {
        self.index.row(&key)
    }

    fn temporary_dir(&self) -> PathBuf {
        self.dir.join("temporary")
    }

    fn temporary_path(&self, file: u64) -> PathBuf {
        self.temporary_dir().join(format!("{file:016x}"))
    }

    fn final_path(&self, file: u64) -> PathBuf {
        self.dir.join("shards").join(format!("{:02x}", file & 0xff)).join(format!("{file:016x}"))
    }

    /// Takes an empty file under `temporary` and its number. Its name is on disk already: one sync
    /// serves several files.
    fn new_file(&self) -> Result<(u64, File), StoreError> {
        // A thread that panicked with the lock left a valid list of files.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = made.pop() {
            return Ok(file);
        }
        let mut fresh = Vec::with_capacity(MADE_AT_ONCE);
        for _ in 0..MADE_AT_ONCE {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.temporary_path(number);
            let file = files::private_file(&path);
            fresh.push((number, file.map_err(|error| StoreError::io("make", path, error))?));
        }
        sync_dir(&self.temporary_dir())?;
        fresh.reverse();
        let first = fresh.pop();
        *made = fresh;
        Ok(first.expect("several were made"))
    }

    /// Moves a file to its final place, once the index lists it.
    fn publish(&self, file: u64) -> Result<(), StoreError> {
        let (from, to) = (self.temporary_path(file), self.final_path(file));
        fs::rename(&from, to).map_err(|error| StoreError::io("move", from, error))
    }

    /// Cleans up `temporary` after a stop: moves the files that the index lists and removes the
    /// others.
    fn finish_moves(&self) -> Result<(), StoreError> {
        let dir = self.temporary_dir();
        let failed = |error| StoreError::io("list", dir.clone(), error);
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let file = name.and_then(|name| u64::from_str_radix(name, 16).ok());
            match file {
                Some(file) if self.index.knows_file(file)? => self.publish(file)?,
                _ => {
                    fs::remove_file(&path).map_err(|error| StoreError::io("remove", path, error))?
                }
            }
        }
        Ok(())
    }

    /// Removes the files whose rows are gone. Their numbers are dropped only after their names are
    /// gone from disk too. Otherwise a power cut could bring a file back, and no later start would
    /// remove it.
    fn collect_garbage(&self) -> Result<(), StoreError> {
        let garbage = self.index.garbage()?;
        if garbage.is_empty() {
            return Ok(());
        }
        let mut folders = BTreeSet::new();
        for file in &garbage {
            // In the order in which a writer moves the file.
            for path in [self.temporary_path(*file), self.final_path(*file)] {
                if files::remove_if_there(&path)
                    .map_err(|error| StoreError::io("remove", &path, error))?
                {
                    folders.extend(path.parent().map(Path::to_owned));
                }
            }
        }
        for folder in &folders {
            sync_dir(folder)?;
        }
        self.index.forget_garbage(&garbage)
    }
}

#[cfg(test)]
mod tests;
