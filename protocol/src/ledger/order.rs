//! Orders: placed, delivered, settled, refunded.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    amount::Amount,
    custody::{self, PostedRelease, Release},
    id::{AccountId, NodeId, OrderId},
    ledger::{
        block::{Event, Place, Reason},
        books::Books,
        dispute, kept,
        rows::{
            Hold, HoldKey, Kept, ListingState, Listings, Nodes, Nothing, Order, OrderState, Orders,
            OrdersDue, OrdersOf, Refund, Table, Vaults,
        },
        sale,
        state::State,
        status::Status,
        transaction::Action,
        vault,
    },
    time::{LedgerTime, Millis},
};

/// A checked action on an order.
#[derive(Debug)]
pub(super) enum Effect {
    Order { id: OrderId, order: Box<Order>, seller: AccountId },
    Release { id: OrderId, order: Box<Order>, posted: PostedRelease, enough: bool },
    Settle { id: OrderId, order: Box<Order>, custodians: Vec<u8> },
}

pub(super) fn check_order<S: State + ?Sized>(
    books: &Books<'_, S>,
    buyer: AccountId,
    action: &Action,
) -> Result<Effect, Status> {
    let Action::Order { opening, listing: of, holder, delivery, listed_ms, price, licence } =
        action
    else {
        unreachable!("only orders come here");
    };
    let id = OrderId::of(&buyer, opening);
    let context = custody::release_context(books.id(), &id, of);
    delivery.verify(&context).map_err(|_| Status::BadProof)?;
    let listing = books.get(Listings, of).ok_or(Status::UnknownListing)?;
    if books.has(Orders, &id) {
        return Err(Status::Exists);
    }
    let terms = &listing.terms;
    // Its mandate cannot be revoked while it is open.
    if listing.state != ListingState::Open {
        return Err(Status::ListingEnded);
    }
    if listing.listed_ms != *listed_ms || terms.price != *price || terms.licence != *licence {
        return Err(Status::TermsChanged);
    }
    let now = books.now();
    let access_until_ms = now.saturating_add(terms.access_ms);
    let covered = listing.cover.until.is_some_and(|end| access_until_ms <= begins(books, end));
    if !covered {
        return Err(Status::NotCovered);
    }
    let vault = books.get(Vaults, &terms.vault).expect("a listing names a vault");
    let order = Order {
        listing: *of,
        buyer,
        holder: *holder,
        delivery: delivery.clone(),
        amount: *price,
        sale_fee_bp: books.chain.params.sale_fee_bp,
        custody_fee_bp: books.chain.params.custody_fee_bp,
        state: OrderState::Paid,
        ordered_ms: now,
        access_until_ms,
        due_ms: now.saturating_add(books.chain.params.delivery_ms),
        dealing: vault.dealing,
        releases: Vec::new(),
        asked: None,
        given: 0,
        refund: None,
    };
    Ok(Effect::Order { id, order: Box::new(order), seller: listing.seller })
}

/// When an epoch begins at the earliest: gaps in which the ledger stands still only make it later.
pub(super) fn begins<S: State + ?Sized>(books: &Books<'_, S>, epoch: u64) -> LedgerTime {
    let left = epoch.saturating_sub(books.chain.epoch);
    let length = books.chain.params.epoch_ms.saturating_mul(left);
    books.chain.epoch_started().saturating_add(length)
}

pub(super) fn check_release<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: OrderId,
    release: &Release,
) -> Result<Effect, Status> {
    let mut order = books.get(Orders, &id).ok_or(Status::UnknownOrder)?;
    let listing = books.get(Listings, &order.listing).expect("an order names a listing");
    let vault = books.get(Vaults, &listing.terms.vault).expect("a listing names a vault");
    let context = custody::release_context(books.id(), &id, &order.listing);
    release
        .verify(&vault.key, &listing.terms.capsule, &order.delivery, &context)
        .map_err(|_| Status::BadProof)?;
    let place = usize::from(release.index).checked_sub(1);
    let custodian = place.and_then(|place| vault.custodians.get(place).copied());
    // The release proves itself, so the buyer may post what the custodian gave to the buyer.
    let node = custodian
        .filter(|node| *node == NodeId::from(sender) || order.buyer == sender)
        .ok_or(Status::NotYours)?;
    if order.state == OrderState::Paid && order.dealing != vault.dealing {
        // Parts of two dealings do not combine.
        (order.dealing, order.releases) = (vault.dealing, Vec::new());
    }
    if order.releases.iter().any(|posted| posted.index == release.index) {
        return Err(Status::Exists);
    }
    match order.state {
        OrderState::Paid => {}
        OrderState::Settled | OrderState::Refunded => return Err(Status::OrderClosed),
        OrderState::Delivered | OrderState::Asked => return Err(Status::TooLate),
    }
    let enough = vault.key.commitments.len() <= order.releases.len() + 1;
    let posted = PostedRelease { index: release.index, node, u: release.u, v: release.v };
    Ok(Effect::Release { id, order: Box::new(order), posted, enough })
}

pub(super) fn check_acknowledge<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: OrderId,
    custodians: &[u8],
) -> Result<Effect, Status> {
    let order = books.get(Orders, &id).ok_or(Status::UnknownOrder)?;
    if order.buyer != sender {
        return Err(Status::NotYours);
    }
    if !open(order.state) {
        return Err(Status::OrderClosed);
    }
    Ok(Effect::Settle { id, order: Box::new(order), custodians: custodians.to_vec() })
}

/// Whether an order still binds its money.
pub(super) fn open(state: OrderState) -> bool {
    match state {
        OrderState::Paid | OrderState::Delivered | OrderState::Asked => true,
        OrderState::Settled | OrderState::Refunded => false,
    }
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, effect: Effect) {
    match effect {
        Effect::Order { id, order, seller } => place(books, id, &order, seller),
        Effect::Release { id, mut order, posted, enough } => {
            assert!(order.state == OrderState::Paid, "releases are for paid orders");
            order.releases.push(posted);
            if enough {
                deliver(books, id, &mut order);
            }
            books.put(Orders, &id, &order);
        }
        Effect::Settle { id, order, custodians } => settle(books, id, *order, &custodians),
    }
}

/// Puts the price into escrow.
fn place<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: OrderId,
    order: &Order,
    seller: AccountId,
) {
    assert!(order.state == OrderState::Paid, "an order begins paid");
    let before = books.account(&order.buyer).balance;
    let hold = Hold { payer: order.buyer, amount: order.amount, forfeited: Amount::ZERO };
    books.place_hold(HoldKey::Order { order: id }, &hold, Reason::Sale { order: id });
    let paid: Option<Amount> = before.checked_sub(books.account(&order.buyer).balance);
    assert!(paid == Some(order.amount), "the buyer pays the price");
    books.put(OrdersDue, &(order.due_ms, id), &Nothing {});
    for account in [order.buyer, seller] {
        books.put(OrdersOf, &(account, (order.listing, id)), &Nothing {});
    }
    let mut listing = books.get(Listings, &order.listing).expect("checked to be there");
    listing.orders += 1;
    sale::ordered(books, &mut listing);
    books.put(Listings, &order.listing, &listing);
    books.put(Orders, &id, order);
    books.report(Event::OrderPaid { order: id });
}

/// The buyer can open the key now: the window begins.
fn deliver<S: State + ?Sized>(books: &mut Books<'_, S>, id: OrderId, order: &mut Order) {
    let listing = books.get(Listings, &order.listing).expect("an order names a listing");
    books.remove(OrdersDue, &(order.due_ms, id));
    order.state = OrderState::Delivered;
    order.due_ms = books.now().saturating_add(listing.terms.window_ms);
    books.put(OrdersDue, &(order.due_ms, id), &Nothing {});
    books.report(Event::OrderDelivered { order: id });
}

/// Pays out an order's escrow: fee, custodians, splits, and the rest to the seller. All parts are rounded
/// down, so the rounding remainders go to the seller.
fn settle<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: OrderId,
    mut order: Order,
    named: &[u8],
) {
    assert!(open(order.state), "an order is settled once");
    let mut listing = books.get(Listings, &order.listing).expect("an order names a listing");
    let vault = books.get(Vaults, &listing.terms.vault).expect("a listing names a vault");
    let fee = order.amount.part(order.sale_fee_bp);
    let custody = order.amount.part(order.custody_fee_bp);
    let posted: Vec<u8> = order.releases.iter().map(|posted| posted.index).collect();
    let indexes = if named.is_empty() { &posted } else { named };
    // A custodian that is a node no longer has given up its part.
    let custodian = |index: &u8| books.get(Nodes, &vault::custodian_of(&vault, &order, *index)?);
    let payouts: Vec<_> = indexes.iter().filter_map(custodian).map(|node| node.payout).collect();
    let each = custody.fraction(1, payouts.len() as u64).unwrap_or(Amount::ZERO);

    let hold = HoldKey::Order { order: id };
    let from = Place::Hold { hold };
    let reason = Reason::Sale { order: id };
    books.transfer(from, Place::Treasury, fee, Reason::Fee);
    for account in &payouts {
        books.transfer(from, Place::Account { account: *account }, each, reason);
    }
    let custody_paid = each.checked_mul(payouts.len() as u64).expect("at most the custody fee");
    let rest = order.amount.checked_sub(fee).and_then(|left| left.checked_sub(custody_paid));
    let rest = rest.expect("fees are a small part of the amount");
    for split in &listing.terms.splits {
        let to = Place::Account { account: split.account };
        books.transfer(from, to, rest.part(split.share_bp), reason);
    }
    books.close_hold(hold, listing.seller, reason);

    listing.sold += 1;
    sale::closed(books, order.listing, &mut listing, Some(order.access_until_ms));
    books.put(Listings, &order.listing, &listing);
    dispute::forget(books, id, &mut order);
    books.remove(OrdersDue, &(order.due_ms, id));
    order.state = OrderState::Settled;
    books.put(Orders, &id, &order);
    kept::keep(books, order.access_until_ms, Kept::Order { order: id });
    books.report(Event::OrderSettled { order: id });
}

/// Gives the buyer the whole amount back.
pub(super) fn refund<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: OrderId,
    mut order: Order,
    why: Refund,
) {
    assert!(open(order.state), "an order is closed once");
    let before = books.account(&order.buyer).balance;
    books.close_hold(HoldKey::Order { order: id }, order.buyer, Reason::Sale { order: id });
    let back = books.account(&order.buyer).balance.checked_sub(before);
    assert!(back == Some(order.amount), "a refund is the whole amount");
    let mut listing = books.get(Listings, &order.listing).expect("an order names a listing");
    sale::closed(books, order.listing, &mut listing, None);
    books.put(Listings, &order.listing, &listing);
    dispute::forget(books, id, &mut order);
    books.remove(OrdersDue, &(order.due_ms, id));
    order.state = OrderState::Refunded;
    order.refund = Some(why);
    books.put(Orders, &id, &order);
    kept::keep(books, order.access_until_ms, Kept::Order { order: id });
    books.report(Event::OrderRefunded { order: id });
}

/// Due orders that one block looks at. The others stay due, and the engine makes the next block at once.
pub(super) const DUE_MAX: usize = 100;

/// Events that an order reports when it is settled, at most.
const EVENTS_OF_ORDER: usize = 69;

/// Events that due orders report in a block at most. A cell that nodes did not give may take more than those of an order.
const DUE_EVENTS_MAX: usize = DUE_MAX * EVENTS_OF_ORDER;

/// Closes orders that are due by this block's time: refunds undelivered ones, settles delivered ones. If
/// the ledger itself stood still when a delivery was due, custodians could not post releases. Such an order
/// gets its full time once more, if the buyer's access outlives that. `parent_ms` is the time of the block
/// before.
pub(super) fn overdue<S: State + ?Sized>(books: &mut Books<'_, S>, parent_ms: LedgerTime) {
    let now = books.now();
    if late_ms(books) <= now.saturating_since(parent_ms) {
        (books.chain.gap_from_ms, books.chain.gap_until_ms) = (parent_ms, now);
    }
    let mut left = DUE_EVENTS_MAX;
    for ((due_ms, id), _) in books.due(OrdersDue, &[OrdersDue::TAG], DUE_MAX, |key| key.0 <= now) {
        let order = books.get(Orders, &id).expect("what is due was ordered");
        let events = EVENTS_OF_ORDER.max(dispute::events_if_unanswered(&order));
        let Some(rest) = left.checked_sub(events) else { return };
        left = rest;
        assert!(order.due_ms == due_ms, "an order is due once");
        let slept = stood_still(books, due_ms);
        let waits =
            slept && now.saturating_add(books.chain.params.delivery_ms) < order.access_until_ms;
        let listing = books.get(Listings, &order.listing).expect("an order names a listing");
        match order.state {
            _ if listing.state == ListingState::Frozen => refund(books, id, order, Refund::Frozen),
            OrderState::Paid if waits => wait_again(books, id, order),
            OrderState::Paid => {
                if !slept {
                    vault::penalise_silent(books, id, &order);
                }
                refund(books, id, order, Refund::NotDelivered);
            }
            OrderState::Delivered => settle(books, id, order, &[]),
            OrderState::Asked if slept => wait_again(books, id, order),
            OrderState::Asked => dispute::unanswered(books, id, order),
            OrderState::Settled | OrderState::Refunded => unreachable!("closed orders are not due"),
        }
    }
}

/// How late a block must come to keep custodians from a delivery. A running engine makes one in time.
fn late_ms<S: State + ?Sized>(books: &Books<'_, S>) -> Millis {
    (books.chain.params.delivery_ms / 64).max(Millis::SECOND)
}

/// Whether no block was made when the order was due, and for a while after. A gap in which nothing was due has no such
/// order.
fn stood_still<S: State + ?Sized>(books: &Books<'_, S>, due_ms: LedgerTime) -> bool {
    let (from, until) = (books.chain.gap_from_ms, books.chain.gap_until_ms);
    from < due_ms && due_ms.saturating_add(late_ms(books)) <= until
}

fn wait_again<S: State + ?Sized>(books: &mut Books<'_, S>, id: OrderId, mut order: Order) {
    books.remove(OrdersDue, &(order.due_ms, id));
    order.due_ms = books.now().saturating_add(books.chain.params.delivery_ms);
    books.put(OrdersDue, &(order.due_ms, id), &Nothing {});
    books.put(Orders, &id, &order);
}
