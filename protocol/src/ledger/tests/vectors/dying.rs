//! Nodes that die with more shards than one turn takes, and three of them in one block.

use std::{collections::BTreeMap, vec::Vec};

use super::{Writer, opening, register};
use crate::ledger::{
    Params,
    rows::Node,
    tests::world::{World, node, params},
    transaction::Action,
    window_offset,
};

/// One more than half of the changes that a turn may make: each shard of a dead node counts for two.
const MANY: u8 = 65;
/// Fewer than a turn takes, and more than a third of its changes.
const FEW: u8 = 50;
/// Deals that are opened in one block.
const AT_ONCE: usize = 20;

/// Four nodes: three whose windows open one shortly after the other, and one that is apart from them.
fn chosen(world: &World) -> ([u8; 3], u8) {
    let epoch_ms = world.genesis.params.epoch_ms;
    let offset = |number: u8| window_offset(&world.id(), &node(number), epoch_ms).0;
    let mut by_offset: Vec<u8> = (20..90).collect();
    by_offset.sort_by_key(|number| offset(*number));
    let near: Vec<&[u8]> = by_offset.windows(3).collect();
    let near = near.iter().min_by_key(|three| offset(three[2]) - offset(three[0])).unwrap();
    let three = <[u8; 3]>::try_from(*near).unwrap();
    let apart = |number: &u8| offset(*number).abs_diff(offset(three[0]));
    (three, *by_offset.iter().max_by_key(|number| apart(number)).unwrap())
}

pub(super) fn write(writer: &mut Writer) {
    let params = Params { dead_after_epochs: 2, ..params() };
    writer.genesis("a ledger on which nodes with many shards die", World::with(params));
    writer.act("money for many deals", "of account 1", 1, Action::Faucet);
    let (three, fourth) = chosen(&writer.world);
    let nodes = [three[0], three[1], three[2], fourth];
    let registered = nodes.map(|number| writer.world.sign(number, register(number, 1 << 20)));
    writer.ok("four nodes", "with room for all", &registered);
    let numbers: Vec<u8> = (0..MANY).collect();
    for part in numbers.chunks(AT_ONCE) {
        let opened: Vec<_> = part
            .iter()
            .map(|number| {
                let kept = if *number < FEW { &nodes[..] } else { &three[..] };
                let open = writer.world.deal(1, opening(*number), kept, 9);
                writer.world.sign(1, open)
            })
            .collect();
        writer.ok("many deals", "a shard of each on three nodes, or on all four", &opened);
    }
    writer.next_epoch("the deals begin", "all shards join");
    writer.next_epoch("the first miss", "of all four");
    let end = writer.world.end_of(3);
    while writer.world.step_to(end) {
        if let Some(now) = together(&writer.world, &three) {
            writer.world.now = now;
            let why = "64 shards of each, which is all that a block may change";
            writer.empty("three nodes die at once", why);
        } else {
            writer.empty("the second miss", "they die, and what is left of their shards goes");
        }
    }
    assert!(nodes.iter().all(|number| writer.world.node(*number).used == 0), "all has gone");
}

/// When the turns of three living nodes are due, if the first of them is the next that is due.
fn together(world: &World, three: &[u8; 3]) -> Option<u64> {
    let chain = world.chain();
    let rows: BTreeMap<u8, _> = three.iter().map(|number| (*number, world.node(*number))).collect();
    if rows.values().any(|row| row.dead) {
        return None;
    }
    let at = |row: &Node| {
        row.turn_ms.map(|turn| chain.time_ms.0 + turn.0.saturating_sub(chain.counted_ms.0))
    };
    let due: Vec<u64> = rows.values().filter_map(at).collect();
    let (first, last) = (due.iter().min()?, due.iter().max()?);
    (due.len() == 3 && world.now == *first).then_some(*last)
}
