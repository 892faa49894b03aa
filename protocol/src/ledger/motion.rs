//! Motions: what those with stake vote on. They change parameters, let the treasury pay, or bring another version of the
//! rules. See `spec/ledger.md`, "Motions".
//!
//! No step of this walks over those who vote. A validator's operator speaks for its whole stake; an account that votes on its
//! own takes its shares out of that, which one row for each motion and validator counts. So the end of a vote looks at the
//! validators of the set alone.

use alloc::{boxed::Box, string::String};

use crate::{
    amount::Amount,
    id::AccountId,
    ledger::{
        block::{Event, Place, Reason},
        books::Books,
        fees, kept,
        rows::{
            Ballot, Ballots, Chain, Choice, Delegations, Failure, Hold, HoldKey, Kept, KeptUntil,
            Measure, Motion, MotionState, Motions, MotionsDue, NextRules, Nothing, Table, Tally,
            ValidatorRow, ValidatorsTable, Voice, Voices,
        },
        stake::{part, part_up},
        state::State,
        status::Status,
        transaction::Action,
    },
    time::LedgerTime,
};

use super::params::BP;

/// Motions that are voted on or wait to take effect, at most.
pub const MOTIONS_MAX: usize = 16;

/// Bytes of a motion's text at most.
pub const TEXT_BYTES_MAX: usize = 1024;

/// The version of the rules with which every ledger begins.
pub const FIRST_RULES: u32 = 1;

/// Ballots that leave the state in one block at most: as many as its transactions can cast, of which each changes three rows.
pub(super) const BALLOTS_LEAVING: usize = 1366;

/// A checked action about motions.
#[derive(Debug)]
pub(super) enum Effect {
    Propose { motion: Box<Motion> },
    Vote { motion: u64, validator: AccountId, ballot: Ballot, is_operator: bool },
    Declare { id: AccountId, row: Box<ValidatorRow> },
}

impl Effect {
    /// What leaves the sender's balance.
    pub(super) fn spends(&self) -> Amount {
        match self {
            Self::Propose { motion } => motion.deposit,
            Self::Vote { .. } | Self::Declare { .. } => Amount::ZERO,
        }
    }
}

impl Voice {
    fn of(&mut self, choice: Choice) -> &mut u128 {
        match choice {
            Choice::Yes => &mut self.yes,
            Choice::No => &mut self.no,
            Choice::Abstain => &mut self.abstain,
            Choice::Veto => &mut self.veto,
        }
    }

    fn take(&mut self, choice: Choice, shares: u128) {
        let of = self.of(choice);
        *of = of.checked_sub(shares).expect("counted when the ballot was cast");
    }

    fn add(&mut self, choice: Choice, shares: u128) {
        let of = self.of(choice);
        *of = of.checked_add(shares).expect("no more than the validator's shares");
    }
}

impl Tally {
    fn add(&mut self, choice: Choice, voted: u128) {
        let of = match choice {
            Choice::Yes => &mut self.yes,
            Choice::No => &mut self.no,
            Choice::Abstain => &mut self.abstain,
            Choice::Veto => &mut self.veto,
        };
        // Only the weights of a strange genesis come near the end of the type.
        *of = of.saturating_add(voted);
    }

    /// Counts a validator of the set.
    pub fn count(&mut self, chain: &Chain, row: &ValidatorRow, voice: &Voice) {
        let weight = u128::from(row.weight).saturating_mul(chain.params.stake_unit.0);
        let mut rest = weight.saturating_add(row.stake.0);
        self.all = self.all.saturating_add(rest);
        let own = [
            (Choice::Yes, voice.yes),
            (Choice::No, voice.no),
            (Choice::Abstain, voice.abstain),
            (Choice::Veto, voice.veto),
        ];
        for (choice, shares) in own {
            let worth = row.worth(shares).0;
            // Parts of its stake are no more than that; rows of two blocks, as a client may have them, may say other things.
            rest = rest.saturating_sub(worth);
            self.add(choice, worth);
        }
        if let Some(choice) = voice.operator {
            self.add(choice, rest);
        }
    }

    /// All that was voted.
    #[must_use]
    pub fn voted(&self) -> u128 {
        let sides = self.yes.saturating_add(self.no).saturating_add(self.abstain);
        sides.saturating_add(self.veto)
    }

    /// What comes of a motion by these votes.
    #[must_use]
    pub fn decides(&self, motion: &Motion) -> MotionState {
        // A part of a sum fits its type.
        let of = |sum, bp: u16| part(sum, bp.into(), BP.into()).unwrap_or(u128::MAX);
        let sides = self.yes.saturating_add(self.no).saturating_add(self.veto);
        let quorum = part_up(self.all, motion.quorum_bp.into(), BP.into());
        if quorum.is_none_or(|quorum| self.voted() < quorum) {
            MotionState::NoQuorum
        } else if of(self.voted(), motion.veto_bp) < self.veto {
            MotionState::Vetoed
        } else if of(sides, motion.majority_bp) < self.yes {
            MotionState::Passed
        } else {
            MotionState::Rejected
        }
    }
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    action: &Action,
) -> Result<Effect, Status> {
    match action {
        Action::ProposeMotion { measure, text, deposit } => {
            check_propose(books, sender, (measure, text), *deposit)
        }
        Action::CastBallot { motion, validator, choice } => {
            check_vote(books, sender, (*motion, *validator), *choice)
        }
        Action::DeclareRules { validator, version } => {
            let row = books.get(ValidatorsTable, validator).ok_or(Status::UnknownValidator)?;
            if sender != *validator && sender != row.operator {
                return Err(Status::NotYours);
            }
            if row.rules == *version {
                return Err(Status::NothingNew);
            }
            let row = Box::new(ValidatorRow { rules: *version, ..row });
            Ok(Effect::Declare { id: *validator, row })
        }
        _ => unreachable!("only actions about motions come here"),
    }
}

fn check_propose<S: State + ?Sized>(
    books: &Books<'_, S>,
    proposer: AccountId,
    (measure, text): (&Measure, &str),
    deposit: Amount,
) -> Result<Effect, Status> {
    let chain = &books.chain;
    let open = books.due(MotionsDue, &[MotionsDue::TAG], MOTIONS_MAX, |_| true);
    if MOTIONS_MAX <= open.len() {
        return Err(Status::MotionsFull);
    }
    if matches!(measure, Measure::Rules { height, .. } if *height <= chain.height) {
        return Err(Status::TooLate);
    }
    let params = &chain.params;
    let closes = chain.epoch.saturating_add(params.voting_epochs.into());
    let motion = Motion {
        proposer,
        measure: measure.clone(),
        text: String::from(text),
        deposit,
        height: chain.height,
        closes,
        effective: closes.saturating_add(params.lock_epochs.into()),
        quorum_bp: params.quorum_bp,
        majority_bp: params.majority_bp,
        veto_bp: params.veto_bp,
        state: MotionState::Open,
        tally: None,
    };
    Ok(Effect::Propose { motion: Box::new(motion) })
}

fn check_vote<S: State + ?Sized>(
    books: &Books<'_, S>,
    by: AccountId,
    (number, validator): (u64, AccountId),
    choice: Choice,
) -> Result<Effect, Status> {
    let motion = books.get(Motions, &number).ok_or(Status::UnknownMotion)?;
    let row = books.get(ValidatorsTable, &validator).ok_or(Status::UnknownValidator)?;
    if motion.state != MotionState::Open {
        return Err(Status::MotionClosed);
    }
    let is_operator = by == row.operator;
    let own = books.get(Delegations, &(validator, by)).map_or(0, |part| part.shares);
    let shares = if is_operator { 0 } else { own };
    if !is_operator && shares == 0 {
        return Err(Status::StakeTooLow);
    }
    let ballot = Ballot { choice, shares };
    Ok(Effect::Vote { motion: number, validator, ballot, is_operator })
}

pub(super) fn apply<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    sender: AccountId,
    effect: Effect,
) {
    match effect {
        Effect::Propose { motion } => {
            books.chain.motions += 1;
            let number = books.chain.motions;
            let deposit = Hold { payer: sender, amount: motion.deposit, forfeited: Amount::ZERO };
            let reason = Reason::Motion { motion: number };
            books.place_hold(HoldKey::Motion { motion: number }, &deposit, reason);
            books.put(MotionsDue, &(motion.closes, number), &Nothing {});
            books.put(Motions, &number, &motion);
            books.report(Event::MotionMade { motion: number });
        }
        Effect::Vote { motion, validator, ballot, is_operator } => {
            let (at, of) = ((motion, (validator, sender)), (motion, validator));
            let mut voice = books.get(Voices, &of).unwrap_or_default();
            if let Some(before) = books.get(Ballots, &at) {
                voice.take(before.choice, before.shares);
            }
            voice.add(ballot.choice, ballot.shares);
            if is_operator {
                voice.operator = Some(ballot.choice);
            }
            books.put(Voices, &of, &voice);
            books.put(Ballots, &at, &ballot);
        }
        Effect::Declare { id, row } => books.put(ValidatorsTable, &id, &row),
    }
}

/// An account took stake back, and has so many shares left: no more of them count in what is voted on.
pub(super) fn took_back<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    validator: AccountId,
    account: AccountId,
    left: u128,
) {
    for ((_, motion), _) in books.due(MotionsDue, &[MotionsDue::TAG], MOTIONS_MAX, |_| true) {
        let at = (motion, (validator, account));
        let Some(ballot) = books.get(Ballots, &at).filter(|ballot| left < ballot.shares) else {
            continue;
        };
        let of = (motion, validator);
        // The ballots of a vote that has ended may be there still.
        let Some(mut voice) = books.get(Voices, &of) else { continue };
        voice.take(ballot.choice, ballot.shares);
        voice.add(ballot.choice, left);
        books.put(Voices, &of, &voice);
        books.put(Ballots, &at, &Ballot { shares: left, ..ballot });
    }
}

/// What a block does about motions before everything else but its time: votes end and motions take effect with an epoch, and
/// a version of the rules with its height.
pub(super) fn begin<S: State + ?Sized>(books: &mut Books<'_, S>, is_new_epoch: bool) {
    if is_new_epoch {
        let now = books.chain.epoch;
        let due = books.due(MotionsDue, &[MotionsDue::TAG], MOTIONS_MAX, |key| key.0 <= now);
        for (key, _) in due {
            books.remove(MotionsDue, &key);
            let (_, number) = key;
            let motion = books.get(Motions, &number).expect("what is due was made");
            match motion.state {
                MotionState::Open => close(books, number, motion),
                _ => enact(books, number, motion),
            }
        }
    }
    turn_rules(books);
}

/// Ends the vote on a motion.
fn close<S: State + ?Sized>(books: &mut Books<'_, S>, number: u64, mut motion: Motion) {
    let mut tally = Tally::default();
    for member in books.chain.validators.members.clone() {
        let row = books.get(ValidatorsTable, &member.key).expect("a member has its row");
        let voice = books.get(Voices, &(number, member.key)).unwrap_or_default();
        tally.count(&books.chain, &row, &voice);
    }
    let state = tally.decides(&motion);
    motion.tally = Some(tally);
    let (hold, reason) = (HoldKey::Motion { motion: number }, Reason::Motion { motion: number });
    if matches!(state, MotionState::NoQuorum | MotionState::Vetoed) {
        books.transfer(Place::Hold { hold }, Place::Treasury, motion.deposit, reason);
    }
    books.close_hold(hold, motion.proposer, reason);
    let now = books.now();
    books.put(KeptUntil, &(now, Kept::Ballots { motion: number }), &Nothing {});
    if state == MotionState::Passed {
        books.put(MotionsDue, &(motion.effective, number), &Nothing {});
    }
    set(books, number, motion, state);
}

/// Writes how a motion stands now. One that is over stays for a while.
fn set<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    number: u64,
    motion: Motion,
    state: MotionState,
) {
    if !matches!(state, MotionState::Passed | MotionState::Pending) {
        let now = books.now();
        kept::keep(books, now, Kept::Motion { motion: number });
    }
    books.put(Motions, &number, &Motion { state, ..motion });
    books.report(Event::MotionDecided { motion: number, state });
}

/// A motion that was passed takes effect.
fn enact<S: State + ?Sized>(books: &mut Books<'_, S>, number: u64, motion: Motion) {
    let failed = |why| MotionState::Failed { why };
    let treasury = books.treasury();
    let chain = &mut books.chain;
    let state = match &motion.measure {
        Measure::Params { changes } => match chain.params.changed(changes) {
            Ok(params) => {
                chain.params = params;
                MotionState::Done
            }
            Err(_) => failed(Failure::Params),
        },
        Measure::Pay { amount, .. } if treasury < *amount => failed(Failure::Treasury),
        Measure::Pay { to, amount } => {
            let to = Place::Account { account: *to };
            books.transfer(Place::Treasury, to, *amount, Reason::Motion { motion: number });
            MotionState::Done
        }
        Measure::Rules { height, .. } if *height < chain.height => failed(Failure::Height),
        Measure::Rules { version, .. } if *version <= chain.rules || chain.next_rules.is_some() => {
            failed(Failure::OtherRules)
        }
        Measure::Rules { version, height } => {
            let (version, height) = (*version, *height);
            chain.next_rules = Some(NextRules { version, height, motion: number });
            MotionState::Pending
        }
    };
    set(books, number, motion, state);
}

/// Brings the next version of the rules into force at its height, if all validators of the set know it.
fn turn_rules<S: State + ?Sized>(books: &mut Books<'_, S>) {
    let chain = &mut books.chain;
    let Some(next) = chain.next_rules.filter(|next| next.height <= chain.height) else { return };
    chain.next_rules = None;
    let members = books.chain.validators.members.clone();
    let knows = |key: &AccountId| {
        let row = books.get(ValidatorsTable, key).expect("a member has its row");
        next.version <= row.rules
    };
    let state = if members.iter().all(|member| knows(&member.key)) {
        books.chain.rules = next.version;
        MotionState::Done
    } else {
        MotionState::Failed { why: Failure::NotReady }
    };
    let motion = books.get(Motions, &next.motion).expect("it stays until its height");
    set(books, next.motion, motion, state);
}

/// Removes the first ballots of a motion, `most` at most, with what they counted, and gives their deposits back. The rest
/// waits for the next block. Returns how many there were.
pub(super) fn forget_ballots<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    since: LedgerTime,
    motion: u64,
    most: usize,
) -> usize {
    let mut prefix = alloc::vec![Ballots::TAG];
    prefix.extend_from_slice(&motion.to_be_bytes());
    let first = books.due(Ballots, &prefix, most + 1, |_| true);
    for (key, _) in first.iter().take(most) {
        let (_, (validator, account)) = *key;
        books.remove(Ballots, key);
        if books.has(Voices, &(motion, validator)) {
            books.remove(Voices, &(motion, validator));
        }
        fees::give_back(books, account, fees::BALLOT);
    }
    if most < first.len() {
        books.put(KeptUntil, &(since, Kept::Ballots { motion }), &Nothing {});
    }
    first.len().min(most)
}

/// Removes a motion that was over for long enough.
pub(super) fn forget<S: State + ?Sized>(books: &mut Books<'_, S>, number: u64) {
    let motion = books.get(Motions, &number).expect("what is kept was made");
    books.remove(Motions, &number);
    fees::give_back(books, motion.proposer, fees::MOTION);
}
