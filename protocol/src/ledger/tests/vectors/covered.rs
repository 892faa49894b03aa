//! Ledgers at the edges of bonds, and of the deals that listings are covered with.

use std::{vec, vec::Vec};

use super::{
    super::{evidence::KEEPERS, world},
    GOODS, LISTING, Writer, account, deal_id,
    disputes::market,
    goods, listing_id, opening, register,
};
use crate::{
    amount::Amount,
    id::{DealId, Hash},
    ledger::{
        Params, Status,
        listing::COVERED_DEALS_MAX,
        rows::Terms,
        tests::world::{key, params},
        transaction::{Acceptance, Action, DealTerms, LostShard},
    },
    time::{LedgerTime, Millis},
};

pub(super) fn write(writer: &mut Writer) {
    bonds(writer);
    segments(writer);
    access(writer);
}

fn listed(writer: &Writer, number: u8, change: impl FnOnce(&mut Terms)) -> Action {
    let mut terms = writer.terms(number, 10_007);
    terms.preview_cells = 0;
    change(&mut terms);
    Action::List { opening: opening(number), terms: terms.into() }
}

/// A ledger that asks for a third of the price.
fn bonds(writer: &mut Writer) {
    let params = Params { listing_bond_bp: 3_333, ..params() };
    market(writer, "a ledger on which a bond is a third of the price", params);
    let bond = |price, bond| {
        move |terms: &mut Terms| (terms.price, terms.bond) = (Amount(price), Amount(bond))
    };
    for (name, price, less) in [("a bond of 3335", 10_007, 3_335), ("no bond for a unit", 1, 0)] {
        let low = listed(writer, LISTING, bond(price, less));
        writer.refuse(Status::BadField, name, "a third is more, rounded up", (1, low));
    }
    let enough = listed(writer, LISTING, bond(10_007, 3_336));
    writer.act("a bond of 3336", "33.33 percent, rounded up", 1, enough);
    let free = listed(writer, 8, bond(0, 0));
    writer.act("no bond for nothing", "no one pays", 1, free);
}

/// What keeps a segment of a listed file of two.
fn stored(number: u8, segment: u32, length: u64) -> DealTerms {
    DealTerms { segment, length, ..world::terms(1, opening(number), 4, 20) }
}

fn open(writer: &Writer, terms: &DealTerms) -> Action {
    let accept = |(index, number): (u8, u8)| {
        let expires_ms = LedgerTime(writer.world.now + 60_000);
        let (shard, price) = ((index, Hash([index; 32])), (world::PRICE, u64::MAX));
        Acceptance::build(&writer.world.id(), terms, &key(number), shard, price, expires_ms)
    };
    let acceptances = (0..).zip(KEEPERS).map(accept).collect();
    Action::OpenDeal { terms: terms.clone(), acceptances, cost_max: Amount(u128::MAX) }
}

const FULL: u64 = 64 << 20;
const REST: u64 = 17_408;

/// A file of two segments, and all that does not keep it.
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn segments(writer: &mut Writer) {
    market(writer, "a ledger for a file of two segments", params());
    let larger = KEEPERS.map(|number| writer.world.sign(number, register(number, 2 << 30)));
    writer.ok("larger nodes", "with room for all", &larger);
    let of = |number, segment, length| {
        let mut terms = stored(number, segment, length);
        terms.object = crate::id::ObjectId([1; 16]);
        terms
    };
    let rows = [
        of(1, 0, FULL),
        of(2, 1, REST),
        DealTerms { epochs: 19, ..of(3, 0, FULL) },
        DealTerms { object: crate::id::ObjectId([9; 16]), ..of(4, 0, FULL) },
        DealTerms { required: 1, ..of(5, 0, FULL) },
        DealTerms { total: 3, ..of(6, 0, FULL) },
        of(7, 0, FULL - 1024),
        of(8, 1, REST),
        of(9, 0, FULL),
        of(10, 2, REST),
        of(11, 0, FULL),
    ];
    let opened: Vec<_> = rows.iter().map(|terms| open(writer, terms)).collect();
    let signed: Vec<_> = opened.into_iter().map(|open| writer.world.sign(1, open)).collect();
    writer.ok("deals", "of the file, and of others", &signed);
    let theirs = DealTerms { owner: account(2), ..of(1, 0, FULL) };
    let theirs_id = theirs.deal();
    let theirs = open(writer, &theirs);
    writer.act("another's deal", "of the same object", 2, theirs);
    let end = Action::EndDeal { deal: deal_id(9) };
    writer.act("one is ended", "nothing is sold yet", 1, end);
    for number in [12, 13] {
        let lost = Action::DeclareLost {
            shards: vec![LostShard { deal: deal_id(11), index: number - 11 }],
        };
        writer.act("a shard is lost", "one of three is left", number, lost);
    }
    let two = |terms: &mut Terms| {
        terms.manifest.length = 134_184_960 + 1000;
        terms.cells = 2050;
        terms.access_ms = Millis(8_000);
    };
    writer.act("a file of two segments", "is listed", 1, listed(writer, LISTING, two));
    writer.act("another listing", "of the same file", 1, listed(writer, 8, two));
    let end = Action::EndListing { listing: listing_id(8) };
    writer.act("that is ended", "it takes no orders", 1, end);
    let cover = |first, deals: &[u8]| Action::CoverListing {
        listing: listing_id(LISTING),
        first,
        deals: deals.iter().map(|number| deal_id(*number)).collect(),
    };
    let many = |count: usize| Action::CoverListing {
        listing: listing_id(LISTING),
        first: 0,
        deals: (1_u128..).take(count).map(|at| DealId(at.to_be_bytes())).collect(),
    };
    let of_listing = |number, deal| Action::CoverListing {
        listing: listing_id(number),
        first: 0,
        deals: vec![deal],
    };
    let bad = [
        (Status::BadField, "covered by no deal", cover(0, &[])),
        (Status::BadField, "covered by one deal twice", cover(0, &[1, 1])),
        (Status::BadField, "covered by 257 deals", many(COVERED_DEALS_MAX + 1)),
        (Status::UnknownDeal, "covered by 256 deals that there are not", many(COVERED_DEALS_MAX)),
        (Status::UnknownListing, "no listing covered", of_listing(99, deal_id(1))),
        (Status::NotYours, "covered by another's deal", of_listing(LISTING, theirs_id)),
        (Status::ListingEnded, "an ended listing covered", of_listing(8, deal_id(1))),
        (Status::DealClosed, "covered by an ended deal", cover(0, &[9])),
        (Status::TooEarly, "the second segment first", cover(1, &[2])),
        (Status::NotCovered, "the second segment's deal for the first", cover(0, &[2])),
        (Status::NotCovered, "a deal of another object", cover(0, &[4])),
        (Status::NotCovered, "a deal of which one shard is enough", cover(0, &[5])),
        (Status::NotCovered, "a deal of three shards", cover(0, &[6])),
        (Status::NotCovered, "a deal of shorter shards", cover(0, &[7])),
        (Status::NotCovered, "a deal that has lost too much", cover(0, &[11])),
        (Status::NotCovered, "three segments", cover(0, &[1, 2, 10])),
        (Status::NotCovered, "the wrong order", cover(0, &[2, 1])),
    ];
    for (status, name, action) in bad {
        writer.refuse(status, name, "the file is not shown to be kept by this", (1, action));
    }
    let stranger = (2, of_listing(LISTING, theirs_id));
    writer.refuse(Status::NotYours, "covered by a stranger", "not the seller", stranger);
    writer.act("the first segment", "one of two", 1, cover(0, &[1]));
    let order = writer.world.order(1, LISTING, 10_007);
    let why = "the second segment was not shown";
    writer.refuse(Status::NotCovered, "half covered", why, (2, order));
    writer.refuse(Status::TooEarly, "the third segment", "not the next one", (1, cover(2, &[10])));
    writer.act("the second segment", "now all is shown", 1, cover(1, &[8]));
    writer.refuse(Status::TooEarly, "the second again", "it begins anew", (1, cover(1, &[2])));
    writer.act(
        "the first one anew",
        "by a shorter deal; the cover of before counts",
        1,
        cover(0, &[3]),
    );
    let order = writer.world.order(1, LISTING, 10_007);
    writer.act("ordered", "meanwhile", 2, order);
    writer.act("the first one once more", "by a longer deal", 1, cover(0, &[1]));
    writer.act("both at once", "the shorter one counts", 1, cover(0, &[3, 2]));
    let order = writer.world.order(2, LISTING, 10_007);
    writer.act("ordered again", "by the same account", 2, order);
}

/// Access that ends with the deals.
fn access(writer: &mut Writer) {
    market(writer, "a ledger for access that ends with a deal", params());
    writer.world.now += 7;
    writer.empty("seven milliseconds", "of the first epoch");
    let chain = writer.world.chain();
    let end = chain.epoch_started().0 + 3 * 10_000;
    let left = end - writer.world.now;
    for (number, access_ms) in [(1, left), (2, left + 1), (3, 8_000)] {
        let offer = listed(writer, number, |terms| terms.access_ms = Millis(access_ms));
        writer.act("listed", "with access for so long", 1, offer);
    }
    let stored = writer.world.deal_on(&world::terms(1, GOODS, 4, 2), &KEEPERS);
    writer.act("stored", "until epoch 3 begins", 1, stored);
    for number in [1, 2, 3] {
        writer.cover(number);
    }
    let longer = writer.world.order(2, 2, 10_007);
    let why = "a millisecond longer than the deal is certain to be there";
    writer.refuse(Status::NotCovered, "access beyond the deal", why, (2, longer));
    let order = writer.world.order(1, 1, 10_007);
    writer.act("ordered", "the access ends when epoch 3 begins at the earliest", 2, order);
    writer.world.now += 1;
    let later = writer.world.order(4, 1, 10_007);
    writer.refuse(
        Status::NotCovered,
        "a millisecond later",
        "the access ends later too",
        (2, later),
    );
    while writer.world.chain().epoch < 2 {
        writer.next_epoch("an epoch", "of the deal");
    }
    let late = writer.world.order(5, 3, 10_007);
    let why = "the last epoch of the deal is nearly over";
    writer.refuse(Status::NotCovered, "ordered in the last epoch", why, (2, late));
    while writer.world.chain().epoch < 4 {
        writer.next_epoch("an epoch", "after the deal");
    }
    let late = writer.world.order(6, 3, 10_007);
    writer.refuse(Status::NotCovered, "ordered after the deal", "it is over", (2, late));
    let again = super::covering(3);
    writer.refuse(Status::DealClosed, "covered by what is over", "it is over", (1, again));
    let bound = Action::EndDeal { deal: goods() };
    writer.refuse(Status::DealClosed, "ended after its end", "it has ended", (1, bound));
}
