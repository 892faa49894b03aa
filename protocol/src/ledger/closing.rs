//! Deals whose time is over: first the reserve goes back, and some epochs later the rows leave the state.

use crate::{
    id::DealId,
    ledger::{
        block::{Event, Reason},
        books::Books,
        care, claim, fees, lost,
        rows::{
            Cares, Deal, DealState, Deals, DealsDue, DealsOf, HoldKey, Joins, Leaves, Nodes,
            Nothing, Table,
        },
        state::State,
    },
};

/// Steps that a block does at most for slot tables and for deals that are over: four for each shard that its transactions
/// may add. A shard joins a table and leaves it, and its deal is completed and removed.
pub(super) const STEPS_MAX: usize = 512;

/// Shards of a deal for which its removal takes one step more: they are looked up, and their rows do not change.
const SHARDS_A_STEP: usize = 16;

/// For how many epochs after its end the ledger keeps a deal's row: its owner and its nodes may still ask for it.
pub const DEAL_KEPT_EPOCHS: u64 = 100;

/// Closes the deals that are due, earliest first, with the steps that the slot tables have left.
pub(super) fn close_due<S: State + ?Sized>(books: &mut Books<'_, S>, slot_changes: usize) {
    let now = books.chain.epoch;
    let mut left = STEPS_MAX - slot_changes;
    let due = books.due(DealsDue, &[DealsDue::TAG], left, |key| key.0 <= now);
    for (key, _) in due {
        let (_, id) = key;
        let deal = books.get(Deals, &id).expect("what is due was opened");
        let is_over = deal.state != DealState::Open;
        let steps = match is_over {
            true => 1 + deal.shards.len() / SHARDS_A_STEP + usize::from(books.has(Cares, &id)),
            // Each caretaker is paid by itself.
            false => 1 + claim::payments(books, id),
        };
        let Some(rest) = left.checked_sub(steps) else { return };
        left = rest;
        books.remove(DealsDue, &key);
        if !is_over {
            complete(books, id, &deal);
        } else if has_slots(books, id, &deal) {
            books.put(DealsDue, &(now + 1, id), &Nothing {});
        } else {
            books.remove(Deals, &id);
            books.remove(DealsOf, &(deal.owner, id));
            care::remove(books, id, &deal);
            fees::give_back(books, deal.owner, fees::deal_weight(deal.shards.len()));
        }
    }
}

/// Returns the reserve of a deal whose last epoch is over.
fn complete<S: State + ?Sized>(books: &mut Books<'_, S>, id: DealId, deal: &Deal) {
    assert!(deal.end <= books.chain.epoch, "a deal completes after its last epoch");
    let mut ended = deal.clone();
    ended.state = DealState::Completed;
    lost::put_deal(books, id, deal, &ended);
    keep(books, id, &ended);
    books.report(Event::DealEnded { deal: id });
    claim::settle(books, id, deal, false);
    books.close_hold(HoldKey::Deal { deal: id }, deal.owner, Reason::Deal { deal: id });
}

/// Notes when the rows of a deal that has ended leave the state.
pub(super) fn keep<S: State + ?Sized>(books: &mut Books<'_, S>, id: DealId, deal: &Deal) {
    assert!(deal.state != DealState::Open, "only what has ended is removed");
    books.put(DealsDue, &(deal.end.saturating_add(DEAL_KEPT_EPOCHS), id), &Nothing {});
}

/// Whether a shard of the deal is in a slot table or waits for one. The windows of a node may be late.
fn has_slots<S: State + ?Sized>(books: &Books<'_, S>, id: DealId, deal: &Deal) -> bool {
    deal.kept().any(|(_, shard)| {
        // A node may have retired since.
        let next = books.get(Nodes, &shard.node).and_then(|node| node.next_epoch);
        next.is_some_and(|next| {
            let end = deal.leaves_with(next);
            books.has(Leaves, &(shard.node, (end, id)))
                || books.has(Joins, &(shard.node, (shard.from, id)))
        })
    })
}
