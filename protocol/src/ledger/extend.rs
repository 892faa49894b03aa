//! Longer terms: anyone may pay for more epochs of deals, at the prices to which their nodes have agreed.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    amount::Amount,
    id::{AccountId, DealId},
    ledger::{
        Params,
        block::{Event, Place, Reason},
        books::Books,
        rows::{Deal, DealSlot, DealState, Deals, DealsDue, HoldKey, Leaves, Nodes, Nothing},
        state::State,
        status::Status,
        storage::{Cost, cost_of},
        window,
    },
};

/// Deals that one transaction extends at most.
pub const EXTENDED_DEALS_MAX: usize = 64;

/// Shards of these deals together at most: each in a slot table changes three rows.
pub const EXTENDED_SHARDS_MAX: usize = 384;

/// A checked extension.
#[derive(Debug)]
pub(super) struct Extended {
    sender: AccountId,
    epochs: u64,
    deals: Vec<(DealId, Box<Deal>, Cost)>,
    /// What leaves the sender's balance.
    pub(super) total: Amount,
}

/// The cost of more epochs for a deal whose kept shards have this rate together. `None` past the largest amount.
#[must_use]
pub fn extension_cost(params: &Params, rate: Amount, epochs: u64) -> Option<Cost> {
    cost_of(params, rate, epochs)
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    deals: &[DealId],
    epochs: u64,
    cost_max: Option<Amount>,
) -> Result<Extended, Status> {
    let rows = deals.iter().map(|id| Some((*id, Box::new(books.get(Deals, id)?))));
    let rows = rows.collect::<Option<Vec<_>>>().ok_or(Status::UnknownDeal)?;
    let params = &books.chain.params;
    let costs = rows.iter().map(|(_, deal)| extension_cost(params, deal.rate, epochs));
    let costs = costs.collect::<Option<Vec<_>>>();
    let total = costs.as_ref().and_then(|costs| {
        costs.iter().try_fold(Amount::ZERO, |sum, cost| sum.checked_add(cost.total))
    });
    // Less the fee; absent if this alone is more.
    if total.is_some_and(|total| cost_max.is_none_or(|cost_max| cost_max < total)) {
        return Err(Status::TermsChanged);
    }
    let is_over = |deal: &Deal| deal.state != DealState::Open || deal.end <= books.chain.epoch;
    if rows.iter().any(|(_, deal)| is_over(deal)) {
        return Err(Status::DealClosed);
    }
    for (_, deal) in &rows {
        let end = deal.end.saturating_add(epochs);
        let agrees = |shard: &DealSlot| end <= shard.until || end <= agrees(books, shard);
        if !deal.kept().all(|(_, shard)| agrees(shard)) {
            return Err(Status::AcceptanceExpired);
        }
    }
    let (Some(costs), Some(total)) = (costs, total) else { return Err(Status::Overflow) };
    let deals = rows.into_iter().zip(costs).map(|((id, deal), cost)| (id, deal, cost)).collect();
    Ok(Extended { sender, epochs, deals, total })
}

/// The first epoch for which a shard's node does not agree to its price, by its registration.
fn agrees<S: State + ?Sized>(books: &Books<'_, S>, shard: &DealSlot) -> u64 {
    books.get(Nodes, &shard.node).map_or(0, |node| node.agrees(shard.price))
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, extended: Extended) {
    let Extended { sender, epochs, deals, .. } = extended;
    let from = Place::Account { account: sender };
    for (id, mut deal, cost) in deals {
        let reason = Reason::Deal { deal: id };
        books.transfer(from, Place::Storage, cost.storage, reason);
        books.transfer(from, Place::Treasury, cost.fee, Reason::Fee);
        let hold = Place::Hold { hold: HoldKey::Deal { deal: id } };
        books.transfer(from, hold, cost.reserve, reason);
        let (before, end) = (deal.end, deal.end + epochs);
        for (_, shard) in deal.kept() {
            // A shard that waits joins until the deal's end, whenever that is.
            if books.has(Leaves, &(shard.node, (before, id))) {
                window::move_leave(books, (shard.node, id), before, end);
            }
        }
        books.remove(DealsDue, &(before, id));
        books.put(DealsDue, &(end, id), &Nothing {});
        deal.end = end;
        books.put(Deals, &id, &deal);
        books.report(Event::DealExtended { deal: id, end });
    }
}
