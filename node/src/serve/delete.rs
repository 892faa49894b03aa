//! `Delete`: deletes a shard at its owner's request, as soon as its last proof is done instead of
//! when the next window opens, and signs a deletion receipt.
//!
//! The ledger's own row decides who owns the shard, whether its deal is over, and which root the
//! receipt names. So a node that has deleted the shard before, by itself or at an earlier request
//! whose answer was lost, can sign the same receipt again without a memory of its own.

use std::{sync::Arc, time::Duration};

use symbolon_protocol::{
    grant::Grant,
    id::DealId,
    ledger::rows::{Deal, DealSlot, DealState, Deals, Leaves, Nodes},
    wire::storage::{RefusalCode, Response},
};
use tokio::time::timeout;
use tracing::info;

use super::{
    ShardPlace, Stop, Stream,
    grants::{self, Need},
    refuse_store,
};
use crate::{shared::Shared, sweep};

/// Answers a request to delete a shard.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    (deal, index): ShardPlace,
    grant: &Grant,
) -> Result<(), Stop> {
    let Some(row) = shared.ledger.row(Deals, &deal).await.map_err(unreachable)? else {
        return Err(without_deal(shared, (deal, index)).await);
    };
    let wanted = grants::Wanted { shard: (&row).into(), need: Need::Delete };
    grants::authorize(shared, stream.peer, Some(grant), &wanted).await?;
    let slot = row.shards.get(usize::from(index)).and_then(Option::as_ref);
    let Some(&DealSlot { root, .. }) = slot.filter(|slot| slot.node == shared.key.id()) else {
        return Err(Stop::refused(
            RefusalCode::NotFound,
            "the deal has no such shard on this node",
        ));
    };
    if row.state == DealState::Open {
        return Err(Stop::refused(
            RefusalCode::Bound,
            "the shard's deal is still open: end it first",
        ));
    }
    free_of_proof(shared, deal, &row).await?;
    sweep::remove(shared, deal, index).await.map_err(refuse_store)?;
    let time_ms = shared.now_ms();
    let receipt = shared.key.deleted(&shared.chain, (deal, index), root, time_ms);
    info!(%deal, index, "deleted at its owner's request");
    stream.answer(&Response::Deleted { receipt }).await
}

/// The refusal for a shard whose deal is not on the ledger. An accepted shard stays until its
/// acceptance expires. Until then its deal may still be opened, and the shard must then be proven.
async fn without_deal(shared: &Shared, (deal, index): ShardPlace) -> Stop {
    match shared.with_store(move |store| store.info(&deal, index)).await {
        Ok(Some(_)) => {
            let message = "the shard's deal may still be opened: the shard is deleted when its acceptance expires";
            Stop::refused(RefusalCode::Bound, message)
        }
        Ok(None) => Stop::refused(RefusalCode::NotFound, "the deal does not exist"),
        Err(error) => refuse_store(error),
    }
}

/// Waits until the ledger needs no more proof of the shard. Either the shard is not in the slot table, or
/// the open window is its last one, and is proven.
async fn free_of_proof(shared: &Shared, deal: DealId, row: &Deal) -> Result<(), Stop> {
    let mut proven = shared.view.proven.subscribe();
    let mut window = shared.view.window.subscribe();
    let me = shared.key.id();
    let node = shared.ledger.row(Nodes, &me).await.map_err(unreachable)?;
    let Some(key) = sweep::leave_of_ended(me, node.as_ref(), deal, row) else { return Ok(()) };
    if shared.ledger.row(Leaves, &key).await.map_err(unreachable)?.is_none() {
        return Ok(());
    }
    let (_, (end, _)) = key;
    let last = end.saturating_sub(1);
    if node.is_some_and(|node| node.passed_epoch == Some(last)) {
        return Ok(());
    }
    let done = async {
        tokio::select! {
            proven = proven.wait_for(|proven| Some(last) <= *proven) => proven.is_ok(),
            // The next window is open, so the table has changed.
            window = window.wait_for(|window| Some(end) <= *window) => window.is_ok(),
        }
    };
    match timeout(PROOF_PATIENCE, done).await {
        Ok(true) => Ok(()),
        _ => {
            let message = "the shard's last epoch is not proven yet: ask again when it is";
            Err(Stop::refused(RefusalCode::Busy, message))
        }
    }
}

fn unreachable(error: impl std::fmt::Display) -> Stop {
    Stop::refused(RefusalCode::Stale, format!("this node cannot reach its ledger: {error}"))
}

/// How long a peer waits for a proof that is under way.
const PROOF_PATIENCE: Duration = Duration::from_secs(5);
