//! Opening a redb file: for this user alone, and there whole or not at all.
//!
//! redb writes the mark by which it knows its files last, so a process that is killed while it makes one
//! leaves a file that no later run can open. A new one is therefore made under another name and takes
//! its own while it is open already; whoever finds the other name finds nothing worth keeping.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    ops::Bound,
    path::{Path, PathBuf},
};

use redb::{
    BackendError, Builder, Database, DatabaseError, StorageBackend, StorageError,
    backends::FileBackend,
};

use crate::{durable, files};

/// Opens the database in the file `path` with a cache of `cache_bytes`; makes one if there is none.
///
/// [`DatabaseError::DatabaseAlreadyOpen`] means that another process has it, or is making it.
pub fn open_database(path: &Path, cache_bytes: usize) -> Result<Database, DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    if !has_bytes(path).map_err(disk)?
        && let Some(made) = make(path, &builder)?
    {
        return Ok(made);
    }
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(disk)?;
    builder.create_with_backend(Backend::new(file)?)
}

/// Makes the database; `None` when another process has done so in the meantime.
fn make(path: &Path, builder: &Builder) -> Result<Option<Database>, DatabaseError> {
    let fresh = fresh_path(path);
    let file = files::database_file(&fresh).map_err(disk)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(DatabaseError::DatabaseAlreadyOpen),
        Err(TryLockError::Error(error)) => return Err(disk(error)),
    }
    // The lock is held until the file has its name: nobody else is between here and there.
    if has_bytes(path).map_err(disk)? {
        files::remove_if_there(&fresh).map_err(disk)?;
        return Ok(None);
    }
    file.set_len(0).map_err(disk)?;
    let database = builder.create_with_backend(Backend::new(file)?)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let named = fs::rename(&fresh, path)
        .and_then(|()| durable::sync_dir(folder.unwrap_or_else(|| Path::new("."))));
    named.map_err(disk)?;
    Ok(Some(database))
}

fn fresh_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

/// Whether there is a file that is not empty: an empty one is as good as none.
fn has_bytes(path: &Path) -> io::Result<bool> {
    match File::open(path).and_then(|file| file.metadata()) {
        Ok(found) => Ok(found.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// redb's own file, synced by [`durable`].
#[derive(Debug)]
struct Backend {
    inner: FileBackend,
    /// The same open file.
    file: File,
}

impl Backend {
    fn new(file: File) -> Result<Self, DatabaseError> {
        let again = file.try_clone().map_err(disk)?;
        Ok(Self { inner: FileBackend::new(file)?, file: again })
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
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
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
    fn what_a_killed_process_left_half_made_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.redb");
        // What redb has on disk before it writes its mark.
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
    fn an_empty_file_is_no_database_yet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.redb");
        File::create(&path).unwrap();
        put(&open_database(&path, CACHE_BYTES).unwrap());
        assert_eq!(get(&open_database(&path, CACHE_BYTES).unwrap()), Some(2));
    }

    #[test]
    fn one_that_is_open_or_in_the_making_is_in_use() {
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
    fn one_that_another_process_made_in_the_meantime_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.redb");
        put(&open_database(&path, CACHE_BYTES).unwrap());
        assert!(make(&path, &Builder::new()).unwrap().is_none());
        assert!(!fresh_path(&path).exists());
        assert_eq!(get(&open_database(&path, CACHE_BYTES).unwrap()), Some(2));
        // What cannot be looked at is not taken for nothing.
        assert!(has_bytes(&path.join("below")).is_err());
    }

    #[test]
    fn bytes_that_are_no_database_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.redb");
        fs::write(&path, b"something of somebody's").unwrap();
        assert!(open_database(&path, CACHE_BYTES).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"something of somebody's");
    }
}
