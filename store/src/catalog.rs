//! A client's local index: rows of opaque bytes in numbered tables.
//!
//! Values are sealed by the caller, keys are whatever the caller chooses; nothing here knows what they
//! mean. A command opens the catalog, does its work and drops it, so that commands can run side by
//! side: whoever comes second waits.

use std::{
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use redb::{Database, DatabaseError, ReadableDatabase, StorageError, TableDefinition};
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

index_errors!(CatalogError: redb::CommitError, StorageError, redb::TableError, redb::TransactionError);

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

/// A client's local index.
#[derive(Debug)]
pub struct Catalog {
    database: Database,
}

impl Catalog {
    /// Opens the catalog in the file `path`, and makes one if there is none. While another process
    /// has it open, tries again for as long as `wait`.
    pub fn open(path: &Path, wait: Duration) -> Result<Self, CatalogError> {
        let io = |source| match is_full(&source) {
            true => CatalogError::Full(source),
            false => CatalogError::Io { path: path.to_owned(), source },
        };
        if let Some(parent) = path.parent() {
            files::private_dir(parent).map_err(io)?;
        }
        let start = Instant::now();
        loop {
            match open_database(path, CACHE_BYTES) {
                Ok(database) => return Self::ready(database),
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

    fn ready(database: Database) -> Result<Self, CatalogError> {
        let transaction = database.begin_write()?;
        transaction.open_table(ROWS)?;
        transaction.commit()?;
        Ok(Self { database })
    }

    /// Writes one row.
    pub fn put(&self, table: u8, key: &[u8], value: &[u8]) -> Result<(), CatalogError> {
        self.write(&[CatalogChange::Put { table, key: key.to_vec(), value: value.to_vec() }])
    }

    /// Removes one row, if it is there.
    pub fn remove(&self, table: u8, key: &[u8]) -> Result<(), CatalogError> {
        self.write(&[CatalogChange::Remove { table, key: key.to_vec() }])
    }

    /// Makes all changes, in order, or none. They are on disk when this returns.
    pub fn write(&self, changes: &[CatalogChange]) -> Result<(), CatalogError> {
        let transaction = self.database.begin_write()?;
        {
            let mut rows = transaction.open_table(ROWS)?;
            for change in changes {
                match change {
                    CatalogChange::Put { table, key, value } => {
                        rows.insert(row_key(*table, key).as_slice(), value.as_slice())?;
                    }
                    CatalogChange::Remove { table, key } => {
                        rows.remove(row_key(*table, key).as_slice())?;
                    }
                }
            }
        }
        Ok(transaction.commit()?)
    }

    /// The value of a row.
    pub fn get(&self, table: u8, key: &[u8]) -> Result<Option<Vec<u8>>, CatalogError> {
        let rows = self.database.begin_read()?.open_table(ROWS)?;
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
        let rows = self.database.begin_read()?.open_table(ROWS)?;
        let first = row_key(table, prefix);
        let after = after.map(|after| row_key(table, after));
        let from = after.as_ref().map_or(&first, |after| after.max(&first));
        let mut out = Vec::new();
        for row in rows.range(from.as_slice()..)? {
            let (key, value) = row?;
            let key = key.value();
            if out.len() == limit || !key.starts_with(&first) {
                break;
            }
            if after.as_deref() != Some(key) {
                out.push((key[1..].to_vec(), value.value().to_vec()));
            }
        }
        Ok(out)
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
            .write(&[
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
