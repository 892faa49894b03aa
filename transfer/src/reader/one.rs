//! Reads one cell: carries out the outputs of its session.

use std::collections::BTreeMap;

use symbolon_protocol::session::{
    NodeFault,
    read::{Input, Output, Read},
};
use tokio::task::{AbortHandle, JoinSet};

use super::cells::{Cells, Place};
use crate::{error::TransferError, lock, reading::LeavesWanted, segment::Segment};

/// The bytes that a node sent, or its fault.
struct Answer {
    index: u8,
    result: Result<Vec<u8>, NodeFault>,
}

/// The reading of one cell.
pub(super) struct OneCell<'a> {
    cells: &'a Cells,
    segment: &'a Segment,
    place: Place,
    session: Read,
    asks: JoinSet<Answer>,
    asked: BTreeMap<u8, AbortHandle>,
    arrived: BTreeMap<u8, Vec<u8>>,
}

impl<'a> OneCell<'a> {
    pub(super) fn new(cells: &'a Cells, segment: &'a Segment, place: Place) -> Self {
        let required = segment.coder.layout().required;
        let shards = segment.sources.iter().map(|(index, (address, _))| (*index, address.id));
        Self {
            cells,
            segment,
            place,
            session: Read::cell(required, shards, place.shard, place.stripe.stripe),
            asks: JoinSet::new(),
            asked: BTreeMap::new(),
            arrived: BTreeMap::new(),
        }
    }

    /// The plain bytes of the cell, including padding.
    pub(super) async fn read(mut self) -> Result<Vec<u8>, TransferError> {
        let read = self.run().await;
        for (index, node, fault) in self.session.faults() {
            self.cells.note_fault(node, index, fault);
        }
        read
    }

    async fn run(&mut self) -> Result<Vec<u8>, TransferError> {
        let mut plain = Vec::new();
        self.handle(Input::Start);
        loop {
            while let Some(output) = self.session.poll() {
                match output {
                    Output::Fetch { index, .. } => self.ask(index),
                    Output::Cancel { index, .. } => self.cancel(index),
                    Output::Ready { slice, indexes } => {
                        plain = self.decode(&indexes)?;
                        self.handle(Input::Consumed { slice });
                    }
                    Output::Complete => return Ok(plain),
                    Output::Short { usable, required, faults } => {
                        let faults = faults.into_iter().map(|(_, node, fault)| (node, fault));
                        let faults = faults.chain(self.segment.absent.iter().copied()).collect();
                        let segment = self.segment.number;
                        let short =
                            TransferError::NotEnoughShards { segment, usable, required, faults };
                        return Err(self.cells.network.over_or(short, self.segment.deal).await);
                    }
                }
            }
            let network = &self.cells.network;
            let input = tokio::select! {
                biased;
                Some(joined) = self.asks.join_next() => match joined {
                    Ok(answer) => self.take(answer),
                    // The session cancelled this request.
                    Err(error) if error.is_cancelled() => continue,
                    Err(error) => {
                        let died = format!("a reading task panicked: {error}");
                        return Err(TransferError::Internal(died));
                    }
                },
                () = network.sleep_until(self.session.deadline()) => Input::Tick,
            };
            self.handle(input);
        }
    }

    fn handle(&mut self, input: Input) {
        let now_ms = self.cells.network.host().ticks_ms();
        self.session.handle(&mut lock(&self.cells.standing), now_ms, input);
    }

    fn ask(&mut self, index: u8) {
        let shard = self.segment.shard(index, &self.cells.reading);
        let (network, cell) = (self.cells.network.clone(), self.place.stripe.stripe);
        self.cells.count_request();
        let asked = self.asks.spawn(async move {
            let result = shard.cell(&network, cell).await;
            Answer { index, result }
        });
        self.asked.insert(index, asked);
    }

    fn cancel(&mut self, index: u8) {
        if let Some(asked) = self.asked.remove(&index) {
            asked.abort();
        }
    }

    fn take(&mut self, answer: Answer) -> Input {
        let (index, slice) = (answer.index, self.place.stripe.stripe);
        match answer.result {
            Ok(cell) => {
                self.arrived.insert(index, cell);
                Input::Arrived { index, slice }
            }
            Err(fault) => Input::Failed { index, slice, fault },
        }
    }

    fn decode(&self, indexes: &[u8]) -> Result<Vec<u8>, TransferError> {
        let mut have = vec![None; usize::from(self.segment.coder.layout().total)];
        for index in indexes {
            have[usize::from(*index)] = self.arrived.get(index).map(Vec::as_slice);
        }
        let mut plain = vec![0; self.place.stripe.plain_bytes];
        let (stripe, shard) = (self.place.stripe.stripe, self.place.shard);
        let opened = self.segment.coder.decode_cell(stripe, shard, &have, &mut plain);
        let segment = self.place.segment;
        opened.map_err(|error| TransferError::Corrupt { segment, why: error.into() })?;
        if let LeavesWanted::Listed(listed) = &self.cells.reading.leaves {
            let hash = self.segment.coder.plain_hash(stripe, shard, &plain);
            let hash =
                hash.map_err(|error| TransferError::Corrupt { segment, why: error.into() })?;
            let cell = self.place.stripe.first_cell + u64::from(shard);
            listed.check(cell, |parts| parts.plain == hash)?;
        }
        Ok(plain)
    }
}
