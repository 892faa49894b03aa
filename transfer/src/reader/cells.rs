//! The data cells of one object, each opened on its own, and what they share.
//!
//! What was learnt is kept: a segment's deal and nodes are asked of the ledger once, and what one cell has shown of the
//! nodes, the next ones know.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use symbolon_protocol::{
    content::{Layout, StripeLayout},
    id::NodeId,
    session::{NodeFault, standing::Standing},
};
use tokio::sync::OnceCell;

use super::{ReadFault, one::OneCell};
use crate::{
    Network,
    error::TransferError,
    lock,
    progress::{Progress, Step},
    reading::Reading,
    segment::Segment,
};

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

/// The data cells of one file.
pub(super) struct Cells {
    pub(super) network: Network,
    pub(super) reading: Reading,
    layout: Layout,
    progress: Progress,
    segments: Mutex<BTreeMap<u32, Arc<OnceCell<Segment>>>>,
    pub(super) standing: Mutex<Standing>,
    faults: Mutex<Vec<ReadFault>>,
    node_requests: AtomicU64,
    ledger_requests: AtomicU64,
    /// Whether the file's last cell was opened, which is sealed together with the file's length.
    ended: AtomicBool,
}

/// Where a data cell lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) stripe: StripeLayout,
    pub(super) shard: u8,
    /// Where its first byte is in the file.
    pub(super) start: u64,
}

impl Cells {
    pub(super) fn new(
        network: &Network,
        reading: Reading,
        layout: Layout,
        progress: &Progress,
    ) -> Self {
        Self {
            network: network.clone(),
            reading,
            layout,
            progress: progress.clone(),
            segments: Mutex::default(),
            standing: Mutex::default(),
            faults: Mutex::default(),
            node_requests: AtomicU64::new(0),
            ledger_requests: AtomicU64::new(0),
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
    pub(super) async fn plain(&self, number: u64) -> Result<Bytes, TransferError> {
        let outside = || TransferError::Internal(format!("the file has no cell {number}"));
        let place = self.place(number).ok_or_else(outside)?;
        let slot = {
            let mut segments = lock(&self.segments);
            if segments.len() >= SEGMENTS_MAX && !segments.contains_key(&place.segment) {
                segments.clear();
            }
            segments.entry(place.segment).or_default().clone()
        };
        let segment = slot.get_or_try_init(|| self.segment(place.segment)).await?;
        let mut plain = OneCell::new(self, segment, place).read().await?;
        if number == self.last() {
            self.ended.store(true, Ordering::Relaxed);
        }
        let left = self.length().saturating_sub(place.start);
        plain.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        Ok(Bytes::from(plain))
    }

    async fn segment(&self, number: u32) -> Result<Segment, TransferError> {
        let asks = || {
            self.ledger_requests.fetch_add(1, Ordering::Relaxed);
        };
        self.network.open_segment(&self.reading, number, asks).await
    }

    pub(super) fn count_request(&self) {
        self.node_requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_fault(&self, node: NodeId, index: u8, fault: NodeFault) {
        let heard = ReadFault { node, index, fault };
        let mut faults = lock(&self.faults);
        if !faults.contains(&heard) {
            faults.push(heard);
            drop(faults);
            self.progress.step(Step::Fault { node, index, fault });
        }
    }
}
