//! Ledgers whose validators join, miss their turns, leave, and sign what they must not.

use std::vec::Vec;

use super::{World, Writer, account, key};
use crate::{
    id::{AccountId, Hash, PeerId},
    ledger::{
        Status,
        evidence::Evidence,
        proposer::turns,
        rows::ValidatorState,
        statement::{Proposal, Statement},
        tests::{
            stake::{
                delegate, join, last, leave, rejoin, report, row, stake_params, undelegate, votes,
            },
            world::AUTHORITY,
        },
        transaction::Action,
    },
    signature,
};

/// A ledger with one founding validator, and money for others.
fn begin(writer: &mut Writer, why: &str) {
    let world = World::of(stake_params(), &[(AUTHORITY, 40)]);
    writer.genesis(why, world);
    let money: Vec<_> =
        [1, 2, 3, 21, 22, 23, AUTHORITY].map(|who| writer.world.sign(who, Action::Faucet)).into();
    writer.ok("money", "of seven accounts", &money);
}

/// Two more validators, which are in the set.
fn joined(writer: &mut Writer) {
    writer.act("a validator joins", "with stake of its operator", 21, join(21, 1, 300));
    writer.act("another one", "of another operator", 22, join(22, 2, 200));
    let why = "they enter with the second epoch after they have joined";
    while writer.world.chain().validators.members.len() < 3 {
        writer.next_epoch("an epoch", why);
    }
}

fn change(number: u8, commission_bp: u16, addresses: usize) -> Action {
    let addresses = (0..addresses).map(|at| std::format!("192.0.2.{at}:1")).collect();
    let (validator, peer) = (account(number), PeerId([number; 32]));
    Action::ChangeValidator { validator, peer, addresses, commission_bp }
}

pub(super) fn write(writer: &mut Writer) {
    begin(writer, "a ledger that validators can join");
    let why = "no validator has this key";
    writer.refuse(Status::UnknownValidator, "stake on none", why, (2, delegate(21, 5)));
    writer.refuse(Status::UnknownValidator, "nothing to take", why, (2, undelegate(21, None)));
    writer.refuse(Status::UnknownValidator, "change of none", why, (2, change(21, 0, 0)));
    writer.refuse(Status::UnknownValidator, "leave of none", why, (2, leave(21)));
    let greedy = match join(21, 1, 300) {
        Action::JoinValidators { operator, peer, addresses, onion, amount, .. } => {
            let commission_bp = 2_001;
            Action::JoinValidators { operator, peer, addresses, commission_bp, onion, amount }
        }
        _ => unreachable!(),
    };
    writer.refuse(Status::BadField, "too high a commission", "at most 2000", (21, greedy));
    let why = "stake of nothing";
    writer.refuse(Status::BadField, "join without stake", why, (21, join(21, 1, 0)));
    let why = "the sender has less";
    let much = join(21, 1, u128::from(u64::MAX));
    writer.refuse(Status::BalanceTooLow, "more than it has", why, (21, much));
    joined(writer);
    let why = "this key is a validator";
    writer.refuse(Status::Exists, "joined again", why, (21, join(21, 1, 300)));
    changes(writer);
    delegations(writer);
    let why = "fees, by power and signatures: account 22 has signed none of its blocks";
    let epoch = writer.world.chain().epoch;
    while writer.world.chain().epoch == epoch {
        let end = writer.world.end_of(epoch + 1);
        writer.world.step_to(end);
        last(&mut writer.world, 0, &[22]);
        writer.empty("the next epoch", why);
    }
    let why = "the stake counts, up to six tenths of all power";
    writer.act("much stake", why, 3, delegate(21, 100_000));
    writer.next_epoch("a capped one", why);
    writer.world.proposer = writer.world.place_of(21);
    writer.world.now += 100;
    writer.empty("the newcomer proposes", "by its own onions");
    leaving(writer);
}

fn changes(writer: &mut Writer) {
    let why = "only its operator may";
    writer.refuse(Status::NotYours, "a stranger changes it", why, (2, change(21, 0, 0)));
    writer.refuse(Status::NotYours, "a stranger lets it leave", why, (2, leave(21)));
    writer.refuse(Status::NotYours, "its own key", why, (21, change(21, 0, 0)));
    let why = "a peer has at most sixteen addresses";
    writer.refuse(Status::BadField, "many addresses", why, (1, change(21, 0, 17)));
    let why = "at most 500 more than the 1000 when the epoch began";
    writer.act("a higher commission", why, 1, change(21, 1_500, 16));
    writer.refuse(Status::TooEarly, "higher still", why, (1, change(21, 1_501, 0)));
    writer.act("a lower one", "at any time", 1, change(21, 0, 0));
    writer.refuse(Status::TooEarly, "and up again, too far", why, (1, change(21, 1_501, 0)));
    writer.act("and up again", why, 1, change(21, 1_500, 0));
    let why = "it is in the set";
    let again = rejoin(&writer.world, 21);
    writer.refuse(Status::ValidatorClosed, "it comes back from nowhere", why, (1, again));
}

fn delegations(writer: &mut Writer) {
    let why = "nothing is no stake";
    writer.refuse(Status::BadField, "no stake", why, (3, delegate(21, 0)));
    writer.refuse(Status::BadField, "nothing taken back", why, (3, undelegate(21, Some(0))));
    let why = "account 3 has none there";
    writer.refuse(Status::StakeTooLow, "nothing there", why, (3, undelegate(21, None)));
    writer.act("a delegation", "its row has a deposit", 3, delegate(21, 1_000));
    writer.act("a second one", "the row is there", 3, delegate(21, 1));
    writer.act("the operator's own", "stands in the validator's row", 1, delegate(21, 50));
    let why = "one more than all";
    writer.refuse(Status::StakeTooLow, "too much", why, (3, undelegate(21, Some(1_002))));
    let both = [1, 2].map(|units| writer.world.sign(3, undelegate(21, Some(units))));
    writer.ok("two parts in one block", "they are due together", &both);
    writer.act("the rest", "the row goes, and its deposit comes back", 3, undelegate(21, None));
    writer.refuse(Status::StakeTooLow, "all again", "none is left", (3, undelegate(21, None)));
    writer.act("the operator takes some", "and stays above the least", 1, undelegate(21, Some(40)));
    writer.world.now += 30_000;
    writer.empty("due", "the first two parts are paid out");
    writer.world.now += 1;
    writer.act("on the way", "account 3 stakes again", 3, delegate(22, 77));
}

fn leaving(writer: &mut Writer) {
    let old = votes(&writer.world, AUTHORITY, writer.world.chain().height);
    let why = "the founding one has no third of the power";
    writer.act("the founding one leaves", why, AUTHORITY, leave(AUTHORITY));
    writer.world.proposer = 0;
    let why = "it has left";
    writer.refuse(Status::ValidatorClosed, "it leaves again", why, (AUTHORITY, leave(AUTHORITY)));
    let why = "without it, the rest had less than two thirds of the power of this epoch";
    writer.act("the strongest leaves", why, 1, leave(21));
    let why = "it leaves already";
    writer.refuse(Status::ValidatorClosed, "and again", why, (1, leave(21)));
    writer.next_epoch("it has left", "one is in the set");
    let why = "none would be left";
    writer.refuse(Status::LastValidator, "the last one leaves", why, (2, leave(22)));
    let own = row(&writer.world, 21).own;
    assert_eq!(own, 2, "its first two onions were promised");
    let back = rejoin(&writer.world, 21);
    writer.act("one comes back", "with onions that it has not promised before", 1, back);
    let why = "it waits";
    let again = rejoin(&writer.world, 21);
    writer.refuse(Status::ValidatorClosed, "it comes back twice", why, (1, again));
    writer.act("it leaves while it waits", "nothing keeps it", 1, leave(21));
    let back = rejoin(&writer.world, 21);
    writer.act("and comes back", "once more", 1, back);
    for _ in 0..2 {
        writer.next_epoch("two epochs later", "it is in the set");
    }
    writer.world.proposer = writer.world.place_of(21);
    writer.world.now += 1_000;
    writer.empty("it proposes", "with the third of its own onions");
    let why = "its own stake is below the least";
    writer.act("an operator takes its stake", why, 2, undelegate(22, None));
    writer.next_epoch("the set without it", "stake of others alone gives no place");
    assert_eq!(row(&writer.world, 22).state, ValidatorState::Out);
    let why = "the set of then was followed by others 30000 ms ago";
    writer.world.now += 40_000;
    writer.empty("much later", "what was taken back is paid out");
    writer.refuse(Status::TooLate, "evidence that is too old", why, (3, report(old)));
}

/// A block by another validator whose parent was committed in the round after a validator's first turn, by all but these.
fn missed(writer: &mut Writer, (name, why): (&str, &str), number: u8, by: u8, silent: &[u8]) {
    let chain = writer.world.chain();
    let place = usize::from(writer.world.place_of(number));
    let had = |round| turns(&chain.id, &chain.validators, chain.height, round + 1)[place] == 1;
    let round = (0..3).find(|round| had(*round)).unwrap() + 1;
    last(&mut writer.world, round, silent);
    writer.world.proposer = writer.world.place_of(by);
    writer.world.now += 10;
    writer.empty(name, why);
}

pub(super) fn write_turns(writer: &mut Writer) {
    begin(writer, "a ledger whose validators miss turns");
    joined(writer);
    writer.world.proposer = writer.world.place_of(AUTHORITY);
    writer.world.now += 10;
    writer.empty("a block", "of the founding one");
    last(&mut writer.world, 0, &[22]);
    let facts = writer.world.facts();
    let mut few = facts;
    few.last.as_mut().unwrap().signers[0] = 0;
    writer.bad_facts("no one has signed", "more than two thirds must have", few);
    let mut none = facts;
    none.last = None;
    writer.bad_facts("nothing said of the commit", "the set has three members", none);
    let why = "7 go to the treasury for each turn";
    missed(writer, ("a missed turn", why), 22, AUTHORITY, &[22]);
    writer.world.proposer = writer.world.place_of(22);
    writer.world.now += 10;
    writer.empty("it makes a block", "turns missed in a row begin anew after the next one");
    writer.world.proposer = writer.world.place_of(AUTHORITY);
    writer.world.now += 10;
    writer.empty("its block counts", "as its turn");
    missed(writer, ("a turn missed again", why), 22, AUTHORITY, &[22]);
    missed(writer, ("two in a row", "it is jailed"), 22, AUTHORITY, &[22]);
    let early = rejoin(&writer.world, 22);
    writer.refuse(Status::TooEarly, "back too soon", "after 5000 ms", (2, early.clone()));
    writer.refuse(Status::NotYours, "freed by a stranger", "its operator may", (1, early));
    let why = "an early epoch";
    writer.refuse(Status::ValidatorClosed, "left from jail", why, (2, leave(22)));
    writer.act("stake for one in jail", "it counts later", 3, delegate(22, 100));
    writer.world.now += 5_000;
    let back = rejoin(&writer.world, 22);
    writer.act("back from jail", "it waits for a whole epoch", 2, back);
    // The others are too weak to go on without the founding one.
    for _ in 0..3 {
        let words = ("the strongest misses turns", "the rest has less than two thirds");
        missed(writer, words, AUTHORITY, 21, &[]);
    }
    last(&mut writer.world, 5, &[]);
    writer.world.now += 10;
    writer.empty("many rounds", "each has missed several turns");
    writer.act(
        "just enough",
        "the operator has staked the least there may be",
        23,
        join(23, 3, 100),
    );
    for _ in 0..3 {
        writer.next_epoch("an epoch", "counts begin anew");
    }
    assert_eq!(row(&writer.world, 23).state, ValidatorState::Member);
}

pub(super) fn write_equivocation(writer: &mut Writer) {
    begin(writer, "a ledger one of whose validators signs twice");
    joined(writer);
    writer.act("stake of another", "which is lost too", 3, delegate(21, 1_000));
    writer.act("stake taken back", "and this", 3, undelegate(21, Some(300)));
    let height = writer.world.chain().height;
    let world = &writer.world;
    let (forged, two, strange) = (forged(world, height), two_signers(world, height), world.chain());
    let refused = [
        ("a forged vote", "the signature is of another vote", Status::BadProof, forged),
        ("votes of two", "each may say its own", Status::BadProof, two),
        ("a vote of no member", "it may say anything", Status::BadProof, votes(world, 3, height)),
        ("before it was one", "it was no validator then", Status::BadProof, votes(world, 21, 2)),
        (
            "a block to come",
            "no set commits it yet",
            Status::TooEarly,
            votes(world, 21, strange.height + 2),
        ),
    ];
    for (name, why, status, evidence) in refused {
        writer.refuse(status, name, why, (3, report(evidence)));
    }
    let proposals = proposals(&writer.world, 22, height);
    let good = report(votes(&writer.world, 21, height));
    writer.act("two votes", "a tenth of all is lost, and it is out for ever", 3, good.clone());
    let why = "it is out already";
    writer.refuse(Status::ValidatorClosed, "the same again", why, (3, good));
    let back = rejoin(&writer.world, 21);
    writer.refuse(Status::ValidatorClosed, "it comes back", "never", (1, back));
    writer.refuse(Status::ValidatorClosed, "stake on it", "never", (3, delegate(21, 5)));
    writer.act("the rest of it", "comes back", 3, undelegate(21, None));
    writer.act("two proposals", "at a height of before", 3, report(proposals));
    let alone = report(votes(&writer.world, AUTHORITY, height));
    let why = "the founding one is alone now";
    writer.refuse(Status::LastValidator, "the last one", why, (3, alone));
    writer.world.now += 30_001;
    writer.empty("paid out", "what was not lost");
    let old = report(votes(&writer.world, 22, height));
    writer.world.now += 60_000;
    writer.empty("a long time later", "sets of before are forgotten");
    writer.refuse(Status::ValidatorClosed, "it is barred already", "once is enough", (3, old));
}

fn forged(world: &World, height: u64) -> Evidence {
    match votes(world, 21, height) {
        Evidence::Votes { first, mut second } => {
            second.signature = first.signature;
            Evidence::Votes { first, second }
        }
        other => other,
    }
}

fn two_signers(world: &World, height: u64) -> Evidence {
    match (votes(world, 21, height), votes(world, 22, height)) {
        (Evidence::Votes { first, .. }, Evidence::Votes { second, .. }) => {
            Evidence::Votes { first, second }
        }
        (other, _) => other,
    }
}

fn proposals(world: &World, number: u8, height: u64) -> Evidence {
    let one = |locked_round| {
        let (round, block) = (1, Hash([3; 32]));
        let proposer: AccountId = account(number);
        let mut one = Proposal { height, round, block, locked_round, proposer, signature: [0; 64] };
        let said = Statement::of_proposal(&world.id(), &one);
        one.signature = signature::sign(&key(number), &said.digest);
        one
    };
    Evidence::Proposals { first: one(None), second: one(Some(0)) }
}
