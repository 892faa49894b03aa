//! The auditor's books of validators: what stands for them, who is in the set, and who lost what for what it did.

use std::collections::BTreeMap;

use symbolon_protocol::{
    id::AccountId,
    ledger::{
        block::{BlockInputs, Event, OnionStart, Place, Reason},
        commit::{Validator, Validators},
        evidence::Evidence,
        rows::ValidatorState,
        transaction::Action,
    },
};

use super::{Auditor, hundredths};

/// The most power that one validator has.
const MOST: u64 = 1 << 55;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Waits,
    Sits,
    Goes,
    Gone,
    Jailed(u64),
    Barred,
}

/// A validator.
#[derive(Clone, Debug)]
pub(super) struct Book {
    pub(super) operator: AccountId,
    commission_bp: u16,
    pub(super) stake: u128,
    /// The shares of each account.
    parts: BTreeMap<AccountId, u128>,
    pub(super) unbonding: u128,
    weight: u64,
    pub(super) standing: Standing,
    ready: u64,
    onion: OnionStart,
    has_paid: bool,
}

/// What a member did in the epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    signed: u32,
    missed_in_row: u32,
}

#[derive(Debug, Default)]
pub(super) struct Stakes {
    pub(super) books: BTreeMap<AccountId, Book>,
    /// What is on its way: by time, validator and account.
    unbondings: BTreeMap<(u64, AccountId, AccountId), u128>,
    done: BTreeMap<AccountId, Done>,
    /// Who made the last block.
    maker: Option<AccountId>,
    /// Sets that were followed by others, by the last height: with the time until which evidence counts, and the first
    /// height.
    past: BTreeMap<u64, (Validators, u64, u64)>,
    /// The first height of the present set.
    from: u64,
    epoch_power: u128,
    /// The set that commits the block at hand.
    now: Option<Validators>,
}

/// `a * b / c`, bit by bit, rounded down.
fn part(a: u128, b: u128, c: u128) -> u128 {
    if c == 0 {
        return 0;
    }
    let (mut whole, mut rest) = (0_u128, 0_u128);
    for at in (0..u128::BITS).rev() {
        whole *= 2;
        let again = rest;
        add(&mut whole, &mut rest, again, c);
        if b >> at & 1 == 1 {
            whole += a / c;
            add(&mut whole, &mut rest, a % c, c);
        }
    }
    whole
}

/// Adds to a rest below `c`.
fn add(whole: &mut u128, rest: &mut u128, more: u128, c: u128) {
    if *rest >= c - more {
        *rest -= c - more;
        *whole += 1;
    } else {
        *rest += more;
    }
}

impl Book {
    fn shares(&self) -> u128 {
        self.parts.values().sum()
    }

    pub(super) fn worth(&self, shares: u128) -> u128 {
        part(self.stake, shares, self.shares())
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    pub(super) fn of(&self, account: &AccountId) -> u128 {
        self.parts.get(account).copied().unwrap_or(0)
    }
}

impl Stakes {
    pub(super) fn of(set: &Validators, onions: &[OnionStart]) -> Self {
        let none = OnionStart {
            outermost: symbolon_protocol::id::Hash([0; 32]),
            next: symbolon_protocol::id::Hash([0; 32]),
        };
        let book = |(place, member): (usize, &Validator)| {
            let book = Book {
                operator: member.key,
                commission_bp: 0,
                stake: 0,
                parts: BTreeMap::new(),
                unbonding: 0,
                weight: member.power,
                standing: Standing::Sits,
                ready: 0,
                onion: onions.get(place).copied().unwrap_or(none),
                has_paid: false,
            };
            (member.key, book)
        };
        let books = set.members.iter().enumerate().map(book).collect();
        Self { books, epoch_power: total(set), ..Self::default() }
    }

    /// Rows that have a deposit, each with its weight.
    pub(super) fn weight(&self) -> usize {
        let paid = self.books.values().filter(|book| book.has_paid).count();
        let part = |book: &Book| book.parts.keys().filter(|by| **by != book.operator).count();
        4 * paid + self.books.values().map(part).sum::<usize>() + self.unbondings.len()
    }
}

fn total(set: &Validators) -> u128 {
    set.members.iter().map(|member| u128::from(member.power)).sum()
}

/// The turns that a place had in so many rounds, where another one begins.
fn had(rounds: u64, count: u64, first: u64, place: u64) -> u64 {
    let after = (place + count - first) % count;
    (rounds + count - 1 - after) / count
}

impl Auditor {
    /// What a block does about validators before its transactions.
    pub(super) fn begin_validators(&mut self, facts: &BlockInputs, is_new_epoch: bool) {
        self.stakes.now = Some(self.validators.clone());
        let before = self.last.as_ref().map(|(_, set)| set.clone());
        if let (Some(last), Some(before)) = (&facts.last, before) {
            let height = self.next - 1;
            let bytes = [&self.chain.0[..], &height.to_le_bytes()].concat();
            let drawn = blake3::derive_key("symbolon 2026 consensus proposer v1", &bytes);
            let mut point = [0; 16];
            point.copy_from_slice(&drawn[..16]);
            let mut point = u128::from_le_bytes(point) % total(&before);
            let mut first = 0;
            while u128::from(before.members[first].power) <= point {
                point -= u128::from(before.members[first].power);
                first += 1;
            }
            let count = before.members.len() as u64;
            let mut missed = Vec::new();
            for (place, member) in before.members.iter().enumerate() {
                let is_maker = self.stakes.maker == Some(member.key);
                let turns = had(u64::from(last.round), count, first as u64, place as u64);
                let turns = if is_maker { 0 } else { u32::try_from(turns).unwrap_or(u32::MAX) };
                if self.validators.power_of(&member.key) > 0 {
                    let done = self.stakes.done.entry(member.key).or_default();
                    done.signed += u32::from(last.signers[place / 8] >> (place % 8) & 1);
                    let so_far = if is_maker { 0 } else { done.missed_in_row };
                    done.missed_in_row = so_far.saturating_add(turns);
                }
                missed.push((member.key, turns));
            }
            missed.retain(|(_, turns)| *turns > 0);
            for (key, turns) in missed {
                self.punish(key, turns);
            }
        }
        if is_new_epoch {
            self.share();
            self.seat();
        }
        self.pay_unbonded();
        let maker = self.stakes.now.as_ref().expect("it was set above");
        let maker = maker.members.get(usize::from(facts.proposer)).map(|member| member.key);
        self.stakes.maker = maker;
    }

    fn punish(&mut self, key: AccountId, turns: u32) {
        let book = self.stakes.books.get_mut(&key).expect("a member has a book");
        let price = self.params.turn_penalty.0.saturating_mul(turns.into()).min(book.stake);
        book.stake -= price;
        let reason = Reason::MissedTurn { validator: key };
        self.expect(Place::Stake, Place::Treasury, price, reason);
        let in_row = self.stakes.done.get(&key).map_or(0, |done| done.missed_in_row);
        if self.params.turns_missed_max <= in_row && self.is_spare(&key) {
            let until = self.time_ms.saturating_add(self.params.jail_ms.0);
            self.unseat(key, Standing::Jailed(until));
            self.expected.push(Event::ValidatorJailed { validator: key });
        }
    }

    fn is_spare(&self, key: &AccountId) -> bool {
        let rest = total(&self.validators) - u128::from(self.validators.power_of(key));
        2 * self.stakes.epoch_power < 3 * rest
    }

    fn unseat(&mut self, key: AccountId, standing: Standing) {
        let place = self.validators.members.iter().position(|member| member.key == key);
        if let Some(place) = place {
            self.validators.members.remove(place);
            self.chance.leave(place);
            self.stakes.done.remove(&key);
        }
        self.stakes.books.get_mut(&key).expect("it has a book").standing = standing;
    }

    /// The fees of the epoch, by power and signatures.
    fn share(&mut self) {
        let (pot, set) = (self.place(&Place::Rewards), self.validators.clone());
        let alone = set.members.len() == 1;
        let signed = |key: &AccountId| self.stakes.done.get(key).map_or(0, |done| done.signed);
        let weight = |member: &Validator| match alone {
            true => u128::from(member.power),
            false => u128::from(member.power) * u128::from(signed(&member.key)),
        };
        let weights: Vec<u128> = set.members.iter().map(weight).collect();
        let all: u128 = weights.iter().sum();
        let mut left = pot;
        for (member, weight) in set.members.iter().zip(weights) {
            let reward = part(pot, weight, all);
            left -= reward;
            let book = self.stakes.books.get_mut(&member.key).expect("a member has a book");
            let own = match book.shares() {
                0 => reward,
                _ => hundredths(reward, book.commission_bp),
            };
            book.stake += reward - own;
            let (to, reason) = (book.operator, Reason::Reward { validator: member.key });
            self.expect(Place::Rewards, Place::Account { account: to }, own, reason);
            self.expect(Place::Rewards, Place::Stake, reward - own, reason);
        }
        if 0 < all {
            self.expect(Place::Rewards, Place::Treasury, left, Reason::Fee);
        }
        self.stakes.done.values_mut().for_each(|done| done.signed = 0);
    }

    /// The set of an epoch.
    fn seat(&mut self) {
        let params = &self.params;
        let mut strong: Vec<(u64, AccountId)> = Vec::new();
        for (key, book) in &self.stakes.books {
            let units = u64::try_from(book.stake / params.stake_unit.0).unwrap_or(u64::MAX);
            let power = book.weight.saturating_add(units).min(MOST);
            let own = book.worth(book.of(&book.operator));
            let backed = 0 < book.weight || params.stake_min.0 <= own;
            let stands = matches!(book.standing, Standing::Waits | Standing::Sits);
            if stands && backed && 0 < power {
                strong.push((power, *key));
            }
        }
        strong.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(&other.1)));
        strong.truncate(256);
        let epoch = self.epoch;
        strong.retain(|(_, key)| {
            let book = &self.stakes.books[key];
            book.standing == Standing::Sits || (book.ready <= epoch && self.knows_rules(key))
        });
        strong.truncate(match params.validators_max {
            0 => 128,
            most => usize::from(most),
        });
        if !strong.is_empty() {
            let powers = cut(strong.iter().map(|one| one.0).collect(), params.power_cap_bp.into());
            let members = strong.iter().zip(powers);
            let members = members.map(|((_, key), power)| Validator { key: *key, power });
            let mut members: Vec<Validator> = members.collect();
            members.sort_by_key(|member| member.key);
            self.take_seats(Validators { members });
        }
        self.stakes.epoch_power = total(&self.validators);
    }

    fn take_seats(&mut self, new: Validators) {
        for member in self.validators.members.clone() {
            if new.power_of(&member.key) == 0 {
                self.unseat(member.key, Standing::Gone);
            }
        }
        for (place, member) in new.members.iter().enumerate() {
            if self.validators.power_of(&member.key) == 0 {
                let book = self.stakes.books.get_mut(&member.key).expect("it was ranked");
                book.standing = Standing::Sits;
                self.chance.enter(place, &book.onion);
                self.validators.members.insert(place, *member);
            }
        }
        self.validators = new;
    }

    fn pay_unbonded(&mut self) {
        let due = self
            .stakes
            .unbondings
            .range(..=(self.time_ms, AccountId([255; 32]), AccountId([255; 32])));
        let due: Vec<_> = due.take(128).map(|(key, shares)| (*key, *shares)).collect();
        for ((at, key, account), shares) in due {
            let all = self.unbonding_shares(&key);
            let book = self.stakes.books.get_mut(&key).expect("a validator's book stays");
            let value = part(book.unbonding, shares, all);
            book.unbonding -= value;
            self.stakes.unbondings.remove(&(at, key, account));
            let reason = Reason::Stake { validator: key };
            self.expect(Place::Unbonding, Place::Account { account }, value, reason);
            self.stake_returned(account);
        }
    }

    fn unbonding_shares(&self, key: &AccountId) -> u128 {
        let all = self.stakes.unbondings.iter().filter(|((_, of, _), _)| of == key);
        all.map(|(_, shares)| shares).sum()
    }

    /// Notes the set that has committed the block at hand, if another one follows.
    pub(super) fn end_validators(&mut self) {
        let Some(now) = self.stakes.now.take() else { return };
        if now != self.validators {
            let until = self.time_ms.saturating_add(self.params.unbonding_ms.0);
            self.stakes.past.insert(self.next, (now, until, self.stakes.from));
            self.stakes.from = self.next + 1;
        }
    }

    /// How many units of deposit an action on stake binds.
    pub(super) fn stake_weight(&self, sender: AccountId, action: &Action) -> usize {
        match action {
            Action::JoinValidators { .. } => 4,
            Action::Delegate { validator, .. } => {
                let book = self.stakes.books.get(validator);
                let there = book.is_some_and(|book| {
                    book.operator == sender || book.parts.contains_key(&sender)
                });
                usize::from(!there)
            }
            Action::Undelegate { validator, .. } => {
                let at = self.time_ms.saturating_add(self.params.unbonding_ms.0);
                let there = self.stakes.unbondings.contains_key(&(at, *validator, sender));
                usize::from(!there)
            }
            _ => 0,
        }
    }

    pub(super) fn apply_stake(&mut self, sender: AccountId, action: &Action) -> Result<(), String> {
        let unknown = |key: &AccountId| format!("{key} is no validator");
        match action {
            Action::JoinValidators { operator, commission_bp, onion, amount, .. } => {
                let book = Book {
                    operator: *operator,
                    commission_bp: *commission_bp,
                    stake: amount.0,
                    parts: BTreeMap::from([(*operator, amount.0)]),
                    unbonding: 0,
                    weight: 0,
                    standing: Standing::Waits,
                    ready: self.epoch + 2,
                    onion: *onion,
                    has_paid: true,
                };
                if self.stakes.books.insert(sender, book).is_some() {
                    return Err(format!("validator {sender} joins twice"));
                }
                self.staked(sender, sender, amount.0);
            }
            Action::ChangeValidator { validator, commission_bp, .. } => {
                self.commanded(sender, validator)?.commission_bp = *commission_bp;
            }
            Action::LeaveValidators { validator } => self.go(sender, *validator)?,
            Action::RejoinValidators { validator, onion } => {
                let (now, ready) = (self.time_ms, self.epoch + 2);
                let book = self.commanded(sender, validator)?;
                match book.standing {
                    Standing::Gone => {}
                    Standing::Jailed(until) if until <= now => {}
                    other => return Err(format!("validator {validator} comes back: {other:?}")),
                }
                (book.standing, book.onion, book.ready) = (Standing::Waits, *onion, ready);
            }
            Action::Delegate { validator, amount } => {
                let book = self.stakes.books.get_mut(validator);
                let book = book.ok_or_else(|| unknown(validator))?;
                let shares = match book.shares() {
                    0 => amount.0,
                    all => part(amount.0, all, book.stake),
                };
                if shares == 0 || book.standing == Standing::Barred {
                    return Err(format!("stake on validator {validator} gives nothing"));
                }
                book.stake += amount.0;
                *book.parts.entry(sender).or_default() += shares;
                self.staked(sender, *validator, amount.0);
            }
            Action::Undelegate { validator, amount } => {
                self.take_back(sender, *validator, amount.map(|amount| amount.0))?;
            }
            Action::ReportEquivocation { evidence } => self.convict(evidence)?,
            _ => return Err("an action of no known kind".into()),
        }
        Ok(())
    }

    fn staked(&mut self, by: AccountId, validator: AccountId, amount: u128) {
        let from = Place::Account { account: by };
        self.expect(from, Place::Stake, amount, Reason::Stake { validator });
    }

    fn commanded(&mut self, by: AccountId, key: &AccountId) -> Result<&mut Book, String> {
        let book = self.stakes.books.get_mut(key).filter(|book| book.operator == by);
        book.ok_or_else(|| format!("{by} does not command validator {key}"))
    }

    fn go(&mut self, by: AccountId, key: AccountId) -> Result<(), String> {
        let (alone, spare) = (self.validators.members.len() == 1, self.is_spare(&key));
        let book = self.commanded(by, &key)?;
        let sits = match book.standing {
            Standing::Waits => false,
            Standing::Sits if !alone => true,
            other => return Err(format!("validator {key} leaves: {other:?}")),
        };
        book.weight = 0;
        match sits && !spare {
            true => book.standing = Standing::Goes,
            false => self.unseat(key, Standing::Gone),
        }
        Ok(())
    }

    fn take_back(
        &mut self,
        by: AccountId,
        key: AccountId,
        amount: Option<u128>,
    ) -> Result<(), String> {
        let waiting = self.unbonding_shares(&key);
        let at = self.time_ms.saturating_add(self.params.unbonding_ms.0);
        let book = self.stakes.books.get_mut(&key).ok_or("stake of no validator")?;
        let (own, all) = (book.of(&by), book.shares());
        let shares = match amount {
            None => own,
            // Rounded up.
            Some(amount) => {
                let down = part(amount, all, book.stake);
                down + u128::from(part(book.stake, down, all) < amount)
            }
        };
        if own < shares || shares == 0 {
            return Err(format!("{by} takes back more than it has of validator {key}"));
        }
        let value = book.worth(shares);
        let new = if waiting == 0 { value } else { part(value, waiting, book.unbonding) };
        book.stake -= value;
        book.unbonding += value;
        let operator = book.operator;
        let left = own - shares;
        if own == shares {
            book.parts.remove(&by);
            if by != operator {
                self.stake_returned(by);
            }
        } else {
            book.parts.insert(by, own - shares);
        }
        self.voted_with(key, by, left);
        *self.stakes.unbondings.entry((at, key, by)).or_default() += new;
        self.expect(Place::Stake, Place::Unbonding, value, Reason::Stake { validator: key });
        Ok(())
    }

    fn convict(&mut self, evidence: &Evidence) -> Result<(), String> {
        let (height, now) = (evidence.height(), self.time_ms);
        let set = match self.stakes.past.range(height..).next() {
            Some((_, (set, until, from))) if now <= *until && *from <= height => set.clone(),
            None if (self.stakes.from..=self.next).contains(&height) => {
                self.stakes.now.clone().ok_or("evidence in the first block")?
            }
            _ => {
                return Err(format!("evidence about height {height} counts no longer, or not yet"));
            }
        };
        let key = evidence.check(&self.chain, &set).map_err(|error| error.to_string())?;
        if self.validators.only() == Some(key) {
            return Err("the last validator is barred".into());
        }
        let bp = self.params.equivocation_penalty_bp;
        let book = self.stakes.books.get_mut(&key).ok_or("a member has no book")?;
        if book.standing == Standing::Barred {
            return Err(format!("validator {key} is barred twice"));
        }
        let lost = [hundredths(book.stake, bp), hundredths(book.unbonding, bp)];
        book.stake -= lost[0];
        book.unbonding -= lost[1];
        book.weight = 0;
        self.unseat(key, Standing::Barred);
        let reason = Reason::Equivocation { validator: key };
        self.expect(Place::Stake, Place::Treasury, lost[0], reason);
        self.expect(Place::Unbonding, Place::Treasury, lost[1], reason);
        self.expected.push(Event::ValidatorBarred { validator: key });
        Ok(())
    }

    /// Whether the pools of stake hold what these books say.
    pub(super) fn check_stake(&self) -> Result<(), String> {
        let sum = |of: fn(&Book) -> u128| self.stakes.books.values().map(of).sum::<u128>();
        for (place, due) in
            [(Place::Stake, sum(|book| book.stake)), (Place::Unbonding, sum(|book| book.unbonding))]
        {
            let there = self.place(&place);
            if there != due {
                return Err(format!("{place:?} has {there}, not {due}"));
            }
        }
        Ok(())
    }
}

/// The powers of the strongest, cut to what one may have: first those above, then what is right for those that are left.
fn cut(powers: Vec<u64>, bp: u64) -> Vec<u64> {
    let count = powers.len();
    for above in 0..count {
        let taken = above as u128 * u128::from(bp);
        if taken >= 10_000 {
            break;
        }
        let rest: u128 = powers[above..].iter().map(|power| u128::from(*power)).sum();
        let most = rest * u128::from(bp) / (10_000 - taken);
        if u128::from(powers[above]) <= most {
            let most = u64::try_from(most).unwrap_or(u64::MAX);
            return powers.iter().map(|power| (*power).min(most)).collect();
        }
    }
    vec![powers[count - 1]; count]
}

/// What a row says of a validator's standing.
pub(super) fn standing(state: ValidatorState) -> Standing {
    match state {
        ValidatorState::Waiting => Standing::Waits,
        ValidatorState::Member => Standing::Sits,
        ValidatorState::Leaving => Standing::Goes,
        ValidatorState::Out => Standing::Gone,
        ValidatorState::Jailed { until_ms } => Standing::Jailed(until_ms.0),
        ValidatorState::Barred => Standing::Barred,
    }
}
