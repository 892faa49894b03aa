//! What members of the set do: their turns, their signatures, and what they get for it.

use crate::{
    amount::Amount,
    id::AccountId,
    ledger::{
        block::{BlockInputs, Event, Place, Reason},
        books::Books,
        commit::Validators,
        last::LastCommit,
        proposer::turns,
        rows::{
            Duties, DutiesTable, Duty, PastSets, ValidatorRow, ValidatorState, ValidatorsTable,
        },
        stake::{pay_due, put, set, shares::part},
        state::State,
    },
};

const MEMBER: &str = "a member has its row";

impl ValidatorRow {
    /// Adds to its record what it has done in an epoch.
    pub(super) fn count(&mut self, duty: &Duty) {
        self.blocks = self.blocks.saturating_add(u64::from(duty.blocks));
        self.signed = self.signed.saturating_add(u64::from(duty.signed));
        self.turns = self.turns.saturating_add(u64::from(duty.turns));
        self.missed = self.missed.saturating_add(u64::from(duty.missed));
    }
}

/// What a block does about validators before its transactions.
pub(in crate::ledger) fn begin<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    facts: &BlockInputs,
    is_new_epoch: bool,
) {
    if let Some(last) = &facts.last {
        let parent = books.chain.height - 1;
        let past = books.get(PastSets, &parent).map(|past| past.validators);
        let set = past.unwrap_or_else(|| books.validators().clone());
        count_last(books, &set, last);
    }
    if is_new_epoch {
        share_out(books);
        set::choose(books);
    }
    pay_due(books);
    let count = books.chain.validators.members.len();
    let duties = books.get(DutiesTable, &());
    // The next block says how this one was committed.
    if count > 1 || books.validators().members.len() > 1 {
        let mut members = duties.map(|duties| duties.members).unwrap_or_default();
        members.resize(count, Duty::default());
        books.put(DutiesTable, &(), &Duties { proposer: facts.proposer, members });
    } else if duties.is_some() {
        books.remove(DutiesTable, &());
    }
}

/// Counts who signed the last block, and whose turns were missed before it. `set` committed it.
fn count_last<S: State + ?Sized>(books: &mut Books<'_, S>, set: &Validators, last: &LastCommit) {
    let (chain, height) = (books.chain.id, books.chain.height - 1);
    let Some(mut duties) = books.get(DutiesTable, &()) else { return };
    let proposer = usize::from(duties.proposer);
    let had = turns(&chain, set, height, last.round.saturating_add(1));
    let missed = turns(&chain, set, height, last.round);
    let now = books.chain.validators.clone();
    // The one whose block it is has not missed its turn, in whichever round the others agreed.
    let missed = |place: usize| if place == proposer { 0 } else { missed[place] };
    for (place, member) in set.members.iter().enumerate() {
        let at = now.members.binary_search_by_key(&member.key, |member| member.key);
        let Some(duty) = at.ok().and_then(|at| duties.members.get_mut(at)) else { continue };
        let missed = missed(place);
        duty.blocks = duty.blocks.saturating_add(1);
        duty.signed = duty.signed.saturating_add(u32::from(last.has(place)));
        duty.turns = duty.turns.saturating_add(had[place]);
        duty.missed = duty.missed.saturating_add(missed);
        let in_row = if place == proposer { 0 } else { duty.missed_in_row };
        duty.missed_in_row = in_row.saturating_add(missed);
    }
    books.put(DutiesTable, &(), &duties);
    for (place, member) in set.members.iter().enumerate() {
        if missed(place) > 0 {
            penalise(books, member.key, missed(place));
        }
    }
}

/// Takes the price of missed turns from a validator's stake, and jails it if they are too many.
fn penalise<S: State + ?Sized>(books: &mut Books<'_, S>, id: AccountId, missed: u32) {
    let mut row = books.get(ValidatorsTable, &id).expect(MEMBER);
    let price = books.chain.params.turn_penalty.checked_mul(u64::from(missed));
    let price = price.map_or(row.stake, |price| price.min(row.stake));
    if price > Amount::ZERO {
        row.stake = row.stake.checked_sub(price).expect("no more than it has");
        put(books, id, &row);
        let reason = Reason::MissedTurn { validator: id };
        books.transfer(Place::Stake, Place::Treasury, price, reason);
    }
    let place = books.chain.validators.members.binary_search_by_key(&id, |member| member.key);
    let duties = books.get(DutiesTable, &());
    let in_row = place.ok().and_then(|at| Some(duties?.members.get(at)?.missed_in_row));
    let is_over = in_row.is_some_and(|missed| books.chain.params.turns_missed_max <= missed);
    if is_over && set::can_spare(&books.chain, &id) {
        let until_ms = books.now().saturating_add(books.chain.params.jail_ms);
        set::remove(books, id, ValidatorState::Jailed { until_ms });
        books.report(Event::ValidatorJailed { validator: id });
    }
}

/// Shares the fees of the last epoch out among the members of the set, by power and by what they have signed, and begins
/// their counts anew.
fn share_out<S: State + ?Sized>(books: &mut Books<'_, S>) {
    let set = books.chain.validators.clone();
    let mut duties = books.get(DutiesTable, &());
    let pot = books.rewards();
    let signed = |at: usize| match &duties {
        // One that orders alone has signed all.
        _ if set.members.len() == 1 => 1,
        Some(duties) => duties.members.get(at).map_or(0, |duty| duty.signed),
        None => 0,
    };
    let members = set.members.iter().enumerate();
    let weights = members.map(|(at, member)| u128::from(member.power) * u128::from(signed(at)));
    let weights: alloc::vec::Vec<u128> = weights.collect();
    let total: u128 = weights.iter().sum();
    for (at, member) in set.members.iter().enumerate() {
        let mut row = books.get(ValidatorsTable, &member.key).expect(MEMBER);
        let duty = duties.as_mut().and_then(|duties| duties.members.get_mut(at));
        if let Some(duty) = duty {
            row.count(duty);
            *duty = Duty { missed_in_row: duty.missed_in_row, ..Duty::default() };
            put(books, member.key, &row);
        }
        let reward = Amount(part(pot.0, weights[at], total).unwrap_or(0));
        if reward > Amount::ZERO {
            pay(books, member.key, &mut row, reward);
        }
    }
    if let Some(duties) = duties {
        books.put(DutiesTable, &(), &duties);
    }
    if total > 0 {
        let rest = books.rewards();
        books.transfer(Place::Rewards, Place::Treasury, rest, Reason::Fee);
    }
}

/// Pays a validator's reward: the commission to its operator, and the rest to its stake, if it has any.
fn pay<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: AccountId,
    row: &mut ValidatorRow,
    reward: Amount,
) {
    let commission = match row.shares {
        0 => reward,
        _ => reward.part(row.commission_bp),
    };
    let rest = reward.checked_sub(commission).expect("a part of it");
    let (reason, to) = (Reason::Reward { validator: id }, Place::Account { account: row.operator });
    books.transfer(Place::Rewards, to, commission, reason);
    row.stake = row.stake.checked_add(rest).expect("no more than was issued");
    put(books, id, row);
    books.transfer(Place::Rewards, Place::Stake, rest, reason);
}
