//! Get: groups become a file, or go to a writer or into memory.

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
    error::ClientError,
    library::{Library, names::Name, upload::Replace},
    lock,
    progress::{Progress, Step},
};
use output::{Making, Output};
pub(crate) use resolve::Resolved;
pub(crate) use target::{is_special, may_be_replaced};

/// What is read.
#[derive(Clone, Debug)]
pub enum Readable {
    /// An own file.
    Name(Name),
    /// A version of an own file, by its number.
    Version(Name, u64),
    /// What a grant is for.
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

/// Where it goes.
#[derive(Debug)]
pub enum Sink {
    /// A file. Where a pipe or terminal lies it is written into, and no other device is touched.
    File(PathBuf),
    /// The report.
    Memory,
    /// A writer, as the bytes come.
    Writer(Outgoing),
}

/// A writer that is written to: see [`Sink::writer`].
pub struct Outgoing {
    name: PathBuf,
    /// The lock is never taken: it lets what is `Send` be shared.
    writer: Mutex<Pin<Box<dyn AsyncWrite + Send>>>,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Sink {
    /// A writer, which is flushed in the end and not shut down. Errors call it `name`. It gets no byte that was not
    /// checked.
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
    /// Only these bytes: from the first up to and without the second; `u64::MAX` stands for the end.
    pub range: Option<(u64, u64)>,
    /// What to do when the file is already there.
    pub replace: Replace,
}

/// How a get ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GetOutcome {
    /// The bytes were fetched.
    Fetched,
    /// The file was there, byte for byte; nothing was fetched or written.
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
    /// The order that was acknowledged because of that.
    pub acknowledged: Option<OrderId>,
    /// Nodes that were asked and did not do what they should; others did.
    pub faults: Vec<ReadFault>,
    /// The bytes, when they were to go to memory.
    pub bytes: Option<Vec<u8>>,
}

/// Hears of faults on their way to whoever shows them.
#[derive(Clone, Default)]
struct Faults(Arc<Mutex<Vec<ReadFault>>>);

impl Faults {
    fn heard(&self, progress: &Progress) -> Progress {
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

    /// Each once: a file has many segments.
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
        self.fetch(resolved, sink, options, progress).await
    }

    /// What a name or grant stands for, with what other devices changed where that may be about it: a grant says all
    /// by itself.
    pub(crate) async fn resolve_now(&self, what: &Readable) -> Result<Resolved, ClientError> {
        if !matches!(what, Readable::Token(_)) {
            self.catch_up().await;
        }
        self.resolve(what).await
    }

    /// Reads what was resolved.
    pub(crate) async fn fetch(
        &self,
        mut resolved: Resolved,
        sink: Sink,
        options: &GetOptions,
        progress: &Progress,
    ) -> Result<GetReport, ClientError> {
        let sink = self.look(sink).await?;
        let manifest = resolved.reading.manifest.clone();
        let layout = manifest.layout().map_err(|error| ClientError::Grant(error.into()))?;
        let (from, to) = asked_range(options, resolved.place)?;
        let length = resolved.place.1;
        let whole = (from, to) == (0, manifest.length);
        // A part of a file has neither its permissions nor its time.
        let dress = resolved.dress.filter(|_| options.range.is_none());
        let among_others = length < manifest.length;
        if among_others && self.is_same_part(&resolved, &sink, options).await? {
            return Ok(already(&resolved));
        }
        if !whole && short::is_short(from, to) {
            let making = Making::new(options, dress);
            return self.get_short(resolved.reading, sink, making, (from, to), progress).await;
        }
        let narrowed = resolved.reading.grant.as_ref().is_some_and(is_for_cells);
        // Of a file among others, only the cells around it.
        resolved.reading.only = (narrowed || among_others).then_some((from, to));
        // A buyer compares everything with what was listed, the first time it reads everything.
        let check_root = whole && resolved.order.is_some();
        resolved.reading.leaves = if check_root { LeavesWanted::Yes } else { LeavesWanted::No };
        if let Sink::File(path) = &sink
            && whole
            && options.replace == Replace::Refuse
            && self.is_same(path, &resolved.reading).await?
        {
            return Ok(already(&resolved));
        }
        let mut making = Making::new(options, dress);
        if whole && matches!(sink, Sink::File(_)) {
            making = making.resumable(&resolved.reading.key);
        }
        // The content root is over all cells, those that hold nothing but padding too.
        let end = if check_root { u64::MAX } else { to };
        progress.step(Step::Planned { total_bytes: Some(to - from) });
        let output = self.host().blocking(move || Output::open(sink, making)).await?;
        let mut output = self.take_kept(output, &resolved.reading, (from, end)).await?;
        let (spans, skipped) = spans(&layout, from, end, output.groups_done());
        progress.step(Step::Kept { bytes: skipped });
        let faults = Faults::default();
        let mut groups =
            self.network().read(resolved.reading.clone(), spans, &faults.heard(progress));
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
            let order = resolved.order.expect("the root is checked for orders");
            return Err(ClientError::NotAsListed { order });
        }
        let mut report = output.finish(self.host(), to - from, skipped).await?;
        report.checked_root = check_root;
        report.faults = faults.all();
        Ok(report)
    }
}

/// The file is there: that is as good as having fetched it.
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

/// From where to where of the object the bytes are that were asked for of a file that begins at `start` in it.
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
