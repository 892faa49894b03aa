//! A client's local index: rows of opaque bytes in numbered tables.
//!
//! The caller seals the values and chooses the keys; this module does not know what they mean. A process opens the
//! file once and keeps it open: for reading at its first read, for writing at its first write. Other processes have
//! it open at the same time. A reader sees the last change that was complete when the read began, and waits for no
//! other process. A writer waits for the writers before it. Opening to read writes nothing, so it waits for no disk.

#[cfg(test)]
mod tests;

use std::{
    fmt, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use redb::{
    Database, DatabaseError, ReadOnlyDatabase, ReadOnlyTable, ReadTransaction, ReadableDatabase,
    ReadableTable, StorageError, Table, TableDefinition, TableError,
};
use thiserror::Error;

use crate::{
    database::{Backend, open_shared, read_shared},
    error::{index_errors, is_full},
    files,
};

/// How long to sleep between two attempts to open a catalog that an older program has for itself, or that another
/// process is making.
const RETRY: Duration = Duration::from_millis(20);

/// Memory for pages where rows are only read, and where they are written as well: of this a half holds what was
/// written.
const CACHE_BYTES: [usize; 2] = [16 << 20, 32 << 20];

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

/// Why a catalog did not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The disk is full. Nothing of the change was kept.
    #[error("the disk is full")]
    Full(#[source] io::Error),
    /// Another process was at it for all of the time that was given.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// Its file.
        path: PathBuf,
    },
    /// The database failed.
    #[error("the catalog failed: {0}")]
    Index(#[source] Box<redb::Error>),
    /// The file system failed.
    #[error("cannot open {}: {source}", path.display())]
    Io {
        /// Its file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl CatalogError {
    fn index(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(source) if is_full(&source) => Self::Full(source),
            other => Self::Index(Box::new(other)),
        }
    }
}

index_errors!(CatalogError: StorageError, TableError);

/// A change of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogChange {
    /// Writes a row.
    Put {
        /// Which table.
        table: u8,
        /// Under which key.
        key: Vec<u8>,
        /// What.
        value: Vec<u8>,
    },
    /// Removes a row, if it is there.
    Remove {
        /// Which table.
        table: u8,
        /// Under which key.
        key: Vec<u8>,
    },
}

/// A row's key and value.
pub type CatalogRow = (Vec<u8>, Vec<u8>);

/// A client's local index. Nothing is opened before it is needed.
pub struct Catalog {
    path: PathBuf,
    wait: Duration,
    open: Mutex<Open>,
    /// Held by the one thread that writes.
    writing: Mutex<()>,
    /// Set when the database failed: redb refuses all work after that, so the file is opened anew.
    failed: Arc<AtomicBool>,
    opened: AtomicU64,
}

/// What is open: to write, or only to read.
#[derive(Default)]
struct Open {
    to_read: Option<Arc<Handle<ReadOnlyDatabase>>>,
    to_write: Option<Arc<Handle<Database>>>,
}

struct Handle<D> {
    database: D,
    backend: Backend,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Locks even after a thread panicked while it held the lock: a handle is set in one step, so it is never half set.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Catalog {
    /// The catalog in the file `path`, which is made when it is first used. Nothing waits for another process longer
    /// than `wait`.
    pub fn new(path: &Path, wait: Duration) -> Self {
        Self {
            path: path.to_owned(),
            wait,
            open: Mutex::default(),
            writing: Mutex::default(),
            failed: Arc::default(),
            opened: AtomicU64::new(0),
        }
    }

    /// How often the file was opened. It is once to read and once to write, as long as it stays the same file and the
    /// disk does not fail.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// All rows as they are now, whatever is written meanwhile.
    pub fn read(&self) -> Result<CatalogReader, CatalogError> {
        let mut open = self.open();
        if open.to_write.is_none() && open.to_read.is_none() {
            self.open_to_read(&mut open)?;
        }
        let (begun, kept) = match (&open.to_write, &open.to_read) {
            (Some(handle), _) => (handle.database.begin_read(), Kept::ToWrite(handle.clone())),
            (None, Some(handle)) => (handle.database.begin_read(), Kept::ToRead(handle.clone())),
            (None, None) => unreachable!("it was opened"),
        };
        drop(open);
        let rows = begun.map_err(|error| self.failure(error.into())).and_then(|begun| {
            rows_of(&begun).map_err(|error| self.failure(redb::Error::from(error)))
        })?;
        Ok(CatalogReader { rows, failed: self.failed.clone(), _kept: kept })
    }

    /// Runs `work`, which changes rows. When this returns, all that `work` wrote is on the disk, or none of it. No
    /// other writer runs meanwhile; readers see the rows as they were before.
    pub fn change<T, E: From<CatalogError>>(
        &self,
        work: impl FnOnce(&mut CatalogWriter<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let _one = lock(&self.writing);
        let handle = self.to_write()?;
        let begun = handle.backend.turn().map_err(redb::Error::from).and_then(|_turn| {
            // The next writer waits here; the writers behind it wait for the turn.
            handle.database.begin_write().map_err(redb::Error::from)
        });
        let transaction = begun.map_err(|error| self.failure(error))?;
        let (done, changed) = {
            let rows = transaction.open_table(ROWS);
            let rows = rows.map_err(|error| self.failure(error.into()))?;
            let mut writer = CatalogWriter { rows, failed: &self.failed, changed: false };
            (work(&mut writer)?, writer.changed)
        };
        if changed {
            transaction.commit().map_err(|error| self.failure(error.into()))?;
        }
        Ok(done)
    }

    /// Writes one row.
    pub fn put(&self, table: u8, key: &[u8], value: &[u8]) -> Result<(), CatalogError> {
        let change = CatalogChange::Put { table, key: key.to_vec(), value: value.to_vec() };
        self.write([change])
    }

    /// Removes one row, if it is there.
    pub fn remove(&self, table: u8, key: &[u8]) -> Result<(), CatalogError> {
        self.write([CatalogChange::Remove { table, key: key.to_vec() }])
    }

    /// Makes all changes, in order, or none. They are on disk when this returns.
    /// The changes are taken one by one, so the caller need not hold all of them at once.
    pub fn write(
        &self,
        changes: impl IntoIterator<Item = CatalogChange>,
    ) -> Result<(), CatalogError> {
        self.change(|rows| changes.into_iter().try_for_each(|change| rows.apply(change)))
    }

    /// Gives the room that removed rows have left in the file back to the disk. It takes as long as writing the
    /// file takes, and everybody else waits for that: it is left undone where somebody is reading just now.
    pub fn compact(&self) -> Result<(), CatalogError> {
        let _one = lock(&self.writing);
        drop(self.to_write()?);
        let mut open = self.open();
        let Some(mut handle) = open.to_write.take() else { return Ok(()) };
        let compacted = match Arc::get_mut(&mut handle) {
            Some(handle) => handle.database.compact().map(drop),
            None => Ok(()),
        };
        open.to_write = Some(handle);
        drop(open);
        match compacted {
            Ok(()) | Err(redb::CompactionError::TransactionInProgress) => Ok(()),
            Err(error) => Err(self.failure(error.into())),
        }
    }

    /// What is open, if it is still the file that has the name, and works.
    fn open(&self) -> MutexGuard<'_, Open> {
        let mut open = lock(&self.open);
        let is_at = |backend: &Backend| backend.is_at(&self.path).unwrap_or(false);
        let gone = open.to_read.as_ref().is_some_and(|handle| !is_at(&handle.backend))
            || open.to_write.as_ref().is_some_and(|handle| !is_at(&handle.backend));
        if self.failed.swap(false, Ordering::Relaxed) || gone {
            *open = Open::default();
        }
        open
    }

    fn open_to_read(&self, open: &mut Open) -> Result<(), CatalogError> {
        let opened = self.patiently(|path| match read_shared(path, CACHE_BYTES[0], self.wait) {
            Ok(opened) => Ok(Some(opened)),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(DatabaseError::DatabaseAlreadyOpen),
            // There is none yet, or it has to be repaired first; or what is wrong is said better.
            Err(_) => Ok(None),
        })?;
        match opened {
            Some((database, backend)) => {
                open.to_read = Some(Arc::new(Handle { database, backend }));
            }
            None => self.open_to_write(open)?,
        }
        Ok(())
    }

    fn open_to_write(&self, open: &mut Open) -> Result<(), CatalogError> {
        let opened = self.patiently(|path| open_shared(path, CACHE_BYTES[1], self.wait))?;
        let (database, backend) = opened;
        // One that is open to write serves readers too.
        *open = Open { to_read: None, to_write: Some(Arc::new(Handle { database, backend })) };
        Ok(())
    }

    fn to_write(&self) -> Result<Arc<Handle<Database>>, CatalogError> {
        let mut open = self.open();
        if open.to_write.is_none() {
            self.open_to_write(&mut open)?;
        }
        Ok(open.to_write.clone().expect("it was opened"))
    }

    /// Tries to open as long as somebody else is in the way.
    fn patiently<T>(
        &self,
        open: impl Fn(&Path) -> Result<T, DatabaseError>,
    ) -> Result<T, CatalogError> {
        let path = self.path.as_path();
        if let Some(parent) = path.parent() {
            files::private_dir(parent).map_err(|source| self.io(source))?;
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        let start = Instant::now();
        loop {
            match open(path) {
                Ok(opened) => return Ok(opened),
                Err(DatabaseError::DatabaseAlreadyOpen) if start.elapsed() < self.wait => {
                    thread::sleep(RETRY.min(self.wait));
                }
                Err(DatabaseError::DatabaseAlreadyOpen) => {
                    return Err(CatalogError::InUse { path: path.to_owned() });
                }
                Err(error) => return Err(self.error(error.into())),
            }
        }
    }

    fn io(&self, source: io::Error) -> CatalogError {
        match source.kind() {
            // The lock was not released in time.
            io::ErrorKind::WouldBlock => CatalogError::InUse { path: self.path.clone() },
            _ if is_full(&source) => CatalogError::Full(source),
            _ => CatalogError::Io { path: self.path.clone(), source },
        }
    }

    fn error(&self, error: redb::Error) -> CatalogError {
        match error {
            redb::Error::Io(source) => self.io(source),
            other => CatalogError::index(other),
        }
    }

    /// The same, of a file that is open.
    fn failure(&self, error: redb::Error) -> CatalogError {
        let error = self.error(error);
        if !matches!(error, CatalogError::InUse { .. }) {
            self.failed.store(true, Ordering::Relaxed);
        }
        error
    }
}

/// The table; none where nothing was ever written.
fn rows_of(transaction: &ReadTransaction) -> Result<Option<ReadRows>, TableError> {
    match transaction.open_table(ROWS) {
        Ok(rows) => Ok(Some(rows)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

type ReadRows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Rows that can be read.
pub trait CatalogRows {
    /// The value of a row.
    fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, CatalogError>;

    /// Hands out the rows of a table whose keys begin with `prefix` and come after `after`, in key order and one
    /// at a time, until it is told to stop. Gives what it was stopped with.
    fn each<T>(
        &self,
        table: u8,
        prefix: &[u8],
        after: Option<&[u8]>,
        take: impl FnMut(&[u8], &[u8]) -> ControlFlow<T>,
    ) -> Result<Option<T>, CatalogError>;

    /// Up to `limit` rows of a table whose keys begin with `prefix` and come after `after`, as key
    /// and value, in key order.
    fn scan(
        &self,
        table: u8,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<CatalogRow>, CatalogError> {
        let mut out = Vec::new();
        if limit > 0 {
            self.each(table, prefix, after, |key, value| {
                out.push((key.to_vec(), value.to_vec()));
                if out.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
        Ok(out)
    }
}

/// What keeps the database open as long as somebody reads.
#[expect(dead_code, reason = "it lives as long as the reader")]
enum Kept {
    ToRead(Arc<Handle<ReadOnlyDatabase>>),
    ToWrite(Arc<Handle<Database>>),
}

/// All rows as they were at one moment.
pub struct CatalogReader {
    rows: Option<ReadRows>,
    failed: Arc<AtomicBool>,
    _kept: Kept,
}

impl fmt::Debug for CatalogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogReader").finish_non_exhaustive()
    }
}

/// All rows while they are changed: what was written is read again.
pub struct CatalogWriter<'a> {
    rows: Table<'a, &'static [u8], &'static [u8]>,
    failed: &'a AtomicBool,
    changed: bool,
}

impl fmt::Debug for CatalogWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogWriter").field("changed", &self.changed).finish_non_exhaustive()
    }
}

impl CatalogWriter<'_> {
    /// Makes one change.
    pub fn apply(&mut self, change: CatalogChange) -> Result<(), CatalogError> {
        let applied = match &change {
            CatalogChange::Put { table, key, value } => {
                self.rows.insert(row_key(*table, key).as_slice(), value.as_slice()).map(drop)
            }
            CatalogChange::Remove { table, key } => {
                self.rows.remove(row_key(*table, key).as_slice()).map(drop)
            }
        };
        self.changed = true;
        noted(self.failed, applied)
    }
}

impl CatalogRows for CatalogReader {
    fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, CatalogError> {
        let Some(rows) = &self.rows else { return Ok(None) };
        noted(&self.failed, get(rows, table, key))
    }

    fn each<T>(
        &self,
        table: u8,
        prefix: &[u8],
        after: Option<&[u8]>,
        take: impl FnMut(&[u8], &[u8]) -> ControlFlow<T>,
    ) -> Result<Option<T>, CatalogError> {
        let Some(rows) = &self.rows else { return Ok(None) };
        noted(&self.failed, each(rows, (table, prefix, after), take))
    }
}

impl CatalogRows for CatalogWriter<'_> {
    fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, CatalogError> {
        noted(self.failed, get(&self.rows, table, key))
    }

    fn each<T>(
        &self,
        table: u8,
        prefix: &[u8],
        after: Option<&[u8]>,
        take: impl FnMut(&[u8], &[u8]) -> ControlFlow<T>,
    ) -> Result<Option<T>, CatalogError> {
        noted(self.failed, each(&self.rows, (table, prefix, after), take))
    }
}

/// Takes note of a failure.
fn noted<T>(failed: &AtomicBool, done: Result<T, StorageError>) -> Result<T, CatalogError> {
    done.map_err(|error| {
        failed.store(true, Ordering::Relaxed);
        error.into()
    })
}

fn get(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    table: u8,
    key: &[u8],
) -> Result<Option<Vec<u8>>, StorageError> {
    let value = rows.get(row_key(table, key).as_slice())?;
    Ok(value.map(|value| value.value().to_vec()))
}

fn each<T>(
    rows: &impl ReadableTable<&'static [u8], &'static [u8]>,
    (table, prefix, after): (u8, &[u8], Option<&[u8]>),
    mut take: impl FnMut(&[u8], &[u8]) -> ControlFlow<T>,
) -> Result<Option<T>, StorageError> {
    let first = row_key(table, prefix);
    let after = after.map(|after| row_key(table, after));
    let from = after.as_ref().map_or(&first, |after| after.max(&first));
    for row in rows.range(from.as_slice()..)? {
        let (key, value) = row?;
        let key = key.value();
        if !key.starts_with(&first) {
            break;
        }
        if after.as_deref() != Some(key)
            && let ControlFlow::Break(out) = take(&key[1..], value.value())
        {
            return Ok(Some(out));
        }
    }
    Ok(None)
}

fn row_key(table: u8, key: &[u8]) -> Vec<u8> {
    [&[table], key].concat()
}
