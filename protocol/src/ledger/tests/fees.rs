//! What transactions cost: a fee for each, a deposit for what stays, and what a flood of them comes to.

use std::{vec, vec::Vec};

use super::{
    audit::rows,
    seller::{list_on, public_ref},
    world::{
        GOODS, World, account, deal_id, fees, key, listing_id, node, opening, order_id, params,
        register, status, terms,
    },
};
use crate::{
    amount::Amount,
    id::{DealId, LinkId, PeerId, TransactionId},
    ledger::{
        Params, Status,
        admission::{Signatures, judge},
        block::{Event, Place, Reason},
        deposit, fee,
        fees::{units, weight},
        kept_ms,
        rows::{Accounts, Nodes, Roots},
        sheet,
        state::StateExt,
        transaction::{Action, Transaction},
    },
    time::LedgerTime,
};

const SELLER: u8 = 1;
const BUYER: u8 = 2;
const DEAL: u8 = 4;
const LISTING: u8 = 7;
const ORDER: u8 = 7;
const NODES: [u8; 3] = [11, 12, 13];
const FAUCET: u128 = 10_000_000_000;
/// One unit of weight.
const UNIT: u128 = 100_000;

fn transfer(to: u8, amount: u128) -> Action {
    Action::Transfer { to: account(to), amount: Amount(amount) }
}

fn funded() -> World {
    let mut world = World::with(fees());
    world.fund(&[SELLER, BUYER, 11, 12, 13]);
    world
}

/// What fee and deposit moved in the last block, by the sender.
fn moved(world: &World, who: u8) -> (u128, u128) {
    let sum = |place, why| {
        let ours = world.events.iter().filter_map(|event| match event {
            Event::Moved { from: Place::Account { account: from }, to, amount, reason }
                if *from == account(who) && *to == place && *reason == why =>
            {
                Some(amount.0)
            }
            _ => None,
        });
        ours.sum()
    };
    (sum(Place::Treasury, Reason::Fee), sum(Place::Deposits, Reason::Deposit))
}

/// Applies an action. It must cost its fee, the rows of `accounts` new accounts, and `weight` units of deposit.
#[track_caller]
fn costs(world: &mut World, who: u8, action: Action, (accounts, weight): (u128, u128)) {
    let fee = fee(&world.genesis.params, &action).0;
    assert!(0 < fee);
    let storage_fee = u128::from(world.genesis.params.storage_fee_bp);
    world.must(who, action.clone());
    let (paid, bound) = moved(world, who);
    // A deal pays the network's part of its price too.
    let rest = match &action {
        Action::OpenDeal { terms, acceptances, .. } => {
            let epochs = u128::from(terms.epochs);
            3 * acceptances.len() as u128 * epochs * storage_fee / 10_000
        }
        _ => 0,
    };
    assert_eq!((paid, bound), (fee + accounts * UNIT + rest, weight * UNIT), "{action:?}");
}

/// A ledger on which everything was done once, each at its price.
fn everything() -> World {
    let mut world = funded();
    let id = world.id();
    costs(&mut world, SELLER, transfer(BUYER, 5), (0, 0));
    costs(&mut world, SELLER, transfer(99, 5), (1, 0));
    costs(&mut world, SELLER, transfer(99, 5), (0, 0));
    for number in NODES {
        costs(&mut world, number, register(number, 1 << 20), (1, 4));
        // Its payout account has no row until it earns.
        costs(&mut world, number, register(number, 2 << 20), (1, 0));
    }
    let deal = world.deal(SELLER, opening(DEAL), &NODES, 3);
    costs(&mut world, SELLER, deal, (0, 4 + 3));
    let vault = world.vault(SELLER, 2, &NODES);
    costs(&mut world, SELLER, vault, (0, 4));
    // Its splits, and the draw of its preview.
    costs(&mut world, SELLER, list_on(&id, SELLER, LISTING, 10_007), (2 + 1, 8));
    let goods = world.deal_on(&terms(SELLER, GOODS, 4, 50), &NODES);
    costs(&mut world, SELLER, goods, (0, 4 + 4));
    let deals = vec![DealId::of(&account(SELLER), &GOODS)];
    let cover = Action::CoverListing { listing: listing_id(LISTING), first: 0, deals };
    costs(&mut world, SELLER, cover, (0, 0));
    // The tick of its preview comes.
    world.wait(10);
    let preview = Action::Preview { listing: listing_id(LISTING), preview: public_ref() };
    costs(&mut world, SELLER, preview, (0, 0));
    let order = world.order(ORDER, LISTING, 10_007);
    costs(&mut world, BUYER, order, (0, 4));
    let release = world.release(ORDER, (2, 3), 1);
    costs(&mut world, 11, release, (0, 0));
    let acknowledge = Action::Acknowledge { order: order_id(ORDER), custodians: vec![1] };
    costs(&mut world, BUYER, acknowledge, (0, 0));
    costs(&mut world, SELLER, Action::EndListing { listing: listing_id(LISTING) }, (0, 0));
    let until_ms = Some(LedgerTime(world.now));
    costs(&mut world, BUYER, Action::Revoke { link: LinkId([1; 16]), until_ms }, (0, 1));
    let redeem = Action::Redeem { holder: PeerId([1; 32]), until_ms: LedgerTime(world.now + 10) };
    costs(&mut world, BUYER, redeem, (0, 1));
    let root = |expected_version| Action::SetRoot { expected_version, blob: vec![1; 512] };
    costs(&mut world, BUYER, root(0), (0, 8));
    costs(&mut world, BUYER, root(1), (0, 0));
    world.next_epoch();
    let proof = world.prove(12);
    costs(&mut world, 12, proof, (0, 0));
    costs(&mut world, SELLER, Action::EndDeal { deal: deal_id(DEAL) }, (0, 0));
    world
}

#[test]
fn everything_costs_its_fee_and_deposit_and_gets_the_deposit_back() {
    let mut world = everything();
    let before = [SELLER, BUYER].map(|who| world.balance(who));
    let stays = (3 * 4 + 4 + 8) * UNIT;
    let bound = |world: &World| sheet(&world.state).unwrap().pools.deposits.0;
    assert_eq!(bound(&world), stays + (7 + 8 + 8 + 4 + 1 + 1) * UNIT);
    world.now += 1_000_000 + 3 * kept_ms(&params()).0;
    for _ in 0..3 {
        world.wait(kept_ms(&params()).0);
    }
    // The deal waits for its epoch.
    while bound(&world) > stays {
        world.next_epoch();
    }
    assert_eq!(bound(&world), stays, "nodes, the vault and the root record stay");
    let after = [SELLER, BUYER].map(|who| world.balance(who));
    // What the deal of the goods has not spent comes back too: much less than a unit.
    assert_eq!((after[0] - before[0]) / UNIT, 7 + 8 + 8, "the deals and the listing");
    assert_eq!(after[1] - before[1], (4 + 1 + 1) * UNIT, "the order, and what ended a grant");
}

#[test]
fn a_price_is_a_sum_that_anyone_can_work_out() {
    let of = fees();
    // 152 bytes around an action of 49.
    assert_eq!(fee(&of, &transfer(1, 1)), Amount(1_000 + 10 * 201 + 500));
    let bytes =
        Transaction::build(World::new().id(), &key(1), TransactionId([1; 16]), 7, transfer(1, 1));
    assert_eq!(crate::codec::Encode::to_bytes(&bytes).len(), 201);
    assert_eq!(fee(&of, &Action::Faucet), Amount::ZERO);
    let acknowledge = Action::Acknowledge { order: order_id(ORDER), custodians: vec![1] };
    // 152 + 1 + 16 + 4 + 1 bytes; a quarter, rounded down.
    assert_eq!(fee(&of, &acknowledge), Amount((1_000 + 1_740 + 500) / 4));
    assert_eq!(deposit(&of, &acknowledge), Amount::ZERO);
    let world = World::new();
    let deal = world.deal(1, opening(DEAL), &NODES, 3);
    assert_eq!((units(&deal), weight(&deal)), (4, 7));
    let vault = world.vault(1, 2, &NODES);
    assert_eq!((units(&vault), weight(&vault)), (6, 4));
    assert_eq!(deposit(&of, &vault), Amount(4 * UNIT));
    let free = Params::development();
    assert_eq!((fee(&free, &deal), deposit(&free, &deal)), (Amount::ZERO, Amount::ZERO));
    // The parameters of a ledger of others may be anything.
    let most = Amount(u128::MAX);
    let dear = Params { fee_base: most, fee_byte: most, fee_check: most, deposit: most, ..of };
    assert_eq!((fee(&dear, &deal), deposit(&dear, &deal)), (most, most));
}

#[test]
fn the_last_unit_decides() {
    let mut world = funded();
    let fee = fee(&fees(), &transfer(BUYER, 1)).0;
    let all = world.balance(SELLER);
    assert_eq!(world.act(SELLER, transfer(BUYER, all - fee + 1)), Status::BalanceTooLow);
    assert_eq!(world.act(SELLER, transfer(98, all - fee - UNIT + 1)), Status::BalanceTooLow);
    world.must(SELLER, transfer(98, all - fee - UNIT));
    assert_eq!((world.balance(SELLER), world.balance(98)), (0, all - fee - UNIT));
    assert_eq!(world.act(SELLER, transfer(BUYER, 1)), Status::FeeNotCovered);
    world.must(BUYER, transfer(SELLER, fee - 1));
    // Before a field is looked at; after that the field is at fault.
    assert_eq!(world.act(SELLER, transfer(BUYER, 0)), Status::FeeNotCovered);
    world.must(BUYER, transfer(SELLER, 1));
    assert_eq!(world.act(SELLER, transfer(BUYER, 0)), Status::BadField);
    assert_eq!(world.act(SELLER, transfer(BUYER, 1)), Status::BalanceTooLow);
    // A deposit counts as well.
    let revoke = Action::Revoke { link: LinkId([1; 16]), until_ms: None };
    let whole = crate::ledger::fee(&fees(), &revoke).0 + UNIT;
    world.must(BUYER, transfer(SELLER, whole - world.balance(SELLER) - 1));
    assert_eq!(world.act(SELLER, revoke.clone()), Status::BalanceTooLow);
    world.must(BUYER, transfer(SELLER, 1));
    world.must(SELLER, revoke);
    assert_eq!(world.balance(SELLER), 0);
}

#[test]
fn a_limit_on_the_cost_of_a_deal_is_all_in() {
    let mut world = funded();
    for number in NODES {
        world.must(number, register(number, 1 << 20));
    }
    let Action::OpenDeal { terms, acceptances, .. } = world.deal(SELLER, opening(DEAL), &NODES, 3)
    else {
        unreachable!()
    };
    let limited = |cost_max| Action::OpenDeal {
        terms: terms.clone(),
        acceptances: acceptances.clone(),
        cost_max: Amount(cost_max),
    };
    let extra = fee(&fees(), &limited(0)).0 + 7 * UNIT;
    // Rate 9, three epochs 27, reserve 5, fee 0.
    assert_eq!(world.act(SELLER, limited(0)), Status::TermsChanged);
    assert_eq!(world.act(SELLER, limited(extra + 31)), Status::TermsChanged);
    let before = world.balance(SELLER);
    world.must(SELLER, limited(extra + 32));
    assert_eq!(before - world.balance(SELLER), extra + 32);
}

#[test]
fn a_node_whose_key_has_no_account_does_its_duty_where_that_is_free() {
    for duty_fee_bp in [0, 1] {
        let mut world = World::with(Params { duty_fee_bp, ..fees() });
        world.fund(&[SELLER, 11]);
        world.must(11, register(11, 1 << 20));
        let deal = world.deal(SELLER, opening(DEAL), &[11], 3);
        world.must(SELLER, deal);
        world.next_epoch();
        let last = fee(&world.genesis.params, &transfer(SELLER, 1)).0;
        let all = world.balance(11);
        world.must(11, transfer(SELLER, all - last));
        assert_eq!(world.balance(11), 0);
        let proof = world.prove(11);
        let expected = if duty_fee_bp == 0 { Status::Applied } else { Status::FeeNotCovered };
        assert_eq!(world.act(11, proof), expected);
    }
}

#[test]
fn a_sender_without_the_fee_costs_no_signature() {
    let world = funded();
    let mut forged = {
        let mut world = world.clone();
        world.sign(60, transfer(SELLER, 1))
    };
    forged.signature = [0; 64];
    let judged = judge(&world.state, LedgerTime(world.now), &forged);
    assert_eq!(judged, (Err(Status::FeeNotCovered), Signatures::UNCHECKED));
}

#[test]
fn splits_and_payouts_pay_for_the_rows_of_accounts() {
    let mut world = funded();
    for number in NODES {
        world.must(number, register(number, 1 << 20));
    }
    let vault = world.vault(SELLER, 2, &NODES);
    world.must(SELLER, vault);
    let listed = |number: u8, world: &World| list_on(&world.id(), SELLER, number, 1);
    let first = listed(1, &world);
    costs(&mut world, SELLER, first, (2 + 1, 8));
    world.wait(10);
    world.must(BUYER, transfer(30, 1));
    let second = listed(2, &world);
    costs(&mut world, SELLER, second, (1, 8));
    world.must(BUYER, transfer(31, 1));
    let third = listed(3, &world);
    costs(&mut world, SELLER, third, (0, 8));
}

/// An attacker with a fortune registers nodes under fresh keys until the money is gone. A node beside it proves as if
/// nothing were.
#[test]
fn registrations_are_bounded_by_what_the_attacker_holds() {
    let mut world = World::with(fees());
    world.fund(&[SELLER, 11, 200]);
    world.must(11, register(11, 1 << 20));
    let deal = world.deal(SELLER, opening(DEAL), &[11], 9);
    world.must(SELLER, deal);
    let each = fee(&fees(), &register(100, 0)).0 + 4 * UNIT;
    let gift = fee(&fees(), &transfer(100, each)).0 + each + UNIT;
    // The attacker keeps enough for ten nodes, whose pay goes to one account.
    let spare = world.balance(200) - 10 * gift - 9;
    let last = fee(&fees(), &transfer(SELLER, 1)).0;
    world.must(200, transfer(SELLER, spare - last));
    let mut registered = 0;
    for number in 100..130 {
        if world.act(200, transfer(number, each)) != Status::Applied {
            break;
        }
        let Action::RegisterNode { addresses, custody_key, caretaker, price, .. } =
            register(number, 0)
        else {
            unreachable!()
        };
        let (payout, capacity) = (account(200), 0);
        let (operator, leaving) = (None, false);
        let cheap = Action::RegisterNode {
            payout,
            operator,
            addresses,
            custody_key,
            caretaker,
            price,
            capacity,
            agrees_until: 0,
            leaving,
        };
        world.must(number, cheap.clone());
        assert_eq!(world.act(number, cheap), Status::FeeNotCovered, "nothing is left to it");
        registered += 1;
    }
    assert_eq!(registered, 10);
    assert_eq!(world.balance(200), 9);
    assert_eq!(rows(&world.state, Nodes).len(), 11);
    // Whatever more it signs with fresh keys costs a look at a row, and no signature.
    let mut late = world.sign(130, register(130, 0));
    for number in 0..35_000_u32 {
        late.sender.0[..4].copy_from_slice(&number.to_be_bytes());
        let judged = judge(&world.state, LedgerTime(world.now), &late);
        assert_eq!(judged, (Err(Status::FeeNotCovered), Signatures::UNCHECKED));
    }
    let blocks = world.blocks.len();
    world.next_epoch();
    let proof = world.prove(11);
    world.must(11, proof);
    assert_eq!(world.state.get(Nodes, &node(11)).unwrap().passed, 1);
    // The same ledger without an attacker needs as many blocks for the epoch.
    let mut twin = World::with(fees());
    twin.fund(&[SELLER, 11]);
    twin.must(11, register(11, 1 << 20));
    let deal = twin.deal(SELLER, opening(DEAL), &[11], 9);
    twin.must(SELLER, deal);
    let before = twin.blocks.len();
    twin.next_epoch();
    let proof = twin.prove(11);
    twin.must(11, proof);
    assert_eq!(twin.blocks.len() - before, world.blocks.len() - blocks);
    assert_eq!(twin.balance(111), world.balance(111), "the node earns the same");
}

/// Valid transfers back and forth between two accounts end when their money is gone, and not before.
#[test]
fn a_flood_of_transfers_ends_with_the_money() {
    let mut world = World::with(Params { fee_base: Amount(FAUCET / 100), ..fees() });
    world.fund(&[SELLER, BUYER]);
    let each = fee(&world.genesis.params, &transfer(BUYER, 1)).0;
    let mut sent = 0;
    loop {
        let flood: Vec<_> = (0..16)
            .map(|n| if n % 2 == 0 { (SELLER, BUYER) } else { (BUYER, SELLER) })
            .map(|(from, to)| world.sign(from, transfer(to, 1)))
            .collect();
        let applied = world
            .block(&flood)
            .into_iter()
            .filter(|outcome| status(*outcome) == Status::Applied)
            .count();
        sent += applied as u128;
        if applied == 0 {
            break;
        }
    }
    let sums = sheet(&world.state).unwrap();
    assert_eq!(sums.pools.treasury.0, sent * each);
    assert!(sums.balanced() && sent <= 2 * FAUCET / each);
    assert!(world.balance(SELLER) < each && world.balance(BUYER) < each);
}

#[test]
fn a_network_without_fees_keeps_no_deposits() {
    let mut world = World::new();
    world.must(9, Action::SetRoot { expected_version: 0, blob: vec![1; 512] });
    assert!(world.events.is_empty());
    assert!(world.state.get(Accounts, &account(9)).is_none());
    assert!(world.state.get(Roots, &account(9)).is_some());
}
