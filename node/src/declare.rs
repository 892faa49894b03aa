//! Tells the ledger which shards the node has lost. That costs the pay for these shards, and not the pay of the whole table.
//!
//! A shard may seem damaged while its disk is away. So the operator has some time to put that right first, and the shard
//! is read again before it is declared.

use std::collections::BTreeMap;

use symbolon_protocol::{
    MachineTime,
    id::{DealId, TransactionId},
    ledger::{
        DECLARED_SHARDS_MAX, Status,
        rows::{Deal, DealState, Deals},
        transaction::{Action, LostShard},
    },
};
use symbolon_store::StoreError;
use tracing::{info, warn};

use crate::{
    scrub,
    shared::{Backoff, Shared, Stopped},
    submit::submit,
};

/// Declares damaged shards until the node stops.
pub(crate) async fn declare_damaged(shared: &Shared) {
    loop {
        match declare(shared).await {
            Ok(0) => {}
            Ok(shards) => {
                info!(shards, "declared damaged shards lost: others are paid for them from now on")
            }
            Err(why) => warn!(why, "damaged shards are not declared lost yet"),
        }
        let look_ms = (shared.options.limits.declare_after_ms / 2).clamp(LOOK_MS_MIN, LOOK_MS_MAX);
        if shared.sleep_ms(look_ms).await == Err(Stopped) {
            return;
        }
    }
}

/// Reads the damaged shards again: what is whole by now is served again.
async fn check_again(shared: &Shared) -> Result<(), StoreError> {
    for damaged in shared.with_store(|store| store.damaged(LISTED)).await? {
        let (deal, index) = (damaged.deal, damaged.index);
        if let Some(shard) = shared.with_store(move |store| store.info(&deal, index)).await? {
            scrub::check(shared, &shard).await?;
        }
    }
    Ok(())
}

/// Returns how many shards were declared lost.
async fn declare(shared: &Shared) -> Result<usize, String> {
    check_again(shared).await.map_err(|error| error.to_string())?;
    let listed = shared.with_store(|store| store.damaged(LISTED)).await;
    let mut listed = listed.map_err(|error| error.to_string())?;
    let now_ms: MachineTime = shared.host.now_ms();
    listed.retain(|damaged| {
        let since_ms = now_ms.0.saturating_sub(damaged.noticed_ms.0);
        shared.options.limits.declare_after_ms <= since_ms
    });
    if listed.is_empty() {
        return Ok(0);
    }
    // A node keeps one shard of a deal.
    let places: BTreeMap<DealId, u8> = listed.iter().map(|one| (one.deal, one.index)).collect();
    let deals: Vec<DealId> = places.keys().copied().collect();
    let mut lost = Vec::new();
    for deals in deals.chunks(PAGE) {
        let rows = shared.ledger.rows(Deals, deals).await.map_err(|error| error.to_string())?;
        for (deal, row) in deals.iter().zip(rows) {
            let index = places[deal];
            if row.is_some_and(|row| is_asked_for(shared, &row, index)) {
                lost.push(LostShard { deal: *deal, index });
            }
        }
    }
    for shards in lost.chunks(DECLARED_SHARDS_MAX) {
        let id = TransactionId(shared.host.random());
        let action = Action::DeclareLost { shards: shards.to_vec() };
        let until_tick = shared.host.ticks_ms().saturating_add(PATIENCE_MS);
        let sent = submit(shared, id, action, until_tick, Backoff::new(500, 10_000)).await;
        match sent.map_err(|error| error.to_string())? {
            Status::Applied => {}
            status => return Err(status.to_string()),
        }
    }
    Ok(lost.len())
}

/// Whether the ledger will ask this node for the shard.
fn is_asked_for(shared: &Shared, deal: &Deal, index: u8) -> bool {
    let ours = deal.kept_by(&shared.key.id()).is_some_and(|(kept, _)| kept == index);
    ours && deal.state == DealState::Open && shared.view.epoch() < deal.end
}

/// Damaged shards that are looked at.
const LISTED: usize = 4_096;
/// Deals whose rows are requested together.
const PAGE: usize = 256;
/// The shortest time between two looks at the list of damaged shards, in milliseconds.
const LOOK_MS_MIN: u64 = 500;
/// The longest one.
const LOOK_MS_MAX: u64 = 10 * 60_000;
/// How long a declaration is sent again, in milliseconds: longer than a turn that is overdue takes.
const PATIENCE_MS: u64 = 60_000;
