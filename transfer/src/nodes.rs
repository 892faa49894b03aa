//! Which nodes the ledger knows.

use symbolon_net::PeerAddress;
use symbolon_protocol::{
    id::NodeId,
    ledger::rows::{Node, Nodes, Table},
};

use crate::{Network, error::TransferError};

/// A node as the ledger knows it.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its identity.
    pub id: NodeId,
    /// Its row.
    pub row: Node,
}

impl NodeView {
    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> PeerAddress {
        address(self.id, &self.row)
    }
}

/// Where a node answers, by its row.
pub(crate) fn address(id: NodeId, row: &Node) -> PeerAddress {
    PeerAddress { id, addresses: row.addresses.clone() }
}

impl Network {
    /// All nodes the ledger knows.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, TransferError> {
        let rows = self.scan_all(Nodes, &[]).await?;
        let nodes = rows.into_iter();
        Ok(nodes.filter_map(|(key, row)| Some(NodeView { id: Nodes::parse(&key)?, row })).collect())
    }
}
