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
/// Bytes of a block at most: far more than the rules allow.
const BLOCK_BYTES_MAX: u32 = 64 << 20;

/// A folder of exported blocks.
#[derive(Debug)]
pub(crate) struct Archive {
    folder: PathBuf,
    pub(crate) genesis: Genesis,
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
        Ok(Self { folder: folder.to_owned(), genesis })
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
    pub(crate) fn each(&self, mut take: impl FnMut(&Block) -> bool) -> Result<u64, Error> {
        let mut height = 0;
        loop {
            let path = self.file(height);
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(height),
                Err(error) => return Err(Error::io("read", &path, &error)),
            };
            let before = height;
            let mut reader = io::BufReader::new(file);
            while let Some(bytes) = record(&mut reader, &path)? {
                let block = Block::from_bytes(&bytes);
                let block =
                    block.map_err(|_| damaged(&path, "it has something that is no block"))?;
                if !take(&block) {
                    return Ok(height);
                }
                height += 1;
            }
            if height < before + PER_FILE {
                return Ok(height);
            }
        }
    }

    /// Appends blocks from this height on. They are on disk when this returns.
    pub(crate) fn append(&self, height: u64, blocks: &[Block]) -> Result<(), Error> {
        let mut next = height;
        let mut rest = blocks;
        while !rest.is_empty() {
            let path = self.file(next);
            let fits = usize::try_from(PER_FILE - next % PER_FILE).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(rest.len().min(fits));
            self.append_to(&path, next % PER_FILE, now)
                .map_err(|error| Error::io("write", &path, &error))?;
            next += now.len() as u64;
            rest = later;
        }
        Ok(())
    }

    fn append_to(&self, path: &Path, there: u64, blocks: &[Block]) -> io::Result<()> {
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        // What a crash left of a block goes.
        let mut end = 0;
        for _ in 0..there {
            file.seek(io::SeekFrom::Start(end))?;
            let mut length = [0; 4];
            file.read_exact(&mut length)?;
            end += 4 + u64::from(u32::from_le_bytes(length));
        }
        file.set_len(end)?;
        file.seek(io::SeekFrom::Start(end))?;
        let mut bytes = Vec::new();
        for block in blocks {
            let block = block.to_bytes();
            let length = u32::try_from(block.len()).map_err(io::Error::other)?;
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&block);
        }
        file.write_all(&bytes)?;
        file.sync_all()?;
        // The file's name too.
        File::open(&self.folder)?.sync_all()
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
