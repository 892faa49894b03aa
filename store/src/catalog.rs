//! A client's local index: rows of opaque bytes in numbered tables.
//!
//! Values are sealed by the caller, keys are whatever the caller chooses; nothing here knows what they
//! mean. A command opens the catalog for each use and drops it, so that commands can run side by side:
//! one that writes waits for the others, those that only read do not wait for one another. Opening to
//! read writes nothing, and so waits for no disk.

use std::{
    fmt, io,
    ops::{ControlFlow, Deref},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use redb::{
    Database, DatabaseError, Durability, ReadOnlyDatabase, ReadOnlyTable, ReadTransaction,
    ReadableDatabase, StorageError, TableDefinition, TableError, TransactionError,
};
use thiserror::Error;

use crate::{
    error::{index_errors, is_full},
    files, open_database,
};

/// How long to sleep between two attempts to open a catalog that is in use.
const RETRY: Duration = Duration::from_millis(20);

/// Memory for pages: a catalog is read once per command.
const CACHE_BYTES: usize = 16 << 20;

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Why a catalog did not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The disk is full. Nothing of the change was kept.
    #[error("the disk is full")]
    Full(#[source] io::Error),
    /// Another process had it open for all of the time that was given.
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

index_errors!(CatalogError: redb::CommitError, StorageError, TableError, TransactionError);

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

/// A client's local index, to be read.
#[derive(Debug)]
pub struct CatalogReader {
    handle: Handle,
}

enum Handle {
    Shared(ReadOnlyDatabase),
    Own(Database),
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shared(_) => "Shared",
            Self::Own(_) => "Own",
        })
    }
}

/// A client's local index, to be read and written.
#[derive(Debug)]
pub struct Catalog(CatalogReader);

impl Deref for Catalog {
    type Target = CatalogReader;

    fn deref(&self) -> &CatalogReader {
        &self.0
    }
}

impl CatalogReader {
    /// Opens the catalog in the file `path` to read it. While another process has it open to write,
    /// tries again for as long as `wait`.
    pub fn open(path: &Path, wait: Duration) -> Result<Self, CatalogError> {
        patiently(path, wait, |path| {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES);
            match builder.open_read_only(path) {
                Ok(database) => Ok(Self { handle: Handle::Shared(database) }),
                Err(DatabaseError::DatabaseAlreadyOpen) => Err(DatabaseError::DatabaseAlreadyOpen),
                // There is none yet, or it has to be repaired first; or what is wrong is said better.
                Err(_) => Ok(Self { handle: Handle::Own(open_database(path, CACHE_BYTES)?) }),
            }
        })
    }

    fn begin(&self) -> Result<ReadTransaction, TransactionError> {
        match &self.handle {
            Handle::Shared(database) => database.begin_read(),
            Handle::Own(database) => database.begin_read(),
        }
    }
}

/// Tries to open as long as somebody else is in the way.
fn patiently<T>(
    path: &Path,
    wait: Duration,
    open: impl Fn(&Path) -> Result<T, DatabaseError>,
) -> Result<T, CatalogError> {
    let io = |source| match is_full(&source) {
        true => CatalogError::Full(source),
        false => CatalogError::Io { path: path.to_owned(), source },
    };
    if let Some(parent) = path.parent() {
        files::private_dir(parent).map_err(io)?;
    }
    let start = Instant::now();
    loop {
        match open(path) {
            Ok(opened) => return Ok(opened),
            Err(DatabaseError::DatabaseAlreadyOpen) if start.elapsed() < wait => {
                thread::sleep(RETRY.min(wait));
            }
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                return Err(CatalogError::InUse { path: path.to_owned() });
            }
            Err(DatabaseError::Storage(StorageError::Io(error))) => return Err(io(error)),
            Err(error) => return Err(CatalogError::index(error.into())),
        }
    }
}

impl Catalog {
    /// Opens the catalog in the file `path`, and makes one if there is none. While another process
    /// has it open, tries again for as long as `wait`.
    pub fn open(path: &Path, wait: Duration) -> Result<Self, CatalogError> {
        let database = patiently(path, wait, |path| open_database(path, CACHE_BYTES))?;
        Ok(Self(CatalogReader { handle: Handle::Own(database) }))
    }

    /// Writes one row.
    pub fn put(&self, table: u8, key: &[u8], value: &[u8]) -> Result<(), CatalogError> {
        self.write([CatalogChange::Put { table, key: key.to_vec(), value: value.to_vec() }])
    }

    /// Removes one row, if it is there.
    pub fn remove(&self, table: u8, key: &[u8]) -> Result<(), CatalogError> {
        self.write([CatalogChange::Remove { table, key: key.to_vec() }])
    }

    /// Makes all changes, in order, or none. They are on disk when this returns.
    /// They are taken one by one, so that whoever makes them need not have all of them at once.
    pub fn write(
        &self,
        changes: impl IntoIterator<Item = CatalogChange>,
    ) -> Result<(), CatalogError> {
        self.commit(changes, Durability::Immediate)
    }

    /// The same, and closes the catalog: a write costs five syncs then instead of six. redb records what is free
    /// in a commit of its own when it closes, on disk in two phases; a commit before it that waits for no disk is
    /// on disk with that one, or not at all.
    pub fn write_and_close(
        self,
        changes: impl IntoIterator<Item = CatalogChange>,
    ) -> Result<(), CatalogError> {
        self.commit(changes, Durability::None)?;
        match self.0.handle {
            Handle::Own(database) => {
                database.close().map_err(|error| CatalogError::index(error.into()))
            }
            Handle::Shared(_) => unreachable!("a catalog is opened to write"),
        }
    }

    /// Gives the room that removed rows have left in the file back to the disk. It takes as long as writing the
    /// file takes.
    pub fn compact(&mut self) -> Result<(), CatalogError> {
        let Handle::Own(database) = &mut self.0.handle else {
            unreachable!("a catalog is opened to write");
        };
        database.compact().map(drop).map_err(|error| CatalogError::index(error.into()))
    }

    fn commit(
        &self,
        changes: impl IntoIterator<Item = CatalogChange>,
        durability: Durability,
    ) -> Result<(), CatalogError> {
        let Handle::Own(database) = &self.0.handle else {
            unreachable!("a catalog is opened to write");
        };
        let mut transaction = database.begin_write()?;
        transaction
            .set_durability(durability)
            .map_err(|error| CatalogError::index(error.into()))?;
        {
            let mut rows = transaction.open_table(ROWS)?;
            for change in changes {
                match change {
                    CatalogChange::Put { table, key, value } => {
                        rows.insert(row_key(table, &key).as_slice(), value.as_slice())?;
                    }
                    CatalogChange::Remove { table, key } => {
                        rows.remove(row_key(table, &key).as_slice())?;
                    }
                }
            }
        }
        Ok(transaction.commit()?)
    }
}

impl CatalogReader {
    /// The table; none where nothing was ever written.
    fn rows(&self) -> Result<Option<Rows>, CatalogError> {
        match self.begin()?.open_table(ROWS) {
            Ok(rows) => Ok(Some(rows)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The value of a row.
    pub fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, CatalogError> {
        let Some(rows) = self.rows()? else { return Ok(None) };
        let value = rows.get(row_key(table, key).as_slice())?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    /// Up to `limit` rows of a table whose keys begin with `prefix` and come after `after`, as key
    /// and value, in key order.
    pub fn scan(
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

    /// Hands out the rows of a table whose keys begin with `prefix` and come after `after`, in key order and one
    /// at a time, until it is told to stop. Gives what it was stopped with.
    pub fn each<T>(
        &self,
        table: u8,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut take: impl FnMut(&[u8], &[u8]) -> ControlFlow<T>,
    ) -> Result<Option<T>, CatalogError> {
        let Some(rows) = self.rows()? else { return Ok(None) };
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
}

fn row_key(table: u8, key: &[u8]) -> Vec<u8> {
    [&[table], key].concat()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn put(table: u8, key: &[u8], value: &[u8]) -> CatalogChange {
        CatalogChange::Put { table, key: key.to_vec(), value: value.to_vec() }
    }

    #[test]
    fn rows_survive_and_scan_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/catalog");
        let catalog = Catalog::open(&path, Duration::ZERO).unwrap();
        catalog
            .write([
                put(1, b"aa", b"1"),
                put(1, b"ab", b"2"),
                put(1, b"b", b"3"),
                put(2, b"aa", b"4"),
                put(1, b"gone", b"5"),
                CatalogChange::Remove { table: 1, key: b"gone".to_vec() },
            ])
            .unwrap();
        drop(catalog);
        let catalog = Catalog::open(&path, Duration::ZERO).unwrap();
        let keys = |prefix: &[u8], after: Option<&[u8]>, limit| -> Vec<Vec<u8>> {
            let rows = catalog.scan(1, prefix, after, limit).unwrap();
            rows.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(b"", None, 9), [&b"aa"[..], b"ab", b"b"]);
        assert_eq!(keys(b"a", None, 9), [b"aa", b"ab"]);
        assert_eq!(keys(b"a", Some(b"aa"), 9), [b"ab"]);
        assert_eq!(keys(b"b", Some(b"aa"), 9), [b"b"]);
        assert_eq!(keys(b"", None, 1), [b"aa"]);
        assert_eq!(catalog.get(2, b"aa").unwrap().unwrap(), b"4");
        assert_eq!(catalog.get(2, b"ab").unwrap(), None);
        catalog.put(2, b"aa", b"6").unwrap();
        assert_eq!(catalog.get(2, b"aa").unwrap().unwrap(), b"6");
        catalog.remove(2, b"aa").unwrap();
        assert_eq!(catalog.get(2, b"aa").unwrap(), None);

        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
    }

    #[test]
    fn room_that_is_left_is_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog");
        let bytes = || std::fs::metadata(&path).unwrap().len();
        let mut catalog = Catalog::open(&path, Duration::ZERO).unwrap();
        let key = |number: u32| number.to_be_bytes();
        catalog.write((0..20_000).map(|number| put(1, &key(number), &[7; 200]))).unwrap();
        let remove = |number| CatalogChange::Remove { table: 1, key: key(number).to_vec() };
        catalog.write((100..20_000).map(remove)).unwrap();
        let before = bytes();
        catalog.compact().unwrap();
        drop(catalog);
        assert!(bytes() < before / 4, "{} of {before}", bytes());
        let catalog = Catalog::open(&path, Duration::ZERO).unwrap();
        assert_eq!(catalog.scan(1, &[], None, usize::MAX).unwrap().len(), 100);
    }

    #[test]
    fn what_is_written_with_the_close_is_there_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog");
        let put = |key: &[u8]| CatalogChange::Put {
            table: 1,
            key: key.to_vec(),
            value: b"value".to_vec(),
        };
        let open = || Catalog::open(&path, Duration::ZERO).unwrap();
        open().write_and_close([put(b"one"), put(b"two")]).unwrap();
        let mut left = open();
        left.commit([put(b"three")], Durability::None).unwrap();
        // What is on the disk when the process dies before the close.
        let copy = dir.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        left = Catalog::open(&copy, Duration::ZERO).unwrap();
        for (key, there) in [(b"one".as_slice(), true), (b"two", true), (b"three", false)] {
            assert_eq!(left.get(1, key).unwrap().is_some(), there);
        }
        // And after it: no reader has to repair anything.
        let reader = CatalogReader::open(&path, Duration::ZERO).unwrap();
        assert!(matches!(reader.handle, Handle::Shared(_)));
        assert!(reader.get(1, b"three").unwrap().is_some());
    }

    #[test]
    fn those_who_read_wait_for_nobody_but_who_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog");
        let read = || CatalogReader::open(&path, Duration::ZERO);
        assert_eq!(read().unwrap().get(1, b"key").unwrap(), None, "an empty one is made");
        assert!(read().unwrap().scan(1, b"", None, 9).unwrap().is_empty());
        Catalog::open(&path, Duration::ZERO).unwrap().put(1, b"key", b"value").unwrap();
        let before = std::fs::read(&path).unwrap();
        let (one, other) = (read().unwrap(), read().unwrap());
        for reader in [&one, &other] {
            assert_eq!(reader.get(1, b"key").unwrap().unwrap(), b"value");
        }
        let in_use = |opened| matches!(opened, Err(CatalogError::InUse { .. }));
        assert!(in_use(Catalog::open(&path, Duration::ZERO).map(drop)));
        drop((one, other));
        assert!(std::fs::read(&path).unwrap() == before, "reading writes nothing");
        let writer = Catalog::open(&path, Duration::ZERO).unwrap();
        assert!(in_use(read().map(drop)));
        drop(writer);
    }

    #[test]
    fn one_that_was_left_open_is_repaired_by_who_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog");
        let writer = Catalog::open(&path, Duration::ZERO).unwrap();
        writer.put(1, b"key", b"value").unwrap();
        // What is on the disk when the process dies now.
        let left = dir.path().join("left");
        std::fs::copy(&path, &left).unwrap();
        drop(writer);
        let reader = CatalogReader::open(&left, Duration::ZERO).unwrap();
        assert!(matches!(reader.handle, Handle::Own(_)), "it had to be repaired");
        assert_eq!(reader.get(1, b"key").unwrap().unwrap(), b"value");
        drop(reader);
        let reader = CatalogReader::open(&left, Duration::ZERO).unwrap();
        assert!(matches!(reader.handle, Handle::Shared(_)));
    }

    #[test]
    fn the_second_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog");
        let first = Catalog::open(&path, Duration::ZERO).unwrap();
        let refused = Catalog::open(&path, Duration::from_millis(60));
        assert!(matches!(refused, Err(CatalogError::InUse { .. })));
        let (tell, told) = std::sync::mpsc::channel();
        let waiting = thread::spawn({
            let path = path.clone();
            move || {
                // Only one that was refused has something to wait for.
                let refused = Catalog::open(&path, Duration::ZERO);
                tell.send(matches!(refused, Err(CatalogError::InUse { .. }))).unwrap();
                Catalog::open(&path, Duration::from_secs(60)).map(|_| ())
            }
        });
        assert_eq!(told.recv(), Ok(true));
        drop(first);
        waiting.join().unwrap().unwrap();
    }
}
