//! The storage nodes that the ledger knows, and which of them answer.

use std::time::Duration;

use symbolon_ledger::Ledger;
use symbolon_net::{Alpn, Endpoint, PeerAddress};
use symbolon_protocol::{
    id::NodeId,
    ledger::rows::{Node, Nodes, Table as _},
    wire::storage::{Request, Response},
};
use tokio::task::JoinSet;

use crate::error::{Error, Kind};

/// How long a node may take to say who it is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Every node the ledger knows, by identity.
pub(crate) async fn all(ledger: &Ledger) -> Result<Vec<(NodeId, Node)>, Error> {
    let rows = ledger.scan_all(Nodes, &[]).await?;
    let read = |(key, row): (Vec<u8>, Node)| {
        let id = Nodes::parse(&key);
        let id =
            id.ok_or_else(|| Error::new(Kind::Corrupt, "the ledger lists a node that is none"))?;
        Ok((id, row))
    };
    rows.into_iter().map(read).collect()
}

/// Which of the nodes answer, asked all at once.
pub(crate) async fn call(nodes: &[(NodeId, Node)], endpoint: &Endpoint) -> Vec<bool> {
    let mut calls = JoinSet::new();
    for (index, (id, row)) in nodes.iter().enumerate() {
        let peer = PeerAddress { id: *id, addresses: row.addresses.clone() };
        let endpoint = endpoint.clone();
        calls.spawn(async move {
            let answer =
                tokio::time::timeout(PATIENCE, ask(&endpoint, &peer, &Request::Info)).await;
            (index, matches!(answer, Ok(Ok(Response::Info { node, .. })) if node == peer.id))
        });
    }
    let mut answers = vec![false; nodes.len()];
    while let Some(result) = calls.join_next().await {
        if let Ok((index, answer)) = result {
            answers[index] = answer;
        }
    }
    answers
}

/// Asks a node one thing.
pub(crate) async fn ask(
    endpoint: &Endpoint,
    peer: &PeerAddress,
    request: &Request,
) -> Result<Response, Error> {
    let connection = endpoint.connect(peer, Alpn::Storage).await?;
    let (mut sender, mut receiver) = connection.open().await?;
    sender.send(request).await?;
    sender.finish();
    let response = receiver.receive().await?;
    connection.close("thank you");
    Ok(response)
}
