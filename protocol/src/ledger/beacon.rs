//! A ledger's source of chance: a value for each tick of counted time, from the layers of its validators' hash onions.
//!
//! An epoch has [`EPOCH_TICKS`] ticks. Each validator has a layer for each, and a layer's hash is its layer of the tick
//! before. So a validator's layers are fixed long before any other party can know them, and later layers show all
//! earlier ones. The first block of a tick reveals the proposer's layer, which gives values to all ticks that have none
//! yet: a tick's value is a hash of the proposer's layer of that tick and of the newest layers of all others. What chance
//! decides is bound to a tick beforehand: a window to the tick in which it is due, a preview to the first tick that
//! begins after its listing's block. So it makes no difference to any choice how many blocks one proposer makes, and at
//! what time within a tick. All that a proposer can do is to leave a tick to another one.
//!
//! An onion has [`ONION_TICKS`] layers. The ledger knows the outermost value of a validator's next one before the
//! present one ends.

mod onion;

use alloc::{vec, vec::Vec};

use crate::{
    id::Hash,
    ledger::{
        block::{OnionChange, OnionStart, Reveal},
        execute::BlockError,
        signing,
    },
    record,
    time::Millis,
};

pub use onion::Onions;

/// Ticks of an epoch. A block reaches at most five quarters of an epoch further than the block before it: that bounds
/// the hashes that it takes to check a layer, whatever the length of an epoch.
pub const EPOCH_TICKS: u64 = 4096;

/// Layers of an onion: those of sixteen epochs.
pub const ONION_TICKS: u64 = 16 * EPOCH_TICKS;

record! {
    /// What the ledger knows of chance.
    pub struct Beacon {
        /// The first tick that has no value yet.
        pub next_tick: u64,
        /// The value of the tick before; zeros before the first block.
        pub value: Hash,
        /// The onions of the validators, in the order of their set.
        pub onions: Vec<Onion>,
    }
}

record! {
    /// What the ledger knows of a validator's onions.
    #[derive(Copy)]
    pub struct Onion {
        /// Which onion `layer` is of: the ticks of onion `n` begin with `65536 * n`.
        pub number: u64,
        /// Which of the validator's own onions that is.
        pub own: u64,
        /// The newest layer that it has revealed. Before the first one, the outermost value of its onion.
        pub layer: Hash,
        /// The first tick whose layer is not known: the layers from there on hash outward to `layer`.
        pub next_tick: u64,
        /// The outermost value of its next onion.
        pub next: Hash,
    }
}

/// The values that a block knows: those that its layer gives to ticks for the first time, or the newest of before.
#[derive(Debug)]
pub(super) struct Values {
    /// The tick of the first one.
    first: u64,
    values: Vec<Hash>,
}

impl Values {
    /// The value of a tick, or of the nearest one to it that is here.
    pub(super) fn at(&self, tick: u64) -> Hash {
        let last = self.values.len() - 1;
        let place =
            usize::try_from(tick.saturating_sub(self.first)).map_or(last, |at| at.min(last));
        self.values[place]
    }
}

impl Beacon {
    /// Before the first block: the onions that the validators begin with.
    pub(super) fn new(starts: &[OnionStart]) -> Self {
        let onions = starts.iter().map(|start| Onion::begin(start, 0, 0));
        Self { next_tick: 0, value: Hash([0; 32]), onions: onions.collect() }
    }

    /// Takes what the proposer of a block reveals, if its tick has no value yet.
    pub(super) fn advance(
        &mut self,
        tick: u64,
        proposer: u16,
        reveal: Option<&Reveal>,
    ) -> Result<Values, BlockError> {
        let place = usize::from(proposer);
        let known = self.onions.get(place).ok_or(BlockError::NoProposer { proposer })?;
        let reveal = match (self.next_tick <= tick, reveal) {
            (true, Some(reveal)) => reveal,
            (false, None) => {
                // Nothing has a value before the first block, and every block of tick 0 is due.
                let first = self.next_tick.saturating_sub(1);
                return Ok(Values { first, values: vec![self.value] });
            }
            _ => return Err(BlockError::WrongReveal),
        };
        let (onion, layers) = known.advance(tick, reveal, self.next_tick)?;
        let others = self.others(place);
        let values: Vec<Hash> = layers.iter().map(|layer| value(&others, layer)).collect();
        let first = self.next_tick;
        self.onions[place] = onion;
        self.value = *values.last().expect("the tick of the block is one of them");
        self.next_tick = tick + 1;
        Ok(Values { first, values })
    }

    /// A hash of the newest layers of all but one.
    fn others(&self, place: usize) -> Hash {
        let others = self.onions.iter().enumerate().filter(|(at, _)| *at != place);
        let layers: Vec<u8> = others.flat_map(|(_, onion)| onion.layer.0).collect();
        signing::hash("symbolon 2026 other layers v1", &layers)
    }
}

impl Onion {
    /// The onion of a validator that enters the set: its own number `own` of this start, in onion `number`.
    pub(super) fn begin(start: &OnionStart, number: u64, own: u64) -> Self {
        let next_tick = number.saturating_mul(ONION_TICKS);
        Self { number, own, layer: start.outermost, next_tick, next: start.next }
    }

    /// With what a block of this tick reveals, and the layers of the ticks from `from` on.
    fn advance(
        &self,
        tick: u64,
        reveal: &Reveal,
        from: u64,
    ) -> Result<(Self, Vec<Hash>), BlockError> {
        let (mut onion, mut layers) = (*self, Vec::new());
        match ((tick / ONION_TICKS).checked_sub(self.number), reveal.change) {
            (Some(0), None) => {}
            (Some(1), Some(OnionChange { last, next })) => {
                let border = (self.number + 1) * ONION_TICKS;
                layers = between((&onion.layer, onion.next_tick), (&last, border), from)?;
                let (number, own) = (onion.number + 1, onion.own + 1);
                onion = Self { number, own, layer: onion.next, next_tick: border, next };
            }
            _ => return Err(BlockError::WrongReveal),
        }
        layers.extend(between((&onion.layer, onion.next_tick), (&reveal.layer, tick + 1), from)?);
        Ok((Self { layer: reveal.layer, next_tick: tick + 1, ..onion }, layers))
    }
}

/// The layers inside of `outer`, of the ticks from `begin` up to `end`, the last of which is `inner`. Only those from
/// tick `from` on are kept.
fn between(
    (outer, begin): (&Hash, u64),
    (inner, end): (&Hash, u64),
    from: u64,
) -> Result<Vec<Hash>, BlockError> {
    let mut layers = Vec::new();
    let mut layer = *inner;
    for tick in (begin..end).rev() {
        if from <= tick {
            layers.push(layer);
        }
        layer = wrap(&layer);
    }
    layers.reverse();
    if layer == *outer { Ok(layers) } else { Err(BlockError::WrongReveal) }
}

/// The value of a tick, from the layers of all validators but the proposer and the proposer's layer of the tick.
fn value(others: &Hash, layer: &Hash) -> Hash {
    signing::hash_parts("symbolon 2026 chance v1", &[others, layer])
}

/// One layer out: the layer of the tick before.
#[must_use]
pub fn wrap(inner: &Hash) -> Hash {
    signing::hash("symbolon 2026 onion v1", inner.as_bytes())
}

/// The tick at this counted time.
pub(super) fn tick_at(counted_ms: Millis, epoch_ms: Millis) -> u64 {
    let ticks = u128::from(counted_ms.0) * u128::from(EPOCH_TICKS) / u128::from(epoch_ms.0);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// The counted time at which a tick begins.
pub(super) fn begin_of(tick: u64, epoch_ms: Millis) -> Millis {
    let begin = (u128::from(tick) * u128::from(epoch_ms.0)).div_ceil(u128::from(EPOCH_TICKS));
    Millis(u64::try_from(begin).unwrap_or(u64::MAX))
}

/// The first time at which a tick begins, from this one on.
pub(super) fn begin_from(counted_ms: Millis, epoch_ms: Millis) -> Millis {
    let tick = tick_at(counted_ms, epoch_ms);
    let begin = begin_of(tick, epoch_ms);
    if begin < counted_ms { begin_of(tick.saturating_add(1), epoch_ms) } else { begin }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_divide_epochs_of_any_length() {
        for epoch_ms in [1000, 1001, 4096, 10_000, 3_600_000, 30 * 86_400_000].map(Millis) {
            for epoch in [0, 1, 7, 1_000_000] {
                let boundary = epoch_ms.saturating_mul(epoch);
                assert_eq!(tick_at(boundary, epoch_ms), epoch * EPOCH_TICKS);
                assert_eq!(begin_of(epoch * EPOCH_TICKS, epoch_ms), boundary);
            }
            for tick in (0..3 * EPOCH_TICKS).step_by(7) {
                let begin = begin_of(tick, epoch_ms);
                assert!(tick <= tick_at(begin, epoch_ms));
                assert!(tick == 0 || tick_at(Millis(begin.0.saturating_sub(1)), epoch_ms) < tick);
                assert_eq!(begin_from(begin, epoch_ms), begin);
                assert!(begin < begin_from(Millis(begin.0 + 1), epoch_ms));
            }
        }
        assert_eq!(tick_at(Millis(u64::MAX), Millis(1000)), u64::MAX);
        assert_eq!(begin_of(u64::MAX, Millis(10_000)), Millis(u64::MAX));
    }

    fn begun() -> (Onions, Beacon) {
        let mut onions = Onions::new(&[1; 32], [2; 32]);
        let beacon = Beacon::new(&[onions.start()]);
        (onions, beacon)
    }

    /// The value that a layer gives where there is one validator.
    fn alone(layer: Hash) -> Hash {
        value(&signing::hash("symbolon 2026 other layers v1", &[]), &layer)
    }

    #[test]
    fn later_layers_show_the_earlier_ones() {
        let (mut onions, mut beacon) = begun();
        let (mut other, mut tick) = (beacon.clone(), 0);
        let mut shown = Vec::new();
        while tick <= ONION_TICKS + 100 {
            let reveal = onions.reveal(&beacon, 0, tick);
            let values = beacon.advance(tick, 0, reveal.as_ref()).unwrap();
            shown.push((tick, values.at(tick)));
            tick += if (ONION_TICKS - 2..ONION_TICKS + 2).contains(&tick) { 1 } else { 97 };
        }
        // The same values with few blocks: one of them skips the change of the onion.
        let mut values = Vec::new();
        for tick in [0, ONION_TICKS - 3, ONION_TICKS + 200] {
            let reveal = onions.reveal(&other, 0, tick);
            values.push(other.advance(tick, 0, reveal.as_ref()).unwrap());
        }
        for (tick, value) in shown {
            let of = values.iter().find(|values| tick < values.first + values.values.len() as u64);
            assert_eq!(of.unwrap().at(tick), value, "tick {tick}");
        }
    }

    #[test]
    fn only_the_due_layer_is_taken() {
        let (mut onions, mut beacon) = begun();
        let refused = |beacon: &Beacon, tick, reveal: Option<Reveal>| {
            let error = beacon.clone().advance(tick, 0, reveal.as_ref()).unwrap_err();
            assert_eq!(error, BlockError::WrongReveal);
        };
        let reveal = onions.reveal(&beacon, 0, 5);
        let good = reveal.unwrap();
        refused(&beacon, 5, None);
        refused(&beacon, 4, reveal);
        refused(&beacon, 6, reveal);
        refused(&beacon, 5, Some(Reveal { layer: Hash([0; 32]), ..good }));
        let change = OnionChange { last: good.layer, next: good.layer };
        refused(&beacon, 5, Some(Reveal { change: Some(change), ..good }));
        let error = beacon.clone().advance(5, 1, reveal.as_ref()).unwrap_err();
        assert_eq!(error, BlockError::NoProposer { proposer: 1 });
        let values = beacon.advance(5, 0, reveal.as_ref()).unwrap();
        let layers = [onions.layer(0), onions.layer(5)];
        assert_eq!([values.at(0), values.at(5)], layers.map(alone));
        // In the same tick there is none.
        assert_eq!(onions.reveal(&beacon, 0, 5), None);
        refused(&beacon, 5, reveal);
        let same = beacon.advance(5, 0, None).unwrap();
        assert_eq!([same.at(9), same.at(0)], [alone(good.layer); 2]);

        let border = onions.reveal(&beacon, 0, ONION_TICKS).unwrap();
        let change = border.change.unwrap();
        refused(&beacon, ONION_TICKS, Some(Reveal { change: None, ..border }));
        let bent = OnionChange { last: Hash([0; 32]), ..change };
        refused(&beacon, ONION_TICKS, Some(Reveal { change: Some(bent), ..border }));
        refused(&beacon, ONION_TICKS - 1, Some(border));
        beacon.advance(ONION_TICKS, 0, Some(&border)).unwrap();
        assert_eq!(beacon.onions[0].next, onions.outermost(2));
        // A second change at once would leave out an onion that was promised.
        let far = Reveal { layer: onions.layer(3 * ONION_TICKS), change: Some(change) };
        refused(&beacon, 3 * ONION_TICKS, Some(far));
    }

    /// Two validators' onions, and what a ledger knows of them.
    fn two() -> ([Onions; 2], Beacon) {
        let mut onions = [Onions::new(&[1; 32], [2; 32]), Onions::new(&[3; 32], [2; 32])];
        let starts = onions.each_mut().map(Onions::start);
        (onions, Beacon::new(&starts))
    }

    #[test]
    fn each_proposer_shows_its_own_layers() {
        let ([mut first, mut second], mut beacon) = two();
        let reveal = first.reveal(&beacon, 0, 3);
        assert_eq!(
            beacon.clone().advance(3, 1, reveal.as_ref()).unwrap_err(),
            BlockError::WrongReveal,
            "another validator's layer"
        );
        beacon.advance(3, 0, reveal.as_ref()).unwrap();
        // The second one has revealed nothing yet: its first layer shows all that it has left out, and gives values only
        // to the ticks that have none.
        let reveal = second.reveal(&beacon, 1, 7);
        let values = beacon.advance(7, 1, reveal.as_ref()).unwrap();
        assert_eq!((values.first, values.values.len()), (4, 4));
        assert_eq!(beacon.onions.iter().map(|onion| onion.next_tick).collect::<Vec<_>>(), [4, 8]);
        assert_eq!(beacon.value, values.at(7));
    }

    #[test]
    fn a_proposer_can_only_leave_a_tick_to_another() {
        let ([mut first, mut second], beacon) = two();
        let value = |beacon: &Beacon, (onions, place): (&mut Onions, u16), ticks: &[u64]| {
            let mut beacon = beacon.clone();
            let mut found = None;
            for tick in ticks {
                let reveal = onions.reveal(&beacon, place, *tick);
                let values = beacon.advance(*tick, place, reveal.as_ref()).unwrap();
                if 5 <= *tick {
                    found.get_or_insert(values.at(5));
                }
            }
            found
        };
        // With more blocks, with fewer, and at another time: one proposer gives tick 5 one value.
        let all = [&[5][..], &[0, 5], &[1, 2, 3, 4, 5], &[2, 40]];
        let values = all.map(|ticks| value(&beacon, (&mut first, 0), ticks));
        assert_eq!(values, [values[0]; 4]);
        assert_ne!(value(&beacon, (&mut second, 1), &[5]), values[0]);
        // What the other one has revealed before counts too.
        let mut later = beacon.clone();
        let reveal = second.reveal(&later, 1, 2);
        later.advance(2, 1, reveal.as_ref()).unwrap();
        assert_ne!(value(&later, (&mut first, 0), &[5]), values[0]);
    }
}
