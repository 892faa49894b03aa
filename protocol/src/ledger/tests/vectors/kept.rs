//! Ledgers on which orders, listings and revocations leave the state.

use std::{vec, vec::Vec};

use super::{
    super::world::params, LISTING, NODES, ORDER, World, Writer, account, listing_id, opening,
    order_id, register,
};
use crate::{
    id::{LinkId, OrderId, PeerId},
    ledger::{Params, Status, kept_ms, transaction::Action},
    time::{LedgerTime, Millis},
};

/// As short as it may be.
const ACCESS_MS: u64 = 8_000;

pub(super) fn write(writer: &mut Writer) {
    let params = Params { epoch_ms: Millis(1_000_000), ..params() };
    let kept = kept_ms(&params).0;
    writer.genesis("a ledger on which a hundred epochs are long", World::with(params));
    let mut first: Vec<_> = [1, 2].map(|who| writer.world.sign(who, Action::Faucet)).into();
    first.extend(NODES.map(|number| writer.world.sign(number, register(number, 4096))));
    let vault = writer.world.vault(1, 2, &NODES);
    first.push(writer.world.sign(1, vault));
    writer.ok("a market", "two accounts, three nodes and a vault", &first);
    sales(writer, kept);
    revocations(writer, kept);
    redemptions(writer, kept);
    waiting(writer, kept);
}

fn offer(writer: &Writer, number: u8) -> Action {
    let mut terms = writer.terms(number, 3);
    terms.preview_cells = 0;
    terms.access_ms = Millis(ACCESS_MS);
    Action::List { opening: opening(number), terms: terms.into() }
}

fn acknowledge(order: OrderId) -> Action {
    Action::Acknowledge { order, custodians: vec![] }
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn sales(writer: &mut Writer, kept: u64) {
    let unsold = 9;
    let both = [LISTING, unsold].map(|listing| writer.world.sign(1, offer(writer, listing)));
    writer.ok("two listings", "one of them sells nothing", &both);
    writer.store(50);
    writer.cover(LISTING);
    let seen = writer.world.order(ORDER, LISTING, 3);
    let Action::Order { opening, listing, holder, delivery, listed_ms, price, licence } =
        seen.clone()
    else {
        unreachable!()
    };
    for (name, listed_ms) in [
        ("order of an earlier listing", LedgerTime(listed_ms.0 - 1)),
        ("order of a later listing", LedgerTime(listed_ms.0 + 1)),
    ] {
        let delivery = delivery.clone();
        let other = Action::Order { opening, listing, holder, delivery, listed_ms, price, licence };
        let why = "the id may have stood for another listing at that time";
        writer.refuse(Status::TermsChanged, name, why, (2, other));
    }
    // The seller's own order has one row in `OrdersOf`.
    let own = OrderId::of(&account(1), &super::opening(8));
    let of_seller = writer.world.order_by(1, 8, listing_id(LISTING), 3);
    let orders = [(2, seen.clone()), (1, of_seller)];
    let orders = orders.map(|(who, order)| writer.world.sign(who, order));
    writer.ok("two orders", "one by the seller", &orders);
    let access_until = writer.world.now + ACCESS_MS;
    let end = |number| Action::EndListing { listing: listing_id(number) };
    let closed = [
        writer.world.sign(2, acknowledge(order_id(ORDER))),
        writer.world.sign(1, end(LISTING)),
        writer.world.sign(1, end(unsold)),
    ];
    writer.ok("settled and ended", "an order of two, and both listings", &closed);
    let ended = writer.world.now;
    writer.world.now += 3_000;
    writer.empty("refunded", "the other order: its access would have gone on");

    let unknown = [
        (2, acknowledge(order_id(ORDER)), Status::UnknownOrder, "its row has left"),
        (1, acknowledge(own), Status::UnknownOrder, "its row has left"),
    ];
    writer.world.now = ended + kept - 1;
    let why = "a millisecond before it leaves";
    writer.refuse(Status::ListingEnded, "ended again", why, (1, end(unsold)));
    writer.world.now += 1;
    writer.empty("the unsold listing leaves", "a hundred epochs after its end");
    let why = "its row has left";
    writer.refuse(Status::UnknownListing, "ended after it left", why, (1, end(unsold)));
    let why = "it has orders";
    writer.refuse(Status::ListingEnded, "the other one is there", why, (1, end(LISTING)));

    writer.world.now = access_until + kept - 1;
    let why = "a millisecond before they leave";
    writer.refuse(Status::OrderClosed, "settled long ago", why, (2, acknowledge(order_id(ORDER))));
    writer.refuse(Status::OrderClosed, "refunded long ago", why, (1, acknowledge(own)));
    writer.world.now += 1;
    writer.empty("the orders leave", "a hundred epochs after their access has ended");
    for (who, action, status, why) in unknown {
        writer.refuse(status, "acknowledged after it left", why, (who, action));
    }
    writer.world.now += kept - 1;
    let why = "a millisecond before it leaves: its last order left a hundred epochs ago";
    writer.refuse(Status::ListingEnded, "sold, ended again", why, (1, end(LISTING)));
    writer.world.now += 1;
    writer.empty("the listing leaves", "a hundred epochs after its last order");
    let why = "its row has left";
    writer.refuse(Status::UnknownListing, "sold, ended after it left", why, (1, end(LISTING)));

    writer.act("listed anew", "its seller may use the id again", 1, offer(writer, LISTING));
    let why = "signed for the listing that has left";
    writer.refuse(Status::TermsChanged, "the old order", why, (2, seen));
    writer.cover(LISTING);
    let anew = writer.world.order(ORDER, LISTING, 3);
    writer.act("ordered anew", "its buyer may use the id again", 2, anew);
}

fn revoke(link: u16, until_ms: Option<LedgerTime>) -> Action {
    let mut id = LinkId([5; 16]);
    id.0[..2].copy_from_slice(&link.to_be_bytes());
    Action::Revoke { link: id, until_ms }
}

fn revocations(writer: &mut Writer, kept: u64) {
    let now = writer.world.now;
    let three = [
        revoke(1, None),
        revoke(2, Some(LedgerTime(now + 7))),
        revoke(3, Some(LedgerTime(now - 7))),
        revoke(4, Some(LedgerTime(u64::MAX))),
    ];
    let three: Vec<_> = three.map(|action| writer.world.sign(1, action)).into();
    let why =
        "of links without an end, with one, with one that is over, and with the last there is";
    writer.ok("four revocations", why, &three);
    let exists = |writer: &mut Writer, name: &str, link: u16| {
        let why = "its row is there";
        writer.refuse(Status::Exists, name, why, (1, revoke(link, None)));
    };
    writer.world.now = now + kept - 1;
    exists(writer, "a link that was over is revoked again", 3);
    writer.world.now += 1;
    writer.act("it has left", "a hundred epochs after its block", 1, revoke(3, None));
    writer.world.now += 6;
    exists(writer, "a link that ended later is revoked again", 2);
    writer.world.now += 1;
    writer.act("that has left too", "a hundred epochs after the end", 1, revoke(2, None));
    exists(writer, "a link without an end is revoked again", 1);
    exists(writer, "a link that ends at the end of time is revoked again", 4);
}

/// Vouchers: their one-time accounts are 1, 2 and the nodes here.
fn redemptions(writer: &mut Writer, kept: u64) {
    let now = writer.world.now;
    let redeem = |to: u8, until_ms: u64| Action::Redeem {
        holder: PeerId([to; 32]),
        until_ms: LedgerTime(until_ms),
    };
    let why = "at the end of the voucher";
    writer.refuse(Status::TooLate, "redeemed too late", why, (1, redeem(7, now)));
    writer.refuse(Status::TooLate, "redeemed long after", why, (1, redeem(7, now - 9)));
    let both = [(1, redeem(7, now + 5)), (2, redeem(8, u64::MAX))];
    let both = both.map(|(once, action)| writer.world.sign(once, action));
    let why = "of vouchers that end soon, and with the last end there is";
    writer.ok("two redemptions", why, &both);
    let exists = |writer: &mut Writer, name: &str, action: (u8, Action)| {
        writer.refuse(Status::Exists, name, "its row is there", action);
    };
    exists(writer, "redeemed for another peer", (1, redeem(8, now + 5)));
    exists(writer, "redeemed for the same peer again", (1, redeem(7, now + 5)));
    exists(writer, "redeemed for longer", (1, redeem(7, u64::MAX)));
    // An end that is over is the later fault.
    exists(writer, "redeemed again, and too late", (1, redeem(7, 0)));
    writer.world.now = now + 5 + kept - 1;
    exists(writer, "redeemed again, long after", (1, redeem(9, u64::MAX)));
    writer.world.now += 1;
    writer.act("it has left", "a hundred epochs after the end", 1, redeem(9, u64::MAX));
    exists(writer, "an end at the end of time", (2, redeem(9, u64::MAX)));
}

/// A listing that ends before the tick of its preview, on a ledger that then stands still for more than a hundred epochs.
fn waiting(writer: &mut Writer, kept: u64) {
    let (listing, end) = (5, Action::EndListing { listing: listing_id(5) });
    let list = Action::List { opening: opening(listing), terms: writer.terms(listing, 3).into() };
    let both = [list, end.clone()].map(|action| writer.world.sign(1, action));
    writer.ok("listed and ended", "in one block, with a preview of two cells", &both);
    writer.world.now += 2 * kept;
    writer.empty("a gap of two hundred epochs", "it does not count: the tick has not come");
    let why = "it stays until its cells are picked";
    writer.refuse(Status::ListingEnded, "ended once more", why, (1, end.clone()));
    // A tick of this ledger has 244.1 ms.
    writer.world.now += 245;
    writer.empty("its cells are picked", "the tick has come");
    writer.world.now += kept - 246;
    let why = "a millisecond before a hundred epochs after the gap";
    writer.refuse(Status::ListingEnded, "ended again", why, (1, end.clone()));
    writer.world.now += 1;
    writer.empty("the listing leaves", "a hundred epochs after the gap");
    writer.refuse(Status::UnknownListing, "ended after it left", "its row has left", (1, end));
}
