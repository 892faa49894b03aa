//! What an engine finds out before a block: who may use the urgent lane, and what is judged without a signature.

use std::vec;

use super::world::{World, account, opening, order_id};
use crate::{
    ledger::{
        Status,
        admission::{Signatures, is_urgent, judge},
        execute::Pushed,
        transaction::Action,
    },
    time::LedgerTime,
};

const SELLER: u8 = 1;
const BUYER: u8 = 2;
const LISTING: u8 = 7;
const ORDER: u8 = 7;
const NODES: [u8; 3] = [11, 12, 13];

fn ordered() -> World {
    let mut world = World::new();
    world.fund(&[SELLER, BUYER]);
    world.nodes(&NODES);
    let vault = world.vault(SELLER, 2, &NODES);
    world.must(SELLER, vault);
    world.sell(SELLER, LISTING, 500);
    let order = world.order(ORDER, LISTING, 500);
    world.must(BUYER, order);
    world
}

/// Whether this action is urgent when this account sends it.
fn urgent(world: &mut World, who: u8, action: &Action) -> bool {
    let transaction = world.sign(who, action.clone());
    is_urgent(&world.state, &transaction)
}

#[test]
fn proofs_are_urgent_for_a_node_that_has_not_proven() {
    let mut world = World::new();
    world.fund(&[SELLER]);
    world.nodes(&NODES);
    let claim = |epoch| Action::Prove { epoch, leaves: vec![] };
    assert!(!urgent(&mut world, 11, &claim(1)), "it has no shard");
    let open = world.deal(SELLER, opening(4), &NODES[..2], 3);
    world.must(SELLER, open);
    world.next_epoch();
    let epoch = world.chain().epoch;
    assert!(urgent(&mut world, 11, &claim(epoch)));
    assert!(!urgent(&mut world, 11, &claim(epoch + 1)), "its window is not open");
    assert!(!urgent(&mut world, 13, &claim(epoch)), "a node without a shard");
    assert!(!urgent(&mut world, SELLER, &claim(epoch)), "not a node");
    let proof = world.prove(11);
    world.must(11, proof);
    assert!(!urgent(&mut world, 11, &claim(epoch)), "it has proven");
    assert!(urgent(&mut world, 12, &claim(epoch)));
}

#[test]
fn releases_are_urgent_for_the_custodians_of_a_paid_order() {
    let mut world = ordered();
    let release = |world: &World, index| world.release(ORDER, (2, 3), index);
    let first = release(&world, 1);
    assert!(urgent(&mut world, 11, &first));
    assert!(!urgent(&mut world, 12, &first), "it is another custodian's");
    assert!(urgent(&mut world, BUYER, &first), "the buyer may post it as well");
    assert!(!urgent(&mut world, SELLER, &first), "not a custodian");
    world.must(11, first.clone());
    assert!(!urgent(&mut world, 11, &first), "it is posted");
    assert!(!urgent(&mut world, BUYER, &first), "it is posted");
    // In a new dealing it counts no longer.
    let rotate = world.rotate(SELLER, 2, &NODES);
    let mut rotated = world.clone();
    rotated.must(SELLER, rotate);
    let anew = release(&rotated, 1);
    assert!(urgent(&mut rotated, 11, &anew));
    let second = release(&world, 2);
    world.must(12, second);
    let third = release(&world, 3);
    assert!(!urgent(&mut world, 13, &third), "the order is delivered");
}

#[test]
fn an_acknowledgement_is_urgent_for_the_buyer_of_an_open_order() {
    let mut world = ordered();
    let acknowledge = |number| Action::Acknowledge { order: order_id(number), custodians: vec![1] };
    assert!(urgent(&mut world, BUYER, &acknowledge(ORDER)));
    assert!(!urgent(&mut world, SELLER, &acknowledge(ORDER)), "not the buyer");
    assert!(!urgent(&mut world, BUYER, &acknowledge(8)), "no such order");
    world.must(BUYER, acknowledge(ORDER));
    assert!(!urgent(&mut world, BUYER, &acknowledge(ORDER)), "it is settled");
    let other = Action::Revoke { link: crate::id::LinkId([4; 16]), until_ms: None };
    assert!(!urgent(&mut world, BUYER, &other), "it has no deadline");
}

#[test]
fn what_needs_no_signature_is_looked_at_first() {
    let mut world = World::new();
    world.fund(&[SELLER]);
    let now = LedgerTime(world.now);
    let mut transaction = world
        .sign(SELLER, Action::Transfer { to: account(BUYER), amount: crate::amount::Amount(1) });
    let (pushed, mut signatures) = judge(&world.state, now, &transaction);
    assert_eq!(pushed, Ok(Pushed::Applied));
    assert_ne!(signatures, Signatures::UNCHECKED);
    let mut forged = transaction.clone();
    forged.signature[0] ^= 1;
    assert!(signatures.check_sender(&forged), "what was checked is not checked again");
    let mut unchecked = Signatures::UNCHECKED;
    assert!(!unchecked.check_sender(&forged));
    assert!(!unchecked.check_sender(&transaction), "nor what did not verify");
    let height = world.chain().height;
    world.block(core::slice::from_ref(&transaction));
    let already = judge(&world.state, now, &transaction).0;
    assert_eq!(already, Ok(Pushed::Already { height: height + 1 }));
    // Each of these has no valid signature either.
    transaction.valid_until += 1;
    let unseen = |status| (Err(status), Signatures::UNCHECKED);
    assert_eq!(judge(&world.state, now, &transaction), unseen(Status::IdReused));
    transaction.valid_until = height;
    assert_eq!(judge(&world.state, now, &transaction), unseen(Status::Expired));
    transaction.chain.0[0] ^= 1;
    assert_eq!(judge(&world.state, now, &transaction), unseen(Status::WrongChain));
}
