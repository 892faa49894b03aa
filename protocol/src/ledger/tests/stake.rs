//! Stake: who is in the set, what turns and signatures are worth, and what is lost.

use std::{vec, vec::Vec};

use super::{
    audit::rows,
    world::{AUTHORITY, World, account, fees, key, maker, validator_number},
};
use crate::{
    amount::Amount,
    id::{AccountId, Hash, PeerId},
    ledger::{
        Params, Status,
        block::{Event, Place},
        commit::{Validator, Validators},
        evidence::Evidence,
        last::LastCommit,
        proposer::turns,
        rows::{PastSets, PoolsTable, ValidatorRow, ValidatorState, ValidatorsTable},
        state::StateExt,
        statement::{Statement, Step, Vote},
        transaction::Action,
    },
    signature,
    time::Millis,
};

/// A ledger whose validators can join for a little.
pub(super) fn stake_params() -> Params {
    Params {
        stake_min: Amount(100),
        stake_unit: Amount(10),
        power_cap_bp: 6_000,
        commission_rise_bp: 500,
        turn_penalty: Amount(7),
        turns_missed_max: 2,
        jail_ms: Millis(5_000),
        equivocation_penalty_bp: 1_000,
        unbonding_ms: Millis(30_000),
        validators_fee_bp: 5_000,
        ..fees()
    }
}

/// One founding validator of power 40, and accounts with money. Validators get nothing.
pub(super) fn staked() -> World {
    staked_with(Params { validators_fee_bp: 0, ..stake_params() })
}

fn staked_with(params: Params) -> World {
    let mut world = World::of(params, &[(AUTHORITY, 40)]);
    world.fund(&[1, 2, 3, 21, 22, 23, AUTHORITY]);
    world
}

pub(super) fn join(number: u8, operator: u8, amount: u128) -> Action {
    let id = account(number);
    Action::JoinValidators {
        operator: account(operator),
        peer: PeerId([number; 32]),
        addresses: vec![std::format!("192.0.2.{number}:4242")],
        commission_bp: 1_000,
        onion: maker(&id).start(),
        amount: Amount(amount),
    }
}

/// What brings a validator back, as its row asks.
pub(super) fn rejoin(world: &World, number: u8) -> Action {
    let validator = account(number);
    let own = row(world, number).own;
    Action::RejoinValidators { validator, onion: maker(&validator).start_at(own) }
}

pub(super) fn delegate(number: u8, amount: u128) -> Action {
    Action::Delegate { validator: account(number), amount: Amount(amount) }
}

pub(super) fn undelegate(number: u8, amount: Option<u128>) -> Action {
    Action::Undelegate { validator: account(number), amount: amount.map(Amount) }
}

pub(super) fn leave(number: u8) -> Action {
    Action::LeaveValidators { validator: account(number) }
}

/// Two votes of a validator at a height that exclude each other.
pub(super) fn votes(world: &World, number: u8, height: u64) -> Evidence {
    let vote = |block: Option<Hash>| {
        let (round, step, voter) = (0, Step::Prevote, account(number));
        let mut vote = Vote { height, round, step, block, voter, signature: [0; 64] };
        let said = Statement::of_vote(&world.id(), &vote);
        vote.signature = signature::sign(&key(number), &said.digest);
        vote
    };
    Evidence::Votes { first: vote(None), second: vote(Some(Hash([7; 32]))) }
}

pub(super) fn report(evidence: Evidence) -> Action {
    Action::ReportEquivocation { evidence: evidence.into() }
}

pub(super) fn row(world: &World, number: u8) -> ValidatorRow {
    world.state.get(ValidatorsTable, &account(number)).unwrap()
}

fn power(world: &World, number: u8) -> u64 {
    world.chain().validators.power_of(&account(number))
}

/// Three validators: the founding one, and two that have joined.
fn three() -> World {
    three_in(staked())
}

fn three_in(mut world: World) -> World {
    world.must(21, join(21, 1, 300));
    world.must(22, join(22, 2, 200));
    while world.chain().validators.members.len() < 3 {
        world.next_epoch();
    }
    world
}

/// The next block says that its parent was committed in this round, by all but these.
pub(super) fn last(world: &mut World, round: u32, silent: &[u8]) {
    let parents = world.parents();
    let mut signers = [0; 16];
    for (place, member) in parents.members.iter().enumerate() {
        if !silent.contains(&validator_number(&member.key)) {
            signers[place / 8] |= 1 << (place % 8);
        }
    }
    world.last = Some(LastCommit { round, signers });
}

#[test]
fn validators_join_and_enter_two_epochs_later() {
    let mut world = staked();
    world.must(21, join(21, 1, 300));
    assert_eq!(world.act(21, join(21, 1, 300)), Status::Exists);
    world.next_epoch();
    assert_eq!(power(&world, 21), 0, "others reveal layers first");
    world.next_epoch();
    assert_eq!((power(&world, 21), power(&world, AUTHORITY)), (30, 40));
    assert_eq!(row(&world, 21).state, ValidatorState::Member);
    assert_eq!(world.chain().epoch_power, 70);
    // The newcomer proposes with its own onions.
    world.proposer = world.place_of(21);
    world.wait(100);
    // More stake counts from the next epoch on, up to the cap.
    world.must(2, delegate(21, 10_000));
    assert_eq!(power(&world, 21), 30);
    world.next_epoch();
    assert_eq!((power(&world, 21), power(&world, AUTHORITY)), (60, 40));
}

#[test]
fn shares_keep_what_belongs_to_whom() {
    let mut world = three();
    world.must(3, delegate(21, 300));
    // A penalty falls on all alike, also on what was taken back before.
    world.must(3, undelegate(21, Some(100)));
    world.must(1, report(votes(&world, 21, world.chain().height)));
    let of = row(&world, 21);
    assert_eq!(
        (of.stake, of.unbonding, of.state),
        (Amount(450), Amount(90), ValidatorState::Barred)
    );
    assert_eq!(power(&world, 21), 0);
    let again = report(votes(&world, 21, world.chain().height));
    assert_eq!(world.act(1, again), Status::ValidatorClosed);
    assert_eq!(world.act(3, undelegate(21, Some(181))), Status::StakeTooLow);
    world.must(3, undelegate(21, None));
    assert_eq!(row(&world, 21).stake, Amount(270), "the operator's");
    world.wait(31_000);
    let paid = world.events.iter().filter_map(|event| match event {
        Event::Moved { from: Place::Unbonding, amount, .. } => Some(amount.0),
        _ => None,
    });
    assert_eq!(paid.sum::<u128>(), 90 + 180);
    assert_eq!(row(&world, 21).unbonding_shares, 0);
}

#[test]
fn a_block_pays_out_a_bounded_number_of_those_who_took_back() {
    let mut world = three();
    let owners: Vec<u8> = (100..240).collect();
    world.fund(&owners);
    for action in [delegate(21, 100), undelegate(21, None)] {
        let all: Vec<_> = owners.iter().map(|owner| world.sign(*owner, action.clone())).collect();
        let outcomes = world.block(&all);
        assert!(outcomes.iter().all(Result::is_ok));
    }
    let mut paid = Vec::new();
    world.now += 31_000;
    for _ in 0..3 {
        world.block(&[]);
        let from = |event: &Event| matches!(event, Event::Moved { from: Place::Unbonding, .. });
        paid.push(world.events.iter().filter(|event| from(event)).count());
    }
    assert_eq!(paid, [128, 12, 0]);
}

#[test]
fn missed_turns_cost_and_jail() {
    let mut world = three();
    world.proposer = world.place_of(AUTHORITY);
    world.wait(10);
    let mut missed = 0;
    while !matches!(row(&world, 22).state, ValidatorState::Jailed { .. }) {
        // The block before was committed in the round in which validator 22 was the second to be passed over.
        let chain = world.chain();
        let place = usize::from(world.place_of(22));
        let round = (0..3)
            .find(|round| turns(&chain.id, &chain.validators, chain.height, round + 1)[place] == 1);
        let round = round.unwrap() + 1;
        last(&mut world, round, &[22]);
        let before = row(&world, 22).stake;
        world.proposer = world.place_of(AUTHORITY);
        world.wait(10);
        missed += 1;
        let lost = before.checked_sub(row(&world, 22).stake).unwrap();
        assert_eq!(lost, Amount(7), "each turn has its price");
    }
    assert_eq!(missed, 2);
    assert_eq!(power(&world, 22), 0);
    let early = rejoin(&world, 22);
    assert_eq!(world.act(2, early.clone()), Status::TooEarly);
    assert_eq!(world.act(1, early), Status::NotYours);
    world.wait(5_000);
    let back = rejoin(&world, 22);
    world.must(2, back.clone());
    assert_eq!(world.act(2, back), Status::ValidatorClosed);
    while power(&world, 22) == 0 {
        world.next_epoch();
    }
    assert_eq!(row(&world, 22).missed, 2);
    world.proposer = world.place_of(22);
    world.wait(1);
}

#[test]
fn the_last_one_stays_and_leaving_is_bounded() {
    let mut world = staked();
    assert_eq!(world.act(AUTHORITY, leave(AUTHORITY)), Status::LastValidator);
    let alone = report(votes(&world, AUTHORITY, world.chain().height));
    assert_eq!(world.act(1, alone), Status::LastValidator);
    let mut world = three();
    // Without the founding one, less than two thirds are left: it goes with the epoch.
    world.must(AUTHORITY, leave(AUTHORITY));
    assert_eq!(row(&world, AUTHORITY).state, ValidatorState::Leaving);
    assert_eq!(world.act(AUTHORITY, leave(AUTHORITY)), Status::ValidatorClosed);
    world.proposer = 0;
    world.next_epoch();
    let gone = row(&world, AUTHORITY);
    assert_eq!((gone.state, gone.weight, gone.own), (ValidatorState::Out, 0, 2));
    assert_eq!(world.chain().validators.members.len(), 2);
    assert_eq!(rows(&world.state, PastSets).len(), 2);
}

#[test]
fn fees_are_shared_by_power_and_signatures() {
    let mut world = three_in(staked_with(stake_params()));
    // Validator 22 signs nothing from now on.
    let epoch = world.chain().epoch;
    let before = [21, 22].map(|number| row(&world, number).stake);
    for _ in 0..4 {
        last(&mut world, 0, &[22]);
        world.proposer = 0;
        world.must(1, Action::Transfer { to: account(2), amount: Amount(1) });
    }
    while world.chain().epoch == epoch {
        world.step_to(u64::MAX >> 20);
        last(&mut world, 0, &[22]);
        world.block(&[]);
    }
    let after = [21, 22].map(|number| row(&world, number).stake);
    let gained = |at: usize| after[at].0 - before[at].0;
    assert!(3 * gained(1) < 2 * gained(0), "{} and {}", gained(0), gained(1));
    assert_eq!(world.state.get(PoolsTable, &()).unwrap().rewards, Amount::ZERO);
}

/// What a random step does.
fn random_action(world: &World, bytes: [u8; 4]) -> (u8, Action) {
    let [kind, who, number, amount] = bytes;
    let (user, validator) = (1 + who % 3, 21 + number % 3);
    let amount = u128::from(amount) * 7;
    match kind % 16 {
        0..=2 => (validator, join(validator, user, 50 + amount)),
        3..=6 => (user, delegate(validator, amount)),
        7 | 8 => (user, undelegate(validator, Some(amount / 3))),
        9 => (user, undelegate(validator, None)),
        10 => (user, leave(validator)),
        11 | 12 => match world.state.get(ValidatorsTable, &account(validator)) {
            Some(_) => (user, rejoin(world, validator)),
            None => (validator, join(validator, user, 1 + amount)),
        },
        13 if amount < 100 => (user, report(votes(world, validator, world.chain().height))),
        13 => (user, Action::Faucet),
        _ => {
            let (validator, addresses) = (account(validator), Vec::new());
            let (peer, commission_bp) = (PeerId([who; 32]), 900 + u16::from(number));
            (user, Action::ChangeValidator { validator, peer, addresses, commission_bp })
        }
    }
}

#[test]
fn random_histories_of_stake_add_up() {
    let (mut applied, mut sizes, mut jailed, mut barred) = (0, Vec::new(), false, false);
    for seed in 0..6_u8 {
        let mut dice = blake3::Hasher::new().update(b"stake").update(&[seed]).finalize_xof();
        let mut world = staked();
        for _ in 0..160 {
            let mut bytes = [0; 8];
            dice.fill(&mut bytes);
            let [wait, round, silent, proposer, action @ ..] = bytes;
            world.now += u64::from(wait) * 12;
            let count = world.chain().validators.members.len();
            let most = u16::try_from(count).unwrap();
            world.proposer = u16::from(proposer) % most;
            // The rest has more than two thirds, or all have signed.
            last(&mut world, u32::from(round % 5), &[21 + silent % 3]);
            if !world.last_suffices() {
                last(&mut world, u32::from(round % 5), &[]);
            }
            let (who, action) = random_action(&world, action);
            applied += u32::from(world.act(who, action) == Status::Applied);
            sizes.push(count);
            let states = rows(&world.state, ValidatorsTable);
            let is = |state: fn(&ValidatorState) -> bool| {
                states.iter().any(|(_, row)| state(&row.state))
            };
            jailed |= is(|state| matches!(state, ValidatorState::Jailed { .. }));
            barred |= is(|state| *state == ValidatorState::Barred);
        }
    }
    assert!(applied > 200 && sizes.contains(&3) && jailed && barred, "{applied} {jailed} {barred}");
}

/// A founding set of these numbers and powers, in the order of its keys.
pub(super) fn founding(members: &[(u8, u64)]) -> Validators {
    let member = |(number, power): &(u8, u64)| Validator { key: account(*number), power: *power };
    let mut members: Vec<Validator> = members.iter().map(member).collect();
    members.sort_unstable_by_key(|member| member.key);
    Validators { members }
}

/// The onions of these validators.
pub(super) fn starts(set: &Validators) -> Vec<crate::ledger::block::OnionStart> {
    let key = |member: &Validator| -> AccountId { member.key };
    set.members.iter().map(|member| maker(&key(member)).start()).collect()
}
