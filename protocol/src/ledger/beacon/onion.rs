//! The maker's side of the onions: the layers that its blocks reveal and commit to.
//!
//! The core of an onion follows from the maker's secret, a salt that is stored with the ledger, and the onion's
//! number. So only the secret must stay secret, and a restarted ledger goes on where the last block stopped. The salt
//! keeps two ledgers of one maker apart: the layers of one must not show those of the other.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use super::{Beacon, ONION_TICKS, wrap};
use crate::{
    id::Hash,
    ledger::{
        block::{BlockInputs, OnionChange, OnionStart, Reveal},
        execute,
        rows::Chains,
        state::{State, StateExt},
    },
    time::LedgerTime,
};

/// Distance between two stored layers: the square root of [`ONION_TICKS`]. So a layer costs at most 255 hashes, and an
/// onion takes 8 KiB of memory.
const STEP: u64 = 256;

/// Onions that are kept unrolled: at a change, the old one, the new one and the next.
const KEPT_MAX: usize = 3;

/// The onions of one ledger.
#[derive(Clone)]
pub struct Onions {
    secret: Zeroizing<[u8; 32]>,
    salt: [u8; 32],
    /// Onions by number. Of each the layers that lie 0, 256, 512, … above its core, and last its outermost value.
    kept: Vec<(u64, Vec<Hash>)>,
}

impl fmt::Debug for Onions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Onions(..)")
    }
}

impl Onions {
    /// The onions of a maker's secret and a ledger's salt.
    #[must_use]
    pub fn new(secret: &[u8; 32], salt: [u8; 32]) -> Self {
        Self { secret: Zeroizing::new(*secret), salt, kept: Vec::new() }
    }

    /// The layer of a tick.
    pub fn layer(&mut self, tick: u64) -> Hash {
        let above_core = ONION_TICKS - 1 - tick % ONION_TICKS;
        let near = usize::try_from(above_core / STEP).expect("an onion has 257 kept layers");
        let near = self.unrolled(tick / ONION_TICKS)[near];
        (0..above_core % STEP).fold(near, |layer, _| wrap(&layer))
    }

    /// The outermost value of an onion: the hash of its first layer, to which a ledger commits.
    pub fn outermost(&mut self, number: u64) -> Hash {
        *self.unrolled(number).last().expect("an unrolled onion has layers")
    }

    /// What a ledger has to know of its maker before the first block.
    pub fn start(&mut self) -> OnionStart {
        self.start_at(0)
    }

    /// What a validator commits to that begins, or begins anew, with this onion of its own.
    pub fn start_at(&mut self, own: u64) -> OnionStart {
        OnionStart { outermost: self.outermost(own), next: self.outermost(own.saturating_add(1)) }
    }

    /// The facts of a block that validator `proposer` of the set proposes at this time on top of a state; `None` before
    /// the genesis, and for a validator that there is not.
    pub fn inputs<S: State + ?Sized>(
        &mut self,
        state: &S,
        proposer: u16,
        time_ms: LedgerTime,
    ) -> Option<BlockInputs> {
        let (beacon, tick) = (state.get(Chains, &())?.beacon, execute::tick_of(state, time_ms)?);
        beacon.onions.get(usize::from(proposer))?;
        let reveal = self.reveal(&beacon, proposer, tick);
        Some(BlockInputs { time_ms, proposer, reveal, last: None })
    }

    /// What a validator's block of this tick reveals on top of a ledger that knows so much.
    pub fn reveal(&mut self, beacon: &Beacon, proposer: u16, tick: u64) -> Option<Reveal> {
        let known = beacon.onions.get(usize::from(proposer))?;
        if tick < beacon.next_tick {
            return None;
        }
        let (old, new) = (known.number, tick / ONION_TICKS);
        // Its own onions have their own numbers.
        let own = known.own + new.saturating_sub(old);
        let change = (old < new).then(|| OnionChange {
            last: self.layer(own * ONION_TICKS - 1),
            next: self.outermost(own + 1),
        });
        Some(Reveal { layer: self.layer(own * ONION_TICKS + tick % ONION_TICKS), change })
    }

    fn unrolled(&mut self, number: u64) -> &[Hash] {
        let place = self.kept.iter().position(|(of, _)| *of == number).unwrap_or_else(|| {
            if self.kept.len() == KEPT_MAX {
                self.kept.remove(0);
            }
            self.kept.push((number, unroll(&self.secret, &self.salt, number)));
            self.kept.len() - 1
        });
        &self.kept[place].1
    }
}

fn unroll(secret: &[u8; 32], salt: &[u8; 32], number: u64) -> Vec<Hash> {
    let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 onion core v1");
    hasher.update(secret).update(salt).update(&number.to_le_bytes());
    let mut layer = Hash(hasher.finalize().into());
    let mut kept = Vec::from([layer]);
    for _ in 0..ONION_TICKS / STEP {
        layer = (0..STEP).fold(layer, |layer, _| wrap(&layer));
        kept.push(layer);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_opens_the_one_before() {
        let mut onions = Onions::new(&[1; 32], [2; 32]);
        // The first ticks, both sides of a stored layer, and both ends of an onion.
        for tick in [1, 2, 254, 255, 256, 257, ONION_TICKS - 2, ONION_TICKS - 1, ONION_TICKS + 1] {
            assert_eq!(wrap(&onions.layer(tick)), onions.layer(tick - 1), "tick {tick}");
        }
        for number in [0, 1, 5] {
            assert_eq!(wrap(&onions.layer(number * ONION_TICKS)), onions.outermost(number));
        }
        // After a restart the layers are the same, on another ledger they are not.
        let mut restarted = Onions::new(&[1; 32], [2; 32]);
        assert_eq!(restarted.layer(ONION_TICKS + 3), onions.layer(ONION_TICKS + 3));
        assert_ne!(Onions::new(&[1; 32], [3; 32]).outermost(0), onions.outermost(0));
        assert_ne!(Onions::new(&[2; 32], [2; 32]).outermost(0), onions.outermost(0));
    }
}
