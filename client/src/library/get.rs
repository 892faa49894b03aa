//! Get: reads groups of stripes into a file, a writer or memory.

mod kept;
mod note;
mod open;
mod output;
mod resolve;
mod same;
mod short;
mod target;

use std::{
    fmt, io,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use symbolon_protocol::{grant::GrantToken, id::OrderId};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::{
    ReadFault,
    download::{LeavesWanted, clip, is_for_cells, spans},
    error::{ClientError, NotListed},
    library::{Library, names::Name, upload::Replace},
    lock,
    progress::{Progress, Step},
};
pub(crate) use kept::parts_of;
use output::{Output, PartOptions};
pub(crate) use resolve::Resolved;
pub(crate) use target::{is_special, may_be_replaced};

/// The thing to read.
#[derive(Clone, Debug)]
pub enum Readable {
    /// A file of this identity.
    Name(Name),
    /// A version of a file of this identity, by its number.
    Version(Name, u64),
    /// The file of a grant.
    Token(Box<GrantToken>),
}

impl From<Name> for Readable {
    fn from(name: Name) -> Self {
        Self::Name(name)
    }
}

impl From<&Name> for Readable {
    fn from(name: &Name) -> Self {
        Self::Name(name.clone())
    }
}

impl From<GrantToken> for Readable {
    fn from(token: GrantToken) -> Self {
        Self::Token(Box::new(token))
    }
}

/// The destination of a get.
#[derive(Debug)]
pub enum Sink {
    /// A file. If the path is a pipe or a terminal, the bytes are written into it. Other devices are left alone.
    File(PathBuf),
    /// Memory: the report gets the bytes.
    Memory,
    /// A writer, which gets the bytes as they arrive.
    Writer(Outgoing),
}

/// A writer as a sink: see [`Sink::writer`].
pub struct Outgoing {
    name: PathBuf,
    /// The mutex is never locked. It makes the value `Sync` although the writer is only `Send`.
    writer: Mutex<Pin<Box<dyn AsyncWrite + Send>>>,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Sink {
    /// Makes a sink of a writer. The get flushes it at the end and does not shut it down. Errors call it `name`. It
    /// gets only bytes that were checked.
    pub fn writer(name: impl Into<PathBuf>, writer: impl AsyncWrite + Send + 'static) -> Self {
        Self::Writer(Outgoing { name: name.into(), writer: Mutex::new(Box::pin(writer)) })
    }
}

impl Outgoing {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let written = self.get().write_all(bytes).await;
        written.map_err(|source| self.error(source))
    }

    async fn flush(&mut self) -> Result<(), ClientError> {
        let flushed = self.get().flush().await;
        flushed.map_err(|source| self.error(source))
    }

    fn get(&mut self) -> &mut Pin<Box<dyn AsyncWrite + Send>> {
        self.writer.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, source: io::Error) -> ClientError {
        ClientError::Io { path: self.name.clone(), source }
    }
}

/// How to get.
#[derive(Clone, Copy, Debug, Default)]
pub struct GetOptions {
    /// Only these bytes: from the first offset up to, not including, the second one. `u64::MAX` stands for the end.
    pub range: Option<(u64, u64)>,
    /// What to do when the file exists already.
    pub replace: Replace,
}

/// How a get ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetOutcome {
    /// The bytes were fetched.
    Fetched,
    /// The file at the path has the same content already. Nothing was written. Only a file that shares its object was
    /// fetched, to compare it.
    Already,
}

/// What a get did.
#[derive(Clone, Debug)]
pub struct GetReport {
    /// How it ended.
    pub outcome: GetOutcome,
    /// Bytes written, or kept from an earlier get.
    pub length: u64,
    /// Of these, bytes an earlier get had already written.
    pub kept: u64,
    /// Whether the whole content was compared with the content root.
    pub checked_root: bool,
    /// The order that was acknowledged after that comparison.
    pub acknowledged: Option<OrderId>,
    /// The faults of nodes that were asked. Other nodes gave the bytes instead.
    pub faults: Vec<ReadFault>,
    /// The bytes, if the sink was memory.
    pub bytes: Option<Vec<u8>>,
}

/// Collects faults and passes them on to the caller's progress.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<Vec<ReadFault>>>);

impl Faults {
    fn collecting(&self, progress: &Progress) -> Progress {
        let (faults, progress) = (self.clone(), progress.clone());
        Progress::new(move |step| {
            if let Step::Fault { node, index, fault } = step {
                faults.lock().push(ReadFault { node, index, fault });
            }
            progress.step(step);
        })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ReadFault>> {
        lock(&self.0)
    }

    /// Every fault once, although each of the many segments may report it.
    fn all(&self) -> Vec<ReadFault> {
        let mut all: Vec<ReadFault> = Vec::new();
        for fault in self.lock().iter() {
            if !all.contains(fault) {
                all.push(*fault);
            }
        }
        all
    }
}

impl Library {
    /// Reads a file.
    pub async fn get(
        &self,
        what: &Readable,
        sink: Sink,
        options: &GetOptions,
        progress: &Progress,
    ) -> Result<GetReport, ClientError> {
        let resolved = self.resolve_now(what).await?;
        Box::pin(self.fetch(resolved, sink, options, progress)).await
    }

    /// Resolves a name or grant. For a name it takes over the changes of other devices first. A grant needs none of
    /// them.
    pub(crate) async fn resolve_now(&self, what: &Readable) -> Result<Resolved, ClientError> {
        if !matches!(what, Readable::Token(_)) {
            self.catch_up().await;
        }
        self.resolve(what).await
    }

    /// Reads a resolved file.
    pub(crate) async fn fetch(
        &self,
        mut resolved: Resolved,
        sink: Sink,
        options: &GetOptions,
        progress: &Progress,
    ) -> Result<GetReport, ClientError> {
        let sink = self.open_special(sink).await?;
        let manifest = resolved.reading.manifest.clone();
        let layout = manifest.layout().map_err(|error| ClientError::Grant(error.into()))?;
        let (from, to) = asked_range(options, resolved.place)?;
        let length = resolved.place.1;
        let whole = (from, to) == (0, manifest.length);
        // A part of a file gets neither the file's permissions nor its time.
        let metadata = resolved.metadata.filter(|_| options.range.is_none());
        let among_others = length < manifest.length;
        if among_others && self.is_same_part(&resolved, &sink, options).await? {
            return Ok(already(&resolved));
        }
        if !whole && short::is_short(from, to) {
            let part_options = PartOptions::new(options, metadata);
            return self
                .get_short(resolved.reading, sink, part_options, (from, to), progress)
                .await;
        }
        let narrowed = resolved.reading.grant.as_ref().is_some_and(is_for_cells);
        // Of a file that shares its object, it reads only the cells around the range.
        resolved.reading.only = (narrowed || among_others).then_some((from, to));
        // When a buyer first reads the whole file, the client compares all of it with the listing.
        let check_root = whole && resolved.bought.is_some();
        if check_root && matches!(resolved.reading.leaves, LeavesWanted::No) {
            resolved.reading.leaves = LeavesWanted::Yes;
        }
        if let Sink::File(path) = &sink
            && whole
            && options.replace == Replace::Refuse
            && self.is_same(path, &resolved.reading).await?
        {
            return Ok(already(&resolved));
        }
        let mut part_options = PartOptions::new(options, metadata);
        if whole && matches!(sink, Sink::File(_)) {
            part_options = part_options.resumable(&resolved.reading.key);
        }
        // The content root covers all cells, including those that hold only padding.
        let end = if check_root { u64::MAX } else { to };
        progress.step(Step::Planned { total_bytes: Some(to - from) });
        let output = self.host().blocking(move || Output::open(sink, part_options)).await?;
        let mut output = self.take_kept(output, &resolved.reading, (from, end)).await?;
        let (spans, skipped) = spans(&layout, from, end, output.groups_done());
        progress.step(Step::Kept { bytes: skipped });
        let faults = Faults::default();
        let mut groups =
            self.network().read(resolved.reading.clone(), spans, &faults.collecting(progress));
        let mut done = skipped;
        while let Some(group) = groups.next().await {
            let group = group?;
            let plain = clip(&layout, &group, from, to)?;
            let count = plain.len() as u64;
            output = output.write(self.host(), group, plain).await?;
            done += count;
            progress.step(Step::Moved { bytes: count });
        }
        if done != to - from {
            let why = format!("reading ended after {done} of {} bytes", to - from);
            return Err(ClientError::Internal(why));
        }
        if check_root && output.root() != manifest.content_root {
            self.host().blocking(move || output.discard()).await;
            let order = resolved.bought.expect("the root is checked for orders");
            return Err(ClientError::NotAsListed { order, what: NotListed::Root });
        }
        let mut report = output.finish(self.host(), to - from, skipped).await?;
        report.checked_root = check_root;
        report.faults = faults.all();
        Ok(report)
    }
}

/// The report for a file that is there already: it counts as fetched.
fn already(resolved: &Resolved) -> GetReport {
    let (_, length) = resolved.place;
    GetReport {
        outcome: GetOutcome::Already,
        length,
        kept: length,
        checked_root: true,
        acknowledged: None,
        faults: Vec::new(),
        bytes: None,
    }
}

/// The range of the object to read, for a file that begins at `start` in its object.
fn asked_range(
    options: &GetOptions,
    (start, length): (u64, u64),
) -> Result<(u64, u64), ClientError> {
    let (from, to) = options.range.unwrap_or((0, u64::MAX));
    let to = if to == u64::MAX { length } else { to };
    if from > to || to > length {
        return Err(ClientError::Usage(format!(
            "the range {from}-{to} lies outside the file, which has {length} bytes"
        )));
    }
    Ok((start + from, start + to))
}
