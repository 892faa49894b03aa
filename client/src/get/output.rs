//! Where the bytes of a get go.
//!
//! A file is written beside its destination and moved there when it is complete and synced. Every few
//! groups the part is synced and a small note beside it says how far it is good, so that the same get
//! after a crash goes on from there.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use symbolon_protocol::{
    id::{Hash, ObjectId},
    merkle,
};

use super::{GetOutcome, GetReport, Sink};
use crate::{
    download::{Group, LeavesWanted},
    error::ClientError,
    upload::Replace,
};

/// Groups between two syncs of a part: 64 MiB at four required shards.
const SYNC_GROUPS: u64 = 16;

/// Bytes per write. The kernel takes memory for its cache in units of one write, and on a virtual
/// machine whose free memory is given back to its host, large units are dear: see the node's writer.
const WRITE_BYTES: usize = 1 << 16;

/// Where bytes go, and how far they are.
pub(super) enum Output {
    Part(Part),
    Stdout(Tally),
    Memory(Vec<u8>, Tally),
}

#[derive(Default)]
pub(super) struct Tally {
    groups: u64,
    leaves: Vec<Hash>,
}

/// A file that is not complete yet.
pub(super) struct Part {
    target: PathBuf,
    path: PathBuf,
    file: File,
    note: Option<Note>,
    tally: Tally,
    /// Bytes of the whole groups in the file.
    length: u64,
}

/// How far a part is good: object, groups, length, count of leaves, then the leaves of those groups. Leaves
/// behind the count were written by a get that was killed before its head was.
struct Note {
    path: PathBuf,
    file: File,
    leaves_written: usize,
    object: ObjectId,
}

const NOTE_HEAD: usize = 16 + 8 + 8 + 8;

fn beside(target: &Path, ending: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn at(path: &Path) -> impl Fn(io::Error) -> ClientError + '_ {
    move |source| ClientError::Io { path: path.to_owned(), source }
}

impl Output {
    pub(super) fn open(
        sink: Sink,
        replace: Replace,
        object: &ObjectId,
        resumable: Option<LeavesWanted>,
    ) -> Result<Self, ClientError> {
        match sink {
            Sink::Stdout => Ok(Self::Stdout(Tally::default())),
            Sink::Memory => Ok(Self::Memory(Vec::new(), Tally::default())),
            Sink::File(target) => {
                if replace == Replace::Refuse && target.exists() {
                    return Err(ClientError::Exists { name: target.display().to_string() });
                }
                Part::open(target, object, resumable).map(Self::Part)
            }
        }
    }

    fn tally(&mut self) -> &mut Tally {
        match self {
            Self::Part(part) => &mut part.tally,
            Self::Stdout(tally) | Self::Memory(_, tally) => tally,
        }
    }

    pub(super) fn groups_done(&mut self) -> u64 {
        self.tally().groups
    }

    /// Blocks.
    pub(super) fn write(
        mut self,
        group: Group,
        plain: std::ops::Range<usize>,
    ) -> Result<Self, ClientError> {
        let bytes = &group.plain[plain];
        match &mut self {
            Self::Part(part) => {
                for piece in bytes.chunks(WRITE_BYTES) {
                    part.file.write_all(piece).map_err(at(&part.path))?;
                }
                part.length += bytes.len() as u64;
            }
            Self::Stdout(_) => {
                let stdout = Path::new("standard output");
                io::stdout().lock().write_all(bytes).map_err(at(stdout))?;
            }
            Self::Memory(out, _) => out.extend_from_slice(bytes),
        }
        let tally = self.tally();
        tally.groups += 1;
        tally.leaves.extend(group.leaves);
        if let Self::Part(part) = &mut self
            && part.tally.groups.is_multiple_of(SYNC_GROUPS)
        {
            part.sync()?;
        }
        Ok(self)
    }

    pub(super) fn root(&mut self) -> Hash {
        let mut builder = merkle::Builder::new();
        for leaf in &self.tally().leaves {
            builder.push(*leaf);
        }
        builder.finish()
    }

    pub(super) fn discard(self) {
        if let Self::Part(mut part) = self {
            // What cannot be removed now is overwritten by the next get.
            std::fs::remove_file(&part.path).ok();
            if let Some(note) = part.note.take() {
                std::fs::remove_file(&note.path).ok();
            }
        }
    }

    pub(super) fn finish(self, length: u64, kept: u64) -> Result<GetReport, ClientError> {
        let bytes = match self {
            Self::Part(part) => {
                part.finish()?;
                None
            }
            Self::Stdout(_) => {
                io::stdout().lock().flush().map_err(at(Path::new("standard output")))?;
                None
            }
            Self::Memory(bytes, _) => Some(bytes),
        };
        Ok(GetReport {
            outcome: GetOutcome::Fetched,
            length,
            kept,
            checked_root: false,
            acknowledged: None,
            faults: Vec::new(),
            bytes,
        })
    }
}

/// A get that ends early leaves what it has: the next one goes on from the last group.
impl Drop for Part {
    fn drop(&mut self) {
        // What cannot be synced now is read again.
        self.sync().ok();
    }
}

impl Part {
    fn open(
        target: PathBuf,
        object: &ObjectId,
        resumable: Option<LeavesWanted>,
    ) -> Result<Self, ClientError> {
        let path = beside(&target, ".symbolon-part");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = loop {
            let file = options.open(&path).map_err(at(&path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(ClientError::Locked { what: target.display().to_string() });
                }
                Err(TryLockError::Error(error)) => return Err(at(&path)(error)),
            }
            // Whoever had it may have finished it meanwhile, and it has its own name by now.
            let still = std::fs::metadata(&path).map(|there| there.ino());
            if still.ok() == Some(file.metadata().map_err(at(&path))?.ino()) {
                break file;
            }
        };
        let note_path = beside(&target, ".symbolon-note");
        let mut tally = Tally::default();
        let mut good = 0;
        let note = if let Some(leaves_wanted) = resumable {
            let mut note = options.open(&note_path).map_err(at(&note_path))?;
            if let Some((groups, length, leaves)) = read_note(&mut note, object)
                // A get that wanted no leaves has none to go on from.
                && (leaves_wanted == LeavesWanted::No || groups == 0 || !leaves.is_empty())
                && file.metadata().map_err(at(&path))?.len() >= length
            {
                (good, tally) = (length, Tally { groups, leaves });
            } else {
                // It vouches for bytes that are about to go.
                note.set_len(0).and_then(|()| note.sync_data()).map_err(at(&note_path))?;
            }
            let leaves_written = tally.leaves.len();
            let path = note_path;
            Some(Note { path, file: note, leaves_written, object: *object })
        } else {
            match std::fs::remove_file(&note_path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at(&note_path)(error));
                }
                _ => None,
            }
        };
        file.set_len(good).map_err(at(&path))?;
        file.seek(SeekFrom::Start(good)).map_err(at(&path))?;
        Ok(Self { target, path, file, note, tally, length: good })
    }

    /// Syncs the bytes first, then the note that vouches for them.
    fn sync(&mut self) -> Result<(), ClientError> {
        let Some(note) = &mut self.note else { return Ok(()) };
        self.file.sync_data().map_err(at(&self.path))?;
        note.write(&self.tally, self.length).map_err(at(&note.path))
    }

    fn finish(mut self) -> Result<(), ClientError> {
        self.file.sync_all().map_err(at(&self.path))?;
        std::fs::rename(&self.path, &self.target).map_err(at(&self.target))?;
        if let Some(note) = self.note.take() {
            std::fs::remove_file(&note.path).map_err(at(&note.path))?;
        }
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
    }
}

impl Note {
    fn write(&mut self, tally: &Tally, length: u64) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let leaves: Vec<u8> =
            tally.leaves[self.leaves_written..].iter().flat_map(|leaf| leaf.0).collect();
        let place = (NOTE_HEAD + 32 * self.leaves_written) as u64;
        self.file.write_all_at(&leaves, place)?;
        self.file.sync_data()?;
        let mut head = [0; NOTE_HEAD];
        head[..16].copy_from_slice(&self.object.0);
        head[16..24].copy_from_slice(&tally.groups.to_le_bytes());
        head[24..32].copy_from_slice(&length.to_le_bytes());
        head[32..].copy_from_slice(&(tally.leaves.len() as u64).to_le_bytes());
        self.file.write_all_at(&head, 0)?;
        self.file.sync_data()?;
        self.leaves_written = tally.leaves.len();
        Ok(())
    }
}

/// A note that is for this object and whole.
fn read_note(file: &mut File, object: &ObjectId) -> Option<(u64, u64, Vec<Hash>)> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let (head, leaves) = bytes.split_first_chunk::<NOTE_HEAD>()?;
    if head[..16] != object.0 {
        return None;
    }
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes"));
    let (leaves, _) = leaves.as_chunks::<32>();
    let leaves = leaves.get(..usize::try_from(number(32)).ok()?)?;
    Some((number(16), number(24), leaves.iter().map(|leaf| Hash(*leaf)).collect()))
}
