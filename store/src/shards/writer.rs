//! Storing a shard whose bytes are arriving.

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

/// Bytes of one write to the file. Smaller pieces are gathered first, and larger ones are split.
/// The kernel takes memory for its cache in units of one write. On a virtual machine that returns
/// free memory to its host, writes of 64 KiB cost a fifth of the processor time of writes of 512
/// KiB.
const BUFFER_BYTES: usize = 1 << 16;

/// Bytes after which the kernel is asked to start writing them to disk. So the disk works while the
/// network does, and the sync at the end has little left to do.
const BEGIN_WRITING_BYTES: u64 = 4 << 20;

/// A shard that is durable on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The BLAKE3 root.
    pub root: Hash,
    /// The acceptance that was stored with the shard.
    pub acceptance: Vec<u8>,
}

/// Stores the bytes of a shard. If it is dropped before it is finished, it leaves nothing behind.
#[derive(Debug)]
pub struct ShardWriter {
    inner: Arc<Inner>,
    info: ShardInfo,
    /// The number of the file.
    number: u64,
    file: BufWriter<File>,
    hasher: ShardHasher,
    /// The kernel has been asked to write the file up to this byte.
    begun: u64,
    /// Whether the index lists the file. If so, dropping the writer does not remove it.
    is_known: bool,
    /// The root that the shard must have.
    wanted: Option<Hash>,
}

/// A shard whose bytes are all synced, but which the index does not list yet.
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
        Ok(Self { inner, info, number, file, hasher, begun: 0, is_known: false, wanted: None })
    }

    /// The description of the shard.
    #[must_use]
    pub fn info(&self) -> &ShardInfo {
        &self.info
    }

    /// Bytes that have not arrived yet.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.info.length - self.hasher.length()
    }

    /// Writes the next bytes. Any number of bytes is allowed.
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

    /// Sets the root that the shard must have. With another one, it is not stored.
    pub fn want(&mut self, root: Hash) {
        self.wanted = Some(root);
    }

    /// Completes the shard. When this returns, the shard is durable on disk.
    pub fn finish(self, state: ShardState) -> Result<Stored, StoreError> {
        self.finish_accepted(state, |_| Vec::new())
    }

    /// Completes the shard and stores the acceptance that `accept` makes of its root, in the same
    /// commit. The acceptance must not leave the node before this returns.
    pub fn finish_accepted(
        self,
        state: ShardState,
        accept: impl FnOnce(&Hash) -> Vec<u8>,
    ) -> Result<Stored, StoreError> {
        let wanted = self.wanted;
        let sealed = self.seal()?;
        if let Some(expected) = wanted.filter(|wanted| *wanted != sealed.root) {
            let found = sealed.root;
            return Err(StoreError::Root { expected, found });
        }
        let (root, acceptance) = (sealed.root, accept(&sealed.root));
        sealed.enter(state, acceptance.clone())?.publish()?;
        Ok(Stored { root, acceptance })
    }

    #[cfg(test)]
    pub(super) fn set_file(&mut self, file: File) {
        self.file = BufWriter::with_capacity(BUFFER_BYTES, file);
    }

    /// Writes the outboard and syncs the file. The file's name was synced when it was created.
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

    /// Moves the file to its final place. If that fails, removes the shard from the index again, so
    /// that the node does not accept a shard that it cannot read.
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
    /// Enters the shard in the index. From here on it is stored.
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
