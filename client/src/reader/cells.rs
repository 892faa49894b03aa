//! One data cell at a time: from the node that keeps it when that node does well, from others when not.
//!
//! A cell that is wanted is asked of one node, in one request. When the node fails, lies, or has not
//! answered for a while, the cells of the same stripe are asked of as many others as give it back, and
//! whichever way is complete first wins. What was learnt is kept: deal and nodes of a segment are asked
//! of the ledger once, and a node that failed is not asked first again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use symbolon_net::PeerAddress;
use symbolon_protocol::{
    content::{ContentError, Layout, SegmentCoder, StripeLayout},
    id::{DealId, Hash, NodeId},
    session::NodeFault,
};
use tokio::{sync::OnceCell, task::JoinSet};

use crate::{
    Client,
    download::{Reading, ShardAt},
    error::ClientError,
    get::ReadFault,
    progress::{Progress, Step},
};

/// How long a node has to send a cell, in milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// How long one node is waited for before others are asked too, in milliseconds: at first, and the
/// least and the most of what follows from how long answers take.
const HEDGE_MS: u64 = 500;
const HEDGE_MS_MIN: u64 = 100;
const HEDGE_MS_MAX: u64 = 2_000;

/// An answer takes this many times as long as usual before others are asked.
const HEDGE_TIMES: u64 = 4;

/// For how long a node that was away or slow is not asked first, in milliseconds. One that sent wrong
/// bytes is not asked first again.
const SHUN_MS: u64 = 30_000;

/// Segments whose deal and nodes are remembered: some kilobytes each.
const SEGMENTS_MAX: usize = 64;

/// What a reader has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCost {
    /// Requests sent to nodes, each for one cell.
    pub node_requests: u64,
    /// Questions sent to the ledger.
    pub ledger_requests: u64,
}

/// What a segment's cells are asked with.
struct Segment {
    coder: SegmentCoder,
    deal: DealId,
    length: u64,
    sources: BTreeMap<u8, (PeerAddress, Hash)>,
    absent: Vec<(NodeId, NodeFault)>,
}

/// The data cells of one file.
pub(super) struct Cells {
    client: Client,
    reading: Reading,
    layout: Layout,
    progress: Progress,
    segments: Mutex<BTreeMap<u32, Arc<OnceCell<Segment>>>>,
    shunned: Mutex<BTreeMap<NodeId, u64>>,
    faults: Mutex<Vec<ReadFault>>,
    node_requests: AtomicU64,
    ledger_requests: AtomicU64,
    usual_ms: AtomicU64,
    /// Whether the file's last cell was opened, which is sealed together with the file's length.
    ended: AtomicBool,
}

/// Where a data cell lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    segment: u32,
    stripe: StripeLayout,
    shard: u8,
    /// Where its first byte is in the file.
    pub(super) start: u64,
}

impl Cells {
    pub(super) fn new(
        client: &Client,
        reading: Reading,
        layout: Layout,
        progress: &Progress,
    ) -> Self {
        Self {
            client: client.clone(),
            reading,
            layout,
            progress: progress.clone(),
            segments: Mutex::default(),
            shunned: Mutex::default(),
            faults: Mutex::default(),
            node_requests: AtomicU64::new(0),
            ledger_requests: AtomicU64::new(0),
            usual_ms: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        }
    }

    pub(super) fn length(&self) -> u64 {
        self.layout.length()
    }

    pub(super) fn cost(&self) -> ReadCost {
        ReadCost {
            node_requests: self.node_requests.load(Ordering::Relaxed),
            ledger_requests: self.ledger_requests.load(Ordering::Relaxed),
        }
    }

    pub(super) fn faults(&self) -> Vec<ReadFault> {
        lock(&self.faults).clone()
    }

    /// The data cell that has the byte at `offset`; the first cell for a file without bytes.
    pub(super) fn number_at(&self, offset: u64) -> u64 {
        self.layout.locate(offset).map_or(0, |location| location.cell)
    }

    /// The last data cell of the file: it may hold nothing but padding.
    pub(super) fn last(&self) -> u64 {
        self.layout.cells() - 1
    }

    /// Whether the file's length is known to be the one it was stored with.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Where a data cell lies; `None` when the file has no such cell.
    pub(super) fn place(&self, number: u64) -> Option<Place> {
        let required = u64::from(self.layout.scheme().required);
        let full = Layout::full_segment(self.layout.scheme(), 0).ok()?;
        let per_segment = full.cells();
        let segment = u32::try_from(number / per_segment).ok()?;
        let stripe = u32::try_from(number % per_segment / required).ok()?;
        let shard = u8::try_from(number % required).ok()?;
        let stripe = self.layout.segment(segment).ok()?.stripe(stripe)?;
        let start = stripe.plain_start + u64::from(shard) * stripe.plain_bytes as u64;
        Some(Place { segment, stripe, shard, start })
    }

    /// The file's bytes in a data cell, padding cut off.
    pub(super) async fn plain(&self, number: u64) -> Result<Bytes, ClientError> {
        let outside = || ClientError::Internal(format!("the file has no cell {number}"));
        let place = self.place(number).ok_or_else(outside)?;
        let slot = {
            let mut segments = lock(&self.segments);
            if segments.len() >= SEGMENTS_MAX && !segments.contains_key(&place.segment) {
                segments.clear();
            }
            segments.entry(place.segment).or_default().clone()
        };
        let segment = slot.get_or_try_init(|| self.segment(place.segment)).await?;
        let mut plain = Race::new(self, segment, place).run().await?;
        if number == self.last() {
            self.ended.store(true, Ordering::Relaxed);
        }
        let left = self.length().saturating_sub(place.start);
        plain.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        Ok(Bytes::from(plain))
    }

    async fn segment(&self, segment: u32) -> Result<Segment, ClientError> {
        let Reading { manifest, key, .. } = &self.reading;
        let coder = manifest.coder(key, segment).map_err(|error| match error {
            ContentError::Key => ClientError::Grant("its key is not the file's key".into()),
            error => ClientError::Corrupt { segment, why: error.to_string() },
        })?;
        let id = key.deal(segment);
        self.ledger_requests.fetch_add(1, Ordering::Relaxed);
        let deal = self.client.deal(&id).await?;
        let deal = deal.ok_or(ClientError::DealGone { segment, deal: id })?;
        if deal.length != coder.layout().shard_length {
            let why = String::from("the deal is for shards of another length");
            return Err(ClientError::Corrupt { segment, why });
        }
        self.ledger_requests.fetch_add(1, Ordering::Relaxed);
        let found = self.client.deal_nodes(&deal).await?;
        let kept = deal.shards.iter().flatten().map(|shard| shard.node);
        let known = |node: &NodeId| found.iter().any(|(_, address, _)| address.id == *node);
        let absent = kept.filter(|node| !known(node)).map(|node| (node, NodeFault::Offline));
        let absent = absent.collect();
        let sources = found.into_iter().map(|(index, at, root)| (index, (at, root))).collect();
        Ok(Segment { coder, deal: id, length: deal.length, sources, absent })
    }

    fn is_shunned(&self, node: &NodeId) -> bool {
        let now_ms = self.client.host().now_ms();
        lock(&self.shunned).get(node).is_some_and(|until_ms| now_ms < *until_ms)
    }

    fn note_fault(&self, node: NodeId, index: u8, fault: NodeFault) {
        let until_ms = match fault {
            NodeFault::Corrupt => u64::MAX,
            _ => self.client.host().now_ms() + SHUN_MS,
        };
        lock(&self.shunned).insert(node, until_ms);
        let heard = ReadFault { node, index, fault };
        let mut faults = lock(&self.faults);
        if !faults.contains(&heard) {
            faults.push(heard);
            drop(faults);
            self.progress.step(Step::Fault { node, index, fault });
        }
    }

    fn note_time(&self, took_ms: u64) {
        // A running mean over about eight answers; a lost update between two of them does no harm.
        let usual = self.usual_ms.load(Ordering::Relaxed);
        let next = if usual == 0 { took_ms } else { (usual * 7 + took_ms) / 8 };
        self.usual_ms.store(next.max(1), Ordering::Relaxed);
    }

    fn hedge_ms(&self) -> u64 {
        match self.usual_ms.load(Ordering::Relaxed) {
            0 => HEDGE_MS,
            usual => (usual * HEDGE_TIMES).clamp(HEDGE_MS_MIN, HEDGE_MS_MAX),
        }
    }
}

/// What a node sent, or did instead, and how long that took.
struct Answer {
    index: u8,
    result: Result<Vec<u8>, NodeFault>,
    took_ms: u64,
}

/// One cell on its way, from one node or from several.
struct Race<'a> {
    cells: &'a Cells,
    segment: &'a Segment,
    place: Place,
    asks: JoinSet<Answer>,
    /// The shard that was asked for first and alone, when there is one.
    first: Option<u8>,
    /// Others that were asked and have not answered.
    others_out: usize,
    rest: VecDeque<u8>,
    have: Vec<Option<Vec<u8>>>,
    faults: Vec<(NodeId, NodeFault)>,
}

impl<'a> Race<'a> {
    fn new(cells: &'a Cells, segment: &'a Segment, place: Place) -> Self {
        let total = segment.coder.layout().total;
        // Begins elsewhere for every stripe, so that the work of a lost node falls on all others.
        let turn = u8::try_from(place.stripe.stripe % u32::from(total)).unwrap_or(0);
        let mut rest: Vec<u8> = (0..total)
            .map(|index| (index + turn) % total)
            .filter(|index| *index != place.shard && segment.sources.contains_key(index))
            .collect();
        let own = segment.sources.get(&place.shard);
        let first = own.filter(|(node, _)| !cells.is_shunned(&node.id)).map(|_| place.shard);
        if own.is_some() && first.is_none() {
            rest.push(place.shard);
        }
        rest.sort_by_key(|index| cells.is_shunned(&segment.sources[index].0.id));
        Self {
            cells,
            segment,
            place,
            asks: JoinSet::new(),
            first,
            others_out: 0,
            rest: rest.into(),
            have: vec![None; usize::from(total)],
            faults: segment.absent.clone(),
        }
    }

    /// The plain bytes of the cell, padding included.
    async fn run(mut self) -> Result<Vec<u8>, ClientError> {
        let mut alone = self.first.is_some();
        if let Some(first) = self.first {
            self.ask(first);
        }
        loop {
            if self.is_there(self.place.shard) || self.there() >= self.required() {
                return self.decode();
            }
            if !alone {
                while self.others_out + self.there() < self.required() && self.ask_next() {}
            }
            if self.asks.is_empty() {
                return Err(self.short());
            }
            let patience_ms = self.cells.client.host().now_ms() + self.cells.hedge_ms();
            let answer = tokio::select! {
                biased;
                answer = self.asks.join_next() => answer,
                () = self.cells.client.host().sleep_until_ms(patience_ms) => None,
            };
            match answer {
                // Somebody takes long: one more is asked, or as many as give the cell back.
                None if !alone => drop(self.ask_next()),
                None => alone = false,
                Some(Ok(answer)) => alone &= self.take(answer),
                Some(Err(error)) => {
                    return Err(ClientError::Internal(format!("a reading task died: {error}")));
                }
            }
        }
    }

    fn required(&self) -> usize {
        usize::from(self.segment.coder.layout().required)
    }

    fn is_there(&self, index: u8) -> bool {
        self.have[usize::from(index)].is_some()
    }

    fn there(&self) -> usize {
        self.have.iter().flatten().count()
    }

    fn ask_next(&mut self) -> bool {
        let Some(index) = self.rest.pop_front() else { return false };
        self.others_out += 1;
        self.ask(index);
        true
    }

    fn ask(&mut self, index: u8) {
        let (address, root) = self.segment.sources[&index].clone();
        let shard = ShardAt {
            address,
            deal: self.segment.deal,
            index,
            root,
            length: self.segment.length,
            grant: self.cells.reading.grant.clone(),
        };
        self.cells.node_requests.fetch_add(1, Ordering::Relaxed);
        let (client, cell) = (self.cells.client.clone(), self.place.stripe.stripe);
        self.asks.spawn(async move {
            let host = client.host();
            let asked_ms = host.now_ms();
            let result = tokio::select! {
                biased;
                read = shard.cell(&client, cell) => read,
                () = host.sleep_until_ms(asked_ms + PATIENCE_MS) => Err(NodeFault::Slow),
            };
            Answer { index, result, took_ms: host.now_ms().saturating_sub(asked_ms) }
        });
    }

    /// Takes note of an answer; says whether it was a good one.
    fn take(&mut self, answer: Answer) -> bool {
        let Answer { index, result, took_ms } = answer;
        if self.first != Some(index) {
            self.others_out -= 1;
        }
        match result {
            Ok(cell) => {
                self.cells.note_time(took_ms);
                self.have[usize::from(index)] = Some(cell);
                true
            }
            Err(fault) => {
                let node = self.segment.sources[&index].0.id;
                self.cells.note_fault(node, index, fault);
                self.faults.push((node, fault));
                false
            }
        }
    }

    fn decode(mut self) -> Result<Vec<u8>, ClientError> {
        if let Some(first) = self.first.filter(|first| !self.is_there(*first)) {
            let node = self.segment.sources[&first].0.id;
            if self.faults.iter().all(|(faulty, _)| *faulty != node) {
                // The others were faster although they were asked later.
                self.cells.note_fault(node, first, NodeFault::Slow);
            }
        }
        self.asks.abort_all();
        let have: Vec<Option<&[u8]>> = self.have.iter().map(Option::as_deref).collect();
        let mut plain = vec![0; self.place.stripe.plain_bytes];
        let (stripe, shard) = (self.place.stripe.stripe, self.place.shard);
        let opened = self.segment.coder.decode_cell(stripe, shard, &have, &mut plain);
        let segment = self.place.segment;
        opened.map_err(|error| ClientError::Corrupt { segment, why: error.to_string() })?;
        Ok(plain)
    }

    fn short(self) -> ClientError {
        ClientError::NotEnoughShards {
            segment: self.place.segment,
            usable: u8::try_from(self.there()).unwrap_or(u8::MAX),
            required: self.segment.coder.layout().required,
            faults: self.faults,
        }
    }
}

/// What is kept here is whole whatever happened to whoever held it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
