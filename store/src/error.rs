//! Errors of a node's disk. Each says whose fault it is.

use std::{io, path::PathBuf};

use symbolon_protocol::{
    DecodeError,
    id::{DealId, Hash},
};
use thiserror::Error;

/// What is wrong with a shard's file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Damage {
    /// It is on the list of damaged shards.
    #[error("it was found damaged before")]
    Known,
    /// The file is longer or shorter than the shard that was stored.
    #[error("its file has {found} bytes instead of {expected}")]
    Length {
        /// Bytes of the shard and its outboard.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The file is gone.
    #[error("its file is gone")]
    Missing,
    /// The file cannot be read.
    #[error("its file cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The bytes differ from those that were stored.
    #[error("its bytes do not have its root")]
    Root,
}

/// Why an operation on a node's disk failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The shard was stored, but the disk no longer has its bytes. The node is at fault.
    #[error("shard {index} of deal {deal} is damaged: {why}")]
    Damaged {
        /// The deal of the shard.
        deal: DealId,
        /// The index of the shard in its deal.
        index: u8,
        /// The damage.
        why: Damage,
    },
    /// The same shard is stored already.
    #[error("shard {index} of deal {deal} is stored already")]
    Exists {
        /// The deal of the shard.
        deal: DealId,
        /// The index of the shard in its deal.
        index: u8,
    },
    /// The disk or this user's quota is full. No part of the request was kept.
    #[error("the disk is full")]
    Full(#[source] io::Error),
    /// Another process has the same directory open.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The index file.
        path: PathBuf,
    },
    /// The index failed.
    #[error("the index failed: {0}")]
    Index(#[source] Box<redb::Error>),
    /// The file system failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation that failed.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// More or fewer bytes arrived than were announced. The sender is at fault.
    #[error("{found} bytes arrived for a shard of {expected} bytes")]
    Length {
        /// Bytes that were announced.
        expected: u64,
        /// Bytes that arrived, including those of a refused last write.
        found: u64,
    },
    /// The bytes have another root than the shard must have. The sender is at fault.
    #[error("bytes with the root {found} arrived for a shard with the root {expected}")]
    Root {
        /// The root that the shard must have.
        expected: Hash,
        /// The root of the bytes that arrived.
        found: Hash,
    },
    /// The node does not store this shard.
    #[error("shard {index} of deal {deal} is not stored here")]
    NotFound {
        /// The deal of the shard.
        deal: DealId,
        /// The index of the shard in its deal.
        index: u8,
    },
    /// A read goes beyond the end of a shard.
    #[error("a read of {length} bytes at {offset} goes beyond a shard of {shard_length} bytes")]
    OutOfRange {
        /// The first byte of the read.
        offset: u64,
        /// Bytes of the read.
        length: u64,
        /// Bytes of the shard.
        shard_length: u64,
    },
    /// A row of the index is not in the form that this program writes.
    #[error("a row of the index cannot be read: {0}")]
    Row(#[from] DecodeError),
    /// The index lists shards, but the folder with their files is gone.
    #[error("{} is gone, but the index beside it lists shards", path.display())]
    ShardsGone {
        /// The folder.
        path: PathBuf,
    },
    /// A program with another layout wrote the directory.
    #[error("the disk has layout {found}, but this program knows layout {expected}")]
    Version {
        /// The layout that this program knows.
        expected: u64,
        /// The layout on disk.
        found: u64,
    },
}

impl StoreError {
    /// An error of the file system. It becomes [`Full`](Self::Full) if the disk is full.
    pub(crate) fn io(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        match is_full(&source) {
            true => Self::Full(source),
            false => Self::Io { what, path: path.into(), source },
        }
    }

    pub(crate) fn index(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(source) if is_full(&source) => Self::Full(source),
            other => Self::Index(Box::new(other)),
        }
    }
}

/// Whether the error means that the disk or this user's quota is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

macro_rules! index_errors {
    ($error:ty: $($source:ty),*) => {$(
        impl From<$source> for $error {
            fn from(error: $source) -> Self {
                Self::index(error.into())
            }
        }
    )*};
}
pub(crate) use index_errors;

index_errors!(StoreError: redb::CommitError, redb::StorageError, redb::TableError, redb::TransactionError);
