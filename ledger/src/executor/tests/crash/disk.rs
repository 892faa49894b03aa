//! A disk in memory that notes every operation, so that a test can rebuild what a crash of the machine leaves of it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use redb::StorageBackend;
use symbolon_net::Host;

use super::below;

/// A disk writes a sector whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Operation {
    Write { offset: usize, bytes: Vec<u8> },
    SetLength(usize),
    Sync,
}

/// One file. Clones are the same file.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// The file's bytes when the notes began, all of them safe.
    base: Vec<u8>,
    /// The file's bytes as a reader sees them.
    now: Vec<u8>,
    operations: Vec<Operation>,
}

impl Disk {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        let (base, now) = (bytes.clone(), bytes);
        Self(Arc::new(Mutex::new(Inner { base, now, operations: Vec::new() })))
    }

    /// How many operations there were.
    pub(super) fn operations(&self) -> usize {
        self.with(|inner| inner.operations.len())
    }

    /// The file that a crash may leave after so many operations. What was synced is there. Of everything later any part
    /// is there, in any order, and each sector of a write by itself.
    pub(super) fn crashed(&self, after: usize, host: &Host) -> Vec<u8> {
        self.with(|inner| {
            let operations = &inner.operations[..after];
            let is_sync = |operation: &Operation| matches!(operation, Operation::Sync);
            let synced = operations.iter().rposition(is_sync).map_or(0, |last| last + 1);
            let mut file = inner.base.clone();
            for operation in &operations[..synced] {
                apply(&mut file, operation);
            }
            // The chance of each to survive, in sixteenths: nothing and everything are worth a try.
            let chance = [0, 1, 8, 15, 16][index(host, 5)];
            let survives = || below(host, 16) < chance;
            let is_torn = below(host, 2) == 0;
            let mut pieces = Vec::new();
            for operation in &operations[synced..] {
                match operation {
                    Operation::SetLength(_) if survives() => apply(&mut file, operation),
                    Operation::Write { offset, bytes } if is_torn => {
                        pieces.extend(sectors(*offset, bytes).filter(|_| survives()));
                    }
                    Operation::Write { offset, bytes } if survives() => {
                        pieces.push((*offset, bytes.as_slice()));
                    }
                    _ => {}
                }
            }
            while !pieces.is_empty() {
                let (offset, bytes) = pieces.swap_remove(index(host, pieces.len()));
                // What lies beyond the end of the file is lost.
                let end = (offset + bytes.len()).min(file.len()).max(offset);
                if let Some(place) = file.get_mut(offset..end) {
                    place.copy_from_slice(&bytes[..end - offset]);
                }
            }
            file
        })
    }

    fn note(&self, operation: Operation) {
        self.with(|inner| {
            apply(&mut inner.now, &operation);
            inner.operations.push(operation);
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|inner| inner.now.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = place(offset)?;
        self.with(|inner| {
            let bytes = inner.now.get(offset..offset + out.len());
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.note(Operation::SetLength(place(length)?));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(Operation::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.note(Operation::Write { offset: place(offset)?, bytes: bytes.to_vec() });
        Ok(())
    }
}

fn apply(file: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Write { offset, bytes } => {
            let end = offset + bytes.len();
            file.resize(file.len().max(end), 0);
            file[*offset..end].copy_from_slice(bytes);
        }
        Operation::SetLength(length) => file.resize(*length, 0),
        Operation::Sync => {}
    }
}

/// The parts of a write, one for each sector.
fn sectors(offset: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = (SECTOR - offset % SECTOR).min(bytes.len());
    let (first, rest) = bytes.split_at(first);
    let starts = (offset + first.len()..).step_by(SECTOR);
    std::iter::once((offset, first)).chain(starts.zip(rest.chunks(SECTOR)))
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

fn index(host: &Host, count: usize) -> usize {
    usize::try_from(below(host, count as u64)).unwrap()
}

#[test]
fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
    let host = Host::system();
    let disk = Disk::new(vec![0; 4 * SECTOR]);
    disk.write(100, &[1; 100]).unwrap();
    StorageBackend::sync_data(&disk).unwrap();
    disk.write(500, &[2; 1_000]).unwrap();
    disk.set_len(8 * SECTOR as u64).unwrap();
    let (mut kept, mut lengths) = (std::collections::BTreeSet::new(), kept_lengths());
    for _ in 0..2_000 {
        assert_eq!(disk.crashed(0, &host), vec![0; 4 * SECTOR]);
        let file = disk.crashed(disk.operations(), &host);
        assert_eq!(file[100..200], [1; 100], "it was synced");
        // The write lies in three sectors.
        kept.insert([file[500], file[512], file[1_024]]);
        assert_eq!(file[511], file[500], "a sector is whole");
        assert_eq!(file[1_499], file[1_024]);
        lengths.remove(&file.len());
    }
    assert_eq!(kept.len(), 8, "each sector by itself");
    assert!(lengths.is_empty(), "the length was kept, and was not");
}

fn kept_lengths() -> std::collections::BTreeSet<usize> {
    [4 * SECTOR, 8 * SECTOR].into()
}
