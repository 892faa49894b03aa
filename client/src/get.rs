//! Get: groups become a file, standard output or memory.

mod kept;
mod note;
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
    content::{Layout, SegmentLayout},
    grant::{Caveat, Grant, GrantToken},
    id::{NodeId, ObjectId, OrderId, TransactionId},
    ledger::{
        Status,
        rows::{Deals, OrderState, Orders, Table},
        transaction::Action,
    },
    session::NodeFault,
    wire::storage::{Request, Response},
};

use tokio::task::JoinSet;

use crate::{
    Client,
    download::{Group, LeavesWanted, Span, group_count},
    error::ClientError,
    lock,
    progress::{Progress, Step},
    upload::Replace,
};
use output::{Making, Output};
pub(crate) use resolve::Resolved;
pub(crate) use target::{is_special, may_be_replaced};

/// How long a node has to answer somebody who only tries.
const KNOCK_PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

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

/// A node that was not needed in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFault {
    /// Which node.
    pub node: NodeId,
    /// Which shard it was asked for.
    pub index: u8,
    /// What it did.
    pub fault: NodeFault,
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
        let layout = manifest.layout().map_err(|error| ClientError::Grant(error.to_string()))?;
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
        let mut groups = self.read(resolved.reading.clone(), spans, &faults.heard(progress));
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

    /// Shows a grant to the nodes that keep an object, whoever the grant is bound to, and reports what
    /// each answered: `None` where it served. What a thief would try.
    pub async fn knock(
        &self,
        grant: &Grant,
        object: ObjectId,
    ) -> Result<Vec<(NodeId, Option<NodeFault>)>, ClientError> {
        let mut asks = JoinSet::new();
        let deals = self.scan_all(Deals, &[]).await?;
        for (key, deal) in deals.into_iter().filter(|(_, deal)| deal.object == object) {
            let Some(deal_id) = Deals::parse(&key) else { continue };
            for (index, address, _) in self.deal_nodes(&deal).await? {
                let grant = Some(grant.clone());
                let request = Request::Read { deal: deal_id, index, first: 0, count: 1, grant };
                let client = self.clone();
                asks.spawn(async move {
                    let answer = client.peers().ask(&address, &request, KNOCK_PATIENCE).await;
                    let fault = match answer {
                        Ok(Response::Slices { .. }) => None,
                        Ok(_) => Some(NodeFault::Corrupt),
                        Err(error) => Some(error.fault()),
                    };
                    (address.id, fault)
                });
            }
        }
        let mut answers = asks.join_all().await;
        answers.sort_by_key(|(node, _)| *node);
        Ok(answers)
    }
}

/// Whether a grant is for some of a file's cells only.
pub(crate) fn is_for_cells(grant: &Grant) -> bool {
    let mut caveats = grant.links.iter().flat_map(|link| &link.caveats);
    caveats.any(|caveat| matches!(caveat, Caveat::Cells { .. }))
}

/// Plain bytes of a full group.
fn group_bytes(layout: &Layout) -> u64 {
    use symbolon_protocol::limits::{CELL_BYTES, CELL_PLAIN_BYTES, SLICE_BYTES};
    let cells = (SLICE_BYTES / CELL_BYTES) as u64 * u64::from(layout.scheme().required);
    cells * CELL_PLAIN_BYTES as u64
}

/// The groups that hold bytes `from` up to `to`, without the first `done`, and how many plain bytes
/// those were. One after the other, as they are asked for: a stranger's manifest may claim any length.
pub(crate) fn spans(
    layout: &Layout,
    from: u64,
    to: u64,
    done: u64,
) -> (impl Iterator<Item = Span> + Send + use<>, u64) {
    let full = Layout::full_segment(layout.scheme(), 0).expect("a layout has a scheme");
    let first = u32::try_from(from / full.plain_length).unwrap_or(u32::MAX);
    let layout = *layout;
    let segments = (first..layout.segments()).map_while(move |number| {
        let segment = layout.segment(number).ok()?;
        let (first, end) = groups_in(&layout, &segment, from, to);
        (first < end).then_some((segment, first, end))
    });
    let (mut left, mut skipped) = (done, 0);
    for (segment, first, end) in segments.clone() {
        if left == 0 {
            break;
        }
        let skip = left.min(end - first);
        let (length, start) = (layout.length(), segment.plain_start);
        let plain = |groups: u64| (start + groups * group_bytes(&layout)).min(length);
        skipped += plain(first + skip) - plain(first);
        left -= skip;
    }
    let mut left = done;
    let spans = segments.filter_map(move |(segment, first, end)| {
        let skip = left.min(end - first);
        left -= skip;
        let narrow = |number: u64| u32::try_from(number).expect("a segment has at most 64 groups");
        let (first, end) = (narrow(first + skip), narrow(end));
        (first < end).then_some(Span { segment: segment.segment, first, end })
    });
    (spans, skipped)
}

/// The groups of a segment that hold bytes `from` up to `to`.
fn groups_in(layout: &Layout, segment: &SegmentLayout, from: u64, to: u64) -> (u64, u64) {
    let (group, start) = (group_bytes(layout), segment.plain_start);
    let first = from.saturating_sub(start) / group;
    let end = to.saturating_sub(start).div_ceil(group).min(u64::from(group_count(segment)));
    // A file without bytes still has one group, and reading it checks that it is there.
    (first, if layout.length() == 0 { 1 } else { end })
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

/// The bytes of a group that lie between `from` and `to`.
fn clip(
    layout: &Layout,
    group: &Group,
    from: u64,
    to: u64,
) -> Result<std::ops::Range<usize>, ClientError> {
    let segment = layout.segment(group.segment).ok();
    let start = segment.and_then(|segment| segment.stripe(group.first_stripe));
    let start =
        start.ok_or_else(|| ClientError::Internal("a group lies outside its file".into()))?;
    let start = start.plain_start;
    let inside = |at: u64| {
        let at = at.saturating_sub(start).min(group.plain.len() as u64);
        usize::try_from(at).expect("a group is in memory")
    };
    Ok(inside(from)..inside(to))
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::content::Scheme;

    use super::*;

    fn groups(spans: &[Span]) -> u64 {
        spans.iter().map(|span| u64::from(span.end - span.first)).sum()
    }

    fn collected(layout: &Layout, done: u64) -> (Vec<Span>, u64) {
        let (spans, skipped) = spans(layout, 0, u64::MAX, done);
        (spans.collect(), skipped)
    }

    #[test]
    fn a_claimed_length_costs_nothing_until_it_is_read() {
        let scheme = Scheme { required: 1, total: 1 };
        let layout = Layout::new(scheme, 1 << 56).unwrap();
        let (mut all, skipped) = spans(&layout, 0, u64::MAX, 0);
        let (first, second) = (all.next().unwrap(), all.next().unwrap());
        assert_eq!((first.segment, second.segment, skipped), (0, 1, 0));
        let (mut end, _) = spans(&layout, (1 << 56) - 1, 1 << 56, 0);
        assert!(end.next().is_some() && end.next().is_none());
    }

    #[test]
    fn the_whole_content_is_read_where_its_root_is_checked() {
        let scheme = Scheme { required: 4, total: 8 };
        let group = 16 * 4 * 65_520;
        let mut padding_groups = 0;
        for length in [0, 1, group, group + 1, 70_000_000, 319_333_084, 1_000_000_000] {
            let layout = Layout::new(scheme, length).unwrap();
            let all: u64 = layout.iter().map(|segment| u64::from(group_count(&segment))).sum();
            let checked: Vec<_> = spans(&layout, 0, u64::MAX, 0).0.collect();
            assert_eq!(groups(&checked), all, "{length}");
            let read: Vec<_> = spans(&layout, 0, length, 0).0.collect();
            assert_eq!(groups(&read), length.div_ceil(group).max(1), "{length}");
            padding_groups += all - groups(&read);
        }
        assert!(padding_groups > 0, "some of these files have groups of nothing but padding");
    }

    #[test]
    fn what_an_earlier_get_has_is_not_read_again() {
        let layout = Layout::new(Scheme { required: 4, total: 8 }, 319_333_084).unwrap();
        let (all, none) = collected(&layout, 0);
        assert_eq!(none, 0);
        for done in [1, 63, 64, 65, 70] {
            let (rest, skipped) = collected(&layout, done);
            assert_eq!(groups(&rest), groups(&all) - done);
            assert_eq!(skipped, done * 16 * 4 * 65_520);
        }
        let (rest, skipped) = collected(&layout, groups(&all));
        assert_eq!((groups(&rest), skipped), (0, 319_333_084));
    }
}
