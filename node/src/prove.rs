//! Proves the node's shards once per epoch. It draws the leaves that the epoch asks for, opens
//! them, and sends the proof until the ledger has it or the epoch is over.
//!
//! With any number of shards this takes three requests one after the other: for the epoch and the
//! node's own row, with the proof, and for its presence on the ledger. The challenged shards follow
//! from the node's own copy of its slot table: see `slots`.

use symbolon_protocol::{
    LedgerTime, Millis,
    id::{DealId, TransactionId},
    ledger::{Status, rows::Slot, slots::NEW, transaction::Action},
    proof::{LeafProof, verify_leaf},
};
use symbolon_store::{Shards, SlotsHead};
use thiserror::Error;
use tracing::{debug, error, info, warn};

use crate::{
    key::transaction_id,
    register,
    shared::{Backoff, Shared, Stopped},
    slots,
    submit::{SubmitError, submit},
};

/// Why an attempt to prove an epoch failed.
#[derive(Debug, Error)]
pub(crate) enum ProveError {
    /// The ledger did not answer, or its answers were from two epochs.
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
    /// The ledger has the proof now.
    Now,
    /// No proof is needed: the node has no shards, the epoch is proven already, or it is over.
    Nothing,
}

/// Proves epoch after epoch until the node stops.
pub(crate) async fn prove_epochs(shared: &Shared) {
    let mut epochs = shared.view.epoch.subscribe();
    loop {
        let epoch = *epochs.borrow_and_update();
        tokio::select! {
            biased;
            () = shared.stopped() => return,
            // A later epoch has begun, so an unproven one is missed.
            changed = epochs.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = prove_epoch(shared, epoch) => {}
        }
        tokio::select! {
            biased;
            () = shared.stopped() => return,
            changed = epochs.changed() => if changed.is_err() { return },
        }
    }
}

async fn prove_epoch(shared: &Shared, epoch: u64) {
    let length_ms = shared.params.epoch_ms.0;
    let mut backoff = Backoff::new((length_ms / 64).clamp(10, 2_000), (length_ms / 8).max(10));
    let mut doubted = false;
    loop {
        match attempt(shared, epoch).await {
            Ok(Proven::Now) => {
                shared.view.proven.send_replace(Some(epoch));
                info!(epoch, "proven");
                return;
            }
            Ok(Proven::Nothing) => {
                debug!(epoch, "nothing to prove");
                return;
            }
            Err(ProveError::Submit(SubmitError::Stopped)) => return,
            Err(ProveError::Shard { deal, index, why }) => {
                error!(epoch, %deal, index, why, "a shard is missing or damaged: no pay this epoch");
            }
            Err(error @ ProveError::Refused(Status::BadProof)) if !doubted => {
                // Every leaf was checked. So the copy named the wrong leaves, although its hash
                // fits.
                warn!(epoch, %error, "reading the slot table again");
                doubted = true;
                if let Err(error) = shared.with_store(Shards::forget_slots).await {
                    warn!(%error, "the copy of the slot table cannot be deleted");
                }
            }
            Err(error) => warn!(epoch, %error, "the epoch is not proven yet"),
        }
        if backoff.wait(shared).await == Err(Stopped) {
            return;
        }
    }
}

/// Makes one attempt. The caller drops it when another epoch begins.
async fn attempt(shared: &Shared, epoch: u64) -> Result<Proven, ProveError> {
    let node_id = shared.key.id();
    let (chain, node) = slots::read_rows(shared).await?;
    register::look_at(shared, node.as_ref());
    if chain.epoch < epoch {
        return Err(ProveError::Ledger(String::from("its chain row is older than its blocks")));
    }
    if chain.epoch != epoch {
        return Ok(Proven::Nothing);
    }
    let Some(node) = node.as_ref().filter(|node| node.slots != 0) else {
        let table = node.map_or(NEW, |node| node.table);
        let empty = SlotsHead { epoch, slots: 0, table };
        let noted = slots::note_empty(shared, empty).await;
        noted.map_err(|error| ProveError::Store(error.to_string()))?;
        return Ok(Proven::Nothing);
    };
    if node.passed_epoch == Some(epoch) {
        return Ok(Proven::Nothing);
    }
    wait_for_turn(shared, chain.epoch_started_ms, epoch).await?;
    let picks = slots::picks(shared, &chain, node).await?;
    let mut leaves = Vec::with_capacity(picks.len());
    for (slot, leaf) in &picks {
        leaves.push(open(shared, slot, *leaf).await?);
    }
    let length_ms = shared.params.epoch_ms.0;
    let id = proof_id(&node_id.0, epoch);
    let action = Action::Prove { epoch, leaves };
    let backoff = Backoff::new(100, (length_ms / 8).clamp(100, 60_000));
    let until_tick = shared.host.ticks_ms().saturating_add(length_ms);
    match submit(shared, id, action, until_tick, backoff).await? {
        Status::Applied | Status::AlreadyProven => Ok(Proven::Now),
        // The id was used with another last height: an earlier answer was lost, and the proof is on
        // the ledger.
        Status::IdReused => Ok(Proven::Now),
        Status::WrongEpoch => Ok(Proven::Nothing),
        status => Err(ProveError::Refused(status)),
    }
}

/// Waits for the node's turn in the epoch. Ends early when a deletion needs the proof.
async fn wait_for_turn(
    shared: &Shared,
    started: LedgerTime,
    epoch: u64,
) -> Result<(), SubmitError> {
    let stagger_ms = stagger_ms(&shared.key.id().0, epoch, shared.params.epoch_ms.0);
    // Never wait longer than the stagger: this machine's clock may be behind the ledger's.
    let turn = started.saturating_add(Millis(stagger_ms));
    let wait_ms = turn.saturating_since(shared.now_ms()).0.min(stagger_ms);
    tokio::select! {
        biased;
        waited = shared.sleep_ms(wait_ms) => Ok(waited?),
        () = shared.view.prove_now.notified() => Ok(()),
    }
}

/// Opens a leaf and checks it, because the ledger would refuse an invalid proof.
async fn open(shared: &Shared, slot: &Slot, leaf: u64) -> Result<LeafProof, ProveError> {
    let Slot { deal, index, root, length, .. } = *slot;
    let failed = |why: String| ProveError::Shard { deal, index, why };
    let opened =
        shared.with_store(move |store| store.open_shard(&deal, index)?.leaf_proof(leaf)).await;
    let proof = opened.map_err(|error| failed(error.to_string()))?;
    verify_leaf(&root, length, leaf, &proof).map_err(|error| failed(error.to_string()))?;
    Ok(proof)
}

/// The id of the proof's transaction. It is the same for every attempt at an epoch, so the ledger
/// applies the proof once.
fn proof_id(node: &[u8; 32], epoch: u64) -> TransactionId {
    transaction_id("symbolon 2026 prove transaction v1", &[node, &epoch.to_le_bytes()])
}

/// Milliseconds from the start of an epoch until a node begins to prove it. It lies in the first
/// half of the epoch, so that the nodes of a network do not all send at once. Short epochs have no
/// time for that.
fn stagger_ms(node: &[u8; 32], epoch: u64, epoch_ms: u64) -> u64 {
    if epoch_ms <= STAGGER_FROM_MS {
        return 0;
    }
    let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 prove stagger v1");
    hasher.update(node).update(&epoch.to_le_bytes());
    let mut number = [0; 8];
    hasher.finalize_xof().fill(&mut number);
    u64::from_le_bytes(number) % (epoch_ms / 2)
}

/// Epochs up to this long, in milliseconds, are proven at once.
const STAGGER_FROM_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn long_epochs_are_staggered_in_their_first_half_and_short_ones_are_not() {
        let node = [7; 32];
        assert_eq!(stagger_ms(&node, 1, 60_000), 0);
        let day = 86_400_000;
        let offsets: Vec<_> = (0..50).map(|epoch| stagger_ms(&node, epoch, day)).collect();
        assert!(offsets.iter().all(|offset| *offset < day / 2));
        let distinct: BTreeSet<_> = offsets.iter().collect();
        assert_eq!(distinct.len(), offsets.len());
    }

    #[test]
    fn a_retry_has_the_same_id_and_another_epoch_or_node_has_not() {
        assert_eq!(proof_id(&[1; 32], 5), proof_id(&[1; 32], 5));
        assert_ne!(proof_id(&[1; 32], 5), proof_id(&[1; 32], 6));
        assert_ne!(proof_id(&[1; 32], 5), proof_id(&[2; 32], 5));
    }
}
