//! What stands for the bytes of nodes: deposits, collateral, withheld pay, the price of faults, and how a node leaves.

use std::{vec, vec::Vec};

use super::world::{self, PRICE, World, account, node, params, register, strangers, terms};
use crate::{
    amount::Amount,
    id::{DealId, Opening},
    ledger::{
        Params, Status,
        block::{Event, Place, Reason},
        collateral_for, repair_cost,
        rows::{Deals, Hold, HoldKey, Holds, Node, Nodes, PoolsTable, Windows},
        state::StateExt,
        tests::audit::rows,
        transaction::{Action, LostShard},
    },
};

const OWNER: u8 = 1;
const GIVER: u8 = 2;
const NODES: [u8; 3] = [11, 12, 13];
const SPARE: u8 = 14;
const FAUCET: u128 = 10_000_000_000;
/// What a shard earns in an epoch, what its repair costs, what collateral it needs, and what a MiB of capacity costs.
const RATE: u128 = 3;
const REPAIR: u128 = 10;
const NEED: u128 = 15;
const DEPOSIT: u128 = 1024;

/// Deals with such openings have shards of one leaf.
fn opening(number: u8) -> Opening {
    world::opening(4 * number)
}

fn deal_id(number: u8) -> DealId {
    world::deal_id(4 * number)
}

fn registered(params: Params) -> World {
    let mut world = World::with(params);
    world.fund(&[OWNER, GIVER, 11, 12, 13, SPARE]);
    world.nodes(&[11, 12, 13, SPARE]);
    world
}

/// `count` deals of a shard on each of the three nodes run.
fn running(params: Params, count: u8, epochs: u64) -> World {
    let mut world = registered(params);
    for number in 0..count {
        let open = world.deal(OWNER, opening(number), &NODES, epochs);
        world.must(OWNER, open);
    }
    world.next_epoch();
    world
}

fn stake(number: u8, amount: u128) -> Action {
    Action::Stake { node: node(number), amount: Amount(amount) }
}

fn unstake(amount: u128) -> Action {
    Action::Unstake { amount: Amount(amount) }
}

fn declare(number: u8, index: u8) -> Action {
    Action::DeclareLost { shards: vec![LostShard { deal: deal_id(number), index }] }
}

fn hold(world: &World, number: u8) -> Hold {
    world.state.get(Holds, &HoldKey::Deal { deal: deal_id(number) }).unwrap()
}

fn repair_pool(world: &World) -> u128 {
    world.state.get(PoolsTable, &()).unwrap().repair.0
}

#[track_caller]
fn prove(world: &mut World, numbers: &[u8]) {
    for number in numbers {
        let proof = world.prove(*number);
        world.must(*number, proof);
    }
}

/// Epochs in which all but one node prove.
fn miss(world: &mut World, missing: u8, epochs: usize) {
    let others: Vec<u8> = NODES.into_iter().filter(|number| *number != missing).collect();
    for _ in 0..epochs {
        prove(world, &others);
        world.next_epoch();
    }
}

#[test]
fn a_deposit_grows_with_the_capacity_and_comes_back() {
    let mut world = registered(strangers());
    assert_eq!(world.balance(11), FAUCET - DEPOSIT);
    world.must(11, register(11, 3 << 20));
    assert_eq!(world.balance(11), FAUCET - 3 * DEPOSIT);
    world.must(11, register(11, 1));
    assert_eq!(world.balance(11), FAUCET - 1, "rounded up");
    assert_eq!(world.act(11, register(11, u64::MAX)), Status::BalanceTooLow);
    assert_eq!(world.act(99, register(99, 1)), Status::BalanceTooLow);
    world.must(99, register(99, 0));
    world.must(11, Action::RetireNode);
    assert_eq!((world.balance(11), world.state.get(Nodes, &node(11))), (FAUCET, None));
    assert!(world.events.contains(&Event::NodeRetired { node: node(11) }));
    assert_eq!(world.act(11, Action::RetireNode), Status::UnknownNode);
    // The same key begins anew.
    world.must(11, register(11, 1 << 20));
    assert_eq!(world.balance(11), FAUCET - DEPOSIT);
}

#[test]
fn a_row_has_its_own_deposit_and_gives_it_back_too() {
    let mut world = registered(Params { deposit: Amount(1000), ..strangers() });
    let before = world.balance(SPARE);
    world.must(SPARE, Action::RetireNode);
    assert_eq!(world.balance(SPARE) - before, 4 * 1000 + DEPOSIT);
}

#[test]
fn no_node_takes_more_than_it_covers() {
    let mut world = registered(strangers());
    for number in 0..2 {
        let open = world.deal(OWNER, opening(number), &NODES, 10);
        world.must(OWNER, open);
    }
    assert_eq!(world.node(11).needs(&world.genesis.params), Amount(2 * NEED));
    assert_eq!(world.node(11).takes(&world.genesis.params, 0), 0);
    let third = world.deal(OWNER, opening(3), &NODES, 10);
    assert_eq!(world.act(OWNER, third.clone()), Status::CollateralTooLow);
    for number in NODES {
        world.must(GIVER, stake(number, NEED - u128::from(number == 13)));
    }
    assert_eq!(world.act(OWNER, third.clone()), Status::CollateralTooLow, "one unit is missing");
    assert_eq!(world.node(13).takes(&world.genesis.params, 0), 715, "less than a shard");
    world.must(GIVER, stake(13, 1));
    assert_eq!(world.node(13).takes(&world.genesis.params, 0), 1024);
    world.must(OWNER, third);
    let moved = world.deal(OWNER, opening(4), &[SPARE], 10);
    world.must(OWNER, moved);
    let place = world.place((OWNER, opening(0)), &[(0, SPARE)], (Amount(9_000_000), u64::MAX));
    // At three times the price it would need 45.
    assert_eq!(world.act(OWNER, place), Status::CollateralTooLow);
    let place = world.place((OWNER, opening(0)), &[(0, SPARE)], (PRICE, u64::MAX));
    world.must(OWNER, place);
}

#[test]
fn what_a_node_needs_is_the_larger_of_pay_and_repair() {
    let params = strangers();
    assert_eq!(repair_cost(&params, 1 << 20), Amount(10 << 10));
    assert_eq!(repair_cost(&params, 1), Amount(1), "rounded up");
    assert_eq!(collateral_for(&params, Amount(3), 1024), Amount(15));
    assert_eq!(collateral_for(&params, Amount(4), 1024), Amount(20));
    assert_eq!(collateral_for(&params, Amount(1), 2048), Amount(30));
    assert_eq!(collateral_for(&params, Amount(u128::MAX), 0), Amount(u128::MAX));
    assert_eq!(collateral_for(&Params::development(), Amount(u128::MAX), u64::MAX), Amount::ZERO);
}

#[test]
fn a_stake_comes_back_when_it_is_not_needed() {
    let mut world = running(strangers(), 1, 2);
    assert_eq!(world.act(GIVER, stake(11, 0)), Status::BadField);
    assert_eq!(world.act(GIVER, stake(99, 1)), Status::UnknownNode);
    assert_eq!(world.act(99, stake(11, 1)), Status::BalanceTooLow);
    world.must(GIVER, stake(11, 100));
    assert_eq!(world.balance(GIVER), FAUCET - 100);
    assert_eq!(world.act(GIVER, unstake(1)), Status::UnknownNode, "it is the node's");
    assert_eq!(world.act(11, unstake(0)), Status::BadField);
    assert_eq!(world.act(11, unstake(100 - NEED + 1)), Status::CollateralTooLow);
    world.must(11, unstake(100 - NEED));
    assert_eq!((world.balance(111), world.node(11).collateral.0), (100 - NEED, NEED));
    assert_eq!(world.act(11, Action::RetireNode), Status::TooEarly);
    for _ in 0..2 {
        prove(&mut world, &NODES);
        world.next_epoch();
    }
    let earned = world.balance(111);
    world.must(11, Action::RetireNode);
    assert_eq!(world.balance(111) - earned, NEED);
    assert_eq!(world.balance(11), FAUCET);
}

#[test]
fn pay_is_withheld_until_a_node_has_what_it_needs() {
    // 100 units per epoch: 75 are withheld, then 50, then 25, until the node has 3000.
    let params = Params {
        collateral_epochs: 30,
        repair_price: Amount::ZERO,
        allowance: Amount(10_000),
        deal_epochs_max: 200,
        ..strangers()
    };
    let mut world = registered(params);
    let dear = Amount(100 << 20);
    let terms = terms(OWNER, opening(1), 1, 120);
    let open = world.deal_at(&terms, &[11], dear);
    world.must(OWNER, open);
    world.next_epoch();
    let mut withheld = 0;
    for epoch in 0..70_u128 {
        prove(&mut world, &[11]);
        let part = if epoch < 30 { 75 } else { 50 };
        withheld = (withheld + part).min(3_000);
        assert_eq!(world.node(11).withheld.0, withheld, "epoch {epoch}");
        assert_eq!(world.balance(111), (epoch + 1) * 100 - withheld);
        world.next_epoch();
    }
    assert_eq!(withheld, 3_000);
    let row = world.node(11);
    assert_eq!((row.clean, row.record.0, row.proven), (70, 7_000, 70 * 1024));
    // A stake makes withheld pay free: it goes back first.
    world.must(GIVER, stake(11, 500));
    world.must(11, unstake(500));
    assert_eq!((world.node(11).withheld.0, world.node(11).collateral.0), (2_500, 500));
    assert_eq!(world.node(11).allowance(&world.genesis.params).0, 10_000 + 7_000 / 50);
}

#[test]
fn a_quarter_is_withheld_of_a_node_that_has_proven_for_long() {
    let params = strangers();
    let mut row = running(strangers(), 2, 10).node(11);
    for (clean, expected) in [(0, 4), (29, 4), (30, 3), (59, 3), (60, 1), (9_999, 1)] {
        row.clean = clean;
        assert_eq!(row.withholds(&params, Amount(6)).0, expected, "{clean}");
    }
    row.collateral = Amount(2 * NEED - 1);
    assert_eq!(row.withholds(&params, Amount(600)).0, 1, "no more than is missing");
    row.collateral = Amount(2 * NEED);
    assert_eq!(row.withholds(&params, Amount(600)).0, 0);
}

#[test]
fn the_third_miss_within_thirty_windows_costs_collateral_and_a_pause() {
    let mut world = running(strangers(), 1, 50);
    for number in NODES {
        world.must(GIVER, stake(number, 1_000));
    }
    prove(&mut world, &NODES);
    world.next_epoch();
    miss(&mut world, 12, 1);
    prove(&mut world, &NODES);
    world.next_epoch();
    miss(&mut world, 12, 1);
    let row = world.node(12);
    assert_eq!((row.missed, row.misses, row.collateral.0), (2, 0b101, 1_000));
    assert_eq!((row.clean, repair_pool(&world)), (2, 2 * RATE));
    let before = world.chain().epoch;
    miss(&mut world, 12, 1);
    let row = world.node(12);
    assert_eq!((row.misses, row.collateral.0, repair_pool(&world)), (0b1011, 900, 3 * RATE + 100));
    assert_eq!((row.clean, row.record.0, row.proven), (1, 3, 1024), "half of the record");
    assert!(before < row.paused_until - 6 && !row.is_open(row.paused_until - 1));
    assert_eq!(row.takes(&world.genesis.params, row.paused_until - 1), 0);
    let more = world.deal(OWNER, opening(7), &NODES, 5);
    assert_eq!(world.act(OWNER, more), Status::NodeClosed);
    let other = world.deal(OWNER, opening(7), &[11, 13, SPARE], 5);
    world.must(OWNER, other);
    // The others have lost nothing, and the pause ends.
    assert_eq!((world.node(11).collateral.0, world.node(13).collateral.0), (1_000, 1_000));
    while world.chain().epoch < row.paused_until {
        let proving: Vec<u8> =
            [11, 12, 13, SPARE].into_iter().filter(|of| world.node(*of).window.is_some()).collect();
        prove(&mut world, &proving);
        world.next_epoch();
    }
    let more = world.deal(OWNER, opening(8), &NODES, 5);
    world.must(OWNER, more);
}

#[test]
fn misses_are_forgotten_after_thirty_windows() {
    let mut world = running(strangers(), 1, 50);
    world.must(GIVER, stake(12, 1_000));
    miss(&mut world, 12, 2);
    for _ in 0..29 {
        prove(&mut world, &NODES);
        world.next_epoch();
    }
    assert_eq!(world.node(12).misses.count_ones(), 1, "the first one is forgotten");
    miss(&mut world, 12, 1);
    assert_eq!((world.node(12).collateral.0, world.node(12).misses.count_ones()), (1_000, 1));
}

#[test]
fn a_declared_loss_costs_the_repair_of_that_shard() {
    let mut world = running(strangers(), 2, 10);
    world.must(GIVER, stake(12, 100));
    let before = hold(&world, 0);
    world.must(12, declare(0, 1));
    assert_eq!(world.node(12).collateral.0, 100 - REPAIR);
    assert_eq!(hold(&world, 0).forfeited.0, REPAIR);
    assert_eq!(hold(&world, 0).amount.0, before.amount.0 + 9 * RATE + REPAIR);
    let reason = Reason::Collateral { node: node(12) };
    let to = Place::Hold { hold: HoldKey::Deal { deal: deal_id(0) } };
    let moved = Event::Moved { from: Place::Collateral, to, amount: Amount(REPAIR), reason };
    assert!(world.events.contains(&moved));
    // The owner gets the money of the epochs back if it ends the deal, and nothing of the node's.
    let (owner, pool) = (world.balance(OWNER), repair_pool(&world));
    world.must(OWNER, Action::EndDeal { deal: deal_id(0) });
    assert_eq!(repair_pool(&world) - pool, REPAIR);
    assert_eq!(world.balance(OWNER) - owner, before.amount.0 + 9 * RATE + 2 * 9 * RATE);
}

#[test]
fn a_node_without_collateral_pays_what_it_has_and_each_byte_has_the_same_claim() {
    let mut world = running(strangers(), 2, 10);
    world.must(GIVER, stake(12, 9));
    world.must(12, declare(0, 1));
    assert_eq!((hold(&world, 0).forfeited.0, world.node(12).collateral.0), (4, 5));
    // The first shard is still in the table, so this is half of the rest.
    world.must(12, declare(1, 1));
    assert_eq!((hold(&world, 1).forfeited.0, world.node(12).collateral.0), (2, 3));
    world.must(11, declare(0, 0));
    assert_eq!(hold(&world, 0).forfeited.0, 4, "that node has nothing");
}

#[test]
fn what_was_forfeited_pays_for_lost_shards_only() {
    let mut world = running(strangers(), 1, 10);
    world.must(GIVER, stake(12, 100));
    world.must(GIVER, stake(SPARE, 1_000));
    world.must(12, declare(0, 1));
    let before = hold(&world, 0);
    // Another shard on dearer terms takes what is the owner's, then the owner pays.
    let dear = (Amount(30_000_000), u64::MAX);
    let place = world.place((OWNER, opening(0)), &[(2, SPARE)], dear);
    world.must(OWNER, place);
    assert_eq!((hold(&world, 0).amount.0, hold(&world, 0).forfeited.0), (REPAIR, REPAIR));
    prove(&mut world, &NODES);
    world.next_epoch();
    let place = world.place((OWNER, opening(0)), &[(1, 13)], (PRICE, u64::MAX));
    let owner = world.balance(OWNER);
    world.must(OWNER, place);
    assert_eq!((hold(&world, 0).amount.0, hold(&world, 0).forfeited.0), (0, 0));
    assert_eq!(owner - world.balance(OWNER), 8 * RATE - REPAIR);
    assert!(before.amount > Amount(REPAIR));
}

/// Lets node 12 die with two shards.
fn died(collateral: u128) -> World {
    let mut world = running(strangers(), 2, 30);
    if collateral > 0 {
        world.must(GIVER, stake(12, collateral));
    }
    miss(&mut world, 12, 5);
    assert!(world.node(12).dead && world.node(12).used == 0);
    world
}

#[test]
fn a_dead_node_pays_for_the_repair_of_its_shards_and_the_rest_is_for_repair() {
    let world = died(100);
    // A tenth is lost with the third and with the fourth miss.
    let left = 100 - 10 - 9;
    assert_eq!([0, 1].map(|deal| hold(&world, deal).forfeited.0), [11, 11]);
    assert_eq!(repair_pool(&world), 5 * 2 * RATE + 10 + 9 + left - 22);
    assert_eq!((world.node(12).backing(), world.node(12).clean), (Amount::ZERO, 0));
}

#[test]
fn a_dead_node_with_too_little_pays_by_bytes_and_one_with_nothing_pays_nothing() {
    let world = died(10);
    // 1 goes with the third miss, and nothing of 9 with the fourth one.
    let mut paid = [0, 1].map(|deal| hold(&world, deal).forfeited.0);
    paid.sort_unstable();
    assert_eq!(paid, [4, 5]);
    let world = died(0);
    assert_eq!([0, 1].map(|deal| hold(&world, deal).forfeited.0), [0, 0]);
}

#[test]
fn a_dead_node_gets_nothing_back_and_may_begin_again_or_leave() {
    let mut world = died(100);
    assert_eq!(world.act(GIVER, stake(12, 5)), Status::NodeClosed);
    assert_eq!(world.act(12, unstake(5)), Status::NodeClosed);
    let more = world.deal(OWNER, opening(7), &NODES, 5);
    assert_eq!(world.act(OWNER, more.clone()), Status::NodeClosed);
    let payout = world.balance(112);
    let mut gone = world.clone();
    gone.must(12, Action::RetireNode);
    assert_eq!((gone.balance(112), gone.balance(12)), (payout, FAUCET), "only the deposit");
    world.must(12, register(12, 1 << 20));
    let row = world.node(12);
    assert_eq!((row.dead, row.misses, row.missed_in_row, row.missed), (false, 0, 0, 5));
    world.must(GIVER, stake(11, 100));
    world.must(GIVER, stake(13, 100));
    world.must(OWNER, more);
}

#[test]
fn a_node_that_leaves_takes_nothing_new_and_goes_when_it_keeps_nothing() {
    let mut world = running(strangers(), 1, 10);
    world.must(GIVER, stake(12, 40));
    let leaving = |leaving| {
        let mut action = register(12, 1 << 20);
        if let Action::RegisterNode { leaving: of, .. } = &mut action {
            *of = leaving;
        }
        action
    };
    world.must(12, leaving(true));
    let more = world.deal(OWNER, opening(7), &NODES, 5);
    assert_eq!(world.act(OWNER, more.clone()), Status::NodeClosed);
    let mut changed = world.clone();
    changed.must(12, leaving(false));
    changed.must(OWNER, more);
    assert_eq!(world.act(12, Action::RetireNode), Status::TooEarly);
    let hand_on = world.place((OWNER, opening(0)), &[(1, SPARE)], (PRICE, u64::MAX));
    world.must(12, hand_on);
    assert_eq!(world.act(12, Action::RetireNode), Status::TooEarly, "it proves for an epoch more");
    prove(&mut world, &NODES);
    world.next_epoch();
    assert_eq!(world.node(SPARE).slots, 1);
    let (payout, own) = (world.balance(112), world.balance(12));
    world.must(12, Action::RetireNode);
    assert_eq!((world.balance(112) - payout, world.balance(12) - own), (40, DEPOSIT));
    // The deal goes on, to its end and beyond.
    for _ in 0..9 {
        let proving: Vec<u8> =
            [11, 13, SPARE].into_iter().filter(|of| world.node(*of).window.is_some()).collect();
        prove(&mut world, &proving);
        world.next_epoch();
    }
    assert_eq!(world.balance(114), 9 * RATE - world.node(SPARE).withheld.0);
}

#[test]
fn a_deal_is_removed_after_its_nodes_have_retired() {
    let mut world = running(strangers(), 1, 1);
    prove(&mut world, &NODES);
    world.next_epoch();
    world.must(12, Action::RetireNode);
    world.must(13, Action::RetireNode);
    for _ in 0..102 {
        world.next_epoch();
    }
    assert_eq!(rows(&world.state, Deals), vec![]);
}

#[test]
fn a_node_that_waits_for_a_shard_it_does_not_get_retires_with_its_turn() {
    let mut world = registered(strangers());
    let open = world.deal(OWNER, opening(0), &NODES, 10);
    world.must(OWNER, open);
    world.must(OWNER, Action::EndDeal { deal: deal_id(0) });
    assert_eq!((world.node(11).used, world.node(11).turn_ms.is_some()), (0, true));
    world.must(11, Action::RetireNode);
    assert!(rows(&world.state, Windows).iter().all(|((_, of), _)| *of != node(11)));
    world.next_epoch();
    // As a new node.
    world.must(11, register(11, 1 << 20));
    let open = world.deal(OWNER, opening(1), &NODES, 2);
    world.must(OWNER, open);
    world.next_epoch();
    prove(&mut world, &NODES);
}

#[test]
fn an_owner_gets_nothing_out_of_the_collateral_of_its_own_node() {
    // The owner is its node's payout account too, stakes on it, and lets it die.
    let mut world = registered(strangers());
    let mut own = register(12, 1 << 20);
    if let Action::RegisterNode { payout, .. } = &mut own {
        *payout = account(OWNER);
    }
    world.must(12, own);
    world.must(OWNER, stake(12, 500));
    let open = world.deal(OWNER, opening(0), &NODES, 20);
    world.must(OWNER, open);
    let issued = world.state.get(PoolsTable, &()).unwrap().issued;
    world.next_epoch();
    miss(&mut world, 12, 5);
    assert!(world.node(12).dead);
    let before = world.balance(OWNER);
    let kept = hold(&world, 0);
    world.must(OWNER, Action::EndDeal { deal: deal_id(0) });
    let unpaid: u128 = 2 * RATE * u128::from(20_u64 - 6);
    assert_eq!(world.balance(OWNER) - before, kept.amount.0 - kept.forfeited.0 + unpaid);
    assert_eq!(repair_pool(&world), 500 + 5 * RATE, "all of the stake is for repair");
    assert_eq!(world.state.get(PoolsTable, &()).unwrap().issued, issued);
}

#[test]
fn a_tiny_deal_with_oneself_buys_no_record() {
    let row = |world: &World, number: u8| -> Node { world.node(number) };
    let mut world = registered(strangers());
    // One leaf on node 11 for its own owner, 60 on node 12 for a stranger.
    let tiny = world.deal(GIVER, opening(1), &[11], 40);
    world.must(GIVER, tiny);
    world.must(OWNER, stake(12, 60 * NEED));
    let mut large = terms(OWNER, opening(2), 1, 40);
    large.length = 60 * 1024;
    let large = world.deal_on(&large, &[12]);
    world.must(OWNER, large);
    world.next_epoch();
    for _ in 0..30 {
        prove(&mut world, &[11, 12]);
        world.next_epoch();
    }
    let (tiny, large) = (row(&world, 11), row(&world, 12));
    assert_eq!((tiny.clean, large.clean), (30, 30), "as many epochs");
    assert_eq!((tiny.proven, large.proven), (30 * 1024, 30 * 60 * 1024), "and not as many bytes");
    let params = params();
    assert!(tiny.record < large.record && params.allowance_growth_bp <= params.storage_fee_bp);
}

/// What a node has lost of its collateral and its pay after thirty epochs, and whether it is dead, if it has only some
/// of its shards. It says nothing, and proves when it is asked for others.
fn dropping(percent: u8) -> (u128, u128, bool) {
    let params = Params { allowance: Amount::ZERO, validity_blocks_max: 1_000, ..strangers() };
    let mut world = registered(params);
    world.must(GIVER, stake(12, 100 * NEED));
    let mut dropped = Vec::new();
    for number in 0..50_u8 {
        let open = world.deal(OWNER, opening(number), &[12], 40);
        world.must(OWNER, open);
        if u16::from(number) * 2 < u16::from(percent) {
            dropped.push(deal_id(number));
        }
    }
    world.next_epoch();
    let full = 50 * RATE * 30;
    for _ in 0..30 {
        if !world.asked(12).iter().any(|deal| dropped.contains(deal)) && world.node(12).slots > 0 {
            prove(&mut world, &[12]);
        }
        world.next_epoch();
    }
    let row = world.node(12);
    let owners: u128 = rows(&world.state, Holds).iter().map(|(_, hold)| hold.forfeited.0).sum();
    assert_eq!(owners > 0, row.dead, "owners are paid for what they lose, and for nothing else");
    let most = 50 * REPAIR * 11 / 10;
    assert!(owners <= most && (percent < 100 || owners == most));
    (100 * NEED - row.backing().0, full - world.balance(112), row.dead)
}

#[test]
fn the_more_a_node_drops_the_more_it_loses() {
    let honest = dropping(0);
    assert_eq!(honest, (0, 0, false));
    let (one, ten, all) = (dropping(2), dropping(10), dropping(100));
    // One shard of fifty: found in some epochs. Five: nearly always. All: dead in five.
    assert!(0 < one.1 && one.1 < ten.1 && ten.1 <= all.1, "{one:?} {ten:?} {all:?}");
    assert!(one.0 < ten.0 && ten.0 <= all.0, "{one:?} {ten:?} {all:?}");
    assert_eq!((all.0, all.1, all.2), (100 * NEED, 50 * RATE * 30, true));
}

#[test]
fn names_without_a_stake_cost_a_network_no_more_than_their_allowance() {
    // Two names on one disk, which dies: each has what two shards need, and no more.
    let mut world = registered(strangers());
    for number in 0..3 {
        let open = world.deal(OWNER, opening(number), &[11, 12], 20);
        let expected = if number < 2 { Status::Applied } else { Status::CollateralTooLow };
        assert_eq!(world.act(OWNER, open), expected);
    }
    world.next_epoch();
    for _ in 0..5 {
        world.next_epoch();
    }
    let dead = [11, 12].map(|number| world.node(number).dead);
    assert_eq!(dead, [true, true]);
    assert_eq!([0, 1].map(|deal| hold(&world, deal).forfeited.0), [0, 0], "they had nothing");
    // A mass of names costs a deposit each, for as long as they are there.
    let deposits = world.state.get(PoolsTable, &()).unwrap().deposits.0;
    assert_eq!(deposits, 4 * DEPOSIT);
}

#[test]
fn all_nodes_leave_only_where_others_are_covered() {
    let mut world = running(strangers(), 2, 10);
    for number in NODES {
        let mut action = register(number, 1 << 20);
        if let Action::RegisterNode { leaving, .. } = &mut action {
            *leaving = true;
        }
        world.must(number, action);
    }
    // The one node that stays is covered for two shards.
    let mut handed = 0;
    for (index, number) in (0..).zip(NODES) {
        for deal in 0..2 {
            let place = world.place((OWNER, opening(deal)), &[(index, SPARE)], (PRICE, u64::MAX));
            let status = world.act(number, place);
            let keeps = [Status::Exists, Status::CollateralTooLow].contains(&status);
            handed += usize::from(status == Status::Applied);
            assert!(keeps || status == Status::Applied, "{status:?}");
        }
    }
    assert_eq!(handed, 2);
    prove(&mut world, &NODES);
    world.next_epoch();
    // Who has handed on goes. The others keep what they have, and are paid.
    assert_eq!(world.act(11, Action::RetireNode), Status::Applied);
    assert_eq!(world.act(12, Action::RetireNode), Status::TooEarly);
    prove(&mut world, &[12, 13, SPARE]);
}
