//! What can go wrong on a node's disk, and whose fault it is.

use std::{io, path::PathBuf};

use symbolon_protocol::{DecodeError, id::DealId};
use thiserror::Error;

/// What is wrong with a shard's file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Damage {
    /// The file is longer or shorter than what was stored.
    #[error("its file has {found} bytes instead of {expected}")]
    Length {
        /// Bytes of the shard and its outboard.
        expected: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// There is no file.
    #[error("its file is gone")]
    Missing,
    /// The disk does not give the bytes.
    #[error("its file cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The bytes are not those that were stored.
    #[error("its bytes do not have its root")]
    Root,
}

/// Why a node's disk did not do what it was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The shard was stored, and what is on disk now is not it: the node's fault.
    #[error("shard {index} of deal {deal} is damaged: {why}")]
    Damaged {
        /// Which deal.
        deal: DealId,
        /// Which shard.
        index: u8,
        /// What is wrong.
        why: Damage,
    },
    /// The same shard is there already.
    #[error("shard {index} of deal {deal} is stored already")]
    Exists {
        /// Which deal.
        deal: DealId,
        /// Which shard.
        index: u8,
    },
    /// The disk, or what this user may use of it, is full. Nothing was kept of what was asked.
    #[error("the disk is full")]
    Full(#[source] io::Error),
    /// Another process has opened the same directory.
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
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// More or fewer bytes came than were announced: the sender's fault.
    #[error("{found} bytes came for a shard of {expected}")]
    Length {
        /// Bytes that were announced.
        expected: u64,
        /// Bytes that came, or that would have come with the last write.
        found: u64,
    },
    /// There is no such shard.
    #[error("no shard {index} of deal {deal}")]
    NotFound {
        /// Which deal.
        deal: DealId,
        /// Which shard.
        index: u8,
    },
    /// A read beyond the end of a shard.
    #[error("{length} bytes at {offset} are not all in a shard of {shard_length}")]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
        /// How many.
        length: u64,
        /// How many the shard has.
        shard_length: u64,
    },
    /// A row of the index is not what this program wrote.
    #[error("a row of the index cannot be read: {0}")]
    Row(#[from] DecodeError),
    /// The index knows shards, and the folder that has their files is not there.
    #[error("{} is gone, and the index beside it has shards in it", path.display())]
    ShardsGone {
        /// The folder.
        path: PathBuf,
    },
    /// The directory was written by a program with another layout.
    #[error("layout {found} on disk, this program knows {expected}")]
    Version {
        /// What this program knows.
        expected: u64,
        /// What was found.
        found: u64,
    },
}

impl StoreError {
    /// A failure of the file system, or [`Full`](Self::Full) if that is what it says.
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

/// No space, or no quota.
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
