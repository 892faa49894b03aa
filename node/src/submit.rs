//! Transactions of the node: sent until the ledger has said yes or no.

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

/// Why a transaction has no outcome.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum SubmitError {
    /// Its time is over; the last reason it was not applied.
    #[error("not applied in time: {0}")]
    OutOfTime(String),
    /// The node was told to stop.
    #[error("the node stops")]
    Stopped,
}

impl From<Stopped> for SubmitError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// Sends an action until it is applied, refused for good, or `until_tick` has passed. The same bytes are
/// sent again after a lost answer, so nothing is done twice.
pub(crate) async fn submit(
    shared: &Shared,
    id: TransactionId,
    action: Action,
    until_tick: u64,
    mut backoff: Backoff,
) -> Result<Status, SubmitError> {
    let mut signed = None;
    // The last block that was followed is near enough to sign for, and asks nobody.
    let mut height = Some(shared.view.height());
    loop {
        let why = match attempt(shared, id, &action, &mut signed, height).await {
            Ok(Status::Expired | Status::TooFarAhead) => {
                // It was not: sign again for the one that the ledger is at.
                (signed, height) = (None, None);
                String::from("its height had passed")
            }
            Ok(status) if !status.transient() => return Ok(status),
            Ok(status) => status.to_string(),
            Err(why) => why,
        };
        debug!(?id, why, "transaction not applied yet");
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
            let valid_until = height.saturating_add(shared.params.validity_blocks_max);
            signed.insert(shared.key.transaction(shared.chain, id, valid_until, action.clone()))
        }
    };
    let outcome = shared.ledger.submit(transaction.clone()).await;
    outcome.map(|outcome| outcome.status).map_err(|error| error.to_string())
}
