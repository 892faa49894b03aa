//! The leaves that a node must open in an epoch: a pure function of the ledger's state.

use alloc::vec::Vec;

use blake3::{Hasher, OutputReader};

use super::leaf_count;
use crate::{
    codec::Encode,
    id::{ChainId, Hash, NodeId},
    limits::CHALLENGES_MAX,
    record,
};

/// A node with fewer bytes is small: 64 GiB.
const SMALL: u64 = 64 << 30;

/// A node with at least this many bytes opens the most leaves: 1 TiB.
const MIDDLE: u64 = 1 << 40;

/// Slots tried for one weighted pick at most. If every second byte-weighted draw succeeds, as it does where
/// most shards have the usual size, one pick in 2^256 needs more. In a table of shards that are 20 times
/// shorter than the longest, one pick in 500 000 needs more.
pub const TRIES_MAX: u32 = 256;

/// Numbers drawn for one unbiased choice at most. More than half of all draws are good. So at most one
/// choice in 2^64 uses the last resort, the remainder of a draw that is not good.
const DRAWS_MAX: u32 = 64;

record! {
    /// A leaf that a node must open.
    #[derive(Copy)]
    pub struct Challenge {
        /// Position in the node's slot table.
        pub slot: u32,
        /// Leaf of the shard in that slot, from 0.
        pub leaf: u64,
    }
}

/// The seed of a node's challenges of an epoch. No party knows it before `beacon`, and by then the slot
/// table that `table` commits to is fixed.
#[must_use]
pub fn challenge_seed(
    chain: &ChainId,
    epoch: u64,
    beacon: &Hash,
    node: &NodeId,
    table: &Hash,
) -> Hash {
    let mut bytes = Vec::new();
    chain.encode(&mut bytes);
    epoch.encode(&mut bytes);
    beacon.encode(&mut bytes);
    node.encode(&mut bytes);
    table.encode(&mut bytes);
    Hash(blake3::derive_key("symbolon 2026 challenge seed v1", &bytes))
}

/// How many leaves a node with `slot_bytes` opens: first the number picked by bytes, then the number picked
/// by shard. The latter find tiny shards.
#[must_use]
pub const fn challenge_counts(slot_bytes: u64) -> (usize, usize) {
    match slot_bytes {
        0..SMALL => (8, 2),
        SMALL..MIDDLE => (16, 4),
        MIDDLE.. => (32, 8),
    }
}

const _: () = assert!(32 + 8 <= CHALLENGES_MAX);

/// The leaves that a node must open, in order; the same leaf may come twice. `slots` is the size of its
/// table, `longest` is no less than any shard in it, `slot_bytes` is their sum, and `length_of` gives the
/// length of the shard at a position. An empty table has no challenges.
#[must_use]
pub fn challenges(
    seed: &Hash,
    slots: u32,
    longest: u64,
    slot_bytes: u64,
    mut length_of: impl FnMut(u32) -> u64,
) -> Vec<Challenge> {
    if slots == 0 {
        return Vec::new();
    }
    let mut picks = Picks::new(seed);
    let (weighted, uniform) = challenge_counts(slot_bytes);
    let mut out = Vec::with_capacity(weighted + uniform);
    for _ in 0..weighted {
        let (slot, length) = picks.weighted_slot(slots, longest, &mut length_of);
        out.push(Challenge { slot, leaf: picks.below(leaf_count(length)) });
    }
    for _ in 0..uniform {
        let slot = picks.slot(slots);
        out.push(Challenge { slot, leaf: picks.below(leaf_count(length_of(slot))) });
    }
    out
}

/// A stream of numbers from a seed.
struct Picks(OutputReader);

impl Picks {
    fn new(seed: &Hash) -> Self {
        let mut hasher = Hasher::new_derive_key("symbolon 2026 challenge picks v1");
        Self(hasher.update(&seed.0).finalize_xof())
    }

    /// A number below `bound`, all with equal probability; 0 if `bound` is 0 or 1.
    fn below(&mut self, bound: u64) -> u64 {
        if bound <= 1 {
            return 0;
        }
        // The numbers from `good` upward are an incomplete run of remainders.
        let good = u64::MAX - (u64::MAX % bound + 1) % bound;
        let mut number = 0;
        for _ in 0..DRAWS_MAX {
            number = self.number();
            if number <= good {
                break;
            }
        }
        number % bound
    }

    fn slot(&mut self, slots: u32) -> u32 {
        u32::try_from(self.below(u64::from(slots))).expect("below a u32")
    }

    /// A slot with probability in proportion to its shard's length: the draw refuses a uniform pick with
    /// probability `1 - length / longest`. After [`TRIES_MAX`] refused picks, it takes the longest of them,
    /// and the earliest of equals. This still favours bytes, and is the same for all parties.
    fn weighted_slot(
        &mut self,
        slots: u32,
        longest: u64,
        length_of: &mut impl FnMut(u32) -> u64,
    ) -> (u32, u64) {
        let mut best = None;
        for _ in 0..TRIES_MAX {
            let slot = self.slot(slots);
            let length = length_of(slot);
            if self.below(longest) < length {
                return (slot, length);
            }
            if best.is_none_or(|(_, most)| length > most) {
                best = Some((slot, length));
            }
        }
        best.unwrap_or((0, 0))
    }

    fn number(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}
