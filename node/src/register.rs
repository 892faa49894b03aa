//! The node's row on the ledger: announced at the start, and again when it no longer says the truth.

use symbolon_protocol::{
    id::TransactionId,
    ledger::{
        Status,
        rows::{Node as NodeRow, Nodes},
        transaction::Action,
    },
    limits::ADDRESSES_MAX,
};
use tracing::{info, warn};

use crate::{
    shared::{Backoff, Shared, Stopped},
    submit::{SubmitError, submit},
};

/// Keeps the node's row true until the node stops. Addresses change while a node runs: a laptop
/// changes networks, a port is given anew after a restart.
pub(crate) async fn keep_registered(shared: &Shared) {
    loop {
        let wait_ms = match register(shared).await {
            Ok(()) => LOOK_AGAIN_MS,
            Err(SubmitError::Stopped) => return,
            Err(SubmitError::OutOfTime(why)) => {
                warn!(why, "the node is not registered yet");
                RETRY_MS
            }
        };
        if shared.sleep_ms(wait_ms).await == Err(Stopped) {
            return;
        }
    }
}

async fn register(shared: &Shared) -> Result<(), SubmitError> {
    let row = match shared.ledger.row(Nodes, &shared.key.id()).await {
        Ok(row) => row,
        Err(error) => return Err(SubmitError::OutOfTime(error.to_string())),
    };
    let wanted = announcement(shared);
    if row.is_some_and(|row| says(&row, &wanted)) {
        shared.view.registered.send_replace(true);
        return Ok(());
    }
    let id = TransactionId(shared.host.random());
    let until_tick = shared.host.ticks_ms().saturating_add(LOOK_AGAIN_MS);
    let status = submit(shared, id, wanted, until_tick, Backoff::new(500, 30_000)).await?;
    if status != Status::Applied {
        return Err(SubmitError::OutOfTime(status.to_string()));
    }
    info!(node = %shared.key.id(), "registered");
    shared.view.registered.send_replace(true);
    Ok(())
}

fn announcement(shared: &Shared) -> Action {
    let mut addresses = shared.endpoint.address().addresses;
    addresses.truncate(ADDRESSES_MAX);
    Action::RegisterNode {
        payout: shared.options.payout,
        addresses,
        custody_key: shared.options.custody.then(|| shared.key.custody_public()),
        price: shared.options.price,
        capacity: shared.options.capacity,
    }
}

fn says(row: &NodeRow, wanted: &Action) -> bool {
    let said = Action::RegisterNode {
        payout: row.payout,
        addresses: row.addresses.clone(),
        custody_key: row.custody_key,
        price: row.price,
        capacity: row.capacity,
    };
    said == *wanted
}

/// How often the row is compared with the endpoint's addresses.
const LOOK_AGAIN_MS: u64 = 5 * 60 * 1000;
/// How long after a failure it is tried again.
const RETRY_MS: u64 = 2_000;
