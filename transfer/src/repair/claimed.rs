//! The repair of a caretaker: it has no file key, and the masks of the shards of its claim alone.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use bytes::Bytes;
use symbolon_net::PeerAddress;
use symbolon_protocol::{
    content::{
        ContentError, Rebuilder, Scheme, SegmentLayout,
        mask::{IndexKeys, Mask},
    },
    id::{DealId, Hash, NodeId},
    ledger::{
        rows::{Care, Claim, Deal},
        transaction::{Acceptance, DealTerms},
    },
    limits::CELL_BYTES,
    session::NodeFault,
    wire::storage::Authority,
};
use tokio::task::JoinSet;

use super::Lanes;
use crate::{
    Network,
    error::TransferError,
    place::OtherNodes,
    shard::{SLICE_STRIPES, ShardAt},
};

/// A claim on the ledger, and what its claimant needs to rebuild the shards.
#[derive(Debug)]
pub struct Claimed {
    /// The deal.
    pub deal: DealId,
    /// Its row.
    pub row: Deal,
    /// Its care.
    pub care: Care,
    /// The claim.
    pub claim: Claim,
    /// The keys of the masks of the shards that are read and rebuilt.
    pub keys: IndexKeys,
    /// The longest term that the ledger allows, in epochs.
    pub epochs_max: u64,
}

/// One group of stripes of the shards that are read, by index.
type Slices = BTreeMap<u8, Bytes>;

impl Network {
    /// Rebuilds the shards of a claim, and sends them to others of the nodes. Gives the terms and the acceptances of the nodes that have
    /// theirs.
    pub async fn rebuild_claimed(
        &self,
        claimed: &Claimed,
        mut others: OtherNodes,
    ) -> Result<(DealTerms, Vec<Acceptance>), TransferError> {
        let terms = claimed.terms();
        let sources = Arc::new(self.sources(claimed).await?);
        let mut lost = claimed.claim.rebuild.clone();
        let mut accepted: Vec<Acceptance> = Vec::new();
        while !lost.is_empty() && 0 < others.left() {
            let pairs: Vec<_> = lost.iter().copied().zip(others.next(lost.len())).collect();
            let mut lanes = self.open_lanes(&terms, pairs, &Authority::Claim).await?;
            self.feed_claimed(claimed, &sources, &mut lanes).await?;
            for acceptance in lanes.close(&claimed.row).await? {
                lost.retain(|index| *index != acceptance.index);
                others.took(&acceptance.node);
                accepted.push(acceptance);
            }
        }
        Ok((terms, accepted))
    }

    /// The shards that the claim reads, at their nodes.
    async fn sources(&self, claimed: &Claimed) -> Result<Vec<ShardAt>, TransferError> {
        let Claimed { deal, row, claim, .. } = claimed;
        let kept = self.deal_nodes(row).await?;
        let source = |(index, address, root): (u8, PeerAddress, Hash)| {
            let (deal, length) = (*deal, row.length);
            claim.read.contains(&index).then_some(ShardAt {
                address,
                deal,
                index,
                root,
                length,
                grant: None,
            })
        };
        let sources: Vec<_> = kept.into_iter().filter_map(source).collect();
        match sources.len() == usize::from(row.required) {
            true => Ok(sources),
            false => Err(claimed.unreadable(sources.len(), Vec::new())),
        }
    }

    async fn feed_claimed(
        &self,
        claimed: &Claimed,
        sources: &Arc<Vec<ShardAt>>,
        lanes: &mut Lanes,
    ) -> Result<(), TransferError> {
        let Claimed { row, keys, .. } = claimed;
        let total = u8::try_from(row.shards.len()).expect("a deal has at most 128 shards");
        let scheme = Scheme { required: row.required, total };
        let layout = SegmentLayout::from_shard(scheme, row.segment, row.length)?;
        let rebuilder = Arc::new(Rebuilder::with(Mask::of(keys.clone()), layout));
        let wanted: Vec<u8> = lanes.open.iter().map(|lane| lane.index).collect();
        // Where bandwidth is bounded, a slice of each shard may take longer than the new nodes wait for the next bytes.
        let step = if self.is_bounded() { 1 } else { SLICE_STRIPES };
        let groups = layout.stripes.div_ceil(step);
        let stripes_of = |group: u32| group * step..((group + 1) * step).min(layout.stripes);
        let mut next = Some(self.group(claimed, sources, stripes_of(0)).await?);
        for group in 0..groups {
            let slices = next.take().expect("it was read before");
            let (rebuilder, wanted) = (rebuilder.clone(), wanted.clone());
            let segment = row.segment;
            let stripes = stripes_of(group);
            let computing = self.host().blocking(move || {
                wanted
                    .into_iter()
                    .map(|index| Ok((index, rebuilt(&rebuilder, &slices, stripes.clone(), index)?)))
                    .collect::<Result<BTreeMap<_, _>, ContentError>>()
            });
            // The next group travels while this one is computed and sent.
            let reading = async {
                match group + 1 < groups {
                    true => self.group(claimed, sources, stripes_of(group + 1)).await.map(Some),
                    false => Ok(None),
                }
            };
            let sending = async {
                let bytes = computing.await;
                let bytes =
                    bytes.map_err(|why| TransferError::Corrupt { segment, why: why.into() })?;
                lanes.feed(bytes).await;
                Ok::<_, TransferError>(())
            };
            let (sent, read) = tokio::join!(sending, reading);
            sent?;
            next = read?;
        }
        Ok(())
    }

    /// These stripes of every shard that is read: a slice, or one cell of it.
    async fn group(
        &self,
        claimed: &Claimed,
        sources: &Arc<Vec<ShardAt>>,
        stripes: Range<u32>,
    ) -> Result<Slices, TransferError> {
        let mut reads = JoinSet::new();
        for source in sources.iter() {
            let (network, source, stripes) = (self.clone(), source.clone(), stripes.clone());
            reads.spawn(async move {
                let (index, node) = (source.index, source.address.id);
                let read = match stripes.len() {
                    1 => source.cell(&network, stripes.start).await.map(Bytes::from),
                    _ => source.slice(&network, stripes.start / SLICE_STRIPES).await,
                };
                (index, node, read)
            });
        }
        let (mut slices, mut faults) = (Slices::new(), Vec::new());
        while let Some(read) = reads.join_next().await {
            let read = read.map_err(|error| TransferError::Internal(error.to_string()))?;
            match read {
                (index, _, Ok(bytes)) => drop(slices.insert(index, bytes)),
                (_, node, Err(fault)) => faults.push((node, fault)),
            }
        }
        match faults.is_empty() {
            true => Ok(slices),
            false => Err(claimed.unreadable(slices.len(), faults)),
        }
    }
}

/// The bytes of one shard in these stripes.
fn rebuilt(
    rebuilder: &Rebuilder,
    slices: &Slices,
    stripes: Range<u32>,
    wanted: u8,
) -> Result<Bytes, ContentError> {
    let layout = *rebuilder.layout();
    let first = stripes.start;
    let mut out = Vec::new();
    for number in stripes {
        let stripe = layout.stripe(number).expect("one of the segment's");
        let from = (number - first) as usize * CELL_BYTES;
        let cells: Vec<Option<&[u8]>> = (0..layout.total)
            .map(|index| slices.get(&index)?.get(from..from + stripe.cell_bytes))
            .collect();
        let at = out.len();
        out.resize(at + stripe.cell_bytes, 0);
        rebuilder.rebuild(number, &cells, wanted, &mut out[at..])?;
    }
    Ok(out.into())
}

impl Claimed {
    /// The terms under which nodes accept the rebuilt shards. They are the same in every epoch, so a node that has a shard
    /// from an attempt before knows it again.
    fn terms(&self) -> DealTerms {
        let Deal { owner, object, segment, required, length, access, start, end, .. } = self.row;
        DealTerms {
            owner,
            opening: self.care.opening,
            object,
            segment,
            required,
            total: u8::try_from(self.row.shards.len()).expect("a deal has at most 128 shards"),
            length,
            access,
            epochs: end.saturating_sub(start).clamp(1, self.epochs_max),
        }
    }

    fn unreadable(&self, usable: usize, faults: Vec<(NodeId, NodeFault)>) -> TransferError {
        let (segment, required) = (self.row.segment, self.row.required);
        let usable = u8::try_from(usable).expect("at most as many as are required");
        TransferError::NotEnoughShards { segment, usable, required, faults }
    }
}
