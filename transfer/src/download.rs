//! Reads an object: segment by segment, group by group, in order, from the fastest nodes.
//!
//! A group is the same slice of all shards of a segment: 16 stripes. Slices are verified against
//! the root on the ledger before they are used, so a lying node is known. The decoded cells are
//! opened one by one, so a wrong key or a dishonest owner is noticed too.

mod slices;
mod spans;

use std::ops::Range;

use bytes::Bytes;
use symbolon_protocol::{
    content::{ContentError, SegmentCoder, SegmentLayout},
    id::Hash,
    limits::SLICE_BYTES,
    session::{
        NodeFault,
        read::{Input, Output, Read},
        standing::Standing,
    },
};
use tokio::sync::mpsc;

pub use crate::reading::{LeavesWanted, Listed, Reading, is_for_cells};
use crate::{
    Network,
    error::TransferError,
    progress::{Progress, Step},
    shard::SLICE_STRIPES,
};
use slices::Slices;
pub use spans::{Span, clip, spans};

/// Bytes of shards that are requested at once at the beginning: what a fast home connection carries
/// in a second.
const WINDOW_BYTES: usize = 16 * 1024 * 1024;

/// Most bytes of shards in flight: 1 Gbit/s at a round trip of 200 ms.
const WINDOW_BYTES_MAX: usize = 25_000_000;

/// Groups in flight for a scheme: the number at the beginning and the largest number.
fn windows(required: u8) -> (u32, u32) {
    let group = usize::from(required.max(1)) * SLICE_BYTES;
    let groups = |bytes: usize| u32::try_from(bytes.div_ceil(group)).unwrap_or(u32::MAX);
    // Two groups are not in flight: one that is being decoded and one that the caller reads.
    let most = groups(WINDOW_BYTES_MAX) + 2;
    (groups(WINDOW_BYTES).clamp(2, most), most)
}

/// The plain bytes of one group and the content leaves of its cells.
#[derive(Debug)]
pub struct Group {
    /// The segment.
    pub segment: u32,
    /// The first stripe of the group in the segment.
    pub first_stripe: u32,
    /// Its first data cell, counted over the whole file.
    pub first_cell: u64,
    /// The file's bytes without padding.
    pub plain: Vec<u8>,
    /// One leaf per data cell, if leaves were requested.
    pub leaves: Vec<Hash>,
    /// The bytes of this group in shards that are rebuilt.
    pub rebuilt: Vec<(u8, Vec<u8>)>,
}

/// The groups of an object as they arrive. Dropping this stops the reading.
#[derive(Debug)]
pub struct Groups {
    inbox: mpsc::Receiver<Result<Group, TransferError>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Groups {
    /// The next group, in order.
    pub async fn next(&mut self) -> Option<Result<Group, TransferError>> {
        self.inbox.recv().await
    }
}

/// Number of groups of a segment.
#[must_use]
pub fn group_count(layout: &SegmentLayout) -> u32 {
    layout.stripes.div_ceil(SLICE_STRIPES)
}

impl Network {
    /// Reads spans one after another.
    pub fn read(
        &self,
        reading: Reading,
        spans: impl Iterator<Item = Span> + Send + 'static,
        progress: &Progress,
    ) -> Groups {
        let (outbox, inbox) = mpsc::channel(1);
        let (network, progress) = (self.clone(), progress.clone());
        let task = tokio::spawn(async move {
            // The next segments reuse what one segment shows about the nodes.
            let mut standing = Standing::default();
            for span in spans {
                let read = network.read_span(&reading, span, &mut standing, &outbox, &progress);
                if let Err(error) = read.await {
                    let error = network.over_or(error, reading.deal(span.segment)).await;
                    // The reader may have gone. Then it needs no error.
                    outbox.send(Err(error)).await.ok();
                    return;
                }
            }
        });
        Groups { inbox, task }
    }

    async fn read_span(
        &self,
        reading: &Reading,
        span: Span,
        standing: &mut Standing,
        outbox: &mpsc::Sender<Result<Group, TransferError>>,
        progress: &Progress,
    ) -> Result<(), TransferError> {
        let segment = span.segment;
        let opened = self.open_segment(reading, segment, || {}).await?;
        let required = opened.coder.layout().required;
        let mut slices = Slices::new(self, opened, reading);
        let shards = slices.connectable();
        let (window, most) = windows(required);
        let session = Read::groups(required, shards, (span.first, span.end), window);
        let mut session = session.growing_to(most);
        session.handle(standing, self.host().ticks_ms(), Input::Start);
        loop {
            while let Some(output) = session.poll() {
                match output {
                    Output::Fetch { index, slice, .. } => slices.fetch(index, slice),
                    Output::Cancel { index, slice } => slices.cancel(index, slice),
                    Output::Ready { slice, indexes } => slices.decode(slice, &indexes),
                    Output::Complete => {
                        report_faults(&session, progress);
                        return Ok(());
                    }
                    Output::Short { usable, required, faults } => {
                        let faults = faults.into_iter().map(|(_, node, fault)| (node, fault));
                        let faults = faults.chain(slices.absent().iter().copied()).collect();
                        return Err(TransferError::NotEnoughShards {
                            segment,
                            usable,
                            required,
                            faults,
                        });
                    }
                }
            }
            slices.report_waiting(span.first, required, progress);
            let input = tokio::select! {
                biased;
                event = slices.next() => event?,
                () = self.sleep_until(session.deadline()) => Some(Input::Tick),
            };
            if let Some(input) = input {
                session.handle(standing, self.host().ticks_ms(), input);
            }
            while let Some(group) = slices.deliverable(span.first) {
                let slice = group.first_stripe / SLICE_STRIPES;
                if outbox.send(Ok(group)).await.is_err() {
                    return Ok(());
                }
                let now_ms = self.host().ticks_ms();
                session.handle(standing, now_ms, Input::Consumed { slice });
            }
        }
    }
}

fn report_faults(session: &Read, progress: &Progress) {
    for (index, node, fault) in session.faults() {
        let name = node.to_string();
        progress.step(Step::Fault { node, index, fault });
        if fault == NodeFault::Corrupt {
            progress.note(format!("node {} sent corrupt bytes of shard {index}", &name[..8]));
        }
    }
}

/// Decodes the stripes of a group.
fn decode_group(
    coder: &SegmentCoder,
    segment: u32,
    slice: u32,
    slices: &[Option<Bytes>],
    (wanted, needed): (&LeavesWanted, Range<u32>),
) -> Result<Group, TransferError> {
    let layout = *coder.layout();
    let first_stripe = slice * SLICE_STRIPES;
    let end = layout.stripes.min(first_stripe + SLICE_STRIPES);
    let corrupt = |error: ContentError| TransferError::Corrupt { segment, why: error.into() };
    let outside = || TransferError::Internal(String::from("a stripe lies outside its segment"));
    let (plain, leaves, rebuilt) = (Vec::new(), Vec::new(), Vec::new());
    let first = layout.stripe(first_stripe).ok_or_else(outside)?;
    let (first_cell, start) = (first.first_cell, first.shard_offset);
    let mut group = Group { segment, first_stripe, first_cell, plain, leaves, rebuilt };
    if let LeavesWanted::Rebuilt(shards) = wanted {
        let wanted = (0..layout.total).filter(|index| shards >> index & 1 == 1);
        group.rebuilt = wanted.map(|index| (index, Vec::new())).collect();
    }
    for number in first_stripe..end {
        let stripe = layout.stripe(number).ok_or_else(outside)?;
        if !needed.contains(&number) {
            group.plain.resize(group.plain.len() + stripe.plain_length, 0);
            continue;
        }
        let from = usize::try_from(stripe.shard_offset - start).map_err(|_| outside())?;
        let range = from..from + stripe.cell_bytes;
        let cells: Vec<Option<&[u8]>> = slices
            .iter()
            .map(|slice| slice.as_ref().and_then(|slice| slice.get(range.clone())))
            .collect();
        for (index, bytes) in &mut group.rebuilt {
            // A shard that only moves may be among those that were read.
            if let Some(cell) = cells[usize::from(*index)] {
                bytes.extend_from_slice(cell);
                continue;
            }
            let filled = bytes.len();
            bytes.resize(filled + stripe.cell_bytes, 0);
            coder.rebuild(number, &cells, *index, &mut bytes[filled..]).map_err(corrupt)?;
        }
        if matches!(wanted, LeavesWanted::Rebuilt(_)) {
            continue;
        }
        let filled = group.plain.len();
        group.plain.resize(filled + stripe.capacity(), 0);
        let out = &mut group.plain[filled..];
        match wanted {
            LeavesWanted::No | LeavesWanted::Rebuilt(_) => coder.decode(number, &cells, out),
            LeavesWanted::Yes | LeavesWanted::Listed(_) => {
                coder.decode_with_leaves(number, &cells, out, &mut group.leaves)
            }
        }
        .map_err(corrupt)?;
        if let LeavesWanted::Listed(listed) = wanted {
            let decoded = group.leaves.len() - usize::from(layout.required);
            let mut leaves = (stripe.first_cell..).zip(&group.leaves[decoded..]);
            leaves.try_for_each(|(cell, leaf)| {
                listed.check(cell, |parts| parts.leaf(cell) == *leaf)
            })?;
        }
        group.plain.truncate(filled + stripe.plain_length);
    }
    Ok(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_of_bytes() {
        assert_eq!(windows(1), (16, 26));
        assert_eq!(windows(4), (4, 8));
        assert_eq!(windows(16), (2, 4));
        assert_eq!(windows(32), (2, 3));
    }
}
