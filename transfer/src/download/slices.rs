//! The slices of one segment: requests them, verifies and decodes them, and puts the groups in
//! order.

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;
use symbolon_protocol::{
    id::NodeId,
    session::{NodeFault, read::Input},
};
use tokio::{sync::mpsc, task::AbortHandle};

use super::{Group, Reading, decode_group};
use crate::{
    Network,
    error::TransferError,
    progress::{Awaited, Progress, Step, Wait},
    segment::Segment,
    shard::SLICE_STRIPES,
};

enum Event {
    Slice { index: u8, slice: u32, result: Result<Bytes, NodeFault> },
    Group { slice: u32, result: Result<Group, TransferError> },
}

pub(super) struct Slices {
    network: Network,
    segment: Segment,
    reading: Reading,
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
    pub(super) fn new(network: &Network, segment: Segment, reading: &Reading) -> Self {
        // The channel needs no bound: the session has at most a window of requests under way.
        let (outbox, inbox) = mpsc::unbounded_channel();
        Self {
            network: network.clone(),
            segment,
            reading: reading.clone(),
            arrived: BTreeMap::new(),
            decoded: BTreeMap::new(),
            delivered: None,
            fetching: BTreeMap::new(),
            outbox,
            inbox,
        }
    }

    /// The shards whose nodes have an address on the ledger.
    pub(super) fn connectable(&self) -> Vec<(u8, NodeId)> {
        let sources = self.segment.sources.iter();
        sources.map(|(index, (address, _))| (*index, address.id)).collect()
    }

    /// The nodes of the other shards and their faults.
    pub(super) fn absent(&self) -> &[(NodeId, NodeFault)] {
        &self.segment.absent
    }

    pub(super) fn fetch(&mut self, index: u8, slice: u32) {
        let shard = self.segment.shard(index, &self.reading);
        let network = self.network.clone();
        let outbox = self.outbox.clone();
        let (all, needed) = (self.stripes(slice), self.needed(slice));
        let task = tokio::spawn(async move {
            let result = if needed == all {
                shard.slice(&network, slice).await
            } else {
                shard.cells(&network, slice, needed).await
            };
            // The receiver is gone once the segment is read.
            outbox.send(Event::Slice { index, slice, result }).ok();
        });
        self.fetching.insert((index, slice), task.abort_handle());
    }

    /// The stripes of a slice.
    fn stripes(&self, slice: u32) -> Range<u32> {
        let first = slice * SLICE_STRIPES;
        first..self.segment.coder.layout().stripes.min(first + SLICE_STRIPES)
    }

    /// The stripes of a slice that the reader needs and may request.
    fn needed(&self, slice: u32) -> Range<u32> {
        let all = self.stripes(slice);
        let Some((from, to)) = self.reading.only else { return all };
        let wanted = |number: &u32| {
            let stripe = self.segment.coder.layout().stripe(*number);
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
        let mut slices: Vec<Option<Bytes>> = vec![None; self.segment.places];
        for index in indexes {
            slices[usize::from(*index)] = self.arrived.remove(&(slice, *index));
        }
        let (coder, outbox) = (self.segment.coder.clone(), self.outbox.clone());
        let (host, wanted) = (self.network.host().clone(), self.reading.leaves.clone());
        let segment = self.segment.number;
        let needed = self.needed(slice);
        tokio::spawn(async move {
            let work = move || decode_group(&coder, segment, slice, &slices, (&wanted, needed));
            let result = host.blocking(work).await;
            outbox.send(Event::Group { slice, result }).ok();
        });
    }

    /// Waits for the next event. Returns the input for the session, if there is one.
    pub(super) async fn next(&mut self) -> Result<Option<Input>, TransferError> {
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

    /// Reports which nodes the next group waits for.
    pub(super) fn report_waiting(&self, first: u32, required: u8, progress: &Progress) {
        if !progress.is_received() {
            return;
        }
        let next = self.delivered.map_or(first, |last| last + 1);
        let asked = self.fetching.keys().filter(|(_, slice)| *slice == next);
        let nodes = asked.map(|(index, _)| self.segment.sources[index].0.id).collect();
        let done = self.arrived.range((next, 0)..=(next, u8::MAX)).count();
        let done = u32::try_from(done).unwrap_or(u32::MAX);
        let (what, of) = (Awaited::Bytes, u32::from(required));
        progress.step(Step::Waiting(Wait { what, nodes, done, of }));
    }

    /// The next group in order, if it is decoded.
    pub(super) fn deliverable(&mut self, first: u32) -> Option<Group> {
        let next = self.delivered.map_or(first, |last| last + 1);
        let group = self.decoded.remove(&next)?;
        self.delivered = Some(next);
        Some(group)
    }
}
