//! Which cells of a file a seller has opened for viewers. It is on the disk before any of them leaves this machine, so a
//! restart or a crash forgets none.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use symbolon_protocol::{Decode, Encode, id::Hash};
use symbolon_store::durable;

use crate::error::ClientError;

/// The cells that were opened of one file, under its content root: a file that is listed again has the same.
#[derive(Debug)]
pub(super) struct OpenedCells {
    path: PathBuf,
    cells: BTreeSet<u64>,
}

impl OpenedCells {
    /// Reads them. A file that is there and cannot be read is an error: it may hold any number of cells.
    pub(super) fn read(folder: &Path, content_root: &Hash) -> Result<Self, ClientError> {
        let path = folder.join(content_root.to_string());
        let problem = |source| ClientError::Io { path: path.clone(), source };
        let cells = match fs::read(&path) {
            Ok(bytes) => {
                let cells = Vec::<u64>::from_bytes(&bytes);
                let damaged = |_| problem(io::ErrorKind::InvalidData.into());
                cells.map_err(damaged)?.into_iter().collect()
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(problem(error)),
        };
        Ok(Self { path, cells })
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.cells.len() as u64
    }

    /// How many of these are not open yet.
    pub(super) fn new_among(&self, cells: &[u64]) -> u64 {
        cells.iter().filter(|cell| !self.cells.contains(*cell)).count() as u64
    }

    /// Adds cells. When this returns, they are on the disk.
    pub(super) fn add(&mut self, cells: &[u64]) -> Result<(), ClientError> {
        if self.new_among(cells) == 0 {
            return Ok(());
        }
        let all: BTreeSet<u64> = self.cells.iter().chain(cells).copied().collect();
        let bytes = all.iter().copied().collect::<Vec<u64>>().to_bytes();
        durable::write_whole(&self.path, &bytes)
            .map_err(|source| ClientError::Io { path: self.path.clone(), source })?;
        self.cells = all;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opened_cells_are_not_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let read = |root: u8| OpenedCells::read(folder.path(), &Hash([root; 32]));
        let mut opened = read(1).unwrap();
        opened.add(&[7, 3]).unwrap();
        opened.add(&[3]).unwrap();
        assert_eq!((opened.count(), opened.new_among(&[3, 4, 7])), (2, 1));
        let again = read(1).unwrap();
        assert_eq!((again.count(), again.new_among(&[3, 4, 7])), (2, 1));
        assert_eq!(read(2).unwrap().count(), 0);
        // What cannot be read is not nothing.
        fs::write(folder.path().join(Hash([1; 32]).to_string()), [9]).unwrap();
        assert!(matches!(read(1), Err(ClientError::Io { .. })));
    }

    #[test]
    fn what_cannot_be_written_down_is_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("none");
        let mut opened = OpenedCells::read(&gone, &Hash([1; 32])).unwrap();
        assert!(matches!(opened.add(&[1]), Err(ClientError::Io { .. })));
        assert_eq!(opened.count(), 0);
    }
}
