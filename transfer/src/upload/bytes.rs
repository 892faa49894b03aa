//! The bytes of one segment. They can be read several times, because a segment may have to be sent
//! twice.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::error::TransferError;

/// One segment of a source. Offsets count from the beginning of the segment.
#[derive(Clone, Debug)]
pub enum SegmentBytes {
    /// A part of a file.
    File {
        /// The open file.
        file: Arc<File>,
        /// The path of the file, for messages.
        path: Arc<Path>,
        /// The offset of the segment in the file.
        start: u64,
        /// Bytes of the segment.
        length: u64,
    },
    /// Bytes in memory.
    Bytes(Bytes),
}

impl SegmentBytes {
    /// The path of the source, if it is a file.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::File { path, .. } => Some(path.to_path_buf()),
            Self::Bytes(_) => None,
        }
    }

    /// Bytes of user data in the segment.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Self::File { length, .. } => *length,
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Fills `out` from `offset` on, up to the end of the segment, and returns the number of bytes.
    /// A file that has become shorter counts as changed.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, TransferError> {
        let left = self.length().saturating_sub(offset);
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        match self {
            Self::File { file, path, start, .. } => {
                let read = file.read_exact_at(&mut out[..count], start + offset);
                read.map_err(|source| match source.kind() {
                    io::ErrorKind::UnexpectedEof => {
                        TransferError::SourceChanged { path: Some(path.to_path_buf()) }
                    }
                    _ => TransferError::Io { path: path.to_path_buf(), source },
                })?;
            }
            Self::Bytes(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                out[..count].copy_from_slice(&bytes[from..from + count]);
            }
        }
        Ok(count)
    }
}
