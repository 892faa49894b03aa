//! A stored shard, open for reading.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use symbolon_protocol::{
    id::Hash,
    proof::{
        GROUP_BYTES, LeafProof, Outboard, ShardHasher, group_range, leaf_proof_below, path_entries,
        verify_leaf,
    },
};

use super::{rows::Shard, writer::file_length};
use crate::{Damage, StoreError};

/// Bytes that are read at a time when a whole shard is checked.
const SCRUB_BYTES: usize = 1 << 20;

/// A stored shard, open for reading. Concurrent reads do not disturb each other.
#[derive(Debug)]
pub struct ShardFile {
    file: File,
    shard: Shard,
}

impl ShardFile {
    pub(super) fn open(path: &Path, shard: Shard) -> Result<Self, StoreError> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (found, file) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged(&shard, Damage::Missing));
            }
            Err(error) if is_the_disks(&error) => return Err(damaged(&shard, Damage::Read(error))),
            // Too many open files or no permission: the shard is not lost.
            Err(error) => return Err(StoreError::io("open", path, error)),
        };
        let expected = file_length(shard.info.length);
        match found == expected {
            true => Ok(Self { file, shard }),
            false => Err(damaged(&shard, Damage::Length { expected, found })),
        }
    }

    /// The record of the shard.
    #[must_use]
    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Fills `out` with the shard's bytes from `offset` on.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), StoreError> {
        self.check_range(offset, out.len() as u64)?;
        self.fill(offset, out)
    }

    /// Reads `length` bytes of the shard from `offset` on.
    pub fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        self.check_range(offset, length)?;
        let mut out = vec![0; usize::try_from(length).expect("at most a shard")];
        self.fill(offset, &mut out)?;
        Ok(out)
    }

    /// Unit `unit` of the shard, when it is cut into units of `unit_bytes`, and its path to the
    /// root.
    pub fn unit(&self, unit_bytes: u64, unit: u64) -> Result<(Vec<u8>, Vec<Hash>), StoreError> {
        let offset = unit.saturating_mul(unit_bytes);
        let length = unit_bytes.min(self.shard.info.length.saturating_sub(offset));
        let bytes = self.read(offset, length)?;
        Ok((bytes, self.path(unit_bytes, unit)?))
    }

    /// The path of unit `unit` to the root. `unit_bytes` is a power of two and at least 16 KiB.
    /// Reads only the siblings on the path.
    pub fn path(&self, unit_bytes: u64, unit: u64) -> Result<Vec<Hash>, StoreError> {
        let entries = path_entries(self.shard.info.length, unit_bytes, unit)
            .map_err(|_| self.out_of_range(unit.saturating_mul(unit_bytes), unit_bytes))?;
        entries
            .into_iter()
            .map(|entry| {
                let mut node = [0; Hash::BYTES];
                let offset = self.shard.info.length + entry as u64 * Hash::BYTES as u64;
                self.fill(offset, &mut node)?;
                Ok(Hash(node))
            })
            .collect()
    }

    /// Opens a leaf and checks the proof. An invalid proof means that the shard is damaged.
    pub fn leaf_proof(&self, leaf: u64) -> Result<LeafProof, StoreError> {
        let length = self.shard.info.length;
        let range = group_range(length, leaf)
            .map_err(|_| self.out_of_range(leaf.saturating_mul(1024), 1024))?;
        let group = self.read(range.start, range.end - range.start)?;
        let above = self.path(GROUP_BYTES as u64, range.start / GROUP_BYTES as u64)?;
        let proof = leaf_proof_below(above, length, leaf, &group);
        let checked = proof.and_then(|proof| {
            verify_leaf(&self.shard.root, length, leaf, &proof)?;
            Ok(proof)
        });
        checked.map_err(|_| damaged(&self.shard, Damage::Root))
    }

    /// The inner nodes of the shard's tree.
    pub fn outboard(&self) -> Result<Outboard, StoreError> {
        let length = self.shard.info.length;
        let bytes = Outboard::byte_length(length);
        let mut out = vec![0; usize::try_from(bytes).expect("a fraction of a shard")];
        self.fill(length, &mut out)?;
        Outboard::from_bytes(length, &out).map_err(|_| damaged(&self.shard, Damage::Root))
    }

    /// Reads the whole shard and checks it against the root.
    pub fn check(self) -> Result<(), StoreError> {
        let mut checking = self.checking();
        while checking.step()? != 0 {}
        Ok(())
    }

    /// Begins to check the whole shard, piece by piece.
    #[must_use]
    pub fn checking(self) -> Checking {
        Checking { file: self, hasher: ShardHasher::new(), buffer: vec![0; SCRUB_BYTES] }
    }

    fn check_range(&self, offset: u64, length: u64) -> Result<(), StoreError> {
        match offset.checked_add(length) {
            Some(end) if end <= self.shard.info.length => Ok(()),
            _ => Err(self.out_of_range(offset, length)),
        }
    }

    fn out_of_range(&self, offset: u64, length: u64) -> StoreError {
        StoreError::OutOfRange { offset, length, shard_length: self.shard.info.length }
    }

    fn fill(&self, offset: u64, out: &mut [u8]) -> Result<(), StoreError> {
        let read = self.file.read_exact_at(out, offset);
        read.map_err(|error| damaged(&self.shard, Damage::Read(error)))
    }
}

/// A shard that is being checked.
#[derive(Debug)]
pub struct Checking {
    file: ShardFile,
    hasher: ShardHasher,
    buffer: Vec<u8>,
}

impl Checking {
    /// Bytes that the next step reads.
    #[must_use]
    pub fn next_bytes(&self) -> u64 {
        (self.file.shard.info.length - self.hasher.length()).min(SCRUB_BYTES as u64)
    }

    /// Reads the next piece. Returns the number of its bytes; 0 when the shard is whole.
    pub fn step(&mut self) -> Result<u64, StoreError> {
        let bytes = self.next_bytes();
        if bytes == 0 {
            let (root, outboard) = std::mem::take(&mut self.hasher).finish();
            return match root == self.file.shard.root && outboard == self.file.outboard()? {
                true => Ok(0),
                false => Err(damaged(&self.file.shard, Damage::Root)),
            };
        }
        let piece = &mut self.buffer[..usize::try_from(bytes).unwrap_or(SCRUB_BYTES)];
        self.file.fill(self.hasher.length(), piece)?;
        self.hasher.update(piece);
        Ok(bytes)
    }
}

/// Whether the disk failed, and not this process or its permissions.
fn is_the_disks(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}

fn damaged(shard: &Shard, why: Damage) -> StoreError {
    StoreError::Damaged { deal: shard.info.deal, index: shard.info.index, why }
}
