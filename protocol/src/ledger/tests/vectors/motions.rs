//! Ledgers on which those with stake vote.

use std::{string::String, vec, vec::Vec};

use super::{World, Writer};
use crate::{
    amount::Amount,
    ledger::{
        Params, Status,
        execute::RULES_VERSION,
        fee,
        motion::TEXT_BYTES_MAX,
        rows::{Choice, Failure, Measure, MotionState, Motions, ParamChange, PoolsTable},
        state::StateExt,
        tests::{
            motions::{declare, motion, motion_params, params, pay, propose, vote},
            stake::{delegate, join, leave, undelegate},
            world::AUTHORITY,
        },
        transaction::Action,
    },
};

fn begin(writer: &mut Writer, why: &str) {
    let world = World::of(Params { veto_bp: 4_000, ..motion_params() }, &[(AUTHORITY, 40)]);
    writer.genesis(why, world);
    let money: Vec<_> =
        [1, 2, 3, 4, 21, 22, AUTHORITY].map(|who| writer.world.sign(who, Action::Faucet)).into();
    writer.ok("money", "of seven accounts", &money);
}

/// The founding validator with 400, one with 300 of its operator and 100 of another, and one with 200.
fn three(writer: &mut Writer) {
    writer.act("a validator joins", "with stake of its operator", 21, join(21, 1, 300));
    writer.act("another one", "of another operator", 22, join(22, 2, 200));
    writer.act("a delegation", "a quarter of the first one's stake", 3, delegate(21, 100));
    while writer.world.chain().validators.members.len() < 3 {
        writer.next_epoch("an epoch", "they enter with the second one");
    }
}

/// Epochs until a motion is neither voted on nor locked.
fn run(writer: &mut Writer, number: u64, why: &str) -> MotionState {
    loop {
        let state = motion(&writer.world, number).state;
        if !matches!(state, MotionState::Open | MotionState::Passed) {
            return state;
        }
        writer.world.proposer = 0;
        writer.next_epoch("an epoch", why);
    }
}

fn said(text: &str, deposit: u128) -> Action {
    let (text, deposit) = (String::from(text), Amount(deposit));
    Action::ProposeMotion { measure: pay(4, 1), text, deposit }
}

pub(super) fn write(writer: &mut Writer) {
    begin(writer, "a ledger of one operator, on which motions are short");
    let why = "a motion has a text";
    writer.refuse(Status::BadField, "no text", why, (4, said("", 1_000)));
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    writer.refuse(Status::BadField, "a long text", "at most 1024 bytes", (4, said(&long, 1_000)));
    let why = "this ledger asks for 1000";
    writer.refuse(Status::BadField, "a small deposit", why, (4, said("x", 999)));
    let much = said("x", u128::from(u64::MAX));
    writer.refuse(Status::BalanceTooLow, "a large deposit", "no account has it", (4, much));
    writer.refuse(Status::BadField, "a payment of nothing", "at least 1", (4, propose(pay(4, 0))));
    changes(writer);
    let why = "no motion has this number";
    let none = vote(1, AUTHORITY, Choice::Yes);
    writer.refuse(Status::UnknownMotion, "a vote on none", why, (AUTHORITY, none));
    let why = "fees, one of them none from then on";
    let measure = params(&[("fee_base", 2_000), ("fee_byte", 0), ("voting_epochs", 3)]);
    writer.act("a motion", why, 4, propose(measure));
    let why = "no validator has this key";
    let none = vote(1, 21, Choice::Yes);
    writer.refuse(Status::UnknownValidator, "a vote for none", why, (AUTHORITY, none));
    let why = "account 4 has no stake on it";
    let none = vote(1, AUTHORITY, Choice::Yes);
    writer.refuse(Status::StakeTooLow, "a vote without stake", why, (4, none));
    let longest = "x".repeat(TEXT_BYTES_MAX);
    writer.act("the longest text", "1024 bytes", 4, said(&longest, 1_000));
    writer.act("the shortest one", "and a larger deposit", 4, said("x", 1_001));
    several(writer);
    let why = "the founding validator has all the weight";
    writer.act("its word", why, AUTHORITY, vote(1, AUTHORITY, Choice::Yes));
    assert_eq!(run(writer, 1, "the vote ends, then the lock"), MotionState::Done);
    let again = vote(1, AUTHORITY, Choice::No);
    writer.refuse(Status::MotionClosed, "too late", "the vote has ended", (AUTHORITY, again));
    payments(writer);
    let first = writer.world.chain().motions + 1;
    let sixteen: Vec<_> = (0..16).map(|_| writer.world.sign(4, propose(pay(4, 1)))).collect();
    writer.ok("sixteen motions", "so many may be open", &sixteen);
    writer.refuse(Status::MotionsFull, "one more", "sixteen are open", (4, propose(pay(4, 1))));
    let why = "no one votes: sixteen deposits are lost";
    assert_eq!(run(writer, first, why), MotionState::NoQuorum);
}

/// Motions of many changes, and two that do not go together.
fn several(writer: &mut Writer) {
    let now = writer.world.chain().params;
    let delivery = u128::from(now.delivery_ms.0);
    let changes = params(&[
        ("storage_fee_bp", 150),
        ("repair_reserve_bp", 100),
        ("delivery_ms", delivery),
        ("window_ms_min", 0),
        ("listing_bond_bp", 5_000),
        ("complaint_bond", 7),
        ("deal_epochs_max", 51),
        ("faucet", now.faucet.0 - 1),
        ("faucet_blocks", 1),
        ("dead_after_epochs", 2),
        ("allowance", 9),
        ("validators_max", 5),
        ("power_cap_bp", 10_000),
        ("turn_penalty", 8),
        ("jail_ms", 1),
        ("unbonding_ms", 1_000),
    ]);
    writer.act("sixteen changes", "of all kinds", 4, propose(changes));
    let (less, more) = (delivery - 1_500, delivery - 1_000);
    writer.act("a short delivery", "it may be less", 4, propose(params(&[("delivery_ms", less)])));
    let why = "less than now, and more than after the one before";
    writer.act("a longer one", why, 4, propose(params(&[("delivery_ms", more)])));
    for number in 4..=6 {
        writer.act("its word", "for each", AUTHORITY, vote(number, AUTHORITY, Choice::Yes));
    }
}

/// The treasury pays all that it has, and no more.
fn payments(writer: &mut Writer) {
    let number = writer.world.chain().motions + 1;
    let why = "with the fees of now, and a vote of three epochs";
    writer.act("another motion", why, 4, propose(pay(77, 900)));
    writer.act("and one", "more than the treasury has", 4, propose(pay(77, u128::MAX)));
    for number in [number, number + 1] {
        writer.act("its word", "again", AUTHORITY, vote(number, AUTHORITY, Choice::Yes));
    }
    assert_eq!(run(writer, number, "the treasury pays, if it can"), MotionState::Done);
    let treasury = |world: &World| world.state.get(PoolsTable, &()).unwrap().treasury.0;
    let params = writer.world.chain().params;
    let word = vote(number + 2, AUTHORITY, Choice::Yes);
    let all =
        treasury(&writer.world) + fee(&params, &propose(pay(77, 0))).0 + fee(&params, &word).0;
    writer.act("all of it", "with the fees until then", 4, propose(pay(77, all)));
    writer.act("its word", "the last fee", AUTHORITY, word);
    assert_eq!(run(writer, number + 2, "the treasury pays all"), MotionState::Done);
    assert_eq!(treasury(&writer.world), 0);
}

/// Changes of parameters that no motion may make.
fn changes(writer: &mut Writer) {
    let params_of = |world: &World| -> Params { world.chain().params };
    let now = params_of(&writer.world);
    let refused: [(&str, &str, Measure); 13] = [
        ("no change", "at least one", params(&[])),
        ("epochs of another length", "it never changes", params(&[("epoch_ms", 20_000)])),
        ("another deposit", "it never changes", params(&[("deposit", 1)])),
        ("another trust", "it never changes", params(&[("trusting_ms", 86_400_000)])),
        ("another least stake", "it never changes", params(&[("stake_min", 1)])),
        ("another unit", "it never changes", params(&[("stake_unit", 1)])),
        (
            "a longer delivery",
            "it may only become less",
            params(&[("delivery_ms", u128::from(now.delivery_ms.0) + 1)]),
        ),
        (
            "more from the faucet",
            "it may only become less",
            params(&[("faucet", now.faucet.0 + 1)]),
        ),
        ("more trust for earnings", "only less", params(&[("allowance_growth_bp", 1)])),
        ("a set without stake", "not to 0", params(&[("validators_max", 0)])),
        ("a quorum that is small", "at least 1000", params(&[("quorum_bp", 999)])),
        ("a large number", "a quorum has two bytes", params(&[("quorum_bp", 66_536)])),
        (
            "a faucet that closes",
            "light clients would trust for too long",
            params(&[("faucet", 0)]),
        ),
    ];
    for (name, why, measure) in refused {
        writer.refuse(Status::BadField, name, why, (4, propose(measure)));
    }
    let twice = params(&[("fee_base", 1), ("fee_base", 2)]);
    writer.refuse(Status::BadField, "one twice", "each once", (4, propose(twice)));
    let mut backward = params(&[("fee_byte", 1), ("fee_base", 2)]);
    if let Measure::Params { changes } = &mut backward {
        changes.reverse();
    }
    writer.refuse(Status::BadField, "in another order", "ascending", (4, propose(backward)));
    let unknown = Measure::Params { changes: vec![ParamChange { param: 47, value: 1 }] };
    writer.refuse(Status::BadField, "no parameter", "there are 47", (4, propose(unknown)));
    let names = ["fee_base", "fee_byte", "fee_check", "duty_fee_bp", "dead_after_epochs"];
    let more = ["claim_epochs", "collateral_epochs", "repair_price", "repair_cover_bp"];
    let rest = ["allowance", "miss_penalty_bp", "silence_penalty_bp", "capacity_deposit"];
    let last = ["power_cap_bp", "commission_max_bp", "commission_rise_bp", "turn_penalty"];
    let all = names.into_iter().chain(more).chain(rest).chain(last);
    let all: Vec<(&str, u128)> = all.map(|name| (name, 2)).collect();
    assert_eq!(all.len(), 17);
    writer.refuse(Status::BadField, "many changes", "at most 16", (4, propose(params(&all))));
    let ends = [
        ("the least quorum", "and so on", &[("quorum_bp", 1_000), ("majority_bp", 5_000)][..]),
        ("the most", "and so on", &[("quorum_bp", 10_000), ("majority_bp", 9_900)]),
        ("the least deliveries", "in time", &[("delivery_ms", 1_000), ("validators_max", 1)]),
    ];
    for (name, why, all) in ends {
        let signed = writer.world.sign(4, propose(params(all)));
        let mut builder =
            super::BlockBuilder::new(&writer.world.state, &writer.world.facts()).unwrap();
        assert!(builder.push(&signed).is_ok(), "{name} {why}");
    }
    for (name, value) in [("majority_bp", 4_999), ("majority_bp", 9_901), ("veto_bp", 999)] {
        let why = "outside of its range";
        writer.refuse(Status::BadField, name, why, (4, propose(params(&[(name, value)]))));
    }
}

pub(super) fn write_votes(writer: &mut Writer) {
    begin(writer, "a ledger of three validators that vote");
    three(writer);
    writer.act("a motion", "it needs four tenths of 1000", 4, propose(pay(4, 1)));
    writer.act("just as many", "400", 1, vote(1, 21, Choice::Yes));
    writer.act("a motion", "a veto of more than four tenths would stop it", 4, propose(pay(4, 1)));
    writer.act("a veto", "400 of 1000", AUTHORITY, vote(2, AUTHORITY, Choice::Veto));
    writer.act("for it", "400", 1, vote(2, 21, Choice::Yes));
    writer.act("for it", "200", 2, vote(2, 22, Choice::Yes));
    assert_eq!(run(writer, 2, "both are passed"), MotionState::Done);
    assert_eq!(motion(&writer.world, 1).state, MotionState::Done);
    let why = "its operator speaks for all of it, less what others say";
    writer.act("a motion", "no fee", 4, propose(params(&[("fee_base", 0)])));
    writer.act("one for it", why, 1, vote(3, 21, Choice::Yes));
    writer.act("one against it", "200", 2, vote(3, 22, Choice::No));
    writer.act("more stake", "of a delegator", 3, delegate(21, 40));
    writer.act("a delegator abstains", "140 of the 440", 3, vote(3, 21, Choice::Abstain));
    writer.act("and is against it", "the last word counts", 3, vote(3, 21, Choice::No));
    let why = "the key of a validator does not speak for its operator's stake";
    let own = vote(3, 21, Choice::No);
    writer.refuse(Status::StakeTooLow, "the validator's key", why, (21, own));
    writer.act("stake", "50 on the second", 4, delegate(22, 50));
    writer.act("which votes", "for it", 4, vote(3, 22, Choice::Yes));
    writer.act("more stake", "it counts with the operator's", 4, delegate(22, 60));
    let why = "50 are left, as many as have voted";
    writer.act("stake taken back", "60 are left, and 50 have voted", 4, undelegate(22, Some(50)));
    writer.act("more of it", why, 4, undelegate(22, Some(10)));
    writer.act("stake that says nothing", "on the first", 4, delegate(21, 10));
    writer.act("and is taken back", "no ballot has it", 4, undelegate(21, None));
    let why = "40 of those that have voted";
    writer.act("stake taken back", why, 3, undelegate(21, Some(40)));
    let why = "more are for it than against it";
    assert_eq!(run(writer, 3, why), MotionState::Done);
    let tally = motion(&writer.world, 3).tally.unwrap();
    assert_eq!((tally.yes, tally.no, tally.all), (350, 300, 1_050));
    quorums(writer);
    let why = "a validator that has left counts no longer";
    writer.act("a motion", "of one unit", 4, propose(pay(4, 1)));
    writer.act("a veto", why, 2, vote(8, 22, Choice::Veto));
    writer.act("one for it", why, 1, vote(8, 21, Choice::Yes));
    writer.act("it leaves", why, 2, leave(22));
    run(writer, 8, why);
    for _ in 0..100 {
        writer.world.proposer = 0;
        writer.next_epoch("an epoch", "a hundred after their end motions leave");
    }
    assert!(writer.world.state.get(Motions, &1).is_none());
}

/// What decides by one unit of stake.
fn quorums(writer: &mut Writer) {
    let why = "it needs four tenths of all";
    writer.act("a motion", why, 4, propose(pay(4, 1)));
    writer.act("a third of all", why, 1, vote(4, 21, Choice::Yes));
    writer.act("a motion", "half is not more than half", 4, propose(pay(4, 1)));
    writer.act("for it", "400", AUTHORITY, vote(5, AUTHORITY, Choice::Yes));
    writer.act("against it", "the others", 1, vote(5, 21, Choice::No));
    writer.act("a motion", "a veto of more than four tenths", 4, propose(pay(4, 1)));
    writer.act("for it", "400", AUTHORITY, vote(6, AUTHORITY, Choice::Yes));
    writer.act("against it, for ever", "as many", 1, vote(6, 21, Choice::Veto));
    writer.act("a motion", "only abstentions: none is for it", 4, propose(pay(4, 1)));
    writer.act("neither", "a quorum", AUTHORITY, vote(7, AUTHORITY, Choice::Abstain));
    writer.act("neither", "a quorum", 1, vote(7, 21, Choice::Abstain));
    run(writer, 7, "four motions are decided");
    let state = |number| motion(&writer.world, number).state;
    assert_eq!(state(4), MotionState::NoQuorum);
    assert_eq!(state(5), MotionState::Rejected);
    assert_eq!(state(6), MotionState::Vetoed);
    assert_eq!(state(7), MotionState::Rejected);
}

pub(super) fn write_rules(writer: &mut Writer) {
    begin(writer, "a ledger whose rules change");
    three(writer);
    let rules = |version, height| propose(Measure::Rules { version, height });
    let height = writer.world.chain().height;
    let why = "version 1 is in force";
    let old = rules(RULES_VERSION, height + 50);
    writer.refuse(Status::BadField, "the same rules", why, (4, old));
    let why = "that block is there, or the present one";
    writer.refuse(Status::TooLate, "a height that has passed", why, (4, rules(2, height)));
    writer.refuse(Status::TooLate, "the present height", why, (4, rules(2, height + 1)));
    writer.act("a version", "at a height before the lock ends", 4, rules(2, height + 6));
    writer.act("a version", "at a height after it", 4, rules(2, height + 40));
    writer.act("a third", "while the second waits", 4, rules(3, height + 41));
    for number in 1..=3 {
        for (who, of) in [(AUTHORITY, AUTHORITY), (1, 21)] {
            writer.act("for it", "two of three", who, vote(number, of, Choice::Yes));
        }
    }
    let why = "only what is new is worth a transaction";
    writer.refuse(Status::NothingNew, "version 1", why, (1, declare(21, 1)));
    let why = "its operator may, and its own key";
    writer.refuse(Status::NotYours, "a stranger", why, (3, declare(21, 2)));
    writer.refuse(Status::UnknownValidator, "of none", "no such key", (3, declare(3, 2)));
    writer.act("one knows it", "its operator says so", 1, declare(21, 2));
    writer.act("another one", "its own key says so", 22, declare(22, 3));
    let why = "the first has failed, the second waits, the third cannot";
    assert_eq!(run(writer, 2, why), MotionState::Pending);
    while writer.world.chain().next_rules.is_some() {
        writer.world.now += 1;
        writer.empty("a block", "the founding validator has not said that it knows version 2");
    }
    at_once(writer);
    writer.act("now it says so", "too late", AUTHORITY, declare(AUTHORITY, 2));
    let height = writer.world.chain().height;
    let number = writer.world.chain().motions + 1;
    writer.act("the version again", "all know it now", 4, rules(2, height + 20));
    for (who, of) in [(AUTHORITY, AUTHORITY), (1, 21)] {
        writer.act("for it", "two of three", who, vote(number, of, Choice::Yes));
    }
    run(writer, number, "it is voted on, then locked");
    while writer.world.chain().height + 1 < height + 20 {
        writer.world.now += 1;
        writer.empty("a block", "before the height");
    }
    writer.world.now += 1;
    let facts = writer.world.facts();
    let why = "from this block on version 2 is in force, which this software does not know";
    writer.bad_facts("the height", why, facts);
}

/// A motion whose height is that of the block in which it takes effect.
fn at_once(writer: &mut Writer) {
    let number = writer.world.chain().motions + 1;
    let begin = |world: &mut World, height| {
        let made = propose(Measure::Rules { version: 2, height });
        [
            (4, made),
            (AUTHORITY, vote(number, AUTHORITY, Choice::Yes)),
            (1, vote(number, 21, Choice::Yes)),
        ]
        .map(|(who, action)| (world.sign(who, action), who))
    };
    let mut trial = writer.world.clone();
    for (signed, _) in begin(&mut trial, u64::MAX) {
        trial.block(&[signed]);
    }
    let mut height = None;
    while height.is_none() {
        trial.proposer = 0;
        let end = trial.end_of(trial.chain().epoch + 1);
        while trial.step_to(end) {
            trial.block(&[]);
            let is_there = motion(&trial, number).state == MotionState::Pending;
            height = height.or_else(|| is_there.then(|| trial.chain().height));
        }
    }
    let height = height.unwrap();
    let mut world = writer.world.clone();
    for (signed, _) in begin(&mut world, height) {
        writer.ok("a version", "from the block on in which it takes effect", &[signed]);
    }
    let state = run(writer, number, "it takes effect, and its height is there");
    assert_eq!(state, MotionState::Failed { why: Failure::NotReady });
}
