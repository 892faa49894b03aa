//! The destination of a get.
//!
//! A file is written beside its destination, and moved there when it is complete and synced. Every few groups the part
//! is synced, and a small note beside it says how far it is good. So the same get continues from there after a crash.
//! It checks what it finds before that counts: see `note`.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Seek, SeekFrom, Write as _},
    ops::Range,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt as _, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use symbolon_net::Host;
use symbolon_protocol::{content::FileKey, id::Hash};
use symbolon_store::durable;

use super::{
    GetOptions, GetOutcome, GetReport, Outgoing, Sink, may_be_replaced,
    note::{self, Note, Seal},
};
use crate::{
    download::Group,
    error::ClientError,
    library::{
        source::FileMetadata,
        upload::{Replace, leaves::root_of},
    },
};

/// Groups between two syncs of a part: 64 MiB at four required shards.
const SYNC_GROUPS: u64 = 16;

/// Bytes per write. The kernel allocates cache memory in units of one write. Large units are slow on a virtual machine
/// that gives free memory back to its host: see the node's writer.
const WRITE_BYTES: usize = 1 << 16;

/// A destination, and the progress in it.
pub(super) enum Output {
    Part(Part),
    Memory(Vec<u8>, Tally),
    Writer(Outgoing, Tally),
}

#[derive(Default)]
pub(super) struct Tally {
    groups: u64,
    leaves: Vec<Hash>,
}

impl Tally {
    fn count(&mut self, leaves: Vec<Hash>) {
        self.groups += 1;
        self.leaves.extend(leaves);
    }
}

/// How a part is made.
pub(super) struct PartOptions {
    replace: Replace,
    metadata: Option<FileMetadata>,
    /// The key of the note, if an earlier get may be continued.
    seal: Option<Seal>,
}

impl PartOptions {
    pub(super) fn new(options: &GetOptions, metadata: Option<FileMetadata>) -> Self {
        Self { replace: options.replace, metadata, seal: None }
    }

    /// Allows continuing an earlier get of the file with this key.
    pub(super) fn resumable(mut self, key: &FileKey) -> Self {
        self.seal = Some(Seal::new(key));
        self
    }
}

/// A file that is not complete yet.
pub(super) struct Part {
    target: PathBuf,
    replace: Replace,
    metadata: Option<FileMetadata>,
    path: PathBuf,
    file: File,
    note: Option<Note>,
    tally: Tally,
    /// Bytes of the whole groups in the file.
    length: u64,
}

/// The longest file name that still leaves room for the ending of a part or note.
const OWN_NAME_BYTES_MAX: usize = 255 - ".symbolon-part".len();

/// The path of a helper file beside the target, while the target is made.
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

/// Opens a helper file or creates it. Refuses anything else at that path.
fn open_beside(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(mode);
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    options.custom_flags(flags.bits().cast_signed());
    let no_file = || io::Error::other("the path of its part holds something that is not a file");
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
    /// Opens a destination. Blocks.
    pub(super) fn open(sink: Sink, part_options: PartOptions) -> Result<Self, ClientError> {
        match sink {
            Sink::Writer(writer) => Ok(Self::Writer(writer, Tally::default())),
            Sink::Memory => Ok(Self::Memory(Vec::new(), Tally::default())),
            Sink::File(target) => {
                if part_options.replace == Replace::Refuse && target.symlink_metadata().is_ok() {
                    return Err(ClientError::Exists { name: target.display().to_string() });
                }
                Part::open(target, part_options).map(Self::Part)
            }
        }
    }

    fn tally(&mut self) -> &mut Tally {
        match self {
            Self::Part(part) => &mut part.tally,
            Self::Memory(_, tally) | Self::Writer(_, tally) => tally,
        }
    }

    pub(super) fn groups_done(&mut self) -> u64 {
        self.tally().groups
    }

    /// The next group that an earlier get wrote and that has not changed since, if any. Blocks.
    pub(super) fn next_kept(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        let Self::Part(part) = self else { return Ok(None) };
        let Some(note) = &mut part.note else { return Ok(None) };
        let kept = note.next_kept(&part.file, part.length).map_err(at(&part.path))?;
        if let Some(bytes) = &kept {
            part.length += bytes.len() as u64;
            part.tally.groups += 1;
        }
        Ok(kept)
    }

    /// Adds the leaves of a kept group, computed from its bytes.
    pub(super) fn push_leaves(&mut self, leaves: Vec<Hash>) {
        self.tally().leaves.extend(leaves);
    }

    /// Cuts the part behind the last group that counts, and continues from there. Blocks.
    pub(super) fn truncate_to_kept(&mut self) -> Result<(), ClientError> {
        let Self::Part(part) = self else { return Ok(()) };
        if let Some(note) = &part.note {
            note.cut().map_err(at(&note.path))?;
        }
        part.file.set_len(part.length).map_err(at(&part.path))?;
        part.file.seek(SeekFrom::Start(part.length)).map_err(at(&part.path))?;
        Ok(())
    }

    /// Writes the bytes of a group that the caller asked for.
    pub(super) async fn write(
        self,
        host: &Host,
        group: Group,
        plain: Range<usize>,
    ) -> Result<Self, ClientError> {
        match self {
            Self::Part(mut part) => {
                let work = move || part.write(group, plain).map(|()| Self::Part(part));
                host.blocking(work).await
            }
            Self::Memory(mut out, mut tally) => {
                out.extend_from_slice(&group.plain[plain]);
                tally.count(group.leaves);
                Ok(Self::Memory(out, tally))
            }
            Self::Writer(mut to, mut tally) => {
                to.write(&group.plain[plain]).await?;
                tally.count(group.leaves);
                Ok(Self::Writer(to, tally))
            }
        }
    }

    pub(super) fn root(&mut self) -> Hash {
        root_of(&self.tally().leaves)
    }

    /// Removes the part and its note. Blocks.
    pub(super) fn discard(self) {
        if let Self::Part(mut part) = self {
            // If a file cannot be removed now, the next get overwrites it.
            std::fs::remove_file(&part.path).ok();
            if let Some(note) = part.note.take() {
                std::fs::remove_file(&note.path).ok();
            }
        }
    }

    pub(super) async fn finish(
        self,
        host: &Host,
        length: u64,
        kept: u64,
    ) -> Result<GetReport, ClientError> {
        let bytes = match self {
            Self::Part(part) => {
                host.blocking(move || part.finish()).await?;
                None
            }
            Self::Memory(bytes, _) => Some(bytes),
            Self::Writer(mut to, _) => {
                to.flush().await?;
                None
            }
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

/// A get that ends early keeps its part. The next one continues from the last group.
impl Drop for Part {
    fn drop(&mut self) {
        // Groups that cannot be synced now are read again.
        self.sync().ok();
    }
}

impl Part {
    fn open(target: PathBuf, part_options: PartOptions) -> Result<Self, ClientError> {
        let PartOptions { replace, metadata, seal } = part_options;
        // A file that will get its own permissions is readable by its owner alone until it is complete.
        let mode = if metadata.is_some() { 0o600 } else { 0o666 };
        let path = beside(&target, "part");
        let file = loop {
            let file = open_beside(&path, mode).map_err(at(&path))?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(ClientError::Locked { what: target.display().to_string() });
                }
                Err(TryLockError::Error(error)) => return Err(at(&path)(error)),
            }
            // The previous holder of the lock may have finished the part meanwhile. The file then has its final name.
            let still = std::fs::metadata(&path).map(|there| there.ino());
            if still.ok() == Some(file.metadata().map_err(at(&path))?.ino()) {
                break file;
            }
        };
        let note_path = beside(&target, "note");
        let note = match seal {
            Some(seal) => {
                let note = open_beside(&note_path, 0o600).map_err(at(&note_path))?;
                Some(Note::new(note_path, note, seal))
            }
            None => {
                note::forget(&note_path).map_err(at(&note_path))?;
                file.set_len(0).map_err(at(&path))?;
                None
            }
        };
        Ok(Self { target, replace, metadata, path, file, note, tally: Tally::default(), length: 0 })
    }

    fn write(&mut self, group: Group, plain: Range<usize>) -> Result<(), ClientError> {
        let bytes = &group.plain[plain];
        for piece in bytes.chunks(WRITE_BYTES) {
            self.file.write_all(piece).map_err(at(&self.path))?;
        }
        self.length += bytes.len() as u64;
        if let Some(note) = &mut self.note {
            note.push(bytes);
        }
        self.tally.count(group.leaves);
        match self.tally.groups.is_multiple_of(SYNC_GROUPS) {
            true => self.sync(),
            false => Ok(()),
        }
    }

    /// Syncs the bytes first, then writes the note that vouches for them.
    fn sync(&mut self) -> Result<(), ClientError> {
        let Some(note) = &mut self.note else { return Ok(()) };
        durable::sync_data(&self.file).map_err(at(&self.path))?;
        note.write().map_err(at(&note.path))
    }

    fn finish(mut self) -> Result<(), ClientError> {
        if let Some(metadata) = self.metadata {
            metadata.apply_to(&self.file).map_err(at(&self.path))?;
        }
        durable::sync_all(&self.file).map_err(at(&self.path))?;
        match self.replace {
            Replace::Overwrite => {
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
        durable::sync_dir(folder).map_err(at(folder))
    }

    /// Gives the part its name, unless something has that name by now.
    fn take_free_place(&self) -> Result<(), ClientError> {
        match std::fs::hard_link(&self.path, &self.target) {
            Ok(()) => std::fs::remove_file(&self.path).map_err(at(&self.path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(ClientError::Exists { name: self.target.display().to_string() })
            }
            // The file system has no hard links. Checking a moment before the rename is the best that is possible.
            Err(_) if self.target.symlink_metadata().is_err() => {
                std::fs::rename(&self.path, &self.target).map_err(at(&self.target))
            }
            Err(error) => Err(at(&self.target)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_is_written_beside_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("theirs"), "theirs").unwrap();
        std::os::unix::fs::symlink(at("theirs"), at("link")).unwrap();
        std::os::unix::fs::symlink(at("nothing"), at("to nothing")).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for name in ["link", "to nothing"] {
            let error = open_beside(&at(name), 0o600).unwrap_err();
            assert!(error.to_string().contains("not a file"), "{name}: {error}");
        }
        for name in ["socket", "."] {
            open_beside(&at(name), 0o600).unwrap_err();
        }
        drop(socket);
        assert!(!at("nothing").exists(), "no link is followed");
        open_beside(&at("new"), 0o600).unwrap().write_all(b"ours").unwrap();
        open_beside(&at("new"), 0o600).unwrap();
        assert_eq!(std::fs::read(at("new")).unwrap(), b"ours", "what is there is gone on with");
        assert_eq!(std::fs::read(at("theirs")).unwrap(), b"theirs");
    }
}
