//! One shard at one node. Its slices and cells are verified before they are returned.

use std::ops::Range;

use bytes::Bytes;
use symbolon_net::PeerAddress;
use symbolon_protocol::{
    grant::Grant,
    id::{DealId, Hash},
    limits::{CELL_BYTES, SLICE_BYTES},
    proof,
    session::NodeFault,
    wire::storage::{Request, Response, SliceHead},
};

use crate::{
    Network,
    buffers::Buffer,
    peers::{PeerError, response},
};

/// Stripes of a group, which is the number of cells in a slice.
pub const SLICE_STRIPES: u32 = 16;

const _: () = assert!(SLICE_BYTES == SLICE_STRIPES as usize * CELL_BYTES);

/// One shard at one node, and the root to verify its slices against.
#[derive(Clone, Debug)]
pub struct ShardAt {
    /// The node.
    pub address: PeerAddress,
    /// The deal of the shard.
    pub deal: DealId,
    /// The index of the shard in its segment.
    pub index: u8,
    /// The root of the shard.
    pub root: Hash,
    /// Bytes of the shard.
    pub length: u64,
    /// The grant to read it with. Public shards need none.
    pub grant: Option<Grant>,
}

impl ShardAt {
    /// Reads one slice and verifies it.
    pub async fn slice(self, network: &Network, slice: u32) -> Result<Bytes, NodeFault> {
        let request = Request::Read {
            deal: self.deal,
            index: self.index,
            first: slice,
            count: 1,
            grant: self.grant.clone(),
        };
        let start = u64::from(slice) * SLICE_BYTES as u64;
        let expected = self.length.saturating_sub(start).min(SLICE_BYTES as u64);
        let answer = self.exchange(network, &request, expected).await;
        let (head, bytes) = answer.map_err(|error| error.fault())?;
        let (root, length) = (self.root, self.length);
        let verified = network.host().blocking(move || {
            proof::verify_slice(&root, length, u64::from(slice), &bytes, &head.path).map(|()| bytes)
        });
        verified.await.map(Buffer::share).map_err(|_| NodeFault::Corrupt)
    }

    /// Reads some cells of a slice and verifies them. The rest of the slice is zeros.
    pub(crate) async fn cells(
        self,
        network: &Network,
        slice: u32,
        stripes: Range<u32>,
    ) -> Result<Bytes, NodeFault> {
        let start = u64::from(slice) * SLICE_BYTES as u64;
        let length = self.length.saturating_sub(start).min(SLICE_BYTES as u64);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(SLICE_BYTES)];
        for stripe in stripes {
            let cell = self.cell(network, stripe).await?;
            let from = (stripe % SLICE_STRIPES) as usize * CELL_BYTES;
            let place = bytes.get_mut(from..from + cell.len()).ok_or(NodeFault::Corrupt)?;
            place.copy_from_slice(&cell);
        }
        Ok(Bytes::from(bytes))
    }

    /// Reads one cell, which is one stripe's part of the shard, and verifies it.
    pub async fn cell(&self, network: &Network, cell: u32) -> Result<Vec<u8>, NodeFault> {
        self.cell_and_path(network, cell).await.map(|(bytes, _)| bytes)
    }

    /// Reads one cell and its path to the root of the shard, and verifies it by that. Both together prove to anyone what
    /// the node keeps.
    pub async fn cell_and_path(
        &self,
        network: &Network,
        cell: u32,
    ) -> Result<(Vec<u8>, Vec<Hash>), NodeFault> {
        let (deal, index, grant) = (self.deal, self.index, self.grant.clone());
        let request = Request::ReadCell { deal, index, cell, grant };
        let start = u64::from(cell) * CELL_BYTES as u64;
        let expected = self.length.saturating_sub(start).min(CELL_BYTES as u64);
        let answer = self.exchange(network, &request, expected).await;
        let (head, bytes) = answer.map_err(|error| error.fault())?;
        proof::verify_cell(&self.root, self.length, u64::from(cell), &bytes, &head.path)
            .map_err(|_| NodeFault::Corrupt)?;
        Ok((bytes.to_vec(), head.path))
    }

    /// Requests one piece of `expected` bytes.
    async fn exchange(
        &self,
        network: &Network,
        request: &Request,
        expected: u64,
    ) -> Result<(SliceHead, Buffer), PeerError> {
        network.may_receive(expected).await;
        let (mut sender, mut receiver) = network.peers().request(&self.address, request).await?;
        sender.finish();
        let Response::Slices { count: 1 } = response(&mut receiver).await? else {
            return Err(PeerError::Confused);
        };
        let head: SliceHead = receiver.receive().await?;
        if u64::from(head.length) != expected {
            return Err(PeerError::Confused);
        }
        let mut bytes = network.buffers().take(head.length as usize);
        receiver.read_exact(&mut bytes).await?;
        Ok((head, bytes))
    }
}
