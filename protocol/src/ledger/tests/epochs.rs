//! Deals and epochs: who is paid when, what comes back, and whose fault it is when no node could prove.

use super::world::{START_MS, World, account, deal_id, node, opening, terms};
use crate::{
    amount::Amount,
    id::Hash,
    ledger::{
        Status,
        block::{BlockInputs, Event, Reveal},
        deal_cost,
        execute::{BlockBuilder, BlockError, next_due},
        rows::{Chain, DealState, Deals, Slots},
        state::{MemoryState, StateExt},
        transaction::Action,
    },
    time::{LedgerTime, Millis},
};

const OWNER: u8 = 1;
const NODES: [u8; 3] = [11, 12, 13];

/// An identifier whose first byte says the length of its shards: one leaf more than it modulo 4.
fn opened(epochs: u64) -> World {
    let mut world = World::new();
    world.fund(&[OWNER]);
    world.nodes(&NODES);
    let open = world.deal(OWNER, opening(4), &NODES, epochs);
    world.must(OWNER, open);
    world
}

fn state_of(world: &World, number: u8) -> DealState {
    world.state.get(Deals, &deal_id(number)).unwrap().state
}

#[test]
fn a_deal_is_paid_proven_and_completed() {
    let mut world = opened(2);
    // Three shards of 1 KiB at 3 units each for two epochs; a fifth in reserve, a fiftieth as fee.
    let cost = deal_cost(&world.genesis.params, 1024, 2, [Amount(3_000_000); 3]).unwrap();
    assert_eq!((cost.rate, cost.storage), (Amount(9), Amount(18)));
    assert_eq!((cost.reserve, cost.fee, cost.total), (Amount(3), Amount(0), Amount(21)));
    let start = 10_000_000_000;
    assert_eq!(world.balance(OWNER), start - 21);
    assert_eq!(world.act(11, Action::Prove { epoch: 0, leaves: [].into() }), Status::BadField);

    world.next_epoch();
    assert_eq!(state_of(&world, 4), DealState::Open);
    for number in NODES {
        assert_eq!(world.node(number).due(), Amount(3));
        let proof = world.prove(number);
        world.must(number, proof);
        assert_eq!(world.balance(number + 100), 3);
        assert_eq!(world.node(number).due(), Amount::ZERO, "it has its pay");
    }
    world.next_epoch();
    // In the second epoch one node proves, two miss.
    let proof = world.prove(12);
    world.must(12, proof);
    world.next_epoch();
    assert_eq!(state_of(&world, 4), DealState::Completed);
    assert!(world.events.contains(&Event::DealEnded { deal: deal_id(4) }));
    assert_eq!([111, 112, 113].map(|number| world.balance(number)), [3, 6, 3]);
    let pools = crate::ledger::sheet(&world.state).unwrap().pools;
    assert_eq!((pools.storage, pools.repair), (Amount::ZERO, Amount(6)));
    assert_eq!(world.balance(OWNER), start - 18, "the reserve is back");
    assert_eq!((world.node(11).missed, world.node(11).missed_in_row), (1, 1));
    assert_eq!((world.node(12).passed, world.node(12).missed_in_row), (2, 0));
    assert_eq!((world.node(12).used, world.node(12).slots), (0, 0));
    assert_eq!(world.node(12).due(), Amount::ZERO, "it has no window");
    assert_eq!(world.act(OWNER, Action::EndDeal { deal: deal_id(4) }), Status::DealClosed);
}

#[test]
fn ending_an_active_deal_pays_the_current_epoch_and_returns_the_rest() {
    let mut world = opened(10);
    let all = world.balance(OWNER);
    world.next_epoch();
    world.must(OWNER, Action::EndDeal { deal: deal_id(4) });
    // Nine epochs at 9, and the reserve of a fifth of ten.
    assert_eq!(world.balance(OWNER), all + 81 + 18);
    assert_eq!(state_of(&world, 4), DealState::Cancelled);
    // The room is bound as long as the shard must be proven.
    assert_eq!((world.node(11).used, world.node(11).slots), (1024, 1));
    // The current epoch is still proven and paid.
    let proof = world.prove(11);
    world.must(11, proof);
    assert_eq!(world.balance(111), 3);
    world.next_epoch();
    assert_eq!((world.node(11).used, world.node(11).slots), (0, 0));
    assert!(world.events.contains(&Event::ShardLeft { node: node(11), deal: deal_id(4) }));
    assert_eq!(
        world.node(11).next_epoch,
        None,
        "there is nothing to prove and nothing to wait for"
    );
}

#[test]
fn an_ended_deal_is_paid_for_the_windows_that_have_opened() {
    let mut world = opened(10);
    world.next_epoch();
    let in_second = |world: &World| {
        let windows = NODES.map(|number| world.node(number).window.unwrap().epoch);
        windows.iter().filter(|epoch| **epoch == 2).count() as u128
    };
    while in_second(&world) == 0 {
        assert!(world.step_to(30_000));
        world.block(&[]);
    }
    let (opened, before) = (in_second(&world), world.balance(OWNER));
    assert!(opened < 3, "the windows open one after another");
    world.must(OWNER, Action::EndDeal { deal: deal_id(4) });
    // Nine epochs at 9 but for the windows of epoch 2 that are open; and the reserve.
    assert_eq!(world.balance(OWNER), before + 81 - 3 * opened + 18);
    let slots = NODES.map(|number| world.node(number).slots);
    assert_eq!(slots, [1, 1, 1], "tables are fixed in their windows");
    world.next_epoch();
    assert_eq!(NODES.map(|number| world.node(number).slots), [0, 0, 0]);
}

#[test]
fn a_deal_ended_before_it_began_pays_each_node_one_epoch() {
    let mut world = opened(10);
    let used = world.node(11).used;
    assert_eq!(used, 1024);
    world.must(OWNER, Action::EndDeal { deal: deal_id(4) });
    assert!(world.events.contains(&Event::DealEnded { deal: deal_id(4) }));
    // All but the fee of 1, a fiftieth of 90 rounded down, and an epoch of 9.
    assert_eq!(world.balance(OWNER), 10_000_000_000 - 1 - 9);
    assert_eq!([111, 112, 113].map(|number| world.balance(number)), [3, 3, 3]);
    assert_eq!(world.node(11).used, 0);
    world.next_epoch();
    assert_eq!(world.node(11).slots, 0);
    assert_eq!(world.state.get(Deals, &deal_id(4)).unwrap().state, DealState::Cancelled);
    let again = world.deal(OWNER, opening(4), &NODES, 10);
    assert_eq!(world.act(OWNER, again), Status::Exists);
}

#[test]
fn the_last_row_fills_the_gap() {
    let mut world = opened(10);
    for number in [5, 6] {
        let open = world.deal(OWNER, opening(number), &NODES, 10);
        world.must(OWNER, open);
    }
    world.next_epoch();
    let table = world.node(11).table;
    assert_eq!(world.node(11).slots, 3);
    let at = |world: &World, place| world.state.get(Slots, &(node(11), place)).unwrap().deal;
    let [first, last] = [0, 2].map(|place| at(&world, place));
    world.must(OWNER, Action::EndDeal { deal: first });
    assert_eq!(world.node(11).table, table, "a table is frozen in its window");
    world.next_epoch();
    assert_eq!(world.node(11).slots, 2);
    assert_ne!(world.node(11).table, table);
    assert_eq!(at(&world, 0), last);
    for number in NODES {
        let proof = world.prove(number);
        world.must(number, proof);
    }
}

#[test]
fn time_in_which_the_ledger_stood_still_does_not_count() {
    let mut world = opened(3);
    world.next_epoch();
    let before = world.chain();
    // A quarter of an epoch after the boundary was due: the ledger stood still.
    let late = |before: &Chain, ms| before.time_ms.0 + 1 + ms;
    world.now = late(&before, 2500);
    world.block(&[]);
    let after = world.chain();
    assert_eq!((after.epoch, after.counted_ms), (before.epoch, before.counted_ms));
    assert_eq!((after.late_blocks, world.node(11).missed), (1, 0));
    let proof = world.prove(11);
    world.must(11, proof);
    // A little less late: an ordinary, slow block.
    world.now = late(&after, 2499);
    world.block(&[]);
    let slow = world.chain();
    assert_eq!(
        (slow.epoch, slow.counted_ms),
        (before.epoch + 1, before.counted_ms.saturating_add(Millis(2500)))
    );
    assert_eq!(slow.late_blocks, 0);
    // Years of silence do not count.
    world.wait(86_400_000 * 700);
    assert_eq!(world.chain().counted_ms, slow.counted_ms);
    assert_eq!(state_of(&world, 4), DealState::Open);
    world.next_epoch();
    world.next_epoch();
    assert_eq!((world.node(11).missed, world.node(12).missed), (2, 3));
}

#[test]
fn late_blocks_cannot_keep_a_node_in_one_window_for_ever() {
    let mut world = opened(3);
    world.next_epoch();
    for _ in 0..8 {
        world.wait(1_000_000);
        assert_eq!(world.chain().counted_ms, Millis(19_999));
    }
    // From now on each late block counts up to what was due.
    world.wait(1_000_000);
    assert_eq!((world.chain().epoch, world.chain().counted_ms), (2, Millis(20_000)));
    let mut blocks = 0;
    while world.node(11).window.unwrap().epoch == 1 {
        world.wait(1_000_000);
        blocks += 1;
        assert!(blocks < 10);
    }
    assert_eq!(world.node(11).missed, 1);
}

#[test]
fn proofs_are_only_for_whom_and_when_they_were_asked() {
    let mut world = opened(5);
    // Four leaves each, so that two epochs hardly ask for the same ten.
    let long = world.deal(OWNER, opening(7), &NODES, 5);
    world.must(OWNER, long);
    world.next_epoch();
    let stolen = world.prove(12);
    assert_eq!(world.act(11, stolen), Status::BadProof);
    let mut short = world.leaves(11);
    short.pop();
    let epoch = world.node(11).window.unwrap().epoch;
    assert_eq!(world.act(11, Action::Prove { epoch, leaves: short }), Status::BadProof);
    let old = world.leaves(11);
    world.next_epoch();
    let epoch = world.node(11).window.unwrap().epoch;
    assert_eq!(world.act(11, Action::Prove { epoch, leaves: old }), Status::BadProof);
    let proof = world.prove(11);
    world.must(11, proof);
}

#[test]
fn terms_have_bounds() {
    let mut world = opened(1);
    let good = terms(OWNER, opening(9), 3, 5);
    let mut bad = [(); 8].map(|()| good.clone());
    bad[0].length = 1000;
    bad[1].length = 0;
    bad[2].length = 65 << 20;
    bad[3].epochs = 0;
    bad[4].epochs = 51;
    bad[5].required = 0;
    bad[6].required = 4;
    bad[7].total = 2;
    for terms in bad {
        let open = world.deal_on(&terms, &NODES);
        assert_eq!(world.act(OWNER, open), Status::BadField, "{terms:?}");
    }
    // Two shards at one node, too few shards.
    let twice = world.deal_on(&good, &[11, 11, 12]);
    assert_eq!(world.act(OWNER, twice), Status::BadField);
    let one = world.deal_on(&good, &[11]);
    assert_eq!(world.act(OWNER, one), Status::BadField);
    // Fewer than all is fine, as long as they give the segment back.
    let two = world.deal_on(&good, &[11, 12]);
    world.must(OWNER, two);
    world.next_epoch();
    assert_eq!((world.node(11).slots, world.node(13).slots), (2, 1));
}

#[test]
fn a_node_keeps_its_record_when_it_registers_again() {
    let mut world = opened(5);
    world.next_epoch();
    let mut again = super::world::register(11, 1024);
    let Action::RegisterNode { payout, .. } = &mut again else { unreachable!() };
    *payout = account(150);
    let before = world.node(11);
    world.must(11, again);
    let after = world.node(11);
    assert_eq!((after.slots, after.rate, after.used), (before.slots, before.rate, before.used));
    let proof = world.prove(11);
    world.must(11, proof);
    assert_eq!((world.balance(111), world.balance(150)), (0, 3));
    assert_eq!(world.act(11, super::world::register(11, 1023)), Status::NodeFull);
}

#[test]
fn blocks_need_true_facts() {
    let mut world = opened(5);
    // Tick 4 has begun, of an epoch of 10,000 ms.
    world.now += 10;
    let good = world.facts();
    let refused = |facts: &BlockInputs| BlockBuilder::new(&world.state, facts).unwrap_err();
    let (time_ms, parent_ms) = (LedgerTime(START_MS - 1), LedgerTime(START_MS));
    let early = BlockInputs { time_ms, ..good };
    assert_eq!(refused(&early), BlockError::TimeBackwards { time_ms, parent_ms });
    let wrong = Reveal { layer: Hash([9; 32]), change: None };
    for reveal in [None, Some(wrong)] {
        assert_eq!(refused(&BlockInputs { reveal, ..good }), BlockError::WrongReveal);
    }
    let empty = MemoryState::default();
    assert_eq!(BlockBuilder::new(&empty, &good).unwrap_err(), BlockError::NoGenesis);
    assert_eq!(next_due(&empty), None);

    let builder = BlockBuilder::new(&world.state, &good).unwrap();
    let mut after = world.state.clone();
    after.commit(&builder.finish().update);
    let chain = after.get(crate::ledger::rows::Chains, &()).unwrap();
    assert_eq!(chain.beacon.onions[0].layer, good.reveal.unwrap().layer);
    assert_eq!((world.chain().beacon.next_tick, chain.beacon.next_tick), (1, 5));
    assert_eq!(next_due(&after), Some(LedgerTime(START_MS + 10_000)));
}
