//! Asks the nodes of an object who read it. Each answers with its own signed words.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use symbolon_net::PeerAddress;
use symbolon_protocol::{
    id::{NodeId, ObjectId},
    limits::READ_DAYS_KEPT,
    reads::{ReadLog, day_of, question},
    session::NodeFault,
    signature,
    wire::storage::{Request, Response},
};
use tokio::task::JoinSet;

use crate::{Network, Owner, error::TransferError, peers::PeerError};

/// How long a node may take for one answer.
const PATIENCE: Duration = Duration::from_secs(8);

/// What the nodes of an object say of its readers.
#[derive(Clone, Debug, Default)]
pub struct WhoRead {
    /// The signed statements, several of a node if its days do not fit into one. All are verified.
    pub logs: Vec<ReadLog>,
    /// Nodes that did not tell, and why.
    pub silent: BTreeMap<NodeId, NodeFault>,
}

impl Network {
    /// Asks nodes who read an owner's object from a day on. A node answers only the owner.
    pub async fn who_read(
        &self,
        owner: &Owner,
        object: ObjectId,
        nodes: &BTreeSet<NodeId>,
        from_day: u32,
    ) -> Result<WhoRead, TransferError> {
        let nodes: Vec<_> = nodes.iter().copied().collect();
        let places = self.places(&nodes).await?;
        let (mut found, mut asks) = (WhoRead::default(), JoinSet::new());
        for (node, place) in nodes.into_iter().zip(places) {
            let Some(address) = place else {
                found.silent.insert(node, NodeFault::Offline);
                continue;
            };
            let (network, owner) = (self.clone(), owner.clone());
            asks.spawn(async move {
                (node, network.who_read_at(&address, &owner, object, from_day).await)
            });
        }
        while let Some(asked) = asks.join_next().await {
            match asked {
                Ok((_, Ok(logs))) => found.logs.extend(logs),
                Ok((node, Err(error))) => {
                    tracing::debug!(%node, %error, "a node did not tell who read from it");
                    found.silent.insert(node, error.fault());
                }
                Err(error) => return Err(TransferError::Internal(error.to_string())),
            }
        }
        found.logs.sort_by_key(|log| (log.node, log.from_day));
        Ok(found)
    }

    async fn who_read_at(
        &self,
        address: &PeerAddress,
        owner: &Owner,
        object: ObjectId,
        mut from_day: u32,
    ) -> Result<Vec<ReadLog>, PeerError> {
        let (chain, account) = (self.ledger().chain(), owner.account());
        let asked = question(&chain, &address.id, &owner.peer, (&account, &object));
        let signature = signature::sign(&owner.account_key, &asked);
        let mut logs = Vec::new();
        // A node keeps so many days, and each answer has one at least.
        for _ in 0..=READ_DAYS_KEPT {
            let request = Request::ReadLog { owner: account, object, from_day, signature };
            let Response::ReadLog { log } = self.peers().ask(address, &request, PATIENCE).await?
            else {
                return Err(PeerError::Confused);
            };
            let is_asked = (log.node, log.owner, log.object) == (address.id, account, object)
                && from_day <= log.from_day;
            if !is_asked || log.verify(&chain).is_err() {
                return Err(PeerError::Confused);
            }
            from_day = log.end_day;
            let ends = day_of(log.time_ms) < log.end_day;
            logs.push(log);
            if ends {
                return Ok(logs);
            }
        }
        Err(PeerError::Confused)
    }
}
