//! Every status is reached, by the smallest action that should reach it.

use std::{slice, string::String, vec, vec::Vec};

use super::{
    motions::{self, declare, pay, propose, vote},
    seller::{list, listing_terms, public_ref},
    stake::{delegate, join, leave, staked, undelegate},
    world::{
        AUTHORITY, GOODS, World, account, deal_id, fees, key, listing_id, opening, order_id,
        params, register, status, terms,
    },
};
use crate::{
    amount::Amount,
    id::{ChainId, DealId, LinkId, PeerId, TransactionId},
    ledger::{
        Status,
        execute::Pushed,
        rows::{Choice, Redemptions, Roots},
        state::StateExt,
        transaction::{Action, LostShard, Transaction},
    },
    time::{LedgerTime, Millis},
};

const SELLER: u8 = 1;
const BUYER: u8 = 2;
/// The number of the deal.
const DEAL: u8 = 7;
const LISTING: u8 = 7;
const ORDER: u8 = 7;
const NODES: [u8; 3] = [11, 12, 13];

type Case = (Status, fn() -> Status);

const CASES: &[Case] = &[
    (Status::Applied, || funded().act(SELLER, transfer(BUYER, 1))),
    (Status::WrongChain, wrong_chain),
    (Status::TooLarge, too_large),
    (Status::BadSignature, bad_signature),
    (Status::Expired, || valid_until(|height| height - 1)),
    (Status::TooFarAhead, || valid_until(|height| height + 21)),
    (Status::IdReused, id_reused),
    (Status::FeeNotCovered, || World::with(fees()).act(SELLER, transfer(BUYER, 0))),
    (Status::BadField, || funded().act(SELLER, transfer(BUYER, 0))),
    (Status::BadProof, bad_proof),
    (Status::BadAcceptance, bad_acceptance),
    (Status::BadLabel, bad_label),
    (Status::UnknownNode, || funded().act(SELLER, Action::Prove { epoch: 0, leaves: vec![] })),
    (Status::UnknownDeal, || funded().act(SELLER, Action::EndDeal { deal: deal_id(DEAL) })),
    (Status::UnknownVault, || funded().act(SELLER, list(SELLER, LISTING, 5))),
    (Status::UnknownListing, || {
        funded().act(SELLER, Action::EndListing { listing: listing_id(LISTING) })
    }),
    (Status::UnknownOrder, || {
        funded().act(BUYER, Action::Acknowledge { order: order_id(ORDER), custodians: vec![] })
    }),
    (Status::UnknownValidator, || staked().act(1, delegate(21, 5))),
    (Status::UnknownMotion, || motions::begun().act(AUTHORITY, vote(1, AUTHORITY, Choice::Yes))),
    (Status::NotYours, || stored().act(BUYER, Action::EndDeal { deal: deal_id(DEAL) })),
    (Status::Exists, exists),
    (Status::RootMoved, || funded().act(SELLER, set_root(1, 512))),
    (Status::NotCaretaker, || {
        let mut world = stored();
        let claim = world.claim(14, DEAL, &[0], &[1, 2]);
        world.nodes(&[14]);
        world.act(14, claim)
    }),
    (Status::WrongShards, || {
        let mut world = cared();
        let claim = world.claim(14, DEAL, &[0], &[1, 2]);
        world.act(14, claim)
    }),
    (Status::NodeClosed, || {
        let mut world = funded();
        let mut leaving = register(11, 1 << 20);
        if let Action::RegisterNode { leaving: of, .. } = &mut leaving {
            *of = true;
        }
        world.must(11, leaving);
        let deal = world.deal(SELLER, opening(DEAL), &NODES, 3);
        world.act(SELLER, deal)
    }),
    (Status::CollateralTooLow, || {
        let mut world = funded();
        world.act(11, Action::Unstake { amount: Amount(1) })
    }),
    (Status::ValidatorClosed, || {
        let mut world = staked();
        world.must(21, join(21, 1, 300));
        world.must(1, leave(21));
        world.act(1, leave(21))
    }),
    (Status::LastValidator, || staked().act(AUTHORITY, leave(AUTHORITY))),
    (Status::MotionClosed, || {
        let mut world = motions::begun();
        world.must(1, propose(pay(1, 1)));
        motions::run(&mut world, 1);
        world.act(AUTHORITY, vote(1, AUTHORITY, Choice::Yes))
    }),
    (Status::MotionsFull, || {
        let mut world = motions::begun();
        let made = (0..17).map(|_| world.act(1, propose(pay(1, 1))));
        made.last().unwrap()
    }),
    (Status::NothingNew, || motions::begun().act(AUTHORITY, declare(AUTHORITY, 1))),
    (Status::ListingEnded, || {
        let mut world = listed();
        world.must(SELLER, Action::EndListing { listing: listing_id(LISTING) });
        let order = world.order(ORDER, LISTING, 500);
        world.act(BUYER, order)
    }),
    (Status::TermsChanged, || {
        let mut world = listed();
        let order = world.order(ORDER, LISTING, 499);
        world.act(BUYER, order)
    }),
    (Status::OrderClosed, order_closed),
    (Status::DealClosed, || {
        let mut world = stored();
        world.must(SELLER, Action::EndDeal { deal: deal_id(DEAL) });
        world.act(SELLER, Action::EndDeal { deal: deal_id(DEAL) })
    }),
    (Status::WrongEpoch, || {
        let mut world = stored();
        let proof = world.prove(11);
        world.next_epoch();
        world.act(11, proof)
    }),
    (Status::AlreadyProven, || {
        let mut world = stored();
        let proof = world.prove(11);
        world.must(11, proof.clone());
        world.act(11, proof)
    }),
    (Status::NodeFull, node_full),
    (Status::AcceptanceExpired, || {
        let mut world = funded();
        let deal = world.deal(SELLER, opening(DEAL), &NODES, 3);
        world.now += 60_001;
        world.act(SELLER, deal)
    }),
    (Status::TooEarly, too_early),
    (Status::TooLate, too_late),
    (Status::SaleBinds, || {
        let mut world = listed();
        world.act(SELLER, Action::EndDeal { deal: DealId::of(&account(SELLER), &GOODS) })
    }),
    (Status::NotCovered, || {
        let mut world = listed();
        world.must(SELLER, list(SELLER, 8, 500));
        let order = world.order(ORDER, 8, 500);
        world.act(BUYER, order)
    }),
    (Status::FaucetClosed, || {
        let mut closed = params();
        closed.faucet = Amount::ZERO;
        (closed.trusting_ms, closed.unbonding_ms) = (Millis::DAY, Millis(2 * Millis::DAY.0));
        World::with(closed).act(SELLER, Action::Faucet)
    }),
    (Status::FaucetEmpty, || funded().act(3, Action::Faucet)),
    (Status::BalanceTooLow, || {
        let mut world = funded();
        let all = world.balance(SELLER);
        world.act(SELLER, transfer(BUYER, all + 1))
    }),
    (Status::Overflow, || {
        let mut endless = params();
        endless.faucet = Amount(u128::MAX);
        let mut world = World::with(endless);
        world.must(SELLER, Action::Faucet);
        world.act(BUYER, Action::Faucet)
    }),
    (Status::StakeTooLow, || {
        let mut world = staked();
        world.must(21, join(21, 1, 300));
        world.act(2, undelegate(21, None))
    }),
    (Status::ReserveTooLow, || {
        let mut world = cared();
        let lost = vec![LostShard { deal: deal_id(DEAL), index: 0 }];
        world.must(11, Action::DeclareLost { shards: lost });
        let mut care = world.care(SELLER, &[14], &[DEAL]);
        let Action::SetCare { fee, .. } = &mut care else { unreachable!() };
        *fee = Amount(1 << 100);
        world.must(SELLER, care);
        let claim = world.claim(14, DEAL, &[0], &[1, 2]);
        world.act(14, claim)
    }),
];

/// A stored deal with a caretaker.
fn cared() -> World {
    let mut world = stored();
    world.nodes(&[14]);
    let vault = world.vault(SELLER, 2, &NODES);
    world.must(SELLER, vault);
    let care = world.care(SELLER, &[14], &[DEAL]);
    world.must(SELLER, care);
    world
}

#[test]
fn every_status_is_reached() {
    let mut listed: Vec<Status> = CASES.iter().map(|(status, _)| *status).collect();
    // Only an engine gives this one: the rules have no fault that is known.
    listed.push(Status::RuleBroken);
    assert_eq!(listed, Status::ALL);
    for (expected, reach) in CASES {
        assert_eq!(reach(), *expected);
    }
}

fn set_root(expected_version: u64, bytes: usize) -> Action {
    Action::SetRoot { expected_version, blob: vec![7; bytes] }
}

fn transfer(to: u8, amount: u128) -> Action {
    Action::Transfer { to: account(to), amount: Amount(amount) }
}

fn funded() -> World {
    let mut world = World::new();
    world.fund(&[SELLER, BUYER]);
    world.nodes(&NODES[..1]);
    world.nodes(&NODES[1..2]);
    world.must(13, register(13, 1 << 20));
    world.fund(&[3]);
    world
}

/// A deal that is in its nodes' tables.
fn stored() -> World {
    let mut world = funded();
    let deal = world.deal(SELLER, opening(DEAL), &NODES, 3);
    world.must(SELLER, deal);
    world.next_epoch();
    world
}

/// A listing at 500, guarded by two of three nodes.
fn listed() -> World {
    let mut world = funded();
    let vault = world.vault(SELLER, 2, &NODES);
    world.must(SELLER, vault);
    world.sell(SELLER, LISTING, 500);
    world
}

fn ordered() -> World {
    let mut world = listed();
    let order = world.order(ORDER, LISTING, 500);
    world.must(BUYER, order);
    world
}

fn wrong_chain() -> Status {
    let mut world = funded();
    let id = TransactionId([1; 16]);
    let other = ChainId([1; 32]);
    // Everything else is wrong too, and less important.
    let mut foreign = Transaction::build(other, &key(SELLER), id, 0, transfer(BUYER, 0));
    foreign.signature = [0; 64];
    status(world.block(&[foreign])[0])
}

fn too_large() -> Status {
    let addresses = vec![String::from_utf8(vec![b'a'; 128 * 1024]).unwrap()];
    let Action::RegisterNode { payout, custody_key, caretaker, price, capacity, .. } =
        register(11, 1)
    else {
        unreachable!()
    };
    let action = Action::RegisterNode {
        payout,
        operator: None,
        addresses,
        custody_key,
        caretaker,
        price,
        capacity,
        agrees_until: 0,
        leaving: false,
    };
    funded().act(11, action)
}

fn bad_signature() -> Status {
    let mut world = funded();
    let mut forged = world.sign(SELLER, transfer(BUYER, 5));
    forged.action = transfer(BUYER, 6);
    status(world.block(&[forged])[0])
}

fn valid_until(at: fn(u64) -> u64) -> Status {
    let mut world = funded();
    let id = TransactionId([1; 16]);
    let until = at(world.chain().height + 1);
    let action = transfer(BUYER, 0);
    let transaction = Transaction::build(world.id(), &key(SELLER), id, until, action);
    status(world.block(&[transaction])[0])
}

fn id_reused() -> Status {
    let mut world = funded();
    let first = world.sign(SELLER, transfer(BUYER, 5));
    let other = transfer(BUYER, 6);
    let second = Transaction::build(first.chain, &key(SELLER), first.id, first.valid_until, other);
    world.block(&[first]);
    status(world.block(&[second])[0])
}

fn bad_proof() -> Status {
    let mut world = stored();
    let mut leaves = world.leaves(11);
    leaves[0].leaf[0] ^= 1;
    let epoch = world.node(11).window.unwrap().epoch;
    world.act(11, Action::Prove { epoch, leaves })
}

fn bad_acceptance() -> Status {
    let mut world = funded();
    let Action::OpenDeal { terms, mut acceptances, cost_max } =
        world.deal(SELLER, opening(DEAL), &NODES, 3)
    else {
        unreachable!()
    };
    acceptances[1].price = Amount::ZERO;
    world.act(SELLER, Action::OpenDeal { terms, acceptances, cost_max })
}

fn bad_label() -> Status {
    let mut world = listed();
    let mut copied = listing_terms(SELLER, 500);
    copied.manifest.content_root.0[0] ^= 1;
    let (opening, terms) = (opening(8), copied.into());
    world.act(SELLER, Action::List { opening, terms })
}

fn exists() -> Status {
    let mut world = stored();
    // The identical terms and acceptances under another transaction.
    let again = world.deal(SELLER, opening(DEAL), &NODES, 3);
    world.act(SELLER, again)
}

fn order_closed() -> Status {
    let mut world = ordered();
    let done = Action::Acknowledge { order: order_id(ORDER), custodians: vec![1, 2] };
    world.must(BUYER, done.clone());
    world.act(BUYER, done)
}

fn node_full() -> Status {
    let mut world = funded();
    world.must(11, register(11, 1024));
    let mut long = terms(SELLER, opening(DEAL), 3, 3);
    long.length = 2048;
    let deal = world.deal_on(&long, &NODES);
    world.act(SELLER, deal)
}

fn too_early() -> Status {
    let mut world = listed();
    let listing = 8;
    // The listing's own block cannot know the layer that picks its preview.
    let both = [
        world.sign(SELLER, list(SELLER, listing, 1)),
        world.sign(SELLER, Action::Preview { listing: listing_id(listing), preview: public_ref() }),
    ];
    status(world.block(&both)[1])
}

fn too_late() -> Status {
    let mut world = ordered();
    for index in [1, 2] {
        let release = world.release(ORDER, (2, 3), index);
        world.must(10 + index, release);
    }
    let release = world.release(ORDER, (2, 3), 3);
    world.act(13, release)
}

#[test]
fn a_refusal_names_the_most_important_reason() {
    let mut world = funded();
    let mut everything_wrong = world.deal(BUYER, opening(DEAL), &[14, 15, 16], 51);
    assert_eq!(world.act(SELLER, everything_wrong.clone()), Status::BadField);
    everything_wrong = world.deal(BUYER, opening(DEAL), &[14, 15, 16], 3);
    assert_eq!(world.act(SELLER, everything_wrong), Status::UnknownNode);
    let others = world.deal(BUYER, opening(DEAL), &NODES, 3);
    assert_eq!(world.act(SELLER, others.clone()), Status::NotYours);
    let Action::OpenDeal { terms, acceptances, .. } = others else { unreachable!() };
    let cheap = Action::OpenDeal { terms, acceptances, cost_max: Amount(1) };
    assert_eq!(world.act(BUYER, cheap), Status::TermsChanged);
}

#[test]
fn the_same_transaction_is_applied_once() {
    let mut world = funded();
    let paid = world.sign(SELLER, transfer(BUYER, 5));
    let before = world.balance(BUYER);
    let twice = world.block(&[paid.clone(), paid.clone()]);
    let height = world.chain().height;
    let already = Pushed::Already { height };
    assert_eq!(twice, [Ok(Pushed::Applied), Ok(already)]);
    assert_eq!(world.block(slice::from_ref(&paid)), [Ok(already)]);
    assert_eq!(world.balance(BUYER), before + 5);
    // Once its last height is over it is forgotten, and refused for its age.
    while world.chain().height + 1 < paid.valid_until {
        world.block(&[]);
    }
    assert_eq!(world.block(slice::from_ref(&paid)), [Ok(already)], "remembered to the last");
    assert_eq!(world.block(&[paid]), [Err(Status::Expired)]);
    assert_eq!(world.balance(BUYER), before + 5);
}

#[test]
fn a_link_is_revoked_once_by_each() {
    let mut world = funded();
    let revoke = Action::Revoke { link: LinkId([4; 16]), until_ms: None };
    world.must(SELLER, revoke.clone());
    assert_eq!(world.act(SELLER, revoke.clone()), Status::Exists);
    world.must(BUYER, revoke);
}

#[test]
fn a_voucher_is_redeemed_once() {
    let mut world = funded();
    let redeem = |to: u8, until: u64| Action::Redeem {
        holder: PeerId([to; 32]),
        until_ms: LedgerTime(until),
    };
    let end = world.now + 1_000;
    let first = world.sign(SELLER, redeem(1, end));
    let other = world.sign(SELLER, redeem(2, end));
    // Two redeemers of one voucher race: the first in the block has it.
    let outcomes = world.block(&[first.clone(), other]);
    assert_eq!(outcomes, [Ok(Pushed::Applied), Err(Status::Exists)]);
    let replayed = world.block(&[first]);
    assert!(matches!(replayed[..], [Ok(Pushed::Already { .. })]), "{replayed:?}");
    let row = world.state.get(Redemptions, &account(SELLER)).unwrap();
    assert_eq!((row.holder, row.until_ms), (PeerId([1; 32]), LedgerTime(end)));
    for again in [redeem(1, end), redeem(2, end), redeem(1, end + 1)] {
        assert_eq!(world.act(SELLER, again), Status::Exists);
    }
    // What comes too late for its own end, by a millisecond.
    let now = world.now;
    assert_eq!(world.act(BUYER, redeem(1, now)), Status::TooLate);
}

#[test]
fn a_root_record_takes_the_place_of_the_one_that_was_read() {
    let mut world = funded();
    for bytes in [0, 1, 511, 513, 4097, 4608] {
        assert_eq!(world.act(SELLER, set_root(0, bytes)), Status::BadField, "{bytes}");
    }
    assert_eq!(world.act(SELLER, set_root(u64::MAX, 512)), Status::BadField);
    assert_eq!(world.act(SELLER, set_root(1, 512)), Status::RootMoved);
    let first = world.sign(SELLER, set_root(0, 512));
    let lost = world.sign(SELLER, set_root(0, 1024));
    let both = world.block(&[first.clone(), lost]);
    assert_eq!([status(both[0]), status(both[1])], [Status::Applied, Status::RootMoved]);
    // Each account has its own, with or without money.
    world.must(9, set_root(0, 4096));
    world.must(SELLER, set_root(1, 1024));
    // Sent again, it stays where it was and undoes nothing.
    assert_eq!(status(world.block(&[first])[0]), Status::Applied);
    let row = world.state.get(Roots, &account(SELLER)).unwrap();
    assert_eq!((row.version, row.blob.len()), (2, 1024));
}

#[test]
fn a_preview_is_posted_once_by_the_seller_after_its_beacon() {
    let mut world = listed();
    let preview = Action::Preview { listing: listing_id(LISTING), preview: public_ref() };
    assert_eq!(world.act(BUYER, preview.clone()), Status::NotYours);
    assert_eq!(world.act(SELLER, preview.clone()), Status::TooEarly);
    world.now += 3;
    world.must(SELLER, preview.clone());
    assert_eq!(world.act(SELLER, preview), Status::Exists);
    assert_eq!(too_early(), Status::TooEarly);
}
