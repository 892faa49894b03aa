//! Ledgers at the edges of ticks and onions, and tables whose layer is known.

use std::{format, vec, vec::Vec};

use super::{World, Writer, deal_id, opening, register};
use crate::{
    id::Hash,
    ledger::{
        Status,
        beacon::ONION_TICKS,
        block::{BlockInputs, OnionChange, Reveal},
        execute::next_due,
        tests::world::PRICE,
        transaction::{Action, LostShard},
    },
};

pub(super) fn write(writer: &mut Writer) {
    onions(writer);
    turns(writer);
    overdue(writer);
}

/// Blocks that are late, and a node whose turn takes several of them: no deal with it ends meanwhile.
fn overdue(writer: &mut Writer) {
    const DEALS: u8 = 130;
    writer.genesis("a ledger for a long turn", World::new());
    writer.act("money for deals", "of account 1", 1, Action::Faucet);
    let nodes = [11, 12].map(|number| writer.world.sign(number, register(number, 1 << 20)));
    writer.ok("two nodes", "with room for all", &nodes);
    for deals in [0..DEALS / 2, DEALS / 2..DEALS] {
        let opens: Vec<_> = deals
            .map(|number| {
                let open = writer.world.deal(1, opening(number), &[11], 3);
                writer.world.sign(1, open)
            })
            .collect();
        writer.ok("deals of one shard", "all with one node", &opens);
    }
    let other = writer.world.deal(1, opening(200), &[12], 3);
    writer.act("a deal with the other node", "which has no other", 1, other);
    let end = |number| Action::EndDeal { deal: deal_id(number) };
    writer.act("one ends in time", "no turn has come", 1, end(0));
    let mut has_ended = false;
    while writer.world.chain().epoch < 2 {
        // Not so late that the time would not count: what is due has the layer of an earlier tick.
        writer.world.now = next_due(&writer.world.state).unwrap().0.max(writer.world.now) + 2_000;
        if writer.world.node(11).slots == 0 {
            // Whether this block is the one that gives it a turn shows only then.
            let mut after = writer.world.clone();
            after.block(&[]);
            if after.node(11).slots == 128 {
                let why = "128 shards have joined a table whose layer is known, and one has not";
                writer.refuse(Status::TooEarly, "an end between", why, (1, end(1)));
                let lost = LostShard { deal: deal_id(1), index: 0 };
                let lost = Action::DeclareLost { shards: vec![lost] };
                writer.refuse(Status::TooEarly, "a loss between", why, (11, lost));
                let elsewhere = (PRICE, u64::MAX);
                let place = writer.world.place((1, opening(1)), &[(0, 12)], elsewhere);
                writer.refuse(Status::TooEarly, "another node between", why, (1, place));
            }
        }
        writer.empty("late by 2 s", "windows have the layers of their ticks");
        if writer.world.node(11).slots == 128 && !std::mem::replace(&mut has_ended, true) {
            // The turn goes on from a tick whose layer the last block has revealed.
            writer.world.now += 7;
            writer.act("the end after the turn", "the last shard has joined before", 1, end(1));
        }
    }
}

/// Blocks until an onion has ended and the next one has begun. Onions last sixteen epochs.
fn onions(writer: &mut Writer) {
    writer.genesis("a ledger that outlives its onion", World::new());
    ticks(writer);
    for _ in 1..15 {
        writer.next_epoch("a layer", "of the first onion");
    }
    writer.world.now += 1;
    writer.empty("the last epoch of the onion", "its first tick");
    // The last ticks of the onion have no block, and neither have the first ones of the next.
    writer.world.now += 10_011;
    let good = writer.world.facts();
    let reveal = good.reveal.unwrap();
    let change = reveal.change.unwrap();
    let bad = |layer, change| BlockInputs { reveal: Some(Reveal { layer, change }), ..good };
    let why = "an onion has ended, and the layers after its last block are not shown";
    writer.bad_facts("change left out", why, bad(reveal.layer, None));
    let other = OnionChange { last: Hash([1; 32]), ..change };
    let why = "the old onion has another innermost layer";
    writer.bad_facts("another end", why, bad(reveal.layer, Some(other)));
    let why = "the new onion is not the one that was promised";
    writer.bad_facts("another onion", why, bad(change.last, Some(change)));
    writer
        .empty("the next onion", "a later layer, the end of the old onion, and the onion after it");
    writer.world.now += 1;
    writer.empty("the onion goes on", "by the layer of a tick");
}

/// Two validators propose in turn. What chance decides follows from the layers of both.
fn turns(writer: &mut Writer) {
    writer.genesis("a ledger of two validators", World::of_two());
    let good = writer.world.facts();
    let stranger = BlockInputs { proposer: 2, ..good };
    writer.bad_facts("no such proposer", "the set has two members", stranger);
    let other = BlockInputs { proposer: 1, ..good };
    writer.bad_facts("another's place", "its layer is that of the first validator", other);
    writer.empty("the first proposes", "its first layer");
    writer.world.now += 1;
    let stranger = BlockInputs { reveal: None, proposer: 2, ..writer.world.facts() };
    writer.bad_facts("no such proposer in a tick with a value", "nothing is revealed", stranger);
    writer.world.proposer = 1;
    lasts(writer);
    writer.empty("the second in the same tick", "it reveals nothing");
    writer.act("money for a node", "of account 11", 11, Action::Faucet);
    writer.act("a node", "it is asked in each epoch", 11, register(11, 1 << 20));
    writer.act("money for a deal", "of account 1", 1, Action::Faucet);
    let deal = writer.world.deal(1, opening(1), &[11], 9);
    writer.act("a deal", "so that the node has something to prove", 1, deal);
    for (proposer, ms) in [(1, 3_000), (0, 20), (1, 7_000), (1, 30), (0, 4_000), (0, 9_000)] {
        writer.world.now += ms;
        writer.world.proposer = proposer;
        let why = "the proposer's layer, with the newest one of the other";
        writer.empty(&format!("validator {proposer} after {ms} ms"), why);
    }
    let first = writer.world.facts();
    writer.world.now += 100;
    writer.world.proposer = 1;
    let late = writer.world.facts();
    let mixed = BlockInputs { reveal: late.reveal, ..first };
    let mixed = BlockInputs { time_ms: late.time_ms, ..mixed };
    writer.bad_facts("the layer of the other", "each shows its own", mixed);
    writer.empty("its own layer", "all ticks since its last block are shown by it");
}

/// What a block says of its parent's commit, which the first validator can make alone.
fn lasts(writer: &mut Writer) {
    let good = writer.world.facts();
    let of = |signers: [u8; 3]| {
        let mut last = good.last.unwrap();
        last.signers[..2].copy_from_slice(&signers[..2]);
        last.signers[15] = signers[2];
        BlockInputs { last: Some(last), ..good }
    };
    let none = BlockInputs { last: None, ..good };
    writer.bad_facts("no word of the parent's commit", "its set has two members", none);
    let why = "the second one has a fourth of the power";
    writer.bad_facts("too few signers", why, of([2, 0, 0]));
    writer.bad_facts("no signer", "a commit has signatures", of([0, 0, 0]));
    let why = "the set has two members";
    writer.bad_facts("a third signer", why, of([5, 0, 0]));
    writer.bad_facts("a signer at the end", why, of([1, 0, 128]));
}

/// Blocks in one tick and in the next: an epoch of this ledger has 10,000 ms and 4096 ticks.
fn ticks(writer: &mut Writer) {
    let none = BlockInputs { reveal: None, ..writer.world.facts() };
    writer.bad_facts("nothing revealed", "the first tick has begun", none);
    writer.empty("the first layer", "of tick 0");
    let known = Reveal { layer: writer.world.chain().beacon.onions[0].layer, change: None };
    let again = BlockInputs { reveal: Some(known), ..writer.world.facts() };
    writer.bad_facts("a layer again", "a block in the same tick reveals none", again);
    writer.world.now += 2;
    writer.empty("no layer", "tick 1 begins at 2.44 ms, and this is 2 ms");
    writer.world.now += 1;
    let none = BlockInputs { reveal: None, ..writer.world.facts() };
    writer.bad_facts("a layer left out", "tick 1 has begun", none);
    let reveal = writer.world.onions.reveal(&writer.world.chain().beacon, 0, 2);
    let early = BlockInputs { reveal, ..writer.world.facts() };
    writer.bad_facts("a layer too early", "tick 2 has not begun", early);
    let change = OnionChange { last: known.layer, next: known.layer };
    let layer = writer.world.facts().reveal.unwrap().layer;
    let changed = Reveal { layer, change: Some(change) };
    let changed = BlockInputs { reveal: Some(changed), ..writer.world.facts() };
    writer.bad_facts("an early change", "the onion has not ended", changed);
    // The operator knows the layers to come, so all of this fits together but the tick.
    let last = writer.world.onions.layer(ONION_TICKS - 1);
    let layer = writer.world.chain().beacon.onions[0].next;
    let change = Some(OnionChange { last, next: known.layer });
    let changed = BlockInputs { reveal: Some(Reveal { layer, change }), ..writer.world.facts() };
    writer.bad_facts("the next onion early", "the layers between are skipped", changed);
    writer.empty("the second layer", "of tick 1");
}
