//! Exported blocks: a folder from which anyone can audit a ledger without asking it.
//!
//! `genesis` has what the ledger began with. Each file `blocks-N` has up to a thousand blocks from height N on: the length
//! of a block as four bytes, then the block, all as in `spec/wire.md`. Blocks are only ever appended; a part of one at
//! the end, after a crash, counts for nothing and is written anew.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use symbolon_protocol::{
    Decode, Encode,
    id::ChainId,
    ledger::block::{Block, Genesis},
};

use crate::{
    error::{Error, Kind},
    home,
};

/// Blocks of one file.
const PER_FILE: u64 = 1_000;
/// Bytes before a block, which say its length.
const LENGTH_BYTES: u64 = 4;
/// Bytes of a block at most: far more than the rules allow.
const BLOCK_BYTES_MAX: u32 = 64 << 20;

/// A folder of exported blocks.
#[derive(Debug)]
pub(crate) struct Archive {
    folder: PathBuf,
    pub(crate) genesis: Genesis,
    /// Where the last whole block that was read or written ends.
    end: End,
}

/// The end of the whole blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct End {
    /// The height after the last of them.
    height: u64,
    /// How long the file with the last of them is without what a crash left of another one. It counts for nothing where a
    /// new file begins.
    bytes: u64,
}

impl End {
    /// The end after one more block whose record has so many bytes.
    fn after(self, record: u64) -> Self {
        Self { height: self.height + 1, bytes: self.in_file() + record }
    }

    /// Where the next block goes in its file.
    fn in_file(self) -> u64 {
        if self.height.is_multiple_of(PER_FILE) { 0 } else { self.bytes }
    }
}

impl Archive {
    /// Opens the folder of a ledger.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("genesis");
        let Some(bytes) = home::read_if_there(&path)? else {
            let message = format!("{} has no exported blocks", folder.display());
            return Err(Error::new(Kind::NotFound, message)
                .hint("export them with: symbolon audit --export DIR"));
        };
        let genesis = Genesis::from_bytes(&bytes).ok().filter(|genesis| genesis.check().is_ok());
        let genesis = genesis.ok_or_else(|| damaged(&path, "it is no genesis"))?;
        Ok(Self { folder: folder.to_owned(), genesis, end: End::default() })
    }

    /// Opens the folder for the blocks of this ledger; makes it if it is not there.
    pub(crate) fn make(folder: &Path, genesis: &Genesis) -> Result<Self, Error> {
        if !folder.join("genesis").exists() {
            home::make_folder(folder)?;
            home::write_whole(&folder.join("genesis"), &genesis.to_bytes())?;
        }
        let archive = Self::open(folder)?;
        match archive.chain() == genesis.chain() {
            true => Ok(archive),
            false => {
                let message = format!("{} has blocks of another ledger", folder.display());
                Err(Error::new(Kind::Exists, message).hint("choose another folder"))
            }
        }
    }

    pub(crate) fn chain(&self) -> ChainId {
        self.genesis.chain()
    }

    fn file(&self, height: u64) -> PathBuf {
        self.folder.join(format!("blocks-{:012}", height / PER_FILE * PER_FILE))
    }

    /// Passes whole blocks to `take`, from the first one on, until it says no. Gives the height after the last of them.
    pub(crate) fn each(&mut self, mut take: impl FnMut(&Block) -> bool) -> Result<u64, Error> {
        self.end = End::default();
        loop {
            let path = self.file(self.end.height);
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Ok(self.end.height);
                }
                Err(error) => return Err(Error::io("read", &path, &error)),
            };
            let before = self.end.height;
            let mut reader = io::BufReader::new(file);
            while let Some(bytes) = record(&mut reader, &path)? {
                let block = Block::from_bytes(&bytes);
                let block =
                    block.map_err(|_| damaged(&path, "it has something that is no block"))?;
                if !take(&block) {
                    return Ok(self.end.height);
                }
                self.end = self.end.after(LENGTH_BYTES + bytes.len() as u64);
            }
            if self.end.height < before + PER_FILE {
                return Ok(self.end.height);
            }
        }
    }

    /// Appends blocks behind those that [`Archive::each`] has read. They are on disk when this returns.
    pub(crate) fn append(&mut self, blocks: &[Block]) -> Result<(), Error> {
        let mut rest = blocks;
        while !rest.is_empty() {
            let path = self.file(self.end.height);
            let fits = usize::try_from(PER_FILE - self.end.height % PER_FILE).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(rest.len().min(fits));
            let appended = self.append_to(&path, now);
            self.end = appended.map_err(|error| Error::io("write", &path, &error))?;
            rest = later;
        }
        Ok(())
    }

    fn append_to(&self, path: &Path, blocks: &[Block]) -> io::Result<End> {
        let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        let from = self.end.in_file();
        if file.metadata()?.len() < from {
            return Err(io::Error::other("it has become shorter meanwhile"));
        }
        // What a crash left of a block goes.
        file.set_len(from)?;
        file.seek(io::SeekFrom::Start(from))?;
        let (mut bytes, mut end) = (Vec::new(), self.end);
        for block in blocks {
            let block = block.to_bytes();
            let length = u32::try_from(block.len()).map_err(io::Error::other)?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&block);
            end = end.after(LENGTH_BYTES + block.len() as u64);
        }
        file.write_all(&bytes)?;
        file.sync_all()?;
        // The file's name too.
        File::open(&self.folder)?.sync_all()?;
        Ok(end)
    }
}

/// The next whole record; nothing at the end, and before a part of one.
fn record(reader: &mut impl io::Read, path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let ended = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Ok(None),
        _ => Err(Error::io("read", path, &error)),
    };
    let mut length = [0; 4];
    if let Err(error) = reader.read_exact(&mut length) {
        return ended(error);
    }
    let length = u32::from_le_bytes(length);
    if BLOCK_BYTES_MAX < length {
        return Err(damaged(path, "a block would be too long"));
    }
    let mut bytes = Vec::new();
    match reader.take(u64::from(length)).read_to_end(&mut bytes) {
        Ok(read) if read as u64 == u64::from(length) => Ok(Some(bytes)),
        Ok(_) => Ok(None),
        Err(error) => Err(Error::io("read", path, &error)),
    }
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::new(Kind::Corrupt, format!("{} is damaged: {why}", path.display()))
        .hint("remove this file and those after it, and export again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_begins_anew_after_a_thousand_blocks() {
        let end = (0..PER_FILE - 1).fold(End::default(), |end, _| end.after(10));
        assert_eq!((end.height, end.in_file()), (999, 9_990));
        let full = end.after(10);
        assert_eq!(
            (full.height, full.in_file()),
            (1_000, 0),
            "the next block is the first of a file"
        );
        assert_eq!(full.after(7), End { height: 1_001, bytes: 7 });
    }
}
