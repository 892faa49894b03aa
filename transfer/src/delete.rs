//! Deletes shards of ended deals and collects the nodes' signed receipts.
//!
//! No other part depends on this: a node learns from the ledger that a deal has ended and deletes
//! by itself. A request makes the node delete at once, and the receipt is a proof against the node.

use std::{collections::BTreeSet, time::Duration};

use symbolon_net::PeerAddress;
use symbolon_protocol::{
    deletion::DeletionReceipt,
    grant::Grant,
    id::{DealId, Hash, NodeId},
    wire::storage::{Request, Response},
};
use tokio::task::JoinSet;

use crate::{Network, error::TransferError, peers::PeerError};

/// How long a node may take. It may have to prove its epoch first.
const PATIENCE: Duration = Duration::from_secs(8);

/// Shards that are requested at once. With more, the requests would only wait for the nodes'
/// streams.
const ASKED_AT_ONCE: usize = 256;

/// The answers of nodes to requests for deletion.
#[derive(Clone, Debug, Default)]
pub struct Deletion {
    /// Number of shards to be deleted.
    pub shards: u32,
    /// The verified receipts of the nodes.
    pub receipts: Vec<DeletionReceipt>,
    /// Nodes without a receipt for at least one shard. They delete it when they follow the ledger.
    pub unconfirmed: BTreeSet<NodeId>,
}

impl Deletion {
    /// Nodes with receipts for all their shards.
    #[must_use]
    pub fn confirmed(&self) -> BTreeSet<NodeId> {
        let signed = self.receipts.iter().map(|receipt| receipt.node);
        signed.filter(|node| !self.unconfirmed.contains(node)).collect()
    }

    /// Adds the answers for further shards.
    pub fn extend(&mut self, more: Self) {
        self.shards += more.shards;
        self.receipts.extend(more.receipts);
        self.unconfirmed.extend(more.unconfirmed);
    }
}

/// A shard to be deleted.
struct Doomed {
    address: PeerAddress,
    deal: DealId,
    index: u8,
    root: Hash,
    grant: Grant,
}

impl Network {
    /// Deletes the shards of an object whose deals have ended. Each node is shown the grant. The
    /// caller should keep the receipts, which are proofs against the nodes.
    pub async fn delete_shards(
        &self,
        deals: impl Iterator<Item = DealId> + Send,
        grant: &Grant,
    ) -> Result<Deletion, TransferError> {
        let mut doomed = Vec::new();
        for deal in deals {
            let Some(row) = self.deal(&deal).await? else { continue };
            for (index, address, root) in self.deal_nodes(&row).await? {
                doomed.push(Doomed { address, deal, index, root, grant: grant.clone() });
            }
        }
        Ok(self.delete_all(doomed).await)
    }

    async fn delete_all(&self, doomed: Vec<Doomed>) -> Deletion {
        let mut deletion = Deletion::default();
        let mut asks = JoinSet::new();
        let mut waiting = doomed.into_iter();
        loop {
            while asks.len() < ASKED_AT_ONCE {
                let Some(shard) = waiting.next() else { break };
                let (network, node) = (self.clone(), shard.address.id);
                asks.spawn(async move { (node, network.delete(shard).await) });
            }
            let Some(asked) = asks.join_next().await else { return deletion };
            // A task that panicked counts as a shard without a receipt. The panic was logged
            // already.
            deletion.shards += 1;
            match asked {
                Ok((_, Ok(receipt))) => deletion.receipts.push(receipt),
                Ok((node, Err(error))) => {
                    tracing::debug!(%node, %error, "a node did not confirm the deletion of a shard");
                    deletion.unconfirmed.insert(node);
                }
                Err(_) => {}
            }
        }
    }

    async fn delete(&self, shard: Doomed) -> Result<DeletionReceipt, PeerError> {
        let Doomed { address, deal, index, root, grant } = shard;
        let request = Request::Delete { deal, index, grant };
        let Response::Deleted { receipt } = self.peers().ask(&address, &request, PATIENCE).await?
        else {
            return Err(PeerError::Confused);
        };
        let ours = receipt.node == address.id
            && (receipt.deal, receipt.index, receipt.root) == (deal, index, root);
        match ours && receipt.verify(&self.ledger().chain()).is_ok() {
            true => Ok(receipt),
            false => Err(PeerError::Confused),
        }
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use symbolon_protocol::{LedgerTime, id::ChainId};

    use super::*;

    #[test]
    fn a_node_has_confirmed_when_it_signed_for_all_its_shards() {
        let chain = ChainId([1; 32]);
        let receipt = |node: u8, index: u8| {
            let key = SigningKey::from_bytes(&[node; 32]);
            DeletionReceipt::build(
                &chain,
                &key,
                (DealId([2; 16]), index),
                Hash([3; 32]),
                LedgerTime(4),
            )
        };
        let (half, whole) = (receipt(5, 0), receipt(6, 2));
        let mut deletion =
            Deletion { shards: 2, receipts: vec![half.clone()], ..Deletion::default() };
        deletion.unconfirmed.insert(half.node);
        deletion.extend(Deletion {
            shards: 1,
            receipts: vec![whole.clone()],
            ..Deletion::default()
        });
        assert_eq!((deletion.shards, deletion.receipts.len()), (3, 2));
        assert_eq!(deletion.confirmed(), BTreeSet::from([whole.node]));
    }
}
