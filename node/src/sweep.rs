//! Deletes shards nobody paid for.

use symbolon_protocol::{
    id::DealId,
    ledger::rows::{Deal, DealState, Deals},
};
use symbolon_store::{Shard, ShardState, Shards, StoreError};
use tracing::{info, warn};

use crate::{
    admission::Paid,
    follow,
    serve::Stop,
    shared::{Shared, Stopped},
};

/// Looks for expired unpaid shards until the node stops.
pub(crate) async fn sweep_unpaid(shared: &Shared) {
    for round in 1_u64.. {
        if shared.sleep_ms(shared.options.limits.sweep_ms).await == Err(Stopped) {
            return;
        }
        if let Err(why) = sweep(shared).await {
            warn!(why, "expired shards are not looked for");
        }
        if round.is_multiple_of(COUNTERS_EVERY) {
            sweep_counters(shared).await;
        }
    }
}

async fn sweep(shared: &Shared) -> Result<(), String> {
    remove_ended(shared).await?;
    let now_ms = shared.host.now_ms();
    let due = shared.with_store(move |store| store.expired(now_ms, SWEEP_MAX)).await;
    let due = due.map_err(|error| error.to_string())?;
    if due.is_empty() {
        return Ok(());
    }
    // A deal that opened in a block this node has not seen yet must not lose its shard.
    if let Err(Stop::Refused(refusal)) = shared.freshen(0).await {
        return Err(refusal.message);
    }
    for (deal, index) in due {
        sweep_shard(shared, deal, index, now_ms).await?;
    }
    Ok(())
}

/// Forgets what was counted under grants that have ended.
async fn sweep_counters(shared: &Shared) {
    let now_ms = shared.host.now_ms();
    if let Err(error) = shared.with_store(move |store| store.sweep_counters(now_ms)).await {
        warn!(%error, "counters are not swept");
    }
}

/// Deletes the shards of deals that are over.
pub(crate) async fn remove_ended(shared: &Shared) -> Result<(), String> {
    // At time zero only ended deals are due.
    let ended = shared.with_store(|store| store.expired(0, SWEEP_MAX)).await;
    for (deal, index) in ended.map_err(|error| error.to_string())? {
        sweep_shard(shared, deal, index, 0).await?;
    }
    Ok(())
}

/// Deletes a shard that was due at `now_ms` and still is, unless the ledger's own row says that it is paid for. Events are the word of the
/// server they came from, rows are proven; and bytes that are gone do not come back.
async fn sweep_shard(shared: &Shared, deal: DealId, index: u8, now_ms: u64) -> Result<(), String> {
    let row = shared.ledger.row(Deals, &deal).await.map_err(|error| error.to_string())?;
    if row.is_some_and(|row| names(&row, shared, index)) {
        warn!(%deal, index, "a shard that was to be deleted is paid for");
        let marked = shared.with_store(move |store| {
            let shard = store.info(&deal, index)?;
            store.mark(&deal, index, ShardState::Active)?;
            Ok::<_, StoreError>(shard)
        });
        let shard = marked.await.map_err(|error| error.to_string())?;
        if let Some(shard) = shard.filter(|shard| follow::paid(shard) == Paid::No) {
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
/// Shards deleted in one sweep at most; the next one goes on.
const SWEEP_MAX: usize = 1024;
