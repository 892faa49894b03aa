//! Motions: who votes with what, what comes of it and when, and what changes for rows of before.

use std::{string::String, vec::Vec};

use super::{
    audit::rows,
    stake::{delegate, join, leave, row, stake_params, undelegate},
    world::{AUTHORITY, World, account},
};
use crate::{
    amount::Amount,
    ledger::{
        Params, Status,
        block::{Event, Place, Reason},
        books::Books,
        changes::Param,
        execute::{BlockBuilder, BlockError, replay},
        motion::{MOTIONS_MAX, TEXT_BYTES_MAX, forget_ballots, took_back},
        rows::{
            Ballots, Choice, Delegations, Failure, HoldKey, Holds, Kept, KeptUntil, Measure,
            Motion, MotionState, Motions, MotionsDue, ParamChange, PoolsTable, Table, Tally,
            ValidatorsTable, Voices,
        },
        state::StateExt,
        transaction::Action,
    },
    time::{LedgerTime, Millis},
};

/// A ledger on which motions are short.
pub(super) fn motion_params() -> Params {
    Params {
        validators_fee_bp: 0,
        voting_epochs: 2,
        lock_epochs: 1,
        motion_deposit: Amount(1_000),
        ..stake_params()
    }
}

/// A founding validator of weight 40, which counts as 400, and accounts with money.
pub(super) fn begun() -> World {
    let mut world = World::of(motion_params(), &[(AUTHORITY, 40)]);
    world.fund(&[1, 2, 3, 4, 21, 22, AUTHORITY]);
    world
}

/// The founding validator, and two that have joined: with 300 of operator 1 and 100 of account 3, and with 200 of
/// operator 2.
pub(super) fn three() -> World {
    let mut world = begun();
    world.must(21, join(21, 1, 300));
    world.must(22, join(22, 2, 200));
    world.must(3, delegate(21, 100));
    while world.chain().validators.members.len() < 3 {
        world.next_epoch();
    }
    world
}

pub(super) fn change(name: &str, value: u128) -> ParamChange {
    let (param, _) = Param::named(name).unwrap();
    ParamChange { param, value }
}

pub(super) fn params(changes: &[(&str, u128)]) -> Measure {
    let mut changes: Vec<_> = changes.iter().map(|(name, value)| change(name, *value)).collect();
    changes.sort_by_key(|change| change.param);
    Measure::Params { changes }
}

pub(super) fn pay(number: u8, amount: u128) -> Measure {
    Measure::Pay { to: account(number), amount: Amount(amount) }
}

pub(super) fn propose(measure: Measure) -> Action {
    Action::ProposeMotion { measure, text: String::from("because"), deposit: Amount(1_000) }
}

pub(super) fn vote(motion: u64, validator: u8, choice: Choice) -> Action {
    Action::CastBallot { motion, validator: account(validator), choice }
}

pub(super) fn declare(validator: u8, version: u32) -> Action {
    Action::DeclareRules { validator: account(validator), version }
}

pub(super) fn motion(world: &World, number: u64) -> Motion {
    world.state.get(Motions, &number).unwrap()
}

fn state(world: &World, number: u64) -> MotionState {
    motion(world, number).state
}

/// Epochs until a motion is decided, and then until it is over.
pub(super) fn run(world: &mut World, number: u64) -> MotionState {
    while matches!(state(world, number), MotionState::Open | MotionState::Passed) {
        world.proposer = 0;
        world.next_epoch();
    }
    state(world, number)
}

/// All validators vote for a motion.
fn carry(world: &mut World, number: u64) -> MotionState {
    world.must(AUTHORITY, vote(number, AUTHORITY, Choice::Yes));
    if world.state.get(ValidatorsTable, &account(21)).is_some() {
        world.must(1, vote(number, 21, Choice::Yes));
        world.must(2, vote(number, 22, Choice::Yes));
    }
    run(world, number)
}

#[test]
fn the_operator_of_a_ledger_alone_decides() {
    let mut world = begun();
    world.must(4, propose(params(&[("fee_base", 2_000), ("duty_fee_bp", 0)])));
    let made = motion(&world, 1);
    assert_eq!((made.closes, made.effective, made.state), (2, 3, MotionState::Open));
    assert!(world.events.contains(&Event::MotionMade { motion: 1 }));
    world.must(AUTHORITY, vote(1, AUTHORITY, Choice::Yes));
    world.next_epoch();
    assert_eq!(state(&world, 1), MotionState::Open);
    let before = world.balance(4);
    world.next_epoch();
    assert_eq!(state(&world, 1), MotionState::Passed, "it waits");
    assert_eq!(world.balance(4), before + 1_000, "the deposit is back");
    assert_eq!(world.chain().params.fee_base, Amount(1_000));
    world.next_epoch();
    assert_eq!(state(&world, 1), MotionState::Done);
    let params = world.chain().params;
    assert_eq!((params.fee_base, params.duty_fee_bp), (Amount(2_000), 0));
    let decided = Event::MotionDecided { motion: 1, state: MotionState::Done };
    assert!(world.events.contains(&decided));
    let tally = motion(&world, 1).tally.unwrap();
    assert_eq!(tally, Tally { yes: 400, all: 400, ..Tally::default() });
    assert!(rows(&world.state, Ballots).is_empty() && rows(&world.state, Voices).is_empty());
    assert_eq!(world.act(AUTHORITY, vote(1, AUTHORITY, Choice::No)), Status::MotionClosed);
}

#[test]
fn delegators_speak_for_themselves() {
    let mut world = three();
    world.must(4, propose(params(&[("fee_base", 0)])));
    world.must(1, vote(1, 21, Choice::Yes));
    world.must(2, vote(1, 22, Choice::No));
    world.must(3, vote(1, 21, Choice::Abstain));
    world.must(3, vote(1, 21, Choice::No));
    // Those of the operator are the rest of the validator's.
    assert_eq!(world.act(4, vote(1, 21, Choice::No)), Status::StakeTooLow);
    world.must(4, delegate(22, 50));
    world.must(4, vote(1, 22, Choice::Yes));
    // Stake of after the ballot counts with the operator's, until its owner votes again.
    world.must(4, delegate(22, 50));
    assert_eq!(run(&mut world, 1), MotionState::Rejected);
    let tally = motion(&world, 1).tally.unwrap();
    let expected = Tally { yes: 350, no: 350, abstain: 0, veto: 0, all: 1_100 };
    assert_eq!(tally, expected);
}

#[test]
fn stake_that_was_taken_back_votes_no_longer() {
    let mut world = three();
    world.must(4, propose(params(&[("fee_base", 0)])));
    world.must(3, vote(1, 21, Choice::Yes));
    world.must(3, undelegate(21, Some(40)));
    let voice = world.state.get(Voices, &(1, account(21))).unwrap();
    assert_eq!((voice.yes, voice.operator), (60, None));
    world.must(3, delegate(21, 500));
    assert_eq!(world.state.get(Voices, &(1, account(21))).unwrap().yes, 60);
    world.must(3, undelegate(21, Some(500)));
    assert_eq!(world.state.get(Voices, &(1, account(21))).unwrap().yes, 60, "it has them");
    world.must(3, undelegate(21, None));
    assert_eq!(world.state.get(Voices, &(1, account(21))).unwrap().yes, 0);
    assert!(world.state.get(Delegations, &(account(21), account(3))).is_none());
    assert_eq!(world.act(3, vote(1, 21, Choice::No)), Status::StakeTooLow);
    assert_eq!(run(&mut world, 1), MotionState::NoQuorum);
}

#[test]
fn a_validator_that_has_left_counts_no_longer() {
    let mut world = three();
    world.must(4, propose(params(&[("fee_base", 0)])));
    world.must(2, vote(1, 22, Choice::Veto));
    world.must(1, vote(1, 21, Choice::Yes));
    world.must(2, leave(22));
    assert_eq!(run(&mut world, 1), MotionState::Done);
    let tally = motion(&world, 1).tally.unwrap();
    assert_eq!(tally, Tally { yes: 400, all: 800, ..Tally::default() });
}

#[test]
fn a_deposit_is_lost_by_silence_and_by_a_veto() {
    let treasury = |world: &World| world.state.get(PoolsTable, &()).unwrap().treasury.0;
    let paid = |world: &World| {
        let hold = HoldKey::Motion { motion: 1 };
        let (from, to) = (Place::Hold { hold }, Place::Treasury);
        let reason = Reason::Motion { motion: 1 };
        let amount = Amount(1_000);
        world.events.contains(&Event::Moved { from, to, amount, reason })
    };
    let mut world = three();
    world.must(4, propose(pay(4, 1)));
    // A third of all: less than four tenths.
    world.must(1, vote(1, 21, Choice::Yes));
    assert_eq!(motion(&world, 1).quorum_bp, 4_000);
    let before = treasury(&world);
    assert_eq!(run(&mut world, 1), MotionState::Done, "400 of 1000 are enough");
    assert_eq!(treasury(&world), before - 1);

    let mut world = three();
    world.must(4, propose(pay(4, 1)));
    world.must(2, vote(1, 22, Choice::Yes));
    assert_eq!(run(&mut world, 1), MotionState::NoQuorum);
    assert!(paid(&world) && rows(&world.state, Holds).is_empty());

    let mut world = three();
    world.must(4, propose(pay(4, 1)));
    world.must(AUTHORITY, vote(1, AUTHORITY, Choice::Yes));
    world.must(1, vote(1, 21, Choice::Veto));
    assert_eq!(run(&mut world, 1), MotionState::Vetoed, "400 of 800");
    assert!(paid(&world));
}

#[test]
fn the_treasury_pays_what_it_has() {
    let mut world = begun();
    world.must(4, propose(pay(77, 900)));
    let has = world.state.get(PoolsTable, &()).unwrap().treasury.0;
    assert!(has > 900, "fees have been paid");
    world.must(4, propose(pay(77, u128::MAX)));
    world.must(AUTHORITY, vote(2, AUTHORITY, Choice::Yes));
    assert_eq!(carry(&mut world, 1), MotionState::Done);
    assert_eq!(world.balance(77), 900);
    assert_eq!(state(&world, 2), MotionState::Failed { why: Failure::Treasury });
    assert_eq!(world.act(4, propose(pay(77, 0))), Status::BadField);
}

#[test]
fn changes_that_do_not_go_together_fail_when_their_time_comes() {
    let mut world = begun();
    assert_eq!(world.act(4, propose(params(&[("epoch_ms", 60_000)]))), Status::BadField);
    assert_eq!(world.act(4, propose(params(&[("deposit", 1)]))), Status::BadField);
    assert_eq!(world.act(4, propose(params(&[]))), Status::BadField);
    let twice = params(&[("fee_base", 1), ("fee_base", 2)]);
    assert_eq!(world.act(4, propose(twice)), Status::BadField);
    let mut disordered = params(&[("fee_base", 1), ("fee_byte", 2)]);
    if let Measure::Params { changes } = &mut disordered {
        changes.reverse();
    }
    assert_eq!(world.act(4, propose(disordered)), Status::BadField);
    assert_eq!(world.act(4, propose(params(&[("storage_fee_bp", 1_001)]))), Status::BadField);
    // Each is fine alone; after the first, the second would be more than there is.
    world.must(4, propose(params(&[("delivery_ms", 1_500)])));
    world.must(4, propose(params(&[("delivery_ms", 2_000)])));
    world.must(AUTHORITY, vote(2, AUTHORITY, Choice::Yes));
    assert_eq!(carry(&mut world, 1), MotionState::Done);
    assert_eq!(state(&world, 2), MotionState::Failed { why: Failure::Params });
    assert_eq!(world.chain().params.delivery_ms, Millis(1_500));
}

#[test]
fn motions_are_bounded() {
    let mut world = begun();
    for _ in 0..MOTIONS_MAX {
        world.must(4, propose(pay(4, 1)));
    }
    assert_eq!(world.act(4, propose(pay(4, 1))), Status::MotionsFull);
    assert_eq!(rows(&world.state, MotionsDue).len(), MOTIONS_MAX);
    run(&mut world, 1);
    world.must(4, propose(pay(4, 1)));
    let text = |bytes| "x".repeat(bytes);
    let (measure, deposit) = (pay(4, 1), Amount(1_000));
    let long = Action::ProposeMotion { measure, text: text(TEXT_BYTES_MAX + 1), deposit };
    assert_eq!(world.act(4, long), Status::BadField);
    let (measure, deposit) = (pay(4, 1), Amount(999));
    let cheap = Action::ProposeMotion { measure, text: text(1), deposit };
    assert_eq!(world.act(4, cheap), Status::BadField);
}

#[test]
fn a_motion_keeps_the_rules_with_which_it_was_made() {
    let mut world = three();
    world.must(4, propose(params(&[("quorum_bp", 10_000), ("voting_epochs", 9)])));
    world.must(4, propose(params(&[("quorum_bp", 1_000)])));
    world.must(4, propose(pay(4, 1)));
    assert_eq!(carry(&mut world, 1), MotionState::Done);
    assert_eq!(state(&world, 3), MotionState::NoQuorum);
    world.must(4, propose(pay(4, 1)));
    let later = motion(&world, 4);
    assert_eq!((later.quorum_bp, later.closes), (10_000, world.chain().epoch + 9));
}

/// Brings a version into force at a height, or shows why not.
fn turn(world: &mut World, version: u32) -> MotionState {
    let height = world.chain().height + 40;
    let number = world.chain().motions + 1;
    world.must(4, propose(Measure::Rules { version, height }));
    assert_eq!(carry(world, number), MotionState::Pending);
    assert_eq!(world.chain().next_rules.unwrap().height, height);
    while world.chain().height + 1 < height {
        world.wait(1);
    }
    state(world, number)
}

#[test]
fn a_version_that_not_all_know_is_not_in_force() {
    let mut world = three();
    world.must(1, declare(21, 2));
    world.must(22, declare(22, 2));
    assert_eq!(world.act(22, declare(22, 2)), Status::NothingNew);
    assert_eq!(world.act(1, declare(22, 2)), Status::NotYours);
    assert_eq!(turn(&mut world, 2), MotionState::Pending);
    world.wait(1);
    assert_eq!(state(&world, 1), MotionState::Failed { why: Failure::NotReady });
    assert_eq!((world.chain().rules, world.chain().next_rules), (1, None));
}

#[test]
fn software_stops_before_rules_that_it_does_not_know() {
    let mut world = three();
    for (who, validator) in [(1, 21), (2, 22), (AUTHORITY, AUTHORITY)] {
        world.must(who, declare(validator, 2));
        assert_eq!(row(&world, validator).rules, 2);
    }
    assert_eq!(turn(&mut world, 2), MotionState::Pending);
    world.now += 1;
    let facts = world.facts();
    let error = BlockError::UnknownRules { version: 2, known: 1 };
    assert_eq!(BlockBuilder::new(&world.state, &facts).unwrap_err(), error);
    assert_eq!(replay(&world.state, &facts, &[]), Err(error));
    // Software of the next version goes on.
    let executed = BlockBuilder::knowing(&world.state, &facts, 2).unwrap().finish();
    let done = Event::MotionDecided { motion: 1, state: MotionState::Done };
    assert!(executed.events.contains(&done));
    world.state.commit(&executed.update);
    assert_eq!(world.chain().rules, 2);
    world.now += 1;
    let facts = world.facts();
    assert_eq!(BlockBuilder::new(&world.state, &facts).unwrap_err(), error);
    assert!(BlockBuilder::knowing(&world.state, &facts, 3).is_ok());
}

#[test]
fn versions_wait_one_at_a_time() {
    let mut world = begun();
    let height = world.chain().height + 60;
    world.must(4, propose(Measure::Rules { version: 2, height }));
    world.must(4, propose(Measure::Rules { version: 3, height: height + 1 }));
    let soon = world.chain().height + 2;
    world.must(4, propose(Measure::Rules { version: 2, height: soon }));
    for number in 1..=3 {
        world.must(AUTHORITY, vote(number, AUTHORITY, Choice::Yes));
    }
    assert_eq!(run(&mut world, 1), MotionState::Pending);
    assert_eq!(state(&world, 2), MotionState::Failed { why: Failure::OtherRules });
    assert_eq!(state(&world, 3), MotionState::Failed { why: Failure::Height });
    let (height, version) = (world.chain().height, 2);
    let past = propose(Measure::Rules { version, height });
    assert_eq!(world.act(4, past), Status::TooLate);
    let old = propose(Measure::Rules { version: 1, height: height + 9 });
    assert_eq!(world.act(4, old), Status::BadField);
    assert_eq!(world.act(4, declare(99, 2)), Status::UnknownValidator);
}

#[test]
fn motions_leave_the_state() {
    let mut world = three();
    world.must(4, propose(pay(4, 1)));
    world.must(1, vote(1, 21, Choice::No));
    world.must(3, vote(1, 21, Choice::No));
    run(&mut world, 1);
    for _ in 0..100 {
        assert!(world.state.get(Motions, &1).is_some());
        world.proposer = 0;
        world.next_epoch();
        world.wait(0);
    }
    assert!(world.state.get(Motions, &1).is_none());
    world.must(4, propose(pay(4, 1)));
    assert_eq!(world.chain().motions, 2, "numbers are used once");
}

#[test]
fn ballots_leave_a_part_at_a_time() {
    let mut world = begun();
    let voters: Vec<u8> = (30..37).collect();
    world.fund(&voters);
    world.must(4, propose(pay(4, 1)));
    for number in &voters {
        world.must(*number, delegate(AUTHORITY, 10));
        world.must(*number, vote(1, AUTHORITY, Choice::Yes));
    }
    let mut books = Books::open(&world.state).unwrap();
    let bound = books.account(&account(30)).deposits;
    let since = LedgerTime(world.now);
    assert_eq!(forget_ballots(&mut books, since, 1, 3), 3);
    assert_eq!(books.due(Ballots, &[Ballots::TAG], 9, |_| true).len(), 4);
    let waits = Kept::Ballots { motion: 1 };
    assert!(books.has(KeptUntil, &(since, waits)) && !books.has(Voices, &(1, account(AUTHORITY))));
    books.remove(KeptUntil, &(since, waits));
    assert_eq!(forget_ballots(&mut books, since, 1, 0), 0);
    assert!(books.has(KeptUntil, &(since, waits)), "none was left for it");
    books.remove(KeptUntil, &(since, waits));
    // Stake is taken back while the rest is still there.
    took_back(&mut books, account(AUTHORITY), account(36), 0);
    assert_eq!(forget_ballots(&mut books, since, 1, 9), 4);
    assert!(!books.has(KeptUntil, &(since, waits)));
    let unit = world.chain().params.deposit;
    assert_eq!(books.account(&account(30)).deposits.checked_add(unit), Some(bound));
}

/// What a random step does, on a ledger of three validators.
fn random_action(world: &World, bytes: [u8; 5]) -> (u8, Action) {
    let [kind, who, number, amount, more] = bytes;
    let (user, validator) = (1 + who % 4, [21, 22, AUTHORITY][usize::from(number % 3)]);
    let operator = [1, 2, AUTHORITY][usize::from(number % 3)];
    let last = world.chain().motions;
    let open = 1 + last.saturating_sub(u64::from(more % 4)).min(last).saturating_sub(1);
    let choices =
        [Choice::Yes, Choice::Yes, Choice::Yes, Choice::No, Choice::Abstain, Choice::Veto];
    let choice = choices[usize::from(amount) % choices.len()];
    let value = u128::from(amount);
    match kind % 16 {
        0 => (user, propose(params(&[("fee_base", value * 10), ("power_cap_bp", 4_000 + value)]))),
        1 => (
            user,
            propose(params(&[("turn_penalty", value), ("unbonding_ms", 1_000 * value + 1_000)])),
        ),
        2 => (
            user,
            propose(params(&[("voting_epochs", 1 + value % 3), ("quorum_bp", 1_000 + value * 9)])),
        ),
        3 => (user, propose(pay(user, value * value * 400))),
        4 => (user, propose(params(&[("validators_max", 2 + value % 3), ("jail_ms", value * 50)]))),
        5..=8 => (operator, vote(open, validator, choice)),
        9 | 10 => (user, vote(open, validator, choice)),
        11 | 12 => (user, delegate(validator, 1 + value)),
        13 => (user, undelegate(validator, Some(value / 2))),
        14 => (user, undelegate(validator, None)),
        _ => (operator, declare(validator, u32::from(more % 3))),
    }
}

#[test]
fn random_histories_of_motions_add_up() {
    let (mut applied, mut seen) = (0, Vec::new());
    for seed in 0..4_u8 {
        let mut dice = blake3::Hasher::new().update(b"motions").update(&[seed]).finalize_xof();
        let mut world = three();
        for _ in 0..160 {
            let mut bytes = [0; 8];
            dice.fill(&mut bytes);
            let [wait, skip, proposer, action @ ..] = bytes;
            world.now += u64::from(wait) * 8 + u64::from(skip % 8 == 0) * 3_000;
            let count = u16::try_from(world.chain().validators.members.len()).unwrap();
            world.proposer = u16::from(proposer) % count;
            let (who, action) = random_action(&world, action);
            applied += u32::from(world.act(who, action) == Status::Applied);
            seen.extend(rows(&world.state, Motions).into_iter().map(|(_, row)| row.state));
        }
    }
    let is = |state: fn(&MotionState) -> bool| seen.iter().any(state);
    assert!(applied > 300, "{applied}");
    assert!(is(|state| *state == MotionState::Done) && is(|state| *state == MotionState::NoQuorum));
    assert!(is(|state| *state == MotionState::Rejected));
    assert!(is(|state| *state == MotionState::Vetoed));
    assert!(is(|state| *state == MotionState::Failed { why: Failure::Treasury }));
}
