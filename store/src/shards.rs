//! A node's disk: a directory of shard files and the index that says what they are.
//!
//! ```text
//! index.redb            what is stored, and the small tables a node remembers
//! shards/0a/<number>    a shard's bytes, then its outboard
//! temporary/<number>    a shard that is coming in
//! ```
//!
//! The index is the truth. Files are made under `temporary`, a few at a time, and their names are synced
//! together. A shard is written to one of them, synced, then entered in the index by one durable commit,
//! then moved to `shards`. So a stop at any moment leaves one of two things behind: a file under `temporary`
//! that the index does not know, which the next start removes, or one that it knows, which the next start
//! moves. Removal goes the other way: the commit that drops the row notes the file's number as garbage, and
//! the file goes after it. A start looks at `temporary` and at the garbage only, never at all shards.
//!
//! This asks one thing of the file system: that a rename is never half done after a crash.

mod file;
mod index;
mod memory;
mod rows;
mod slots;
mod writer;

pub use file::ShardFile;
pub use memory::{Change, Charge, Counter, CustodyLimits, CustodyWaits};
pub use rows::{Shard, ShardInfo, ShardState};
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
use symbolon_protocol::{id::DealId, proof::Outboard};

use crate::{StoreError, durable, files};

/// A node's disk. Clones share it; the last one to go closes it.
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
    /// Bytes announced by writers that are not finished.
    coming: AtomicU64,
    /// Empty files under `temporary` with their numbers, whose names are on disk.
    made: Mutex<Vec<(u64, File)>>,
}

impl Shards {
    /// Opens the directory, and makes it if there is none. It is this process's alone from now on.
    /// Clears away what an earlier process left half-done.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        make(dir)?;
        let shards = dir.join("shards");
        let has_folder = shards.is_dir();
        let index = Index::open(&dir.join("index.redb"))?;
        if !has_folder && index.number(index::USED)? > 0 {
            // An empty folder in its place would look as if nothing had ever been stored.
            return Err(StoreError::ShardsGone { path: shards });
        }
        make(&dir.join("temporary"))?;
        for low in 0..=u8::MAX {
            make(&shards.join(format!("{low:02x}")))?;
        }
        // Before anything is kept in them.
        for made in [&shards, dir] {
            sync_dir(made)?;
        }
        let next = AtomicU64::new(index.next_file()?);
        let (dir, coming) = (dir.to_owned(), AtomicU64::new(0));
        let inner = Inner { dir, index, next, coming, made: Mutex::default() };
        inner.finish_moves()?;
        // A file that cannot be removed keeps no node from starting.
        inner.collect_garbage().ok();
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same, and lets the shards go whose files are gone; says how many.
    pub fn open_without_lost(dir: &Path) -> Result<(Self, u64), StoreError> {
        make(&dir.join("shards"))?;
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

    /// Whose store it is, in the words of who marked it; `None` when nobody has.
    pub fn marker(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.index.marker()
    }

    /// Says whose store it is.
    pub fn set_marker(&self, marker: &[u8]) -> Result<(), StoreError> {
        self.inner.index.set_marker(marker)
    }

    /// Whether nothing was ever kept here: no shard has come and no block was followed.
    pub fn is_new(&self) -> Result<bool, StoreError> {
        Ok(self.inner.index.next_file()? == 0 && self.height()?.is_none())
    }

    /// Starts to take a shard in. Nothing of it is there before [`ShardWriter::finish`].
    pub fn begin(&self, info: ShardInfo) -> Result<ShardWriter, StoreError> {
        if self.inner.row(info.key())?.is_some() {
            return Err(StoreError::Exists { deal: info.deal, index: info.index });
        }
        ShardWriter::new(Arc::clone(&self.inner), info)
    }

    /// What is known of a shard; `None` if it is not stored.
    pub fn info(&self, deal: &DealId, index: u8) -> Result<Option<Shard>, StoreError> {
        Ok(self.inner.row(ShardKey::new(deal, index))?.map(Row::into_shard))
    }

    /// Opens a shard for reading. It stays readable through this even when it is removed.
    pub fn open_shard(&self, deal: &DealId, index: u8) -> Result<ShardFile, StoreError> {
        match self.inner.row(ShardKey::new(deal, index))? {
            Some(row) => ShardFile::open(&self.inner.final_path(row.file), row.into_shard()),
            None => Err(StoreError::NotFound { deal: *deal, index }),
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

    /// Removes a shard and says what it was; `None` when it is not there. Of several who remove it at
    /// the same time one gets it.
    pub fn remove(&self, deal: &DealId, index: u8) -> Result<Option<Shard>, StoreError> {
        self.remove_if(deal, index, |_| true)
    }

    /// Removes a shard that nobody pays for at `now_ms`, as [`expired`](Self::expired) has it; `None` also
    /// when somebody does by now.
    pub fn remove_expired(
        &self,
        deal: &DealId,
        index: u8,
        now_ms: u64,
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
            // The shard is gone whether or not its file could be removed: that is tried again with the
            // next one, and at the next start.
            self.inner.collect_garbage().ok();
        }
        Ok(removed.map(Row::into_shard))
    }

    /// Makes sure that no file of a removed shard is left.
    pub fn clear(&self) -> Result<(), StoreError> {
        self.inner.collect_garbage()
    }

    /// Gives an unpaid shard more time, with the acceptance that goes with it; `false` when it is not
    /// unpaid any more.
    pub fn renew(
        &self,
        deal: &DealId,
        index: u8,
        until_ms: u64,
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
            // An acceptance that was given before is good for as long as it says.
            let until_ms = until_ms.max(before_ms);
            index::mark(transaction, &key, ShardState::Unpaid { until_ms })?;
            Ok(true)
        })
    }

    /// Sets where a shard stands.
    pub fn mark(&self, deal: &DealId, index: u8, state: ShardState) -> Result<(), StoreError> {
        let key = ShardKey::new(deal, index);
        self.inner.index.write(|transaction| match index::mark(transaction, &key, state)? {
            Some(()) => Ok(()),
            None => Err(StoreError::NotFound { deal: *deal, index }),
        })
    }

    /// Replaces the acceptance that a repeated request is answered with.
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

    /// Bytes of all stored shards. Their outboards, 0.39 % of that, come on top.
    pub fn used_bytes(&self) -> Result<u64, StoreError> {
        self.inner.index.number(index::USED)
    }

    /// Bytes announced by writers that have not finished.
    #[must_use]
    pub fn coming_bytes(&self) -> u64 {
        self.inner.coming.load(Ordering::Relaxed)
    }

    /// Bytes that can still be written to the file system the shards are on.
    pub fn free_bytes(&self) -> Result<u64, StoreError> {
        let dir = &self.inner.dir;
        files::free_bytes(dir).map_err(|error| StoreError::io("ask for the space of", dir, error))
    }

    /// Up to `limit` shards that come after `after`, by deal and index.
    pub fn list(
        &self,
        after: Option<(DealId, u8)>,
        limit: usize,
    ) -> Result<Vec<Shard>, StoreError> {
        let after = after.map(|(deal, index)| ShardKey::new(&deal, index));
        let rows = self.inner.index.rows_after(after.as_ref(), limit)?;
        Ok(rows.into_iter().map(Row::into_shard).collect())
    }

    /// Up to `limit` shards that nobody pays for: unpaid beyond their time, or ended. Those that ended
    /// come first, then those that have been unpaid longest.
    pub fn expired(&self, now_ms: u64, limit: usize) -> Result<Vec<(DealId, u8)>, StoreError> {
        self.inner.index.due(now_ms, limit)
    }
}

fn make(path: &Path) -> Result<(), StoreError> {
    files::private_dir(path).map_err(|error| StoreError::io("make", path, error))
}

fn sync_dir(path: &Path) -> Result<(), StoreError> {
    durable::sync_dir(path).map_err(|error| StoreError::io("sync", path, error))
}

/// Files whose names are synced together.
const MADE_AT_ONCE: usize = 8;

/// Shards looked at in one go for their files.
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

    /// An empty file under `temporary`, and its number. Its name is on disk: one sync serves several.
    fn new_file(&self) -> Result<(u64, File), StoreError> {
        // Whoever panicked left files that are there.
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

    /// Moves a file to where it belongs, once the index knows it.
    fn publish(&self, file: u64) -> Result<(), StoreError> {
        let (from, to) = (self.temporary_path(file), self.final_path(file));
        fs::rename(&from, to).map_err(|error| StoreError::io("move", from, error))
    }

    /// What a stop left under `temporary`: moved if the index knows it, else removed.
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

    /// Removes the files whose rows are gone. They are forgotten once their names are gone from the disk too:
    /// else a power cut could bring them back, and nobody would remove them.
    fn collect_garbage(&self) -> Result<(), StoreError> {
        let garbage = self.index.garbage()?;
        if garbage.is_empty() {
            return Ok(());
        }
        let mut folders = BTreeSet::new();
        for file in &garbage {
            // In the order in which a writer moves it.
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
