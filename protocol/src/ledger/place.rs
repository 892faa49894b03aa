//! Other nodes for shards of a deal that runs: for lost ones, which a caretaker may have claimed, for those whose node keeps
//! them no longer, and for those that their owner wants elsewhere or at another price.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    amount::Amount,
    id::{AccountId, DealId, NodeId},
    ledger::{
        admission::Signatures,
        block::{Event, Place, Reason},
        books::Books,
        claim, lost, nodes,
        rows::{Cares, Deal, DealSlot, DealState, Deals, HoldKey, Holds, Leaves, Node, Nodes},
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
    by: By,
    /// What the nodes before are not paid any more.
    freed: Amount,
    /// What the deal's hold pays of the new nodes' pay.
    held: Amount,
    /// The part of this that nodes have forfeited.
    forfeited: Amount,
    /// What leaves the sender's balance.
    pub(super) total: Amount,
}

/// Who places shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Their owner.
    Owner,
    /// The node that keeps them.
    Keeper,
    /// The caretaker that has claimed to rebuild them.
    Claimant,
}

/// The node that kept a shard before.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// None does.
    Unkept,
    /// It proves the shard until the new node begins.
    InTable { node: NodeId },
    /// It waited to join with this epoch. The owner pays it for one epoch, so that no offered storage is free.
    Waiting { node: NodeId, from: u64, rate: Amount },
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
    let keepers: Option<Vec<Node>> =
        acceptances.iter().map(|accepted| books.get(Nodes, &accepted.node)).collect();
    let keepers = keepers.ok_or(Status::UnknownNode)?;
    let deal = row.ok_or(Status::UnknownDeal)?;
    let by = placed_by(books, (id, &deal), sender, acceptances).ok_or(Status::NotYours)?;
    for accepted in acceptances {
        if deal.kept_by(&accepted.node).is_some_and(|(index, _)| index != accepted.index) {
            return Err(Status::Exists);
        }
    }
    let care = books.get(Cares, &id).filter(|_| by == By::Claimant);
    if care.is_some() && acceptances.iter().any(|accepted| accepted.node == NodeId::from(sender)) {
        return Err(Status::NotCaretaker);
    }
    if care.is_some_and(|care| acceptances.iter().any(|one| care.price_max < one.price)) {
        return Err(Status::TermsChanged);
    }
    nodes::check_taking(books, &keepers, deal.length, acceptances)?;
    let placed = plan(books, (id, &deal), (sender, by), acceptances);
    let is_more = |placed: &Placed| cost_max.is_none_or(|cost_max| cost_max < placed.total);
    // A caretaker pays nothing.
    if by != By::Claimant && placed.as_ref().is_some_and(is_more) {
        return Err(Status::TermsChanged);
    }
    check_state(books, &deal, acceptances, &keepers)?;
    // Two names could hand a shard to and fro at the beginning of each epoch, and never be asked for it.
    let waits = |(_, _, before): &(u8, DealSlot, Before)| matches!(before, Before::Waiting { .. });
    if by == By::Keeper && placed.as_ref().is_some_and(|placed| placed.shards.iter().any(waits)) {
        return Err(Status::TooEarly);
    }
    let placed = placed.ok_or(Status::Overflow)?;
    match by == By::Claimant && Amount::ZERO < placed.total {
        true => Err(Status::ReserveTooLow),
        false => Ok(placed),
    }
}

impl DealSlot {
    /// What the shard earns in an epoch, if it has so many bytes.
    ///
    /// # Panics
    /// If it is not in a deal's row: a price that has no rate is refused before.
    pub(super) fn rate(&self, length: u64) -> Amount {
        slot_rate(self.price, length).expect("computed when it was placed")
    }
}

/// Who may place these shards; `None` if the sender may not.
fn placed_by<S: State + ?Sized>(
    books: &Books<'_, S>,
    (id, deal): (DealId, &Deal),
    sender: AccountId,
    acceptances: &[Acceptance],
) -> Option<By> {
    if sender == deal.owner {
        return Some(By::Owner);
    }
    let node = NodeId::from(sender);
    let kept = deal.kept_by(&node).map(|(index, _)| index);
    if acceptances.iter().all(|accepted| kept == Some(accepted.index)) {
        return Some(By::Keeper);
    }
    if !books.has(Cares, &id) {
        // Its owner has taken the care back.
        return None;
    }
    let repair = claim::now(books, id, deal).repair;
    let claim = repair.running(books.chain.epoch).filter(|claim| claim.claimant == node)?;
    let is_claimed = |accepted: &Acceptance| claim.rebuild.contains(&accepted.index);
    acceptances.iter().all(is_claimed).then_some(By::Claimant)
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
    (sender, by): (AccountId, By),
    acceptances: &[Acceptance],
) -> Option<Placed> {
    let from = books.chain.epoch + 1;
    // Owner and caretaker may use what the hold has: it is the owner's, and for this. What caretakers have of it is not.
    let hold = books.get(Holds, &HoldKey::Deal { deal: id }).filter(|_| by != By::Keeper);
    let (own, forfeited) = hold.map_or((Amount::ZERO, Amount::ZERO), |hold| {
        let own = hold.amount.checked_sub(hold.forfeited);
        (own.expect("what was forfeited is a part of the hold"), hold.forfeited)
    });
    let free = if by == By::Keeper { Amount::ZERO } else { claim::now(books, id, deal).free };
    let own = own.checked_add(free).expect("no more than was issued");
    let (mut cost, mut freed, mut shards) = (Amount::ZERO, Amount::ZERO, Vec::new());
    let mut cost_of_lost = Amount::ZERO;
    for accepted in acceptances {
        let &Acceptance { node, index, root, price, until, .. } = accepted;
        let rate = slot_rate(price, deal.length)?;
        let pay = rate.checked_mul(deal.end.saturating_sub(from))?;
        cost = cost.checked_add(pay)?;
        let is_lost = |shard: &DealSlot| !shard.is_kept();
        if deal
            .shards
            .get(usize::from(index))
            .is_some_and(|shard| shard.as_ref().is_some_and(is_lost))
        {
            cost_of_lost = cost_of_lost.checked_add(pay)?;
        }
        let (before, spared) = before(books, (id, deal), index);
        freed = freed.checked_add(spared).expect("no more than was paid");
        let shard = DealSlot { node, root, price, from, until, lost: None };
        shards.push((index, shard, before));
    }
    // What a node has forfeited pays for what was lost, and for nothing else: first, so that it is not kept for later.
    let forfeited = forfeited.min(cost_of_lost);
    let there = freed.checked_add(own).and_then(|there| there.checked_add(forfeited));
    let held = cost.min(there.expect("no more than was issued"));
    let total = cost.checked_sub(held).expect("the smaller of both");
    let deal = Box::new(deal.clone());
    Some(Placed { id, deal, shards, sender, by, freed, held, forfeited, total })
}

/// Who keeps a shard now, and what that node is not paid if another one takes its place.
fn before<S: State + ?Sized>(
    books: &Books<'_, S>,
    (id, deal): (DealId, &Deal),
    index: u8,
) -> (Before, Amount) {
    let shard = deal.shards.get(usize::from(index)).copied().flatten();
    let Some(shard) = shard.filter(DealSlot::is_kept) else {
        return (Before::Unkept, Amount::ZERO);
    };
    let rate = shard.rate(deal.length);
    let spared = |first: u64| {
        let left = deal.end.saturating_sub(first);
        rate.checked_mul(left).expect("no more than was paid")
    };
    let node = shard.node;
    if books.has(Leaves, &(node, (deal.end, id))) {
        return (Before::InTable { node }, spared(books.chain.epoch + 1));
    }
    let from = shard.from;
    (Before::Waiting { node, from, rate }, spared(from + 1))
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, placed: Placed) {
    let Placed { id, deal, shards, sender, by, freed, held, forfeited, total } = placed;
    let mut repair = claim::tidy(books, id, &deal);
    let reason = Reason::Deal { deal: id };
    let hold = Place::Hold { hold: HoldKey::Deal { deal: id } };
    books.transfer(Place::Storage, hold, freed, reason);
    let spend = |left: Amount| left.checked_sub(forfeited);
    books.note_forfeited(HoldKey::Deal { deal: id }, spend);
    books.transfer(hold, Place::Storage, held, reason);
    books.transfer(Place::Account { account: sender }, Place::Storage, total, reason);
    let mut after = deal.clone();
    for (index, shard, before) in shards {
        let place = usize::from(index);
        if let Some(kept) = deal.shards[place].filter(DealSlot::is_kept) {
            let rate = kept.rate(deal.length);
            after.rate = after.rate.checked_sub(rate).expect("the sum of what is kept");
        }
        leave_before(books, (id, &deal), before, shard.from);
        let rate = shard.rate(deal.length);
        after.rate = after.rate.checked_add(rate).expect("no more than its cost");
        after.shards[place] = Some(shard);
        storage::join(books, id, &deal, index, &shard);
        let new = (shard.node, shard.from);
        match by {
            By::Owner => claim::placed_by_owner(books, (id, index), &mut repair),
            By::Keeper => claim::handed_on(&mut repair, index, new),
            By::Claimant => claim::placed(&mut repair, index, new),
        }
        books.report(Event::ShardPlaced { deal: id, index, node: shard.node });
    }
    claim::save(books, id, &deal, &repair);
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
        Before::Waiting { node, from, rate } => {
            let mut row = books.get(Nodes, &node).expect("a node that keeps a shard has its row");
            lost::spare(books, (node, id), &mut row, from, (deal.length, rate));
            books.put(Nodes, &node, &row);
            let to = Place::Account { account: row.payout };
            books.transfer(Place::Storage, to, rate, Reason::Deal { deal: id });
        }
    }
}
