//! Shards that no node keeps any longer: their node has said so, or it is dead.
//!
//! The pay for the epochs that such a shard will not be kept goes into the hold of its deal, and with it a part of its
//! node's collateral. Both pay for the next node.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    amount::Amount,
    id::{DealId, NodeId},
    ledger::{
        block::{Event, Place, Reason},
        books::Books,
        collateral::{self, Fault},
        rows::{
            Deal, DealState, Deals, Degraded, HoldKey, Joins, Leaves, Node, Nodes, Nothing, Slots,
            Table,
        },
        state::State,
        status::Status,
        transaction::LostShard,
        window,
    },
};

/// Shards that one transaction declares lost at most.
pub const DECLARED_SHARDS_MAX: usize = 64;

/// Changes of a slot table that an evicted shard counts for: its deal changes too.
const EVICTION_CHANGES: usize = 2;

/// A node's checked statement.
#[derive(Debug)]
pub(super) struct Declared {
    node: NodeId,
    shards: Vec<(LostShard, Box<Deal>)>,
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    id: NodeId,
    shards: &[LostShard],
) -> Result<Declared, Status> {
    let node = books.get(Nodes, &id).ok_or(Status::UnknownNode)?;
    let rows = shards.iter().map(|lost| Some((*lost, Box::new(books.get(Deals, &lost.deal)?))));
    let rows = rows.collect::<Option<Vec<_>>>().ok_or(Status::UnknownDeal)?;
    for (lost, deal) in &rows {
        if deal.kept_by(&id).is_none_or(|(index, _)| index != lost.index) {
            return Err(Status::NotYours);
        }
    }
    let is_over = |deal: &Deal| deal.state != DealState::Open || deal.end <= books.chain.epoch;
    if rows.iter().any(|(_, deal)| is_over(deal)) {
        return Err(Status::DealClosed);
    }
    // Its challenges are known: a node would declare what it is asked for.
    if window::is_overdue(books, &node) {
        return Err(Status::TooEarly);
    }
    Ok(Declared { node: id, shards: rows })
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, declared: Declared) {
    let Declared { node: id, shards } = declared;
    for (LostShard { deal: deal_id, .. }, deal) in shards {
        let (_, shard) = deal.kept_by(&id).expect("checked to be kept by the sender");
        let rate = shard.rate(deal.length);
        let mut node = books.get(Nodes, &id).expect("checked to be registered");
        let share = collateral::share(books, &node, deal.length, Fault::Declared);
        // A shard in the table leaves it with the next turn, and is proven until then.
        let first = if books.has(Leaves, &(id, (deal.end, deal_id))) {
            let next = node.next_epoch.expect("a node with slots waits for a window");
            window::move_leave(books, (id, deal_id), deal.end, next);
            next
        } else {
            spare(books, (id, deal_id), &mut node, shard.from, (deal.length, rate));
            shard.from
        };
        let freed = rate.checked_mul(deal.end - first).expect("no more than was paid");
        vacate(books, (id, deal_id), (first, freed), &mut node, share);
        books.put(Nodes, &id, &node);
    }
}

/// A shard that waits to join waits no longer, and its node has the room back.
pub(super) fn spare<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    (id, deal): (NodeId, DealId),
    node: &mut Node,
    from: u64,
    (length, rate): (u64, Amount),
) {
    assert!(books.has(Joins, &(id, (from, deal))), "a shard is in the table or waits for it");
    books.remove(Joins, &(id, (from, deal)));
    node.unbind(length, rate);
    books.report(Event::ShardSpared { node: id, deal });
}

/// Notes that a node keeps its shard of a deal only until this epoch. What is paid for the time after it goes to the
/// deal's hold; to the owner, if the deal is over; to the repair pool, if its row has left. If the deal loses the shard by
/// this, the share of the node's collateral goes into its hold too.
fn vacate<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    (node, id): (NodeId, DealId),
    (first, freed): (u64, Amount),
    row: &mut Node,
    share: Amount,
) {
    let reason = Reason::Deal { deal: id };
    let Some(deal) = books.get(Deals, &id) else {
        books.transfer(Place::Storage, Place::Repair, freed, reason);
        return;
    };
    let to = match deal.state {
        DealState::Open => Place::Hold { hold: HoldKey::Deal { deal: id } },
        DealState::Completed | DealState::Cancelled => Place::Account { account: deal.owner },
    };
    books.transfer(Place::Storage, to, freed, reason);
    // The owner may have given the shard to another node, or ended the deal.
    let Some((index, shard)) = deal.kept_by(&node).filter(|_| deal.state == DealState::Open) else {
        return;
    };
    let rate = shard.rate(deal.length);
    let mut after = deal.clone();
    after.rate = deal.rate.checked_sub(rate).expect("the sum of what is kept");
    let kept = after.shards[usize::from(index)].as_mut().expect("it is there");
    kept.lost = Some(first);
    put_deal(books, id, &deal, &after);
    collateral::forfeit(books, node, row, id, share);
    books.report(Event::ShardLost { deal: id, index, node });
}

/// Takes shards from a dead node: those in its table, then those that wait to join. Returns how many changes this counts
/// for, and whether the node has none left.
pub(super) fn evict<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: &NodeId,
    node: &mut Node,
    epoch: u64,
    changes_max: usize,
) -> (usize, bool) {
    let most = changes_max / EVICTION_CHANGES;
    let kept = books.due(Leaves, &window::of_node(Leaves::TAG, id), most, |_| true);
    for ((_, key), _) in &kept {
        let share = share_of(books, node, (id, *key));
        let slot = window::leave(books, id, node, *key);
        let left = slot.leaves.saturating_sub(epoch);
        let freed = slot.rate.checked_mul(left).expect("no more than was paid");
        vacate(books, (*id, slot.deal), (epoch, freed), node, share);
    }
    let rest = most - kept.len();
    let waiting = books.due(Joins, &window::of_node(Joins::TAG, id), rest, |_| true);
    for ((_, (from, deal_id)), _) in &waiting {
        let deal = books.get(Deals, deal_id).expect("a deal's row stays while its shards wait");
        let (_, shard) = deal.kept_by(id).expect("a shard that waits is one of its deal");
        let rate = shard.rate(deal.length);
        let share = collateral::share(books, node, deal.length, Fault::Dead);
        spare(books, (*id, *deal_id), node, *from, (deal.length, rate));
        let freed = rate.checked_mul(deal.end - from).expect("no more than was paid");
        vacate(books, (*id, *deal_id), (*from, freed), node, share);
    }
    let evicted = kept.len() + waiting.len();
    let is_done = evicted < most;
    if is_done {
        collateral::forfeit_rest(books, *id, node);
    }
    (evicted * EVICTION_CHANGES, is_done)
}

/// What a dead node's collateral gives for a shard in its table.
fn share_of<S: State + ?Sized>(
    books: &Books<'_, S>,
    node: &Node,
    (id, key): (&NodeId, (u64, DealId)),
) -> Amount {
    let leave = books.get(Leaves, &(*id, key)).expect("it was read a moment ago");
    let slot = books.get(Slots, &(*id, leave.position)).expect("tables are dense");
    collateral::share(books, node, slot.length, Fault::Dead)
}

/// Writes a deal's row, and notes how many more shards it could lose.
pub(super) fn put_deal<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: DealId,
    before: &Deal,
    after: &Deal,
) {
    let (was, is) = (degraded(before), degraded(after));
    if was != is {
        if let Some(spare) = was {
            books.remove(Degraded, &(spare, id));
        }
        if let Some(spare) = is {
            books.put(Degraded, &(spare, id), &Nothing {});
        }
    }
    books.put(Deals, &id, after);
}

/// Where the row of a deal in `Degraded` stands; `None` if it has none.
fn degraded(deal: &Deal) -> Option<u8> {
    let is_degraded = deal.state == DealState::Open && deal.lost().next().is_some();
    is_degraded.then(|| deal.spare())
}
