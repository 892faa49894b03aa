//! The node's slot table: the shards that a window challenges. It comes from the store's copy, or
//! from the ledger when the copy does not fit.

use std::time::Duration;

use symbolon_ledger::{Ledger, ROWS_MAX};
use symbolon_protocol::{
    id::NodeId,
    ledger::rows::{Chain, Chains, Node as NodeRow, Nodes, Slot, Slots, Table as _, Window},
    proof::challenges,
};
use symbolon_store::{SlotsHead, SlotsView, StoreError};
use tokio::{task::JoinSet, time::timeout};
use tracing::{debug, info, warn};

use crate::{prove::ProveError, shared::Shared};

/// A leaf to open, and the slot of its shard.
pub(crate) type Pick = (Slot, u64);

/// The ledger's own row and this node's, both from one block, in one request.
pub(crate) async fn read_rows(shared: &Shared) -> Result<(Chain, Option<NodeRow>), ProveError> {
    let rows = shared.ledger.pair((Chains, &()), (Nodes, &shared.key.id())).await;
    let (chain, node) = rows.map_err(unread)?;
    let chain = chain.ok_or_else(|| ProveError::Ledger(String::from("it has no chain row")))?;
    Ok((chain, node))
}

/// The leaves that the window challenges. If the copy is right, this needs no request to the ledger.
pub(crate) async fn picks(
    shared: &Shared,
    chain: &Chain,
    node: &NodeRow,
    window: &Window,
) -> Result<Vec<Pick>, ProveError> {
    if let Some(picks) = draw(shared, node, window).await? {
        return Ok(picks);
    }
    if shared.view.height() < chain.height {
        // The copy only lacks blocks that exist already. Wait for them.
        let mut height = shared.view.height_watch();
        let patience = Duration::from_millis(shared.params().epoch_ms.0 / 4).min(CATCH_UP);
        let caught_up = height.wait_for(|height| chain.height <= *height);
        let caught_up = timeout(patience, caught_up).await.is_ok();
        debug!(caught_up, "waited for blocks");
        if let Some(picks) = draw(shared, node, window).await? {
            return Ok(picks);
        }
    }
    read(shared, chain, node).await?;
    let picks = draw(shared, node, window).await?;
    picks.ok_or_else(|| ProveError::Ledger(String::from("the slot table changed meanwhile")))
}

/// Stores an empty table as the copy. It needs no reading: the node learns from blocks which shards
/// join it.
pub(crate) async fn note_empty(
    shared: &Shared,
    height: u64,
    head: SlotsHead,
) -> Result<(), StoreError> {
    shared
        .with_store(move |store| {
            if store.view_slots(|view| Ok(view.head()))? == Some(head) {
                return Ok(());
            }
            store.set_slots(height, head, &[])
        })
        .await
}

fn head(node: &NodeRow) -> SlotsHead {
    SlotsHead { slots: node.slots, table: node.table }
}

/// Draws the window's leaves from the copy. Returns `None` if the copy is missing or differs from
/// the ledger's table.
async fn draw(
    shared: &Shared,
    node: &NodeRow,
    window: &Window,
) -> Result<Option<Vec<Pick>>, ProveError> {
    let seed = node.challenge_seed(&shared.chain, &shared.key.id(), window);
    let (wanted, longest, bytes) = (head(node), node.longest(), node.slot_bytes);
    let drawn = shared.with_store(move |store| {
        store.view_slots(|view| {
            if view.head() != wanted {
                return Ok(None);
            }
            let mut missing = false;
            let leaves = challenges(&seed, wanted.slots, longest, bytes, |position| {
                let slot = slot(view, position);
                missing |= slot.is_none();
                slot.map_or(0, |slot| slot.length)
            });
            if missing {
                return Ok(None);
            }
            let picks = leaves.iter().map(|leaf| Some((slot(view, leaf.slot)?, leaf.leaf)));
            Ok(picks.collect())
        })
    });
    let drawn = drawn.await.map_err(|error| ProveError::Store(error.to_string()))?;
    Ok(drawn.flatten())
}

/// A row of the copy. An unreadable row counts as missing: the ledger has it.
fn slot(view: &SlotsView, position: u32) -> Option<Slot> {
    view.slot(position)
        .inspect_err(|error| warn!(position, %error, "the copy of the slot table is damaged"))
        .ok()
        .flatten()
}

/// Reads the whole table from the ledger, each row proven, and stores it as the copy. The pages fit
/// together because a table changes only between two windows.
async fn read(shared: &Shared, chain: &Chain, node: &NodeRow) -> Result<(), ProveError> {
    let (height, wanted) = (chain.height, head(node));
    let mut rows: Vec<Slot> = Vec::new();
    let mut firsts = (0..wanted.slots).step_by(ROWS_MAX);
    loop {
        let mut pages = JoinSet::new();
        for first in firsts.by_ref().take(PAGES_AT_ONCE) {
            let (ledger, id) = (shared.ledger.clone(), shared.key.id());
            let count = ROWS_MAX.min((wanted.slots - first) as usize);
            pages.spawn(async move { (first, read_page(&ledger, id, first, count).await) });
        }
        if pages.is_empty() {
            break;
        }
        let mut read = pages.join_all().await;
        read.sort_by_key(|(first, _)| *first);
        for (_, page) in read {
            rows.extend(page?);
        }
    }
    let bytes = rows.iter().try_fold(0_u64, |sum, slot| sum.checked_add(slot.length));
    if bytes != Some(node.slot_bytes) {
        return Err(ProveError::Ledger(String::from("its slots do not add up to the node's row")));
    }
    let (_, of_now) = read_rows(shared).await?;
    if of_now.is_none_or(|of_now| head(&of_now) != wanted) {
        return Err(ProveError::Ledger(String::from("the slot table changed while it was read")));
    }
    let kept = shared.with_store(move |store| store.set_slots(height, wanted, &rows)).await;
    kept.map_err(|error| ProveError::Store(error.to_string()))?;
    info!(height, slots = wanted.slots, "the slot table was read from the ledger");
    Ok(())
}

/// Reads `count` rows from a position on.
async fn read_page(
    ledger: &Ledger,
    node: NodeId,
    first: u32,
    count: usize,
) -> Result<Vec<Slot>, ProveError> {
    let after = first.checked_sub(1).map(|before| Slots::key(&(node, before)));
    let page = ledger.scan(Slots, &node.0, after.as_deref(), count).await.map_err(unread)?;
    if page.len() != count {
        return Err(ProveError::Ledger(format!("it returned {} of {count} slots", page.len())));
    }
    for (position, (key, _)) in (first..).zip(&page) {
        if Slots::parse(key) != Some((node, position)) {
            return Err(ProveError::Ledger(format!("it did not return slot {position}")));
        }
    }
    Ok(page.into_iter().map(|(_, slot)| slot).collect())
}

fn unread(error: impl std::fmt::Display) -> ProveError {
    ProveError::Ledger(error.to_string())
}

/// How long the node waits for existing blocks before it reads the whole table.
const CATCH_UP: Duration = Duration::from_secs(3);
/// Pages that are requested at the same time. On a long path, one after another would take minutes.
const PAGES_AT_ONCE: usize = 4;
