//! The content leaves of a file, 32 bytes per cell, in a file beside the index: what the content root
//! is computed from, and later every Merkle path into it. Lost leaves can be recomputed by reading.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use symbolon_protocol::{
    id::{Hash, ObjectId},
    merkle,
};

use crate::error::ClientError;

/// The leaves of one object.
#[derive(Debug)]
pub(crate) struct Leaves {
    path: PathBuf,
    file: File,
    count: u64,
}

impl Leaves {
    /// Opens the leaves of an object, however many there are yet.
    pub(crate) fn open(dir: &Path, object: &ObjectId) -> Result<Self, ClientError> {
        let folder = dir.join("leaves");
        let path = folder.join(object.to_string());
        let error = |source| ClientError::Io { path: path.clone(), source };
        std::fs::create_dir_all(&folder).map_err(error)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(error)?;
        // A torn last leaf is one that was never counted.
        let count = file.metadata().map_err(error)?.len() / 32;
        Ok(Self { path, file, count })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    fn error(&self) -> impl FnOnce(io::Error) -> ClientError + '_ {
        |source| ClientError::Io { path: self.path.clone(), source }
    }

    /// Keeps the first `count`.
    pub(crate) fn rewind(&mut self, count: u64) -> Result<(), ClientError> {
        self.file.set_len(count * 32).map_err(self.error())?;
        self.count = count;
        Ok(())
    }

    /// Adds leaves and syncs them.
    pub(crate) fn append(&mut self, leaves: &[Hash]) -> Result<(), ClientError> {
        let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
        let seek = self.file.seek(SeekFrom::Start(self.count * 32));
        let written = seek.and_then(|_| self.file.write_all(&bytes));
        written.and_then(|()| self.file.sync_data()).map_err(self.error())?;
        self.count += leaves.len() as u64;
        Ok(())
    }

    /// All of them.
    pub(crate) fn all(&self) -> Result<Vec<Hash>, ClientError> {
        let mut bytes = Vec::new();
        let mut file = &self.file;
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes));
        read.map_err(self.error())?;
        let (leaves, _) = bytes.as_chunks::<32>();
        Ok(leaves.iter().map(|leaf| Hash(*leaf)).collect())
    }

    /// Their Merkle root: the content root.
    pub(crate) fn root(&self) -> Result<Hash, ClientError> {
        let mut builder = merkle::Builder::new();
        for leaf in self.all()? {
            builder.push(leaf);
        }
        Ok(builder.finish())
    }
}
