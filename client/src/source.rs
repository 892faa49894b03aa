//! Where the bytes of a put come from, segment by segment, readable more than once.
//!
//! A segment may have to be sent twice (a node failed, another takes its shard), so a stream is
//! spooled one segment at a time into a nameless file of the identity's own folder: at most one
//! segment of it is ever on disk, and a crash leaves nothing behind.

use std::{
    fs::{File, Metadata, OpenOptions, Permissions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use symbolon_protocol::id::Hash;
pub(crate) use symbolon_transfer::upload::SegmentBytes;

use crate::{
    catalog::{SourceMark, Version},
    error::ClientError,
};

/// The bits of a mode that are kept: permissions, without those that lend somebody's rights.
pub(crate) const MODE_BITS: u32 = 0o777;

/// The permissions of a file that had none.
pub(crate) const PLAIN_MODE: u32 = 0o644;

/// What a file has beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dress {
    pub(crate) mode: u32,
    pub(crate) modified_ns: i128,
}

impl Dress {
    pub(crate) fn of(version: &Version) -> Self {
        let modified_ns = i128::from_le_bytes(version.modified_ns);
        Self { mode: version.mode, modified_ns }
    }

    /// Gives a file its permissions and time: the time last, since whoever writes gives it another one.
    pub(crate) fn put_on(self, file: &File) -> io::Result<()> {
        file.set_permissions(Permissions::from_mode(self.mode & MODE_BITS))?;
        file.set_modified(time(self.modified_ns))
    }
}

fn time(ns: i128) -> SystemTime {
    let size = Duration::new(
        u64::try_from(ns.unsigned_abs() / 1_000_000_000).unwrap_or(u64::MAX),
        u32::try_from(ns.unsigned_abs() % 1_000_000_000).unwrap_or(0),
    );
    let time = if ns < 0 { UNIX_EPOCH.checked_sub(size) } else { UNIX_EPOCH.checked_add(size) };
    time.unwrap_or(UNIX_EPOCH)
}

/// What is put.
#[derive(Clone, Debug)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Standard input, to its end.
    Stdin,
    /// Bytes in memory.
    Bytes(Bytes),
}

/// When anything of a file was changed, its bytes or what is said of it: nobody can set that time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed {
    at: (i64, i64),
    /// How many names it has: one that comes or goes changes it too, and not its bytes.
    names: u64,
}

impl Changed {
    fn of(data: &Metadata) -> Self {
        Self { at: (data.ctime(), data.ctime_nsec()), names: data.nlink() }
    }

    fn is_still(self, data: &Metadata) -> bool {
        let now = Self::of(data);
        now.at == self.at || now.names != self.names
    }
}

/// An opened source.
#[derive(Debug)]
pub(crate) enum Opened {
    File {
        file: Arc<File>,
        path: PathBuf,
        mark: SourceMark,
        changed: Changed,
        length: u64,
    },
    Bytes {
        bytes: Bytes,
    },
    /// A pack that was written to a nameless file: it cannot change while it is stored.
    Spooled {
        file: Arc<File>,
        /// The folder it lies in.
        path: PathBuf,
        hash: Hash,
        length: u64,
    },
    Stream {
        spool: Arc<File>,
        path: PathBuf,
        read: u64,
        lookahead: Vec<u8>,
        over: bool,
    },
}

/// What becomes of a link in the place of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    Followed,
    Refused,
}

/// Opens a file to be read. Whatever else lies there is refused: opening a pipe would wait for whoever writes to
/// it, and a device has no end.
pub(crate) fn open_file(path: &Path, links: Links) -> io::Result<(File, Metadata)> {
    use rustix::fs::OFlags;
    let refused = if links == Links::Refused { OFlags::NOFOLLOW } else { OFlags::empty() };
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | refused;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let about = file.metadata()?;
    if about.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !about.is_file() {
        return Err(io::Error::other("it is a pipe, socket or device, and no file"));
    }
    Ok((file, about))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ClientError + '_ {
    move |source| ClientError::Io { path: path.to_owned(), source }
}

impl Opened {
    /// Opens a source; `spool` is the folder a stream may use.
    pub(crate) fn open(source: &Source, spool: &Path) -> Result<Self, ClientError> {
        match source {
            Source::File(path) => {
                let (file, data) = open_file(path, Links::Followed).map_err(io_error(path))?;
                let mark = file_mark(path, &data);
                let length = data.len();
                let changed = Changed::of(&data);
                Ok(Self::File { file: Arc::new(file), path: path.clone(), mark, changed, length })
            }
            Source::Stdin => Self::stream(spool),
            Source::Bytes(bytes) => Ok(Self::Bytes { bytes: bytes.clone() }),
        }
    }

    fn stream(folder: &Path) -> Result<Self, ClientError> {
        Ok(Self::Stream {
            spool: Arc::new(nameless(folder, "stream")?),
            path: folder.to_owned(),
            read: 0,
            lookahead: Vec::new(),
            over: false,
        })
    }

    /// Whether the bytes may be others when they are read again: those of a file that others can write to.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// The same file once more, to be read from its beginning.
    pub(crate) fn again(&self) -> Option<Self> {
        let Self::File { file, path, mark, changed, length } = self else { return None };
        let (file, path, mark) = (file.clone(), path.clone(), mark.clone());
        Some(Self::File { file, path, mark, changed: *changed, length: *length })
    }

    /// What tells this source from another one.
    pub(crate) fn mark(&self) -> SourceMark {
        match self {
            Self::File { mark, .. } => mark.clone(),
            Self::Bytes { bytes } => {
                SourceMark::Bytes { hash: Hash(*blake3::hash(bytes).as_bytes()) }
            }
            Self::Spooled { hash, .. } => SourceMark::Bytes { hash: *hash },
            Self::Stream { .. } => SourceMark::Stream,
        }
    }

    /// The permissions of a file, and when it was changed, in nanoseconds since the Unix epoch.
    pub(crate) fn about(&self) -> Option<(u32, i128)> {
        let Self::File { file, .. } = self else { return None };
        let data = file.metadata().ok()?;
        Some((data.mode() & MODE_BITS, modified_ns(&data)))
    }

    /// Bytes of user data, when that is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::File { length, .. } | Self::Spooled { length, .. } => Some(*length),
            Self::Bytes { bytes } => Some(bytes.len() as u64),
            Self::Stream { .. } => None,
        }
    }

    /// The segment that begins at `start` and holds at most `capacity` bytes, and whether it is the last.
    /// Segments of a stream must be asked for in order. Blocks.
    pub(crate) fn segment(
        &mut self,
        start: u64,
        capacity: u64,
    ) -> Result<(SegmentBytes, bool), ClientError> {
        match self {
            Self::File { file, length, path, .. } | Self::Spooled { file, length, path, .. } => {
                let (file, path) = (file.clone(), Arc::from(path.as_path()));
                let here = length.saturating_sub(start).min(capacity);
                let bytes = SegmentBytes::File { file, path, start, length: here };
                Ok((bytes, start + here >= *length))
            }
            Self::Bytes { bytes } => {
                let from = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
                let rest = bytes.slice(from..);
                let here = usize::try_from(capacity).unwrap_or(usize::MAX).min(rest.len());
                Ok((SegmentBytes::Bytes(rest.slice(..here)), here == rest.len()))
            }
            Self::Stream { spool, path, read, lookahead, over } => {
                assert_eq!(*read, start, "segments of a stream are read in order");
                let length =
                    spool_segment(spool, lookahead, over, capacity).map_err(io_error(path))?;
                *read += length;
                let (file, path) = (spool.clone(), Arc::from(path.as_path()));
                let bytes = SegmentBytes::File { file, path, start: 0, length };
                Ok((bytes, *over))
            }
        }
    }

    /// Refuses a file that is not what it was when it was opened, also where its time says it is.
    pub(crate) fn check_unchanged(&self) -> Result<(), ClientError> {
        let Self::File { file, path, mark, changed, .. } = self else { return Ok(()) };
        let data = file.metadata().map_err(io_error(path))?;
        if changed.is_still(&data) && file_mark(path, &data) == *mark {
            return Ok(());
        }
        Err(ClientError::SourceChanged { path: path.clone() })
    }
}

/// A file without a name, gone when this process is.
pub(crate) fn nameless(folder: &Path, what: &str) -> Result<File, ClientError> {
    std::fs::create_dir_all(folder).map_err(io_error(folder))?;
    // Two of one process are two, even between being made and losing their names.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("{what}-{}-{number}", std::process::id()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&path).map_err(io_error(&path))?;
    std::fs::remove_file(&path).map_err(io_error(&path))?;
    Ok(file)
}

/// When a file was changed, in nanoseconds since the Unix epoch.
pub(crate) fn modified_ns(data: &Metadata) -> i128 {
    i128::from(data.mtime()) * 1_000_000_000 + i128::from(data.mtime_nsec())
}

fn file_mark(path: &Path, data: &Metadata) -> SourceMark {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    SourceMark::File {
        path: absolute.into_os_string().into_encoded_bytes(),
        length: data.len(),
        inode: data.ino(),
        modified_ns: modified_ns(data).to_le_bytes(),
    }
}

/// Copies the next segment of standard input into the spool; notices the end one byte ahead, so that
/// the last segment is known to be the last.
fn spool_segment(
    mut spool: &File,
    lookahead: &mut Vec<u8>,
    over: &mut bool,
    capacity: u64,
) -> io::Result<u64> {
    spool.set_len(0)?;
    spool.seek(SeekFrom::Start(0))?;
    let mut stdin = io::stdin().lock();
    let mut length = lookahead.len() as u64;
    spool.write_all(lookahead)?;
    lookahead.clear();
    let mut buffer = vec![0; 1 << 20];
    while !*over {
        let wanted = (capacity + 1 - length).min(buffer.len() as u64);
        let wanted = usize::try_from(wanted).expect("at most a mebibyte");
        match stdin.read(&mut buffer[..wanted]) {
            Ok(0) => *over = true,
            Ok(count) => {
                spool.write_all(&buffer[..count])?;
                length += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if length > capacity {
            // One byte too many: it begins the next segment.
            let mut last = [0];
            spool.read_exact_at(&mut last, capacity)?;
            lookahead.extend_from_slice(&last);
            return Ok(capacity);
        }
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    #[test]
    fn times_before_the_epoch_are_times() {
        assert_eq!(time(-1_500_000_000), UNIX_EPOCH - Duration::from_millis(1500));
        assert_eq!(time(i128::MAX), UNIX_EPOCH);
    }

    use super::*;

    fn opened(path: &Path) -> (Opened, SegmentBytes) {
        let mut opened =
            Opened::open(&Source::File(path.to_owned()), path.parent().unwrap()).unwrap();
        let (bytes, last) = opened.segment(0, 1 << 20).unwrap();
        assert!(last);
        (opened, bytes)
    }

    #[test]
    fn a_file_that_changes_while_it_is_stored_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let changed = |result: Result<(), ClientError>| matches!(result, Err(ClientError::SourceChanged { path: of }) if of == path);
        std::fs::write(&path, [7; 5000]).unwrap();
        let (whole, bytes) = opened(&path);
        let mut out = [0; 6000];
        assert_eq!(bytes.read_at(0, &mut out).unwrap(), 5000);
        whole.check_unchanged().unwrap();

        // As long as before, and written later.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[8], 2500).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(9)).unwrap();
        assert!(changed(whole.check_unchanged()));
        // As long as before, and as old as before.
        let (whole, _) = opened(&path);
        let before = file.metadata().unwrap();
        let changed_at = |data: &Metadata| (data.ctime(), data.ctime_nsec());
        // The system's clock has ticks, and this is about another one.
        while changed_at(&file.metadata().unwrap()) == changed_at(&before) {
            file.write_all_at(&[9], 2500).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
        }
        assert!(changed(whole.check_unchanged()));
        let (whole, bytes) = opened(&path);
        file.set_len(4000).unwrap();
        assert!(changed(bytes.read_at(0, &mut out).map(drop).map_err(Into::into)));
        assert!(changed(whole.check_unchanged()));
        // Another file of the same length in its place: it is the one that was opened that is stored.
        let (whole, bytes) = opened(&path);
        let other = dir.path().join("other");
        std::fs::write(&other, [9; 4000]).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(bytes.read_at(0, &mut out).unwrap(), 4000);
        assert_eq!(out[0], 7);
        whole.check_unchanged().unwrap();
    }
}
