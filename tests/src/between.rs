//! Liars that stand between somebody honest and everybody else: what is asked is passed on, and what is
//! answered is something else.
//!
//! Behind a lying node is a true node with a true disk, behind a lying ledger the true one. So a lie begins
//! with the truth, and a test says in one place what is changed of it.

// The tests of the ledger and of nodes have the same liar.
#[path = "../../ledger/tests/engine/common/between.rs"]
mod of_ledger;

use std::sync::Arc;

use symbolon_net::{
    Alpn, Connection, Endpoint, MemoryNetwork, NetError, PeerAddress, Receiver, Sender, peer_id,
};
use symbolon_protocol::wire::{
    ledger,
    storage::{Request, Response, SliceHead},
};
use tokio::task::JoinSet;

use of_ledger::{Between, stand_between};

/// Changes what a node answers, given what it was asked.
pub type Twist = Arc<dyn Fn(&Request, Response) -> Response + Send + Sync>;

/// Answers in a ledger's place what it is not to hear of.
pub type Instead = Arc<dyn Fn(&ledger::Request) -> Option<ledger::Response> + Send + Sync>;

/// Changes what a ledger answers, block by block where it is followed.
pub type LedgerTwist =
    Arc<dyn Fn(&ledger::Request, ledger::Response) -> ledger::Response + Send + Sync>;

/// Answers in the name of a node that is at home in another network. Only these askers are passed on: the
/// node wants to know who they are, so their secrets are needed.
pub(crate) fn node(front: Endpoint, home: MemoryNetwork, askers: Vec<[u8; 32]>, twist: Twist) {
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Some(connection) = front.accept().await {
            let asker = askers.iter().find(|secret| peer_id(secret) == connection.peer());
            let Some(asker) = asker else { continue };
            let asker = home.endpoint_beside(*asker);
            connections.spawn(as_node(connection, asker, front.address(), twist.clone()));
        }
    });
}

/// Ends with an error when the connection does.
async fn as_node(
    connection: Connection,
    asker: Endpoint,
    node: PeerAddress,
    twist: Twist,
) -> Result<(), NetError> {
    let behind = asker.connect(&node, Alpn::Storage).await?;
    let mut streams = JoinSet::new();
    loop {
        let stream = connection.accept().await?;
        let (behind, twist) = (behind.clone(), twist.clone());
        streams.spawn(async move { ask_node(stream, &behind, &twist).await.ok() });
    }
}

async fn ask_node(
    (mut back, mut from): (Sender, Receiver),
    behind: &Connection,
    twist: &Twist,
) -> Result<(), NetError> {
    let request: Request = from.receive().await?;
    let (mut there, mut answers) = behind.open().await?;
    there.send(&request).await?;
    let answer = twist(&request, answers.receive().await?);
    back.send(&answer).await?;
    match (&request, answer) {
        (Request::Store { terms, .. }, Response::Ready) => {
            let mut left = terms.length;
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(usize::MAX);
                let Some(bytes) = from.read(most).await? else { return Ok(()) };
                left -= bytes.len() as u64;
                there.write(bytes).await?;
            }
            there.finish();
            back.send(&twist(&request, answers.receive().await?)).await?;
        }
        (_, Response::Slices { count }) => {
            for _ in 0..count {
                let head: SliceHead = answers.receive().await?;
                let mut bytes = vec![0; head.length as usize];
                answers.read_exact(&mut bytes).await?;
                back.send(&head).await?;
                back.write(bytes.into()).await?;
            }
        }
        _ => {}
    }
    back.finish();
    Ok(())
}

/// Answers as a ledger that stands at another address.
pub(crate) fn ledger(
    front: Endpoint,
    truth: PeerAddress,
    (instead, twist): (Instead, LedgerTwist),
) {
    stand_between(front, truth, Arc::new(Lies { instead, twist }));
}

/// What a lying ledger says.
struct Lies {
    instead: Instead,
    twist: LedgerTwist,
}

impl Between for Lies {
    fn instead(&self, request: &ledger::Request) -> Option<ledger::Response> {
        (self.instead)(request)
    }

    async fn pass(
        &self,
        request: &ledger::Request,
        answer: ledger::Response,
    ) -> Option<ledger::Response> {
        Some((self.twist)(request, answer))
    }
}
