//! A ledger's source of chance: a hash onion, peeled by one layer per block.
//!
//! The maker of blocks commits to the outermost layer of a chain of hashes and must reveal the next inner
//! one in every block. A revealed layer is fixed long before any other party can know what it will decide.
//! Only the maker of the onion knows it before: with a single operator the beacon is as honest as the
//! operator.

use crate::{
    id::{ChainId, Hash},
    ledger::signing,
};

/// One layer out: the ledger shows it while `inner` is still secret.
#[must_use]
pub fn wrap(inner: &Hash) -> Hash {
    signing::hash("symbolon 2026 onion v1", inner.as_bytes())
}

/// The layer that lies `depth` hashes above the core; depth 0 is the core itself.
///
/// It costs `depth` hashes. An engine keeps checkpoints on the way.
#[must_use]
pub fn layer(core: &Hash, depth: u64) -> Hash {
    (0..depth).fold(*core, |layer, _| wrap(&layer))
}

/// The beacon before the first block.
#[must_use]
pub fn first(chain: &ChainId) -> Hash {
    signing::hash("symbolon 2026 beacon genesis v1", chain.as_bytes())
}

/// The beacon after a block that revealed `reveal`.
#[must_use]
pub fn next(before: &Hash, reveal: &Hash) -> Hash {
    signing::hash_parts("symbolon 2026 beacon v1", &[before, reveal])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_wrapped_one_by_one() {
        let core = Hash([5; 32]);
        assert_eq!(layer(&core, 0), core);
        assert_eq!(wrap(&layer(&core, 6)), layer(&core, 7));
        assert_ne!(next(&core, &layer(&core, 1)), next(&layer(&core, 1), &core));
    }
}
