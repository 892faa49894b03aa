//! A segment that is open for reading: its decoder, and the places of its shards.

use std::{collections::BTreeMap, sync::Arc};

use symbolon_net::PeerAddress;
use symbolon_protocol::{
    content::{ContentError, SegmentCoder},
    id::{DealId, Hash, NodeId},
    ledger::rows::{Deal, Deals, DealsOf, Table as _},
    session::NodeFault,
    wire::storage::RefusalCode,
};

use crate::{Network, deal::runs, error::TransferError, reading::Reading, shard::ShardAt};

/// Everything that is needed to request and decode a segment's cells.
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) coder: Arc<SegmentCoder>,
    pub(crate) deal: DealId,
    /// Bytes of each shard.
    pub(crate) length: u64,
    /// Number of shards of the deal, including those without a node.
    pub(crate) places: usize,
    /// The nodes' addresses and the roots of the shards.
    pub(crate) sources: BTreeMap<u8, (PeerAddress, Hash)>,
    /// Nodes of the deal that have no address on the ledger, and those that have lost their shard.
    pub(crate) absent: Vec<(NodeId, NodeFault)>,
}

impl Segment {
    /// A shard of the segment at its node.
    pub(crate) fn shard(&self, index: u8, reading: &Reading) -> ShardAt {
        let (address, root) = self.sources[&index].clone();
        let (deal, length, grant) = (self.deal, self.length, reading.grant.clone());
        ShardAt { address, deal, index, root, length, grant }
    }
}

impl Network {
    /// The deal that keeps a segment. Its id follows from the file key. A seller may have shown the ledger another deal for
    /// the same segment of the same object, though, which a buyer's grant opens too.
    pub async fn deal_of(
        &self,
        reading: &Reading,
        segment: u32,
    ) -> Result<(DealId, Deal), TransferError> {
        let id = reading.deal(segment);
        if let Some(deal) = self.deal_lately(&id).await? {
            return Ok((id, deal));
        }
        let gone = TransferError::DealGone { segment, deal: id };
        if reading.grant.as_ref().is_none_or(|grant| grant.sale.is_none()) {
            return Err(gone);
        }
        let layout = reading.manifest.layout()?.segment(segment)?;
        let keys = self.scan_all(DealsOf, &reading.owner.0).await?;
        let ids: Vec<_> = keys.iter().filter_map(|(key, _)| Some(DealsOf::parse(key)?.1)).collect();
        let rows = self.rows_of(Deals, &ids).await?;
        let found = ids.into_iter().zip(rows).filter_map(|(id, row)| Some((id, row?)));
        let fitting = found.filter(|(_, deal)| {
            runs(deal)
                && deal.object == reading.manifest.object
                && deal.segment == segment
                && deal.required == layout.required
                && deal.shards.len() == usize::from(layout.total)
                && deal.length == layout.shard_length
        });
        fitting.max_by_key(|(_, deal)| deal.end).ok_or(gone)
    }

    /// Opens a segment: checks the key, and reads the deal and its nodes from the ledger. Calls
    /// `asks` before each request to the ledger.
    pub(crate) async fn open_segment(
        &self,
        reading: &Reading,
        number: u32,
        asks: impl Fn(),
    ) -> Result<Segment, TransferError> {
        let Reading { manifest, key, .. } = reading;
        let coder = manifest.coder(key, number).map_err(|error| match error {
            ContentError::Key => TransferError::Grant("its key is not the file's key".into()),
            error => TransferError::Corrupt { segment: number, why: error.into() },
        })?;
        asks();
        let (id, deal) = self.deal_of(reading, number).await?;
        if deal.length != coder.layout().shard_length {
            let why = "the deal is for shards of another length".into();
            return Err(TransferError::Corrupt { segment: number, why });
        }
        asks();
        let found = self.deal_nodes(&deal).await?;
        let kept = deal.kept().map(|(_, shard)| shard.node);
        let known = |node: &NodeId| found.iter().any(|(_, address, _)| address.id == *node);
        let absent = kept.filter(|node| !known(node)).map(|node| (node, NodeFault::Offline));
        // A shard without a node is named after the last one that kept it.
        let lost = NodeFault::Refused { code: RefusalCode::NotFound };
        let lost = deal.lost().map(|(_, shard)| (shard.node, lost));
        let absent = absent.chain(lost).collect();
        Ok(Segment {
            number,
            coder: Arc::new(coder),
            deal: id,
            length: deal.length,
            places: deal.shards.len(),
            sources: found.into_iter().map(|(index, at, root)| (index, (at, root))).collect(),
            absent,
        })
    }
}
