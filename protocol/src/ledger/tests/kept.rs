//! Rows that leave the state: closed orders, ended listings, revocations. And what a later row with the same id may do.

use std::{vec, vec::Vec};

use super::{
    audit::rows,
    seller::{capsule, listing_terms},
    world::{World, account, listing_id, opening, order_id, params, status},
};
use crate::{
    id::{Hash, LinkId, PeerId},
    ledger::{
        Status,
        execute::next_due,
        kept::{LEAVING_MAX, kept_ms},
        rows::{
            KeptUntil, ListingState, Listings, ListingsOf, Orders, OrdersOf, Redemptions,
            Revocations, Vaults,
        },
        state::StateExt,
        tests::seller::vault_id,
        transaction::Action,
    },
    time::LedgerTime,
};

const SELLER: u8 = 1;
const BUYER: u8 = 2;
const LISTING: u8 = 7;
const ORDER: u8 = 7;
const NODES: [u8; 3] = [11, 12, 13];
const PRICE: u128 = 10_007;
/// How long a grant lives.
const ACCESS_MS: u64 = 300_000;

/// A ledger on which 100 epochs are a thousand seconds.
fn listed() -> World {
    let mut world = World::new();
    world.fund(&[SELLER, BUYER]);
    world.nodes(&NODES);
    let vault = world.vault(SELLER, 2, &NODES);
    world.must(SELLER, vault);
    world.sell(SELLER, LISTING, PRICE);
    // The tick of its preview comes.
    world.wait(10);
    world
}

fn kept() -> u64 {
    kept_ms(&params()).0
}

fn order(world: &mut World) {
    let order = world.order(ORDER, LISTING, PRICE);
    world.must(BUYER, order);
}

fn end() -> Action {
    Action::EndListing { listing: listing_id(LISTING) }
}

fn has_order(world: &World) -> bool {
    let found = world.state.get(Orders, &order_id(ORDER)).is_some();
    assert_eq!(rows(&world.state, OrdersOf).len(), if found { 2 } else { 0 });
    found
}

fn has_listing(world: &World) -> bool {
    let found = world.state.get(Listings, &listing_id(LISTING)).is_some();
    assert_eq!(rows(&world.state, ListingsOf).len(), usize::from(found));
    found
}

#[test]
fn a_closed_order_leaves_when_no_node_needs_it_any_more() {
    let mut world = listed();
    order(&mut world);
    let access_until = world.now + ACCESS_MS;
    world.must(BUYER, Action::Acknowledge { order: order_id(ORDER), custodians: vec![1] });
    assert_eq!(world.state.get(Listings, &listing_id(LISTING)).unwrap().orders, 1);
    world.now = access_until + kept() - 1;
    world.block(&[]);
    assert!(has_order(&world), "a grant that has ended may still be asked for");
    world.wait(1);
    assert!(!has_order(&world));
    let listing = world.state.get(Listings, &listing_id(LISTING)).unwrap();
    assert_eq!((listing.orders, listing.sold), (0, 1), "it still takes orders");
    assert!(rows(&world.state, KeptUntil).is_empty());
    let late = Action::Acknowledge { order: order_id(ORDER), custodians: vec![] };
    assert_eq!(world.act(BUYER, late), Status::UnknownOrder);
}

#[test]
fn an_order_that_is_closed_after_its_access_stays_as_long_from_then_on() {
    let mut world = listed();
    order(&mut world);
    // Refunded by a block long after its access has ended.
    world.wait(ACCESS_MS + 5_000);
    world.wait(kept() - 1);
    assert!(has_order(&world));
    world.wait(1);
    assert!(!has_order(&world));
}

#[test]
fn a_listing_leaves_after_its_last_order() {
    let mut world = listed();
    order(&mut world);
    world.must(BUYER, Action::Acknowledge { order: order_id(ORDER), custodians: vec![] });
    world.must(SELLER, end());
    world.wait(kept() + 1);
    assert!(has_listing(&world), "an order still names it");
    world.wait(ACCESS_MS);
    assert!(!has_order(&world) && has_listing(&world));
    world.wait(kept() - 1);
    assert!(has_listing(&world));
    world.wait(1);
    assert!(!has_listing(&world));
    assert!(world.state.get(Vaults, &vault_id(SELLER)).is_some(), "vaults stay");
    assert_eq!(world.act(SELLER, end()), Status::UnknownListing);
}

#[test]
fn an_open_listing_stays_and_one_that_sold_nothing_leaves() {
    let mut world = listed();
    world.wait(10 * kept());
    assert!(has_listing(&world));
    world.must(SELLER, end());
    world.wait(kept() - 1);
    assert!(has_listing(&world));
    world.wait(1);
    assert!(!has_listing(&world));
}

/// A listing of a file whose preview was never drawn.
fn other_file(number: u8) -> Action {
    let mut terms = listing_terms(SELLER, PRICE);
    terms.manifest.content_root = Hash([9; 32]);
    terms.capsule = capsule(SELLER, &terms.manifest);
    Action::List { opening: opening(number), terms: terms.into() }
}

#[test]
fn a_listing_whose_preview_is_not_picked_stays() {
    let mut world = listed();
    let both = [other_file(8), Action::EndListing { listing: listing_id(8) }];
    let both = both.map(|action| world.sign(SELLER, action));
    for outcome in world.block(&both) {
        assert_eq!(status(outcome), Status::Applied);
    }
    // A gap does not count, so the tick of its preview has not come.
    world.wait(2 * kept());
    let listing = world.state.get(Listings, &listing_id(8)).unwrap();
    assert_eq!(listing.preview_seed, None);
    world.wait(10);
    assert!(world.state.get(Listings, &listing_id(8)).unwrap().preview_seed.is_some());
    world.wait(kept());
    assert!(world.state.get(Listings, &listing_id(8)).is_none());
}

#[test]
fn an_open_order_stays() {
    let mut world = listed();
    order(&mut world);
    world.must(SELLER, end());
    let listing = world.state.get(Listings, &listing_id(LISTING)).unwrap();
    assert_eq!((listing.state, listing.orders), (ListingState::Ended, 1));
    for (index, number) in [(1, 11), (2, 12)] {
        let release = world.release(ORDER, (2, 3), index);
        world.must(number, release);
    }
    assert!(rows(&world.state, KeptUntil).is_empty());
    assert!(has_order(&world) && has_listing(&world));
}

#[test]
fn a_revocation_leaves_after_the_link_has_ended() {
    let mut world = World::new();
    let revoke = |number: u8, until_ms| Action::Revoke { link: LinkId([number; 16]), until_ms };
    let now = world.now;
    world.must(1, revoke(1, None));
    world.must(1, revoke(2, Some(LedgerTime(now + 500))));
    // Whose end is over already counts as ending now.
    world.must(2, revoke(2, Some(LedgerTime::ZERO)));
    assert_eq!(world.act(1, revoke(2, None)), Status::Exists);
    let left = |world: &World| {
        rows(&world.state, Revocations).iter().map(|((link, by), _)| (link.0[0], *by)).collect()
    };
    let expect = |world: &World, links: &[(u8, u8)]| {
        let mut links: Vec<_> = links.iter().map(|(link, by)| (*link, account(*by))).collect();
        links.sort_unstable();
        let found: Vec<(u8, _)> = left(world);
        assert_eq!(found, links);
    };
    expect(&world, &[(1, 1), (2, 1), (2, 2)]);
    world.wait(kept());
    expect(&world, &[(1, 1), (2, 1)]);
    world.wait(500);
    expect(&world, &[(1, 1)]);
    world.wait(100 * kept());
    expect(&world, &[(1, 1)]);
    // The same may be revoked again.
    world.must(1, revoke(2, None));
}

#[test]
fn a_redemption_leaves_after_the_voucher_has_ended() {
    let mut world = World::new();
    let end = world.now + 500;
    let redeem =
        |to: u8, end| Action::Redeem { holder: PeerId([to; 32]), until_ms: LedgerTime(end) };
    world.must(1, redeem(2, end));
    world.must(3, redeem(2, u64::MAX));
    let left = |world: &World| rows(&world.state, Redemptions).len();
    world.wait(end - world.now + kept() - 1);
    assert_eq!((left(&world), world.act(1, redeem(3, u64::MAX))), (2, Status::Exists));
    world.wait(1);
    assert_eq!(left(&world), 1);
    world.wait(100 * kept());
    assert_eq!(left(&world), 1, "what ends at the end of time stays");
    world.must(1, redeem(3, u64::MAX));
}

#[test]
fn what_leaves_makes_no_block_by_itself() {
    let mut world = World::new();
    let until_ms = Some(LedgerTime(world.now));
    world.must(1, Action::Revoke { link: LinkId([1; 16]), until_ms });
    let boundary = next_due(&world.state);
    world.wait(10);
    assert_eq!(next_due(&world.state), boundary, "the next epoch, nothing else");
    while !rows(&world.state, Revocations).is_empty() {
        assert!(world.chain().epoch <= 100);
        world.next_epoch();
    }
}

#[test]
fn many_leave_over_several_blocks() {
    let mut world = World::new();
    let until_ms = Some(LedgerTime(world.now));
    let mut left = LEAVING_MAX + 300;
    let mut number = 0_u16;
    while number < u16::try_from(left).unwrap() {
        let revoke = |number: u16| {
            let mut link = LinkId([3; 16]);
            link.0[..2].copy_from_slice(&number.to_be_bytes());
            Action::Revoke { link, until_ms }
        };
        let batch: Vec<_> = (number..number + 331).map(|n| world.sign(5, revoke(n))).collect();
        world.block(&batch);
        number += 331;
    }
    left = rows(&world.state, Revocations).len();
    assert_eq!(left, 1_324);
    world.wait(kept());
    assert_eq!(rows(&world.state, Revocations).len(), left - LEAVING_MAX);
    world.wait(0);
    assert!(rows(&world.state, Revocations).is_empty());
}

/// A signed order that no block had yet is for the listing that its buyer saw, not for a later one with its id.
#[test]
fn an_order_is_for_the_listing_that_the_buyer_saw() {
    let mut world = listed();
    let seen = world.order(ORDER, LISTING, PRICE);
    world.must(SELLER, end());
    world.wait(kept());
    assert!(!has_listing(&world));
    world.sell(SELLER, LISTING, PRICE);
    assert_eq!(world.act(BUYER, seen), Status::TermsChanged);
    let anew = world.order(ORDER, LISTING, PRICE);
    world.must(BUYER, anew);
}

/// An order under a used id is one of its own, and is paid anew.
#[test]
fn an_id_that_was_left_may_be_used_again() {
    let mut world = listed();
    order(&mut world);
    world.must(BUYER, Action::Acknowledge { order: order_id(ORDER), custodians: vec![1] });
    world.wait(ACCESS_MS + kept());
    assert!(!has_order(&world));
    order(&mut world);
    assert!(has_order(&world));
    let escrow = crate::ledger::sheet(&world.state).unwrap().holds;
    // The bond of the listing, and the reserve of the deal that keeps its goods: a fifth of 450.
    let stays = PRICE + 90;
    assert_eq!(escrow.0, PRICE + stays, "it is paid anew");
    world.wait(3_000);
    assert_eq!(crate::ledger::sheet(&world.state).unwrap().holds.0, stays);
}
