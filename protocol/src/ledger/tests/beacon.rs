//! What an operator can choose about chance: nothing by more blocks, fewer blocks, or other times.

use std::{collections::BTreeMap, vec, vec::Vec};

use super::{
    seller::{capsule, listing_terms},
    world::{PRICE, World, chain_id, deal_id, key, listing_id, node, opening},
};
use crate::{
    grant,
    id::Hash,
    ledger::{
        Status,
        admission::judge,
        beacon::{self, Onions},
        block::Event,
        execute::{BlockBuilder, Pushed, next_due},
        rows::{Listings, Nodes},
        state::StateExt,
        transaction::{Action, LostShard},
    },
    time::Millis,
};

const SELLER: u8 = 1;
const NODES: [u8; 4] = [11, 12, 13, 14];
/// When the seller lists something, in milliseconds after everything was set up.
const LISTED_MS: [u64; 4] = [517, 9_100, 17_777, 31_003];
const END_MS: u64 = 45_000;

/// An operator's whims: random numbers, or none.
struct Whims(Option<blake3::OutputReader>);

impl Whims {
    fn of(seed: u8) -> Self {
        Self((seed > 0).then(|| blake3::Hasher::new().update(&[seed]).finalize_xof()))
    }

    fn below(&mut self, end: u64) -> u64 {
        let mut bytes = [0; 8];
        let Some(stream) = &mut self.0 else { return 0 };
        stream.fill(&mut bytes);
        u64::from_le_bytes(bytes) % end
    }
}

/// What chance has decided: the layer of each node's window by epoch, and the seed of each preview.
type Chosen = (BTreeMap<(u8, u64), Hash>, Vec<Option<Hash>>);

/// The same transactions in the same ticks, by an operator who makes blocks as it likes.
fn chosen_by(seed: u8) -> Chosen {
    let mut whims = Whims::of(seed);
    let mut world = World::new();
    world.fund(&[SELLER]);
    world.nodes(&NODES);
    let vault = world.vault(SELLER, 2, &NODES);
    world.must(SELLER, vault);
    let deal = world.deal(SELLER, opening(4), &NODES, 40);
    world.must(SELLER, deal);
    let (start, mut windows) = (world.now, BTreeMap::new());
    let listings = (1..).zip(LISTED_MS).map(|(number, at)| (at, Some(number)));
    for (at, listing) in listings.chain([(END_MS, None)]) {
        // A tick has 2.44 ms: so far from its begin it has no other one.
        let begin = beacon::begin_of(beacon::tick_at(Millis(at), Millis(10_000)), Millis(10_000));
        let at = start + begin.0 + whims.below(2);
        loop {
            let due = next_due(&world.state).unwrap().0.max(world.now);
            // Late blocks, and blocks that nothing asks for.
            let due = due + whims.below(2_000);
            let extra = world.now + whims.below(3_000);
            let next = if seed > 0 && whims.below(2) == 0 { due.min(extra) } else { due };
            if at <= next {
                break;
            }
            world.now = next;
            world.block(&[]);
            note(&world, &mut windows);
        }
        world.now = at;
        match listing {
            Some(number) => world.must(SELLER, list_file(number)),
            None => world.block(&[]).clear(),
        }
        note(&world, &mut windows);
    }
    assert!(seed > 0 || world.chain().height < 60, "an honest operator makes few blocks");
    windows.retain(|(_, epoch), _| *epoch <= 3);
    let seed = |number| world.state.get(Listings, &listing_id(number)).unwrap().preview_seed;
    (windows, (1..5).map(seed).collect())
}

/// A listing of a file of its own.
fn list_file(number: u8) -> Action {
    let mut terms = listing_terms(SELLER, 5);
    terms.manifest.content_root = Hash([number; 32]);
    terms.capsule = capsule(SELLER, &terms.manifest);
    let mandate = grant::mandate(&chain_id(), &key(SELLER), terms.manifest.object, &[number; 32]);
    terms.mandate = mandate.unwrap();
    Action::List { opening: opening(number), terms: terms.into() }
}

fn note(world: &World, windows: &mut BTreeMap<(u8, u64), Hash>) {
    for number in NODES {
        if let Some(window) = world.state.get(Nodes, &node(number)).unwrap().window {
            let before = windows.insert((number, window.epoch), window.beacon);
            assert!(before.is_none_or(|before| before == window.beacon));
        }
    }
}

#[test]
fn no_operator_chooses_by_making_blocks() {
    let (windows, seeds) = chosen_by(0);
    assert_eq!(windows.len(), 3 * NODES.len());
    assert!(seeds.iter().all(Option::is_some));
    for seed in 1..40 {
        assert_eq!(chosen_by(seed), (windows.clone(), seeds.clone()), "operator {seed}");
    }
}

/// The value that a layer gives where one validator makes all blocks.
fn value_alone(layer: Hash) -> Hash {
    let others = blake3::derive_key("symbolon 2026 other layers v1", &[]);
    Hash(blake3::derive_key("symbolon 2026 chance v1", &[others, layer.0].concat()))
}

/// Each is the value of a tick that was fixed beforehand.
#[test]
fn windows_and_previews_have_ticks_of_their_own() {
    let (windows, seeds) = chosen_by(0);
    let world = World::new();
    let (mut onions, id) = (world.onions.clone(), world.id());
    let value = |onions: &mut Onions, counted_ms: u64| {
        value_alone(onions.layer(beacon::tick_at(Millis(counted_ms), Millis(10_000))))
    };
    for ((number, epoch), found) in windows {
        let offset = crate::ledger::window_offset(&id, &node(number), Millis(10_000));
        assert_eq!(found, value(&mut onions, 10_000 * epoch + offset.0), "node {number}");
    }
    for ((number, at), found) in (1..).zip(LISTED_MS).zip(seeds) {
        let next = beacon::tick_at(Millis(at), Millis(10_000)) + 1;
        let of = [&value_alone(onions.layer(next)).0[..], &[number; 32]].concat();
        assert_eq!(found, Some(Hash(blake3::derive_key("symbolon 2026 preview v2", &of))));
    }
}

/// A turn that takes several blocks ends after the layer of its tick is known: no deal is ended meanwhile.
#[test]
fn no_table_changes_when_its_layer_is_known() {
    let mut world = World::new();
    world.fund(&[SELLER]);
    world.nodes(&NODES[..2]);
    for first in [0, 100] {
        let opens: Vec<_> = (first..first + 100)
            .map(|number| {
                let open = world.deal(SELLER, opening(number), &NODES[..1], 3);
                world.sign(SELLER, open)
            })
            .collect();
        world.block(&opens);
    }
    let joined = |world: &World| {
        let joins = |event: &&Event| matches!(event, Event::ShardJoined { .. });
        world.events.iter().filter(joins).count()
    };
    while world.node(11).slots == 0 {
        world.now = next_due(&world.state).unwrap().0;
        world.block(&[]);
    }
    let due_ms = world.chain().counted_ms;
    assert_eq!((joined(&world), world.node(11).window), (128, None));
    let end = [0, 199].map(|number| Action::EndDeal { deal: deal_id(number) });
    // Of what joins in this turn, and of what has joined.
    let signed = end.clone().map(|end| world.sign(SELLER, end));
    let facts = world.facts();
    let mut builder = BlockBuilder::new(&world.state, &facts).unwrap();
    assert_eq!(builder.push(&signed[0]), Ok(Pushed::Applied), "the turn has ended before");
    for signed in &signed {
        let judged = judge(&world.state, facts.time_ms, signed);
        assert_eq!(judged.0, Err(Status::TooEarly));
    }
    let lost = vec![LostShard { deal: deal_id(0), index: 0 }];
    let lost = world.sign(11, Action::DeclareLost { shards: lost });
    let place = world.place((SELLER, opening(0)), &[(0, 12)], (PRICE, u64::MAX));
    let place = world.sign(SELLER, place);
    for signed in [lost, place] {
        let judged = judge(&world.state, facts.time_ms, &signed);
        assert_eq!(judged.0.unwrap_err(), Status::TooEarly);
    }
    world.wait(1);
    assert_eq!(joined(&world), 72);
    let tick = beacon::tick_at(due_ms, Millis(10_000));
    let known = world.chain().beacon.next_tick - 1;
    assert_eq!(
        world.node(11).window.unwrap().beacon,
        value_alone(world.onions.layer(tick.max(known)))
    );
    for end in end {
        world.must(SELLER, end);
    }
}
