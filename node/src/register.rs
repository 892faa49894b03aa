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
use tracing::{debug, error, info, warn};

use crate::{
    shared::{Backoff, Shared, Stopped},
    submit::{SubmitError, submit},
};

/// Keeps the node's row true until the node stops. Addresses change while a node runs: a laptop
/// changes networks, a port is given anew after a restart.
pub(crate) async fn keep_registered(shared: &Shared) {
    loop {
        let waited = match register(shared).await {
            Ok(said) => until_doubted(shared, &said).await,
            Err(SubmitError::Stopped) => return,
            Err(SubmitError::OutOfTime(why)) => {
                warn!(why, "the node is not registered yet");
                shared.sleep_ms(RETRY_MS).await
            }
        };
        if waited == Err(Stopped) {
            return;
        }
    }
}

/// Waits until the row may say something else than the node: the node's addresses have changed, or somebody
/// has seen the row.
async fn until_doubted(shared: &Shared, said: &Action) -> Result<(), Stopped> {
    while announcement(shared) == *said {
        tokio::select! {
            biased;
            slept = shared.sleep_ms(LOOK_MS) => slept?,
            // Two programs that contradict each other must not do it with every block.
            () = shared.view.row_doubted.notified() => return shared.sleep_ms(RETRY_MS).await,
        }
    }
    Ok(())
}

/// Compares the row, which the prover reads once per epoch, with what the node would have it say.
pub(crate) fn look_at(shared: &Shared, row: Option<&NodeRow>) {
    let true_now = row.is_some_and(|row| says(row, &announcement(shared)));
    if !true_now && *shared.view.registered.borrow() {
        doubt(shared);
    }
}

/// A block registered something in this node's name.
pub(crate) fn was_registered(shared: &Shared, registered: &Action) {
    if *registered == announcement(shared) {
        return;
    }
    // What this process announced itself, before its address changed, comes back here too.
    if shared.view.has_announced(registered) {
        debug!("an earlier announcement is on the ledger");
    } else {
        error!(
            node = %shared.key.id(),
            "something else was registered in this node's name: if no earlier run of this node did that, \
             another program has its key"
        );
    }
    doubt(shared);
}

fn doubt(shared: &Shared) {
    shared.view.registered.send_replace(false);
    shared.view.row_doubted.notify_one();
}

async fn register(shared: &Shared) -> Result<Action, SubmitError> {
    let row = match shared.ledger.row(Nodes, &shared.key.id()).await {
        Ok(row) => row,
        Err(error) => return Err(SubmitError::OutOfTime(error.to_string())),
    };
    let wanted = announcement(shared);
    if row.is_some_and(|row| says(&row, &wanted)) {
        shared.view.registered.send_replace(true);
        return Ok(wanted);
    }
    shared.view.registered.send_replace(false);
    shared.view.announce(&wanted);
    let id = TransactionId(shared.host.random());
    let until_tick = shared.host.ticks_ms().saturating_add(PATIENCE_MS);
    let status = submit(shared, id, wanted.clone(), until_tick, Backoff::new(500, 30_000)).await?;
    if status != Status::Applied {
        return Err(SubmitError::OutOfTime(status.to_string()));
    }
    info!(node = %shared.key.id(), "registered");
    shared.view.registered.send_replace(true);
    Ok(wanted)
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

/// How often the node's addresses are compared with what it has announced: that asks nobody. The row itself is
/// compared once per epoch, and when a block registers something in the node's name.
const LOOK_MS: u64 = 10_000;
/// How long one announcement is tried to bring to the ledger.
const PATIENCE_MS: u64 = 5 * 60 * 1000;
/// How long after a failure it is tried again.
const RETRY_MS: u64 = 2_000;
