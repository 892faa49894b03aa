//! Encodes a segment once and feeds its shards to the nodes that need them.
//!
//! Stripes are encoded in batches on the blocking pool, a few batches at a time, and forwarded in
//! order. A lane is one shard on its way to one node. It holds a few cells; when it is full, the
//! feeder waits. A lane that makes the feeder wait for too long is dropped, because one slow node
//! must not slow the others down.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use symbolon_net::Host;
use symbolon_protocol::{
    content::{SegmentCoder, SegmentLayout},
    id::Hash,
    proof::{cell_node, root_of_cells},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{bytes::SegmentBytes, sealed::Sealed};
use crate::{
    buffers::Buffers,
    error::TransferError,
    progress::{Progress, Step},
};

/// Data cells of a batch, 64 KiB each: enough to be worth a task, and few enough for memory.
const BATCH_CELLS: u32 = 64;

/// Batches in work at once. They keep two cores busy with one batch ahead.
const BATCHES_AHEAD: usize = 3;

/// Cells that a lane holds: 2 MiB.
pub(crate) const LANE_CELLS: usize = 32;

/// Milliseconds for which a lane may make the others wait in total, on top of a quarter of the time
/// that the segment took so far.
const LANE_BLOCK_MS: u64 = 1_500;

/// Milliseconds between two checks of which lanes wait.
const LANE_LOOK_MS: u64 = 50;

/// One shard on its way to one node.
pub(super) struct Lane {
    pub(super) index: u8,
    /// Whether the node needs the bytes. It may have them already.
    pub(super) wanted: oneshot::Receiver<bool>,
    pub(super) cells: mpsc::Sender<Bytes>,
    pub(super) root: oneshot::Sender<Hash>,
}

/// The result of encoding a segment.
pub(super) struct Encoded {
    /// The root of each shard.
    pub(super) roots: Vec<Hash>,
}

struct Batch {
    stripes: Vec<(Bytes, usize)>,
    chains: Vec<Vec<Hash>>,
    plain_bytes: u64,
}

pub(super) struct Feeder {
    pub(super) host: Host,
    pub(super) coder: Arc<SegmentCoder>,
    pub(super) layout: SegmentLayout,
    pub(super) bytes: SegmentBytes,
    pub(super) buffers: Buffers,
    /// The cells of the segment that were sealed before. A cell that was sealed with other bytes is
    /// not sent.
    pub(super) sealed: Arc<Sealed>,
    /// Gets a step for each encoded batch. It is used when the segment was stored before and
    /// nothing has to be sent.
    pub(super) progress: Progress,
}

struct OpenLane {
    index: usize,
    cells: mpsc::Sender<Bytes>,
    blocked_ms: u64,
}

impl Feeder {
    /// Encodes the segment and feeds the lanes.
    pub(super) async fn run(self, lanes: Vec<Lane>) -> Result<Encoded, TransferError> {
        let mut open = Vec::new();
        let mut roots_wanted = Vec::new();
        for lane in lanes {
            if lane.wanted.await.unwrap_or(false) {
                open.push(OpenLane { index: lane.index.into(), cells: lane.cells, blocked_ms: 0 });
            }
            roots_wanted.push((usize::from(lane.index), lane.root));
        }
        let started_ms = self.host.ticks_ms();
        let mut chains = vec![Vec::new(); usize::from(self.layout.total)];
        let mut ahead = VecDeque::new();
        let mut next = 0;
        loop {
            while next < self.layout.stripes && ahead.len() < BATCHES_AHEAD {
                let count = (BATCH_CELLS / u32::from(self.layout.required)).max(1);
                let end = self.layout.stripes.min(next + count);
                ahead.push_back(self.encode(next, end));
                next = end;
            }
            let Some(batch) = ahead.pop_front() else { break };
            let batch = batch.await.map_err(|error| {
                TransferError::Internal(format!("an encoding task panicked: {error}"))
            })??;
            for (all, new) in chains.iter_mut().zip(batch.chains) {
                all.extend(new);
            }
            for (cells, cell_bytes) in batch.stripes {
                self.forward(&mut open, &cells, cell_bytes, started_ms).await;
            }
            self.progress.step(Step::Kept { bytes: batch.plain_bytes });
        }
        // A lane must see the end of its cells before its root.
        drop(open);
        let roots: Vec<_> = chains.into_iter().map(root_of_cells).collect();
        for (index, root) in roots_wanted {
            // A lane whose task has ended needs no root.
            root.send(roots[index]).ok();
        }
        Ok(Encoded { roots })
    }

    fn encode(&self, first: u32, end: u32) -> JoinHandle<Result<Batch, TransferError>> {
        let (coder, layout, bytes) = (self.coder.clone(), self.layout, self.bytes.clone());
        let (host, buffers) = (self.host.clone(), self.buffers.clone());
        let sealed = self.sealed.clone();
        tokio::spawn(async move {
            let encode = move || {
                let (batch, leaves) =
                    encode_batch(&coder, &layout, &bytes, &buffers, (first, end))?;
                sealed.note(first as usize * usize::from(layout.required), &leaves)?;
                Ok(batch)
            };
            host.blocking(encode).await
        })
    }

    async fn forward(&self, open: &mut Vec<OpenLane>, cells: &Bytes, size: usize, started_ms: u64) {
        let mut at = 0;
        while at < open.len() {
            let index = open[at].index;
            let cell = cells.slice(index * size..(index + 1) * size);
            if self.offer(open, at, cell, started_ms).await {
                at += 1;
            } else {
                open.swap_remove(at);
            }
        }
    }

    /// Hands a cell to a lane. Returns `false` when the lane is closed or too slow.
    ///
    /// Waiting counts against a lane only while most of the other lanes are nearly empty. If all
    /// lanes are slow, the network or this machine is the cause, and no lane is dropped for it.
    async fn offer(&self, open: &mut [OpenLane], at: usize, cell: Bytes, started_ms: u64) -> bool {
        let mut cell = match open[at].cells.try_send(cell) {
            Ok(()) => return true,
            Err(mpsc::error::TrySendError::Closed(_)) => return false,
            Err(mpsc::error::TrySendError::Full(cell)) => cell,
        };
        loop {
            let from_ms = self.host.ticks_ms();
            let lane = &open[at];
            let sent = tokio::select! {
                biased;
                room = lane.cells.reserve() => Some(room.is_ok_and(|room| {
                    room.send(std::mem::take(&mut cell));
                    true
                })),
                () = self.host.sleep_until_tick(from_ms + LANE_LOOK_MS) => None,
            };
            if let Some(sent) = sent {
                return sent;
            }
            let others = open.iter().enumerate().filter(|(other, _)| *other != at);
            let dry = others.filter(|(_, lane)| lane.cells.capacity() > LANE_CELLS / 2).count();
            if 2 * dry >= open.len() {
                let now_ms = self.host.ticks_ms();
                open[at].blocked_ms += now_ms.saturating_sub(from_ms);
                let allowed_ms = LANE_BLOCK_MS + now_ms.saturating_sub(started_ms) / 4;
                if open[at].blocked_ms > allowed_ms {
                    return false;
                }
            }
        }
    }
}

fn encode_batch(
    coder: &SegmentCoder,
    layout: &SegmentLayout,
    bytes: &SegmentBytes,
    buffers: &Buffers,
    (first, end): (u32, u32),
) -> Result<(Batch, Vec<Hash>), TransferError> {
    let total = usize::from(layout.total);
    let mut batch = Batch { stripes: Vec::new(), chains: vec![Vec::new(); total], plain_bytes: 0 };
    let (mut plain, mut leaves) = (Vec::new(), Vec::new());
    for number in first..end {
        let stripe = layout.stripe(number).ok_or_else(out_of_layout)?;
        plain.resize(stripe.capacity(), 0);
        let offset = stripe.plain_start - layout.plain_start;
        let count = bytes.read_at(offset, &mut plain)?;
        let mut cells = buffers.take(stripe.cell_bytes * total);
        coder
            .encode(number, &plain[..count], &mut cells, &mut leaves)
            .map_err(|error| TransferError::Internal(error.to_string()))?;
        for (chain, cell) in batch.chains.iter_mut().zip(cells.chunks_exact(stripe.cell_bytes)) {
            chain.push(cell_node(cell, stripe.shard_offset, layout.shard_length));
        }
        batch.plain_bytes += count as u64;
        batch.stripes.push((cells.share(), stripe.cell_bytes));
    }
    Ok((batch, leaves))
}

fn out_of_layout() -> TransferError {
    TransferError::Internal(String::from("a stripe lies outside its segment"))
}
