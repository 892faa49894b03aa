//! Sends one shard to one node, until the node has signed for it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use symbolon_protocol::{
    LedgerTime,
    id::Hash,
    ledger::transaction::{Acceptance, DealTerms},
    wire::storage::{Request, Response},
};
use tokio::sync::{mpsc, oneshot};

use super::tally::Tally;
use crate::{
    Network,
    peers::{PeerError, response},
    place::Candidate,
};

/// How long a node may take to say that it is ready, and, after the last byte, to sync the shard.
const PATIENCE: Duration = Duration::from_secs(30);

/// One shard on its way to one node.
pub(crate) struct Sending {
    pub(crate) network: Network,
    pub(crate) terms: DealTerms,
    pub(crate) index: u8,
    pub(crate) candidate: Candidate,
    /// The time until which its receipt must at least be valid.
    pub(crate) good_until_ms: LedgerTime,
    pub(crate) wanted: oneshot::Sender<bool>,
    pub(crate) cells: mpsc::Receiver<Bytes>,
    pub(crate) root: oneshot::Receiver<Hash>,
    pub(crate) tally: Arc<Tally>,
}

impl Sending {
    pub(crate) async fn run(mut self, request: &Request) -> Result<Acceptance, PeerError> {
        let network = self.network.clone();
        let peers = network.peers();
        let node = &self.candidate.address;
        let opened = peers.within(PATIENCE, async {
            let (sender, mut receiver) = peers.request(node, request).await?;
            let answer = response(&mut receiver).await?;
            Ok((sender, receiver, answer))
        });
        let (mut sender, mut receiver, answer) = opened.await?;
        let acceptance = match answer {
            Response::Accepted { acceptance } => {
                self.wanted.send(false).ok();
                self.tally.held(self.index);
                acceptance
            }
            Response::Ready => {
                self.wanted.send(true).ok();
                let mut sent = 0;
                while let Some(cell) = self.cells.recv().await {
                    let bytes = cell.len() as u64;
                    network.write(&mut sender, cell).await?;
                    sent += bytes;
                    self.tally.sent(self.index, bytes);
                }
                if sent != self.terms.length {
                    // The feeder dropped this lane because it was too slow.
                    sender.reset(0);
                    return Err(PeerError::TimedOut);
                }
                sender.finish();
                match peers.within(PATIENCE, response(&mut receiver)).await? {
                    Response::Accepted { acceptance } => acceptance,
                    _ => return Err(PeerError::Confused),
                }
            }
            _ => return Err(PeerError::Confused),
        };
        let root = self.root.await.map_err(|_| PeerError::TimedOut)?;
        let ours = acceptance.node == node.id
            && acceptance.index == self.index
            && acceptance.price == self.candidate.price
            && acceptance.root == root
            // The ledger would refuse an expired receipt, and all others with it.
            && self.good_until_ms <= acceptance.expires_ms;
        let signed = acceptance.verify(&network.ledger().chain(), &self.terms).is_ok();
        if ours && signed { Ok(acceptance) } else { Err(PeerError::Confused) }
    }
}
