//! The slices of one segment: asked for, verified, decoded, put in order.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use symbolon_net::PeerAddress;
use symbolon_protocol::{
    content::SegmentCoder,
    grant::Grant,
    id::{DealId, Hash, NodeId},
    limits::{CELL_BYTES, SLICE_BYTES},
    proof,
    session::{NodeFault, download::Input},
    wire::storage::{Request, Response, SliceHead},
};
use tokio::{sync::mpsc, task::AbortHandle};

use super::{Deal, Group, Reading, decode_group};
use crate::{
    Client,
    buffers::Buffer,
    error::ClientError,
    peers::{PeerError, response},
    progress::{Awaited, Progress, Step, Wait},
};

/// Stripes of a group: as many as a slice has cells.
pub(crate) const SLICE_STRIPES: u32 = 16;

const _: () = assert!(SLICE_BYTES == SLICE_STRIPES as usize * CELL_BYTES);

enum Event {
    Slice { index: u8, slice: u32, result: Result<Bytes, NodeFault> },
    Group { slice: u32, result: Result<Group, ClientError> },
}

struct Source {
    address: PeerAddress,
    root: Hash,
}

pub(super) struct Slices {
    client: Client,
    id: DealId,
    deal: Deal,
    coder: Arc<SegmentCoder>,
    reading: Reading,
    sources: BTreeMap<u8, Source>,
    /// Nodes of the deal that the ledger has no address for.
    pub(super) absent: Vec<(NodeId, NodeFault)>,
    arrived: BTreeMap<(u32, u8), Bytes>,
    decoded: BTreeMap<u32, Group>,
    delivered: Option<u32>,
    fetching: BTreeMap<(u8, u32), AbortHandle>,
    outbox: mpsc::UnboundedSender<Event>,
    inbox: mpsc::UnboundedReceiver<Event>,
}

impl Drop for Slices {
    fn drop(&mut self) {
        for task in self.fetching.values() {
            task.abort();
        }
    }
}

impl Slices {
    pub(super) fn new(
        client: &Client,
        id: DealId,
        deal: &Deal,
        coder: SegmentCoder,
        reading: &Reading,
    ) -> Self {
        // Unbounded in type only: the session never has more than a window of requests under way.
        let (outbox, inbox) = mpsc::unbounded_channel();
        Self {
            client: client.clone(),
            id,
            deal: deal.clone(),
            coder: Arc::new(coder),
            reading: reading.clone(),
            sources: BTreeMap::new(),
            absent: Vec::new(),
            arrived: BTreeMap::new(),
            decoded: BTreeMap::new(),
            delivered: None,
            fetching: BTreeMap::new(),
            outbox,
            inbox,
        }
    }

    /// The shards whose nodes the ledger knows.
    pub(super) async fn connectable(&mut self) -> Result<Vec<(u8, NodeId)>, ClientError> {
        let found = self.client.deal_nodes(&self.deal).await?;
        let shards = found.iter().map(|(index, address, _)| (*index, address.id)).collect();
        self.sources = found
            .into_iter()
            .map(|(index, address, root)| (index, Source { address, root }))
            .collect();
        let kept = self.deal.shards.iter().flatten();
        let known = |node: &NodeId| self.sources.values().any(|source| source.address.id == *node);
        self.absent = kept
            .filter(|shard| !known(&shard.node))
            .map(|shard| (shard.node, NodeFault::Offline))
            .collect();
        Ok(shards)
    }

    pub(super) fn fetch(&mut self, index: u8, slice: u32) {
        let source = &self.sources[&index];
        let shard = ShardAt {
            address: source.address.clone(),
            deal: self.id,
            index,
            root: source.root,
            length: self.deal.length,
            grant: self.reading.grant.clone(),
        };
        let client = self.client.clone();
        let outbox = self.outbox.clone();
        let (all, needed) = (self.stripes(slice), self.needed(slice));
        let task = tokio::spawn(async move {
            let result = if needed == all {
                shard.slice(&client, slice).await
            } else {
                shard.cells(&client, slice, needed).await
            };
            // Nobody listens any more once the segment is read.
            outbox.send(Event::Slice { index, slice, result }).ok();
        });
        self.fetching.insert((index, slice), task.abort_handle());
    }

    /// The stripes of a slice.
    fn stripes(&self, slice: u32) -> Range<u32> {
        let first = slice * SLICE_STRIPES;
        first..self.coder.layout().stripes.min(first + SLICE_STRIPES)
    }

    /// Those of them that the reader wants and may ask for.
    fn needed(&self, slice: u32) -> Range<u32> {
        let all = self.stripes(slice);
        let Some((from, to)) = self.reading.only else { return all };
        let wanted = |number: &u32| {
            let stripe = self.coder.layout().stripe(*number);
            stripe.is_some_and(|stripe| {
                let start = stripe.plain_start;
                start < to && from < start + stripe.capacity() as u64
            })
        };
        let first = all.clone().find(wanted).unwrap_or(all.start);
        let last = all.clone().rev().find(wanted).unwrap_or(first);
        first..last + 1
    }

    pub(super) fn cancel(&mut self, index: u8, slice: u32) {
        if let Some(task) = self.fetching.remove(&(index, slice)) {
            task.abort();
        }
    }

    pub(super) fn decode(&mut self, slice: u32, indexes: &[u8]) {
        let mut slices: Vec<Option<Bytes>> = vec![None; self.deal.shards.len()];
        for index in indexes {
            slices[usize::from(*index)] = self.arrived.remove(&(slice, *index));
        }
        let (coder, outbox) = (self.coder.clone(), self.outbox.clone());
        let (host, wanted) = (self.client.host().clone(), self.reading.leaves);
        let segment = self.deal.segment;
        let wanted = (wanted, self.needed(slice));
        tokio::spawn(async move {
            let work = move || decode_group(&coder, segment, slice, &slices, wanted);
            let result = host.blocking(work).await;
            outbox.send(Event::Group { slice, result }).ok();
        });
    }

    /// Waits for the next event; tells the session what it has to know.
    pub(super) async fn next(&mut self) -> Result<Option<Input>, ClientError> {
        let event = self.inbox.recv().await.expect("this side holds a sender itself");
        match event {
            Event::Slice { index, slice, result } => {
                if self.fetching.remove(&(index, slice)).is_none() {
                    return Ok(None);
                }
                Ok(Some(match result {
                    Ok(bytes) => {
                        self.arrived.insert((slice, index), bytes);
                        Input::Arrived { index, slice }
                    }
                    Err(fault) => Input::Failed { index, slice, fault },
                }))
            }
            Event::Group { slice, result } => {
                self.decoded.insert(slice, result?);
                Ok(None)
            }
        }
    }

    /// Tells who is waited for before the next group can be given out.
    pub(super) fn tell_waiting(&self, first: u32, required: u8, progress: &Progress) {
        if !progress.is_heard() {
            return;
        }
        let next = self.delivered.map_or(first, |last| last + 1);
        let asked = self.fetching.keys().filter(|(_, slice)| *slice == next);
        let nodes = asked.map(|(index, _)| self.sources[index].address.id).collect();
        let done = self.arrived.range((next, 0)..=(next, u8::MAX)).count();
        let done = u32::try_from(done).unwrap_or(u32::MAX);
        let (what, of) = (Awaited::Bytes, u32::from(required));
        progress.step(Step::Waiting(Wait { what, nodes, done, of }));
    }

    /// The next group in order, when it is decoded.
    pub(super) fn deliverable(&mut self, first: u32) -> Option<Group> {
        let next = self.delivered.map_or(first, |last| last + 1);
        let group = self.decoded.remove(&next)?;
        self.delivered = Some(next);
        Some(group)
    }
}

/// One shard at one node, and the root its slices are verified against.
#[derive(Clone)]
pub(crate) struct ShardAt {
    pub(crate) address: PeerAddress,
    pub(crate) deal: DealId,
    pub(crate) index: u8,
    pub(crate) root: Hash,
    pub(crate) length: u64,
    pub(crate) grant: Option<Grant>,
}

impl ShardAt {
    /// Reads one slice and verifies it.
    pub(crate) async fn slice(self, client: &Client, slice: u32) -> Result<Bytes, NodeFault> {
        let request = Request::Read {
            deal: self.deal,
            index: self.index,
            first: slice,
            count: 1,
            grant: self.grant.clone(),
        };
        let start = u64::from(slice) * SLICE_BYTES as u64;
        let expected = self.length.saturating_sub(start).min(SLICE_BYTES as u64);
        let answer = self.exchange(client, &request, expected).await;
        let (head, bytes) = answer.map_err(|error| error.fault())?;
        let (root, length) = (self.root, self.length);
        let verified = client.host().blocking(move || {
            proof::verify_slice(&root, length, u64::from(slice), &bytes, &head.path).map(|()| bytes)
        });
        verified.await.map(Buffer::share).map_err(|_| NodeFault::Corrupt)
    }

    /// Reads some cells of a slice and verifies them; the rest of the slice is zeros.
    async fn cells(
        self,
        client: &Client,
        slice: u32,
        stripes: Range<u32>,
    ) -> Result<Bytes, NodeFault> {
        let start = u64::from(slice) * SLICE_BYTES as u64;
        let length = self.length.saturating_sub(start).min(SLICE_BYTES as u64);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(SLICE_BYTES)];
        for stripe in stripes {
            let cell = self.cell(client, stripe).await?;
            let from = (stripe % SLICE_STRIPES) as usize * CELL_BYTES;
            let place = bytes.get_mut(from..from + cell.len()).ok_or(NodeFault::Corrupt)?;
            place.copy_from_slice(&cell);
        }
        Ok(Bytes::from(bytes))
    }

    /// Reads one cell, which is a stripe's part of the shard, and verifies it.
    pub(crate) async fn cell(&self, client: &Client, cell: u32) -> Result<Vec<u8>, NodeFault> {
        let (deal, index, grant) = (self.deal, self.index, self.grant.clone());
        let request = Request::ReadCell { deal, index, cell, grant };
        let start = u64::from(cell) * CELL_BYTES as u64;
        let expected = self.length.saturating_sub(start).min(CELL_BYTES as u64);
        let answer = self.exchange(client, &request, expected).await;
        let (head, bytes) = answer.map_err(|error| error.fault())?;
        proof::verify_cell(&self.root, self.length, u64::from(cell), &bytes, &head.path)
            .map_err(|_| NodeFault::Corrupt)?;
        Ok(bytes.to_vec())
    }

    /// Asks for one piece of `expected` bytes.
    async fn exchange(
        &self,
        client: &Client,
        request: &Request,
        expected: u64,
    ) -> Result<(SliceHead, Buffer), PeerError> {
        let (mut sender, mut receiver) = client.peers().request(&self.address, request).await?;
        sender.finish();
        let Response::Slices { count: 1 } = response(&mut receiver).await? else {
            return Err(PeerError::Confused);
        };
        let head: SliceHead = receiver.receive().await?;
        if u64::from(head.length) != expected {
            return Err(PeerError::Confused);
        }
        let mut bytes = client.buffers().take(head.length as usize);
        receiver.read_exact(&mut bytes).await?;
        Ok((head, bytes))
    }
}
