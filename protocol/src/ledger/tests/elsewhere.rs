//! Messages of one ledger on another one of the same parties: no signature in them counts there.

use super::{
    seller::listing_terms_on,
    world::{START_MS, World, deal_id, opening, order_id, params, register, status},
};
use crate::ledger::{Status, rows::Terms, transaction::Action};

const SELLER: u8 = 1;
const BUYER: u8 = 2;
const NODES: [u8; 3] = [11, 12, 13];
const LISTING: u8 = 7;
const ORDER: u8 = 7;
const PRICE: u128 = 10_007;

/// Two ledgers of the same parties, that differ in the time of their genesis only.
fn two() -> [World; 2] {
    [START_MS, START_MS + 1].map(|time_ms| {
        let mut world = World::starting(params(), time_ms);
        world.fund(&[SELLER, BUYER]);
        for number in NODES {
            world.must(number, register(number, 1 << 20));
        }
        world
    })
}

fn open_vault(world: &mut World) {
    let vault = world.vault(SELLER, 2, &NODES);
    world.must(SELLER, vault);
}

#[test]
fn a_transaction_is_applied_on_its_own_ledger_only() {
    let [mut here, mut there] = two();
    let deal = here.deal(SELLER, opening(1), &NODES, 5);
    here.must(SELLER, deal);
    here.next_epoch();
    let proof = here.prove(NODES[0]);
    here.must(NODES[0], proof);
    open_vault(&mut here);
    here.sell(SELLER, LISTING, PRICE);
    let order = here.order(ORDER, LISTING, PRICE);
    here.must(BUYER, order);
    let release = here.release(ORDER, (2, 3), 1);
    here.must(NODES[0], release);
    here.must(BUYER, Action::Acknowledge { order: order_id(ORDER), custodians: [1].into() });
    here.must(SELLER, Action::EndDeal { deal: deal_id(1) });
    let mut replayed = 0;
    for (_, transactions, _) in &here.blocks {
        for transaction in transactions {
            let outcome = there.block(std::slice::from_ref(transaction))[0];
            assert_eq!(status(outcome), Status::WrongChain, "{}", transaction.action.name());
            replayed += 1;
        }
    }
    assert_eq!(replayed, 2 + NODES.len() + 10);
}

#[test]
fn what_nodes_signed_elsewhere_opens_no_deal_and_no_vault() {
    let [here, mut there] = two();
    let deal = here.deal(SELLER, opening(1), &NODES, 5);
    assert_eq!(there.act(SELLER, deal), Status::BadAcceptance);
    let vault = here.vault(SELLER, 2, &NODES);
    assert_eq!(there.act(SELLER, vault), Status::BadAcceptance);
    let deal = there.deal(SELLER, opening(1), &NODES, 5);
    there.must(SELLER, deal);
    open_vault(&mut there);
}

#[test]
fn what_was_signed_for_a_sale_elsewhere_sells_nothing() {
    let [mut here, mut there] = two();
    for world in [&mut here, &mut there] {
        open_vault(world);
    }
    // The mandate, and then the capsule alone.
    let [foreign, own] = [&here, &there].map(|world| listing_terms_on(&world.id(), SELLER, PRICE));
    let sell = |terms: &Terms| {
        let terms = terms.clone().into();
        Action::List { opening: opening(LISTING), terms }
    };
    assert_eq!(there.act(SELLER, sell(&foreign)), Status::BadProof);
    let mut mixed = own.clone();
    mixed.capsule = foreign.capsule.clone();
    assert_eq!(there.act(SELLER, sell(&mixed)), Status::BadLabel);
    for world in [&mut here, &mut there] {
        world.sell(SELLER, LISTING, PRICE);
    }
    let order = here.order(ORDER, LISTING, PRICE);
    assert_eq!(there.act(BUYER, order.clone()), Status::BadProof);
    here.must(BUYER, order);
    let order = there.order(ORDER, LISTING, PRICE);
    there.must(BUYER, order);
    let release = here.release(ORDER, (2, 3), 1);
    assert_eq!(there.act(NODES[0], release), Status::BadProof);
    let release = there.release(ORDER, (2, 3), 1);
    there.must(NODES[0], release);
}
