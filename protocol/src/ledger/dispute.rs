//! Complaints of buyers, judged from bytes.
//!
//! A complaint that carries its whole proof is judged at once. One about a cell that nodes do not give waits for their
//! answers: what enough of them put on the ledger is judged, and if too few answer, the buyer has the money back.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    amount::Amount,
    content::{CellPlace, Manifest},
    custody,
    dispute::{
        Complaint, Delivered, KeptCell, LeafOpening, Listed, NotProven, Verdict, check_asked,
        check_kept, judge_answers, judge_cell, judge_kept, judge_key,
    },
    id::{AccountId, DealId, Hash, ListingId, NodeId, OrderId},
    ledger::{
        block::{Event, Place, Reason},
        books::Books,
        collateral, order,
        rows::{
            Answer, Answers, Asked, Deal, DealState, Deals, Hold, HoldKey, Holds, Listing,
            ListingState, Listings, Nodes, Nothing, Order, OrderState, Orders, OrdersDue, Refund,
        },
        sale,
        state::State,
        status::Status,
    },
};

/// Cells that nodes may be asked for and give, for one order. Each is a cell that the buyer did not get otherwise.
pub const GIVEN_MAX: u8 = 16;

/// A checked complaint, or a node's answer to one.
#[derive(Debug)]
pub(super) enum Effect {
    /// The listing contradicts itself, or what nodes keep.
    Upheld { id: OrderId, order: Box<Order>, why: Refund },
    /// It does not.
    Dismissed { id: OrderId, buyer: AccountId },
    /// Nodes are asked for a cell.
    Ask { id: OrderId, order: Box<Order>, asked: Asked },
    /// A node gives its cell. With a verdict it is the last that was needed.
    Give { id: OrderId, order: Box<Order>, index: u8, kept: Vec<u8>, verdict: Option<Verdict> },
}

impl Effect {
    /// What leaves the sender's balance: the bond of a complaint that is not upheld at once.
    pub(super) fn spends<S: State + ?Sized>(&self, books: &Books<'_, S>) -> Amount {
        match self {
            Self::Dismissed { .. } | Self::Ask { .. } => books.chain.params.complaint_bond,
            Self::Upheld { .. } | Self::Give { .. } => Amount::ZERO,
        }
    }
}

pub(super) fn check_complaint<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: OrderId,
    complaint: &Complaint,
) -> Result<Effect, Status> {
    let deal = match complaint {
        Complaint::OtherCell { deal, .. } | Complaint::Unavailable { deal, .. } => {
            Some(books.get(Deals, deal).ok_or(Status::UnknownDeal)?)
        }
        Complaint::BadKey { .. } | Complaint::BadCell { .. } => None,
    };
    let order = books.get(Orders, &id).ok_or(Status::UnknownOrder)?;
    if order.buyer != sender {
        return Err(Status::NotYours);
    }
    let listing = books.get(Listings, &order.listing).expect("an order names a listing");
    match order.state {
        OrderState::Settled | OrderState::Refunded => return Err(Status::OrderClosed),
        // The releases are to be on the ledger first: the buyer may put them there.
        OrderState::Paid => return Err(Status::TooEarly),
        OrderState::Delivered => {}
        OrderState::Asked if matches!(complaint, Complaint::Unavailable { .. }) => {
            return Err(Status::TooEarly);
        }
        OrderState::Asked => {}
    }
    let judged = Case { books, id, order: &order, listing: &listing }.judge(complaint, deal)?;
    let order = Box::new(order);
    Ok(match judged {
        Judged::Now(Verdict::Upheld, why) => Effect::Upheld { id, order, why },
        Judged::Now(Verdict::Dismissed, _) => Effect::Dismissed { id, buyer: sender },
        Judged::Later(asked) => Effect::Ask { id, order, asked },
    })
}

/// A complaint and what the ledger knows about it.
struct Case<'a, 'b, S: State + ?Sized> {
    books: &'a Books<'b, S>,
    id: OrderId,
    order: &'a Order,
    listing: &'a Listing,
}

enum Judged {
    Now(Verdict, Refund),
    Later(Asked),
}

fn not_proven(_: NotProven) -> Status {
    Status::BadProof
}

impl<S: State + ?Sized> Case<'_, '_, S> {
    fn judge(&self, complaint: &Complaint, deal: Option<Deal>) -> Result<Judged, Status> {
        let terms = &self.listing.terms;
        let manifest = &terms.manifest;
        let listed = Listed {
            manifest,
            masks_root: &terms.masks_root,
            capsule: &terms.capsule,
            pad: &terms.pad,
        };
        let deal = deal.as_ref();
        match complaint {
            Complaint::BadKey { shown, fault } => {
                let context =
                    custody::release_context(self.books.id(), &self.id, &self.order.listing);
                let delivered = Delivered {
                    releases: &self.order.releases,
                    // A delivered order has exactly as many as open.
                    required: self.order.releases.len(),
                    delivery: &self.order.delivery,
                    context: &context,
                };
                let verdict = judge_key(&listed, &delivered, shown, fault).map_err(not_proven)?;
                Ok(Judged::Now(verdict, Refund::BadKey))
            }
            Complaint::BadCell { leaf, key, sealed } => {
                let verdict = judge_cell(manifest, leaf, key, sealed).map_err(not_proven)?;
                Ok(Judged::Now(verdict, Refund::BadCell))
            }
            Complaint::OtherCell { leaf, masks, key, kept, path, .. } => {
                let place = leaf.check(manifest).map_err(not_proven)?;
                let deal = self.deal(deal, &place)?;
                let shard = deal.shards[usize::from(place.shard)].as_ref();
                let root = &shard.ok_or(Status::BadProof)?.root;
                let kept = KeptCell { root, bytes: kept, path };
                let verdict = judge_kept(&listed, leaf, masks, key, &kept).map_err(not_proven)?;
                Ok(Judged::Now(verdict, Refund::OtherCell))
            }
            Complaint::Unavailable { leaf, keys, path, deal: id } => {
                let place = check_asked(manifest, &terms.masks_root, leaf, keys, path)
                    .map_err(not_proven)?;
                let deal = self.deal(deal, &place)?;
                let params = &self.books.chain.params;
                let due_ms = self.books.now().saturating_add(params.delivery_ms);
                // The seller may have had another deal for it: the one that covered it runs until the access ends.
                if order::begins(self.books, deal.end) < due_ms {
                    return Err(Status::DealClosed);
                }
                // Nodes are bound to keep the file until the access ends, and not for longer.
                if GIVEN_MAX <= self.order.given || self.order.access_until_ms < due_ms {
                    return Err(Status::TooLate);
                }
                Ok(Judged::Later(self.asked(leaf, keys, *id)))
            }
        }
    }

    fn asked(&self, leaf: &LeafOpening, keys: &[[u8; 32]], deal: DealId) -> Asked {
        Asked {
            cell: leaf.cell,
            sealed: leaf.parts.sealed,
            deal,
            keys: keys.to_vec(),
            answered: Vec::new(),
            window_until_ms: self.order.due_ms,
        }
    }

    /// Checks that a deal is one of the seller for the segment of a cell.
    fn deal<'d>(&self, deal: Option<&'d Deal>, place: &CellPlace) -> Result<&'d Deal, Status> {
        let deal = deal.expect("complaints about kept cells name a deal");
        let manifest = &self.listing.terms.manifest;
        let is_of = deal.owner == self.listing.seller
            && deal.object == manifest.object
            && deal.segment == place.segment
            && deal.required == manifest.scheme.required
            && deal.shards.len() == usize::from(manifest.scheme.total);
        if !is_of {
            return Err(Status::BadProof);
        }
        // A cancelled deal was ended before this listing: its nodes need not keep anything.
        match deal.state {
            DealState::Cancelled => Err(Status::DealClosed),
            DealState::Open | DealState::Completed => Ok(deal),
        }
    }
}

pub(super) fn check_answer<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: OrderId,
    kept: &[u8],
    path: &[Hash],
) -> Result<Effect, Status> {
    let order = books.get(Orders, &id).ok_or(Status::UnknownOrder)?;
    let Some(asked) = &order.asked else {
        return Err(if order::open(order.state) { Status::TooLate } else { Status::OrderClosed });
    };
    let deal = books.get(Deals, &asked.deal).ok_or(Status::UnknownDeal)?;
    let shard = deal.kept_by(&NodeId::from(sender));
    let (index, shard) = shard.ok_or(Status::NotYours)?;
    let listing = books.get(Listings, &order.listing).expect("an order names a listing");
    let manifest = &listing.terms.manifest;
    let place = place_of(manifest, asked.cell);
    let cell = KeptCell { root: &shard.root, bytes: kept, path };
    check_kept(manifest, place.segment, place.stripe, &cell).map_err(not_proven)?;
    if asked.answered.contains(&index) {
        return Err(Status::Exists);
    }
    let mut answers: Vec<(u8, Vec<u8>)> = alloc::vec![(index, kept.to_vec())];
    let is_own = index == place.shard;
    let enough = asked.answered.len() + 1 == usize::from(manifest.scheme.required);
    let verdict = (is_own || enough).then(|| {
        if !is_own {
            let there = asked.answered.iter().map(|before| (*before, answer(books, id, *before)));
            answers.extend(there);
        }
        judge_answers(manifest.scheme, &place, &asked.sealed, &asked.keys, &answers)
    });
    let kept = kept.to_vec();
    Ok(Effect::Give { id, order: Box::new(order), index, kept, verdict })
}

fn place_of(manifest: &Manifest, cell: u64) -> CellPlace {
    let layout = manifest.layout().expect("a listed manifest has a layout");
    layout.cell(cell).expect("checked when it was asked for")
}

fn answer<S: State + ?Sized>(books: &Books<'_, S>, order: OrderId, index: u8) -> Vec<u8> {
    books.get(Answers, &(order, index)).expect("each answer has a row").kept
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, effect: Effect) {
    match effect {
        Effect::Upheld { id, order, why } => uphold(books, id, *order, why),
        Effect::Dismissed { id, buyer } => {
            let bond = books.chain.params.complaint_bond;
            let from = Place::Account { account: buyer };
            books.transfer(from, Place::Treasury, bond, Reason::Complaint { order: id });
            books.report(Event::ComplaintDismissed { order: id });
        }
        Effect::Ask { id, order, asked } => ask(books, id, *order, asked),
        Effect::Give { id, mut order, index, kept, verdict } => {
            order.asked.as_mut().expect("checked to be asked for").answered.push(index);
            match verdict {
                None => {
                    books.put(Answers, &(id, index), &Answer { kept });
                    books.put(Orders, &id, &order);
                }
                Some(Verdict::Dismissed) => give(books, id, *order),
                Some(Verdict::Upheld) => uphold(books, id, *order, Refund::OtherCell),
            }
        }
    }
}

/// The seller has listed what is not so: the buyer has the money back with a part of the bond, and no other buyer pays.
fn uphold<S: State + ?Sized>(books: &mut Books<'_, S>, id: OrderId, order: Order, why: Refund) {
    let (listing, buyer) = (order.listing, order.buyer);
    freeze(books, listing, buyer);
    order::refund(books, id, order, why);
}

fn freeze<S: State + ?Sized>(books: &mut Books<'_, S>, id: ListingId, buyer: AccountId) {
    let mut row = books.get(Listings, &id).expect("an order names a listing");
    let before = core::mem::replace(&mut row.state, ListingState::Frozen);
    if before == ListingState::Frozen {
        return;
    }
    books.put(Listings, &id, &row);
    sale::forfeit_bond(books, id, row.terms.bond, buyer);
    if before == ListingState::Open {
        sale::ended(books, id, &row);
    }
    books.report(Event::ListingFrozen { listing: id });
}

/// Asks the nodes of a deal for a cell. They have as long as custodians for a release.
fn ask<S: State + ?Sized>(books: &mut Books<'_, S>, id: OrderId, mut order: Order, asked: Asked) {
    let hold = HoldKey::Complaint { order: id };
    let bond = books.chain.params.complaint_bond;
    let placed = Hold { payer: order.buyer, amount: bond, forfeited: Amount::ZERO };
    books.place_hold(hold, &placed, Reason::Complaint { order: id });
    let deal = asked.deal;
    let due_ms = books.now().saturating_add(books.chain.params.delivery_ms);
    order.asked = Some(asked);
    order.state = OrderState::Asked;
    set_due(books, id, &mut order, due_ms);
    books.report(Event::CellAsked { order: id, deal });
}

fn set_due<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: OrderId,
    order: &mut Order,
    due_ms: crate::time::LedgerTime,
) {
    books.remove(OrdersDue, &(order.due_ms, id));
    order.due_ms = due_ms;
    books.put(OrdersDue, &(due_ms, id), &Nothing {});
    books.put(Orders, &id, order);
}

/// Nodes have given the cell, and it is the listed one. The buyer's bond pays them, and the window goes on.
fn give<S: State + ?Sized>(books: &mut Books<'_, S>, id: OrderId, mut order: Order) {
    let asked = order.asked.clone().expect("a cell was asked for");
    let deal = books.get(Deals, &asked.deal).expect("checked to be there");
    let hold = HoldKey::Complaint { order: id };
    let (from, reason) = (Place::Hold { hold }, Reason::Complaint { order: id });
    let bond = books.get(Holds, &hold).expect("placed with the question").amount;
    let each = bond.fraction(1, asked.answered.len() as u64).unwrap_or(Amount::ZERO);
    let mut left = bond;
    for answered in &asked.answered {
        // A node that keeps the shard no longer has given up its part.
        let shard = deal.kept().find(|(index, _)| index == answered);
        let node = shard.and_then(|(_, shard)| books.get(Nodes, &shard.node));
        if let Some(node) = node {
            books.transfer(from, Place::Account { account: node.payout }, each, reason);
            left = left.checked_sub(each).expect("a part for each of them");
        }
    }
    books.transfer(from, Place::Treasury, left, reason);
    forget(books, id, &mut order);
    order.state = OrderState::Delivered;
    order.given += 1;
    let more = books.now().saturating_add(books.chain.params.delivery_ms);
    set_due(books, id, &mut order, asked.window_until_ms.max(more));
    books.report(Event::ComplaintDismissed { order: id });
}

/// The events of an order that is refunded because nodes gave no cell, at most: one for each silent node.
pub(super) fn events_if_unanswered(order: &Order) -> usize {
    EVENTS_OF_REFUND + order.asked.as_ref().map_or(0, |asked| asked.keys.len())
}

/// Movements and the refund itself.
const EVENTS_OF_REFUND: usize = 4;

/// Too few nodes have given a cell in time: the buyer has the money back. The seller is not to blame; the nodes that kept
/// silent lose a part of their collateral.
pub(super) fn unanswered<S: State + ?Sized>(books: &mut Books<'_, S>, id: OrderId, order: Order) {
    let asked = order.asked.as_ref().expect("a cell was asked for");
    let epoch = books.chain.epoch;
    let deal = books.get(Deals, &asked.deal).filter(|deal| epoch < deal.end);
    let kept = deal.iter().flat_map(Deal::kept);
    // A shard that has just been placed may have missed the question.
    let silent =
        kept.filter(|(index, shard)| shard.from <= epoch && !asked.answered.contains(index));
    let silent: Vec<NodeId> = silent.map(|(_, shard)| shard.node).collect();
    for node in silent {
        let mut row = books.get(Nodes, &node).expect("a node that keeps a shard has its row");
        collateral::penalise(books, node, &mut row);
        books.put(Nodes, &node, &row);
    }
    order::refund(books, id, order, Refund::Unavailable);
}

/// Forgets what was asked for. What is left of the complaint's bond goes back to the buyer.
pub(super) fn forget<S: State + ?Sized>(books: &mut Books<'_, S>, id: OrderId, order: &mut Order) {
    let Some(asked) = order.asked.take() else { return };
    for index in asked.answered {
        books.remove(Answers, &(id, index));
    }
    books.close_hold(
        HoldKey::Complaint { order: id },
        order.buyer,
        Reason::Complaint { order: id },
    );
}
