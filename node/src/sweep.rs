//! Deletes shards nobody paid for.
//!
//! When that is allowed is for the ledger's time to say, as it stands in blocks that were followed, and never
//! for the machine's clock: while a block of the ledger may still open a deal with the node's acceptance, the
//! node is bound to the shard.

use symbolon_protocol::{
    id::DealId,
    ledger::rows::{Deal, DealState, Deals},
};
use symbolon_store::{Shard, Shards, StoreError};
use tracing::{info, warn};

use crate::{
    custodian, follow,
    shared::{Shared, Stopped},
};

/// Looks for expired unpaid shards until the node stops, and for those of deals that are over when there are any.
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
                () = shared.view.deals_ended.notified() => {
                    // At time zero only ended deals are due. What cannot be decided now is decided by the
                    // next sweep.
                    if let Err(why) = remove_due(shared, 0).await {
                        warn!(why, "the shards of ended deals are not deleted yet");
                    }
                }
            }
        }
        if let Err(why) = sweep(shared).await {
            warn!(why, "expired shards are not looked for");
        }
        if round.is_multiple_of(COUNTERS_EVERY) {
            sweep_counters(shared).await;
        }
        if let Err(why) = custodian::drop_unopened(shared).await {
            warn!(why, "shares of vaults that were never opened are not looked for");
        }
    }
}

async fn sweep(shared: &Shared) -> Result<(), String> {
    // A block of the very time an acceptance names may still open its deal: that time has to be over. What
    // the blocks until then opened is in the store.
    remove_due(shared, shared.view.block_ms().saturating_sub(1)).await
}

/// Deletes what is due at a time, ended deals first.
async fn remove_due(shared: &Shared, now_ms: u64) -> Result<(), String> {
    loop {
        let due = shared.with_store(move |store| store.expired(now_ms, SWEEP_MAX)).await;
        let due = due.map_err(|error| error.to_string())?;
        let keys: Vec<_> = due.iter().map(|(deal, _)| *deal).collect();
        // Asked together: one after the other, thousands take minutes over a long line.
        let rows = shared.ledger.rows(Deals, &keys).await.map_err(|error| error.to_string())?;
        for ((deal, index), row) in due.iter().zip(rows) {
            remove_one(shared, *deal, *index, now_ms, row).await?;
        }
        // Each was deleted or is paid: none comes again.
        if due.len() < SWEEP_MAX || *shared.stop.borrow() {
            return Ok(());
        }
    }
}

/// Forgets what was counted under grants that have ended. A clock that is ahead for a while must not give
/// anyone a quota anew.
async fn sweep_counters(shared: &Shared) {
    let now_ms = shared.view.block_ms();
    if let Err(error) = shared.with_store(move |store| store.sweep_counters(now_ms)).await {
        warn!(%error, "counters are not swept");
    }
}

/// Deletes a shard that was due at `now_ms` and still is, unless the ledger's own row says that it is paid
/// for. Events are the word of the server they came from, rows are proven; and bytes that are gone do not
/// come back.
async fn remove_one(
    shared: &Shared,
    deal: DealId,
    index: u8,
    now_ms: u64,
    row: Option<Deal>,
) -> Result<(), String> {
    if row.is_some_and(|row| names(&row, shared, index)) {
        warn!(%deal, index, "a shard that was to be deleted is paid for");
        let marked = shared.with_store(move |store| store.mark_paid(&deal, index)).await;
        if let Some(shard) = marked.map_err(|error| error.to_string())? {
            shared.admission.count_paid(&shard.info.owner, shard.info.length);
        }
        return Ok(());
    }
    // Meanwhile its owner may have asked for it again, and got the node's word.
    let removed = shared.with_store(move |store| store.remove_expired(&deal, index, now_ms)).await;
    count_removed(shared, removed.map_err(|error| error.to_string())?);
    Ok(())
}

/// Deletes a shard, if it is there, and gives back what it took. When this returns, its bytes are gone.
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

/// Whether an open deal counts on this node for the shard.
fn names(deal: &Deal, shared: &Shared, index: u8) -> bool {
    let open = matches!(deal.state, DealState::Offered | DealState::Active);
    let slot = deal.shards.get(usize::from(index)).and_then(Option::as_ref);
    // One that its owner has cancelled is in the slot table until the epoch is over.
    slot.is_some_and(|slot| slot.node == shared.key.id() && (open || slot.position.is_some()))
}

/// Rounds between two sweeps of counters: that one always writes to disk.
const COUNTERS_EVERY: u64 = 60;
/// Shards asked about in one go.
const SWEEP_MAX: usize = 1024;
