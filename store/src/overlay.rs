//! Looks at a redb file without writing to it, whatever redb wants to write: that stays in memory.
//!
//! A file that a killed process left is repaired when it is opened. Who only looks must see what the repair gives, and
//! leave the file as it is.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::{File, TryLockError},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::{Database, DatabaseError, StorageBackend, StorageError};

/// Bytes that are copied when one of them is written.
const PAGE: u64 = 4_096;

/// Opens the database in a file that is there, to look at it. Nothing is written to the file.
///
/// [`DatabaseError::DatabaseAlreadyOpen`] means that another process has it open.
pub fn look_at_database(path: &Path, cache_bytes: usize) -> Result<Database, DatabaseError> {
    let disk = |error| DatabaseError::Storage(StorageError::Io(error));
    let file = File::open(path).map_err(disk)?;
    match file.try_lock_shared() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(DatabaseError::DatabaseAlreadyOpen),
        Err(TryLockError::Error(error)) => return Err(disk(error)),
    }
    let length = file.metadata().map_err(disk)?.len();
    if length == 0 {
        return Err(disk(io::Error::from(io::ErrorKind::UnexpectedEof)));
    }
    let written = Written { pages: BTreeMap::new(), length };
    let overlay = Overlay { file, on_disk: length, written: Mutex::new(written) };
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes);
    builder.create_with_backend(overlay)
}

/// A file, and what would have been written to it.
#[derive(Debug)]
struct Overlay {
    file: File,
    on_disk: u64,
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    pages: BTreeMap<u64, Vec<u8>>,
    length: u64,
}

impl Overlay {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from the file; behind its end are zeros.
    fn read_disk(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let there = usize::try_from(self.on_disk.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (of_file, behind) = out.split_at_mut(there.min(out.len()));
        behind.fill(0);
        self.file.read_exact_at(of_file, offset)
    }
}

/// The pieces of a stretch of bytes: the page, the place in it, and the range of the piece in the stretch.
fn pieces(
    offset: u64,
    length: usize,
) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = offset + done as u64;
        let inside = usize::try_from(at % PAGE).expect("less than a page");
        let room = usize::try_from(PAGE).expect("a page fits into memory") - inside;
        let piece = room.min(length - done);
        let range = done..done + piece;
        done += piece;
        (piece > 0).then_some((at / PAGE, inside, range))
    })
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        if offset.checked_add(out.len() as u64).is_none_or(|end| written.length < end) {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        if written.pages.is_empty() {
            return self.read_disk(offset, out);
        }
        for (page, inside, range) in pieces(offset, out.len()) {
            let piece = &mut out[range];
            match written.pages.get(&page) {
                Some(bytes) => piece.copy_from_slice(&bytes[inside..inside + piece.len()]),
                None => self.read_disk(page * PAGE + inside as u64, piece)?,
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written();
        if length < written.length {
            // What comes back behind a new end is zero.
            let first = length / PAGE;
            let last = written.length.div_ceil(PAGE);
            for page in first..last {
                let keeps = usize::try_from(length.saturating_sub(page * PAGE).min(PAGE));
                let mut bytes = match written.pages.remove(&page) {
                    Some(bytes) => bytes,
                    None => self.page(page)?,
                };
                bytes[keeps.expect("at most a page")..].fill(0);
                written.pages.insert(page, bytes);
            }
        }
        written.length = length;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        for (page, inside, range) in pieces(offset, bytes.len()) {
            let piece = &bytes[range];
            let there = match written.pages.entry(page) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(free) => free.insert(self.page(page)?),
            };
            there[inside..inside + piece.len()].copy_from_slice(piece);
        }
        Ok(())
    }
}

impl Overlay {
    /// A page as it is in the file.
    fn page(&self, page: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(PAGE).expect("a page fits into memory")];
        self.read_disk(page * PAGE, &mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use redb::{ReadableDatabase as _, TableDefinition};

    use super::*;

    const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

    fn put(database: &Database, key: u64) {
        let write = database.begin_write().unwrap();
        write.open_table(TABLE).unwrap().insert(key, [7; 3_000].as_slice()).unwrap();
        write.commit().unwrap();
    }

    fn has(database: &Database, key: u64) -> bool {
        let read = database.begin_read().unwrap();
        read.open_table(TABLE).unwrap().get(key).unwrap().is_some()
    }

    #[test]
    fn what_is_written_on_top_of_a_file_does_not_reach_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rows.redb");
        let database = crate::open_database(&path, 1 << 20).unwrap();
        (0..50).for_each(|key| put(&database, key));
        assert!(matches!(
            look_at_database(&path, 1 << 20),
            Err(DatabaseError::DatabaseAlreadyOpen)
        ));
        // As after a power cut: the file says that it was not closed.
        let cut = dir.path().join("cut.redb");
        fs::copy(&path, &cut).unwrap();
        drop(database);
        for path in [&path, &cut] {
            let before = fs::read(path).unwrap();
            let database = look_at_database(path, 1 << 20).unwrap();
            assert!(has(&database, 49) && !has(&database, 50));
            (50..200).for_each(|key| put(&database, key));
            assert!(has(&database, 199));
            drop(database);
            assert!(fs::read(path).unwrap() == before, "the file has changed");
        }
        // An empty one would be made a database, in memory.
        fs::write(dir.path().join("empty"), []).unwrap();
        for missing in ["none", "empty"] {
            assert!(look_at_database(&dir.path().join(missing), 1 << 20).is_err(), "{missing}");
        }
        assert!(!dir.path().join("none").exists());
    }

    #[test]
    fn a_shorter_file_has_zeros_where_it_grows_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bytes");
        fs::write(&path, [5; 10_000]).unwrap();
        let file = File::open(&path).unwrap();
        let written = Written { pages: BTreeMap::new(), length: 10_000 };
        let overlay = Overlay { file, on_disk: 10_000, written: Mutex::new(written) };
        overlay.write(4_090, &[9; 10]).unwrap();
        overlay.set_len(5_000).unwrap();
        overlay.set_len(12_000).unwrap();
        let mut bytes = [1; 12_000];
        overlay.read(0, &mut bytes).unwrap();
        assert_eq!((bytes[4_089], bytes[4_090], bytes[4_099], bytes[4_100]), (5, 9, 9, 5));
        assert_eq!((bytes[4_999], bytes[5_000], bytes[11_999]), (5, 0, 0));
        assert!(overlay.read(11_999, &mut [0; 2]).is_err());
    }
}
