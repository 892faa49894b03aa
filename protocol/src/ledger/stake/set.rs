//! The set: which validators commit the next block, with what power, and with which onions.

use alloc::vec::Vec;

use crate::{
    id::AccountId,
    ledger::{
        beacon::{ONION_TICKS, Onion},
        books::Books,
        commit::{Validator, Validators, is_more},
        params::BP,
        rows::{Chain, DutiesTable, Duty, Ranks, Table, ValidatorState, ValidatorsTable},
        stake::put,
        state::State,
    },
    limits::VALIDATORS_MAX,
};

/// Ranks that are looked at: those that are not ready yet take places among them.
const RANKS_SEEN: usize = 2 * VALIDATORS_MAX;

const MEMBER: &str = "a member has its row";

/// Chooses the set anew: the strongest that are ready, and whose software knows the rules in force. Without any, the set stays
/// as it is.
pub(super) fn choose<S: State + ?Sized>(books: &mut Books<'_, S>) {
    let most = match books.chain.params.validators_max {
        0 => VALIDATORS_MAX,
        most => usize::from(most),
    };
    let mut strongest = Vec::new();
    for ((rank, id), _) in books.due(Ranks, &[Ranks::TAG], RANKS_SEEN, |_| true) {
        let row = books.get(ValidatorsTable, &id).expect("what is ranked has its row");
        let is_member = row.state == ValidatorState::Member;
        let is_ready = row.ready_epoch <= books.chain.epoch && books.chain.rules <= row.rules;
        if strongest.len() < most && (is_member || is_ready) {
            strongest.push(Validator { key: id, power: u64::MAX - rank });
        }
    }
    cap(&mut strongest, u64::from(books.chain.params.power_cap_bp));
    strongest.sort_unstable_by_key(|member| member.key);
    if !strongest.is_empty() {
        replace(books, Validators { members: strongest });
    }
    books.chain.epoch_power = books.chain.validators.power();
}

/// Bounds the power of the strongest, who come first: none has more than so many hundredths of a percent of all, or than an
/// equal share.
///
/// If the first `k` are cut to the same power `c`, and `r` is the power of the others, then `c` may be the part `bp` of
/// `k * c + r`. The first `k` for which the next one has no more than that `c` is the right one.
fn cap(members: &mut [Validator], bp: u64) {
    let mut rest: u128 = members.iter().map(|member| u128::from(member.power)).sum();
    for first in 0..members.len() {
        let left = u128::from(BP).saturating_sub(first as u128 * u128::from(bp));
        if left == 0 {
            break;
        }
        let most = u64::try_from(rest * u128::from(bp) / left).unwrap_or(u64::MAX);
        if members[first].power <= most {
            members[..first].iter_mut().for_each(|member| member.power = most);
            return;
        }
        rest -= u128::from(members[first].power);
    }
    // So few that each has an equal share: that of the weakest.
    if let Some(least) = members.last().map(|member| member.power) {
        members.iter_mut().for_each(|member| member.power = least);
    }
}

fn replace<S: State + ?Sized>(books: &mut Books<'_, S>, new: Validators) {
    let old = books.chain.validators.clone();
    if old == new {
        return;
    }
    let place = |set: &Validators, key: &AccountId| {
        set.members.binary_search_by_key(key, |member| member.key).ok()
    };
    for key in old.members.iter().map(|member| member.key) {
        if place(&new, &key).is_none() {
            remove(books, key, ValidatorState::Out);
        }
    }
    // Those that stay, in their order.
    let kept = books.chain.validators.clone();
    let duties = books.get(DutiesTable, &()).map(|duties| duties.members);
    let number = books.chain.beacon.next_tick / ONION_TICKS;
    let (mut onions, mut members) = (Vec::new(), Vec::new());
    for key in new.members.iter().map(|member| member.key) {
        match place(&kept, &key) {
            Some(at) => {
                onions.push(books.chain.beacon.onions[at]);
                let duty = duties.as_ref().and_then(|duties| duties.get(at).copied());
                members.push(duty.unwrap_or_default());
            }
            None => {
                let mut row = books.get(ValidatorsTable, &key).expect(MEMBER);
                onions.push(Onion::begin(&row.onion, number, row.own));
                members.push(Duty::default());
                row.state = ValidatorState::Member;
                put(books, key, &row);
            }
        }
    }
    books.chain.beacon.onions = onions;
    books.chain.validators = new;
    if let Some(mut duties) = books.get(DutiesTable, &()) {
        duties.members = members;
        books.put(DutiesTable, &(), &duties);
    }
}

/// Whether the others keep more than two thirds of the power that the set had when the epoch began.
pub(super) fn can_spare(chain: &Chain, id: &AccountId) -> bool {
    let others = chain.validators.members.iter().filter(|member| member.key != *id);
    let rest = others.fold(0_u64, |sum, member| sum.saturating_add(member.power));
    is_more(rest, chain.epoch_power, 2, 3)
}

/// A validator is in the set no longer. Its next onions are others than those that it has promised.
pub(super) fn remove<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: AccountId,
    state: ValidatorState,
) {
    let mut row = books.get(ValidatorsTable, &id).expect(MEMBER);
    row.state = state;
    let members = &mut books.chain.validators.members;
    if let Ok(at) = members.binary_search_by_key(&id, |member| member.key) {
        members.remove(at);
        let onion = books.chain.beacon.onions.remove(at);
        row.own = onion.own + 2;
        if let Some(mut duties) = books.get(DutiesTable, &()) {
            row.count(&duties.members.remove(at));
            books.put(DutiesTable, &(), &duties);
        }
    }
    put(books, id, &row);
}

/// A validator leaves: at once if the others are strong enough without it, or else when the next epoch begins.
pub(super) fn leave<S: State + ?Sized>(books: &mut Books<'_, S>, id: AccountId) {
    let mut row = books.get(ValidatorsTable, &id).expect(MEMBER);
    row.weight = 0;
    let stays = row.state == ValidatorState::Member && !can_spare(&books.chain, &id);
    if stays {
        row.state = ValidatorState::Leaving;
        put(books, id, &row);
    } else {
        put(books, id, &row);
        remove(books, id, ValidatorState::Out);
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn capped(powers: &[u64], bp: u64) -> Vec<u64> {
        let member = |power: &u64| Validator { key: AccountId([0; 32]), power: *power };
        let mut members: Vec<_> = powers.iter().map(member).collect();
        cap(&mut members, bp);
        members.iter().map(|member| member.power).collect()
    }

    #[test]
    fn the_strongest_have_no_more_than_their_part() {
        assert_eq!(capped(&[9], 1), [9]);
        assert_eq!(capped(&[9, 1], 10_000), [9, 1]);
        // A half is the least that one of two can have.
        assert_eq!(capped(&[9, 1], 3_000), [1, 1]);
        assert_eq!(capped(&[100, 10, 10, 10], 4_000), [20, 10, 10, 10]);
        assert_eq!(capped(&[100, 90, 10, 10], 4_000), [40, 40, 10, 10]);
        assert_eq!(capped(&[30, 30, 30, 10], 4_000), [30, 30, 30, 10]);
    }

    proptest! {
        #[test]
        fn caps_hold_for_any_powers(
            powers in prop::collection::vec(1..=super::super::POWER_MAX, 1..=VALIDATORS_MAX),
            bp in 1..=BP,
        ) {
            let mut powers = powers;
            powers.sort_unstable_by(|one, other| other.cmp(one));
            let after = capped(&powers, bp);
            let total: u128 = after.iter().map(|power| u128::from(*power)).sum();
            prop_assert!(total < u128::from(u64::MAX / 3));
            let count = after.len() as u128;
            for (power, before) in after.iter().zip(&powers) {
                prop_assert!(0 < *power && power <= before);
                let of_all = u128::from(*power) * u128::from(BP) <= total * u128::from(bp);
                prop_assert!(of_all || u128::from(*power) * count <= total);
            }
        }
    }
}
