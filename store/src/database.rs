//! Opens a redb file: readable by this user alone, and created whole or not at all.
//!
//! redb writes the mark by which it knows its files last. A process that is killed while it creates
//! a file therefore leaves one that no later run can open. So a new file is created under a
//! temporary name and renamed while it is open. A file that is found under the temporary name is
//! unfinished and holds nothing worth keeping.
//!
//! A node and a ledger have their file to themselves. A client shares its file with other processes of the same user:
//! redb orders their writes by a lock on a byte of the file, and no process waits for a lock longer than its caller
//! says.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    ops::Bound,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use redb::{
    BackendError, Builder, ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase,
    StorageBackend, StorageError, backends::FileBackend,
};

use crate::{durable, files};

/// How long to sleep between two attempts to lock, at first and at last.
const PAUSES: [Duration; 2] = [Duration::from_micros(50), Duration::from_millis(5)];

/// The byte that the next writer locks. redb leaves the bytes from 2^62 + 896 to 2^62 + 1024 to the storage backend,
/// and uses the first two itself on some systems.
const TURN: u64 = (1 << 62) + 1000;

/// Opens the database in the file `path` with a cache of `cache_bytes`; makes one if there is none.
///
/// [`DatabaseError::DatabaseAlreadyOpen`] means that another process has it open or is creating it.
pub fn open_database(path: &Path, cache_bytes: usize) -> Result<Database, DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    open_with(path, &builder, None).map(|(database, _)| database)
}

/// The same for a file that other processes write too. Nothing waits for their locks longer than `wait`: what would is
/// an error of the kind [`io::ErrorKind::WouldBlock`].
pub(crate) fn open_shared(
    path: &Path,
    cache_bytes: usize,
    wait: Duration,
) -> Result<(Database, Backend), DatabaseError> {
    open_with(path, &shared(cache_bytes), Some(wait))
}

/// The same, to read: nothing is written. A file that is not there, or was left by a process that died, is
/// not opened so.
pub(crate) fn read_shared(
    path: &Path,
    cache_bytes: usize,
    wait: Duration,
) -> Result<(ReadOnlyDatabase, Backend), DatabaseError> {
    let backend = Backend::new(File::open(path).map_err(disk)?, Some(wait))?;
    let database = shared(cache_bytes).open_read_only_with_backend(backend.clone())?;
    Ok((database, backend))
}

fn shared(cache_bytes: usize) -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes).set_concurrency_mode(ConcurrencyMode::MultiWriter);
    builder
}

fn open_with(
    path: &Path,
    builder: &Builder,
    wait: Option<Duration>,
) -> Result<(Database, Backend), DatabaseError> {
    if !has_bytes(path).map_err(disk)?
        && let Some(made) = make(path, builder, wait)?
    {
        return Ok(made);
    }
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(disk)?;
    let backend = Backend::new(file, wait)?;
    Ok((builder.create_with_backend(backend.clone())?, backend))
}

/// Creates the database. Returns `None` when another process has created it in the meantime.
fn make(
    path: &Path,
    builder: &Builder,
    wait: Option<Duration>,
) -> Result<Option<(Database, Backend)>, DatabaseError> {
    let fresh = fresh_path(path);
    let file = files::database_file(&fresh).map_err(disk)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(DatabaseError::DatabaseAlreadyOpen),
        Err(TryLockError::Error(error)) => return Err(disk(error)),
    }
    // This process holds the lock until the file has its name, so no other process is in this
    // section.
    if has_bytes(path).map_err(disk)? {
        files::remove_if_there(&fresh).map_err(disk)?;
        return Ok(None);
    }
    file.set_len(0).map_err(disk)?;
    let backend = Backend::new(file, wait)?;
    let database = builder.create_with_backend(backend.clone())?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let named = fs::rename(&fresh, path)
        .and_then(|()| durable::sync_dir(folder.unwrap_or_else(|| Path::new("."))));
    named.map_err(disk)?;
    Ok(Some((database, backend)))
}

fn fresh_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

/// Whether a file exists and is not empty. An empty file counts as none.
fn has_bytes(path: &Path) -> io::Result<bool> {
    match File::open(path).and_then(|file| file.metadata()) {
        Ok(metadata) => Ok(metadata.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// redb's own file backend, synced through [`durable`].
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    inner: Arc<FileBackend>,
    /// A second handle of the same open file.
    file: Arc<File>,
    /// How long to wait for a lock; as long as it takes when nothing is said.
    wait: Option<Duration>,
}

/// The right to write next. It is given back when this goes.
pub(crate) struct Turn<'a>(&'a FileBackend);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // One that cannot be given back ends with the open file.
        self.0.unlock_range(Bound::Included(TURN), Bound::Excluded(TURN + 1)).ok();
    }
}

impl Backend {
    fn new(file: File, wait: Option<Duration>) -> Result<Self, DatabaseError> {
        let again = Arc::new(file.try_clone().map_err(disk)?);
        Ok(Self { inner: Arc::new(FileBackend::new(file)?), file: again, wait })
    }

    /// Whether the open file is the one that has a name.
    pub(crate) fn is_at(&self, path: &Path) -> io::Result<bool> {
        let named = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            named => named?,
        };
        let open = self.file.metadata()?;
        Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
    }

    /// Waits for the turn to write next. A process that has just written queues behind those that wait: otherwise a
    /// process that writes again and again would leave the others no gap.
    pub(crate) fn turn(&self) -> Result<Turn<'_>, StorageError> {
        let byte = (Bound::Included(TURN), Bound::Excluded(TURN + 1));
        let turn = self.patiently(|| self.inner.try_lock_range(byte.0, byte.1));
        turn.map(|()| Turn(&self.inner)).map_err(StorageError::from)
    }

    fn patiently(
        &self,
        mut lock: impl FnMut() -> Result<bool, BackendError>,
    ) -> Result<(), BackendError> {
        let (start, [mut pause, longest]) = (Instant::now(), PAUSES);
        while !lock()? {
            if self.wait.is_some_and(|wait| wait <= start.elapsed()) {
                return Err(io::Error::from(io::ErrorKind::WouldBlock).into());
            }
            thread::sleep(pause);
            pause = (pause * 2).min(longest);
        }
        Ok(())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.inner.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        durable::sync_data(&self.file)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write(offset, bytes)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.patiently(|| self.inner.try_lock_range(start, end))
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.patiently(|| self.inner.try_lock_shared_range(start, end))
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

fn disk(error: io::Error) -> DatabaseError {
    DatabaseError::Storage(StorageError::Io(error))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use redb::{ReadableDatabase, TableDefinition};

    use super::*;

    const CACHE_BYTES: usize = 1 << 20;
    const ROWS: TableDefinition<'_, u64, u64> = TableDefinition::new("rows");

    fn put(database: &Database) {
        let transaction = database.begin_write().unwrap();
        transaction.open_table(ROWS).unwrap().insert(1, 2).unwrap();
        transaction.commit().unwrap();
    }

    fn get(database: &Database) -> Option<u64> {
        let table = database.begin_read().unwrap().open_table(ROWS).unwrap();
        table.get(1).unwrap().map(|value| value.value())
    }

    #[test]
    fn a_half_made_database_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.redb");
        // The state on disk before redb writes its mark.
        let half = files::database_file(&fresh_path(&path)).unwrap();
        half.set_len(100_000).unwrap();
        drop(half);
        put(&open_database(&path, CACHE_BYTES).unwrap());
        assert_eq!(get(&open_database(&path, CACHE_BYTES).unwrap()), Some(2));
        assert!(!fresh_path(&path).exists());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_empty_file_counts_as_no_database() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.redb");
        File::create(&path).unwrap();
        put(&open_database(&path, CACHE_BYTES).unwrap());
        assert_eq!(get(&open_database(&path, CACHE_BYTES).unwrap()), Some(2));
    }

    #[test]
    fn a_database_that_is_open_or_being_created_is_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.redb");
        let in_use = |path| {
            let opened = open_database(path, CACHE_BYTES);
            matches!(opened, Err(DatabaseError::DatabaseAlreadyOpen))
        };
        let making = files::database_file(&fresh_path(&path)).unwrap();
        making.try_lock().unwrap();
        assert!(in_use(&path));
        drop(making);
        let open = open_database(&path, CACHE_BYTES).unwrap();
        assert!(in_use(&path));
        drop(open);
        assert!(!in_use(&path));
    }

    #[test]
    fn a_database_that_another_process_created_meanwhile_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.redb");
        put(&open_database(&path, CACHE_BYTES).unwrap());
        assert!(make(&path, &Builder::new(), None).unwrap().is_none());
        assert!(!fresh_path(&path).exists());
        assert_eq!(get(&open_database(&path, CACHE_BYTES).unwrap()), Some(2));
        // An error of the file system does not count as an absent file.
        assert!(has_bytes(&path.join("below")).is_err());
    }

    #[test]
    fn a_file_that_is_no_database_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.redb");
        fs::write(&path, b"another program's bytes").unwrap();
        assert!(open_database(&path, CACHE_BYTES).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"another program's bytes");
    }
}
