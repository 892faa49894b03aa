//! Reusable buffers.
//!
//! A put fills some hundred mebibytes of cells a second. The system clears new memory page by page,
//! and `vec![0; n]` clears it again. A reused buffer needs neither. It still holds its old bytes,
//! so its user must overwrite all of them.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex},
};

use bytes::Bytes;

use crate::lock;

/// Most bytes that are kept for reuse: as many as one put or get uses at a time.
const KEPT_BYTES_MAX: usize = 48 << 20;

/// Buffers that wait to be reused. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffers {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// A buffer that returns to its pool when it is dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    home: Buffers,
}

impl Buffers {
    /// A buffer of this many bytes, with arbitrary contents.
    pub(crate) fn take(&self, length: usize) -> Buffer {
        let mut bytes = self.fitting(length).unwrap_or_default();
        // This clears only bytes that were never written.
        bytes.resize(length, 0);
        Buffer { bytes, home: self.clone() }
    }

    /// Frees the buffers that wait to be reused.
    pub(crate) fn clear(&self) {
        let mut kept = lock(&self.kept);
        *kept = Kept::default();
    }

    fn fitting(&self, length: usize) -> Option<Vec<u8>> {
        let mut kept = lock(&self.kept);
        let at = kept.buffers.iter().rposition(|bytes| bytes.capacity() >= length)?;
        let bytes = kept.buffers.swap_remove(at);
        kept.bytes -= bytes.capacity();
        Some(bytes)
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let mut kept = lock(&self.kept);
        if kept.bytes + bytes.capacity() <= KEPT_BYTES_MAX {
            kept.bytes += bytes.capacity();
            kept.buffers.push(bytes);
        }
    }
}

impl Buffer {
    /// The same bytes, shared. The buffer returns to its pool when the last share is dropped.
    pub(crate) fn share(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.bytes));
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_when_its_last_share_is_gone() {
        let buffers = Buffers::default();
        let mut first = buffers.take(1000);
        first.fill(7);
        let place = first.as_ptr();
        let shared = first.share();
        let part = shared.slice(10..20);
        drop(shared);
        assert_ne!(buffers.take(1000).as_ptr(), place, "still in use");
        assert_eq!(part, [7; 10][..]);
        drop(part);
        let again = [buffers.take(1000), buffers.take(1000)];
        assert!(again.iter().any(|buffer| buffer.as_ptr() == place));
    }

    #[test]
    fn lengths_are_exact_and_memory_is_bounded() {
        let buffers = Buffers::default();
        drop(buffers.take(5000));
        let short = buffers.take(10);
        assert_eq!(short.len(), 10);
        drop(short);
        let all: Vec<_> = (0..5).map(|_| buffers.take(KEPT_BYTES_MAX / 4)).collect();
        drop(all);
        assert!(buffers.kept.lock().unwrap().bytes <= KEPT_BYTES_MAX);
    }
}
