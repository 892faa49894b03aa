//! Nodes and deals: which nodes keep bytes, for which owner, for how long, and at what cost.

use alloc::{boxed::Box, vec, vec::Vec};

use crate::{
    amount::Amount,
    id::{AccountId, DealId, NodeId},
    ledger::{
        Params,
        admission::Signatures,
        block::{Event, Place, Reason},
        books::Books,
        care::{self, Cared},
        claim::{self, Claimed, Collected},
        closing,
        extend::{self, Extended},
        lost::{self, Declared},
        nodes,
        params::BP,
        place::{self, Placed},
        rows::{
            Deal, DealSlot, DealState, Deals, DealsDue, DealsOf, Hold, HoldKey, Join, Joins,
            Leaves, Node, Nodes, Nothing,
        },
        sale,
        state::State,
        status::Status,
        transaction::{Acceptance, Action, DealTerms},
        window,
    },
};

/// Prices are per this many bytes and epoch.
pub(super) const GIB: u64 = 1 << 30;

/// The cost of a deal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The pay of all shards together per proven epoch.
    pub rate: Amount,
    /// The rate for all epochs. Nodes can earn it, and the owner gets it back for windows that have not
    /// opened.
    pub storage: Amount,
    /// The repair reserve, which comes back when the deal ends.
    pub reserve: Amount,
    /// The fee.
    pub fee: Amount,
    /// The total that leaves the owner's balance.
    pub total: Amount,
}

/// The pay of one shard per proven epoch: price per GiB by length, rounded up. `None` past the largest
/// amount.
#[must_use]
pub fn slot_rate(price: Amount, length: u64) -> Option<Amount> {
    price.fraction_up(length, GIB)
}

/// The cost of a deal whose nodes ask these prices; reserve and fee are rounded down. `None` past the
/// largest amount.
pub fn deal_cost(
    params: &Params,
    length: u64,
    epochs: u64,
    prices: impl IntoIterator<Item = Amount>,
) -> Option<Cost> {
    let mut rate = Amount::ZERO;
    for price in prices {
        rate = rate.checked_add(slot_rate(price, length)?)?;
    }
    cost_of(params, rate, epochs)
}

/// The cost of so many epochs at this rate.
pub(super) fn cost_of(params: &Params, rate: Amount, epochs: u64) -> Option<Cost> {
    let storage = rate.checked_mul(epochs)?;
    let reserve = storage.fraction(u64::from(params.repair_reserve_bp), BP)?;
    let fee = storage.fraction(u64::from(params.storage_fee_bp), BP)?;
    let total = storage.checked_add(reserve)?.checked_add(fee)?;
    Some(Cost { rate, storage, reserve, fee, total })
}

/// A checked storage action.
#[derive(Debug)]
pub(super) enum Effect {
    Open { id: DealId, deal: Box<Deal>, cost: Cost },
    End { id: DealId, deal: Box<Deal>, refund: Amount },
    Extend(Extended),
    Place(Placed),
    Lost(Declared),
    Care(Cared),
    Claim(Claimed),
    Collect(Collected),
}

impl Effect {
    /// What leaves the sender's balance.
    pub(super) fn spends(&self) -> Amount {
        match self {
            Self::Open { cost, .. } => cost.total,
            Self::Extend(extended) => extended.total,
            Self::Place(placed) => placed.total,
            Self::End { .. }
            | Self::Lost(_)
            | Self::Care(_)
            | Self::Claim(_)
            | Self::Collect(_) => Amount::ZERO,
        }
    }
}

/// Checks what is about caretakers.
pub(super) fn check_care<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    action: &Action,
) -> Result<Effect, Status> {
    let node = NodeId::from(sender);
    match action {
        Action::SetCare { .. } => care::check(books, sender, action).map(Effect::Care),
        Action::ClaimRepair { .. } => claim::check(books, node, action).map(Effect::Claim),
        Action::CollectRepair { deal, shards } => {
            claim::check_collect(books, node, *deal, shards).map(Effect::Collect)
        }
        _ => unreachable!("only care comes here"),
    }
}

pub(super) fn check_open<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    terms: &DealTerms,
    (acceptances, cost_max): (&[Acceptance], Option<Amount>),
    signatures: &Signatures,
) -> Result<Effect, Status> {
    let params = &books.chain.params;
    if !signatures.acceptances(books.id(), terms, acceptances) {
        return Err(Status::BadAcceptance);
    }
    let keepers: Option<Vec<Node>> =
        acceptances.iter().map(|accepted| books.get(Nodes, &accepted.node)).collect();
    let keepers = keepers.ok_or(Status::UnknownNode)?;
    if terms.owner != sender {
        return Err(Status::NotYours);
    }
    let id = terms.deal();
    if books.has(Deals, &id) {
        return Err(Status::Exists);
    }
    nodes::check_taking(books, &keepers, terms.length, acceptances)?;
    let prices = acceptances.iter().map(|accepted| accepted.price);
    let cost = deal_cost(params, terms.length, terms.epochs, prices);
    // Less fee and deposit; absent if these alone are more.
    if cost.is_some_and(|cost| cost_max.is_none_or(|cost_max| cost_max < cost.total)) {
        return Err(Status::TermsChanged);
    }
    if keepers.iter().any(|node| node.free() < terms.length) {
        return Err(Status::NodeFull);
    }
    let end = (books.chain.epoch + 1).saturating_add(terms.epochs);
    let is_over = |accepted: &Acceptance| accepted.expires_ms < books.now() || accepted.until < end;
    if acceptances.iter().any(is_over) {
        return Err(Status::AcceptanceExpired);
    }
    // If a price exceeds the type, it cannot be compared with a balance either.
    let cost = cost.ok_or(Status::Overflow)?;
    let deal = Box::new(new_deal(terms, acceptances, cost.rate, books.chain.epoch + 1));
    Ok(Effect::Open { id, deal, cost })
}

fn new_deal(terms: &DealTerms, acceptances: &[Acceptance], rate: Amount, start: u64) -> Deal {
    let mut shards = vec![None; usize::from(terms.total)];
    for &Acceptance { node, index, root, price, until, .. } in acceptances {
        let slot = DealSlot { node, root, price, from: start, until, lost: None };
        shards[usize::from(index)] = Some(slot);
    }
    Deal {
        owner: terms.owner,
        object: terms.object,
        segment: terms.segment,
        required: terms.required,
        length: terms.length,
        access: terms.access,
        start,
        end: start + terms.epochs,
        rate,
        shards,
        state: DealState::Open,
    }
}

pub(super) fn check_end<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: DealId,
) -> Result<Effect, Status> {
    let deal = books.get(Deals, &id).ok_or(Status::UnknownDeal)?;
    if deal.owner != sender {
        return Err(Status::NotYours);
    }
    let epoch = books.chain.epoch;
    if deal.state != DealState::Open || deal.end <= epoch {
        return Err(Status::DealClosed);
    }
    let keepers = deal.kept().map(|(_, shard)| &shard.node);
    let keepers =
        keepers.map(|id| books.get(Nodes, id).expect("a node that keeps a shard has its row"));
    if keepers.into_iter().any(|node| window::is_overdue(books, &node)) {
        return Err(Status::TooEarly);
    }
    if sale::binds(books, deal.owner, deal.object) {
        return Err(Status::SaleBinds);
    }
    let mut refund = Amount::ZERO;
    for (_, shard) in deal.kept() {
        let left = deal.end - shard_end(books, id, &deal, shard);
        let rate = slot_rate(shard.price, deal.length);
        let part = rate.and_then(|rate| rate.checked_mul(left));
        refund = part
            .and_then(|part| refund.checked_add(part))
            .expect("no more than was paid when it was opened");
    }
    Ok(Effect::End { id, deal: Box::new(deal), refund })
}

/// The first epoch that a shard is not paid for if its deal ends now: the one of its node's next window. For a shard
/// that waits to join, its node is paid for one epoch: offered storage is not free.
fn shard_end<S: State + ?Sized>(
    books: &Books<'_, S>,
    id: DealId,
    deal: &Deal,
    shard: &DealSlot,
) -> u64 {
    if !books.has(Leaves, &(shard.node, (deal.end, id))) {
        return shard.from + 1;
    }
    let node = books.get(Nodes, &shard.node).expect("a node that keeps a shard has its row");
    node.next_epoch.expect("a node with slots waits for a window")
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, effect: Effect) {
    match effect {
        Effect::Open { id, deal, cost } => open(books, id, &deal, &cost),
        Effect::End { id, deal, refund } => end(books, id, &deal, refund),
        Effect::Extend(extended) => extend::apply(books, extended),
        Effect::Place(placed) => place::apply(books, placed),
        Effect::Lost(declared) => lost::apply(books, declared),
        Effect::Care(cared) => care::apply(books, cared),
        Effect::Claim(claimed) => claim::apply(books, claimed),
        Effect::Collect(collected) => claim::collect(books, collected),
    }
}

fn open<S: State + ?Sized>(books: &mut Books<'_, S>, id: DealId, deal: &Deal, cost: &Cost) {
    let before = books.account(&deal.owner).balance;
    assert!(cost.total <= before, "the owner can pay");
    let owner = Place::Account { account: deal.owner };
    let reason = Reason::Deal { deal: id };
    books.transfer(owner, Place::Storage, cost.storage, reason);
    books.transfer(owner, Place::Treasury, cost.fee, Reason::Fee);
    let hold = Hold { payer: deal.owner, amount: cost.reserve, forfeited: Amount::ZERO };
    books.place_hold(HoldKey::Deal { deal: id }, &hold, reason);
    let paid = before.checked_sub(books.account(&deal.owner).balance);
    assert!(paid == Some(cost.total), "the owner pays the computed cost");

    for (index, shard) in deal.kept() {
        join(books, id, deal, index, shard);
    }
    books.put(Deals, &id, deal);
    books.put(DealsOf, &(deal.owner, id), &Nothing {});
    books.put(DealsDue, &(deal.end, id), &Nothing {});
}

/// The node of a shard binds room for it, and the shard waits for its table.
pub(super) fn join<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: DealId,
    deal: &Deal,
    index: u8,
    shard: &DealSlot,
) {
    let DealSlot { node, from, .. } = *shard;
    let mut row = books.get(Nodes, &node).expect("checked to be registered");
    let rate = shard.rate(deal.length);
    row.bind(deal.length, rate);
    assert!(row.used <= row.capacity, "checked to have room");
    window::wait_for(books, &node, &mut row, from);
    books.put(Nodes, &node, &row);
    books.put(Joins, &(node, (from, id)), &Join { index });
    books.add_shard();
}

fn end<S: State + ?Sized>(books: &mut Books<'_, S>, id: DealId, deal: &Deal, refund: Amount) {
    let reason = Reason::Deal { deal: id };
    let owner = Place::Account { account: deal.owner };
    books.transfer(Place::Storage, owner, refund, reason);
    claim::settle(books, id, deal, true);
    books.close_hold(HoldKey::Deal { deal: id }, deal.owner, reason);
    books.remove(DealsDue, &(deal.end, id));
    for (_, shard) in deal.kept() {
        end_shard(books, id, deal, shard);
    }
    // A deal that waits never begins. No shard of another one is paid for the next epoch.
    let now = books.chain.epoch;
    let mut ended = deal.clone();
    ended.end = if now < deal.start { deal.start } else { now + 1 };
    ended.state = DealState::Cancelled;
    closing::keep(books, id, &ended);
    lost::put_deal(books, id, deal, &ended);
    books.report(Event::DealEnded { deal: id });
}

/// A shard in a table leaves it with its node's next turn. A shard that waits waits no longer, and its node has the room
/// back and is paid for an epoch.
fn end_shard<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: DealId,
    deal: &Deal,
    shard: &DealSlot,
) {
    let key = (shard.node, id);
    if books.has(Leaves, &(shard.node, (deal.end, id))) {
        let end = shard_end(books, id, deal, shard);
        window::move_leave(books, key, deal.end, end);
        return;
    }
    let mut node = books.get(Nodes, &shard.node).expect("a node that keeps a shard has its row");
    let pay = shard.rate(deal.length);
    lost::spare(books, key, &mut node, shard.from, (deal.length, pay));
    books.put(Nodes, &shard.node, &node);
    let to = Place::Account { account: node.payout };
    books.transfer(Place::Storage, to, pay, Reason::Deal { deal: id });
}
