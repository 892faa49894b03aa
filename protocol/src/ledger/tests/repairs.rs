//! Caretakers: who may claim a repair, what is locked, who is paid, and what comes back.

use std::{vec, vec::Vec};

use super::{
    audit::rows,
    world::{
        PRICE, World, account, deal_id, fees, key, node, opening, params, register, root, terms,
    },
};
use crate::{
    amount::Amount,
    ledger::{
        DEAL_KEPT_EPOCHS, Params, Status,
        block::{Event, Place, Reason},
        rows::{Cares, Deal, Deals, HoldKey, Holds, Repair, Repairs},
        state::StateExt,
        transaction::{Acceptance, Action, LostShard},
    },
    time::LedgerTime,
};

const OWNER: u8 = 1;
const DEAL: u8 = 4;
const NODES: [u8; 3] = [11, 12, 13];
const SPARE: u8 = 14;
/// Nodes without a shard. The first two are named.
const CARETAKER: u8 = 15;
const OTHER: u8 = 16;
const STRANGER: u8 = 17;
const RATE: u128 = 3;
const FEE: u128 = 2;

/// A running deal of three shards, two of which are required, with two caretakers.
fn cared(params: Params) -> World {
    let costs = Amount::ZERO < params.fee_base;
    let mut world = World::with(params);
    world.fund(&[OWNER, 2]);
    if costs {
        world.fund(&[11, 12, 13, 14, 15, 16, 17]);
    }
    world.nodes(&[11, 12, 13, 14, 15, 16, 17]);
    let open = world.deal(OWNER, opening(DEAL), &NODES, 30);
    world.must(OWNER, open);
    let vault = world.vault(OWNER, 2, &[11, 12, 15]);
    world.must(OWNER, vault);
    let care = world.care(OWNER, &[CARETAKER, OTHER], &[DEAL]);
    world.must(OWNER, care);
    world.next_epoch();
    world
}

/// The same after the second shard was lost and its node has left.
fn degraded() -> World {
    // No node dies of what these tests do not prove.
    let mut world = cared(Params { dead_after_epochs: 100, ..params() });
    world.must(12, declare(1));
    prove(&mut world, &NODES);
    world.next_epoch();
    world
}

fn declare(index: u8) -> Action {
    Action::DeclareLost { shards: vec![LostShard { deal: deal_id(DEAL), index }] }
}

fn place(world: &World, index: u8, number: u8) -> Action {
    place_at(world, index, number, PRICE)
}

fn place_at(world: &World, index: u8, number: u8, price: Amount) -> Action {
    world.place((OWNER, opening(DEAL)), &[(index, number)], (price, u64::MAX))
}

fn collect(shards: &[u8]) -> Action {
    Action::CollectRepair { deal: deal_id(DEAL), shards: shards.to_vec() }
}

fn deal(world: &World) -> Deal {
    world.state.get(Deals, &deal_id(DEAL)).unwrap()
}

fn repair(world: &World) -> Option<Repair> {
    world.state.get(Repairs, &deal_id(DEAL))
}

fn reserve(world: &World) -> u128 {
    world.state.get(Holds, &HoldKey::Deal { deal: deal_id(DEAL) }).unwrap().amount.0
}

fn locked(world: &World) -> u128 {
    let hold = world.state.get(Holds, &HoldKey::Repair { deal: deal_id(DEAL) });
    hold.map_or(0, |hold| hold.amount.0)
}

/// What a node's account for pay has.
fn pay(world: &World, number: u8) -> u128 {
    world.balance(number + 100)
}

#[track_caller]
fn prove(world: &mut World, numbers: &[u8]) {
    for number in numbers {
        let proof = world.prove(*number);
        world.must(*number, proof);
    }
}

#[test]
fn a_lost_shard_is_rebuilt_and_its_caretaker_is_paid_once_it_is_proven() {
    let mut world = degraded();
    let (owner, held) = (world.balance(OWNER), reserve(&world));
    let claim = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    world.must(CARETAKER, claim);
    let claimed = Event::RepairClaimed { deal: deal_id(DEAL), node: node(CARETAKER) };
    assert!(world.events.contains(&claimed));
    assert_eq!((reserve(&world), locked(&world)), (held - FEE, FEE));
    let placed = place(&world, 1, SPARE);
    world.must(CARETAKER, placed);
    let left = u128::from(deal(&world).end - world.chain().epoch - 1);
    assert_eq!((reserve(&world), locked(&world)), (held - FEE - left * RATE, FEE));
    assert_eq!(deal(&world).lost().count(), 0);
    assert_eq!(repair(&world).unwrap().claim, None, "all of it is placed");
    assert_eq!(world.act(CARETAKER, collect(&[1])), Status::TooEarly);
    world.next_epoch();
    assert_eq!(world.act(CARETAKER, collect(&[1])), Status::TooEarly);
    prove(&mut world, &[11, 13, SPARE]);
    assert_eq!(world.act(OTHER, collect(&[1])), Status::NotYours);
    assert_eq!(world.act(CARETAKER, collect(&[1, 2])), Status::NotYours);
    let before = pay(&world, CARETAKER);
    world.must(CARETAKER, collect(&[1]));
    assert_eq!((pay(&world, CARETAKER) - before, locked(&world)), (FEE, 0));
    assert!(world.events.contains(&Event::Moved {
        from: Place::Hold { hold: HoldKey::Repair { deal: deal_id(DEAL) } },
        to: Place::Account { account: account(CARETAKER + 100) },
        amount: Amount(FEE),
        reason: Reason::Repaired { deal: deal_id(DEAL) },
    }));
    assert_eq!((repair(&world), world.balance(OWNER)), (None, owner));
    assert_eq!(world.act(CARETAKER, collect(&[1])), Status::NotYours, "once");
}

#[test]
fn only_a_caretaker_of_the_deal_without_a_shard_of_it_claims() {
    let mut world = degraded();
    for (who, status) in [
        (2, Status::UnknownNode),
        (STRANGER, Status::NotCaretaker),
        (CARETAKER, Status::Applied),
        (OTHER, Status::TooEarly),
        (CARETAKER, Status::TooEarly),
    ] {
        let claim = world.claim(who, DEAL, &[1], &[0, 2]);
        assert_eq!(world.act(who, claim), status, "{who}");
    }
    let mut world = degraded();
    // Named, but it has opted out.
    let Action::RegisterNode { payout, addresses, custody_key, price, capacity, .. } =
        register(CARETAKER, 1 << 20)
    else {
        unreachable!()
    };
    let caretaker = false;
    let out = Action::RegisterNode {
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
    world.must(CARETAKER, out);
    let claim = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    assert_eq!(world.act(CARETAKER, claim), Status::NotCaretaker);
    let care = world.care(OWNER, &[CARETAKER, 13], &[DEAL]);
    assert_eq!(world.act(OWNER, care), Status::NotCaretaker);
    // One that keeps a shard of the deal.
    let care = world.care(OWNER, &[OTHER, 13], &[DEAL]);
    world.must(OWNER, care);
    let claim = world.claim(13, DEAL, &[1], &[0, 2]);
    assert_eq!(world.act(13, claim), Status::NotCaretaker);
    // One that opens the vault alone.
    let vault = world.vault_as((OWNER, 9), 1, &[OTHER]);
    world.must(OWNER, vault);
    let Action::SetCare { caretakers, spare, fee, price_max, deals, .. } =
        world.care(OWNER, &[OTHER], &[DEAL])
    else {
        unreachable!()
    };
    let vault = crate::id::VaultId::of(&account(OWNER), &opening(9));
    world.must(OWNER, Action::SetCare { vault, caretakers, spare, fee, price_max, deals });
    let claim = world.claim(OTHER, DEAL, &[1], &[0, 2]);
    assert_eq!(world.act(OTHER, claim), Status::NotCaretaker);
}

#[test]
fn a_claim_names_what_is_lost_and_as_many_of_the_rest_as_are_required() {
    let mut world = cared(params());
    let early = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    assert_eq!(world.act(CARETAKER, early), Status::WrongShards, "nothing is lost");
    let mut world = degraded();
    let bad: [(&[u8], &[u8], Status); 9] = [
        (&[], &[0, 2], Status::BadField),
        (&[1], &[], Status::BadField),
        (&[1, 1], &[0, 2], Status::BadField),
        (&[1], &[2, 0], Status::BadField),
        (&[1], &[0, 1], Status::BadField),
        (&[0], &[1, 2], Status::WrongShards),
        (&[1], &[0], Status::WrongShards),
        (&[1, 3], &[0, 2], Status::WrongShards),
        (&[1], &[0, 3], Status::WrongShards),
    ];
    for (rebuild, read, status) in bad {
        let claim = world.claim(CARETAKER, DEAL, rebuild, read);
        assert_eq!(world.act(CARETAKER, claim), status, "{rebuild:?} {read:?}");
    }
    // A delivery key that another node has made.
    let claim = world.claim(OTHER, DEAL, &[1], &[0, 2]);
    assert_eq!(world.act(CARETAKER, claim), Status::BadProof);
    world.must(OWNER, Action::EndDeal { deal: deal_id(DEAL) });
    let claim = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    assert_eq!(world.act(CARETAKER, claim), Status::DealClosed);
}

#[test]
fn a_deal_with_enough_to_spare_is_not_claimed() {
    let mut world = World::new();
    world.fund(&[OWNER]);
    world.nodes(&[11, 12, 13, 14, 15]);
    let open = world.deal(OWNER, opening(DEAL), &[11, 12, 13, 14], 30);
    world.must(OWNER, open);
    let vault = world.vault(OWNER, 2, &NODES);
    world.must(OWNER, vault);
    let care = world.care(OWNER, &[15], &[DEAL]);
    world.must(OWNER, care);
    world.must(12, declare(1));
    let claim = world.claim(15, DEAL, &[1], &[0, 2]);
    assert_eq!(world.act(15, claim), Status::TooEarly, "one more may be lost");
    world.must(14, declare(3));
    let claim = world.claim(15, DEAL, &[1, 3], &[0, 2]);
    assert_eq!(world.act(15, claim), Status::Applied);
    assert_eq!(locked(&world), 2 * FEE);
}

#[test]
fn who_claims_and_sleeps_gives_way_and_is_not_next() {
    let mut world = degraded();
    let held = reserve(&world);
    let claim = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    world.must(CARETAKER, claim.clone());
    for _ in 0..2 {
        world.next_epoch();
        let other = world.claim(OTHER, DEAL, &[1], &[0, 2]);
        assert_eq!(world.act(OTHER, other), Status::TooEarly);
    }
    world.next_epoch();
    // It has ended. Others come first for as long as a claim runs.
    let placed = place(&world, 1, SPARE);
    assert_eq!(world.act(CARETAKER, placed.clone()), Status::NotYours);
    assert_eq!(world.act(CARETAKER, claim.clone()), Status::TooEarly);
    let other = world.claim(OTHER, DEAL, &[1], &[0, 2]);
    world.must(OTHER, other);
    assert_eq!((reserve(&world), locked(&world)), (held - FEE, FEE), "locked once");
    assert_eq!(world.act(CARETAKER, placed), Status::NotYours);
    let by_other = place(&world, 1, SPARE);
    world.must(OTHER, by_other);

    let mut alone = degraded();
    let claim = alone.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    alone.must(CARETAKER, claim.clone());
    for _ in 0..5 {
        alone.next_epoch();
        assert_eq!(alone.act(CARETAKER, claim.clone()), Status::TooEarly);
    }
    alone.next_epoch();
    alone.must(CARETAKER, claim);
}

#[test]
fn a_caretaker_places_what_it_claimed_from_the_reserve_alone() {
    let mut world = degraded();
    let claim = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    world.must(CARETAKER, claim);
    let cases = [
        // Not what it has claimed; on itself; at a higher price than the owner agreed to.
        (place(&world, 0, SPARE), Status::NotYours),
        (place(&world, 1, CARETAKER), Status::NotCaretaker),
        (place_at(&world, 1, SPARE, Amount(PRICE.0 + 1)), Status::TermsChanged),
        (place(&world, 1, 11), Status::Exists),
    ];
    for (action, status) in cases {
        assert_eq!(world.act(CARETAKER, action), status);
    }
    // Garbage has another root.
    let terms = terms(OWNER, opening(DEAL), 3, 1);
    let root = root(&deal_id(DEAL), 0, 1024);
    let (price, until) = ((PRICE, u64::MAX), LedgerTime::NEVER);
    let accepted = Acceptance::build(&world.id(), &terms, &key(SPARE), (1, root), price, until);
    let cost_max = Amount::ZERO;
    let garbage = Action::PlaceShards { terms, acceptances: vec![accepted], cost_max };
    assert_eq!(world.act(CARETAKER, garbage), Status::BadAcceptance);
    // Nothing was paid for the limit either.
    let Action::PlaceShards { terms, acceptances, .. } = place(&world, 1, SPARE) else {
        unreachable!()
    };
    world.must(CARETAKER, Action::PlaceShards { terms, acceptances, cost_max });
}

#[test]
fn an_empty_reserve_pays_neither_fee_nor_node() {
    let dear = |world: &World, fee: u128, price_max: Amount| {
        let Action::SetCare { vault, caretakers, spare, deals, .. } =
            world.care(OWNER, &[CARETAKER], &[DEAL])
        else {
            unreachable!()
        };
        Action::SetCare { vault, caretakers, spare, fee: Amount(fee), price_max, deals }
    };
    let mut world = degraded();
    let held = reserve(&world);
    let care = dear(&world, held + 1, PRICE);
    world.must(OWNER, care);
    let claim = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    assert_eq!(world.act(CARETAKER, claim.clone()), Status::ReserveTooLow);
    let care = dear(&world, held, Amount(u128::MAX));
    world.must(OWNER, care);
    world.must(CARETAKER, claim);
    let placed = place(&world, 1, SPARE);
    assert_eq!(world.act(CARETAKER, placed), Status::ReserveTooLow);
    let endless = place_at(&world, 1, SPARE, Amount(u128::MAX));
    assert_eq!(world.act(CARETAKER, endless), Status::Overflow);
    // What is locked is not the owner's to spend either.
    let (before, placed) = (world.balance(OWNER), place(&world, 1, SPARE));
    world.must(OWNER, placed);
    let left = u128::from(deal(&world).end - world.chain().epoch - 1);
    assert_eq!(before - world.balance(OWNER), left * RATE);
    assert_eq!((reserve(&world), locked(&world)), (held, 0), "and comes back after that");
}

#[test]
fn a_shard_that_is_lost_again_before_its_proof_pays_no_one() {
    let mut world = degraded();
    let held = reserve(&world);
    let claim = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    world.must(CARETAKER, claim);
    let placed = place(&world, 1, SPARE);
    world.must(CARETAKER, placed);
    world.must(SPARE, declare(1));
    assert_eq!(world.act(CARETAKER, collect(&[1])), Status::NotYours);
    assert_eq!(locked(&world), FEE);
    // It would place with one dying name after another: others come first.
    let again = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    assert_eq!(world.act(CARETAKER, again.clone()), Status::TooEarly);
    // The next claim finds all of the money: the node before was not paid either.
    let mut others = world.clone();
    let claim = others.claim(OTHER, DEAL, &[1], &[0, 2]);
    others.must(OTHER, claim);
    assert_eq!((reserve(&others), locked(&others)), (held - FEE, FEE));
    assert_eq!(repair(&others).unwrap().rewards[0].fee, Amount::ZERO, "it says who rests");
    // No other comes.
    let lost = deal(&world).shards[1].unwrap().lost.unwrap();
    while world.chain().epoch < lost + 3 {
        assert_eq!(world.act(CARETAKER, again.clone()), Status::TooEarly);
        world.next_epoch();
    }
    let again = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    world.must(CARETAKER, again);
    assert_eq!((locked(&world), repair(&world).unwrap().rewards), (FEE, vec![]));
}

#[test]
fn an_owner_who_moves_or_ends_what_was_rebuilt_pays_for_it() {
    for ends in [false, true] {
        let mut world = degraded();
        let claim = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
        world.must(CARETAKER, claim);
        let placed = place(&world, 1, SPARE);
        world.must(CARETAKER, placed);
        let action = match ends {
            true => Action::EndDeal { deal: deal_id(DEAL) },
            false => place(&world, 1, STRANGER),
        };
        world.must(OWNER, action);
        assert_eq!((pay(&world, CARETAKER), locked(&world)), (FEE, 0));
        assert_eq!(repair(&world), None);
    }
}

#[test]
fn a_node_that_hands_a_rebuilt_shard_on_takes_nothing_from_its_caretaker() {
    let mut world = degraded();
    let claim = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    world.must(CARETAKER, claim);
    let placed = place(&world, 1, SPARE);
    world.must(CARETAKER, placed);
    world.next_epoch();
    let on = place(&world, 1, STRANGER);
    world.must(SPARE, on);
    prove(&mut world, &[11, 13, SPARE]);
    assert_eq!(world.act(CARETAKER, collect(&[1])), Status::TooEarly, "the next node has not");
    world.next_epoch();
    prove(&mut world, &[11, 13, STRANGER]);
    world.must(CARETAKER, collect(&[1]));
    assert_eq!(pay(&world, CARETAKER), FEE);
}

#[test]
fn what_is_left_of_a_claim_is_the_owners_at_the_end_of_the_term() {
    let mut world = degraded();
    let claim = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    world.must(CARETAKER, claim);
    while deal(&world).end - 1 > world.chain().epoch {
        world.next_epoch();
    }
    let placed = place(&world, 1, SPARE);
    assert_eq!(world.act(OWNER, placed), Status::DealClosed);
    let (owner, held) = (world.balance(OWNER), reserve(&world) + locked(&world));
    world.next_epoch();
    assert_eq!((world.balance(OWNER), repair(&world)), (owner + held, None));
    assert_eq!(world.act(CARETAKER, collect(&[1])), Status::NotYours);
}

#[test]
fn proven_repairs_are_paid_at_the_end_even_if_they_were_not_collected() {
    for proves in [false, true] {
        let mut world = degraded();
        let claim = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
        world.must(CARETAKER, claim);
        let placed = place(&world, 1, SPARE);
        world.must(CARETAKER, placed);
        world.next_epoch();
        if proves {
            prove(&mut world, &[SPARE]);
        }
        while deal(&world).end > world.chain().epoch {
            world.next_epoch();
        }
        assert_eq!(pay(&world, CARETAKER), if proves { FEE } else { 0 });
        assert_eq!(repair(&world), None);
    }
}

#[test]
fn care_has_a_deposit_that_comes_back_with_that_of_its_deal() {
    let mut world = cared(fees());
    let unit = world.genesis.params.deposit.0;
    let deposits = |world: &World| crate::ledger::sheet(&world.state).unwrap().pools.deposits.0;
    let before = deposits(&world);
    // Other care in the place of care costs nothing more.
    let care = world.care(OWNER, &[OTHER], &[DEAL]);
    world.must(OWNER, care);
    assert_eq!(deposits(&world), before);
    world.must(OWNER, Action::EndDeal { deal: deal_id(DEAL) });
    let care = world.care(OWNER, &[OTHER], &[DEAL]);
    assert_eq!(world.act(OWNER, care), Status::DealClosed);
    for _ in 0..=DEAL_KEPT_EPOCHS + 1 {
        world.next_epoch();
    }
    assert_eq!(rows(&world.state, Cares), vec![]);
    // Four and three for the deal, four and one for its care.
    assert_eq!(before - deposits(&world), 12 * unit);
}

#[test]
fn care_is_taken_back_with_its_deposit_and_claims_place_nothing_without_it() {
    let mut world = cared(Params { dead_after_epochs: 100, ..fees() });
    let unit = world.genesis.params.deposit.0;
    let deposits = |world: &World| crate::ledger::sheet(&world.state).unwrap().pools.deposits.0;
    world.must(12, declare(1));
    prove(&mut world, &NODES);
    world.next_epoch();
    let claim = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    world.must(CARETAKER, claim);
    let before = deposits(&world);
    let mut back = world.care(OWNER, &[], &[DEAL]);
    assert_eq!(world.act(OWNER, back.clone()), Status::BadField, "pads are for caretakers");
    change(&mut back, |care| care.2[0].pads.clear());
    assert_eq!(world.act(2, back.clone()), Status::UnknownDeal, "another's deal has another id");
    world.must(OWNER, back.clone());
    assert_eq!(rows(&world.state, Cares), vec![]);
    assert_eq!(before - deposits(&world), 5 * unit);
    let place = world.place((OWNER, opening(DEAL)), &[(1, 16)], (PRICE, u64::MAX));
    assert_eq!(world.act(CARETAKER, place), Status::NotYours);
    let claim = world.claim(OTHER, DEAL, &[1], &[0, 2]);
    assert_eq!(world.act(OTHER, claim), Status::NotCaretaker);
    world.must(OWNER, back);
    assert_eq!(before - deposits(&world), 5 * unit, "there was nothing left to come back");
}

#[test]
fn care_is_for_own_deals_with_a_vault_of_ones_own() {
    let mut world = cared(params());
    type Change = fn(&mut Action);
    let cases: [(Change, Status); 9] = [
        (|action| change(action, |care| care.1.clear()), Status::BadField),
        (|action| change(action, |care| care.1.push(care.1[0])), Status::BadField),
        (|action| change(action, |care| care.2.clear()), Status::BadField),
        (|action| change(action, |care| care.2.push(care.2[0].clone())), Status::BadField),
        (|action| change(action, |care| care.2[0].pads.truncate(2)), Status::BadField),
        (|action| change(action, |care| care.1.push(node(99))), Status::UnknownNode),
        (|action| change(action, |care| care.2[0].opening.0[0] ^= 1), Status::UnknownDeal),
        (|action| change(action, |care| care.0.0[0] ^= 1), Status::UnknownVault),
        (|_| {}, Status::Applied),
    ];
    for (change, status) in cases {
        let mut action = world.care(OWNER, &[CARETAKER], &[DEAL]);
        change(&mut action);
        assert_eq!(world.act(OWNER, action), status);
    }
    let vault = world.vault(2, 2, &NODES);
    world.must(2, vault);
    let mut strange = world.care(OWNER, &[CARETAKER], &[DEAL]);
    change(&mut strange, |care| *care.0 = crate::id::VaultId::of(&account(2), &opening(2)));
    assert_eq!(world.act(OWNER, strange), Status::NotYours);
    let many = (20..29).map(node).collect::<Vec<_>>();
    let mut crowded = world.care(OWNER, &[CARETAKER], &[DEAL]);
    change(&mut crowded, |care| *care.1 = many);
    assert_eq!(world.act(OWNER, crowded), Status::BadField);
}

type Care<'a> = (
    &'a mut crate::id::VaultId,
    &'a mut Vec<crate::id::NodeId>,
    &'a mut Vec<crate::ledger::transaction::CaredDeal>,
);

fn change(action: &mut Action, with: impl FnOnce(Care<'_>)) {
    let Action::SetCare { vault, caretakers, deals, .. } = action else { unreachable!() };
    with((vault, caretakers, deals));
}

#[test]
fn a_shard_that_no_node_has_ever_kept_is_not_lost() {
    let mut world = World::new();
    world.fund(&[OWNER]);
    world.nodes(&[11, 12, 13, 14, 15]);
    let open = world.deal_on(&terms(OWNER, opening(DEAL), 4, 30), &NODES);
    world.must(OWNER, open);
    let vault = world.vault(OWNER, 2, &NODES);
    world.must(OWNER, vault);
    let care = world.care(OWNER, &[CARETAKER], &[DEAL]);
    world.must(OWNER, care);
    world.must(12, declare(1));
    // Its root is not known: no caretaker can show that it has rebuilt it.
    let claim = world.claim(CARETAKER, DEAL, &[1, 3], &[0, 2]);
    assert_eq!(world.act(CARETAKER, claim), Status::WrongShards);
    let claim = world.claim(CARETAKER, DEAL, &[1], &[0, 2]);
    assert_eq!(world.act(CARETAKER, claim), Status::Applied);
}

#[test]
fn of_two_rebuilt_shards_one_is_handed_on_and_the_other_is_paid() {
    let mut world = World::new();
    world.fund(&[OWNER]);
    world.nodes(&[11, 12, 13, 14, 15, 16, 17]);
    let open = world.deal(OWNER, opening(DEAL), &[11, 12, 13, 17], 30);
    world.must(OWNER, open);
    let vault = world.vault(OWNER, 2, &NODES);
    world.must(OWNER, vault);
    let care = world.care(OWNER, &[CARETAKER], &[DEAL]);
    world.must(OWNER, care);
    world.next_epoch();
    world.must(12, declare(1));
    world.must(17, declare(3));
    let claim = world.claim(CARETAKER, DEAL, &[1, 3], &[0, 2]);
    world.must(CARETAKER, claim);
    let both = [(1, SPARE), (3, OTHER)];
    let placed = world.place((OWNER, opening(DEAL)), &both, (PRICE, u64::MAX));
    world.must(CARETAKER, placed);
    world.next_epoch();
    let on = place(&world, 1, STRANGER);
    world.must(SPARE, on);
    prove(&mut world, &[OTHER]);
    assert_eq!(world.act(CARETAKER, collect(&[1, 3])), Status::TooEarly, "one is not proven");
    world.must(CARETAKER, collect(&[3]));
    world.next_epoch();
    prove(&mut world, &[STRANGER]);
    world.must(CARETAKER, collect(&[1]));
    assert_eq!((pay(&world, CARETAKER), locked(&world)), (2 * FEE, 0));
}
