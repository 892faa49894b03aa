//! What a sale binds: as long as a listing takes orders, an order is open or a buyer's access runs, the deals of the sold
//! object do not end and its mandates are not taken back.
//!
//! One row for each seller and object counts all its listings, so that a deal's end looks at one row.

use crate::{
    amount::Amount,
    id::{AccountId, LinkId, ListingId, ObjectId},
    ledger::{
        block::{Place, Reason},
        books::Books,
        rows::{
            Hold, HoldKey, Listing, ListingState, Listings, ListingsOf, Mandates, Sales, Sold,
            Table,
        },
        state::State,
    },
    time::LedgerTime,
};

/// The key of the row that a listing counts in.
fn key(listing: &Listing) -> (AccountId, ObjectId) {
    (listing.seller, listing.terms.manifest.object)
}

/// Whether a sale binds the deals that this account has for an object.
pub(super) fn binds<S: State + ?Sized>(
    books: &Books<'_, S>,
    owner: AccountId,
    object: ObjectId,
) -> bool {
    books
        .get(Sales, &(owner, object))
        .is_some_and(|sale| 0 < sale.listings || 0 < sale.orders || books.now() < sale.until_ms)
}

/// Whether a sale binds a link of this account, because it is the mandate of a listing.
pub(super) fn binds_mandate<S: State + ?Sized>(
    books: &Books<'_, S>,
    by: AccountId,
    link: LinkId,
) -> bool {
    let listing = books.get(Mandates, &link).and_then(|id| books.get(Listings, &id));
    listing.is_some_and(|row| row.seller == by && binds(books, by, row.terms.manifest.object))
}

fn change<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    listing: &Listing,
    change: impl FnOnce(&mut Sold),
) {
    let none = Sold { listings: 0, orders: 0, until_ms: LedgerTime::ZERO };
    let mut sale = books.get(Sales, &key(listing)).unwrap_or(none);
    change(&mut sale);
    books.put(Sales, &key(listing), &sale);
}

/// A listing takes orders from now on: its bond is placed.
pub(super) fn began<S: State + ?Sized>(books: &mut Books<'_, S>, id: ListingId, listing: &Listing) {
    change(books, listing, |sale| sale.listings += 1);
    let hold = Hold { payer: listing.seller, amount: listing.terms.bond, forfeited: Amount::ZERO };
    books.place_hold(HoldKey::Listing { listing: id }, &hold, Reason::Bond { listing: id });
}

/// A listing takes no more orders.
pub(super) fn ended<S: State + ?Sized>(books: &mut Books<'_, S>, id: ListingId, listing: &Listing) {
    change(books, listing, |sale| sale.listings -= 1);
    free_bond(books, id, listing);
}

/// An order of a listing binds its money from now on.
pub(super) fn ordered<S: State + ?Sized>(books: &mut Books<'_, S>, listing: &mut Listing) {
    listing.open += 1;
    change(books, listing, |sale| sale.orders += 1);
}

/// An order of a listing binds no more money. Access that was paid for runs until `until_ms`.
pub(super) fn closed<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: ListingId,
    listing: &mut Listing,
    until_ms: Option<LedgerTime>,
) {
    const COUNTED: &str = "counted when it was ordered";
    listing.open = listing.open.checked_sub(1).expect(COUNTED);
    change(books, listing, |sale| {
        sale.orders = sale.orders.checked_sub(1).expect(COUNTED);
        sale.until_ms = sale.until_ms.max(until_ms.unwrap_or(LedgerTime::ZERO));
    });
    free_bond(books, id, listing);
}

/// Gives the bond back once a listing has ended and no order is open: no complaint can come any more.
fn free_bond<S: State + ?Sized>(books: &mut Books<'_, S>, id: ListingId, listing: &Listing) {
    if listing.state == ListingState::Ended && listing.open == 0 {
        let hold = HoldKey::Listing { listing: id };
        books.close_hold(hold, listing.seller, Reason::Bond { listing: id });
    }
}

/// A complaint was upheld: half of the bond goes to the buyer who proved it, the rest to the treasury. So a seller gains
/// nothing by complaining in another name.
pub(super) fn forfeit_bond<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: ListingId,
    bond: Amount,
    buyer: AccountId,
) {
    let hold = HoldKey::Listing { listing: id };
    let reason = Reason::Bond { listing: id };
    books.transfer(Place::Hold { hold }, Place::Treasury, Amount(bond.0 / 2), reason);
    books.close_hold(hold, buyer, reason);
}

/// Forgets a listing that leaves the state. Nothing that it bound is bound any more.
pub(super) fn forget<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    mandate: LinkId,
    listing: &Listing,
) {
    books.remove(Mandates, &mandate);
    let (seller, object) = key(listing);
    let mut prefix = alloc::vec![ListingsOf::TAG];
    prefix.extend_from_slice(&seller.0);
    prefix.extend_from_slice(&object.0);
    if books.next_key(ListingsOf, &prefix, None).is_none() {
        books.remove(Sales, &(seller, object));
    }
}
