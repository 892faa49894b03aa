//! A client's local index: rows of opaque bytes in numbered tables.
//!
//! The caller seals the values and chooses the keys; this file knows the meaning of neither. A
//! command opens the catalog for each use and closes it again, so commands can run side by side. A
//! writer waits for all others. Readers do not wait for one another. Opening a catalog to read
//! writes nothing, so it does not wait for the disk.

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

/// The pause between two attempts to open a catalog that is in use.
const RETRY: Duration = Duration::from_millis(20);

/// Memory for pages. It is small because a command reads the catalog once.
const CACHE_BYTES: usize = 16 << 20;

const ROWS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("rows");

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Why an operation on a catalog failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CatalogError {
    /// The disk is full. No part of the change was kept.
    #[error("the disk is full")]
    Full(#[source] io::Error),
    /// Another process had the catalog open during the whole waiting time.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The catalog's file.
        path: PathBuf,
    },
    /// The database failed.
    #[error("the catalog failed: {0}")]
    Index(#[source] Box<redb::Error>),
    /// The file system failed.
    #[error("cannot open {}: {source}", path.display())]
    Io {
        /// The catalog's file.
        path: PathBuf,
        /// The error of the operating system.
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
        /// The table.
        table: u8,
        /// The key in the table.
        key: Vec<u8>,
        /// The new value.
        value: Vec<u8>,
    },
    /// Removes a row, if it is there.
    Remove {
        /// The table.
        table: u8,
        /// The key in the table.
        key: Vec<u8>,
    },
}

/// A row's key and value.
pub type CatalogRow = (Vec<u8>, Vec<u8>);

/// A client's local index, open for reading.
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

/// A client's local index, open for reading and writing.
#[derive(Debug)]
pub struct Catalog(CatalogReader);

impl Deref for Catalog {
    type Target = CatalogReader;

    fn deref(&self) -> &CatalogReader {
        &self.0
    }
}

impl CatalogReader {
    /// Opens the catalog in the file `path` for reading. While another process has it open for
    /// writing, tries again until `wait` has passed.
    pub fn open(path: &Path, wait: Duration) -> Result<Self, CatalogError> {
        patiently(path, wait, |path| {
            let mut builder = Database::builder();
            builder.set_cache_size(CACHE_BYTES);
            match builder.open_read_only(path) {
                Ok(database) => Ok(Self { handle: Handle::Shared(database) }),
                Err(DatabaseError::DatabaseAlreadyOpen) => Err(DatabaseError::DatabaseAlreadyOpen),
                // No catalog exists yet, or it needs repair, or opening it to write gives the
                // better error.
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

/// Tries to open a catalog again while another process has it open.
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
    /// Opens the catalog in the file `path`, and creates it if there is none. While another process
    /// has it open, tries again until `wait` has passed.
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

    /// Makes all changes in order, or none of them. They are on disk when this returns. It takes
    /// the changes one by one, so the caller does not need all of them in memory at once.
    pub fn write(
        &self,
        changes: impl IntoIterator<Item = CatalogChange>,
    ) -> Result<(), CatalogError> {
        self.commit(changes, Durability::Immediate)
    }

    /// Makes the changes like [`Catalog::write`] and closes the catalog. This costs five syncs
    /// instead of six. When redb closes, it records the free pages in a commit of its own, in two
    /// phases. The commit with the changes does not wait for the disk: it reaches the disk with
    /// that last commit, or not at all.
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

    /// Returns the space of removed rows in the file to the file system. It takes as long as
    /// writing the whole file.
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
    /// The table, or `None` if nothing was ever written.
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

    /// Hands `take` the rows of a table whose keys begin with `prefix` and come after `after`, one
    /// at a time and in key order. Stops when `take` breaks, and returns its value.
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
    fn compaction_shrinks_the_file() {
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
    fn a_write_with_close_is_kept_as_a_whole() {
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
        // The state on disk when the process dies before the close.
        let copy = dir.path().join("copy");
        std::fs::copy(&path, &copy).unwrap();
        left = Catalog::open(&copy, Duration::ZERO).unwrap();
        for (key, there) in [(b"one".as_slice(), true), (b"two", true), (b"three", false)] {
            assert_eq!(left.get(1, key).unwrap().is_some(), there);
        }
        // After the close no reader has to repair the file.
        let reader = CatalogReader::open(&path, Duration::ZERO).unwrap();
        assert!(matches!(reader.handle, Handle::Shared(_)));
        assert!(reader.get(1, b"three").unwrap().is_some());
    }

    #[test]
    fn readers_wait_only_for_a_writer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog");
        let read = || CatalogReader::open(&path, Duration::ZERO);
        assert_eq!(read().unwrap().get(1, b"key").unwrap(), None, "an empty one is created");
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
    fn a_reader_repairs_a_catalog_that_was_not_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("catalog");
        let writer = Catalog::open(&path, Duration::ZERO).unwrap();
        writer.put(1, b"key", b"value").unwrap();
        // The state on disk when the process dies now.
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
        let (sender, receiver) = std::sync::mpsc::channel();
        let waiting = thread::spawn({
            let path = path.clone();
            move || {
                // Only a process that was refused has something to wait for.
                let refused = Catalog::open(&path, Duration::ZERO);
                sender.send(matches!(refused, Err(CatalogError::InUse { .. }))).unwrap();
                Catalog::open(&path, Duration::from_secs(60)).map(|_| ())
            }
        });
        assert_eq!(receiver.recv(), Ok(true));
        drop(first);
        waiting.join().unwrap().unwrap();
    }
}
