//! One cell on its way: from one node, and when that does not do, from as many as give it back.

use std::{collections::VecDeque, sync::atomic::Ordering};

use symbolon_protocol::{id::NodeId, session::NodeFault};
use tokio::task::JoinSet;

use super::cells::{Cells, Place};
use crate::{error::TransferError, segment::Segment};

/// How long a node has to send a cell, in milliseconds.
const PATIENCE_MS: u64 = 10_000;

/// What a node sent, or did instead, and how long that took.
struct Answer {
    index: u8,
    result: Result<Vec<u8>, NodeFault>,
    took_ms: u64,
}

/// One cell on its way, from one node or from several.
pub(super) struct Race<'a> {
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
    pub(super) fn new(cells: &'a Cells, segment: &'a Segment, place: Place) -> Self {
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
    pub(super) async fn run(mut self) -> Result<Vec<u8>, TransferError> {
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
                let cells = self.cells;
                let deal = self.segment.deal;
                return Err(cells.network.over_or(self.short(), deal).await);
            }
            let patience_ms = self.cells.network.host().ticks_ms() + self.cells.hedge_ms();
            let answer = tokio::select! {
                biased;
                answer = self.asks.join_next() => answer,
                () = self.cells.network.host().sleep_until_tick(patience_ms) => None,
            };
            match answer {
                // Somebody takes long: one more is asked, or as many as give the cell back.
                None if !alone => drop(self.ask_next()),
                None => alone = false,
                Some(Ok(answer)) => alone &= self.take(answer),
                Some(Err(error)) => {
                    return Err(TransferError::Internal(format!("a reading task died: {error}")));
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
        let shard = self.segment.shard(index, &self.cells.reading);
        self.cells.node_requests.fetch_add(1, Ordering::Relaxed);
        let (network, cell) = (self.cells.network.clone(), self.place.stripe.stripe);
        self.asks.spawn(async move {
            let host = network.host();
            let asked_ms = host.ticks_ms();
            let result = tokio::select! {
                biased;
                read = shard.cell(&network, cell) => read,
                () = host.sleep_until_tick(asked_ms + PATIENCE_MS) => Err(NodeFault::Slow),
            };
            Answer { index, result, took_ms: host.ticks_ms().saturating_sub(asked_ms) }
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

    fn decode(mut self) -> Result<Vec<u8>, TransferError> {
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
        opened.map_err(|error| TransferError::Corrupt { segment, why: error.into() })?;
        Ok(plain)
    }

    fn short(self) -> TransferError {
        TransferError::NotEnoughShards {
            segment: self.place.segment,
            usable: u8::try_from(self.there()).unwrap_or(u8::MAX),
            required: self.segment.coder.layout().required,
            faults: self.faults,
        }
    }
}
