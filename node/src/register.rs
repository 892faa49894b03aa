//! The node's row on the ledger. The node registers it at the start, and again when it is out of
//! date.

use symbolon_protocol::{
    Amount,
    id::{AccountId, TransactionId},
    ledger::{
        Status, capacity_deposit, deposit, fee,
        rows::{Accounts, Chains, Node as NodeRow, Nodes},
        transaction::Action,
    },
    limits::ADDRESSES_MAX,
};
use tracing::{debug, error, info, warn};

use crate::{
    shared::{Backoff, Proofs, Shared, Stopped},
    submit::{SubmitError, submit},
};

/// Keeps the node's row up to date until the node stops. Addresses can change while a node runs: a
/// laptop changes networks, or a router forwards another port.
pub(crate) async fn keep_registered(shared: &Shared) {
    loop {
        let waited = match register(shared).await {
            Ok(announced) => until_doubted(shared, &announced).await,
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

/// Waits until the row may be out of date: the node's addresses have changed, or another task has
/// seen a different row.
async fn until_doubted(shared: &Shared, announced: &Action) -> Result<(), Stopped> {
    let mut settings = shared.settings.subscribe();
    while announcement(shared) == *announced {
        tokio::select! {
            biased;
            slept = shared.sleep_ms(LOOK_MS) => slept?,
            changed = settings.changed() => if changed.is_err() { return Err(Stopped) },
            // Two programs with the same key must not overwrite each other's row in every block.
            () = shared.view.row_doubted.notified() => return shared.sleep_ms(RETRY_MS).await,
        }
    }
    Ok(())
}

/// Compares the row, which the prover reads once per epoch, with the node's current announcement.
pub(crate) fn look_at(shared: &Shared, row: Option<&NodeRow>) {
    if let Some(row) = row {
        shared.view.note_proofs(Proofs {
            missed: row.missed,
            in_row: row.missed_in_row,
            backing: row.backing(),
            needs: row.needs(&shared.params()),
        });
    }
    if row.is_none() && shared.settings().leaving {
        return;
    }
    let true_now = row.is_some_and(|row| is_registered_as(row, &announcement(shared)));
    if !true_now && *shared.view.registered.borrow() {
        doubt(shared);
    }
}

/// A block contains a registration under this node's key.
pub(crate) fn was_registered(shared: &Shared, registered: &Action) {
    if *registered == announcement(shared) {
        return;
    }
    // It may be an announcement of this process from before its addresses changed.
    if shared.view.has_announced(registered) {
        debug!("an earlier announcement is on the ledger");
    } else {
        error!(
            node = %shared.key.id(),
            "an unknown registration under this node's key is on the ledger: if it is not from an earlier run of \
             this node, another program has its key"
        );
    }
    doubt(shared);
}

/// Notes that the node's row may be another than the one that it has announced.
pub(crate) fn doubt(shared: &Shared) {
    shared.view.registered.send_replace(false);
    shared.view.row_doubted.notify_one();
}

async fn register(shared: &Shared) -> Result<Action, SubmitError> {
    let row = match shared.ledger.row(Nodes, &shared.key.id()).await {
        Ok(row) => row,
        Err(error) => return Err(SubmitError::OutOfTime(error.to_string())),
    };
    if let Some(row) = row.as_ref().filter(|row| row.price == shared.options.price) {
        shared.view.note_agreed(row.agrees_until);
    }
    let wanted = announcement(shared);
    if row.is_none() && shared.settings().leaving {
        // It has retired: a registration would make it a node again.
        shared.view.registered.send_replace(true);
        return Ok(wanted);
    }
    let paid = row.as_ref().map(|row| row.deposit);
    let is_dead = row.as_ref().is_some_and(|row| row.dead);
    if row.as_ref().is_some_and(|row| row.dead && 0 < row.used) {
        let why = "it has missed so many epochs that the ledger takes its shards from it";
        return Err(SubmitError::OutOfTime(String::from(why)));
    }
    // A dead node begins again with a registration.
    if !is_dead && row.is_some_and(|row| is_registered_as(&row, &wanted)) {
        shared.view.registered.send_replace(true);
        return Ok(wanted);
    }
    shared.view.registered.send_replace(false);
    shared.view.announce(&wanted);
    warn_if_poor(shared, &wanted, paid).await;
    let id = TransactionId(shared.host.random());
    let until_tick = shared.host.ticks_ms().saturating_add(PATIENCE_MS);
    let status = submit(shared, id, wanted.clone(), until_tick, Backoff::new(500, 30_000)).await?;
    if status != Status::Applied {
        return Err(SubmitError::OutOfTime(refused(shared, &wanted, status).await));
    }
    info!(node = %shared.key.id(), "registered");
    shared.view.registered.send_replace(true);
    Ok(wanted)
}

/// Tells the operator what a registration costs if the node's account does not have it.
async fn warn_if_poor(shared: &Shared, wanted: &Action, paid: Option<Amount>) {
    let account = AccountId::from(shared.key.id());
    let bound = if paid.is_some() { Amount::ZERO } else { deposit(&shared.params(), wanted) };
    let capacity = capacity_deposit(&shared.params(), shared.options.capacity);
    let capacity = capacity.checked_sub(paid.unwrap_or(Amount::ZERO)).unwrap_or(Amount::ZERO);
    let needed = [fee(&shared.params(), wanted), bound, capacity]
        .into_iter()
        .try_fold(Amount::ZERO, Amount::checked_add)
        .unwrap_or(capacity);
    if needed == Amount::ZERO {
        return;
    }
    let balance = match shared.ledger.row(Accounts, &account).await {
        Ok(row) => row.map_or(Amount::ZERO, |row| row.balance),
        Err(error) => return debug!(%error, "the node's account could not be read"),
    };
    if balance < needed {
        warn!(
            %account, %balance, %needed,
            "registering costs more than the node's own account has: send it the rest with symbolon account send. \
             An account for its pay that has no money yet costs one deposit more"
        );
    }
}

/// Why an announcement was refused, with the field where it is one.
async fn refused(shared: &Shared, wanted: &Action, status: Status) -> String {
    if status == Status::BadField
        && let Ok(Some(chain)) = shared.ledger.row(Chains, &()).await
        && let Ok(Some(fault)) =
            shared.ledger.field_fault(&chain, &shared.key.id().into(), wanted).await
    {
        return fault.to_string();
    }
    status.to_string()
}

fn announcement(shared: &Shared) -> Action {
    let mut addresses = shared.endpoint.address().addresses;
    addresses.truncate(ADDRESSES_MAX);
    Action::RegisterNode {
        payout: shared.options.payout,
        operator: shared.options.operator,
        addresses,
        custody_key: shared.options.custody.then(|| shared.key.custody_public()),
        caretaker: shared.options.caretaker,
        price: shared.options.price,
        capacity: shared.options.capacity,
        agrees_until: shared.view.agrees_until(shared.options.limits.agreed_epochs),
        leaving: shared.settings().leaving,
    }
}

fn is_registered_as(row: &NodeRow, wanted: &Action) -> bool {
    let registered = Action::RegisterNode {
        payout: row.payout,
        operator: row.operator,
        addresses: row.addresses.clone(),
        custody_key: row.custody_key,
        caretaker: row.caretaker,
        price: row.price,
        capacity: row.capacity,
        agrees_until: row.agrees_until,
        leaving: row.leaving,
    };
    registered == *wanted
}

/// Milliseconds between two comparisons of the node's addresses with its announcement. That needs
/// no request. The row itself is compared once per epoch, and when a block contains a registration
/// under the node's key.
const LOOK_MS: u64 = 10_000;
/// Milliseconds for which one announcement is tried.
const PATIENCE_MS: u64 = 5 * 60 * 1000;
/// Milliseconds until the next attempt after a failure.
const RETRY_MS: u64 = 2_000;
