//! Transactions of the node. Each is sent until the ledger has applied or refused it.

use symbolon_protocol::{
    id::TransactionId,
    ledger::{
        Status,
        transaction::{Action, Transaction},
    },
};
use thiserror::Error;
use tracing::debug;

use crate::shared::{Backoff, Shared, Stopped};

/// Why the outcome of a transaction is unknown.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SubmitError {
    /// The transaction was not applied in time. Holds the last reason.
    #[error("the transaction was not applied in time: {0}")]
    OutOfTime(String),
    /// The node has to stop.
    #[error("the node is stopping")]
    Stopped,
}

impl From<Stopped> for SubmitError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Sends an action until it is applied, refused for good, or `until_tick` has passed. After a lost
/// answer it sends the same bytes again, so the action is done once.
pub(crate) async fn submit(
    shared: &Shared,
    id: TransactionId,
    action: Action,
    until_tick: u64,
    mut backoff: Backoff,
) -> Result<Status, SubmitError> {
    let mut signed = None;
    // The last followed block is recent enough to sign for, and needs no request.
    let mut height = Some(shared.view.height());
    loop {
        let why = match attempt(shared, id, &action, &mut signed, height).await {
            Ok(Status::Expired | Status::TooFarAhead) => {
                // The last followed block was too old. Sign again for the ledger's current height.
                (signed, height) = (None, None);
                String::from("its last valid height had passed")
            }
            Ok(status) if !status.transient() => return Ok(status),
            Ok(status) => status.to_string(),
            Err(why) => why,
        };
        debug!(?id, why, "the transaction is not applied yet");
        if until_tick <= shared.host.ticks_ms() {
            return Err(SubmitError::OutOfTime(why));
        }
        backoff.wait(shared).await?;
    }
}

async fn attempt(
    shared: &Shared,
    id: TransactionId,
    action: &Action,
    signed: &mut Option<Transaction>,
    height: Option<u64>,
) -> Result<Status, String> {
    let transaction = match signed {
        Some(transaction) => transaction,
        None => {
            let height = match height {
                Some(height) => height,
                None => {
                    let head = shared.ledger.head().await.map_err(|error| error.to_string())?;
                    head.header.height
                }
            };
            let valid_until = height.saturating_add(shared.params().validity_blocks_max);
            signed.insert(shared.key.transaction(shared.chain, id, valid_until, action.clone()))
        }
    };
    let outcome = shared.ledger.submit(transaction.clone()).await;
    outcome.map(|outcome| outcome.status).map_err(|error| error.to_string())
}
