//! The auditor's books of motions: who voted with what, what comes of it, and what changes then.

use std::collections::BTreeMap;

use symbolon_protocol::{
    Decode as _, Encode as _,
    id::AccountId,
    ledger::{
        Params,
        block::{Event, Place, Reason},
        rows::{Choice, Failure, HoldKey, Measure, MotionState, ParamChange},
        transaction::Action,
    },
};

use super::{Auditor, market::Over};

/// Bytes of each parameter in the record of all of them, and whether it may change: `*` freely, `-` to less, `0` neither from
/// nor to nothing, `!` never.
const FIELDS: [(usize, u8); 47] = [
    (8, b'!'),
    (8, b'*'),
    (2, b'*'),
    (2, b'*'),
    (2, b'*'),
    (2, b'*'),
    (8, b'-'),
    (8, b'*'),
    (4, b'*'),
    (16, b'*'),
    (8, b'*'),
    (16, b'-'),
    (8, b'*'),
    (8, b'!'),
    (16, b'*'),
    (16, b'*'),
    (16, b'*'),
    (2, b'*'),
    (16, b'!'),
    (4, b'*'),
    (4, b'*'),
    (4, b'*'),
    (16, b'*'),
    (2, b'*'),
    (16, b'*'),
    (2, b'-'),
    (2, b'*'),
    (2, b'*'),
    (16, b'*'),
    (2, b'0'),
    (16, b'!'),
    (16, b'!'),
    (2, b'*'),
    (2, b'*'),
    (2, b'*'),
    (16, b'*'),
    (4, b'*'),
    (8, b'*'),
    (2, b'*'),
    (8, b'*'),
    (2, b'*'),
    (4, b'*'),
    (4, b'*'),
    (16, b'*'),
    (2, b'*'),
    (2, b'*'),
    (2, b'*'),
];

/// A motion that is voted on, or waits.
#[derive(Clone, Debug)]
struct Book {
    proposer: AccountId,
    measure: Measure,
    deposit: u128,
    /// When it is decided, or takes effect.
    due: u64,
    lock: u64,
    passed: bool,
    /// Quorum, majority, veto.
    bars: [u16; 3],
}

/// What one account said for its stake on one validator.
#[derive(Clone, Copy, Debug)]
struct Said {
    choice: Choice,
    shares: u128,
}

#[derive(Debug, Default)]
pub(super) struct Motions {
    count: u64,
    open: BTreeMap<u64, Book>,
    /// By motion, validator and account.
    ballots: BTreeMap<(u64, AccountId, AccountId), Said>,
    /// Who made those that are neither voted on nor locked, and not gone.
    over: BTreeMap<u64, AccountId>,
    /// The version of the rules, beginning with 1, and the one to come with its height and motion.
    later_rules: u32,
    next: Option<(u32, u64, u64)>,
    /// What validators say that they know, if they have said it.
    known: BTreeMap<AccountId, u32>,
}

impl Motions {
    /// Rows that have a deposit, each with its weight.
    pub(super) fn weight(&self) -> usize {
        4 * (self.open.len() + self.over.len()) + self.ballots.len()
    }

    /// Whether this account has a ballot on this motion for its stake on this validator.
    pub(super) fn has(&self, motion: u64, validator: AccountId, account: AccountId) -> bool {
        self.ballots.contains_key(&(motion, validator, account))
    }
}

/// The parameters with changes; `None` if one of them may not be.
fn with(params: &Params, changes: &[ParamChange]) -> Option<Params> {
    let mut bytes = params.to_bytes();
    for ParamChange { param, value } in changes {
        let at = usize::from(*param);
        let (size, kind) = *FIELDS.get(at)?;
        let from = FIELDS[..at].iter().map(|field| field.0).sum::<usize>();
        let mut before = [0; 16];
        before[..size].copy_from_slice(&bytes[from..from + size]);
        let before = u128::from_le_bytes(before);
        let allowed = match kind {
            b'-' => *value <= before,
            b'0' => (*value == 0) == (before == 0),
            kind => kind == b'*',
        };
        let new = value.to_le_bytes();
        if !allowed || new[size..].iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes[from..from + size].copy_from_slice(&new[..size]);
    }
    let params = Params::from_bytes(&bytes).ok()?;
    // Which numbers are in their range is part of what parameters are.
    params.check().is_ok().then_some(params)
}

/// Whether `part` is more than so many hundredths of a percent of `whole`.
fn is_more(part: u128, whole: u128, bp: u16) -> bool {
    // In two pieces, since the product may be too long.
    let bp = u128::from(bp);
    let (tens, rest) = (whole / 10_000, whole % 10_000);
    tens * bp + rest * bp / 10_000 < part
}

impl Auditor {
    /// What a block does about motions before all else.
    pub(super) fn decide(&mut self, is_new_epoch: bool) {
        let mut treasury = self.place(&Place::Treasury);
        if is_new_epoch {
            let now = self.epoch;
            let due = self.motions.open.iter().filter(|(_, book)| book.due <= now);
            let mut due: Vec<(u64, u64)> = due.map(|(number, book)| (book.due, *number)).collect();
            due.sort_unstable();
            for (_, number) in due {
                match self.motions.open[&number].passed {
                    false => self.close(number, &mut treasury),
                    true => self.carry_out(number, &mut treasury),
                }
            }
        }
        if let Some((version, _, number)) = self.motions.next.filter(|next| next.1 <= self.next) {
            self.motions.next = None;
            let knows = |key| self.motions.known.get(key).copied().unwrap_or(1) >= version;
            let all = self.validators.members.iter().all(|member| knows(&member.key));
            if all {
                self.motions.later_rules = version - 1;
            }
            let failed = MotionState::Failed { why: Failure::NotReady };
            self.decided(number, if all { MotionState::Done } else { failed });
        }
    }

    /// Whether a validator has said that it knows the rules in force.
    pub(super) fn knows_rules(&self, validator: &AccountId) -> bool {
        self.motions.later_rules < self.motions.known.get(validator).copied().unwrap_or(1)
    }

    fn decided(&mut self, number: u64, state: MotionState) {
        if !matches!(state, MotionState::Passed | MotionState::Pending) {
            self.leaves_after(self.time_ms, Over::Motion(number));
        }
        self.expected.push(Event::MotionDecided { motion: number, state });
    }

    fn close(&mut self, number: u64, treasury: &mut u128) {
        // Yes, no, abstain, veto; and all.
        let (mut sides, mut all) = ([0_u128; 4], 0_u128);
        for member in &self.validators.members {
            let book = &self.stakes.books[&member.key];
            let weight = u128::from(book.weight()) * self.params.stake_unit.0;
            let whole = weight + book.stake;
            let mut rest = whole;
            let operator = |(by, _): &(AccountId, Said)| *by == book.operator;
            let voice = self.ballots_on(number, member.key).find(operator);
            for choice in [Choice::Yes, Choice::No, Choice::Abstain, Choice::Veto] {
                let of_side = self.ballots_on(number, member.key);
                let shares =
                    of_side.filter(|(by, said)| said.choice == choice && *by != book.operator);
                let worth = book.worth(shares.map(|(_, said)| said.shares).sum());
                sides_of(&mut sides, choice, worth);
                rest -= worth;
            }
            if let Some((_, said)) = voice {
                sides_of(&mut sides, said.choice, rest);
            }
            all += whole;
        }
        let [yes, no, abstain, veto] = sides;
        let book = self.motions.open[&number].clone();
        let [quorum, majority, bar] = book.bars;
        let voted = yes + no + abstain + veto;
        let missing = all - voted;
        let state = if is_more(missing, all, 10_000 - quorum) {
            MotionState::NoQuorum
        } else if is_more(veto, voted, bar) {
            MotionState::Vetoed
        } else if is_more(yes, yes + no + veto, majority) {
            MotionState::Passed
        } else {
            MotionState::Rejected
        };
        let from = Place::Hold { hold: HoldKey::Motion { motion: number } };
        let to = match state {
            MotionState::NoQuorum | MotionState::Vetoed => {
                *treasury += book.deposit;
                Place::Treasury
            }
            _ => Place::Account { account: book.proposer },
        };
        self.expect(from, to, book.deposit, Reason::Motion { motion: number });
        self.over.insert((self.time_ms, Over::Ballots(number)));
        if state == MotionState::Passed {
            let open = self.motions.open.get_mut(&number).expect("seen above");
            (open.due, open.passed) = (open.due + open.lock, true);
        } else {
            self.motions.open.remove(&number);
            self.motions.over.insert(number, book.proposer);
        }
        self.decided(number, state);
    }

    fn ballots_on(
        &self,
        motion: u64,
        validator: AccountId,
    ) -> impl Iterator<Item = (AccountId, Said)> {
        let least = (motion, validator, AccountId([0; 32]));
        let most = (motion, validator, AccountId([255; 32]));
        self.motions.ballots.range(least..=most).map(|((_, _, by), said)| (*by, *said))
    }

    fn carry_out(&mut self, number: u64, treasury: &mut u128) {
        let Book { proposer, measure, .. } =
            self.motions.open.remove(&number).expect("the caller has seen it");
        let height = self.next;
        let done = match measure {
            Measure::Params { changes } => with(&self.params, &changes)
                .map(|params| self.params = params)
                .ok_or(Failure::Params),
            Measure::Pay { to, amount } => match treasury.checked_sub(amount.0) {
                None => Err(Failure::Treasury),
                Some(left) => {
                    *treasury = left;
                    let (to, reason) =
                        (Place::Account { account: to }, Reason::Motion { motion: number });
                    self.expect(Place::Treasury, to, amount.0, reason);
                    Ok(())
                }
            },
            Measure::Rules { height: from, .. } if from < height => Err(Failure::Height),
            Measure::Rules { version, height } => {
                let is_free = self.motions.next.is_none();
                if is_free && self.motions.later_rules + 1 < version {
                    self.motions.next = Some((version, height, number));
                    self.motions.over.insert(number, proposer);
                    return self.decided(number, MotionState::Pending);
                }
                Err(Failure::OtherRules)
            }
        };
        self.motions.over.insert(number, proposer);
        let state = done.map_or_else(|why| MotionState::Failed { why }, |()| MotionState::Done);
        self.decided(number, state);
    }

    pub(super) fn apply_motion(
        &mut self,
        sender: AccountId,
        action: &Action,
    ) -> Result<(), String> {
        match action {
            Action::ProposeMotion { measure, deposit, .. } => {
                if 16 <= self.motions.open.len() || deposit.0 < self.params.motion_deposit.0 {
                    return Err(format!("{sender} makes a motion too many, or too cheap"));
                }
                self.motions.count += 1;
                let number = self.motions.count;
                let of = &self.params;
                let book = Book {
                    proposer: sender,
                    measure: measure.clone(),
                    deposit: deposit.0,
                    due: self.epoch + u64::from(of.voting_epochs),
                    lock: of.lock_epochs.into(),
                    passed: false,
                    bars: [of.quorum_bp, of.majority_bp, of.veto_bp],
                };
                if let Measure::Params { changes } = measure {
                    with(&self.params, changes)
                        .ok_or_else(|| format!("motion {number} would break a range"))?;
                }
                self.motions.open.insert(number, book);
                let to = Place::Hold { hold: HoldKey::Motion { motion: number } };
                let from = Place::Account { account: sender };
                self.expect(from, to, deposit.0, Reason::Motion { motion: number });
                self.expected.push(Event::MotionMade { motion: number });
            }
            Action::CastBallot { motion, validator, choice } => {
                let open = self.motions.open.get(motion).filter(|book| !book.passed);
                open.ok_or_else(|| format!("motion {motion} is not voted on"))?;
                let book = self.stakes.books.get(validator).ok_or("a vote for no validator")?;
                let shares = if sender == book.operator { 0 } else { book.of(&sender) };
                if shares == 0 && sender != book.operator {
                    return Err(format!("{sender} votes without stake on {validator}"));
                }
                let said = Said { choice: *choice, shares };
                self.motions.ballots.insert((*motion, *validator, sender), said);
            }
            Action::DeclareRules { validator, version } => {
                let book = self.stakes.books.get(validator).ok_or("rules of no validator")?;
                let before = self.motions.known.insert(*validator, *version).unwrap_or(1);
                if before == *version || sender != *validator && sender != book.operator {
                    return Err(format!("{sender} says again what {validator} knows"));
                }
            }
            _ => return Err("an action of no known kind".into()),
        }
        Ok(())
    }

    /// An account has so many shares left of a validator's stake.
    pub(super) fn voted_with(&mut self, validator: AccountId, account: AccountId, left: u128) {
        for ((_, on, by), said) in &mut self.motions.ballots {
            if (*on, *by) == (validator, account) {
                said.shares = said.shares.min(left);
            }
        }
    }

    /// The first ballots of a motion that is decided leave: so many at most.
    pub(super) fn ballots_leave(&mut self, since_ms: u64, motion: u64, most: usize) -> usize {
        let of = self.motions.ballots.keys().filter(|key| key.0 == motion);
        let of: Vec<_> = of.copied().collect();
        for key in of.iter().take(most) {
            self.motions.ballots.remove(key);
            self.motion_returned(key.2, 1);
        }
        if most < of.len() {
            self.over.insert((since_ms, Over::Ballots(motion)));
        }
        of.len().min(most)
    }

    /// A motion that was over for long enough leaves.
    pub(super) fn motion_leaves(&mut self, motion: u64) {
        let proposer = self.motions.over.remove(&motion).expect("it was over");
        self.motion_returned(proposer, 4);
    }
}

fn sides_of(sides: &mut [u128; 4], choice: Choice, more: u128) {
    let at = match choice {
        Choice::Yes => 0,
        Choice::No => 1,
        Choice::Abstain => 2,
        Choice::Veto => 3,
    };
    sides[at] += more;
}
