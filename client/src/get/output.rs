//! Where the bytes of a get go.
//!
//! A file is written beside its destination and moved there when it is complete and synced. Every few
//! groups the part is synced and a small note beside it says how far it is good, so that the same get
//! after a crash goes on from there.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt as _, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use symbolon_protocol::{
    id::{Hash, ObjectId},
    merkle,
};

use super::{GetOptions, GetOutcome, GetReport, Sink, may_be_replaced};
use crate::{
    download::{Group, LeavesWanted},
    error::ClientError,
    source::Dress,
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
    Stream(Arc<File>, PathBuf, Tally),
    Stdout(Tally),
    Memory(Vec<u8>, Tally),
}

#[derive(Default)]
pub(super) struct Tally {
    groups: u64,
    leaves: Vec<Hash>,
}

/// How a file is made.
pub(super) struct Making {
    replace: Replace,
    object: ObjectId,
    dress: Option<Dress>,
    /// Whether an earlier get may be gone on from, and whether that needs leaves.
    pub(super) resumable: Option<LeavesWanted>,
}

impl Making {
    pub(super) fn new(options: &GetOptions, object: &ObjectId, dress: Option<Dress>) -> Self {
        Self { replace: options.replace, object: *object, dress, resumable: None }
    }
}

/// A file that is not complete yet.
pub(super) struct Part {
    target: PathBuf,
    replace: Replace,
    dress: Option<Dress>,
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

/// Longest name of a file that a part's or note's ending still fits behind.
const OWN_NAME_BYTES_MAX: usize = 255 - ".symbolon-part".len();

/// The path of what lies beside a file while it is made.
fn beside(target: &Path, what: &str) -> PathBuf {
    let own = target.file_name().map_or(&[][..], OsStrExt::as_bytes);
    if own.len() > OWN_NAME_BYTES_MAX {
        let hash = blake3::hash(own).to_hex();
        return target.with_file_name(format!(".symbolon-{}-{what}", &hash[..16]));
    }
    let mut name = target.as_os_str().to_owned();
    name.push(".symbolon-");
    name.push(what);
    PathBuf::from(name)
}

/// Opens what lies beside a file, or makes it; whatever else has its name there is not written to.
fn open_beside(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(mode);
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.custom_flags(flags.bits().cast_signed());
    let no_file = || io::Error::other("what lies beside it under the name of its part is no file");
    let is_link =
        |error: &io::Error| error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    match options.open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => Err(no_file()),
        Err(error) if is_link(&error) => Err(no_file()),
        Err(error) => Err(error),
    }
}

fn at(path: &Path) -> impl Fn(io::Error) -> ClientError + '_ {
    move |source| ClientError::Io { path: path.to_owned(), source }
}

impl Output {
    pub(super) fn open(sink: Sink, making: Making) -> Result<Self, ClientError> {
        match sink {
            Sink::Stream(file, path) => Ok(Self::Stream(file, path, Tally::default())),
            Sink::Stdout => Ok(Self::Stdout(Tally::default())),
            Sink::Memory => Ok(Self::Memory(Vec::new(), Tally::default())),
            Sink::File(target) => {
                if making.replace == Replace::Refuse && target.symlink_metadata().is_ok() {
                    return Err(ClientError::Exists { name: target.display().to_string() });
                }
                Part::open(target, making).map(Self::Part)
            }
        }
    }

    fn tally(&mut self) -> &mut Tally {
        match self {
            Self::Part(part) => &mut part.tally,
            Self::Stream(_, _, tally) | Self::Stdout(tally) | Self::Memory(_, tally) => tally,
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
            Self::Stream(file, path, _) => file.as_ref().write_all(bytes).map_err(at(path))?,
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
            Self::Stream(..) => None,
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
    fn open(target: PathBuf, making: Making) -> Result<Self, ClientError> {
        let Making { replace, object, dress, resumable } = making;
        // One with permissions of its own gets them when it is whole; until then it is its owner's.
        let mode = if dress.is_some() { 0o600 } else { 0o666 };
        let path = beside(&target, "part");
        let mut file = loop {
            let file = open_beside(&path, mode).map_err(at(&path))?;
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
        let note_path = beside(&target, "note");
        let mut tally = Tally::default();
        let mut good = 0;
        let note = if let Some(leaves_wanted) = resumable {
            let mut note = open_beside(&note_path, 0o600).map_err(at(&note_path))?;
            if let Some((groups, length, leaves)) = read_note(&mut note, &object)
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
            Some(Note { path, file: note, leaves_written, object })
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
        Ok(Self { target, replace, dress, path, file, note, tally, length: good })
    }

    /// Syncs the bytes first, then the note that vouches for them.
    fn sync(&mut self) -> Result<(), ClientError> {
        let Some(note) = &mut self.note else { return Ok(()) };
        self.file.sync_data().map_err(at(&self.path))?;
        note.write(&self.tally, self.length).map_err(at(&note.path))
    }

    fn finish(mut self) -> Result<(), ClientError> {
        if let Some(dress) = self.dress {
            dress.put_on(&self.file).map_err(at(&self.path))?;
        }
        self.file.sync_all().map_err(at(&self.path))?;
        match self.replace {
            Replace::Replace => {
                may_be_replaced(&self.target).map_err(at(&self.target))?;
                std::fs::rename(&self.path, &self.target).map_err(at(&self.target))?;
            }
            Replace::Refuse => self.take_free_place()?,
        }
        if let Some(note) = self.note.take() {
            std::fs::remove_file(&note.path).map_err(at(&note.path))?;
        }
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(at(folder))
    }

    /// Gives the part its name, unless something has it by now.
    fn take_free_place(&self) -> Result<(), ClientError> {
        match std::fs::hard_link(&self.path, &self.target) {
            Ok(()) => std::fs::remove_file(&self.path).map_err(at(&self.path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(ClientError::Exists { name: self.target.display().to_string() })
            }
            // A file system without links: looked at a moment before is the best it can do.
            Err(_) if self.target.symlink_metadata().is_err() => {
                std::fs::rename(&self.path, &self.target).map_err(at(&self.target))
            }
            Err(error) => Err(at(&self.target)(error)),
        }
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
