//! Deletes shards that are not paid for.
//!
//! The ledger's time in followed blocks decides when that is allowed, never the machine's clock.
//! While a block may still open a deal with the node's acceptance, the node must keep the shard.

use std::collections::BTreeSet;

use symbolon_protocol::{
    LedgerTime, Millis,
    id::{DealId, NodeId},
    ledger::rows::{Deal, DealState, Deals, Leaves, Node, Nodes},
};
use symbolon_store::{Shard, Shards, StoreError};
use tracing::{info, warn};

use crate::{
    custodian, follow,
    shared::{Shared, Stopped},
};

/// Searches for expired unpaid shards at intervals, and for shards of ended deals as soon as a deal
/// ends, until the node stops.
pub(crate) async fn sweep_unpaid(shared: &Shared) {
    let mut next_tick = shared.host.ticks_ms();
    for round in 1_u64.. {
        next_tick = next_tick.saturating_add(shared.options.limits.sweep_ms);
        loop {
            let wait_ms = next_tick.saturating_sub(shared.host.ticks_ms());
            tokio::select! {
                biased;
                slept = shared.sleep_ms(wait_ms) => match slept {
                    Ok(()) => break,
                    Err(Stopped) => return,
                },
                () = shared.view.shards_left.notified() => {
                    // At time zero only shards of ended deals are due. The next sweep handles those
                    // that cannot be decided now.
                    if let Err(why) = remove_due(shared, LedgerTime::ZERO).await {
                        warn!(why, "the shards of ended deals are not deleted yet");
                    }
                }
            }
        }
        if let Err(why) = sweep(shared).await {
            warn!(why, "expired shards could not be swept");
        }
        if round.is_multiple_of(COUNTERS_EVERY) {
            sweep_counters(shared).await;
        }
        if let Err(why) = custodian::drop_unopened(shared).await {
            warn!(why, "shares of unopened vaults could not be swept");
        }
    }
}

async fn sweep(shared: &Shared) -> Result<(), String> {
    // A block with exactly the time of an acceptance's expiry may still open its deal, so that time
    // must be over. The store knows all deals that blocks have opened until then.
    remove_due(shared, shared.view.block_ms().saturating_sub(Millis(1))).await
}

/// Deletes the shards that are due at a time, those of ended deals first.
async fn remove_due(shared: &Shared, now_ms: LedgerTime) -> Result<(), String> {
    loop {
        let due = shared.with_store(move |store| store.expired(now_ms, SWEEP_MAX)).await;
        let due = due.map_err(|error| error.to_string())?;
        let keys: Vec<_> = due.iter().map(|(deal, _)| *deal).collect();
        // One request for all of them: on a long path, thousands one after another would take
        // minutes.
        let rows = shared.ledger.rows(Deals, &keys).await.map_err(|error| error.to_string())?;
        let needed = needed(shared, &due, rows).await?;
        for ((deal, index), needed) in due.iter().zip(needed) {
            remove_one(shared, *deal, *index, now_ms, needed).await?;
        }
        // Each shard was deleted or is paid, so none of them comes again.
        if due.len() < SWEEP_MAX || *shared.stop.borrow() {
            return Ok(());
        }
    }
}

/// Removes the counters of grants that have ended. This uses the ledger's time: otherwise a clock
/// that is ahead for a while would give a grant its quota again.
async fn sweep_counters(shared: &Shared) {
    let now_ms = shared.view.block_ms();
    if let Err(error) = shared.with_store(move |store| store.sweep_counters(now_ms)).await {
        warn!(%error, "counters could not be swept");
    }
}

/// Deletes a shard that was due at `now_ms`, if it still is and the ledger's own rows do not say
/// that it is paid. Events are not proven, but rows are, and deleted bytes do not come back.
async fn remove_one(
    shared: &Shared,
    deal: DealId,
    index: u8,
    now_ms: LedgerTime,
    needed: bool,
) -> Result<(), String> {
    if needed {
        warn!(%deal, index, "a shard that was due for deletion is paid for");
        let marked = shared.with_store(move |store| store.mark_paid(&deal, index)).await;
        if let Some(shard) = marked.map_err(|error| error.to_string())? {
            shared.admission.count_paid(&shard.info.owner, shard.info.length);
        }
        return Ok(());
    }
    // Meanwhile its owner may have asked to store it again and got a new acceptance.
    let removed = shared.with_store(move |store| store.remove_expired(&deal, index, now_ms)).await;
    count_removed(shared, removed.map_err(|error| error.to_string())?);
    Ok(())
}

/// Deletes a shard, if it is stored, and frees what it took. When this returns, its bytes are gone.
pub(crate) async fn remove(shared: &Shared, deal: DealId, index: u8) -> Result<(), StoreError> {
    let removed = shared.with_store(move |store| store.remove(&deal, index)).await?;
    count_removed(shared, removed);
    shared.with_store(Shards::clear).await
}

fn count_removed(shared: &Shared, removed: Option<Shard>) {
    let Some(shard) = removed else { return };
    let paid = follow::paid(&shard);
    shared.admission.count_deleted(&shard.info.owner, shard.info.length, paid);
    info!(deal = %shard.info.deal, index = shard.info.index, ?paid, "shard deleted");
}

/// Which of the shards are needed, by the rows of their deals.
async fn needed(
    shared: &Shared,
    due: &[(DealId, u8)],
    rows: Vec<Option<Deal>>,
) -> Result<Vec<bool>, String> {
    if rows.iter().all(Option::is_none) {
        return Ok(vec![false; due.len()]);
    }
    let me = shared.key.id();
    // Both are read after the deals. So a shard that a deal of these rows needs is found in them.
    let node = shared.ledger.row(Nodes, &me).await.map_err(|error| error.to_string())?;
    let keys: Vec<_> = due
        .iter()
        .zip(&rows)
        .filter_map(|((deal, _), row)| {
            Some(possible_leaves(me, node.as_ref()?, *deal, row.as_ref()?))
        })
        .flatten()
        .collect();
    let leaves = shared.ledger.rows(Leaves, &keys).await.map_err(|error| error.to_string())?;
    let found = keys.iter().zip(&leaves).filter(|(_, row)| row.is_some());
    let kept: BTreeSet<DealId> = found.map(|((_, (_, deal)), _)| *deal).collect();
    let needs = |((deal, index), row): (&(DealId, u8), Option<Deal>)| {
        row.is_some_and(|row| {
            let ours = row.kept_by(&me).is_some_and(|(kept, _)| kept == *index);
            // An open deal whose time has not come waits for the node's window.
            let waits = row.state == DealState::Open && shared.view.epoch() < row.end;
            (ours && waits) || kept.contains(deal)
        })
    };
    Ok(due.iter().zip(rows).map(needs).collect())
}

/// The keys of the rows of which the ledger has one while the node's shard of this deal is in its slot table: which one
/// depends on whether the node still keeps the shard.
fn possible_leaves(
    me: NodeId,
    node: &Node,
    deal: DealId,
    row: &Deal,
) -> Vec<(NodeId, (u64, DealId))> {
    let Some(next) = node.next_epoch else { return Vec::new() };
    // A shard that the node keeps no longer leaves with its next window, or the one after it.
    let early = [next, next.saturating_add(1)];
    let at_end = row.kept_by(&me).map(|_| row.leaves_with(next));
    early.into_iter().chain(at_end).map(|epoch| (me, (epoch, deal))).collect()
}

/// The key of the row that the ledger has while a shard of a deal that is over is in the node's slot table; `None` if
/// the table has no shard.
pub(crate) fn leave_of_ended(
    me: NodeId,
    node: Option<&Node>,
    deal: DealId,
    row: &Deal,
) -> Option<(NodeId, (u64, DealId))> {
    let next = node?.next_epoch?;
    Some((me, (row.leaves_with(next), deal)))
}

/// Every how many rounds counters are swept. Sweeping them always writes to disk.
const COUNTERS_EVERY: u64 = 60;
/// Shards whose deals are requested at once.
const SWEEP_MAX: usize = 1024;
