//! The nodes on the ledger.

use std::collections::BTreeSet;

use symbolon_net::PeerAddress;
use symbolon_protocol::{
    id::{NodeId, PeerId},
    ledger::rows::{Node, Nodes, Table},
};

use crate::{NODES_PAGE, Network, error::TransferError};

/// Nodes to choose from.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) nodes: Vec<NodeView>,
    /// How many of the first nodes are a random sample. The nodes behind them answered before.
    pub(crate) drawn: usize,
}

/// A node on the ledger.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// The node's key.
    pub id: NodeId,
    /// The node's row.
    pub row: Node,
}

impl NodeView {
    /// The node's address.
    #[must_use]
    pub fn address(&self) -> PeerAddress {
        address(self.id, &self.row)
    }
}

/// The address in a node's row.
pub(crate) fn address(id: NodeId, row: &Node) -> PeerAddress {
    PeerAddress { id, addresses: row.addresses.clone() }
}

impl Network {
    /// All nodes on the ledger.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, TransferError> {
        Ok(self.scan_all(Nodes, &[]).await?.into_iter().filter_map(parsed).collect())
    }

    /// Nodes to choose from: all of them, or, if there are many, a page from a random place and the
    /// remembered nodes. So the answer does not grow with the network.
    pub(crate) async fn some_nodes(
        &self,
        draw: impl Fn(&NodeId) -> [u8; 32],
    ) -> Result<Choice, TransferError> {
        if !self.met().are_many() {
            let page = self.page(None).await?;
            if page.len() < NODES_PAGE {
                return Ok(Choice { drawn: page.len(), nodes: page });
            }
            self.met().found_many(true);
        }
        let start = Nodes::key(&PeerId(self.host().random()));
        let met = self.met().some(draw);
        let (mut nodes, rows) =
            tokio::try_join!(self.page(Some(&start)), self.rows_of(Nodes, &met))?;
        if nodes.len() < NODES_PAGE {
            // The page reached the end of the table, so it continues at the beginning.
            let first = self.page(None).await?;
            self.met().found_many(first.len() == NODES_PAGE);
            nodes.extend(first);
        }
        let mut seen = BTreeSet::new();
        nodes.retain(|node| seen.insert(node.id));
        let drawn = nodes.len();
        let met = met.into_iter().zip(rows);
        let met = met.filter_map(|(id, row)| Some(NodeView { id, row: row? }));
        nodes.extend(met.filter(|node| seen.insert(node.id)));
        Ok(Choice { nodes, drawn })
    }

    async fn page(&self, after: Option<&[u8]>) -> Result<Vec<NodeView>, TransferError> {
        let rows = self.ledger().scan(Nodes, &[], after, NODES_PAGE).await?;
        Ok(rows.into_iter().filter_map(parsed).collect())
    }
}

fn parsed((key, row): (Vec<u8>, Node)) -> Option<NodeView> {
    Some(NodeView { id: Nodes::parse(&key)?, row })
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use symbolon_ledger::{Embedded, Ledger, Options};
    use symbolon_net::{Host, MemoryNetwork};
    use symbolon_protocol::{
        Amount, MachineTime,
        id::{AccountId, TransactionId},
        ledger::{Params, transaction::Action},
    };

    use super::*;
    use crate::met::Acquaintance;

    /// More nodes than two pages hold, so two pages never cover all of them.
    const NODES: u16 = 300;

    fn draw(node: &NodeId) -> [u8; 32] {
        node.0
    }

    /// Registers unreachable nodes with these numbers. Returns the first one.
    async fn register(network: &Network, numbers: std::ops::Range<u16>) -> NodeId {
        let mut ids = Vec::new();
        for number in numbers {
            let key = SigningKey::from_bytes(blake3::hash(&number.to_le_bytes()).as_bytes());
            ids.push(PeerId(key.verifying_key().to_bytes()));
            let action = Action::RegisterNode {
                payout: AccountId([1; 32]),
                addresses: vec!["127.0.0.1:9".into()],
                custody_key: None,
                caretaker: false,
                price: Amount::credits(1),
                capacity: 1 << 30,
                operator: None,
                agrees_until: 0,
                leaving: false,
            };
            network.send(&key, TransactionId([2; 16]), action).await.unwrap();
        }
        ids[0]
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_nodes_a_sample_and_the_remembered_ones_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::seeded(5, 1_767_225_600_000);
        let options = Options { key: [1; 32], params: Params::development(), host: host.clone() };
        let ledger = Embedded::open(&folder.path().join("ledger"), options).await.unwrap();
        let endpoint = MemoryNetwork::new().endpoint([7; 32]);
        let network = Network::new(Ledger::from(ledger), endpoint, host, Acquaintance::default());
        let all =
            |choice: &Choice| -> BTreeSet<_> { choice.nodes.iter().map(|node| node.id).collect() };

        let met = register(&network, 0..20).await;
        let few = network.some_nodes(draw).await.unwrap();
        assert_eq!((few.nodes.len(), few.drawn, network.met().are_many()), (20, 20, false));

        register(&network, 20..NODES).await;
        let address = PeerAddress { id: met, addresses: vec!["127.0.0.1:9".into()] };
        network.met().answered(vec![address], MachineTime(1));
        let mut seen = BTreeSet::new();
        for _ in 0..40 {
            let some = network.some_nodes(draw).await.unwrap();
            let ids = all(&some);
            assert_eq!(ids.len(), some.nodes.len(), "a node is listed twice");
            assert!(
                (NODES_PAGE..2 * NODES_PAGE).contains(&some.drawn),
                "{} were drawn",
                some.drawn
            );
            assert!(ids.contains(&met) && network.met().are_many());
            assert!(some.nodes.len() <= some.drawn + 1, "one node is remembered");
            seen.extend(ids);
        }
        assert_eq!(seen.len(), usize::from(NODES), "every node is drawn at some time");
        assert_eq!(network.nodes().await.unwrap().len(), usize::from(NODES));
    }
}
