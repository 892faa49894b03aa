//! The source of a put: its bytes, segment by segment, readable more than once.
//!
//! A segment may have to be sent twice: when a node fails, another one takes its shard. So the bytes of a reader are
//! spooled, one segment at a time, into a nameless file in the identity's own folder. At most one segment is on the
//! disk, and a crash leaves nothing behind.

use std::{
    fmt,
    fs::{File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use symbolon_net::Host;
use symbolon_protocol::id::Hash;
pub(crate) use symbolon_transfer::upload::SegmentBytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::{
    catalog::{SourceMark, Version},
    error::ClientError,
    library::digests::Digests,
    lock,
};

/// The bits of a mode that are kept: the permissions, without set-user-id, set-group-id and sticky.
pub(crate) const MODE_BITS: u32 = 0o777;

/// The permissions of a stored file whose source had none.
pub(crate) const PLAIN_MODE: u32 = 0o644;

/// The metadata of a file: its permissions and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileMetadata {
    pub(crate) mode: u32,
    pub(crate) modified_ns: i128,
}

impl FileMetadata {
    pub(crate) fn of(version: &Version) -> Self {
        let modified_ns = i128::from_le_bytes(version.modified_ns);
        Self { mode: version.mode, modified_ns }
    }

    /// Sets the permissions and time of a file. The time comes last, because every write sets another one.
    pub(crate) fn apply_to(self, file: &File) -> io::Result<()> {
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

/// The source of a put.
#[derive(Debug)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// Bytes in memory.
    Bytes(Bytes),
    /// The bytes of a reader, to its end.
    Reader(Incoming),
}

/// A reader as a source: see [`Source::reader`].
pub struct Incoming {
    name: PathBuf,
    /// The mutex is never locked. It makes the value `Sync` although the reader is only `Send`.
    reader: Mutex<Pin<Box<dyn AsyncRead + Send>>>,
    length: Option<u64>,
    /// Sums over the bytes, if they are wanted.
    digests: Option<Arc<Mutex<Digests>>>,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Incoming");
        out.field("name", &self.name).field("length", &self.length).finish_non_exhaustive()
    }
}

impl Source {
    /// Makes a source of a reader, read to its end. Errors call it `name`. With a `length`, a put refuses a cost that
    /// is too high before it begins, and fails when the reader gives fewer or more bytes. A reader cannot be read
    /// again, so a put that stopped early cannot be continued.
    pub fn reader(
        name: impl Into<PathBuf>,
        reader: impl AsyncRead + Send + 'static,
        length: Option<u64>,
    ) -> Self {
        let reader: Pin<Box<dyn AsyncRead + Send>> = Box::pin(reader);
        let reader = Mutex::new(reader);
        Self::Reader(Incoming { name: name.into(), reader, length, digests: None })
    }

    /// The same, of a reader whose bytes pass through `digests`.
    pub(crate) fn summed(
        name: impl Into<PathBuf>,
        reader: impl AsyncRead + Send + 'static,
        length: Option<u64>,
        digests: Arc<Mutex<Digests>>,
    ) -> Self {
        let mut source = Self::reader(name, reader, length);
        if let Self::Reader(incoming) = &mut source {
            incoming.digests = Some(digests);
        }
        source
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<PathBuf> for Source {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<Vec<u8>> for Source {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

/// The time of the last change of a file's bytes or metadata, as the system keeps it. No program can set this time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed {
    at: (i64, i64),
    /// Number of the file's names. Adding or removing one changes the time too, although the bytes stay.
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
    /// A pack in a nameless file. It cannot change while it is stored.
    Spooled {
        file: Arc<File>,
        /// The folder of the file.
        path: PathBuf,
        hash: Hash,
        length: u64,
    },
    Stream(Stream),
}

/// Bytes that are copied from a reader into the spool at once.
const CHUNK_BYTES: u64 = 1 << 20;

/// A reader, and the spool for its segments.
#[derive(Debug)]
pub(crate) struct Stream {
    from: Incoming,
    spool: Arc<File>,
    /// The folder of the spool.
    path: PathBuf,
    /// Bytes of the earlier segments.
    read: u64,
    /// The first byte of the next segment, if there is one.
    lookahead: Option<u8>,
    over: bool,
}

impl Stream {
    fn new(from: Incoming, folder: &Path) -> Result<Self, ClientError> {
        let spool = Arc::new(nameless(folder, "stream")?);
        let path = folder.to_owned();
        Ok(Self { from, spool, path, read: 0, lookahead: None, over: false })
    }

    /// The next segment, and whether it is the last.
    async fn segment(
        &mut self,
        host: &Host,
        capacity: u64,
    ) -> Result<(SegmentBytes, bool), ClientError> {
        let left = self.from.length.map(|length| length.saturating_sub(self.read));
        let length =
            self.fill_spool(host, left.map_or(capacity, |left| left.min(capacity))).await?;
        self.read += length;
        if self.from.length.is_some_and(|announced| self.over != (self.read == announced)) {
            return Err(ClientError::SourceLength {
                path: self.from.name.clone(),
                announced: self.from.length.unwrap_or_default(),
            });
        }
        let (file, path) = (self.spool.clone(), Arc::from(self.path.as_path()));
        Ok((SegmentBytes::File { file, path, start: 0, length }, self.over))
    }

    /// Copies at most `capacity` bytes into the spool and replaces its content. Reads one byte ahead, so that it knows
    /// whether the segment is the last.
    async fn fill_spool(&mut self, host: &Host, capacity: u64) -> Result<u64, ClientError> {
        let mut length = 0;
        let mut chunk: Vec<u8> = self.lookahead.take().into_iter().collect();
        while !self.over && self.lookahead.is_none() {
            let wanted = (capacity + 1 - length).min(CHUNK_BYTES);
            while !self.over && (chunk.len() as u64) < wanted {
                let reader = self.from.reader.get_mut().unwrap_or_else(PoisonError::into_inner);
                let mut reader = reader.take(wanted - chunk.len() as u64);
                let read = reader.read_buf(&mut chunk).await;
                self.over = read.map_err(io_error(&self.from.name))? == 0;
            }
            if capacity < length + chunk.len() as u64 {
                // This is one byte too many. It begins the next segment.
                self.lookahead = chunk.pop();
            }
            let (spool, digests) = (Arc::clone(&self.spool), self.from.digests.clone());
            let at = length;
            length += chunk.len() as u64;
            let write = move || {
                if at == 0 {
                    spool.set_len(0)?;
                }
                if let Some(digests) = digests {
                    lock(&digests).pass(&chunk);
                }
                spool.write_all_at(&chunk, at)?;
                chunk.clear();
                Ok(chunk)
            };
            chunk = host.blocking(write).await.map_err(io_error(&self.path))?;
        }
        Ok(length)
    }
}

/// Whether opening a file follows a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    Followed,
    Refused,
}

/// Opens a file for reading. Refuses anything that is not a file: opening a pipe would wait for a writer, and a device
/// has no end.
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
        return Err(io::Error::other("it is a pipe, socket or device, not a file"));
    }
    Ok((file, about))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ClientError + '_ {
    move |source| ClientError::Io { path: path.to_owned(), source }
}

impl Opened {
    /// Opens a source. `spool` is the folder for a stream's bytes.
    pub(crate) fn open(source: Source, spool: &Path) -> Result<Self, ClientError> {
        match source {
            Source::File(path) => {
                let (file, data) = open_file(&path, Links::Followed).map_err(io_error(&path))?;
                let mark = file_mark(&path, &data);
                let length = data.len();
                let changed = Changed::of(&data);
                Ok(Self::File { file: Arc::new(file), path, mark, changed, length })
            }
            Source::Bytes(bytes) => Ok(Self::Bytes { bytes }),
            Source::Reader(from) => Stream::new(from, spool).map(Self::Stream),
        }
    }

    /// Whether it is a reader. Its bytes can be read once, and it has no mark to recognize it by.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// Whether a second reading may give other bytes: those of a file that other programs can write to.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self, Self::File { .. })
    }

    /// The same source, to be read from its beginning again. `None` for a stream, which can be read once.
    pub(crate) fn again(&self) -> Option<Self> {
        match self {
            Self::File { file, path, mark, changed, length } => {
                let (file, path, mark) = (file.clone(), path.clone(), mark.clone());
                Some(Self::File { file, path, mark, changed: *changed, length: *length })
            }
            Self::Bytes { bytes } => Some(Self::Bytes { bytes: bytes.clone() }),
            Self::Spooled { file, path, hash, length } => {
                let (file, path) = (file.clone(), path.clone());
                Some(Self::Spooled { file, path, hash: *hash, length: *length })
            }
            Self::Stream(_) => None,
        }
    }

    /// The mark by which a later put recognizes this source.
    pub(crate) fn mark(&self) -> SourceMark {
        match self {
            Self::File { mark, .. } => mark.clone(),
            Self::Bytes { bytes } => {
                SourceMark::Bytes { hash: Hash(*blake3::hash(bytes).as_bytes()) }
            }
            Self::Spooled { hash, .. } => SourceMark::Bytes { hash: *hash },
            Self::Stream(_) => SourceMark::Stream,
        }
    }

    /// The permissions and the modification time of a file, in nanoseconds since the Unix epoch.
    pub(crate) fn about(&self) -> Option<(u32, i128)> {
        let Self::File { file, .. } = self else { return None };
        let data = file.metadata().ok()?;
        Some((data.mode() & MODE_BITS, modified_ns(&data)))
    }

    /// Number of bytes, if it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::File { length, .. } | Self::Spooled { length, .. } => Some(*length),
            Self::Bytes { bytes } => Some(bytes.len() as u64),
            Self::Stream(stream) => stream.from.length,
        }
    }

    /// The segment that begins at `start` and has at most `capacity` bytes, and whether it is the last. Segments of a
    /// stream must be read in order, and take as long as the writer takes.
    pub(crate) async fn segment(
        &mut self,
        host: &Host,
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
            Self::Stream(stream) => {
                assert_eq!(stream.read, start, "segments of a stream are read in order");
                stream.segment(host, capacity).await
            }
        }
    }

    /// Refuses a file that has changed since it was opened, even if its modification time is the same.
    pub(crate) fn check_unchanged(&self) -> Result<(), ClientError> {
        let Self::File { file, path, mark, changed, .. } = self else { return Ok(()) };
        let data = file.metadata().map_err(io_error(path))?;
        if changed.is_still(&data) && file_mark(path, &data) == *mark {
            return Ok(());
        }
        Err(ClientError::SourceChanged { path: path.clone() })
    }
}

/// Creates a file without a name. The system removes it when this process ends.
pub(crate) fn nameless(folder: &Path, what: &str) -> Result<File, ClientError> {
    std::fs::create_dir_all(folder).map_err(io_error(folder))?;
    // The number keeps two files of one process apart until they lose their names.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = folder.join(format!("{what}-{}-{number}", std::process::id()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(&path).map_err(io_error(&path))?;
    std::fs::remove_file(&path).map_err(io_error(&path))?;
    Ok(file)
}

/// The modification time of a file, in nanoseconds since the Unix epoch.
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

#[cfg(test)]
mod tests {
    #[test]
    fn times_before_the_epoch_are_kept() {
        assert_eq!(time(-1_500_000_000), UNIX_EPOCH - Duration::from_millis(1500));
        assert_eq!(time(i128::MAX), UNIX_EPOCH);
    }

    use super::*;

    async fn opened(path: &Path) -> (Opened, SegmentBytes) {
        let mut opened = Opened::open(path.into(), path.parent().unwrap()).unwrap();
        let (bytes, last) = opened.segment(&Host::system(), 0, 1 << 20).await.unwrap();
        assert!(last);
        (opened, bytes)
    }

    /// A reader that gives a few bytes at a time.
    fn dripping(bytes: &[u8]) -> impl AsyncRead + Send + 'static {
        let (mut writer, reader) = tokio::io::duplex(7);
        let bytes = bytes.to_vec();
        tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut writer, &bytes).await });
        reader
    }

    #[tokio::test]
    async fn a_reader_is_cut_into_segments_and_its_last_one_is_known() {
        let (folder, host) = (tempfile::tempdir().unwrap(), Host::system());
        let bytes: Vec<u8> = (0..=255).collect();
        for (length, capacity) in
            [(0, 10), (1, 10), (9, 10), (10, 10), (11, 10), (30, 10), (256, 100)]
        {
            for announced in [None, Some(length)] {
                let bytes = &bytes[..usize::try_from(length).unwrap()];
                let source = Source::reader("drops", dripping(bytes), announced);
                let mut opened = Opened::open(source, folder.path()).unwrap();
                assert_eq!((opened.length(), opened.is_stream()), (announced, true));
                let (mut all, mut last) = (Vec::new(), false);
                while !last {
                    let segment;
                    (segment, last) =
                        opened.segment(&host, all.len() as u64, capacity).await.unwrap();
                    assert!(last || segment.length() == capacity, "only the last one is short");
                    let mut out = vec![0; 300];
                    let count = segment.read_at(0, &mut out).unwrap();
                    all.extend_from_slice(&out[..count]);
                }
                assert_eq!(all, bytes, "{length} bytes in segments of {capacity}");
            }
        }
    }

    #[tokio::test]
    async fn a_reader_that_gives_another_length_than_announced_is_refused() {
        let (folder, host) = (tempfile::tempdir().unwrap(), Host::system());
        for (given, announced) in [(20_usize, 21), (20, 19), (20, 10), (20, 0), (0, 1)] {
            let source = Source::reader("drops", dripping(&vec![7; given]), Some(announced));
            let mut opened = Opened::open(source, folder.path()).unwrap();
            let mut read = 0;
            let error = loop {
                match opened.segment(&host, read, 10).await {
                    Ok((segment, last)) => {
                        assert!(!last, "{given} bytes instead of {announced} were taken");
                        read += segment.length();
                    }
                    Err(error) => break error,
                }
            };
            assert!(
                matches!(error, ClientError::SourceLength { announced: expected, .. } if expected == announced)
            );
        }
    }

    #[tokio::test]
    async fn a_file_that_changes_while_it_is_stored_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let changed = |result: Result<(), ClientError>| matches!(result, Err(ClientError::SourceChanged { path: of }) if of == path);
        std::fs::write(&path, [7; 5000]).unwrap();
        let (whole, bytes) = opened(&path).await;
        let mut out = [0; 6000];
        assert_eq!(bytes.read_at(0, &mut out).unwrap(), 5000);
        whole.check_unchanged().unwrap();

        // The same length, written later.
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[8], 2500).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(9)).unwrap();
        assert!(changed(whole.check_unchanged()));
        // The same length and the same modification time.
        let (whole, _) = opened(&path).await;
        let before = file.metadata().unwrap();
        let changed_at = |data: &Metadata| (data.ctime(), data.ctime_nsec());
        // The system's clock has ticks. The test needs the next one.
        while changed_at(&file.metadata().unwrap()) == changed_at(&before) {
            file.write_all_at(&[9], 2500).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
        }
        assert!(changed(whole.check_unchanged()));
        let (whole, bytes) = opened(&path).await;
        file.set_len(4000).unwrap();
        assert!(changed(bytes.read_at(0, &mut out).map(drop).map_err(Into::into)));
        assert!(changed(whole.check_unchanged()));
        // Another file of the same length takes its name: the put stores the file that was opened.
        let (whole, bytes) = opened(&path).await;
        let other = dir.path().join("other");
        std::fs::write(&other, [9; 4000]).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(bytes.read_at(0, &mut out).unwrap(), 4000);
        assert_eq!(out[0], 7);
        whole.check_unchanged().unwrap();
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "bytes").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let opened = |path: &Path, links| open_file(path, links).map(|(_, about)| about.len());
        assert_eq!(opened(&file, Links::Refused).unwrap(), 5);
        assert_eq!(opened(&link, Links::Followed).unwrap(), 5);
        opened(&link, Links::Refused).unwrap_err();
        let folder = opened(dir.path(), Links::Followed).unwrap_err();
        assert_eq!(folder.kind(), io::ErrorKind::IsADirectory);
        for path in ["/dev/null", "/dev/zero"] {
            let error = opened(Path::new(path), Links::Followed).unwrap_err();
            assert!(error.to_string().contains("not a file"), "{path}: {error}");
        }
    }
}
