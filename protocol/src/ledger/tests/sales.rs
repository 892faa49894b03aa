//! Sales: who is paid what, who gets it back, and which listings are refused.

use std::{vec, vec::Vec};

use super::{
    motions::{self, propose, vote},
    seller::{capsule, link, list, listing_terms, mandate, vault_id},
    world::{
        self, AUTHORITY, GOODS, World, account, chain_id, deal_id, listing_id, opening, order_id,
        register,
    },
};
use crate::{
    amount::Amount,
    custody::VaultKey,
    grant::{self, Caveat, ability, market_audience},
    id::{DealId, Hash, ObjectId, Opening, OrderId, PeerId},
    ledger::{
        Params, Status,
        block::Event,
        deal_cost,
        execute::next_due,
        rows::{Choice, Deals, HoldKey, Holds, Listings, OrderState, Orders, Split, Vaults},
        state::StateExt,
        transaction::{Action, DealTerms},
    },
    time::{LedgerTime, Millis},
};

const SELLER: u8 = 1;
const BUYER: u8 = 2;
const LISTING: u8 = 7;
const ORDER: u8 = 7;
const NODES: [u8; 3] = [11, 12, 13];
const PRICE: u128 = 10_007;
const FAUCET: u128 = 10_000_000_000;

fn opened() -> World {
    opened_with(world::params())
}

fn opened_with(params: Params) -> World {
    let mut world = World::with(params);
    world.fund(&[SELLER, BUYER]);
    world.nodes(&NODES);
    let vault = world.vault(SELLER, 2, &NODES);
    world.must(SELLER, vault);
    world
}

fn listed() -> World {
    let mut world = opened();
    world.sell(SELLER, LISTING, PRICE);
    world
}

fn ordered() -> World {
    let mut world = listed();
    let order = world.order(ORDER, LISTING, PRICE);
    world.must(BUYER, order);
    assert!(world.events.contains(&Event::OrderPaid { order: order_id(ORDER) }));
    assert_eq!(world.balance(BUYER), FAUCET - PRICE);
    world
}

fn state_of(world: &World) -> OrderState {
    world.state.get(Orders, &order_id(ORDER)).unwrap().state
}

/// What the seller, the two in the split, and the three custodians have of the sale.
fn shares(world: &World) -> [u128; 6] {
    let terms = deal_cost(&world.genesis.params, 1024, 50, [world::PRICE; 3]).unwrap();
    let seller = world.balance(SELLER) + terms.total.0 + PRICE - FAUCET;
    let [thirty, thirty_one, first, second, third] =
        [30, 31, 111, 112, 113].map(|number| world.balance(number));
    [seller, thirty, thirty_one, first, second, third]
}

#[test]
fn an_order_keeps_the_fees_with_which_it_was_made() {
    let slow = Params {
        delivery_ms: Millis(30_000),
        voting_epochs: 1,
        lock_epochs: 1,
        motion_deposit: Amount(1_000),
        ..world::params()
    };
    let mut world = opened_with(slow);
    world.sell(SELLER, LISTING, PRICE);
    let changes = motions::params(&[("sale_fee_bp", 1_000), ("custody_fee_bp", 0)]);
    world.must(SELLER, propose(changes));
    world.must(AUTHORITY, vote(1, AUTHORITY, Choice::Yes));
    world.next_epoch();
    let order = world.order(ORDER, LISTING, PRICE);
    world.must(BUYER, order);
    world.next_epoch();
    assert_eq!(world.chain().params.sale_fee_bp, 1_000);
    let treasury = |world: &World| crate::ledger::sheet(&world.state).unwrap().pools.treasury.0;
    let before = treasury(&world);
    world.must(BUYER, Action::Acknowledge { order: order_id(ORDER), custodians: vec![1, 3] });
    assert_eq!(treasury(&world) - before, 200);
    assert_eq!([111, 113].map(|number| world.balance(number)), [50, 50]);
    let order = world.order(ORDER + 1, LISTING, PRICE);
    world.must(BUYER, order);
    let again = Action::Acknowledge { order: order_id(ORDER + 1), custodians: vec![1, 3] };
    world.must(BUYER, again);
    assert_eq!(treasury(&world) - before, 200 + 1_000);
    assert_eq!([111, 113].map(|number| world.balance(number)), [50, 50]);
}

#[test]
fn acknowledging_pays_everyone() {
    let mut world = ordered();
    world.must(BUYER, Action::Acknowledge { order: order_id(ORDER), custodians: vec![1, 3] });
    assert_eq!(state_of(&world), OrderState::Settled);
    // 10007: a fee of 200, custodians share 100; of the 9707 left 1941, 1386, and the rest.
    assert_eq!(shares(&world), [6380, 1941, 1386, 50, 0, 50]);
    // And the fee on the deal of the goods: 2 % of 450.
    assert_eq!(crate::ledger::sheet(&world.state).unwrap().pools.treasury.0, 200 + 9);
    assert_eq!(world.state.get(Listings, &listing_id(LISTING)).unwrap().sold, 1);
}

#[test]
fn an_odd_custody_fee_leaves_its_rest_with_the_seller() {
    let mut world = ordered();
    world.must(BUYER, Action::Acknowledge { order: order_id(ORDER), custodians: vec![1, 2, 3] });
    let [seller, thirty, thirty_one, first, second, third] = shares(&world);
    assert_eq!([first, second, third], [33; 3]);
    assert_eq!(seller + thirty + thirty_one, PRICE - 200 - 99);
}

#[test]
fn a_silent_buyer_pays_when_the_window_closes() {
    let mut world = ordered();
    for (index, number) in [(2, 12), (1, 11)] {
        let release = world.release(ORDER, (2, 3), index);
        assert_eq!(world.act(13, release.clone()), Status::NotYours);
        world.must(number, release.clone());
        assert_eq!(world.act(number, release), Status::Exists);
    }
    assert_eq!(state_of(&world), OrderState::Delivered);
    let due = world.now + 2000;
    // The listing's preview is picked before.
    world.wait(3);
    assert_eq!(next_due(&world.state), Some(LedgerTime(due)));
    world.wait(1996);
    assert_eq!(state_of(&world), OrderState::Delivered);
    world.wait(1);
    assert_eq!(state_of(&world), OrderState::Settled);
    assert!(world.events.contains(&Event::OrderSettled { order: order_id(ORDER) }));
    assert_eq!(shares(&world), [6380, 1941, 1386, 50, 50, 0]);
}

#[test]
fn too_few_releases_refund_everything() {
    let mut world = ordered();
    let release = world.release(ORDER, (2, 3), 1);
    world.must(11, release);
    world.wait(2999);
    assert_eq!(state_of(&world), OrderState::Paid);
    let late = world.release(ORDER, (2, 3), 2);
    world.now += 1;
    assert_eq!(world.act(12, late), Status::OrderClosed);
    assert_eq!(state_of(&world), OrderState::Refunded);
    assert_eq!(world.balance(BUYER), FAUCET);
    assert_eq!(shares(&world), [0; 6]);
    let late = Action::Acknowledge { order: order_id(ORDER), custodians: vec![1] };
    assert_eq!(world.act(BUYER, late), Status::OrderClosed);
}

#[test]
fn a_ledger_that_stood_still_refunds_no_sale() {
    let mut world = ordered();
    // A second too late, the least that counts: no custodian could have posted anything.
    world.wait(3000 + 1000);
    assert_eq!(state_of(&world), OrderState::Paid);
    assert_eq!(next_due(&world.state), Some(LedgerTime(world.now + 3000)));
    for (index, number) in [(1, 11), (2, 12)] {
        let release = world.release(ORDER, (2, 3), index);
        world.must(number, release);
    }
    assert_eq!(state_of(&world), OrderState::Delivered);
    // And where they post nothing although the ledger runs, the money goes back.
    let mut world = ordered();
    world.wait(3000 + 1000);
    world.wait(3000);
    assert_eq!(state_of(&world), OrderState::Refunded);
    assert_eq!(world.balance(BUYER), FAUCET);
}

#[test]
fn an_order_whose_access_would_be_over_does_not_wait_again() {
    let mut world = ordered();
    world.wait(1_000_000);
    assert_eq!(state_of(&world), OrderState::Refunded);
    assert_eq!(world.balance(BUYER), FAUCET);
}

#[test]
fn many_orders_that_fall_due_together_are_closed_over_several_blocks() {
    const MANY: u8 = 230;
    let mut world = listed();
    let free = 9;
    world.sell(SELLER, free, 0);
    for number in 0..MANY {
        let order = world.order_by(40, number, listing_id(free), 0);
        world.must(40, order);
    }
    let due_ms = LedgerTime(world.now + 3000);
    let open = |world: &World| {
        let id = |number| OrderId::of(&account(40), &opening(number));
        let orders = (0..MANY).map(|number| world.state.get(Orders, &id(number)));
        orders.filter(|order| order.as_ref().unwrap().state == OrderState::Paid).count()
    };
    // Each block is due at once while some are left, and none of them waits for its time again.
    world.wait(3000);
    assert_eq!(open(&world), usize::from(MANY) - 100);
    assert!(next_due(&world.state).unwrap() <= due_ms);
    world.wait(1);
    assert_eq!(open(&world), usize::from(MANY) - 200);
    world.wait(1);
    assert_eq!(open(&world), 0);
}

/// What an open listing, an open order and the access of a buyer need stays.
#[test]
fn a_sale_binds_its_deals_and_its_mandate() {
    let mut world = ordered();
    let Action::List { terms, .. } = list(SELLER, LISTING, PRICE) else { unreachable!() };
    let link = grant::mandate_id(&world.id(), &account(SELLER), &terms.mandate);
    let revoke = Action::Revoke { link, until_ms: None };
    let end = Action::EndDeal { deal: DealId::of(&account(SELLER), &GOODS) };
    let bound = |world: &mut World| {
        world.wait(0);
        assert_eq!(world.act(SELLER, revoke.clone()), Status::SaleBinds);
        assert_eq!(world.act(SELLER, end.clone()), Status::SaleBinds);
        let bond = HoldKey::Listing { listing: listing_id(LISTING) };
        world.state.get(Holds, &bond).map(|hold| hold.amount.0)
    };
    assert_eq!(bound(&mut world), Some(PRICE));
    world.must(SELLER, Action::EndListing { listing: listing_id(LISTING) });
    assert_eq!(bound(&mut world), Some(PRICE), "an order is open");
    let access_until = world.state.get(Orders, &order_id(ORDER)).unwrap().access_until_ms.0;
    world.must(BUYER, Action::Acknowledge { order: order_id(ORDER), custodians: vec![] });
    assert_eq!(bound(&mut world), None, "no complaint can come");
    let length = world.genesis.params.epoch_ms.0;
    while world.now + length < access_until {
        world.next_epoch();
    }
    assert_eq!(bound(&mut world), None, "access runs");
    world.now = access_until;
    world.block(&[]);
    world.must(SELLER, revoke.clone());
    // Others may revoke the same id: it means nothing.
    world.must(BUYER, revoke);
    while world.act(SELLER, end.clone()) != Status::Applied {
        world.wait(100);
    }
    let again = Action::List { opening: opening(8), terms };
    assert_eq!(world.act(SELLER, again), Status::BadProof, "its mandate was revoked");
}

#[test]
fn an_order_needs_deals_that_outlive_the_access() {
    let mut world = opened();
    world.must(SELLER, list(SELLER, LISTING, PRICE));
    let order = world.order(ORDER, LISTING, PRICE);
    assert_eq!(world.act(BUYER, order.clone()), Status::NotCovered);
    let listing = listing_id(LISTING);
    let cover = |first, deal| Action::CoverListing { listing, first, deals: vec![deal] };
    // A deal of another object, of other lengths, of another owner; a segment that the file does not have.
    let other = world.deal(SELLER, opening(4), &NODES, 50);
    world.must(SELLER, other);
    assert_eq!(world.act(SELLER, cover(0, deal_id(4))), Status::NotCovered);
    let theirs = world.deal_on(&world::terms(BUYER, GOODS, 4, 50), &NODES);
    world.must(BUYER, theirs);
    let theirs = DealId::of(&account(BUYER), &GOODS);
    assert_eq!(world.act(SELLER, cover(0, theirs)), Status::NotYours);
    assert_eq!(world.act(BUYER, cover(0, theirs)), Status::NotYours);
    assert_eq!(world.act(SELLER, cover(0, DealId([1; 16]))), Status::UnknownDeal);
    // It is over before the access would be.
    let short = Opening([248; 32]);
    let terms = DealTerms { object: ObjectId([SELLER; 16]), ..world::terms(SELLER, short, 4, 9) };
    let opened = world.deal_on(&terms, &NODES);
    world.must(SELLER, opened);
    let short = DealId::of(&account(SELLER), &short);
    assert_eq!(world.act(SELLER, cover(1, short)), Status::TooEarly);
    world.must(SELLER, cover(0, short));
    assert_eq!(world.act(BUYER, order.clone()), Status::NotCovered);
    world.cover(SELLER, LISTING);
    world.must(BUYER, order);
    // Two segments in one go: the file has one.
    let deals = vec![short, DealId::of(&account(SELLER), &GOODS)];
    let both = Action::CoverListing { listing, first: 0, deals };
    assert_eq!(world.act(SELLER, both), Status::NotCovered);
}

#[test]
fn a_file_that_is_listed_again_shows_the_same_cells() {
    let mut world = listed();
    world.wait(10);
    let seed = |world: &World, number| {
        world.state.get(Listings, &listing_id(number)).unwrap().preview_seed
    };
    let first = seed(&world, LISTING);
    assert!(first.is_some());
    world.must(SELLER, Action::EndListing { listing: listing_id(LISTING) });
    world.must(SELLER, list(SELLER, 8, PRICE));
    assert_eq!(seed(&world, 8), first, "at once");
    assert!(world.events.contains(&Event::PreviewPicked { listing: listing_id(8) }));
    // Two that wait for the same tick have the same draw too.
    let mut terms = listing_terms(SELLER, PRICE);
    terms.manifest.content_root = Hash([9; 32]);
    terms.capsule = capsule(SELLER, &terms.manifest);
    for number in [9, 10] {
        let mandate = list(SELLER, number, PRICE);
        let Action::List { terms: with, .. } = mandate else { unreachable!() };
        terms.mandate = with.mandate;
        let action = Action::List { opening: opening(number), terms: terms.clone().into() };
        world.must(SELLER, action);
    }
    world.wait(10);
    assert!(seed(&world, 9).is_some() && seed(&world, 9) != first);
    assert_eq!(seed(&world, 9), seed(&world, 10));
}

#[test]
fn a_release_is_for_one_order() {
    let mut world = ordered();
    let other = 8;
    let second = world.order(other, LISTING, PRICE);
    world.must(BUYER, second);
    let Action::PostRelease { release, .. } = world.release(ORDER, (2, 3), 1) else {
        unreachable!()
    };
    let replayed = Action::PostRelease { order: order_id(other), release };
    assert_eq!(world.act(11, replayed), Status::BadProof);
    let Action::Order { delivery, holder, listed_ms, price, licence, .. } =
        world.order(9, LISTING, PRICE)
    else {
        unreachable!()
    };
    let (opening, listing) = (opening(10), listing_id(LISTING));
    let stolen = Action::Order { opening, listing, holder, delivery, listed_ms, price, licence };
    assert_eq!(world.act(SELLER, stolen), Status::BadProof);
}

#[test]
fn no_order_is_taken_that_no_grant_could_serve() {
    let mut world = listed();
    for above in [account(SELLER).into(), market_audience(&world.id())] {
        let mut order = world.order(ORDER, LISTING, PRICE);
        let Action::Order { holder, .. } = &mut order else { unreachable!() };
        *holder = above;
        assert_eq!(world.act(BUYER, order), Status::BadField);
    }
    let listing = 8;
    let mut terms = listing_terms(SELLER, 5);
    let purpose = Caveat::Purpose { hash: Hash([1; 32]) };
    terms.mandate.caveats.extend(vec![purpose; 20]);
    let large = Action::List { opening: opening(listing), terms: terms.into() };
    assert_eq!(world.act(SELLER, large), Status::BadField);
}

#[test]
fn acknowledgements_name_custodians_there_are() {
    let mut world = ordered();
    for custodians in [vec![0], vec![4], vec![1, 1]] {
        let wrong = Action::Acknowledge { order: order_id(ORDER), custodians };
        assert_eq!(world.act(BUYER, wrong), Status::BadField);
    }
    let by_seller = Action::Acknowledge { order: order_id(ORDER), custodians: vec![] };
    assert_eq!(world.act(SELLER, by_seller.clone()), Status::NotYours);
    world.must(BUYER, by_seller);
    // No custodian named and no release posted: no custody fee.
    assert_eq!(shares(&world)[3..], [0; 3]);
}

#[test]
fn what_is_free_moves_nothing() {
    let mut world = listed();
    let free = 8;
    world.sell(SELLER, free, 0);
    let order = world.order_by(40, ORDER, listing_id(free), 0);
    world.must(40, order);
    let order = OrderId::of(&account(40), &opening(ORDER));
    world.must(40, Action::Acknowledge { order, custodians: vec![1] });
    assert_eq!(world.state.get(Orders, &order).unwrap().state, OrderState::Settled);
    assert_eq!(shares(&world), [0; 6]);
}

#[test]
fn the_tick_after_a_listing_picks_its_preview() {
    let mut world = opened();
    world.must(SELLER, list(SELLER, LISTING, PRICE));
    assert_eq!(world.state.get(Listings, &listing_id(LISTING)).unwrap().preview_seed, None);
    // An epoch of 10,000 ms has 4096 ticks.
    assert_eq!(next_due(&world.state), Some(LedgerTime(world.now + 3)));
    world.wait(2);
    assert_eq!(world.state.get(Listings, &listing_id(LISTING)).unwrap().preview_seed, None);
    world.wait(1);
    assert!(world.events.contains(&Event::PreviewPicked { listing: listing_id(LISTING) }));
    assert!(world.state.get(Listings, &listing_id(LISTING)).unwrap().preview_seed.is_some());
    let chain = world.chain();
    let boundary = chain.time_ms.saturating_add(Millis(10_000 - chain.counted_ms.0));
    assert_eq!(next_due(&world.state), Some(boundary));
}

#[test]
fn listings_have_bounds() {
    let mut world = listed();
    let good = listing_terms(SELLER, 5);
    let mut bad = [(); 10].map(|()| good.clone());
    bad[0].title.clear();
    bad[1].title = "x".repeat(121);
    bad[2].window_ms = Millis(999);
    bad[3].window_ms = Millis(u64::MAX);
    bad[4].preview_cells = 10;
    bad[5].cells = 0;
    bad[6].splits.push(Split { account: account(9), share_bp: 6573 });
    bad[7].splits = vec![Split { account: account(9), share_bp: 1 }; 33];
    bad[8].title = "cheap\u{1b}[2J".into();
    bad[9].cells = 3;
    for terms in bad {
        let listing = 8;
        let list = Action::List { opening: opening(listing), terms: terms.clone().into() };
        assert_eq!(world.act(SELLER, list), Status::BadField, "{terms:?}");
    }
    world.must(SELLER, list(SELLER, 8, 5));
    assert_eq!(world.act(SELLER, list(SELLER, LISTING, 5)), Status::Exists);
    // A copied capsule is bound to its seller.
    let vault = world.vault(BUYER, 1, &[11]);
    world.must(BUYER, vault);
    let mut copied = listing_terms(BUYER, 0);
    copied.capsule = good.capsule.clone();
    let (opening, terms) = (opening(9), copied.into());
    assert_eq!(world.act(BUYER, Action::List { opening, terms }), Status::BadLabel);
}

#[test]
fn mandates_let_every_buyer_read_without_strings() {
    let mut world = listed();
    let object = ObjectId([SELLER; 16]);
    let market = market_audience(&chain_id());
    let names = Caveat::Object { object };
    let reads = Caveat::Abilities { set: ability::READ };
    let with = |caveat: Caveat| link(SELLER, market, vec![names.clone(), reads.clone(), caveat]);
    let mut forged = mandate(SELLER, object);
    forged.signature[0] ^= 1;
    let bad = [
        forged,
        mandate(BUYER, object),
        mandate(SELLER, ObjectId([9; 16])),
        link(SELLER, PeerId::from(account(BUYER)), vec![names.clone(), reads.clone()]),
        link(SELLER, market, vec![names.clone()]),
        link(SELLER, market, vec![reads.clone()]),
        with(Caveat::NotAfter { time_ms: LedgerTime::NEVER }),
        with(Caveat::NotBefore { time_ms: LedgerTime::ZERO }),
        with(Caveat::Cells { first: 0, end: 1 }),
        with(Caveat::NodeBytes { bytes: 1 }),
        with(Caveat::Abilities { set: ability::VERIFY }),
        with(Caveat::Abilities { set: ability::READ | ability::DELETE }),
        with(Caveat::Staleness { max_ms: Millis(u64::MAX) }),
        link(SELLER, market, {
            let purposes = [1, 2].map(|byte| Caveat::Purpose { hash: Hash([byte; 32]) });
            [names.clone(), reads.clone()].into_iter().chain(purposes).collect()
        }),
    ];
    let listing = 8;
    let mut act = |link| {
        let mut terms = listing_terms(SELLER, 5);
        terms.mandate = link;
        world.act(SELLER, Action::List { opening: opening(listing), terms: terms.into() })
    };
    for link in bad {
        assert_eq!(act(link.clone()), Status::BadProof, "{link:?}");
    }
    assert_eq!(act(with(Caveat::Depth { links: 0 })), Status::Applied);
}

#[test]
fn vaults_have_true_custodians() {
    let mut world = listed();
    let Action::OpenVault { opening, key, custodians } = world.vault(BUYER, 2, &NODES) else {
        unreachable!()
    };
    let mut open = |key: &VaultKey, custodians: &[_]| {
        let custodians = custodians.to_vec();
        world.act(BUYER, Action::OpenVault { opening, key: key.clone(), custodians })
    };
    let swapped: Vec<_> = [1, 0, 2].map(|place: usize| custodians[place].clone()).into();
    assert_eq!(open(&key, &swapped), Status::BadField);
    assert_eq!(open(&key, &custodians[..1]), Status::BadField, "fewer than open it");
    assert_eq!(open(&key, &[]), Status::BadField);
    let mut identity = key.clone();
    identity.commitments[1] = [0; 32];
    assert_eq!(open(&identity, &custodians), Status::BadField);
    let mut other = key.clone();
    other.commitments.pop();
    assert_eq!(open(&other, &custodians), Status::BadAcceptance);

    let stranger = world.vault(BUYER, 1, &[14]);
    assert_eq!(world.act(BUYER, stranger.clone()), Status::UnknownNode);
    let Action::RegisterNode { payout, addresses, price, capacity, .. } = register(14, 1) else {
        unreachable!()
    };
    let (custody_key, caretaker) = (None, false);
    world.must(
        14,
        Action::RegisterNode {
            payout,
            operator: None,
            addresses,
            custody_key,
            caretaker,
            price,
            capacity,
            agrees_until: 0,
            leaving: false,
        },
    );
    assert_eq!(world.act(BUYER, stranger.clone()), Status::BadAcceptance);
    world.must(14, register(14, 1));
    world.must(BUYER, stranger.clone());
    assert_eq!(world.act(BUYER, stranger), Status::Exists);
}

/// Ids that others have seen before they are on the ledger stay with those who chose them.
#[test]
fn an_id_belongs_to_its_sender() {
    const STRANGER: u8 = 3;
    let mut world = World::new();
    world.fund(&[SELLER, BUYER, STRANGER]);
    world.nodes(&NODES);
    for who in [STRANGER, SELLER] {
        let vault = world.vault_as((who, SELLER), 2, &NODES);
        world.must(who, vault);
        let deal = world.deal(who, opening(4), &NODES, 3);
        world.must(who, deal);
    }
    let vault = world.vault(STRANGER, 2, &NODES);
    world.must(STRANGER, vault);
    for who in [STRANGER, SELLER] {
        world.sell(who, LISTING, 0);
    }
    for who in [STRANGER, BUYER] {
        let order = world.order_by(who, ORDER, listing_id(LISTING), 0);
        world.must(who, order);
    }
    let (state, seller) = (&world.state, account(SELLER));
    assert_eq!(state.get(Vaults, &vault_id(SELLER)).unwrap().owner, seller);
    assert_eq!(state.get(Deals, &deal_id(4)).unwrap().owner, seller);
    assert_eq!(state.get(Listings, &listing_id(LISTING)).unwrap().seller, seller);
    assert_eq!(state.get(Orders, &order_id(ORDER)).unwrap().buyer, account(BUYER));
}
