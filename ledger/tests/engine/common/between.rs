//! A server between its callers and a true ledger: it passes on what they ask, and a test says what becomes of the answers.
//! So a lie begins with the truth. The tests of nodes and the simulator use this file too.

use std::sync::Arc;

use symbolon_net::{Alpn, Connection, Endpoint, NetError, PeerAddress, Receiver, Sender};
use symbolon_protocol::wire::ledger::{Request, Response};
use tokio::task::JoinSet;

/// What a server in between does. A function from a question and its true answer to another answer is one.
pub(crate) trait Between: Send + Sync + 'static {
    /// The answer to a question that the ledger does not hear of.
    fn instead(&self, _request: &Request) -> Option<Response> {
        None
    }

    /// What is sent for an answer, and for each block where the ledger is followed. `None` gives the stream up.
    fn pass(
        &self,
        request: &Request,
        answer: Response,
    ) -> impl Future<Output = Option<Response>> + Send;
}

impl<F: Fn(&Request, Response) -> Response + Send + Sync + 'static> Between for F {
    async fn pass(&self, request: &Request, answer: Response) -> Option<Response> {
        Some(self(request, answer))
    }
}

/// Answers at `front` in the place of the ledger at `truth`.
pub(crate) fn stand_between(front: Endpoint, truth: PeerAddress, how: Arc<impl Between>) {
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Some(connection) = front.accept().await {
            connections.spawn(serve(connection, front.clone(), truth.clone(), how.clone()));
        }
    });
}

/// Ends with an error when the connection does.
async fn serve(
    connection: Connection,
    front: Endpoint,
    truth: PeerAddress,
    how: Arc<impl Between>,
) -> Result<(), NetError> {
    let behind = front.connect(&truth, Alpn::Ledger).await?;
    let mut streams = JoinSet::new();
    loop {
        let stream = connection.accept().await?;
        let (behind, how) = (behind.clone(), how.clone());
        streams.spawn(async move { ask(stream, &behind, &*how).await.ok() });
    }
}

async fn ask(
    (mut back, mut from): (Sender, Receiver),
    behind: &Connection,
    how: &impl Between,
) -> Result<(), NetError> {
    let request: Request = from.receive().await?;
    if let Some(answer) = how.instead(&request) {
        back.send(&answer).await?;
        back.finish();
        return Ok(());
    }
    let (mut there, mut answers) = behind.open().await?;
    there.send(&request).await?;
    there.finish();
    // One answer, or block after block.
    while let Some(answer) = answers.receive_or_end().await? {
        let Some(answer) = how.pass(&request, answer).await else { return Ok(()) };
        back.send(&answer).await?;
    }
    back.finish();
    Ok(())
}
