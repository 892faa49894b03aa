//! Data that stays stored: longer terms, lost shards, nodes that die, and other nodes for their shards.

use std::{vec, vec::Vec};

use super::{
    audit::rows,
    world::{PRICE, World, deal_id, node, opening, params, register},
};
use crate::{
    amount::Amount,
    ledger::{
        Params, Status,
        block::Event,
        extension_cost,
        rows::{Deal, DealState, Deals, Degraded, HoldKey, Holds, Slots},
        state::StateExt,
        transaction::{Action, LostShard},
    },
    time::LedgerTime,
};

const OWNER: u8 = 1;
const GIVER: u8 = 2;
const DEAL: u8 = 4;
const NODES: [u8; 3] = [11, 12, 13];
const SPARE: u8 = 14;
/// What a shard earns in an epoch.
const RATE: u128 = 3;

/// A deal of three shards, of which two are required, on the first three of four nodes.
fn opened(params: Params, epochs: u64) -> World {
    let mut world = World::with(params);
    world.fund(&[OWNER, GIVER]);
    world.nodes(&[11, 12, 13, 14, 15]);
    let open = world.deal(OWNER, opening(DEAL), &NODES, epochs);
    world.must(OWNER, open);
    world
}

fn running(epochs: u64) -> World {
    let mut world = opened(params(), epochs);
    world.next_epoch();
    world
}

fn deal(world: &World) -> Deal {
    world.state.get(Deals, &deal_id(DEAL)).unwrap()
}

fn hold(world: &World) -> u128 {
    world.state.get(Holds, &HoldKey::Deal { deal: deal_id(DEAL) }).unwrap().amount.0
}

fn storage(world: &World) -> u128 {
    crate::ledger::sheet(&world.state).unwrap().pools.storage.0
}

fn extend(epochs: u64) -> Action {
    Action::ExtendDeals { deals: vec![deal_id(DEAL)], epochs, cost_max: Amount(u128::MAX) }
}

fn declare(index: u8) -> Action {
    Action::DeclareLost { shards: vec![LostShard { deal: deal_id(DEAL), index }] }
}

fn place(world: &World, index: u8, number: u8) -> Action {
    world.place((OWNER, opening(DEAL)), &[(index, number)], (PRICE, u64::MAX))
}

fn degraded(world: &World) -> Vec<u8> {
    rows(&world.state, Degraded).into_iter().map(|((spare, _), _)| spare).collect()
}

#[track_caller]
fn prove(world: &mut World, numbers: &[u8]) {
    for number in numbers {
        let proof = world.prove(*number);
        world.must(*number, proof);
    }
}

#[test]
fn anyone_makes_a_term_longer_and_it_is_proven_and_paid_to_its_end() {
    let mut world = running(2);
    let (before, end) = (world.balance(GIVER), deal(&world).end);
    world.must(GIVER, extend(5));
    let cost = extension_cost(&world.genesis.params, Amount(3 * RATE), 5).unwrap();
    assert_eq!((cost.storage, cost.reserve, cost.fee), (Amount(45), Amount(9), Amount(0)));
    assert_eq!(before - world.balance(GIVER), cost.total.0);
    assert_eq!((deal(&world).end, hold(&world)), (end + 5, 3 + 9));
    let extended = Event::DealExtended { deal: deal_id(DEAL), end: end + 5 };
    assert!(world.events.contains(&extended));
    for _ in 0..7 {
        prove(&mut world, &NODES);
        world.next_epoch();
    }
    assert_eq!(deal(&world).state, DealState::Completed);
    assert_eq!(NODES.map(|number| world.balance(number + 100)), [7 * RATE; 3]);
    assert_eq!((storage(&world), world.node(11).slots), (0, 0));
    // A gift is a gift: what was in reserve is the owner's.
    assert_eq!(world.balance(OWNER), 10_000_000_000 - 2 * 3 * RATE + 9);
}

#[test]
fn a_term_grows_before_it_begins_and_only_while_it_runs() {
    let mut world = opened(params(), 1);
    world.must(OWNER, extend(1));
    world.next_epoch();
    prove(&mut world, &NODES);
    world.next_epoch();
    assert_eq!(world.node(11).slots, 1, "the second epoch is paid");
    world.next_epoch();
    assert_eq!(world.act(OWNER, extend(1)), Status::DealClosed);
}

#[test]
fn what_cannot_be_extended_is_refused() {
    let mut world = running(10);
    let act = |world: &mut World, change: fn(&mut Vec<_>, &mut u64, &mut Amount)| {
        let (mut deals, mut epochs, mut cost_max) = (vec![deal_id(DEAL)], 5, Amount(u128::MAX));
        change(&mut deals, &mut epochs, &mut cost_max);
        world.act(OWNER, Action::ExtendDeals { deals, epochs, cost_max })
    };
    assert_eq!(act(&mut world, |deals, _, _| deals.clear()), Status::BadField);
    assert_eq!(act(&mut world, |deals, _, _| deals.push(deals[0])), Status::BadField);
    assert_eq!(act(&mut world, |_, epochs, _| *epochs = 0), Status::BadField);
    // Ten epochs are left, and fifty are the longest term.
    assert_eq!(act(&mut world, |_, epochs, _| *epochs = 42), Status::BadField);
    assert_eq!(act(&mut world, |deals, _, _| deals.push(deal_id(9))), Status::UnknownDeal);
    assert_eq!(act(&mut world, |_, _, most| *most = Amount(53)), Status::TermsChanged);
    assert_eq!(act(&mut world, |_, _, most| *most = Amount(54)), Status::Applied);
    world.must(OWNER, Action::EndDeal { deal: deal_id(DEAL) });
    assert_eq!(act(&mut world, |_, _, _| {}), Status::DealClosed);
}

#[test]
fn no_term_goes_beyond_what_a_node_agreed_to() {
    let mut world = running(10);
    let end = deal(&world).end;
    let agreed = (Amount(4_000_000), end + 3);
    // The same node at another price: it agrees for three epochs more.
    let again = world.place((OWNER, opening(DEAL)), &[(1, 12)], agreed);
    world.must(OWNER, again);
    assert_eq!(world.act(OWNER, extend(4)), Status::AcceptanceExpired);
    world.must(OWNER, extend(3));
    prove(&mut world, &NODES);
    world.next_epoch();
    assert_eq!((world.node(12).slots, world.node(12).used), (1, 1024));
    let before = world.balance(112);
    prove(&mut world, &NODES);
    assert_eq!(world.balance(112) - before, 4, "the new price");
    assert_eq!(world.balance(111), 2 * RATE);
}

/// A registration of node 12 that asks for this, and agrees until then.
fn agreeing(asked: Amount, until: u64, leaves: bool) -> Action {
    let mut action = register(12, 1 << 20);
    let Action::RegisterNode { price, agrees_until, leaving, .. } = &mut action else {
        unreachable!("it is one")
    };
    (*price, *agrees_until, *leaving) = (asked, until, leaves);
    action
}

#[test]
fn a_node_agrees_anew_with_its_registration() {
    let mut world = running(10);
    let end = deal(&world).end;
    let again = world.place((OWNER, opening(DEAL)), &[(1, 12)], (PRICE, end));
    world.must(OWNER, again);
    assert_eq!(world.act(OWNER, extend(1)), Status::AcceptanceExpired);
    // Not for less than it asks, not while it leaves, and not for longer than it says.
    world.must(12, agreeing(Amount(PRICE.0 + 1), end + 5, false));
    assert_eq!(world.act(OWNER, extend(1)), Status::AcceptanceExpired);
    world.must(12, agreeing(PRICE, end + 5, true));
    assert_eq!(world.act(OWNER, extend(1)), Status::AcceptanceExpired);
    world.must(12, agreeing(PRICE, end + 5, false));
    assert_eq!(world.act(OWNER, extend(6)), Status::AcceptanceExpired);
    world.must(OWNER, extend(5));
    assert_eq!(deal(&world).end, end + 5);
    assert_eq!(world.node(12).agrees_until, end + 5);
    // What it has agreed to is paid: a higher price comes too late for these epochs, and one that is lower changes nothing.
    world.must(12, agreeing(Amount(1), end + 9, false));
    world.must(OWNER, extend(4));
    assert_eq!((deal(&world).end, deal(&world).rate), (end + 9, Amount(3 * RATE)));
}

#[test]
fn a_declared_loss_costs_that_shard_only() {
    let mut world = running(10);
    let (pool, reserve) = (storage(&world), hold(&world));
    world.must(12, declare(1));
    // The window is open: the shard is still asked for in it. Nine epochs are not paid.
    assert_eq!((storage(&world), hold(&world)), (pool - 9 * RATE, reserve + 9 * RATE));
    assert_eq!(deal(&world).rate, Amount(2 * RATE));
    assert_eq!(deal(&world).lost().map(|(index, _)| index).collect::<Vec<_>>(), [1]);
    assert_eq!(degraded(&world), [0], "two are left, and two are required");
    let (lost, epoch) = (deal(&world).shards[1].unwrap().lost, world.chain().epoch);
    assert_eq!(lost, Some(epoch + 1));
    assert_eq!(world.act(12, declare(1)), Status::NotYours);
    prove(&mut world, &NODES);
    world.next_epoch();
    assert_eq!((world.node(12).slots, world.node(12).missed, world.node(12).used), (0, 0, 0));
    assert!(world.events.contains(&Event::ShardLeft { node: node(12), deal: deal_id(DEAL) }));
    prove(&mut world, &[11, 13]);
}

#[test]
fn who_declares_a_loss_keeps_the_shard_and_has_not_seen_its_challenge() {
    let mut world = running(10);
    assert_eq!(world.act(11, declare(1)), Status::NotYours);
    assert_eq!(world.act(OWNER, declare(1)), Status::UnknownNode);
    let of_none = vec![LostShard { deal: deal_id(9), index: 0 }];
    assert_eq!(world.act(11, Action::DeclareLost { shards: of_none }), Status::UnknownDeal);
    assert_eq!(world.act(11, Action::DeclareLost { shards: Vec::new() }), Status::BadField);
    let twice = vec![LostShard { deal: deal_id(DEAL), index: 0 }; 2];
    assert_eq!(world.act(11, Action::DeclareLost { shards: twice }), Status::BadField);
    world.must(OWNER, Action::EndDeal { deal: deal_id(DEAL) });
    assert_eq!(world.act(11, declare(0)), Status::DealClosed);
}

#[test]
fn a_shard_that_waits_is_given_up_at_once() {
    let mut world = opened(params(), 10);
    let (pool, reserve) = (storage(&world), hold(&world));
    world.must(11, declare(0));
    assert_eq!((storage(&world), hold(&world)), (pool - 10 * RATE, reserve + 10 * RATE));
    assert_eq!((world.node(11).used, world.balance(111)), (0, 0));
    world.next_epoch();
    assert_eq!((world.node(11).slots, world.node(12).slots), (0, 1));
}

#[test]
fn a_lost_shard_gets_another_node_from_the_money_of_the_one_before() {
    let mut world = running(10);
    world.must(12, declare(1));
    prove(&mut world, &NODES);
    let (owner, kept) = (world.balance(OWNER), hold(&world));
    for (who, index, number, status) in [
        // Not of these: a stranger, a node that keeps another shard.
        (GIVER, 1, SPARE, Status::NotYours),
        (11, 1, SPARE, Status::NotYours),
        (OWNER, 1, 11, Status::Exists),
        (OWNER, 1, 99, Status::UnknownNode),
    ] {
        let action = place(&world, index, number);
        assert_eq!(world.act(who, action), status);
    }
    let again = place(&world, 1, SPARE);
    world.must(OWNER, again);
    assert_eq!((world.balance(OWNER), hold(&world)), (owner, kept - 9 * RATE));
    let event = Event::ShardPlaced { deal: deal_id(DEAL), index: 1, node: node(SPARE) };
    assert!(world.events.contains(&event));
    assert_eq!((degraded(&world), deal(&world).rate), (vec![], Amount(3 * RATE)));
    world.next_epoch();
    prove(&mut world, &[11, 13, SPARE]);
    assert_eq!((world.balance(114), world.balance(112)), (RATE, RATE));
    // Everything goes on to the end, and all that is left comes back.
    for _ in 0..9 {
        world.next_epoch();
        if 0 < world.node(11).slots {
            prove(&mut world, &[11, 13, SPARE]);
        }
    }
    world.next_epoch();
    assert_eq!(deal(&world).state, DealState::Completed);
    assert_eq!((storage(&world), world.balance(114)), (0, 9 * RATE));
    assert_eq!(world.balance(OWNER), 10_000_000_000 - 1 - 30 * RATE, "price and fee");
}

#[test]
fn a_placement_must_match_the_deal() {
    let mut world = running(10);
    let good = place(&world, 1, SPARE);
    let Action::PlaceShards { terms, acceptances, .. } = good.clone() else { unreachable!() };
    let build = |root, change: fn(&mut crate::ledger::transaction::DealTerms)| {
        let mut terms = terms.clone();
        change(&mut terms);
        let (key, price) = (super::world::key(SPARE), (PRICE, u64::MAX));
        let accepted = crate::ledger::transaction::Acceptance::build(
            &world.id(),
            &terms,
            &key,
            (1, root),
            price,
            LedgerTime::NEVER,
        );
        let cost_max = Amount(u128::MAX);
        Action::PlaceShards { terms, acceptances: vec![accepted], cost_max }
    };
    let root = acceptances[0].root;
    let bad = [
        build(crate::id::Hash([1; 32]), |_| {}),
        build(root, |terms| terms.segment += 1),
        build(root, |terms| terms.required += 1),
        build(root, |terms| terms.total += 1),
        build(root, |terms| terms.length += 1024),
        build(root, |terms| terms.object.0[0] ^= 1),
        build(root, |terms| terms.access = crate::ledger::rows::Access::Public),
    ];
    let unknown = build(root, |terms| terms.opening.0[0] ^= 1);
    for action in bad {
        assert_eq!(world.act(OWNER, action), Status::BadAcceptance);
    }
    assert_eq!(world.act(OWNER, unknown), Status::UnknownDeal);
    let short = world.place((OWNER, opening(DEAL)), &[(1, SPARE)], (PRICE, deal(&world).end - 1));
    assert_eq!(world.act(OWNER, short), Status::AcceptanceExpired);
    world.must(SPARE, register(SPARE, 1023));
    assert_eq!(world.act(OWNER, good.clone()), Status::NodeFull);
    world.must(SPARE, register(SPARE, 1024));
    world.must(OWNER, good);
}

#[test]
fn a_node_that_leaves_hands_its_shard_on_and_pays_what_that_costs_more() {
    let mut world = running(10);
    world.fund(&[12]);
    let dear = (Amount(5_000_000), u64::MAX);
    let hand_on = world.place((OWNER, opening(DEAL)), &[(1, SPARE)], dear);
    assert_eq!(world.act(11, hand_on.clone()), Status::NotYours);
    let (node_before, kept) = (world.balance(12), hold(&world));
    world.must(12, hand_on);
    // Five instead of three, for nine epochs.
    assert_eq!((node_before - world.balance(12), hold(&world)), (9 * 2, kept));
    assert_eq!(world.node(12).slots, 1, "it proves until the other one begins");
    let to_and_fro = world.place((OWNER, opening(DEAL)), &[(1, 12)], (PRICE, u64::MAX));
    world.fund(&[SPARE]);
    assert_eq!(world.act(SPARE, to_and_fro), Status::TooEarly, "its shard waits");
    prove(&mut world, &NODES);
    world.next_epoch();
    assert_eq!((world.node(12).slots, world.node(12).used, world.node(SPARE).slots), (0, 0, 1));
    prove(&mut world, &[11, 13, SPARE]);
    assert_eq!((world.balance(112), world.balance(114)), (RATE, 5));

    // One that asks less leaves the difference to the owner, not to the node.
    let cheap = world.place((OWNER, opening(DEAL)), &[(2, 15)], (Amount(1_000_000), u64::MAX));
    let (node_before, kept) = (world.balance(13), hold(&world));
    world.must(13, cheap);
    assert_eq!((world.balance(13), hold(&world)), (node_before, kept + 8 * 2));
}

#[test]
fn an_owner_takes_a_shard_from_a_node_that_waits_and_pays_it_for_one_epoch() {
    let mut world = opened(params(), 10);
    let (kept, pool) = (hold(&world), storage(&world));
    let action = place(&world, 0, SPARE);
    world.must(OWNER, action);
    assert_eq!((world.balance(111), world.node(11).used), (RATE, 0));
    // Nine epochs of the first node and the missing one from the reserve pay for ten of the other.
    assert_eq!((hold(&world), storage(&world)), (kept - RATE, pool));
    world.next_epoch();
    assert_eq!((world.node(11).slots, world.node(SPARE).slots), (0, 1));
}

#[test]
fn a_node_that_misses_for_too_long_loses_everything() {
    let mut world = opened(Params { dead_after_epochs: 3, ..params() }, 20);
    let second = world.deal(OWNER, opening(5), &NODES, 20);
    world.must(OWNER, second);
    world.next_epoch();
    for _ in 0..3 {
        assert!(!world.node(12).dead && degraded(&world).is_empty());
        prove(&mut world, &[11, 13]);
        world.next_epoch();
    }
    let row = world.node(12);
    assert_eq!((row.dead, row.slots, row.used, row.window), (true, 0, 0, None));
    assert_eq!((row.missed, row.next_epoch), (3, None));
    assert!(world.events.contains(&Event::NodeDied { node: node(12) }));
    assert_eq!(degraded(&world), [0, 0]);
    // Sixteen or seventeen epochs of the node are in the hold: they will pay for another one.
    let lost = deal(&world).shards[1].unwrap();
    let left = deal(&world).end - lost.lost.unwrap();
    assert_eq!(hold(&world), 36 + u128::from(left) * RATE);
    let more = world.deal(OWNER, opening(6), &NODES, 5);
    assert_eq!(world.act(OWNER, more.clone()), Status::NodeClosed);
    let again = place(&world, 1, SPARE);
    world.must(OWNER, again);
    // It may begin again.
    world.must(12, register(12, 1 << 20));
    assert_eq!((world.node(12).dead, world.node(12).missed_in_row), (false, 0));
    world.must(OWNER, more);
    let lost = rows(&world.state, Slots).iter().filter(|((who, _), _)| *who == node(12)).count();
    assert_eq!(lost, 0);
}

#[test]
fn a_deal_without_shards_still_gives_its_money_back() {
    let mut world = running(10);
    for (index, number) in (0..).zip(NODES) {
        world.must(number, declare(index));
    }
    assert_eq!((degraded(&world), deal(&world).rate), (vec![0], Amount::ZERO));
    prove(&mut world, &NODES);
    let (owner, kept) = (world.balance(OWNER), hold(&world));
    world.must(OWNER, Action::EndDeal { deal: deal_id(DEAL) });
    assert_eq!((world.balance(OWNER), degraded(&world)), (owner + kept, vec![]));
    assert_eq!(storage(&world), 0);
}
