//! Stake: who stands for the validators, with how much, and what of it is lost.
//!
//! The stake of a validator is one pool with shares. A reward or a penalty changes the pool and no share, so it costs the
//! same for one owner or a million. What is taken back waits in a second pool, with shares of its own, and can still be lost.

mod duty;
mod set;
mod shares;

use alloc::{boxed::Box, vec::Vec};

use crate::{
    amount::Amount,
    id::{AccountId, PeerId},
    ledger::{
        block::{Event, OnionStart, Place, Reason},
        books::Books,
        commit::Validators,
        evidence::Evidence,
        fees,
        motion::{self, FIRST_RULES},
        params::Params,
        rows::{
            Delegation, Delegations, Nothing, PastSets, Ranks, Table, Unbonding, Unbondings,
            ValidatorRow, ValidatorState, ValidatorsTable,
        },
        state::State,
        status::Status,
        transaction::Action,
    },
    time::LedgerTime,
};

pub(super) use duty::begin;
pub(super) use shares::{part, part_up};

/// The power of one validator at most: that of 128 is less than a third of the largest number.
pub(super) const POWER_MAX: u64 = 1 << 55;

/// Unbondings that a block pays out at most.
const PAID_MAX: usize = 128;

/// Past sets that a block forgets at most: more than a block can add.
const PAST_MAX: usize = 8;

/// How many epochs after it has committed to its onions a validator may enter the set, so that others have revealed layers
/// since then.
const READY_EPOCHS: u64 = 2;

/// A checked action on stake.
#[derive(Debug)]
pub(super) enum Effect {
    Join { id: AccountId, row: Box<ValidatorRow>, amount: Amount },
    Change { id: AccountId, row: Box<ValidatorRow> },
    Leave { id: AccountId },
    Delegate { id: AccountId, by: AccountId, amount: Amount, shares: u128 },
    Undelegate { id: AccountId, by: AccountId, taken: Taken },
    Equivocation { id: AccountId },
}

/// What is taken back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    /// Shares of the stake.
    shares: u128,
    /// What they are worth.
    value: Amount,
    /// Shares of what is being paid out.
    unbonding_shares: u128,
}

impl Effect {
    /// What leaves the sender's balance.
    pub(super) fn spends(&self) -> Amount {
        match self {
            Self::Join { amount, .. } | Self::Delegate { amount, .. } => *amount,
            _ => Amount::ZERO,
        }
    }
}

impl ValidatorRow {
    /// What so many shares of its stake are worth.
    #[must_use]
    pub fn worth(&self, shares: u128) -> Amount {
        match shares == self.shares {
            true => self.stake,
            // A part of the shares is worth no more than the whole.
            false => Amount(part(self.stake.0, shares, self.shares).unwrap_or(0)),
        }
    }

    /// What so many shares of what was taken back are worth.
    #[must_use]
    pub fn worth_unbonding(&self, shares: u128) -> Amount {
        match shares == self.unbonding_shares {
            true => self.unbonding,
            false => Amount(part(self.unbonding.0, shares, self.unbonding_shares).unwrap_or(0)),
        }
    }

    /// What its power would be without a cap.
    #[must_use]
    pub fn power(&self, params: &Params) -> u64 {
        let units = u64::try_from(self.stake.0 / params.stake_unit.0.max(1)).unwrap_or(u64::MAX);
        self.weight.saturating_add(units).min(POWER_MAX)
    }

    /// Its power, if it may be in the set but for the epoch in which it is ready.
    fn ranked(&self, params: &Params) -> Option<u64> {
        let stands = matches!(self.state, ValidatorState::Waiting | ValidatorState::Member);
        let is_backed = self.weight > 0 || params.stake_min <= self.worth(self.own_shares);
        let power = self.power(params);
        (stands && is_backed && power > 0).then_some(power)
    }
}

/// A founding validator.
pub(super) fn founding(key: AccountId, power: u64, onion: OnionStart) -> ValidatorRow {
    ValidatorRow { weight: power, state: ValidatorState::Member, ..new_row(key, onion) }
}

fn new_row(operator: AccountId, onion: OnionStart) -> ValidatorRow {
    ValidatorRow {
        operator,
        peer: PeerId::from(operator),
        addresses: Vec::new(),
        commission_bp: 0,
        raised_epoch: 0,
        raised_from_bp: 0,
        stake: Amount::ZERO,
        shares: 0,
        own_shares: 0,
        unbonding: Amount::ZERO,
        unbonding_shares: 0,
        weight: 0,
        state: ValidatorState::Waiting,
        ready_epoch: 0,
        onion,
        own: 0,
        joined: 0,
        turns: 0,
        missed: 0,
        blocks: 0,
        signed: 0,
        rules: FIRST_RULES,
    }
}

/// Writes a validator's row, and its rank.
pub(super) fn put<S: State + ?Sized>(books: &mut Books<'_, S>, id: AccountId, row: &ValidatorRow) {
    let params = &books.chain.params;
    let rank = |row: &ValidatorRow| row.ranked(params).map(|power| (u64::MAX - power, id));
    let before = books.get(ValidatorsTable, &id).and_then(|before| rank(&before));
    let after = rank(row);
    if before != after {
        if let Some(before) = before {
            books.remove(Ranks, &before);
        }
        if let Some(after) = after {
            books.put(Ranks, &after, &Nothing {});
        }
    }
    books.put(ValidatorsTable, &id, row);
}

fn get<S: State + ?Sized>(books: &Books<'_, S>, id: &AccountId) -> Result<ValidatorRow, Status> {
    books.get(ValidatorsTable, id).ok_or(Status::UnknownValidator)
}

/// A validator's row, if the sender commands it.
fn commanded<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: &AccountId,
) -> Result<ValidatorRow, Status> {
    let row = get(books, id)?;
    if row.operator == sender { Ok(row) } else { Err(Status::NotYours) }
}

/// The unbonding to which an account would add now.
pub(super) fn unbonding_key<S: State + ?Sized>(
    books: &Books<'_, S>,
    validator: AccountId,
    account: AccountId,
) -> (LedgerTime, (AccountId, AccountId)) {
    let due_ms = books.now().saturating_add(books.chain.params.unbonding_ms);
    (due_ms, (validator, account))
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    action: &Action,
) -> Result<Effect, Status> {
    match action {
        Action::JoinValidators { .. } => check_join(books, sender, action),
        Action::ChangeValidator { .. } => check_change(books, sender, action),
        Action::LeaveValidators { validator } => {
            let row = commanded(books, sender, validator)?;
            match row.state {
                ValidatorState::Waiting => Ok(Effect::Leave { id: *validator }),
                ValidatorState::Member if books.chain.validators.only().is_some() => {
                    Err(Status::LastValidator)
                }
                ValidatorState::Member => Ok(Effect::Leave { id: *validator }),
                _ => Err(Status::ValidatorClosed),
            }
        }
        Action::RejoinValidators { validator, onion } => {
            let mut row = commanded(books, sender, validator)?;
            match row.state {
                ValidatorState::Out => {}
                ValidatorState::Jailed { until_ms } if until_ms <= books.now() => {}
                ValidatorState::Jailed { .. } => return Err(Status::TooEarly),
                _ => return Err(Status::ValidatorClosed),
            }
            row.state = ValidatorState::Waiting;
            row.onion = *onion;
            row.ready_epoch = books.chain.epoch.saturating_add(READY_EPOCHS);
            Ok(Effect::Change { id: *validator, row: Box::new(row) })
        }
        Action::Delegate { validator, amount } => {
            check_delegate(books, sender, *validator, *amount)
        }
        Action::Undelegate { validator, amount } => {
            check_undelegate(books, sender, *validator, *amount)
        }
        Action::ReportEquivocation { evidence } => check_evidence(books, evidence),
        _ => unreachable!("only actions on stake come here"),
    }
}

fn check_join<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    action: &Action,
) -> Result<Effect, Status> {
    let Action::JoinValidators { operator, peer, addresses, commission_bp, onion, amount } = action
    else {
        unreachable!("only those that join come here");
    };
    if books.has(ValidatorsTable, &sender) {
        return Err(Status::Exists);
    }
    if books.chain.params.validators_max == 0 {
        return Err(Status::ValidatorClosed);
    }
    let row = ValidatorRow {
        peer: *peer,
        addresses: addresses.clone(),
        commission_bp: *commission_bp,
        stake: *amount,
        shares: amount.0,
        own_shares: amount.0,
        ready_epoch: books.chain.epoch.saturating_add(READY_EPOCHS),
        joined: books.chain.height,
        ..new_row(*operator, *onion)
    };
    Ok(Effect::Join { id: sender, row: Box::new(row), amount: *amount })
}

fn check_change<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    action: &Action,
) -> Result<Effect, Status> {
    let Action::ChangeValidator { validator, peer, addresses, commission_bp } = action else {
        unreachable!("only changes come here");
    };
    let mut row = commanded(books, sender, validator)?;
    let (epoch, new_bp) = (books.chain.epoch, *commission_bp);
    if row.raised_epoch != epoch {
        (row.raised_epoch, row.raised_from_bp) = (epoch, row.commission_bp);
    }
    if row.raised_from_bp.saturating_add(books.chain.params.commission_rise_bp) < new_bp {
        return Err(Status::TooEarly);
    }
    row.commission_bp = new_bp;
    row.peer = *peer;
    row.addresses.clone_from(addresses);
    Ok(Effect::Change { id: *validator, row: Box::new(row) })
}

fn check_delegate<S: State + ?Sized>(
    books: &Books<'_, S>,
    by: AccountId,
    id: AccountId,
    amount: Amount,
) -> Result<Effect, Status> {
    let row = get(books, &id)?;
    let is_lost = row.shares > 0 && row.stake == Amount::ZERO;
    if row.state == ValidatorState::Barred || is_lost {
        return Err(Status::ValidatorClosed);
    }
    let shares = match row.shares {
        0 => amount.0,
        all => part(amount.0, all, row.stake.0).ok_or(Status::Overflow)?,
    };
    if shares == 0 {
        return Err(Status::StakeTooLow);
    }
    row.shares.checked_add(shares).ok_or(Status::Overflow)?;
    Ok(Effect::Delegate { id, by, amount, shares })
}

/// The shares that an account has of a validator's stake.
fn shares_of<S: State + ?Sized>(
    books: &Books<'_, S>,
    (id, row): (AccountId, &ValidatorRow),
    account: AccountId,
) -> u128 {
    match account == row.operator {
        true => row.own_shares,
        false => books.get(Delegations, &(id, account)).map_or(0, |part| part.shares),
    }
}

fn check_undelegate<S: State + ?Sized>(
    books: &Books<'_, S>,
    by: AccountId,
    id: AccountId,
    amount: Option<Amount>,
) -> Result<Effect, Status> {
    let row = get(books, &id)?;
    let is_lost = row.unbonding_shares > 0 && row.unbonding == Amount::ZERO;
    if is_lost {
        return Err(Status::ValidatorClosed);
    }
    let own = shares_of(books, (id, &row), by);
    let shares = match amount {
        None => Some(own),
        Some(_) if row.stake == Amount::ZERO => None,
        Some(amount) => part_up(amount.0, row.shares, row.stake.0),
    };
    let shares = shares.filter(|shares| *shares <= own).ok_or(Status::StakeTooLow)?;
    if shares == 0 || row.worth(shares) == Amount::ZERO {
        return Err(Status::StakeTooLow);
    }
    let value = row.worth(shares);
    let unbonding_shares = match row.unbonding_shares {
        0 => value.0,
        all => part(value.0, all, row.unbonding.0).ok_or(Status::Overflow)?,
    };
    row.unbonding_shares.checked_add(unbonding_shares).ok_or(Status::Overflow)?;
    let taken = Taken { shares, value, unbonding_shares };
    Ok(Effect::Undelegate { id, by, taken })
}

/// The set that committed a block, if it is known: while no unbonding time is over since another one followed it.
fn set_of<S: State + ?Sized>(books: &Books<'_, S>, height: u64) -> Option<Validators> {
    let before = height.checked_sub(1);
    match books.next_key(PastSets, &[PastSets::TAG], before.as_ref()) {
        None => {
            let chain = &books.chain;
            let is_of_it = (chain.set_from..=chain.height).contains(&height);
            is_of_it.then(|| books.validators().clone())
        }
        Some(last) => {
            let set = books.get(PastSets, &last)?;
            let until_ms = set.until_ms.saturating_add(books.chain.params.unbonding_ms);
            (set.from <= height && books.now() <= until_ms).then_some(set.validators)
        }
    }
}

fn check_evidence<S: State + ?Sized>(
    books: &Books<'_, S>,
    evidence: &Evidence,
) -> Result<Effect, Status> {
    let id = evidence.signer(&books.chain.id).map_err(|_| Status::BadProof)?;
    let set = set_of(books, evidence.height());
    if set.as_ref().is_some_and(|set| set.power_of(&id) == 0) {
        return Err(Status::BadProof);
    }
    let row = get(books, &id)?;
    if row.state == ValidatorState::Barred {
        return Err(Status::ValidatorClosed);
    }
    if books.chain.validators.only() == Some(id) {
        return Err(Status::LastValidator);
    }
    match set {
        Some(_) => Ok(Effect::Equivocation { id }),
        None if books.chain.height < evidence.height() => Err(Status::TooEarly),
        None => Err(Status::TooLate),
    }
}

const CHECKED: &str = "checked to be there";

pub(super) fn apply<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    sender: AccountId,
    effect: Effect,
) {
    match effect {
        Effect::Join { id, row, amount } => {
            put(books, id, &row);
            let from = Place::Account { account: sender };
            books.transfer(from, Place::Stake, amount, Reason::Stake { validator: id });
        }
        Effect::Change { id, row } => put(books, id, &row),
        Effect::Leave { id } => set::leave(books, id),
        Effect::Delegate { id, by, amount, shares } => {
            let mut row = books.get(ValidatorsTable, &id).expect(CHECKED);
            row.stake = row.stake.checked_add(amount).expect("no more than was issued");
            row.shares += shares;
            if by == row.operator {
                row.own_shares += shares;
            } else {
                let before = books.get(Delegations, &(id, by)).map_or(0, |part| part.shares);
                books.put(Delegations, &(id, by), &Delegation { shares: before + shares });
            }
            put(books, id, &row);
            let from = Place::Account { account: by };
            books.transfer(from, Place::Stake, amount, Reason::Stake { validator: id });
        }
        Effect::Undelegate { id, by, taken } => undelegate(books, id, by, taken),
        Effect::Equivocation { id } => convict(books, id),
    }
}

fn undelegate<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: AccountId,
    by: AccountId,
    taken: Taken,
) {
    let Taken { shares, value, unbonding_shares } = taken;
    let mut row = books.get(ValidatorsTable, &id).expect(CHECKED);
    let left = shares_of(books, (id, &row), by).checked_sub(shares).expect(CHECKED);
    if by == row.operator {
        row.own_shares = left;
    } else if left == 0 {
        books.remove(Delegations, &(id, by));
        fees::give_back(books, by, fees::DELEGATION);
    } else {
        books.put(Delegations, &(id, by), &Delegation { shares: left });
    }
    motion::took_back(books, id, by, left);
    row.stake = row.stake.checked_sub(value).expect(CHECKED);
    row.shares = row.shares.checked_sub(shares).expect(CHECKED);
    row.unbonding = row.unbonding.checked_add(value).expect("no more than was issued");
    row.unbonding_shares += unbonding_shares;
    put(books, id, &row);
    let key = unbonding_key(books, id, by);
    let before = books.get(Unbondings, &key).map_or(0, |unbonding| unbonding.shares);
    books.put(Unbondings, &key, &Unbonding { shares: before + unbonding_shares });
    books.transfer(Place::Stake, Place::Unbonding, value, Reason::Stake { validator: id });
}

/// A validator that signed two things that exclude each other.
fn convict<S: State + ?Sized>(books: &mut Books<'_, S>, id: AccountId) {
    set::remove(books, id, ValidatorState::Barred);
    let mut row = books.get(ValidatorsTable, &id).expect(CHECKED);
    let bp = books.chain.params.equivocation_penalty_bp;
    let (of_stake, of_unbonding) = (row.stake.part(bp), row.unbonding.part(bp));
    row.stake = row.stake.checked_sub(of_stake).expect("a part of it");
    row.unbonding = row.unbonding.checked_sub(of_unbonding).expect("a part of it");
    row.weight = 0;
    put(books, id, &row);
    let reason = Reason::Equivocation { validator: id };
    books.transfer(Place::Stake, Place::Treasury, of_stake, reason);
    books.transfer(Place::Unbonding, Place::Treasury, of_unbonding, reason);
    books.report(Event::ValidatorBarred { validator: id });
}

/// Pays out what was bound for long enough, and forgets sets that no evidence can be about any more.
fn pay_due<S: State + ?Sized>(books: &mut Books<'_, S>) {
    let now = books.now();
    let due = books.due(Unbondings, &[Unbondings::TAG], PAID_MAX, |key| key.0 <= now);
    for (key, Unbonding { shares }) in due {
        let (_, (id, account)) = key;
        let mut row = books.get(ValidatorsTable, &id).expect("rows of validators stay");
        let value = row.worth_unbonding(shares);
        row.unbonding = row.unbonding.checked_sub(value).expect("a part of it");
        row.unbonding_shares = row.unbonding_shares.checked_sub(shares).expect("a part of them");
        put(books, id, &row);
        books.remove(Unbondings, &key);
        let to = Place::Account { account };
        books.transfer(Place::Unbonding, to, value, Reason::Stake { validator: id });
        fees::give_back(books, account, fees::UNBONDING);
    }
    let past = books.due(PastSets, &[PastSets::TAG], PAST_MAX, |_| true);
    for (height, set) in past {
        let is_over = set.until_ms.saturating_add(books.chain.params.unbonding_ms) < now;
        // The next block still asks which set committed this one's parent.
        if is_over && height + 1 < books.chain.height {
            books.remove(PastSets, &height);
        }
    }
}
