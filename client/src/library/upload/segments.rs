//! The segments of one put, one after the other: the client pays for each while it sends the next one.

use std::{collections::BTreeSet, pin::pin};

use symbolon_protocol::{Amount, content::Layout, id::NodeId};
use symbolon_transfer::{
    TransferError,
    upload::{Fed, Paid, Placed},
};

use super::{Job, Request, invalid, leaves::Leaves};
use crate::{
    error::ClientError,
    library::{Library, source::Opened},
    progress::Progress,
};

/// The sum of all segments.
pub(super) struct Stored {
    pub(super) layout: Layout,
    pub(super) segments: u32,
    pub(super) shards: u32,
    pub(super) nodes: BTreeSet<NodeId>,
    pub(super) cost: Amount,
    /// The first epoch that is not paid for all of them.
    pub(super) end: u64,
    pub(super) leaves: Leaves,
}

/// The sum of the segments that are paid for.
struct Sum {
    leaves: Leaves,
    shards: u32,
    nodes: BTreeSet<NodeId>,
    cost: Amount,
    end: u64,
    cost_max: Option<Amount>,
    paid: Paid,
}

impl Sum {
    fn new(cost_max: Option<Amount>, leaves: Leaves, paid: Paid) -> Self {
        let (nodes, cost) = (BTreeSet::new(), Amount::ZERO);
        Self { leaves, shards: 0, nodes, cost, end: u64::MAX, cost_max, paid }
    }

    /// The limit for the next segment. Payments of an earlier put do not count.
    fn left(&self) -> Option<Amount> {
        self.paid.left(self.cost_max)
    }

    fn add(&mut self, placed: &Placed) {
        self.cost = self.cost.checked_add(placed.cost).unwrap_or(self.cost);
        self.shards += u32::try_from(placed.nodes.len()).expect("at most 128 shards");
        self.nodes.extend(&placed.nodes);
        self.end = self.end.min(placed.end);
    }
}

impl Library {
    /// Sends the segments one after the other. While it encodes and sends the next one, the nodes sync the one before,
    /// and its deal is opened. The segments of a stream share one spool, so they cannot overlap.
    pub(super) async fn segments(
        &self,
        job: &Job,
        mut opened: Opened,
        request: &Request<'_>,
        progress: &Progress,
    ) -> Result<Stored, ClientError> {
        let scheme = job.entry.scheme;
        let mut sum =
            Sum::new(request.options.cost_max, job.leaves.clone(), job.storing.paid.clone());
        let named = |error| job.name_error(error);
        let mut length = 0;
        let layout_of = |length| Layout::new(scheme, length).map_err(invalid);
        let mut layout = opened.length().map(layout_of).transpose()?;
        let mut before: Option<Fed<'_>> = None;
        for segment in 0.. {
            if opened.is_stream()
                && let Some(fed) = before.take()
            {
                sum.add(&fed.settle(sum.left()).await.map_err(named)?);
            }
            // A stream's length is not known before its end. Until then its segments have the sizes of an endless file.
            let full = Layout::full_segment(scheme, segment).map_err(invalid)?;
            let (start, capacity) = (full.plain_start, full.plain_length);
            let (bytes, last) = opened.segment(self.host(), start, capacity).await?;
            length += bytes.length();
            if last && layout.is_none() {
                layout = Some(layout_of(length)?);
            }
            let here = match &layout {
                Some(layout) => layout.segment(segment).map_err(invalid)?,
                None => full,
            };
            let feeding = self.network().feed_segment(&job.storing, here, &bytes, progress);
            let feeding = request.one_at_a_time(feeding);
            let fed = match before.take() {
                None => feeding.await.map_err(named)?,
                Some(fed) => {
                    let settling = fed.settle(sum.left());
                    let (placed, next) = both(settling, feeding).await.map_err(named)?;
                    sum.add(&placed);
                    next
                }
            };
            // No more of the segment is read unless a node fails. Those bytes are then compared with the sealed ones.
            opened.check_unchanged()?;
            if last {
                sum.add(&fed.settle(sum.left()).await.map_err(named)?);
                let layout = layout_of(length)?;
                assert_eq!(layout.segments(), segment + 1, "padding never adds a segment");
                let Sum { leaves, shards, nodes, cost, end, .. } = sum;
                let finished = leaves.clone();
                let finish = move || finished.finish(layout.cells());
                self.host().blocking(finish).await?;
                let segments = segment + 1;
                return Ok(Stored { layout, segments, shards, nodes, cost, end, leaves });
            }
            before = Some(fed);
        }
        unreachable!("a source ends before its segments run out of numbers")
    }
}

impl Request<'_> {
    /// Sends a segment when no other upload of the same turn does.
    async fn one_at_a_time<T>(&self, feeding: impl Future<Output = T>) -> T {
        let _turn = match &self.turn {
            Some(turn) => turn.acquire().await.ok(),
            None => None,
        };
        feeding.await
    }
}

impl Job {
    /// Puts the upload's name into the error of a segment.
    fn name_error(&self, error: TransferError) -> ClientError {
        let name = &self.entry.name;
        match error {
            TransferError::Lapsed { .. } => ClientError::UploadLapsed { name: name.clone() },
            TransferError::SourceChanged { path } => {
                ClientError::SourceChanged { path: path.unwrap_or_else(|| name.into()) }
            }
            error => error.into(),
        }
    }
}

/// Pays for one segment while the next one is fed. If feeding fails, it still waits for the payment, so that code that
/// ends the upload then finds the deal.
async fn both<T, U>(
    settling: impl Future<Output = Result<T, TransferError>>,
    feeding: impl Future<Output = Result<U, TransferError>>,
) -> Result<(T, U), TransferError> {
    let (mut settling, mut feeding) = (pin!(settling), pin!(feeding));
    tokio::select! {
        biased;
        settled = &mut settling => Ok((settled?, feeding.await?)),
        fed = &mut feeding => match fed {
            Ok(fed) => Ok((settling.await?, fed)),
            Err(error) => {
                // The ledger knows the result.
                settling.await.ok();
                Err(error)
            }
        },
    }
}
