//! A ledger's source of chance: the layers of hash onions, one for each tick of counted time.
//!
//! An epoch has [`EPOCH_TICKS`] ticks. Each has its layer, and a layer's hash is the layer of the tick before. So the
//! layer of a tick is fixed long before any other party than the onion's maker can know it, and later layers show all
//! earlier ones. The first block of a tick reveals its layer. What chance decides is bound to a tick beforehand: a
//! window to the tick in which it is due, a preview to the first tick that begins after its listing's block. So it
//! makes no difference to any choice how many blocks there are, and at what time within a tick.
//!
//! An onion has [`ONION_TICKS`] layers. The ledger knows the outermost value of the next one before the present one
//! begins to decide anything.

mod onion;

use alloc::{vec, vec::Vec};

use crate::{
    id::Hash,
    ledger::{
        block::{OnionChange, Reveal},
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
    /// What the ledger knows of its onions.
    #[derive(Copy)]
    pub struct Beacon {
        /// The newest layer that a block has revealed. Before the first one, the outermost value of the first onion.
        pub layer: Hash,
        /// The first tick whose layer is not known: the layers from there on hash outward to `layer`.
        pub next_tick: u64,
        /// The outermost value of the next onion.
        pub next_onion: Hash,
    }
}

/// The layers that a block knows: those that its own layer shows for the first time, or the newest of before.
#[derive(Debug)]
pub(super) struct Layers {
    /// The tick of the first one.
    first: u64,
    layers: Vec<Hash>,
}

impl Layers {
    /// The layer of a tick, or the nearest one to it that is here.
    pub(super) fn at(&self, tick: u64) -> Hash {
        let last = self.layers.len() - 1;
        let place =
            usize::try_from(tick.saturating_sub(self.first)).map_or(last, |at| at.min(last));
        self.layers[place]
    }
}

impl Beacon {
    /// Before the first block: the outermost values of the first two onions.
    pub(super) fn new(onion: Hash, next_onion: Hash) -> Self {
        Self { layer: onion, next_tick: 0, next_onion }
    }

    /// Which onion `layer` is of.
    fn onion(&self) -> u64 {
        self.next_tick.saturating_sub(1) / ONION_TICKS
    }

    /// Takes what a block reveals, if its tick has a layer that is not known yet.
    pub(super) fn advance(
        &mut self,
        tick: u64,
        reveal: Option<&Reveal>,
    ) -> Result<Layers, BlockError> {
        let (is_due, is_other) = (self.next_tick <= tick, self.onion() < tick / ONION_TICKS);
        let reveal = match (is_due, reveal) {
            (true, Some(reveal)) if reveal.change.is_some() == is_other => reveal,
            (false, None) => {
                // Nothing has been revealed before the first block, and nothing is due in tick 0.
                let first = self.next_tick.saturating_sub(1);
                return Ok(Layers { first, layers: vec![self.layer] });
            }
            _ => return Err(BlockError::WrongReveal),
        };
        let (first, mut layers) = (self.next_tick, Vec::new());
        if let Some(OnionChange { last, next }) = reveal.change {
            let border = (self.onion() + 1) * ONION_TICKS;
            layers = between(&self.layer, &last, border - first)?;
            self.layer = self.next_onion;
            self.next_tick = border;
            self.next_onion = next;
        }
        layers.extend(between(&self.layer, &reveal.layer, tick + 1 - self.next_tick)?);
        self.layer = reveal.layer;
        self.next_tick = tick + 1;
        Ok(Layers { first, layers })
    }
}

/// The `count` layers inside of `outer`, the last of which is `inner`.
fn between(outer: &Hash, inner: &Hash, count: u64) -> Result<Vec<Hash>, BlockError> {
    let mut layers = Vec::new();
    let mut layer = *inner;
    for _ in 0..count {
        layers.push(layer);
        layer = wrap(&layer);
    }
    layers.reverse();
    if layer == *outer { Ok(layers) } else { Err(BlockError::WrongReveal) }
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
        let beacon = Beacon::new(onions.outermost(0), onions.outermost(1));
        (onions, beacon)
    }

    #[test]
    fn later_layers_show_the_earlier_ones() {
        let (mut onions, mut beacon) = begun();
        let (mut other, mut tick) = (beacon, 0);
        let mut shown = Vec::new();
        while tick <= ONION_TICKS + 100 {
            let reveal = onions.reveal(&beacon, tick);
            let layers = beacon.advance(tick, reveal.as_ref()).unwrap();
            shown.push((tick, layers.at(tick)));
            tick += if (ONION_TICKS - 2..ONION_TICKS + 2).contains(&tick) { 1 } else { 97 };
        }
        // The same layers with few blocks: one of them skips the change of the onion.
        let mut layers = Vec::new();
        for tick in [0, ONION_TICKS - 3, ONION_TICKS + 200] {
            let reveal = onions.reveal(&other, tick);
            layers.push(other.advance(tick, reveal.as_ref()).unwrap());
        }
        for (tick, layer) in shown {
            let of = layers.iter().find(|layers| tick < layers.first + layers.layers.len() as u64);
            assert_eq!(of.unwrap().at(tick), layer, "tick {tick}");
        }
    }

    #[test]
    fn only_the_due_layer_is_taken() {
        let (mut onions, mut beacon) = begun();
        let refused = |beacon: &Beacon, tick, reveal: Option<Reveal>| {
            let mut beacon = *beacon;
            assert_eq!(beacon.advance(tick, reveal.as_ref()).unwrap_err(), BlockError::WrongReveal);
        };
        let reveal = onions.reveal(&beacon, 5);
        let good = reveal.unwrap();
        refused(&beacon, 5, None);
        refused(&beacon, 4, reveal);
        refused(&beacon, 6, reveal);
        refused(&beacon, 5, Some(Reveal { layer: Hash([0; 32]), ..good }));
        let change = OnionChange { last: good.layer, next: good.layer };
        refused(&beacon, 5, Some(Reveal { change: Some(change), ..good }));
        let layers = beacon.advance(5, reveal.as_ref()).unwrap();
        assert_eq!((layers.at(0), layers.at(5)), (onions.layer(0), onions.layer(5)));
        // In the same tick there is none.
        assert_eq!(onions.reveal(&beacon, 5), None);
        refused(&beacon, 5, reveal);
        let same = beacon.advance(5, None).unwrap();
        assert_eq!([same.at(9), same.at(0)], [good.layer; 2]);

        let border = onions.reveal(&beacon, ONION_TICKS).unwrap();
        let change = border.change.unwrap();
        refused(&beacon, ONION_TICKS, Some(Reveal { change: None, ..border }));
        let bent = OnionChange { last: Hash([0; 32]), ..change };
        refused(&beacon, ONION_TICKS, Some(Reveal { change: Some(bent), ..border }));
        refused(&beacon, ONION_TICKS - 1, Some(border));
        beacon.advance(ONION_TICKS, Some(&border)).unwrap();
        assert_eq!(beacon.next_onion, onions.outermost(2));
    }
}
