//! The content leaves of a file, 32 bytes per cell, in a file beside the index. They say which bytes were sealed so
//! far. They give the content root, and later every Merkle path to it. Lost leaves can be computed again by reading the
//! file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use symbolon_protocol::{
    id::{Hash, ObjectId},
    merkle,
};
use symbolon_store::durable;

use crate::{error::ClientError, library::Local};

/// The leaves of one object. Clones use the same file.
#[derive(Clone, Debug)]
pub(crate) struct Leaves {
    path: Arc<Path>,
    file: Arc<File>,
    /// Whether bytes were written that are not synced.
    unsynced: Arc<AtomicBool>,
}

/// The path of an object's leaves.
pub(crate) fn path(dir: &Path, object: &ObjectId) -> PathBuf {
    dir.join("leaves").join(object.to_string())
}

impl Leaves {
    /// Opens the file with the leaves of an object, or creates it.
    pub(crate) fn open(dir: &Path, object: &ObjectId) -> Result<Self, ClientError> {
        let path = path(dir, object);
        let error = |source| ClientError::Io { path: path.clone(), source };
        std::fs::create_dir_all(dir.join("leaves")).map_err(error)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(error)?;
        Ok(Self { path: path.into(), file: Arc::new(file), unsynced: Arc::default() })
    }

    /// Number of leaves. A torn leaf at the end does not count.
    pub(crate) fn count(&self) -> Result<u64, ClientError> {
        Ok(self.file.metadata().map_err(self.error())?.len() / 32)
    }

    fn error(&self) -> impl FnOnce(io::Error) -> ClientError + '_ {
        |source| ClientError::Io { path: self.path.to_path_buf(), source }
    }

    /// Reads from byte `at` on. Gives the number of bytes read.
    pub(super) fn read_at(&self, at: u64, out: &mut [u8]) -> Result<usize, ClientError> {
        self.file.read_at(out, at).map_err(self.error())
    }

    /// Writes from byte `at` on.
    pub(super) fn write_at(&self, at: u64, bytes: &[u8]) -> Result<(), ClientError> {
        self.file.write_all_at(bytes, at).map_err(self.error())
    }

    /// Waits until everything that was written is on the disk.
    pub(super) fn sync(&self) -> Result<(), ClientError> {
        durable::sync_data(&self.file).map_err(self.error())
    }

    /// Leaves the sync to [`Self::finish`].
    pub(super) fn owe_sync(&self) {
        self.unsynced.store(true, Ordering::Relaxed);
    }

    /// Keeps the first `count` leaves, and waits until they are on the disk.
    pub(crate) fn finish(&self, count: u64) -> Result<(), ClientError> {
        if self.file.metadata().map_err(self.error())?.len() != count * 32 {
            self.file.set_len(count * 32).map_err(self.error())?;
            self.owe_sync();
        }
        if self.unsynced.swap(false, Ordering::Relaxed) {
            self.sync()?;
        }
        Ok(())
    }

    /// Replaces all leaves with these.
    pub(crate) fn replace(&self, leaves: &[Hash]) -> Result<(), ClientError> {
        let bytes: Vec<u8> = leaves.iter().flat_map(|leaf| leaf.0).collect();
        let mut file = &*self.file;
        let seek = file.seek(SeekFrom::Start(0));
        seek.and_then(|_| file.write_all(&bytes)).map_err(self.error())?;
        self.owe_sync();
        self.finish(leaves.len() as u64)
    }

    /// All leaves.
    pub(crate) fn all(&self) -> Result<Vec<Hash>, ClientError> {
        let mut bytes = Vec::new();
        let mut file = &*self.file;
        let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes));
        read.map_err(self.error())?;
        let (leaves, _) = bytes.as_chunks::<32>();
        Ok(leaves.iter().map(|leaf| Hash(*leaf)).collect())
    }

    /// The Merkle root of the leaves, which is the content root.
    pub(crate) fn root(&self) -> Result<Hash, ClientError> {
        Ok(root_of(&self.all()?))
    }
}

impl Local {
    /// All content leaves of an object, if they were kept since it was put.
    pub(crate) fn kept_leaves(
        &self,
        object: &ObjectId,
        cells: u64,
        root: &Hash,
    ) -> Result<Option<Vec<Hash>>, ClientError> {
        let kept = Leaves::open(self.dir(), object)?;
        let whole = kept.count()? == cells && kept.root()? == *root;
        if whole { kept.all().map(Some) } else { Ok(None) }
    }

    /// Keeps the content leaves of an object, in the place of earlier ones.
    pub(crate) fn keep_leaves(
        &self,
        object: &ObjectId,
        leaves: &[Hash],
    ) -> Result<(), ClientError> {
        Leaves::open(self.dir(), object)?.replace(leaves)
    }

    /// Removes the leaves of an object. They can be computed again, so a missing file is no error.
    pub(crate) fn forget_leaves(&self, object: &ObjectId) {
        std::fs::remove_file(path(self.dir(), object)).ok();
    }
}

/// The Merkle root over leaves.
pub(crate) fn root_of(leaves: &[Hash]) -> Hash {
    let mut builder = merkle::Builder::new();
    for leaf in leaves {
        builder.push(*leaf);
    }
    builder.finish()
}
