//! Get: groups become a file, standard output or memory.

mod kept;
mod note;
mod open;
mod output;
mod resolve;
mod same;
mod short;
mod target;

use std::{
    fs::File,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use symbolon_protocol::{
    grant::GrantToken,
    id::{OrderId, TransactionId},
    ledger::{
        Status,
        rows::{OrderState, Orders},
        transaction::Action,
    },
};

use crate::{
    Client, ReadFault,
    download::{LeavesWanted, clip, is_for_cells, spans},
    error::ClientError,
    lock,
    progress::{Progress, Step},
    upload::Replace,
};
use output::{Making, Output};
pub(crate) use resolve::Resolved;
pub(crate) use target::{is_special, may_be_replaced};

/// What is read.
#[derive(Clone, Debug)]
pub enum Readable {
    /// An own file, by the bytes of its name.
    Name(Vec<u8>),
    /// A version of an own file: the bytes of its name, and its number.
    Version(Vec<u8>, u64),
    /// What a grant is for.
    Token(Box<GrantToken>),
}

/// Where it goes.
#[derive(Clone, Debug)]
pub enum Sink {
    /// A file. Where a pipe or terminal lies it is written into, and no other device is touched.
    File(PathBuf),
    /// An open pipe or terminal, and its path.
    Stream(Arc<File>, PathBuf),
    /// Standard output.
    Stdout,
    /// The report.
    Memory,
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

impl Client {
    /// Reads a file.
    pub async fn get(
        &self,
        what: &Readable,
        sink: Sink,
        options: &GetOptions,
        progress: &Progress,
    ) -> Result<GetReport, ClientError> {
        let resolved = self.resolve(what).await?;
        self.fetch(resolved, sink, options, progress).await
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
            return self.already(&resolved).await;
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
            return self.already(&resolved).await;
        }
        let mut making = Making::new(options, dress);
        if whole && matches!(sink, Sink::File(_)) {
            making = making.resumable(&resolved.reading.key);
        }
        // The content root is over all cells, those that hold nothing but padding too.
        let end = if check_root { u64::MAX } else { to };
        progress.step(Step::Planned { total_bytes: Some(to - from) });
        let output = Output::open(sink, making)?;
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
            output = self.host().blocking(move || output.write(group, plain)).await?;
            done += count;
            progress.step(Step::Moved { bytes: count });
        }
        if done != to - from {
            let why = format!("reading ended after {done} of {} bytes", to - from);
            return Err(ClientError::Internal(why));
        }
        if check_root && output.root() != manifest.content_root {
            output.discard();
            let order = resolved.order.expect("the root is checked for orders");
            return Err(ClientError::NotAsListed { order });
        }
        let mut report = output.finish(to - from, skipped)?;
        report.checked_root = check_root;
        report.faults = faults.all();
        if let Some(order) = resolved.order.filter(|_| check_root) {
            report.acknowledged = self.acknowledge_checked(&order).await?;
        }
        Ok(report)
    }

    /// The file is there: for a buyer that is as good as having fetched it, down to the seller's pay.
    async fn already(&self, resolved: &Resolved) -> Result<GetReport, ClientError> {
        let acknowledged = match &resolved.order {
            Some(order) => self.acknowledge_checked(order).await?,
            None => None,
        };
        let (_, length) = resolved.place;
        Ok(GetReport {
            outcome: GetOutcome::Already,
            length,
            kept: length,
            checked_root: true,
            acknowledged,
            faults: Vec::new(),
            bytes: None,
        })
    }

    /// Tells the ledger that the data is what was listed, unless that is settled already.
    async fn acknowledge_checked(&self, order: &OrderId) -> Result<Option<OrderId>, ClientError> {
        let row = self.ledger().row_lately(Orders, order).await?;
        let open = row.as_ref().is_some_and(|row| {
            row.buyer == self.me() && matches!(row.state, OrderState::Paid | OrderState::Delivered)
        });
        if !open {
            return Ok(None);
        }
        self.acknowledge(order).await?;
        Ok(Some(*order))
    }

    /// Tells the ledger that the data is what was listed: the seller is paid now.
    pub async fn acknowledge(&self, order: &OrderId) -> Result<(), ClientError> {
        let used = self.purchase_custodians(order)?;
        let action = Action::Acknowledge { order: *order, custodians: used };
        let id = crate::account::transaction_id("acknowledge", &order.0);
        match self.send(TransactionId(id.0), action).await {
            Ok(_) | Err(ClientError::LedgerRefused(Status::OrderClosed | Status::IdReused)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
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
