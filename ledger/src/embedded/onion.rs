//! The hash onion of an embedded ledger: the layers that its blocks reveal and commit to.
//!
//! One onion lasts [`LAYERS`] blocks. Its core follows from the authority's secret, a salt that is
//! stored with the ledger, and the onion's number. So only the secret must stay secret, and a
//! restarted ledger continues where the last block stopped. The salt keeps two ledgers of one
//! authority apart: the reveals of one must not predict those of the other.

use std::ops::Range;

use symbolon_protocol::{id::Hash, ledger::beacon};
use zeroize::Zeroizing;

/// Blocks that one onion lasts: eighteen hours at a block per second.
pub(super) const LAYERS: u64 = 65_536;

/// Distance between two stored layers: the square root of [`LAYERS`]. A reveal then costs at most
/// 255 hashes, and an onion takes 8 KiB of memory.
const STEP: u64 = 256;

/// The onions of one ledger. The current one is unrolled.
pub(super) struct Onions {
    secret: Zeroizing<[u8; 32]>,
    salt: [u8; 32],
    number: u64,
    // Layers 0, 256, 512, … and finally the outermost one.
    kept: Vec<Hash>,
}

impl Onions {
    pub(super) fn new(secret: &[u8; 32], salt: [u8; 32]) -> Self {
        let secret = Zeroizing::new(*secret);
        let kept = unroll(&secret, &salt, 0);
        Self { secret, salt, number: 0, kept }
    }

    /// The layer that the genesis commits to.
    pub(super) fn first(&mut self) -> Hash {
        self.turn_to(0);
        self.outermost()
    }

    /// The layer that the block of `height`, from 1 on, reveals. If it is the core, also the
    /// outermost layer of the next onion.
    pub(super) fn reveal(&mut self, height: u64) -> (Hash, Option<Hash>) {
        let block = height.checked_sub(1).expect("the genesis reveals nothing");
        let number = block / LAYERS;
        self.turn_to(number);
        let depth = LAYERS - 1 - block % LAYERS;
        let near = usize::try_from(depth / STEP).expect("an onion has 257 kept layers");
        let reveal = beacon::layer(&self.kept[near], depth % STEP);
        let next = (depth == 0).then(|| {
            self.turn_to(number + 1);
            self.outermost()
        });
        (reveal, next)
    }

    fn outermost(&self) -> Hash {
        *self.kept.last().expect("an unrolled onion has layers")
    }

    fn turn_to(&mut self, number: u64) {
        if self.number != number {
            self.kept = unroll(&self.secret, &self.salt, number);
            self.number = number;
        }
    }
}

fn unroll(secret: &[u8; 32], salt: &[u8; 32], number: u64) -> Vec<Hash> {
    let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 onion core v1");
    hasher.update(secret).update(salt).update(&number.to_le_bytes());
    let mut layer = Hash(hasher.finalize().into());
    let mut kept = vec![layer];
    let steps: Range<u64> = 0..LAYERS / STEP;
    for _ in steps {
        layer = beacon::layer(&layer, STEP);
        kept.push(layer);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reveal_opens_the_layer_before() {
        let mut onions = Onions::new(&[1; 32], [2; 32]);
        let mut layer = onions.first();
        // The first blocks, both sides of a stored layer, and the change to the next onion.
        for height in 1..=LAYERS + 2 {
            if (300..LAYERS - 300).contains(&height) {
                continue;
            }
            if height == LAYERS - 300 {
                layer = onions.reveal(height - 1).0;
            }
            let (reveal, next) = onions.reveal(height);
            assert_eq!(beacon::wrap(&reveal), layer, "height {height}");
            assert_eq!(next.is_some(), height == LAYERS);
            layer = next.unwrap_or(reveal);
        }
        // After a restart in the second onion the layers are the same.
        let mut restarted = Onions::new(&[1; 32], [2; 32]);
        assert_eq!(restarted.reveal(LAYERS + 3), onions.reveal(LAYERS + 3));
        assert_ne!(restarted.first(), Onions::new(&[1; 32], [3; 32]).first());
    }
}
