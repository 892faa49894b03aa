//! A shard that is coming in.

use std::{
    fs::File,
    io::{BufWriter, Write},
    sync::{Arc, atomic::Ordering},
};

use symbolon_protocol::{
    id::Hash,
    proof::{Outboard, ShardHasher},
};

use super::{
    Inner, index,
    rows::{Row, ShardInfo, ShardState},
};
use crate::{StoreError, durable, files};

/// Bytes per write. Fewer would be gathered first; more are written in such steps, because the kernel
/// takes memory for its cache in units of one write: on a virtual machine whose free memory is given
/// back to its host, the steps of 64 KiB cost a fifth of the processor time that 512 KiB did.
const BUFFER_BYTES: usize = 1 << 16;

/// Bytes after which the kernel is asked to begin writing what has come: the disk works while the network
/// does, and the sync at the end has little left to wait for.
const BEGIN_WRITING_BYTES: u64 = 4 << 20;

/// A shard that is on disk now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its BLAKE3 root.
    pub root: Hash,
    /// The acceptance that was kept with it.
    pub acceptance: Vec<u8>,
}

/// Takes a shard's bytes in. Dropped before it is finished, it leaves nothing behind.
#[derive(Debug)]
pub struct ShardWriter {
    inner: Arc<Inner>,
    info: ShardInfo,
    /// The number of the file.
    number: u64,
    file: BufWriter<File>,
    hasher: ShardHasher,
    /// Up to where the kernel has been asked to begin writing.
    begun: u64,
    /// Whether the index knows the file, which then is no longer the writer's to remove.
    is_known: bool,
}

/// A shard whose bytes are all synced, of which the index knows nothing yet.
pub(super) struct Sealed {
    writer: ShardWriter,
    pub(super) root: Hash,
}

impl ShardWriter {
    pub(super) fn new(inner: Arc<Inner>, info: ShardInfo) -> Result<Self, StoreError> {
        let (number, file) = inner.new_file()?;
        let file = BufWriter::with_capacity(BUFFER_BYTES, file);
        inner.coming.fetch_add(info.length, Ordering::Relaxed);
        let hasher = ShardHasher::new();
        Ok(Self { inner, info, number, file, hasher, begun: 0, is_known: false })
    }

    /// What is being stored.
    #[must_use]
    pub fn info(&self) -> &ShardInfo {
        &self.info
    }

    /// Bytes that are still to come.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.info.length - self.hasher.length()
    }

    /// Takes the next bytes, however few.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let found = self.hasher.length().saturating_add(bytes.len() as u64);
        if found > self.info.length {
            return Err(StoreError::Length { expected: self.info.length, found });
        }
        for piece in bytes.chunks(BUFFER_BYTES) {
            self.append(piece)?;
            self.hasher.update(piece);
        }
        if BEGIN_WRITING_BYTES <= self.hasher.length() - self.begun {
            self.begin_writing()?;
        }
        Ok(())
    }

    fn begin_writing(&mut self) -> Result<(), StoreError> {
        let to = self.hasher.length();
        let flushed = self.file.flush();
        flushed.map_err(|error| {
            StoreError::io("write", self.inner.temporary_path(self.number), error)
        })?;
        files::begin_writing(self.file.get_ref(), self.begun..to);
        self.begun = to;
        Ok(())
    }

    /// Puts the shard on disk: when this returns, it is there, synced, whatever happens next.
    pub fn finish(self, state: ShardState) -> Result<Stored, StoreError> {
        self.finish_accepted(state, |_| Vec::new())
    }

    /// The same, with the acceptance that `accept` makes of the root, kept in the same commit. It must
    /// not leave the node before this returns.
    pub fn finish_accepted(
        self,
        state: ShardState,
        accept: impl FnOnce(&Hash) -> Vec<u8>,
    ) -> Result<Stored, StoreError> {
        let sealed = self.seal()?;
        let (root, acceptance) = (sealed.root, accept(&sealed.root));
        sealed.enter(state, acceptance.clone())?.publish()?;
        Ok(Stored { root, acceptance })
    }

    #[cfg(test)]
    pub(super) fn set_file(&mut self, file: File) {
        self.file = BufWriter::with_capacity(BUFFER_BYTES, file);
    }

    /// Writes the outboard and syncs the file. Its name was synced when it was made.
    pub(super) fn seal(mut self) -> Result<Sealed, StoreError> {
        let (expected, found) = (self.info.length, self.hasher.length());
        if expected != found {
            return Err(StoreError::Length { expected, found });
        }
        let (root, outboard) = std::mem::take(&mut self.hasher).finish();
        self.append(&outboard.to_bytes())?;
        let path = self.inner.temporary_path(self.number);
        let flushed = self.file.flush().and_then(|()| durable::sync_all(self.file.get_ref()));
        flushed.map_err(|error| StoreError::io("sync", path, error))?;
        Ok(Sealed { writer: self, root })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_all(bytes)
            .map_err(|error| StoreError::io("write", self.inner.temporary_path(self.number), error))
    }

    /// Moves the file to where it is read from. If that fails, the shard is taken out of the index
    /// again, so that nobody is told of a shard that cannot be read.
    pub(super) fn publish(self) -> Result<(), StoreError> {
        self.inner.publish(self.number).inspect_err(|_| {
            let key = self.info.key();
            // If even this fails, the next start finishes the move.
            let undone = self.inner.index.write(|transaction| index::remove(transaction, &key));
            if undone.is_ok() {
                self.inner.collect_garbage().ok();
            }
        })
    }
}

impl Sealed {
    /// Enters the shard in the index. From here on it is there.
    pub(super) fn enter(
        mut self,
        state: ShardState,
        acceptance: Vec<u8>,
    ) -> Result<ShardWriter, StoreError> {
        let ShardWriter { inner, info, number, .. } = &self.writer;
        let (info, root, file) = (info.clone(), self.root, *number);
        let row = Row { info, root, state, acceptance, file };
        inner.index.write(|transaction| index::insert(transaction, &row))?;
        self.writer.is_known = true;
        Ok(self.writer)
    }
}

impl Drop for ShardWriter {
    fn drop(&mut self) {
        self.inner.coming.fetch_sub(self.info.length, Ordering::Relaxed);
        if !self.is_known {
            // A file that stays is removed by the next start.
            files::remove_if_there(&self.inner.temporary_path(self.number)).ok();
        }
    }
}

/// Bytes of a shard's file.
pub(super) fn file_length(length: u64) -> u64 {
    length.saturating_add(Outboard::byte_length(length))
}
