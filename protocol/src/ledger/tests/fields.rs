//! Whatever is refused with `BadField` has a field that is named, with what it is and what it may be.

use std::{string::String, string::ToString, vec, vec::Vec};

use super::{
    seller::{listing_terms, public_ref},
    world::{World, account, listing_id, opening, order_id, register, terms},
};
use crate::{
    amount::Amount,
    grant::market_audience,
    id::PeerId,
    ledger::{
        Status, check_fields,
        rows::Terms,
        state::MemoryState,
        transaction::{Acceptance, Action, DealTerms},
    },
};

const SELLER: u8 = 1;
const BUYER: u8 = 2;
const NODES: [u8; 3] = [11, 12, 13];
/// One with preview cells, and one without.
const LISTING: u8 = 7;
const PLAIN: u8 = 8;
const ORDER: u8 = 7;

/// A ledger with nodes, a vault of three, two listings and an order.
fn world() -> World {
    let mut world = World::new();
    world.fund(&[SELLER, BUYER]);
    world.nodes(&NODES);
    let vault = world.vault(SELLER, 2, &NODES);
    world.must(SELLER, vault);
    world.sell(SELLER, LISTING, 500);
    let plain = Terms { preview_cells: 0, ..listing_terms(SELLER, 500) };
    world.must(SELLER, Action::List { opening: opening(PLAIN), terms: plain.into() });
    let order = world.order(ORDER, LISTING, 500);
    world.must(BUYER, order);
    world
}

fn transfer(to: u8, amount: u128) -> Action {
    Action::Transfer { to: account(to), amount: Amount(amount) }
}

fn addressed(addresses: Vec<String>) -> Action {
    let Action::RegisterNode { payout, custody_key, caretaker, price, capacity, .. } =
        register(11, 1 << 20)
    else {
        unreachable!()
    };
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
    }
}

fn deal(world: &World, change: fn(&mut DealTerms)) -> Action {
    let mut changed = terms(SELLER, opening(3), 3, 3);
    change(&mut changed);
    world.deal_on(&changed, &NODES)
}

fn accepted(world: &World, change: fn(&mut Vec<Acceptance>)) -> Action {
    let Action::OpenDeal { terms, mut acceptances, cost_max } = deal(world, |_| {}) else {
        unreachable!()
    };
    change(&mut acceptances);
    Action::OpenDeal { terms, acceptances, cost_max }
}

fn vault(world: &World, nodes: &[u8], commitments: usize) -> Action {
    let Action::OpenVault { opening, mut key, custodians } = world.vault(BUYER, 1, nodes) else {
        unreachable!()
    };
    key.commitments = vec![key.commitments[0]; commitments];
    Action::OpenVault { opening, key, custodians }
}

/// One more than there may be.
fn crowd(world: &World) -> Action {
    let Action::OpenVault { opening, key, mut custodians } = vault(world, &NODES, 1) else {
        unreachable!()
    };
    custodians.extend(vec![custodians[0].clone(); 30]);
    Action::OpenVault { opening, key, custodians }
}

fn swapped(world: &World) -> Action {
    let Action::OpenVault { opening, key, mut custodians } = world.vault(BUYER, 2, &NODES) else {
        unreachable!()
    };
    custodians.swap(0, 1);
    Action::OpenVault { opening, key, custodians }
}

fn no_point(world: &World) -> Action {
    let Action::OpenVault { opening, mut key, custodians } = world.vault(BUYER, 2, &NODES) else {
        unreachable!()
    };
    key.commitments[1] = [0xff; 32];
    Action::OpenVault { opening, key, custodians }
}

/// A rotation of the seller's vault whose key is changed.
fn rotated(world: &World, change: fn(&mut Vec<[u8; 32]>)) -> Action {
    let Action::RotateVault { vault, mut key, custodians } = world.rotate(SELLER, 2, &NODES) else {
        unreachable!()
    };
    change(&mut key.commitments);
    Action::RotateVault { vault, key, custodians }
}

fn listed(change: fn(&mut Terms)) -> Action {
    let mut changed = listing_terms(SELLER, 500);
    change(&mut changed);
    Action::List { opening: opening(9), terms: changed.into() }
}

fn ordered(world: &World, by: PeerId) -> Action {
    let Action::Order { opening, listing, delivery, listed_ms, price, licence, .. } =
        world.order(9, LISTING, 500)
    else {
        unreachable!()
    };
    Action::Order { opening, listing, holder: by, delivery, listed_ms, price, licence }
}

fn acknowledged(custodians: &[u8]) -> Action {
    Action::Acknowledge { order: order_id(ORDER), custodians: custodians.to_vec() }
}

fn root(expected_version: u64, bytes: usize) -> Action {
    Action::SetRoot { expected_version, blob: vec![7; bytes] }
}

/// A sender, its action, and the words that name the field at fault.
type Case = (u8, Action, &'static str);

fn of_storage(world: &World) -> Vec<Case> {
    let long = || "a".repeat(257);
    let prove = Action::Prove { epoch: 0, leaves: vec![] };
    vec![
        (SELLER, transfer(BUYER, 0), "amount is 0, it must be more"),
        (SELLER, transfer(SELLER, 1), "to is the sender's own account, it must be another one"),
        (11, addressed(vec!["a".into(); 17]), "addresses is 17, its range is 0 to 16"),
        (11, addressed(vec![long()]), "address_bytes is 257, its range is 1 to 256"),
        (SELLER, deal(world, |of| of.total = 129), "total is 129, its range is 1 to 128"),
        (SELLER, deal(world, |of| of.total = 0), "total is 0, its range is 1 to 128"),
        (SELLER, deal(world, |of| of.required = 4), "required is 4, its range is 1 to 3"),
        (SELLER, deal(world, |of| of.epochs = 51), "epochs is 51, its range is 1 to 50"),
        (
            SELLER,
            deal(world, |of| of.length = 0),
            "length_bytes is 0, its range is 1024 to 67108864",
        ),
        (
            SELLER,
            deal(world, |of| of.length = 1025),
            "length_bytes is 1025, it must be a multiple of 1024",
        ),
        (SELLER, accepted(world, |all| all.truncate(1)), "acceptances is 1, its range is 2 to 3"),
        (SELLER, accepted(world, |all| all[2].index = 3), "index is 3, its range is 0 to 2"),
        (
            SELLER,
            accepted(world, |all| all[2].index = 1),
            "index stands in two acceptances, each shard has one",
        ),
        (
            SELLER,
            accepted(world, |all| all[2].node = all[1].node),
            "node stands in two acceptances, each node keeps one shard",
        ),
        (11, prove, "leaves prove nothing: the node's table has no shard to prove"),
    ]
}

fn of_sales(world: &World) -> Vec<Case> {
    let preview = Action::Preview { listing: listing_id(PLAIN), preview: public_ref() };
    vec![
        (BUYER, crowd(world), "custodians is 33, its range is 1 to 32"),
        (BUYER, swapped(world), "index is 2, its range is 1 to 1"),
        (
            BUYER,
            vault(world, &[11, 12, 11], 1),
            "node stands twice, each custodian keeps one share",
        ),
        (BUYER, vault(world, &NODES, 4), "commitments is 4, its range is 1 to 2"),
        (BUYER, no_point(world), "commitments are not all points of the group"),
        (SELLER, rotated(world, |of| of.clear()), "commitments is 0, its range is 1 to 2"),
        (
            SELLER,
            rotated(world, |of| of[0] = of[1]),
            "commitments begin with another public key than the vault's, which must stay",
        ),
        (SELLER, listed(|of| of.title.clear()), "title_bytes is 0, its range is 1 to 120"),
        (SELLER, listed(|of| of.cells = 3), "cells is 3, its range is 2 to 2"),
        (
            SELLER,
            listed(|of| of.manifest.length = u64::MAX),
            "manifest has a scheme or a length that no file can have",
        ),
        (SELLER, preview, "preview is of a listing that has no preview cells"),
        (
            BUYER,
            ordered(world, account(SELLER).into()),
            "holder is the seller's own key, it must be another one",
        ),
        (
            BUYER,
            ordered(world, market_audience(&world.id())),
            "holder is the audience of mandates, it must be a buyer's key",
        ),
        (BUYER, acknowledged(&[1, 1]), "custodians name one twice"),
        (BUYER, acknowledged(&[0]), "custodian is 0, its range is 1 to 3"),
        (BUYER, acknowledged(&[4]), "custodian is 4, its range is 1 to 3"),
        (
            SELLER,
            root(u64::MAX, 512),
            "expected_version is 18446744073709551615, its range is 0 to 18446744073709551614",
        ),
        (SELLER, root(0, 4608), "blob_bytes is 4608, its range is 512 to 4096"),
        (SELLER, root(0, 513), "blob_bytes is 513, it must be a multiple of 512"),
    ]
}

#[test]
fn a_field_that_is_refused_is_named() {
    let mut world = world();
    let cases = of_storage(&world).into_iter().chain(of_sales(&world));
    for (who, action, words) in cases {
        let fault = check_fields(&world.state, &world.chain(), &account(who), &action).unwrap_err();
        assert_eq!(fault.to_string(), words);
        assert!(words.starts_with(fault.field()), "{words}");
        assert_eq!(world.act(who, action), Status::BadField, "{words}");
    }
}

#[test]
fn what_no_row_is_known_for_is_not_judged() {
    let world = world();
    let (nothing, chain) = (MemoryState::default(), world.chain());
    let judged = |who, action| check_fields(&nothing, &chain, &account(who), &action);
    let preview = Action::Preview { listing: listing_id(PLAIN), preview: public_ref() };
    assert_eq!(judged(SELLER, preview), Ok(()));
    assert_eq!(judged(BUYER, ordered(&world, account(SELLER).into())), Ok(()));
    assert_eq!(judged(11, Action::Prove { epoch: 0, leaves: vec![] }), Ok(()));
    assert_eq!(judged(BUYER, acknowledged(&[4])), Ok(()));
    assert_eq!(judged(BUYER, acknowledged(&[0])).unwrap_err().field(), "custodian");
}
