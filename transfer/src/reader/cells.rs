//! The data cells of one object. Each is opened on its own.
//!
//! The cells share what was learnt. A segment's deal and nodes are read from the ledger once. What
//! one cell shows about the nodes helps to read the next ones.

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

/// Segments whose deal and nodes are cached. Each takes some kilobytes.
const SEGMENTS_MAX: usize = 64;

/// The requests of a reader so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCost {
    /// Requests to nodes, each for one cell.
    pub node_requests: u64,
    /// Requests to the ledger.
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
    /// Whether the file's last cell was opened. It is sealed with the file's length, so the length
    /// is right then.
    ended: AtomicBool,
}

/// The place of a data cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) segment: u32,
    pub(super) stripe: StripeLayout,
    pub(super) shard: u8,
    /// The offset of its first byte in the file.
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

    /// The number of the data cell with the byte at `offset`. For a file without bytes it is the
    /// first cell.
    pub(super) fn number_at(&self, offset: u64) -> u64 {
        self.layout.locate(offset).map_or(0, |location| location.cell)
    }

    /// The number of the last data cell of the file, which may hold only padding.
    pub(super) fn last(&self) -> u64 {
        self.layout.cells() - 1
    }

    /// Whether the file's length was checked against its last cell.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// The place of a data cell; `None` if the file has no such cell.
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

    /// The file's bytes in a data cell, without padding.
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
        let new = ReadFault { node, index, fault };
        let mut faults = lock(&self.faults);
        if !faults.contains(&new) {
            faults.push(new);
            drop(faults);
            self.progress.step(Step::Fault { node, index, fault });
        }
    }
}
