//! Other nodes for shards of a deal that runs: for lost ones, for those whose node keeps them no longer, and for those
//! that their owner wants elsewhere or at another price.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    amount::Amount,
    id::{AccountId, DealId, NodeId},
    ledger::{
        admission::Signatures,
        block::{Event, Place, Reason},
        books::Books,
        lost,
        rows::{Deal, DealSlot, DealState, Deals, HoldKey, Holds, Leaves, Node, Nodes},
        state::State,
        status::Status,
        storage::{self, slot_rate},
        transaction::{Acceptance, DealTerms},
        window,
    },
};

/// Shards that one transaction places at most.
pub const PLACED_SHARDS_MAX: usize = 64;

/// A checked placement.
#[derive(Debug)]
pub(super) struct Placed {
    id: DealId,
    deal: Box<Deal>,
    /// By acceptance: the new keeper, and what happens to the one before.
    shards: Vec<(u8, DealSlot, Before)>,
    sender: AccountId,
    /// What the nodes before are not paid any more.
    freed: Amount,
    /// What the deal's hold pays of the new nodes' pay.
    held: Amount,
    /// What leaves the sender's balance.
    pub(super) total: Amount,
}

/// The node that kept a shard before.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// None does.
    Unkept,
    /// It proves the shard until the new node begins.
    InTable { node: NodeId },
    /// It waited to join with this epoch. The owner pays it for one epoch, so that no offered storage is free.
    Waiting { node: NodeId, from: u64, pay: Amount },
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    terms: &DealTerms,
    (acceptances, cost_max): (&[Acceptance], Option<Amount>),
    signatures: &Signatures,
) -> Result<Placed, Status> {
    let id = terms.deal();
    let row = books.get(Deals, &id);
    if !signatures.acceptances(books.id(), terms, acceptances)
        || row.as_ref().is_some_and(|deal| !matches(deal, terms, acceptances))
    {
        return Err(Status::BadAcceptance);
    }
    let nodes: Option<Vec<Node>> =
        acceptances.iter().map(|accepted| books.get(Nodes, &accepted.node)).collect();
    let nodes = nodes.ok_or(Status::UnknownNode)?;
    let deal = row.ok_or(Status::UnknownDeal)?;
    let owner = sender == deal.owner;
    let is_mine = |accepted: &Acceptance| {
        let kept = deal.kept_by(&NodeId::from(sender));
        owner || kept.is_some_and(|(index, _)| index == accepted.index)
    };
    if !acceptances.iter().all(is_mine) {
        return Err(Status::NotYours);
    }
    for accepted in acceptances {
        if deal.kept_by(&accepted.node).is_some_and(|(index, _)| index != accepted.index) {
            return Err(Status::Exists);
        }
    }
    let placed = plan(books, (id, &deal), sender, acceptances);
    let is_more = |placed: &Placed| cost_max.is_none_or(|cost_max| cost_max < placed.total);
    if placed.as_ref().is_some_and(is_more) {
        return Err(Status::TermsChanged);
    }
    check_state(books, &deal, acceptances, &nodes)?;
    placed.ok_or(Status::Overflow)
}

/// Whether the acceptances are for this deal and its shards.
fn matches(deal: &Deal, terms: &DealTerms, acceptances: &[Acceptance]) -> bool {
    let known = |accepted: &Acceptance| {
        let shard = deal.shards.get(usize::from(accepted.index)).and_then(Option::as_ref);
        shard.is_none_or(|shard| shard.root == accepted.root)
    };
    terms.object == deal.object
        && terms.segment == deal.segment
        && terms.required == deal.required
        && usize::from(terms.total) == deal.shards.len()
        && terms.length == deal.length
        && terms.access == deal.access
        && acceptances.iter().all(known)
}

fn check_state<S: State + ?Sized>(
    books: &Books<'_, S>,
    deal: &Deal,
    acceptances: &[Acceptance],
    nodes: &[Node],
) -> Result<(), Status> {
    // The new nodes are paid from the next epoch on.
    if deal.state != DealState::Open || deal.end <= books.chain.epoch + 1 {
        return Err(Status::DealClosed);
    }
    if nodes.iter().any(|node| node.free() < deal.length) {
        return Err(Status::NodeFull);
    }
    let is_over =
        |accepted: &Acceptance| accepted.expires_ms < books.now() || accepted.until < deal.end;
    if acceptances.iter().any(is_over) {
        return Err(Status::AcceptanceExpired);
    }
    let before = acceptances.iter().filter_map(|accepted| {
        let shard = deal.shards[usize::from(accepted.index)].filter(DealSlot::is_kept)?;
        books.get(Nodes, &shard.node)
    });
    match before.into_iter().any(|node| window::is_overdue(books, &node)) {
        true => Err(Status::TooEarly),
        false => Ok(()),
    }
}

/// What the placement does and costs. `None` past the largest amount.
fn plan<S: State + ?Sized>(
    books: &Books<'_, S>,
    (id, deal): (DealId, &Deal),
    sender: AccountId,
    acceptances: &[Acceptance],
) -> Option<Placed> {
    let from = books.chain.epoch + 1;
    let owner = sender == deal.owner;
    // An owner may use what the hold has: it is the owner's.
    let hold = books.get(Holds, &HoldKey::Deal { deal: id }).filter(|_| owner);
    let hold = hold.map_or(Amount::ZERO, |hold| hold.amount);
    let (mut cost, mut freed, mut shards) = (Amount::ZERO, Amount::ZERO, Vec::new());
    for accepted in acceptances {
        let &Acceptance { node, index, root, price, until, .. } = accepted;
        let rate = slot_rate(price, deal.length)?;
        cost = cost.checked_add(rate.checked_mul(deal.end.saturating_sub(from))?)?;
        let (before, spared) = before(books, (id, deal), index, owner);
        freed = freed.checked_add(spared).expect("no more than was paid");
        let shard = DealSlot { node, root, price, from, until, lost: None };
        shards.push((index, shard, before));
    }
    let there = freed.checked_add(hold).expect("no more than was issued");
    let held = cost.min(there);
    let total = cost.checked_sub(held).expect("the smaller of both");
    let deal = Box::new(deal.clone());
    Some(Placed { id, deal, shards, sender, freed, held, total })
}

/// Who keeps a shard now, and what that node is not paid if another one takes its place.
fn before<S: State + ?Sized>(
    books: &Books<'_, S>,
    (id, deal): (DealId, &Deal),
    index: u8,
    owner: bool,
) -> (Before, Amount) {
    let shard = deal.shards.get(usize::from(index)).copied().flatten();
    let Some(shard) = shard.filter(DealSlot::is_kept) else {
        return (Before::Unkept, Amount::ZERO);
    };
    let rate = slot_rate(shard.price, deal.length).expect("computed when it was placed");
    let spared = |first: u64| {
        let left = deal.end.saturating_sub(first);
        rate.checked_mul(left).expect("no more than was paid")
    };
    let node = shard.node;
    if books.has(Leaves, &(node, (deal.end, id))) {
        return (Before::InTable { node }, spared(books.chain.epoch + 1));
    }
    let from = shard.from;
    let (pay, first) = if owner { (rate, from + 1) } else { (Amount::ZERO, from) };
    (Before::Waiting { node, from, pay }, spared(first))
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, placed: Placed) {
    let Placed { id, deal, shards, sender, freed, held, total } = placed;
    let reason = Reason::Deal { deal: id };
    let hold = Place::Hold { hold: HoldKey::Deal { deal: id } };
    books.transfer(Place::Storage, hold, freed, reason);
    books.transfer(hold, Place::Storage, held, reason);
    books.transfer(Place::Account { account: sender }, Place::Storage, total, reason);
    let mut after = deal.clone();
    for (index, shard, before) in shards {
        let place = usize::from(index);
        if let Some(kept) = deal.shards[place].filter(DealSlot::is_kept) {
            let rate = slot_rate(kept.price, deal.length).expect("computed when it was placed");
            after.rate = after.rate.checked_sub(rate).expect("the sum of what is kept");
        }
        leave_before(books, (id, &deal), before, shard.from);
        let rate = slot_rate(shard.price, deal.length).expect("computed for its cost");
        after.rate = after.rate.checked_add(rate).expect("no more than its cost");
        after.shards[place] = Some(shard);
        storage::join(books, id, &deal, index, &shard);
        books.report(Event::ShardPlaced { deal: id, index, node: shard.node });
    }
    lost::put_deal(books, id, &deal, &after);
}

/// The node that kept a shard before keeps it no longer.
fn leave_before<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    (id, deal): (DealId, &Deal),
    before: Before,
    first: u64,
) {
    match before {
        Before::Unkept => {}
        Before::InTable { node } => window::move_leave(books, (node, id), deal.end, first),
        Before::Waiting { node, from, pay } => {
            let mut row = books.get(Nodes, &node).expect("nodes are never removed");
            lost::spare(books, (node, id), &mut row, from, deal.length);
            books.put(Nodes, &node, &row);
            let to = Place::Account { account: row.payout };
            books.transfer(Place::Storage, to, pay, Reason::Deal { deal: id });
        }
    }
}
