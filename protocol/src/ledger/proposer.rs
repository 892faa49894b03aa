//! Whose turn it is to propose a block, and which turns were missed.

use alloc::vec::Vec;

use crate::{
    codec::Encode,
    id::{AccountId, ChainId},
    ledger::{commit::Validators, signing},
};

/// The validator that proposes in a round. The first round's is drawn by power from the height alone, so that no party can
/// choose it; each further round's is the next one of the set, so that no dead validator is drawn twice in a row.
#[must_use]
pub fn proposer(chain: &ChainId, validators: &Validators, height: u64, round: u32) -> AccountId {
    let place = (first(chain, validators, height) + round as usize) % validators.members.len();
    validators.members[place].key
}

/// How often each member of a set, in its order, had its turn in the first `rounds` rounds of a height.
#[must_use]
pub fn turns(chain: &ChainId, validators: &Validators, height: u64, rounds: u32) -> Vec<u32> {
    let count = validators.members.len();
    let (first, members) = (first(chain, validators, height), u32::try_from(count).unwrap_or(1));
    let of = |place: usize| {
        // How many places after the first one, around the end of the set.
        let after = u32::try_from((place + count - first) % count).unwrap_or(0);
        rounds / members + u32::from(after < rounds % members)
    };
    (0..count).map(of).collect()
}

fn first(chain: &ChainId, validators: &Validators, height: u64) -> usize {
    let mut bytes = chain.to_bytes();
    height.encode(&mut bytes);
    let drawn = signing::hash("symbolon 2026 consensus proposer v1", &bytes);
    let drawn: [u8; 16] = core::array::from_fn(|at| drawn.0[at]);
    let mut point = u128::from_le_bytes(drawn) % u128::from(validators.power().max(1));
    let mut first = 0;
    for (place, validator) in validators.members.iter().enumerate() {
        first = place;
        let power = u128::from(validator.power);
        if point < power {
            break;
        }
        point -= power;
    }
    first
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, vec, vec::Vec};

    use super::*;
    use crate::ledger::commit::Validator;

    fn set(powers: &[u64]) -> Validators {
        let member = |(place, power): (usize, &u64)| {
            let key = AccountId([u8::try_from(place + 1).unwrap(); 32]);
            Validator { key, power: *power }
        };
        Validators { members: powers.iter().enumerate().map(member).collect() }
    }

    #[test]
    fn proposers_are_drawn_by_power() {
        let (chain, set) = (ChainId([7; 32]), set(&[5, 3, 1, 1]));
        let mut counts: BTreeMap<AccountId, u32> = BTreeMap::new();
        for height in 0..10_000 {
            *counts.entry(proposer(&chain, &set, height, 0)).or_default() += 1;
        }
        let counts: Vec<_> = counts.into_values().collect();
        // The standard deviation is 50 at most.
        for (count, expected) in counts.iter().zip([5_000, 3_000, 1_000, 1_000]) {
            assert!(count.abs_diff(expected) < 250, "{counts:?}");
        }
    }

    #[test]
    fn every_validator_proposes_in_so_many_rounds() {
        let (chain, set) = (ChainId([7; 32]), set(&[5, 3, 1, 1]));
        for height in 0..20 {
            let mut keys: Vec<_> =
                (0..4).map(|round| proposer(&chain, &set, height, round)).collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), 4);
        }
    }

    #[test]
    fn turns_are_counted_without_walking_through_the_rounds() {
        let (chain, set) = (ChainId([7; 32]), set(&[5, 3, 1, 1, 2]));
        for (height, rounds) in (0..20).flat_map(|height| (0..13).map(move |round| (height, round)))
        {
            let mut walked = vec![0; 5];
            for round in 0..rounds {
                let key = proposer(&chain, &set, height, round);
                walked[usize::from(key.0[0]) - 1] += 1;
            }
            assert_eq!(turns(&chain, &set, height, rounds), walked);
        }
        let most = turns(&chain, &set, 0, u32::MAX);
        assert_eq!(most.iter().map(|count| u64::from(*count)).sum::<u64>(), u64::from(u32::MAX));
    }
}
