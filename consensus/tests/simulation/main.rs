//! Validators in virtual time: everything that may go wrong goes wrong, and no two of them ever commit two blocks.
//!
//! Each test runs a plan from a few seeds. `SYMBOLON_SEED=7` runs one seed only, `SYMBOLON_SEEDS=100` so many. What fails
//! names its seed.

#![allow(clippy::print_stdout, reason = "a long run tells what it came to")]

mod judge;
mod liars;
mod machine;
mod plan;
mod random;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use machine::Books;
use plan::Plan;
use random::Random;
use symbolon_consensus::{
    Event, Guard, Ledger as _, Message, Node, Output, Restored, Settings, Signatures,
    ledger::Answer, message::Step, proposer,
};
use symbolon_protocol::{MachineTime, id::Hash};
use world::World;

/// What the runs of a test came to.
#[derive(Default, Debug)]
struct Total {
    runs: u64,
    blocks: u64,
    crashes: u64,
    evidence: u64,
    refusals: u64,
    withheld: u64,
    rounds_max: u32,
    stall_max_ms: u64,
    recovery_max_ms: u64,
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs plans from seeds. `share` is how many of a thousand seeds this test takes when there are many.
fn runs(test: &str, few: u64, share: u64, plan: impl Fn(&mut Random) -> Plan) {
    let seeds: Vec<u64> = match number("SYMBOLON_SEED") {
        Some(seed) => vec![seed],
        None => {
            let many = number("SYMBOLON_SEEDS").map(|seeds| (seeds * share).div_ceil(1_000));
            (1..=many.unwrap_or(few)).collect()
        }
    };
    let mut total = Total::default();
    for seed in seeds {
        let plan = plan(&mut Random::new(seed ^ 0x5eed));
        let run = || {
            let mut world = World::new(seed, plan.clone());
            world.run();
            world
        };
        let world = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            println!("SYMBOLON_SEED={seed} fails in {test}: {plan:?}");
            resume_unwind(panic)
        });
        total.runs += 1;
        total.blocks += world.judge.height();
        total.crashes += world.crashes;
        total.evidence += world.judge.evidence;
        total.refusals += world.judge.refusals;
        total.withheld += world.judge.withheld;
        total.rounds_max = total.rounds_max.max(world.judge.rounds_max);
        total.stall_max_ms = total.stall_max_ms.max(world.judge.stall_ms);
        total.recovery_max_ms = total.recovery_max_ms.max(world.judge.recovery_ms);
    }
    println!("{test}: {total:?}");
}

#[test]
fn faults() {
    runs("faults", 6, 250, |_| Plan::faults(&[1, 1, 1, 1]));
}

#[test]
fn weights() {
    runs("weights", 6, 150, |_| Plan::faults(&[5, 3, 1, 1]));
}

#[test]
fn one_validator_lies() {
    runs("one_validator_lies", 8, 200, |random| {
        let liar = usize::try_from(random.below(4)).expect("small");
        Plan::liar(&[1, 1, 1, 1], liar, random)
    });
}

#[test]
fn three_tenths_lie() {
    runs("three_tenths_lie", 3, 50, |random| Plan::liar(&[5, 3, 1, 1], 1, random));
}

#[test]
fn one_key_runs_twice() {
    runs("one_key_runs_twice", 4, 100, |random| {
        let twin_of = Some(usize::try_from(random.below(4)).expect("small"));
        Plan { twin_of, ..Plan::faults(&[1, 1, 1, 1]) }
    });
}

#[test]
fn the_set_changes() {
    runs("the_set_changes", 4, 100, |_| Plan {
        has_changes: true,
        ..Plan::faults(&[5, 3, 1, 1, 0, 0])
    });
}

#[test]
fn the_set_changes_and_one_lies() {
    runs("the_set_changes_and_one_lies", 2, 50, |random| Plan {
        has_changes: true,
        ..Plan::liar(&[2, 2, 2, 1, 1, 0], 3, random)
    });
}

#[test]
fn one_validator_alone() {
    runs("one_validator_alone", 4, 50, |_| Plan::faults(&[1]));
}

#[test]
fn one_validator_with_followers() {
    runs("one_validator_with_followers", 2, 20, |_| Plan::faults(&[1, 0, 0]));
}

#[test]
fn one_clock_is_wrong() {
    runs("one_clock_is_wrong", 2, 20, |random| {
        let by_ms = if random.chance(500) { 3_600_000 } else { -900_000 };
        Plan { wrong_clock: Some((1, by_ms)), ..Plan::faults(&[1, 1, 1, 1]) }
    });
}

#[test]
fn logs_come_back_from_backups() {
    runs("logs_come_back_from_backups", 4, 20, |_| Plan {
        has_backups: true,
        ..Plan::faults(&[1, 1, 1, 1])
    });
}

#[test]
fn a_hundred_validators() {
    let powers: Vec<u64> = (0..100).map(|at| 1 + at % 7).collect();
    runs("a_hundred_validators", 1, 10, |_| Plan { faults_ms: 5_000, ..Plan::faults(&powers) });
}

/// A plan that lasts `faults_ms`, in which nothing happens by chance.
fn quiet(powers: &[u64], heartbeat_ms: u64) -> Plan {
    Plan { is_busy: false, heartbeat_ms, stall_max_ms: u64::MAX, ..Plan::calm(powers) }
}

#[test]
fn every_output_is_a_crash_point() {
    // Long enough for machine 0 to propose, to vote, to commit and to begin anew.
    for (powers, points) in [(&[1_u64, 1, 1, 1][..], 150), (&[1], 60)] {
        for outputs in 0..points {
            for seed in 1..=2 {
                let run = || {
                    let plan = Plan { faults_ms: 1_500, ..Plan::calm(powers) };
                    let mut world = World::new(seed, plan);
                    world.submit(None);
                    world.crash_after(0, outputs);
                    world.run();
                };
                catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
                    println!("{powers:?}: seed {seed}, crash before output {outputs}");
                    resume_unwind(panic)
                });
            }
        }
    }
}

#[test]
fn a_node_one_block_behind_is_rescued() {
    let mut world = World::new(1, quiet(&[1, 1, 1, 1], 3_600_000));
    let begin_ms = world.now_ms;
    world.run_until(begin_ms + 1_000);
    world.crash(3);
    world.submit(None);
    // Nothing comes after this one block.
    world.run_until(begin_ms + 60_000);
    assert_eq!(world.judge.height(), 1);
    assert!((0..4).all(|at| world.tip_of(at) == world.tip_of(0)), "{:?}", world.positions());
}

#[test]
fn a_node_knows_when_its_ledger_is_too_old_to_judge_by() {
    let mut world = World::new(1, quiet(&[1, 1, 1, 1], 60_000));
    world.run_until(world.now_ms + 3_000);
    assert!(world.machines.iter().all(|machine| !machine.is_behind), "all have told their heights");
    world.switch_off(3);
    for _ in 0..30 {
        world.submit(None);
        world.run_until(world.now_ms + 1_000);
    }
    // It does not know yet how far the others are, then it does, and then it catches up.
    world.boot(3);
    assert!(world.machines[3].is_behind);
    while world.machines[3].is_behind {
        assert!(world.machines[3].books.height() < world.judge.height());
        world.run_until(world.now_ms + 1);
    }
    assert!(world.judge.height() <= world.machines[3].books.height() + 1);
    // One that is alone serves what it has after a moment.
    for at in 0..4 {
        world.switch_off(at);
    }
    world.boot(0);
    assert!(world.machines[0].is_behind);
    world.run_until(world.now_ms + 6_000);
    assert!(!world.machines[0].is_behind);
}

#[test]
fn an_idle_network_makes_no_blocks_beyond_its_heartbeat() {
    for powers in [&[1_u64, 1, 1, 1][..], &[1]] {
        let mut world = World::new(1, quiet(powers, 60_000));
        let begin_ms = world.now_ms;
        world.run_until(begin_ms + 1_800_000);
        let (blocks, outputs) = (world.judge.height(), world.outputs);
        assert!((28..=30).contains(&blocks), "{blocks} blocks in 30 minutes");
        let each = outputs / powers.len() as u64 / 30;
        println!("{powers:?}: {each} outputs a minute and node, {} messages in all", world.sent);
        assert!(each < 150, "{each} outputs a minute and node");
    }
}

#[test]
fn equal_seeds_are_equal_runs() {
    let run = |seed| {
        let mut world = World::new(seed, Plan::faults(&[5, 3, 1, 1]));
        world.run();
        (world.trace, world.judge.height(), world.outputs)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn a_third_that_is_away_stops_the_ledger_and_the_rest_goes_on_when_it_is_back() {
    let mut world = World::new(1, Plan { stall_max_ms: u64::MAX, ..Plan::calm(&[5, 3, 1, 1]) });
    let begin_ms = world.now_ms;
    world.run_until(begin_ms + 5_000);
    // Without the first one, a half is left.
    world.switch_off(0);
    let height = world.judge.height();
    world.run_until(begin_ms + 300_000);
    assert!(world.judge.height() <= height + 1);
    world.run();
    assert!(height + 3 <= world.judge.height());
}

/// Whether a validator signs anything at the height after block 0, if it starts with this guard and no log. It is one of two,
/// and it is the turn of the other.
fn signs_after(guard: Option<Guard>) -> bool {
    let set = world::set(&[1, 1]);
    let turn = proposer(&world::CHAIN, &set, 1, 0);
    let other = (0..2).map(world::key).find(|key| world::id(key) != turn);
    let (key, mut books) = (other.expect("there are two"), Books::new(set));
    let restored = Restored { guard, log: Vec::new() };
    let (settings, signatures) = (Settings::default(), Signatures::default());
    let tip = books.tip().expect("it has one");
    let node = Node::new(world::CHAIN, key, settings, signatures, &tip, restored);
    let mut node = node.expect("the set can agree");
    let mut events = vec![Event::Work, Event::Start];
    let (mut signed, mut steps) = (false, 0);
    while let Some(event) = events.pop() {
        steps += 1;
        for output in node.step(event) {
            match output {
                Output::Wait { id, .. } if steps < 100 => events.insert(0, Event::Elapsed(id)),
                Output::Ask(request) => {
                    let answer = request.perform(&mut books, MachineTime(5)).expect("in memory");
                    if let Answer::Tell(event) = answer {
                        events.push(event);
                    }
                }
                Output::Send(_, Message::Vote { vote }) => signed |= vote.height == 1,
                Output::Send(_, Message::Proposal { proposal, .. }) => {
                    signed |= proposal.height == 1;
                }
                _ => {}
            }
        }
    }
    signed
}

#[test]
fn a_validator_without_its_log_signs_nothing_more_at_its_height() {
    // It could say more after this without a contradiction: but the log would say what binds it.
    let guard = |height| Guard { height, round: 0, step: Step::Proposal, digest: Hash([1; 32]) };
    assert!(signs_after(None));
    assert!(!signs_after(Some(guard(1))));
    // The height is over, and the guard is of no use.
    assert!(signs_after(Some(guard(0))));
    // The ledger is older than what was signed.
    assert!(!signs_after(Some(guard(2))));
}
