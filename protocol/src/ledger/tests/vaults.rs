//! Vaults over time: rotations while orders run, the owner's own nodes, releases that buyers post, and silent custodians.

use std::{vec, vec::Vec};

use super::{
    seller::{listing_terms, mandate_of, vault_id},
    world::{World, account, node, opening, order_id, register},
};
use crate::{
    amount::Amount,
    ledger::{
        Status,
        block::{Event, Place, Reason},
        rows::{Order, OrderState, Orders, PoolsTable, Vault, Vaults},
        state::StateExt,
        transaction::Action,
    },
    time::LedgerTime,
};

const SELLER: u8 = 1;
const BUYER: u8 = 2;
const STRANGER: u8 = 3;
const LISTING: u8 = 7;
const ORDER: u8 = 7;
/// Custodians before and after the rotation: node 12 stays, under another index.
const NODES: [u8; 3] = [11, 12, 13];
const NEXT: [u8; 3] = [12, 14, 15];
const PRICE: u128 = 10_000;
const STAKE: u128 = 1_000;
const FAUCET: u128 = 10_000_000_000;

fn listed() -> World {
    let mut world = World::new();
    world.fund(&[SELLER, BUYER, STRANGER]);
    world.nodes(&[11, 12, 13, 14, 15]);
    for number in [11, 12, 13, 14, 15] {
        world.must(STRANGER, Action::Stake { node: node(number), amount: Amount(STAKE) });
    }
    let vault = world.vault(SELLER, 2, &NODES);
    world.must(SELLER, vault);
    world.sell(SELLER, LISTING, PRICE);
    world
}

fn ordered() -> World {
    let mut world = listed();
    let order = world.order(ORDER, LISTING, PRICE);
    world.must(BUYER, order);
    world
}

fn rotate(world: &mut World, nodes: &[u8]) {
    let required = u8::try_from(nodes.len().div_ceil(2)).unwrap();
    let rotation = world.rotate(SELLER, required, nodes);
    world.must(SELLER, rotation);
}

fn post(world: &mut World, who: u8, index: u8) -> Status {
    let release = world.release(ORDER, (2, 3), index);
    world.act(who, release)
}

fn order(world: &World) -> Order {
    world.state.get(Orders, &order_id(ORDER)).unwrap()
}

fn vault(world: &World) -> Vault {
    world.state.get(Vaults, &vault_id(SELLER)).unwrap()
}

/// What the accounts of nodes have been paid.
fn paid(world: &World, nodes: &[u8]) -> Vec<u128> {
    nodes.iter().map(|number| world.balance(number + 100)).collect()
}

fn stakes(world: &World) -> [u128; 5] {
    [11, 12, 13, 14, 15].map(|number| world.node(number).collateral.0)
}

#[test]
fn a_rotation_changes_the_custodians_and_not_the_public_key() {
    let mut world = listed();
    let before = vault(&world);
    assert_eq!((before.dealing, before.own), (1, 0));
    world.now += 5;
    rotate(&mut world, &NEXT);
    let after = vault(&world);
    assert_eq!(after.key.commitments[0], before.key.commitments[0]);
    assert_ne!(after.key, before.key);
    assert_eq!(after.custodians, NEXT.map(node));
    assert_eq!((after.dealing, after.since_ms), (2, LedgerTime(world.now)));
    // What was listed before is delivered by those that came after.
    let order = world.order(ORDER, LISTING, PRICE);
    world.must(BUYER, order);
    assert_eq!(post(&mut world, 12, 1), Status::Applied);
    assert_eq!(post(&mut world, 15, 3), Status::Applied);
    world.wait(2000);
    assert_eq!(paid(&world, &[11, 12, 13, 14, 15]), [0, 50, 0, 0, 50]);
}

#[test]
fn only_the_owner_rotates_with_custodians_that_agreed() {
    let mut world = listed();
    let good = world.rotate(SELLER, 2, &NEXT);
    assert_eq!(world.act(BUYER, good.clone()), Status::BadAcceptance, "they agreed to the owner");
    let theirs = world.rotate(BUYER, 2, &NEXT);
    assert_eq!(world.act(BUYER, theirs), Status::UnknownVault);
    let Action::RotateVault { vault, key, custodians } = good.clone() else { unreachable!() };
    let mut late = custodians.clone();
    late[1] = world.accept_share((SELLER, SELLER), &key, 2, 16);
    let unknown = Action::RotateVault { vault, key: key.clone(), custodians: late };
    assert_eq!(world.act(SELLER, unknown), Status::UnknownNode);
    let mut swapped = custodians.clone();
    swapped.swap(0, 1);
    let swapped = Action::RotateVault { vault, key: key.clone(), custodians: swapped };
    assert_eq!(world.act(SELLER, swapped), Status::BadField);
    let few = Action::RotateVault { vault, key, custodians: custodians[..2].to_vec() };
    assert_eq!(world.act(SELLER, few), Status::BadField, "one of two could block it");
    let mut other = world.clone();
    other.now += 60_001;
    assert_eq!(other.act(SELLER, good.clone()), Status::AcceptanceExpired);
    world.now += 60_000;
    world.must(SELLER, good);
}

#[test]
fn an_old_acceptance_opens_no_vault() {
    let mut world = World::new();
    world.fund(&[SELLER]);
    world.nodes(&NODES);
    let open = world.vault(SELLER, 2, &NODES);
    world.now += 60_001;
    assert_eq!(world.act(SELLER, open), Status::AcceptanceExpired);
}

#[test]
fn releases_of_two_dealings_do_not_combine() {
    let mut world = ordered();
    assert_eq!(post(&mut world, 11, 1), Status::Applied);
    rotate(&mut world, &NEXT);
    let old = order(&world);
    assert_eq!((old.dealing, old.releases.len()), (1, 1), "nothing is lost before its time");
    assert_eq!(post(&mut world, 11, 1), Status::NotYours, "index 1 is another node's now");
    assert_eq!(post(&mut world, 12, 1), Status::Applied, "and its release counts");
    let new = order(&world);
    assert_eq!((new.state, new.dealing), (OrderState::Paid, 2));
    assert_eq!(new.releases.iter().map(|one| one.node).collect::<Vec<_>>(), [node(12)]);
    assert_eq!(post(&mut world, 12, 1), Status::Exists);
    assert_eq!(post(&mut world, 14, 2), Status::Applied);
    assert_eq!(order(&world).state, OrderState::Delivered);
    world.wait(2000);
    assert_eq!(paid(&world, &[11, 12, 14, 15]), [0, 50, 50, 0]);
}

#[test]
fn a_delivered_order_pays_those_who_delivered_it() {
    let mut world = ordered();
    assert_eq!(post(&mut world, 11, 1), Status::Applied);
    assert_eq!(post(&mut world, 12, 2), Status::Applied);
    rotate(&mut world, &NEXT);
    assert_eq!(post(&mut world, 15, 3), Status::TooLate);
    assert_eq!(post(&mut world, 14, 2), Status::Exists);
    world.wait(2000);
    assert_eq!(order(&world).state, OrderState::Settled);
    assert_eq!(paid(&world, &[11, 12, 13, 14, 15]), [50, 50, 0, 0, 0]);
}

#[test]
fn an_index_never_pays_the_wrong_node() {
    // The buyer names custodians that are no more: of these the ledger knows only those that have posted.
    let mut world = ordered();
    assert_eq!(post(&mut world, 13, 3), Status::Applied);
    rotate(&mut world, &NEXT[1..2]);
    let named = Action::Acknowledge { order: order_id(ORDER), custodians: vec![1, 3] };
    world.must(BUYER, named);
    assert_eq!(paid(&world, &[11, 12, 13, 14, 15]), [0, 0, 100, 0, 0]);
    let mut world = ordered();
    rotate(&mut world, &NEXT);
    let wrong = Action::Acknowledge { order: order_id(ORDER), custodians: vec![33] };
    assert_eq!(world.act(BUYER, wrong), Status::BadField);
    let named = Action::Acknowledge { order: order_id(ORDER), custodians: vec![1, 2] };
    world.must(BUYER, named);
    assert_eq!(paid(&world, &[11, 12, 13, 14, 15]), [0; 5]);
}

#[test]
fn own_custodians_are_said() {
    // Node 14 is paid to the seller, 15 is run by the seller, and the seller's own key is a node too.
    let mut world = listed();
    let (mut to, mut by) = (register(14, 1 << 20), register(15, 1 << 20));
    let Action::RegisterNode { payout, .. } = &mut to else { unreachable!() };
    *payout = account(SELLER);
    let Action::RegisterNode { operator, .. } = &mut by else { unreachable!() };
    *operator = Some(account(SELLER));
    world.must(14, to);
    world.must(15, by);
    world.must(SELLER, register(SELLER, 1 << 20));
    let rotation = world.rotate(SELLER, 2, &NEXT);
    assert_eq!(world.act(SELLER, rotation), Status::BadField, "listings say that it has none");
    world.must(BUYER, register(BUYER, 1 << 20));
    for (owner, nodes, own) in [(BUYER, [11, 12, BUYER], 1), (STRANGER, [11, BUYER, 15], 0)] {
        let open = world.vault(owner, 2, &nodes);
        world.must(owner, open);
        assert_eq!(world.state.get(Vaults, &vault_id(owner)).unwrap().own, own);
    }
    let said = |owner, own_custodians| {
        let mut terms = listing_terms(owner, 5);
        terms.own_custodians = own_custodians;
        Action::List { opening: opening(9), terms: terms.into() }
    };
    assert_eq!(world.act(BUYER, said(BUYER, false)), Status::BadField);
    world.must(BUYER, said(BUYER, true));
    world.must(STRANGER, said(STRANGER, true));
    // One that has own custodians may have others, and then none for ever.
    for (nodes, status) in [
        ([BUYER, 11, 12], Status::Applied),
        ([11, 12, 13], Status::Applied),
        ([BUYER, 11, 12], Status::BadField),
    ] {
        let rotation = world.rotate(BUYER, 2, &nodes);
        assert_eq!(world.act(BUYER, rotation), status);
    }
    let mut later = listing_terms(BUYER, 5);
    later.own_custodians = false;
    later.mandate = mandate_of(BUYER, 2);
    world.must(BUYER, Action::List { opening: opening(10), terms: later.into() });
}

#[test]
fn all_who_run_a_node_are_seen() {
    let mut world = World::new();
    world.fund(&[SELLER]);
    world.nodes(&NODES);
    let (mut to, mut by) = (register(11, 1 << 20), register(12, 1 << 20));
    let Action::RegisterNode { payout, .. } = &mut to else { unreachable!() };
    *payout = account(SELLER);
    let Action::RegisterNode { operator, .. } = &mut by else { unreachable!() };
    *operator = Some(account(SELLER));
    world.must(11, to);
    world.must(12, by);
    world.must(SELLER, register(SELLER, 1 << 20));
    let open = world.vault(SELLER, 2, &[SELLER, 11, 12, 13]);
    world.must(SELLER, open);
    assert_eq!(vault(&world).own, 3);
}

#[test]
fn a_buyer_posts_what_custodians_gave_only_to_the_buyer() {
    let mut world = ordered();
    assert_eq!(post(&mut world, STRANGER, 1), Status::NotYours);
    assert_eq!(post(&mut world, SELLER, 1), Status::NotYours);
    assert_eq!(post(&mut world, BUYER, 1), Status::Applied);
    assert_eq!(post(&mut world, 11, 1), Status::Exists);
    assert_eq!(post(&mut world, BUYER, 3), Status::Applied);
    assert_eq!(order(&world).state, OrderState::Delivered);
    world.wait(2000);
    assert_eq!(paid(&world, &NODES), [50, 0, 50], "the custodians made them");
}

#[test]
fn silent_custodians_pay_for_a_refund() {
    let mut world = ordered();
    assert_eq!(post(&mut world, 11, 1), Status::Applied);
    world.wait(2999);
    assert_eq!(stakes(&world), [STAKE; 5]);
    world.wait(1);
    assert_eq!(order(&world).state, OrderState::Refunded);
    assert_eq!(world.balance(BUYER), FAUCET);
    // Two in a hundred, of those two that have posted nothing.
    assert_eq!(stakes(&world), [STAKE, STAKE - 20, STAKE - 20, STAKE, STAKE]);
    assert_eq!(world.state.get(PoolsTable, &()).unwrap().repair, Amount(40));
    let reasons: Vec<_> =
        [12, 13].map(|number| Reason::Silent { node: node(number), order: order_id(ORDER) }).into();
    let silent: Vec<Reason> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Moved { from: Place::Collateral, to: Place::Repair, reason, .. } => {
                Some(*reason)
            }
            _ => None,
        })
        .collect();
    assert_eq!(silent, reasons);
}

#[test]
fn a_release_that_the_buyer_posted_speaks_for_its_custodian() {
    let mut world = ordered();
    assert_eq!(post(&mut world, BUYER, 2), Status::Applied);
    world.wait(3000);
    assert_eq!(stakes(&world), [STAKE - 20, STAKE, STAKE - 20, STAKE, STAKE]);
}

#[test]
fn custodians_that_had_not_the_whole_time_pay_nothing() {
    // Dealt anew while the order ran.
    let mut world = ordered();
    world.now += 1;
    rotate(&mut world, &NEXT);
    assert_eq!(post(&mut world, 12, 1), Status::Applied);
    world.wait(2999);
    assert_eq!(order(&world).state, OrderState::Refunded);
    assert_eq!(stakes(&world), [STAKE; 5]);
    // Or the ledger stood still: then they have the whole time once more.
    let mut world = ordered();
    world.wait(3000 + 1000);
    assert_eq!((order(&world).state, stakes(&world)), (OrderState::Paid, [STAKE; 5]));
    world.wait(3000);
    assert_eq!(order(&world).state, OrderState::Refunded);
    assert_eq!(stakes(&world)[..3], [STAKE - 20; 3]);
    // Not even that, where the access would be over.
    let mut world = ordered();
    world.wait(1_000_000);
    assert_eq!((order(&world).state, stakes(&world)), (OrderState::Refunded, [STAKE; 5]));
}

#[test]
fn an_order_that_is_settled_punishes_no_custodian() {
    let mut world = ordered();
    world.must(BUYER, Action::Acknowledge { order: order_id(ORDER), custodians: vec![1, 2] });
    world.wait(10_000);
    let mut delivered = ordered();
    for index in [1, 3] {
        assert_eq!(post(&mut delivered, BUYER, index), Status::Applied);
    }
    delivered.wait(10_000);
    for world in [world, delivered] {
        assert_eq!((order(&world).state, stakes(&world)), (OrderState::Settled, [STAKE; 5]));
    }
}

#[test]
fn a_custodian_that_has_retired_has_nothing_to_lose() {
    let mut world = listed();
    // Node 15 is a custodian, and keeps no shard.
    rotate(&mut world, &[11, 12, 15]);
    let bought = world.order(ORDER, LISTING, PRICE);
    world.must(BUYER, bought);
    world.must(15, Action::RetireNode);
    world.wait(3000);
    assert_eq!(order(&world).state, OrderState::Refunded);
    assert_eq!(world.balance(115), STAKE, "it had its collateral back");
    assert_eq!([11, 12].map(|number| world.node(number).collateral.0), [STAKE - 20; 2]);
}
