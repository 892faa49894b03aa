//! What is over stays in the state for a while, then it leaves: closed orders, ended listings, revocations of links that
//! have ended, and redemptions of vouchers that have.
//!
//! Nodes and buyers read an order's row to believe a sale until its access ends, and nodes look up revocations and redemptions
//! until the link ends. Their clocks may differ from the ledger's, and they may have been away. So a row stays for as many
//! epochs after that as the row of a deal.

use crate::{
    id::{ListingId, OrderId},
    ledger::{
        books::Books,
        closing::DEAL_KEPT_EPOCHS,
        fees, listing, motion, order,
        params::Params,
        rows::{
            Kept, KeptUntil, ListingState, Listings, ListingsOf, Nothing, Orders, OrdersOf,
            Redemptions, Revocations, Table,
        },
        sale,
        state::State,
    },
    time::{LedgerTime, Millis},
};

/// Things that leave the state in one block at most: as many as the transactions of a block can bring, of which each
/// changes four rows.
pub(super) const LEAVING_MAX: usize = 1024;

/// How long the ledger keeps the row of an order, a listing, a revocation or a redemption after its end.
#[must_use]
pub fn kept_ms(params: &Params) -> Millis {
    params.epoch_ms.saturating_mul(DEAL_KEPT_EPOCHS)
}

/// Notes when something that ends at this time leaves the state. What has ended earlier counts as ending now.
pub(super) fn keep<S: State + ?Sized>(books: &mut Books<'_, S>, end_ms: LedgerTime, what: Kept) {
    let end_ms = end_ms.max(books.now());
    let until = end_ms.saturating_add(kept_ms(&books.chain.params));
    books.put(KeptUntil, &(until, what), &Nothing {});
}

/// Removes what has been over for long enough, earliest first.
pub(super) fn remove_due<S: State + ?Sized>(books: &mut Books<'_, S>) {
    let (now, mut ballots) = (books.now(), motion::BALLOTS_LEAVING);
    for (key, _) in books.due(KeptUntil, &[KeptUntil::TAG], LEAVING_MAX, |key| key.0 <= now) {
        books.remove(KeptUntil, &key);
        match key.1 {
            Kept::Order { order } => remove_order(books, order),
            Kept::Listing { listing } => remove_listing(books, listing),
            Kept::Revocation { link, by } => {
                books.remove(Revocations, &(link, by));
                fees::give_back(books, by, fees::REVOCATION);
            }
            Kept::Motion { motion } => motion::forget(books, motion),
            Kept::Ballots { motion } => {
                ballots -= motion::forget_ballots(books, key.0, motion, ballots);
            }
            Kept::Redemption { once } => {
                books.remove(Redemptions, &once);
                fees::give_back(books, once, fees::REDEMPTION);
            }
        }
    }
}

fn remove_order<S: State + ?Sized>(books: &mut Books<'_, S>, id: OrderId) {
    let order = books.get(Orders, &id).expect("what is kept was ordered");
    assert!(!order::open(order.state), "an open order binds money");
    let mut listing = books.get(Listings, &order.listing).expect("an order names a listing");
    for account in [order.buyer, listing.seller] {
        books.remove(OrdersOf, &(account, (order.listing, id)));
    }
    books.remove(Orders, &id);
    listing.orders = listing.orders.checked_sub(1).expect("counted when it was ordered");
    books.put(Listings, &order.listing, &listing);
    listing::keep_if_over(books, order.listing, &listing);
    fees::give_back(books, order.buyer, fees::ORDER);
}

fn remove_listing<S: State + ?Sized>(books: &mut Books<'_, S>, id: ListingId) {
    let listing = books.get(Listings, &id).expect("what is kept was listed");
    assert!(listing.state != ListingState::Open, "a listing that takes orders stays");
    assert!(listing.orders == 0, "a listing stays while an order names it");
    if listing.terms.preview_cells > 0 && listing.preview_seed.is_none() {
        // The ledger stood still for so long that the tick of its preview has not come.
        return listing::keep_if_over(books, id, &listing);
    }
    books.remove(Listings, &id);
    books.remove(ListingsOf, &listing::of_seller(id, &listing));
    let mandate = listing::mandate_of(books, &listing);
    sale::forget(books, mandate, &listing);
    fees::give_back(books, listing.seller, fees::LISTING);
}
