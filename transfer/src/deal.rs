//! Deals on the ledger: their rows, their nodes, and how long they run.

use symbolon_net::PeerAddress;
use symbolon_protocol::{
    LedgerTime,
    content::{FileKey, Scheme, SegmentLayout},
    id::{AccountId, DealId, Hash, NodeId, ObjectId},
    ledger::rows::{Chain, Deal, DealState, Deals, Nodes},
};

use crate::{Network, error::TransferError, nodes::address};

/// The time at which an epoch began or will begin, computed from the length of epochs. It is an
/// estimate, because the ledger may have stood still in between.
#[must_use]
pub fn epoch_ms(chain: &Chain, epoch: u64) -> LedgerTime {
    let length = chain.params.epoch_ms;
    let now = chain.epoch_started();
    match epoch.checked_sub(chain.epoch) {
        Some(ahead) => now.saturating_add(length.saturating_mul(ahead)),
        None => now.saturating_sub(length.saturating_mul(chain.epoch - epoch)),
    }
}

/// Whether the nodes of a deal must keep its shards.
#[must_use]
pub fn runs(deal: &Deal) -> bool {
    deal.state == DealState::Open
}

/// Whether a deal of its owner keeps this segment of an object. It may be one from an upload that was cut off long ago
/// and has ended.
#[must_use]
pub fn keeps(deal: &Deal, object: &ObjectId, layout: &SegmentLayout) -> bool {
    let same = deal.object == *object
        && deal.segment == layout.segment
        && deal.required == layout.required
        && deal.shards.len() == usize::from(layout.total)
        && deal.length == layout.shard_length;
    // As it was opened: what is lost since then is for repair.
    let kept = deal.shards.iter().flatten().count();
    let scheme = Scheme { required: layout.required, total: layout.total };
    runs(deal) && same && kept >= usize::from(scheme.enough())
}

impl Network {
    /// A deal's row.
    pub async fn deal(&self, deal: &DealId) -> Result<Option<Deal>, TransferError> {
        Ok(self.ledger().row(Deals, deal).await?)
    }

    /// The deals of the first `segments` segments of an owner's file, in their order. They must all be on the ledger.
    pub async fn deals_of(
        &self,
        owner: &AccountId,
        key: &FileKey,
        segments: u32,
    ) -> Result<Vec<(DealId, Deal)>, TransferError> {
        let ids: Vec<_> = (0..segments).map(|segment| key.deal(owner, segment)).collect();
        let rows = self.rows_of(Deals, &ids).await?;
        let deals = (0..).zip(ids).zip(rows);
        let found = deals.map(|((segment, deal), row)| {
            let row = row.ok_or(TransferError::DealGone { segment, deal })?;
            Ok((deal, row))
        });
        found.collect()
    }

    /// A deal's row, which may be a moment old. It suffices for reading, where every byte is
    /// checked against the deal's roots.
    pub async fn deal_lately(&self, deal: &DealId) -> Result<Option<Deal>, TransferError> {
        Ok(self.ledger().row_lately(Deals, deal).await?)
    }

    /// The addresses of nodes, in the order of the ids. `None` for a node that is not on the
    /// ledger.
    pub async fn places(
        &self,
        nodes: &[NodeId],
    ) -> Result<Vec<Option<PeerAddress>>, TransferError> {
        let mut places = Vec::with_capacity(nodes.len());
        for node in nodes {
            places.push(self.peers().connected(*node).await);
        }
        let open = nodes.iter().zip(&places);
        let unknown: Vec<_> = open.filter(|(_, at)| at.is_none()).map(|(node, _)| *node).collect();
        let mut rows = self.ledger().rows_lately(Nodes, &unknown).await?.into_iter();
        for (node, at) in nodes.iter().zip(&mut places).filter(|(_, at)| at.is_none()) {
            *at = rows.next().flatten().map(|row| address(*node, &row));
        }
        Ok(places)
    }

    /// The shards of a deal with the addresses of their nodes and their roots. Asks the ledger only
    /// for nodes without an open connection. Leaves out nodes without an address on the ledger.
    pub async fn deal_nodes(
        &self,
        deal: &Deal,
    ) -> Result<Vec<(u8, PeerAddress, Hash)>, TransferError> {
        let kept = deal.kept().map(|(index, shard)| (index, shard.node, shard.root));
        let kept: Vec<(u8, NodeId, Hash)> = kept.collect();
        let ids: Vec<NodeId> = kept.iter().map(|(_, node, _)| *node).collect();
        let places = self.places(&ids).await?.into_iter();
        let found = kept.into_iter().zip(places);
        Ok(found.filter_map(|((index, _, root), at)| Some((index, at?, root))).collect())
    }

    /// Replaces the error of a segment that cannot be read with [`TransferError::DealOver`], if the
    /// segment's deal has ended. Then its nodes have deleted it and are not only unreachable.
    pub(crate) async fn over_or(&self, error: TransferError, deal: DealId) -> TransferError {
        let TransferError::NotEnoughShards { segment, .. } = &error else { return error };
        let segment = *segment;
        let asked = tokio::join!(self.deal(&deal), self.chain_row());
        match asked {
            (Ok(Some(deal)), Ok(chain)) if !runs(&deal) => {
                TransferError::DealOver { segment, since_ms: epoch_ms(&chain, deal.end) }
            }
            _ => error,
        }
    }
}
