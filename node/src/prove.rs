//! Proves the node's shards once per epoch, in the node's own window. It draws the leaves that the
//! window asks for, opens them, and sends the proof until the ledger has it or the window is over.
//!
//! With any number of shards this takes three requests one after the other: for the ledger's and the
//! node's own row, with the proof, and for its presence on the ledger. The challenged shards follow
//! from the node's own copy of its slot table: see `slots`.

use symbolon_protocol::{
    id::{DealId, TransactionId},
    ledger::{Status, rows::Slot, slots::NEW, transaction::Action},
    proof::{LeafProof, verify_leaf},
};
use symbolon_store::{Shards, SlotsHead};
use thiserror::Error;
use tracing::{debug, error, info, warn};

use crate::{
    alert::{Alert, Lasting},
    key::transaction_id,
    register,
    serve::found_damaged,
    shared::{Backoff, Shared, Stopped},
    slots,
    submit::{SubmitError, submit},
};

/// Why an attempt to prove an epoch failed.
#[derive(Debug, Error)]
pub(crate) enum ProveError {
    /// The ledger did not answer, or its answers were from two windows.
    #[error("the ledger's rows could not be read: {0}")]
    Ledger(String),
    /// A paid shard is missing or damaged.
    #[error("shard {index} of deal {deal} cannot be opened: {why}")]
    Shard {
        /// The deal of the shard.
        deal: DealId,
        /// The index of the shard.
        index: u8,
        /// What is wrong with the shard.
        why: String,
    },
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(String),
    /// The ledger refused the proof.
    #[error("the ledger refused the proof: {0}")]
    Refused(Status),
    /// The proof was sent, but its outcome is unknown.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// The result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proven {
    /// The ledger has the proof of this epoch now.
    Now(u64),
    /// No proof is needed: no window is open, or it is proven already.
    Nothing,
}

/// Proves window after window until the node stops.
pub(crate) async fn prove_windows(shared: &Shared) {
    let mut windows = shared.view.window.subscribe();
    loop {
        windows.borrow_and_update();
        tokio::select! {
            biased;
            () = shared.stopped() => return,
            // A later window has opened, so an unproven one is missed.
            changed = windows.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = prove_window(shared) => {}
        }
        tokio::select! {
            biased;
            () = shared.stopped() => return,
            changed = windows.changed() => if changed.is_err() { return },
        }
    }
}

async fn prove_window(shared: &Shared) {
    let length = shared.params().epoch_ms.0;
    let mut backoff = Backoff::new((length / 64).clamp(10, 2_000), (length / 8).max(10));
    let (mut doubted, mut failures) = (false, 0);
    loop {
        let attempted = attempt(shared).await;
        failures = alert_of(shared, &attempted, failures);
        match attempted {
            Ok(Proven::Now(epoch)) => {
                shared.view.proven.send_replace(Some(epoch));
                info!(epoch, "proven");
                return;
            }
            Ok(Proven::Nothing) => {
                debug!("nothing to prove");
                return;
            }
            Err(ProveError::Submit(SubmitError::Stopped)) => return,
            Err(ProveError::Shard { deal, index, why }) => {
                error!(%deal, index, why, "a shard is missing or damaged: no pay this epoch");
            }
            Err(error @ ProveError::Refused(Status::BadProof)) if !doubted => {
                // Every leaf was checked. So the copy named the wrong leaves, although its hash
                // fits.
                warn!(%error, "reading the slot table again");
                doubted = true;
                if let Err(error) = shared.with_store(Shards::forget_slots).await {
                    warn!(%error, "the copy of the slot table cannot be deleted");
                }
            }
            Err(error) => warn!(%error, "the window is not proven yet"),
        }
        if backoff.wait(shared).await == Err(Stopped) {
            return;
        }
    }
}

/// Raises an alert when a shard is damaged, or when several attempts have failed. Returns the number of failures.
fn alert_of(shared: &Shared, attempted: &Result<Proven, ProveError>, failures: u32) -> u32 {
    let Err(error) = attempted else {
        shared.alerts.lasts(Lasting::ProofFailing, None);
        return 0;
    };
    let failures = failures.saturating_add(1);
    let is_certain = matches!(error, ProveError::Shard { .. }) || FAILURES <= failures;
    if is_certain && !matches!(error, ProveError::Submit(SubmitError::Stopped)) {
        let alert = Alert::ProofFailing { why: error.to_string() };
        shared.alerts.lasts(Lasting::ProofFailing, Some(alert));
    }
    failures
}

/// Makes one attempt. The caller drops it when another window opens.
async fn attempt(shared: &Shared) -> Result<Proven, ProveError> {
    let followed = shared.view.height();
    let (chain, node) = slots::read_rows(shared).await?;
    register::look_at(shared, node.as_ref());
    if chain.height < followed {
        return Err(ProveError::Ledger(String::from("its chain row is older than its blocks")));
    }
    let Some(node) = node.as_ref().filter(|node| node.slots != 0) else {
        let table = node.map_or(NEW, |node| node.table);
        let empty = SlotsHead { slots: 0, table };
        let noted = slots::note_empty(shared, chain.height, empty).await;
        noted.map_err(|error| ProveError::Store(error.to_string()))?;
        return Ok(Proven::Nothing);
    };
    let Some(window) = node.window else { return Ok(Proven::Nothing) };
    let epoch = window.epoch;
    if node.passed_epoch == Some(epoch) {
        return Ok(Proven::Nothing);
    }
    let picks = slots::picks(shared, &chain, node, &window).await?;
    let mut leaves = Vec::with_capacity(picks.len());
    for (slot, leaf) in &picks {
        leaves.push(open(shared, slot, *leaf).await?);
    }
    let length = shared.params().epoch_ms.0;
    let id = proof_id(&shared.key.id().0, epoch);
    let action = Action::Prove { epoch, leaves };
    let backoff = Backoff::new(100, (length / 8).clamp(100, 60_000));
    let until_tick = shared.host.ticks_ms().saturating_add(length);
    match submit(shared, id, action, until_tick, backoff).await? {
        Status::Applied | Status::AlreadyProven => Ok(Proven::Now(epoch)),
        // The id was used with another last height: an earlier answer was lost, and the proof is on
        // the ledger.
        Status::IdReused => Ok(Proven::Now(epoch)),
        Status::WrongEpoch => Ok(Proven::Nothing),
        status => Err(ProveError::Refused(status)),
    }
}

/// Opens a leaf and checks it, because the ledger would refuse an invalid proof.
async fn open(shared: &Shared, slot: &Slot, leaf: u64) -> Result<LeafProof, ProveError> {
    let Slot { deal, index, root, length, .. } = *slot;
    let failed = |why: String| ProveError::Shard { deal, index, why };
    let opened =
        shared.with_store(move |store| store.open_shard(&deal, index)?.leaf_proof(leaf)).await;
    let proof = match opened {
        Ok(proof) => proof,
        Err(error) => {
            let why = failed(error.to_string());
            found_damaged(shared, (deal, index), error).await;
            return Err(why);
        }
    };
    verify_leaf(&root, length, leaf, &proof).map_err(|error| failed(error.to_string()))?;
    Ok(proof)
}

/// The id of the proof's transaction. It is the same for every attempt at an epoch, so the ledger
/// applies the proof once.
fn proof_id(node: &[u8; 32], epoch: u64) -> TransactionId {
    transaction_id("symbolon 2026 prove transaction v1", &[node, &epoch.to_le_bytes()])
}

/// Attempts after which a window that is not proven is an alert.
const FAILURES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_has_the_same_id_and_another_epoch_or_node_has_not() {
        assert_eq!(proof_id(&[1; 32], 5), proof_id(&[1; 32], 5));
        assert_ne!(proof_id(&[1; 32], 5), proof_id(&[1; 32], 6));
        assert_ne!(proof_id(&[1; 32], 5), proof_id(&[2; 32], 5));
    }
}
